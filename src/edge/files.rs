//! Real files below one root folder.
//!
//! At most `limits::FILES_OPEN_MAX` are open at the operating system at once; the one used longest ago is closed and
//! opened again when it is needed (pitfalls 14.14). Syncing a file that was just made syncs the folders that were
//! made or changed for it, so that its name outlives a crash too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::base::{Disk, DiskError, FileId, Mode, limits};

struct Slot {
    path: PathBuf,
    mode: Mode,
    file: Option<File>,
    /// When it was last used, for choosing which to close.
    used: u64,
}

/// The files of one node on a real disk.
pub struct Files {
    root: PathBuf,
    slots: Vec<Option<Slot>>,
    /// How many slots have an open `File`.
    live: usize,
    clock: u64,
    pending: BTreeSet<FileId>,
    /// Folders whose list of names changed since they were synced.
    folders: BTreeSet<PathBuf>,
    locks: BTreeMap<PathBuf, File>,
}

pub(super) fn error(error: io::Error) -> DiskError {
    match error.kind() {
        ErrorKind::NotFound => DiskError::Missing,
        ErrorKind::PermissionDenied => DiskError::Denied,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => DiskError::Full,
        ErrorKind::ReadOnlyFilesystem => DiskError::ReadOnly,
        _ => DiskError::Os(error.raw_os_error().unwrap_or(0)),
    }
}

impl Files {
    /// All paths are below `root`, which is made if missing.
    pub fn open(root: &Path) -> Result<Files, DiskError> {
        fs::create_dir_all(root).map_err(error)?;
        Ok(Files {
            root: root.to_owned(),
            slots: Vec::new(),
            live: 0,
            clock: 0,
            pending: BTreeSet::new(),
            folders: BTreeSet::new(),
            locks: BTreeMap::new(),
        })
    }

    /// How many files are open at the operating system.
    pub fn open_count(&self) -> usize {
        self.live
    }

    fn path(&self, path: &str) -> Result<PathBuf, DiskError> {
        let bad =
            |part: &str| part.is_empty() || part == "." || part == ".." || part.contains(['\\', ':', '\0']);
        if path.split('/').any(bad) {
            return Err(DiskError::Denied);
        }
        Ok(self.root.join(path))
    }

    fn make_folders(&mut self, path: &Path) -> Result<(), DiskError> {
        let mut missing = Vec::new();
        let mut folder = path.parent();
        while let Some(each) = folder {
            if each.is_dir() {
                break;
            }
            missing.push(each);
            folder = each.parent();
        }
        for each in missing.into_iter().rev() {
            match fs::create_dir(each) {
                Ok(()) => {}
                Err(why) if why.kind() == ErrorKind::AlreadyExists => {}
                Err(why) => return Err(error(why)),
            }
            self.folders.extend(each.parent().map(Path::to_owned));
        }
        Ok(())
    }

    fn open_at_system(&mut self, path: &Path, mode: Mode) -> Result<File, DiskError> {
        if mode == Mode::Read {
            let file = File::open(path).map_err(error)?;
            return if file.metadata().map_err(error)?.is_dir() { Err(DiskError::Missing) } else { Ok(file) };
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        match options.open(path) {
            Ok(file) => return Ok(file),
            Err(why) if why.kind() == ErrorKind::NotFound => {}
            Err(why) => return Err(error(why)),
        }
        self.make_folders(path)?;
        options.create(true);
        #[cfg(unix)]
        if mode == Mode::Private {
            use std::os::unix::fs::OpenOptionsExt;
            options.mode(0o600);
        }
        let file = options.open(path).map_err(error)?;
        self.folders.extend(path.parent().map(Path::to_owned));
        Ok(file)
    }

    /// Closes what was used longest ago until one more fits.
    fn make_room(&mut self) {
        while self.live >= limits::FILES_OPEN_MAX {
            let open = self.slots.iter_mut().flatten().filter(|slot| slot.file.is_some());
            let Some(oldest) = open.min_by_key(|slot| slot.used) else { return };
            oldest.file = None;
            self.live -= 1;
        }
    }

    fn slot(&mut self, file: FileId) -> Result<&mut Slot, DiskError> {
        self.slots.get_mut(file.0 as usize).and_then(Option::as_mut).ok_or(DiskError::Missing)
    }

    fn file(&mut self, id: FileId) -> Result<&File, DiskError> {
        let slot = self.slot(id)?;
        if slot.file.is_none() {
            let (path, mode) = (slot.path.clone(), slot.mode);
            self.make_room();
            let file = self.open_at_system(&path, mode)?;
            self.slot(id)?.file = Some(file);
            self.live += 1;
        }
        self.clock += 1;
        let clock = self.clock;
        let slot = self.slot(id)?;
        slot.used = clock;
        slot.file.as_ref().ok_or(DiskError::Missing)
    }

    fn writable(&mut self, id: FileId) -> Result<&File, DiskError> {
        if self.slot(id)?.mode == Mode::Read {
            return Err(DiskError::ReadOnly);
        }
        self.file(id)
    }

    fn sync_folders(&mut self) -> Result<(), DiskError> {
        while let Some(folder) = self.folders.first() {
            sync_folder(folder)?;
            self.folders.pop_first();
        }
        Ok(())
    }
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> Result<(), DiskError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(error)
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> Result<(), DiskError> {
    Ok(())
}

#[cfg(unix)]
fn read_some(file: &File, into: &mut [u8], at: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, into, at)
}

#[cfg(windows)]
fn read_some(file: &File, into: &mut [u8], at: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, into, at)
}

#[cfg(unix)]
fn write_some(file: &File, bytes: &[u8], at: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::write_at(file, bytes, at)
}

#[cfg(windows)]
fn write_some(file: &File, bytes: &[u8], at: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_write(file, bytes, at)
}

impl Disk for Files {
    fn open(&mut self, path: &str, mode: Mode) -> Result<FileId, DiskError> {
        let path = self.path(path)?;
        self.make_room();
        let file = self.open_at_system(&path, mode)?;
        let number = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        if number == self.slots.len() {
            self.slots.push(None);
        }
        self.clock += 1;
        self.live += 1;
        self.slots[number] = Some(Slot { path, mode, file: Some(file), used: self.clock });
        Ok(FileId(number as u32))
    }

    fn close(&mut self, file: FileId) {
        if self.pending.contains(&file) {
            let _ = self.sync(file);
            self.pending.remove(&file);
        }
        let slot = self.slots.get_mut(file.0 as usize).and_then(Option::take);
        self.live -= usize::from(slot.is_some_and(|slot| slot.file.is_some()));
    }

    fn len(&mut self, file: FileId) -> Result<u64, DiskError> {
        Ok(self.file(file)?.metadata().map_err(error)?.len())
    }

    fn read_at(&mut self, file: FileId, at: u64, into: &mut [u8]) -> Result<usize, DiskError> {
        let file = self.file(file)?;
        let mut done = 0;
        while done < into.len() {
            match read_some(file, &mut into[done..], at.saturating_add(done as u64)) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(why) => return Err(error(why)),
            }
        }
        Ok(done)
    }

    fn write_at(&mut self, file: FileId, at: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let file = self.writable(file)?;
        let mut done = 0;
        while done < bytes.len() {
            match write_some(file, &bytes[done..], at.saturating_add(done as u64)) {
                Ok(0) => return Err(DiskError::Full),
                Ok(count) => done += count,
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(why) => return Err(error(why)),
            }
        }
        Ok(())
    }

    fn truncate(&mut self, file: FileId, len: u64) -> Result<(), DiskError> {
        self.writable(file)?.set_len(len).map_err(error)
    }

    fn sync(&mut self, file: FileId) -> Result<(), DiskError> {
        self.file(file)?.sync_data().map_err(error)?;
        self.sync_folders()?;
        self.pending.remove(&file);
        Ok(())
    }

    fn sync_later(&mut self, file: FileId) {
        self.pending.insert(file);
    }

    fn sync_pending(&mut self) -> Result<(), DiskError> {
        while let Some(&file) = self.pending.first() {
            self.sync(file)?;
        }
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        let (from, to) = (self.path(from)?, self.path(to)?);
        self.make_folders(&to)?;
        fs::rename(&from, &to).map_err(error)?;
        self.folders.extend([&from, &to].into_iter().filter_map(|path| path.parent()).map(Path::to_owned));
        self.sync_folders()
    }

    fn remove(&mut self, path: &str) -> Result<(), DiskError> {
        let path = self.path(path)?;
        fs::remove_file(&path).map_err(error)?;
        self.folders.extend(path.parent().map(Path::to_owned));
        self.sync_folders()
    }

    fn exists(&mut self, path: &str) -> bool {
        self.path(path).is_ok_and(|path| path.is_file())
    }

    fn list(&mut self, folder: &str) -> Result<Vec<String>, DiskError> {
        let path = if folder.is_empty() { self.root.clone() } else { self.path(folder)? };
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(why) if matches!(why.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(vec![]);
            }
            Err(why) => return Err(error(why)),
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry.map_err(error)?.file_name().into_string().ok());
        }
        names.sort();
        Ok(names)
    }

    fn lock(&mut self, path: &str) -> Result<(), DiskError> {
        let path = self.path(path)?;
        let file = self.open_at_system(&path, Mode::Write)?;
        match file.try_lock() {
            Ok(()) => {
                self.locks.insert(path, file);
                Ok(())
            }
            Err(fs::TryLockError::WouldBlock) => Err(DiskError::Locked),
            Err(fs::TryLockError::Error(why)) => Err(error(why)),
        }
    }

    fn unlock(&mut self, path: &str) {
        if let Ok(path) = self.path(path) {
            self.locks.remove(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("seckel-files-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Folder(path)
        }
        fn files(&self) -> Files {
            Files::open(&self.0).expect("opens")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = Folder::new("rw");
        let mut disk = folder.files();
        assert_eq!(disk.open("a/b/c", Mode::Read), Err(DiskError::Missing));
        let file = disk.open("a/b/c", Mode::Write).expect("opens");
        disk.write_at(file, 5, b"pear").expect("writes");
        disk.sync_later(file);
        disk.sync_pending().expect("syncs");
        let mut into = [9; 12];
        assert_eq!(disk.read_at(file, 0, &mut into), Ok(9));
        assert_eq!(&into, b"\0\0\0\0\0pear\x09\x09\x09");
        disk.truncate(file, 6).expect("truncates");
        assert_eq!(disk.len(file), Ok(6));
        disk.close(file);
        assert_eq!(disk.len(file), Err(DiskError::Missing));
        assert_eq!(disk.list("a"), Ok(vec!["b".to_owned()]));
        let file = disk.open("a/b/c", Mode::Read).expect("opens");
        assert_eq!(disk.write_at(file, 0, b"x"), Err(DiskError::ReadOnly));
        assert!(disk.exists("a/b/c") && !disk.exists("a/b"));
        disk.rename("a/b/c", "d").expect("renames");
        assert!(disk.exists("d") && !disk.exists("a/b/c"));
        disk.remove("d").expect("removes");
        assert_eq!(disk.list(""), Ok(vec!["a".to_owned()]));
    }

    #[test]
    fn no_path_leaves_the_root() {
        let folder = Folder::new("dots");
        let mut disk = folder.files();
        for path in ["../x", "a/../../x", "/etc/x", "", "a//b", ".", "a\\b"] {
            assert_eq!(disk.open(path, Mode::Write), Err(DiskError::Denied), "{path}");
            assert_eq!(disk.remove(path), Err(DiskError::Denied), "{path}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn private_files_are_the_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = Folder::new("private");
        let mut disk = folder.files();
        crate::base::disk::replace_file(&mut disk, "secret", Mode::Private, b"1234").expect("writes");
        let mode = fs::metadata(folder.0.join("secret")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(crate::base::disk::read_file(&mut disk, "secret", 100), Ok(Some(b"1234".to_vec())));
    }

    #[test]
    fn a_second_holder_of_the_lock_is_refused() {
        let folder = Folder::new("lock");
        let mut first = folder.files();
        let mut second = folder.files();
        assert_eq!(first.lock("store/lock"), Ok(()));
        assert_eq!(second.lock("store/lock"), Err(DiskError::Locked));
        drop(first);
        assert_eq!(second.lock("store/lock"), Ok(()));
    }

    /// pitfalls 14.14: many cores must not run into the limit of open files.
    #[test]
    fn a_thousand_handles_need_few_open_files() {
        let folder = Folder::new("many");
        let mut disk = folder.files();
        let ids: Vec<FileId> = (0..1000_u32)
            .map(|n| {
                let file = disk.open(&format!("f{n}"), Mode::Write).expect("opens");
                disk.write_at(file, 0, &n.to_le_bytes()).expect("writes");
                file
            })
            .collect();
        for (n, &file) in (0..1000_u32).zip(&ids) {
            let mut into = [0; 4];
            assert_eq!(disk.read_at(file, 0, &mut into), Ok(4));
            assert_eq!(into, n.to_le_bytes());
            assert!(disk.open_count() <= limits::FILES_OPEN_MAX);
        }
        for file in ids {
            disk.close(file);
        }
        assert_eq!(disk.open_count(), 0);
    }
}
