//! `seckel bee put`, `del`, `import`.

use std::path::Path;

use seckel::app::bee::check;
use seckel::app::text::{object, quoted};
use seckel::base::{hex, limits};
use seckel::hyperbee::{Bee, Sub};
use seckel::hypercore::Hypercore;

use super::text::{Line, parse};
use super::{Del, Import, Put, decoded};
use crate::cores::write::{Cut, Cutter, writable};
use crate::progress::{Progress, Unit};
use crate::run::Bad;
use crate::shelf::{INTERRUPTED, Keeping, NO, Shelf, Which};
use crate::stdio::{Came, Input};
use crate::terminal::{say, warn};

/// Operations that are appended in one step, and bytes of keys and values.
const STEP: usize = 1000;
const STEP_BYTES: usize = 1 << 20;

/// An open tree that can be written to.
struct Tree {
    shelf: Shelf,
    core: Hypercore,
    bee: Bee,
}

impl Tree {
    fn open(dir: &Path, which: &Which, keeping: Keeping, make: bool) -> Result<Tree, Bad> {
        let mut shelf = Shelf::open(dir, make)?;
        let (mut core, fresh) = shelf.writer(which, make, keeping)?;
        writable(&shelf, &core)?;
        let mut bee = Bee::new();
        check(&mut shelf.cx(), &mut bee, &mut core).map_err(|error| shelf.bad(error))?;
        if fresh {
            warn(&format!("a new core: {}", hex::encode(core.key())));
        }
        Ok(Tree { shelf, core, bee })
    }
}

/// `seckel bee put`.
pub fn put(args: &Put) -> Result<u8, Bad> {
    let key = args.at.part.sub().key(&decoded(args.encoding, "the key", &args.entry)?);
    let value = match &args.value {
        Some(value) => decoded(args.encoding, "the value", value)?,
        None => match whole_input(&mut Input::open()?)? {
            Some(value) => value,
            None => return Ok(INTERRUPTED),
        },
    };
    let Tree { mut shelf, mut core, mut bee } = Tree::open(&args.at.dir, &args.which, args.keeping, true)?;
    let done = bee.put(&mut shelf.cx(), &mut core, &key, Some(&value));
    let seq = done.map_err(|error| shelf.bad(error))?;
    shelf.close(core)?;
    if args.json {
        say(&object(&[("seq", seq.to_string())]));
    } else {
        say(&format!("Put: block {seq}"));
    }
    Ok(0)
}

/// None: interrupted.
fn whole_input(input: &mut Input) -> Result<Option<Vec<u8>>, Bad> {
    let mut all = Vec::new();
    loop {
        match input.wait()? {
            Came::Bytes(bytes) => all.extend(bytes),
            Came::Nothing => {}
            Came::End => return Ok(Some(all)),
            Came::Interrupted => return Ok(None),
        }
        if all.len() > limits::HYPERBEE_BLOCK_MAX {
            let text = format!("a value has {} bytes at most", limits::HYPERBEE_BLOCK_MAX);
            return Err(Bad { text, code: NO });
        }
    }
}

/// `seckel bee del`.
pub fn del(args: &Del) -> Result<u8, Bad> {
    let key = args.at.part.sub().key(&decoded(args.encoding, "the key", &args.entry)?);
    let Tree { mut shelf, mut core, mut bee } = Tree::open(&args.at.dir, &args.which, args.keeping, false)?;
    let found = bee.get(&mut shelf.cx(), &mut core, &key).map_err(|error| shelf.bad(error))?;
    if found.is_some() {
        bee.del(&mut shelf.cx(), &mut core, &key).map_err(|error| shelf.bad(error))?;
    }
    let length = core.length();
    shelf.close(core)?;
    if args.json {
        say(&object(&[("deleted", found.is_some().to_string()), ("length", length.to_string())]));
    } else if found.is_some() {
        say("Deleted");
    } else {
        warn("not there");
    }
    Ok(if found.is_some() { 0 } else { NO })
}

/// `seckel bee import`.
pub fn import(args: &Import) -> Result<u8, Bad> {
    let tree = Tree::open(&args.at.dir, &args.which, args.keeping, true)?;
    let progress = Progress::new(Unit::Bytes, args.progress);
    let mut importing = Importing {
        tree,
        args,
        sub: args.at.part.sub(),
        lines: Vec::new(),
        bytes: 0,
        read: 0,
        changed: 0,
        same: 0,
        progress,
    };
    let ended = importing.run(&mut Input::open()?);
    importing.progress.end();
    let Importing { tree: Tree { shelf, core, .. }, changed, same, read, .. } = importing;
    let (length, key) = (core.length(), hex::encode(core.key()));
    let mut shelf = shelf;
    shelf.close(core)?;
    if args.json {
        say(&object(&[
            ("key", quoted(&key)),
            ("lines", read.to_string()),
            ("changed", changed.to_string()),
            ("same", same.to_string()),
            ("length", length.to_string()),
        ]));
    } else {
        say(&format!("Imported: {changed} changed, {same} there already, length {length}"));
    }
    ended
}

struct Importing<'a> {
    tree: Tree,
    args: &'a Import,
    sub: Sub,
    lines: Vec<Line>,
    /// Of keys and values in `lines`.
    bytes: usize,
    /// Lines so far.
    read: u64,
    changed: u64,
    same: u64,
    progress: Progress,
}

impl Importing<'_> {
    /// The exit code; what was read before an error is imported all the same.
    fn run(&mut self, input: &mut Input) -> Result<u8, Bad> {
        let (mut cutter, mut blocks, mut seen) = (Cutter::new(Cut::Lines), Vec::new(), 0);
        let of = Input::len();
        loop {
            let came = match input.next()? {
                Came::Nothing => {
                    self.put()?;
                    self.tree.shelf.sync()?;
                    input.wait()?
                }
                came => came,
            };
            let ended = match came {
                Came::Bytes(bytes) => {
                    seen += bytes.len() as u64;
                    if cutter.push(&bytes, &mut blocks).is_err() {
                        self.put()?;
                        return Err(self.wrong("it is longer than a block can be"));
                    }
                    None
                }
                Came::Nothing => None,
                Came::End => {
                    blocks.extend(cutter.finish());
                    Some(0)
                }
                // Half a line says nothing.
                Came::Interrupted => Some(INTERRUPTED),
            };
            for block in blocks.drain(..) {
                self.take(&block)?;
            }
            self.progress.tell(seen, of);
            if let Some(code) = ended {
                self.put()?;
                return Ok(code);
            }
        }
    }

    fn take(&mut self, block: &[u8]) -> Result<(), Bad> {
        self.read += 1;
        if block.trim_ascii().is_empty() {
            return Ok(());
        }
        let line = match parse(self.args.encoding, block) {
            Ok(Line::Put { key, value }) => Line::Put { key: self.sub.key(&key), value },
            Ok(Line::Del { key }) => Line::Del { key: self.sub.key(&key) },
            Err(why) => {
                self.put()?;
                return Err(self.wrong(&why));
            }
        };
        self.bytes += block.len();
        self.lines.push(line);
        if self.lines.len() >= STEP || self.bytes >= STEP_BYTES { self.put() } else { Ok(()) }
    }

    fn wrong(&self, why: &str) -> Bad {
        Bad { text: format!("line {}: {why}; the lines before it are imported", self.read), code: NO }
    }

    /// Appends what was taken, in one step.
    fn put(&mut self) -> Result<(), Bad> {
        let lines = core::mem::take(&mut self.lines);
        self.bytes = 0;
        if lines.is_empty() {
            return Ok(());
        }
        let Tree { shelf, core, bee } = &mut self.tree;
        let (mut changed, total) = (0, lines.len() as u64);
        let done = (|| {
            let cx = &mut shelf.cx();
            let mut batch = bee.batch(cx, core)?;
            for line in &lines {
                let done = match line {
                    Line::Put { key, value } => {
                        let value = value.as_deref();
                        let other = &mut |entry: &seckel::hyperbee::Entry| entry.value.as_deref() != value;
                        batch.put_if(cx, bee, core, key, value, other)?.is_some()
                    }
                    Line::Del { key } => batch.del(cx, bee, core, key)?,
                };
                changed += u64::from(done);
            }
            batch.flush(cx, bee, core)
        })();
        done.map_err(|error| shelf.bad(error))?;
        self.changed += changed;
        self.same += total - changed;
        Ok(())
    }
}
