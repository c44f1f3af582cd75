//! What a process writes about itself: its transcript, as text or JSON, and its session keys.
//!
//! Nothing that goes wrong here harms the process: what cannot be written ends that output, with a word on standard
//! error. Lines are collected and leave whole, at the latest when the process waits.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::KeyLog;
use crate::base::trace::{Entry, Line, Place};
use crate::base::{Time, Trace};

/// Bytes of lines that are collected before they are written.
const COLLECTED: usize = 64 << 10;
/// As a file's name: standard error.
const STDERR: &str = "-";

/// What to write, and where: the name of a file, or `-` for standard error.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The transcript on standard error, a line for each thing.
    pub verbose: bool,
    /// The same in a file.
    pub text: Option<PathBuf>,
    /// The transcript, an object of JSON for each thing.
    pub json: Option<PathBuf>,
    /// The session keys: appended, and readable by the owner only.
    pub keys: Option<PathBuf>,
}

/// A file that cannot be opened.
#[derive(Debug)]
pub struct Unopened {
    pub path: PathBuf,
    pub error: io::Error,
}

impl core::fmt::Display for Unopened {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.error)
    }
}

/// The outputs of a process, shared by its nodes.
#[derive(Clone)]
pub struct Transcript(Arc<Shared>);

struct Shared {
    /// Some output takes lines.
    on: AtomicBool,
    keys: bool,
    outputs: Mutex<Outputs>,
}

#[derive(Default)]
struct Outputs {
    lines: Vec<Output>,
    keys: Option<(PathBuf, KeyLog)>,
    entry: Entry,
}

impl Transcript {
    /// Opens what is wanted; `None` if nothing is. A transcript takes the place of what is in the file.
    pub fn open(wanted: &Wanted) -> Result<Option<Transcript>, Unopened> {
        let mut outputs = Outputs::default();
        let verbose = wanted.verbose.then(|| PathBuf::from(STDERR));
        for (path, form) in [(&verbose, Form::Text), (&wanted.text, Form::Text), (&wanted.json, Form::Json)] {
            if let Some(path) = path {
                outputs.lines.push(Output::open(path, form)?);
            }
        }
        if let Some(path) = &wanted.keys {
            let log = KeyLog::open(path).map_err(|error| Unopened { path: path.clone(), error })?;
            outputs.keys = Some((path.clone(), log));
        }
        if outputs.lines.is_empty() && outputs.keys.is_none() {
            return Ok(None);
        }
        let (on, keys) = (AtomicBool::new(!outputs.lines.is_empty()), outputs.keys.is_some());
        Ok(Some(Transcript(Arc::new(Shared { on, keys, outputs: Mutex::new(outputs) }))))
    }

    /// Where node `node` writes.
    pub fn of(&self, node: usize) -> NodeTrace {
        NodeTrace { shared: self.clone(), node, place: None }
    }

    /// Takes a line that is made already.
    pub fn take(&self, entry: &Entry) {
        self.write(|outputs| outputs.put(entry));
    }

    /// Writes what is collected. (transcript.9)
    pub fn flush(&self) {
        self.write(Outputs::flush);
    }

    fn write(&self, act: impl FnOnce(&mut Outputs)) {
        let mut outputs = self.outputs();
        act(&mut outputs);
        if outputs.lines.is_empty() {
            self.0.on.store(false, Ordering::Relaxed);
        }
    }

    fn outputs(&self) -> MutexGuard<'_, Outputs> {
        self.0.outputs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where one node writes.
pub struct NodeTrace {
    shared: Transcript,
    node: usize,
    place: Option<Place>,
}

impl Trace for NodeTrace {
    fn on(&self) -> bool {
        self.shared.0.on.load(Ordering::Relaxed)
    }

    fn line(&mut self, now: Time, line: &Line<'_>) {
        let (node, place) = (Some(self.node), self.place);
        self.shared.write(|outputs| {
            let mut entry = core::mem::take(&mut outputs.entry);
            entry.take(now, node, place, line);
            outputs.put(&entry);
            outputs.entry = entry;
        });
    }

    fn within(&mut self, place: Option<Place>) -> Option<Place> {
        core::mem::replace(&mut self.place, place)
    }

    fn wants_keys(&self) -> bool {
        self.shared.0.keys
    }

    fn key(&mut self, label: &'static str, id: &[u8], secrets: &[&[u8]]) {
        self.shared.outputs().key(label, id, secrets);
    }
}

impl Outputs {
    fn put(&mut self, entry: &Entry) {
        for output in &mut self.lines {
            output.form.append(entry, &mut output.collected);
        }
        if self.lines.iter().any(Output::is_due) {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.lines.retain_mut(Output::flush);
    }

    fn key(&mut self, label: &'static str, id: &[u8], secrets: &[&[u8]]) {
        let Some((path, log)) = &mut self.keys else { return };
        if let Err(error) = log.add(label, id, secrets) {
            complain(path, "session keys", &error);
            self.keys = None;
        }
    }
}

impl Drop for Outputs {
    fn drop(&mut self) {
        self.flush();
    }
}

#[derive(Clone, Copy)]
enum Form {
    Text,
    Json,
}

impl Form {
    fn append(self, entry: &Entry, out: &mut String) {
        match self {
            Form::Text => entry.text(out),
            Form::Json => entry.json(out),
        }
    }
}

struct Output {
    form: Form,
    path: PathBuf,
    /// `None` is standard error.
    file: Option<File>,
    collected: String,
    /// Bytes of whole lines that the file has.
    written: u64,
}

impl Output {
    fn open(path: &Path, form: Form) -> Result<Output, Unopened> {
        let file = match path.as_os_str() == STDERR {
            true => None,
            false => Some(File::create(path).map_err(|error| Unopened { path: path.to_owned(), error })?),
        };
        Ok(Output { form, path: path.to_owned(), file, collected: String::new(), written: 0 })
    }

    /// Lines on standard error stand in the order of what the program says there.
    fn is_due(&self) -> bool {
        self.file.is_none() || self.collected.len() >= COLLECTED
    }

    /// False: nothing can be written any more.
    fn flush(&mut self) -> bool {
        let done = match &mut self.file {
            Some(file) => write_whole(file, self.collected.as_bytes(), &mut self.written),
            None => io::stderr().lock().write_all(self.collected.as_bytes()),
        };
        self.collected.clear();
        match (&done, &self.file) {
            (Ok(()), _) => return true,
            (Err(error), Some(_)) => complain(&self.path, "transcript", error),
            (Err(_), None) => {}
        }
        false
    }
}

/// Writes lines. If not all fit, the file is cut after the last whole one. (transcript.1)
fn write_whole(file: &mut File, lines: &[u8], written: &mut u64) -> io::Result<()> {
    let mut done = 0;
    let failed = loop {
        let Some(rest) = lines.get(done..).filter(|rest| !rest.is_empty()) else {
            *written += lines.len() as u64;
            return Ok(());
        };
        match file.write(rest) {
            Ok(0) => break io::ErrorKind::WriteZero.into(),
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break error,
        }
    };
    let whole = lines.iter().take(done).rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    // A pipe cannot be cut.
    let _ = file.set_len(*written + whole as u64);
    Err(failed)
}

fn complain(path: &Path, what: &str, error: &io::Error) {
    let _ = writeln!(io::stderr().lock(), "seckel: {}: the {what} ends here: {error}", path.display());
}
