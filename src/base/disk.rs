//! Files as machines see them: paths below one root, reads and writes at offsets, and explicit syncs.

use core::fmt;

/// An open file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FileId(pub u32);

/// How to open a file. Missing folders are made by the writing modes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Must exist; is never written.
    Read,
    /// Made if missing.
    Write,
    /// Made if missing, readable by the owner only.
    Private,
}

/// What went wrong with a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskError {
    Missing,
    Denied,
    Full,
    /// Another process holds the lock.
    Locked,
    /// The file was opened for reading only.
    ReadOnly,
    /// The operating system's number.
    Os(i32),
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DiskError::Missing => f.write_str("no such file"),
            DiskError::Denied => f.write_str("permission denied"),
            DiskError::Full => f.write_str("the disk is full"),
            DiskError::Locked => f.write_str("in use by another process"),
            DiskError::ReadOnly => f.write_str("opened for reading only"),
            DiskError::Os(code) => write!(f, "operating system error {code}"),
        }
    }
}

/// The files of one node. Paths use `/`, are relative to the root, and never hold `..`.
///
/// A write is visible to reads at once. It outlives a crash of the machine only after `sync`, or after `sync_later`
/// and the next `sync_pending`, which the node calls before it hands out anything.
pub trait Disk {
    fn open(&mut self, path: &str, mode: Mode) -> Result<FileId, DiskError>;
    fn close(&mut self, file: FileId);
    fn len(&mut self, file: FileId) -> Result<u64, DiskError>;
    /// Fills `into` from `at`; returns how many bytes there were before the end of the file.
    fn read_at(&mut self, file: FileId, at: u64, into: &mut [u8]) -> Result<usize, DiskError>;
    fn write_at(&mut self, file: FileId, at: u64, bytes: &[u8]) -> Result<(), DiskError>;
    /// Cuts or extends (with zeros) to `len`.
    fn truncate(&mut self, file: FileId, len: u64) -> Result<(), DiskError>;
    fn sync(&mut self, file: FileId) -> Result<(), DiskError>;
    /// Asks that `file` be synced before the node next hands out anything.
    fn sync_later(&mut self, file: FileId);
    /// Syncs what `sync_later` named.
    fn sync_pending(&mut self) -> Result<(), DiskError>;
    /// Replaces `to` by `from` in one step, durably.
    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError>;
    fn remove(&mut self, path: &str) -> Result<(), DiskError>;
    fn exists(&mut self, path: &str) -> bool;
    /// The names in a folder, sorted; empty if there is no such folder.
    fn list(&mut self, folder: &str) -> Result<Vec<String>, DiskError>;
    /// Takes an exclusive lock on the file `path` (made if missing) until `unlock`, or until the disk is dropped.
    fn lock(&mut self, path: &str) -> Result<(), DiskError>;
    /// Gives a lock back; nothing happens if it is not held.
    fn unlock(&mut self, _path: &str) {}
}

/// The path of something in a folder; the root's is empty.
pub fn join(dir: &str, path: &str) -> String {
    if dir.is_empty() { path.to_owned() } else { format!("{dir}/{path}") }
}

/// Reads a whole small file; `Ok(None)` if it is missing. Longer than `max` is cut there.
pub fn read_file(disk: &mut dyn Disk, path: &str, max: usize) -> Result<Option<Vec<u8>>, DiskError> {
    let file = match disk.open(path, Mode::Read) {
        Ok(file) => file,
        Err(DiskError::Missing) => return Ok(None),
        Err(error) => return Err(error),
    };
    let len = disk.len(file)?.min(max as u64) as usize;
    let mut bytes = vec![0; len];
    let read = disk.read_at(file, 0, &mut bytes);
    disk.close(file);
    bytes.truncate(read?);
    Ok(Some(bytes))
}

/// Writes a small file so that a crash leaves either the old or the new content, and nothing half.
pub fn replace_file(disk: &mut dyn Disk, path: &str, mode: Mode, bytes: &[u8]) -> Result<(), DiskError> {
    let draft = format!("{path}.new");
    let file = disk.open(&draft, mode)?;
    let written =
        disk.truncate(file, 0).and_then(|()| disk.write_at(file, 0, bytes)).and_then(|()| disk.sync(file));
    disk.close(file);
    written?;
    disk.rename(&draft, path)
}
