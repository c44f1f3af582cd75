//! Folders that are gone when their process ends, and what is left of those that were killed.

use std::fs::{self, DirBuilder, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use seckel::base::{Entropy, hex};
use seckel::edge::os::OsEntropy;

/// A folder that is as young may not be held yet.
const YOUNG: Duration = Duration::from_secs(60);

/// A folder of this process's own, for its user's eyes only. Its process holds it locked as long as it lives.
pub struct Fresh {
    pub folder: PathBuf,
    _held: Option<File>,
}

impl Fresh {
    /// Makes one whose name begins so. Those that nobody holds any more are removed.
    pub fn new(name: &str) -> Fresh {
        let temporary = std::env::temp_dir();
        clean(&temporary, name, YOUNG);
        let mut draw = [0; 8];
        OsEntropy::default().fill(&mut draw);
        let folder = temporary.join(format!("{name}{}-{}", std::process::id(), hex::encode(&draw)));
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        // If that fails, whoever writes into it says why.
        let _ = builder.create(&folder);
        let held = File::open(&folder).ok().filter(|file| file.try_lock().is_ok());
        Fresh { folder, _held: held }
    }

    pub fn remove(&self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Removes the folders that nobody holds.
fn clean(within: &Path, name: &str, young: Duration) {
    let Ok(entries) = fs::read_dir(within) else { return };
    for entry in entries.filter_map(Result::ok) {
        let named = entry.file_name().to_str().is_some_and(|text| text.starts_with(name));
        // Of the entry itself: not where a link leads to.
        let Ok(about) = entry.metadata() else { continue };
        let age = about.modified().ok().and_then(|at| at.elapsed().ok());
        if named && about.is_dir() && age.is_some_and(|age| age >= young) && abandoned(&entry.path()) {
            // What is another user's stays.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn abandoned(folder: &Path) -> bool {
    File::open(folder).is_ok_and(|file| file.try_lock().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_holds_is_removed() {
        let own = Fresh::new("seckel-leftovers-").folder;
        let made = |name: &str| {
            let folder = own.join(name);
            fs::create_dir_all(folder.join("cores/aa")).expect("a folder");
            fs::write(folder.join("cores/aa/data"), "x").expect("a file");
            folder
        };
        let (dead, alive, other) = (made("a-dead"), made("a-alive"), made("b"));
        let held = File::open(&alive).expect("a folder");
        held.lock().expect("free");
        clean(&own, "a-", YOUNG);
        assert!(dead.exists(), "it is young");
        #[cfg(unix)]
        std::os::unix::fs::symlink(&other, own.join("a-link")).expect("a link");
        clean(&own, "a-", Duration::ZERO);
        assert!(!dead.exists());
        assert!(alive.exists() && other.join("cores/aa/data").exists());
        drop(held);
        clean(&own, "a-", Duration::ZERO);
        assert!(!alive.exists());
        fs::remove_dir_all(&own).expect("our own");
    }
}
