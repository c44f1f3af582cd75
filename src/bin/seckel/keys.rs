//! Key pairs on disk, and `seckel keygen`. A key file is one line of hex: the seed (64 digits), or the secret
//! key as other
//! tools keep it (128: the seed, then the public key).

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use seckel::app::registry::outcome::Exit;
use seckel::base::{Entropy, hex};
use seckel::edge::os::OsEntropy;
use seckel::node::KeyPair;

use super::run::Bad;
use super::terminal::{say, warn};

pub const EXAMPLES: &str = "\
Examples:
  seckel keygen --out alice.key              prints the public key; alice.key is for your eyes only
  seckel keygen --json                       a pair that is kept nowhere
  seckel keygen --seed 0101010101010101010101010101010101010101010101010101010101010101
  seckel chat --key alice.key                every command with --key reads such a file, or makes it
A file that is there is never overwritten.
Exit codes: 0 done, 2 wrong command line, 4 the file is there already or cannot be written.";

#[derive(Args, Debug)]
pub struct Keygen {
    /// The pair that belongs to this seed, 64 hex digits [a new one]
    #[arg(long, value_name = "HEX", value_parser = seed)]
    pub seed: Option<[u8; 32]>,
    /// Keep the secret in this file, and print the public key only
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Write the keys as JSON
    #[arg(long)]
    pub json: bool,
}

fn seed(text: &str) -> Result<[u8; 32], &'static str> {
    hex::decode(text).and_then(|bytes| bytes.try_into().ok()).ok_or("not a seed: 64 hex digits")
}

/// `seckel keygen`.
pub fn keygen(args: &Keygen) -> Result<u8, Bad> {
    let pair = args.seed.map_or_else(fresh, KeyPair::from_seed);
    if let Some(path) = &args.out {
        write(path, &pair)?;
    }
    let (public, z32) = (hex::encode(&pair.public), hex::key_to_z32(&pair.public));
    let seed = args.out.is_none().then(|| hex::encode(pair.seed()));
    if args.json {
        let seed = seed.map_or(String::new(), |seed| format!(",\"seed\":\"{seed}\""));
        say(&format!("{{\"public_key\":\"{public}\",\"z32\":\"{z32}\"{seed}}}"));
    } else {
        say(&format!("Public Key: {public}"));
        if let Some(seed) = seed {
            say(&format!("Seed (secret): {seed}"));
        }
    }
    Ok(0)
}

/// A pair that nobody had before.
pub fn fresh() -> KeyPair {
    KeyPair::from_seed(OsEntropy::default().bytes32())
}

/// The pair in a file, which is made if there is none; without a file a fresh one.
pub fn read_or_make(path: Option<&Path>) -> Result<KeyPair, Bad> {
    let Some(path) = path else { return Ok(fresh()) };
    if path.try_exists().map_err(|error| bad(path, &error))? {
        return read(path);
    }
    let pair = fresh();
    write(path, &pair)?;
    Ok(pair)
}

/// The pair in a file.
pub fn read(path: &Path) -> Result<KeyPair, Bad> {
    let mut text = String::new();
    // More than any key file has, so that a wrong file is not read whole.
    let read = File::open(path).and_then(|file| {
        warn_if_shared(path, &file);
        file.take(LONGEST + 1).read_to_string(&mut text)
    });
    match read {
        Ok(_) => parse(&text).map_err(|wrong| bad(path, &format!("not a key file: {wrong}"))),
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            Err(bad(path, &"not a key file: it is not text"))
        }
        Err(error) => Err(bad(path, &error)),
    }
}

/// A secret that others can read is none. It is used all the same: the file may be shared on purpose.
fn warn_if_shared(path: &Path, file: &File) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode =
            file.metadata().map_or(0, |data| if data.is_file() { data.permissions().mode() } else { 0 });
        if mode & 0o077 != 0 {
            let (name, mode) = (path.display(), mode & 0o777);
            warn(&format!(
                "{name}: others than its owner can use this key (mode {mode:o}); chmod 600 {name}"
            ));
        }
    }
    #[cfg(not(unix))]
    let _ = (path, file);
}

/// Bytes that a key file has at most, white space at its end included.
const LONGEST: u64 = 1024;

fn parse(text: &str) -> Result<KeyPair, String> {
    let digits = text.trim();
    let expected = "expected 64 hex digits (a seed) or 128 (a secret key)";
    if digits.is_empty() {
        return Err(format!("it is empty; {expected}"));
    }
    if let Some(at) = digits.chars().position(|c| !c.is_ascii_hexdigit()) {
        return Err(format!("character {} is no hex digit; {expected}", at + 1));
    }
    let bytes = hex::decode(digits).unwrap_or_default();
    let (seed, public) = match bytes.len() {
        32 => (&bytes[..], None),
        64 => (&bytes[..32], Some(&bytes[32..])),
        _ => return Err(format!("it has {} digits; {expected}", digits.len())),
    };
    let pair = KeyPair::from_seed(seed.try_into().expect("32 bytes"));
    if public.is_some_and(|public| public != pair.public) {
        return Err("its second half is not the public key of its first half".to_owned());
    }
    Ok(pair)
}

/// Keeps a pair in a new file that only its owner may read. It is on the disk when this returns.
fn write(path: &Path, pair: &KeyPair) -> Result<(), Bad> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = options.open(path).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => bad(path, &"is there already, and is not overwritten; name another file"),
        _ => bad(path, &error),
    })?;
    let line = format!("{}\n", hex::encode(pair.seed()));
    let written =
        file.write_all(line.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| sync_name(path));
    written.map_err(|error| {
        // Half a key is no use to anybody.
        let _ = std::fs::remove_file(path);
        bad(path, &error)
    })
}

/// The file's name outlives a crash, too.
fn sync_name(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if cfg!(unix) { File::open(folder.unwrap_or(Path::new(".")))?.sync_all() } else { Ok(()) }
}

fn bad(path: &Path, why: &dyn std::fmt::Display) -> Bad {
    Bad { text: format!("{}: {why}", path.display()), code: Exit::Storage as u8 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_and_a_secret_key_are_the_same_pair() {
        let pair = KeyPair::from_seed([7; 32]);
        for text in
            [hex::encode(pair.seed()), hex::encode(&pair.secret_key()), format!("{}\n", "07".repeat(32))]
        {
            assert_eq!(parse(&text).expect("a key file").public, pair.public);
        }
    }

    #[test]
    fn what_is_wrong_with_a_key_file_is_told() {
        let mixed = format!("{}{}", "07".repeat(32), "08".repeat(32));
        for (text, wrong) in [
            ("", "empty"),
            ("0707", "4 digits"),
            ("07 07", "character 3"),
            ("secret", "character 1"),
            (&*mixed, "second half"),
        ] {
            let told = parse(text).expect_err("no key file");
            assert!(told.contains(wrong), "{told}");
        }
    }
}
