//! `seckel core create`, `append`, `truncate`.

use seckel::app::text::{object, quoted};
use seckel::base::{Error, hex, limits};
use seckel::hyperbee::Bee;
use seckel::hypercore::Hypercore;

use super::{Append, Create, Truncate};
use crate::progress::{Progress, Unit};
use crate::run::Bad;
use crate::shelf::{INTERRUPTED, NO, Shelf, Which};
use crate::stdio::{Came, Input};
use crate::terminal::{say, warn};

/// Bytes of blocks that are appended in one step.
const STEP_BYTES: usize = 4 << 20;

/// `seckel core create`.
pub fn create(args: &Create) -> Result<u8, Bad> {
    let mut shelf = Shelf::open(&args.dir, true)?;
    let which = Which { name: args.name.clone(), space: args.space.clone(), ..Which::default() };
    let (core, fresh) = shelf.writer(&which, true, args.keeping)?;
    let (key, discovery_key) = (hex::encode(core.key()), hex::encode(core.discovery_key()));
    let length = core.length();
    shelf.close(core)?;
    if !fresh {
        let text = format!("{}: there already, with {length} blocks: {key}", args.dir.display());
        return Err(Bad { text, code: NO });
    }
    if args.json {
        let name = args.name.as_deref().map_or("null".to_owned(), quoted);
        say(&object(&[("key", quoted(&key)), ("discovery_key", quoted(&discovery_key)), ("name", name)]));
    } else {
        say(&format!("Core Key: {key}"));
        say(&format!("Discovery Key: {discovery_key}"));
    }
    Ok(0)
}

/// How input becomes blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    Whole,
    Lines,
    Size(usize),
}

/// Cuts input into blocks.
pub struct Cutter {
    cut: Cut,
    rest: Vec<u8>,
    /// Bytes of `rest` that hold no end of line.
    searched: usize,
}

impl Cutter {
    pub fn new(cut: Cut) -> Cutter {
        Cutter { cut, rest: Vec::new(), searched: 0 }
    }

    /// Takes input; the blocks that are whole now are added to `blocks`. `Invalid`: a block is too long.
    pub fn push(&mut self, bytes: &[u8], blocks: &mut Vec<Vec<u8>>) -> Result<(), Error> {
        self.rest.extend_from_slice(bytes);
        let mut at = 0;
        match self.cut {
            Cut::Whole => {}
            Cut::Lines => {
                let mut from = self.searched;
                while let Some(end) = self.rest[from..].iter().position(|&byte| byte == b'\n') {
                    blocks.push(self.rest[at..from + end].to_vec());
                    at = from + end + 1;
                    from = at;
                }
            }
            Cut::Size(size) => {
                while self.rest.len() - at >= size {
                    blocks.push(self.rest[at..at + size].to_vec());
                    at += size;
                }
            }
        }
        self.rest.drain(..at);
        self.searched = self.rest.len();
        let long = blocks.iter().any(|block| block.len() > limits::BLOCK_MAX);
        if long || self.rest.len() > limits::BLOCK_MAX { Err(Error::Invalid("a block")) } else { Ok(()) }
    }

    /// The end of the input: what is left.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        self.searched = 0;
        (!self.rest.is_empty()).then(|| core::mem::take(&mut self.rest))
    }
}

/// `seckel core append`.
pub fn append(args: &Append) -> Result<u8, Bad> {
    let cut = match (args.lines, args.block_size) {
        (true, _) => Cut::Lines,
        (false, Some(size)) => Cut::Size(usize::try_from(size).unwrap_or(limits::BLOCK_MAX)),
        (false, None) => Cut::Whole,
    };
    let mut shelf = Shelf::open(&args.dir, true)?;
    let (mut core, fresh) = shelf.writer(&args.which, true, args.keeping)?;
    writable(&shelf, &core)?;
    no_tree(&mut shelf, &mut core)?;
    if fresh {
        warn(&format!("a new core: {}", hex::encode(core.key())));
    }
    let first = core.length();
    let mut appending = Appending {
        shelf,
        core,
        cutter: Cutter::new(cut),
        blocks: Vec::new(),
        read: 0,
        progress: Progress::new(Unit::Bytes, args.progress),
    };
    let ended = appending.run(&mut Input::open()?);
    appending.progress.end();
    let Appending { shelf, core, .. } = &mut appending;
    let (length, byte_length, key) = (core.length(), core.byte_length(), hex::encode(core.key()));
    let closed = core.close(&mut shelf.cx()).map_err(|error| shelf.bad(error));
    closed.and_then(|()| shelf.sync())?;
    let blocks = length - first;
    if args.json {
        say(&object(&[
            ("key", quoted(&key)),
            ("first", if blocks > 0 { first.to_string() } else { "null".to_owned() }),
            ("blocks", blocks.to_string()),
            ("length", length.to_string()),
            ("byte_length", byte_length.to_string()),
        ]));
    } else {
        say(&format!("Appended: {blocks} blocks, length {length}"));
    }
    ended
}

/// Whoever cannot sign learns it before the input is read.
pub fn writable(shelf: &Shelf, core: &Hypercore) -> Result<(), Bad> {
    if core.writable() {
        return Ok(());
    }
    let dir = shelf.dir.display();
    let text = format!("{dir}: only whoever has the core's key pair can write, and it is not here");
    Err(Bad { text, code: NO })
}

/// A block among those of a hyperbee would be the end of it.
fn no_tree(shelf: &mut Shelf, core: &mut Hypercore) -> Result<(), Bad> {
    let header = Bee::new().header(&mut shelf.cx(), core);
    if matches!(header, Ok(Some(header)) if header.protocol == seckel::hyperbee::PROTOCOL) {
        let text =
            format!("{}: the core holds a hyperbee; `seckel bee put` writes to it", shelf.dir.display());
        return Err(Bad { text, code: NO });
    }
    Ok(())
}

struct Appending {
    shelf: Shelf,
    core: Hypercore,
    cutter: Cutter,
    blocks: Vec<Vec<u8>>,
    read: u64,
    progress: Progress,
}

impl Appending {
    /// The exit code; what was read before an error is appended all the same.
    fn run(&mut self, input: &mut Input) -> Result<u8, Bad> {
        let of = Input::len();
        loop {
            let came = match input.next()? {
                Came::Nothing => {
                    self.put()?;
                    self.shelf.sync()?;
                    input.wait()?
                }
                came => came,
            };
            match came {
                Came::Bytes(bytes) => {
                    self.read += bytes.len() as u64;
                    if self.cutter.push(&bytes, &mut self.blocks).is_err() {
                        return self.too_long();
                    }
                    let waiting: usize = self.blocks.iter().map(|block| block.len() + 64).sum();
                    if waiting >= STEP_BYTES {
                        self.put()?;
                    }
                    self.progress.tell(self.read, of);
                }
                Came::Nothing => {}
                Came::End => {
                    self.blocks.extend(self.cutter.finish());
                    self.put()?;
                    return Ok(0);
                }
                Came::Interrupted => {
                    // Half of the one block is not what was meant.
                    if self.cutter.cut != Cut::Whole {
                        self.blocks.extend(self.cutter.finish());
                    }
                    self.put()?;
                    return Ok(INTERRUPTED);
                }
            }
        }
    }

    fn too_long(&mut self) -> Result<u8, Bad> {
        self.blocks.retain(|block| block.len() <= limits::BLOCK_MAX);
        self.put()?;
        let most = limits::BLOCK_MAX;
        let text = format!("a block has {most} bytes at most; `--block-size N` cuts the input into blocks");
        Err(Bad { text, code: NO })
    }

    fn put(&mut self) -> Result<(), Bad> {
        for step in self.blocks.chunks(limits::APPEND_MAX) {
            let appended = self.core.append(&mut self.shelf.cx(), step);
            appended.map_err(|error| self.shelf.bad(error))?;
        }
        self.blocks.clear();
        Ok(())
    }
}

/// `seckel core truncate`.
pub fn truncate(args: &Truncate) -> Result<u8, Bad> {
    let mut shelf = Shelf::open(&args.dir, false)?;
    let (mut core, _) = shelf.writer(&args.which, false, args.keeping)?;
    writable(&shelf, &core)?;
    let before = core.length();
    if args.length > before {
        let text = format!("{}: the core has {before} blocks only", args.dir.display());
        return Err(Bad { text, code: NO });
    }
    let done = core.truncate(&mut shelf.cx(), args.length);
    done.map_err(|error| shelf.bad(error))?;
    let (length, fork, byte_length) = (core.length(), core.fork(), core.byte_length());
    shelf.close(core)?;
    if args.json {
        let counts = [("length", length), ("fork", fork), ("byte_length", byte_length)];
        say(&object(&counts.map(|(name, count)| (name, count.to_string()))));
    } else {
        say(&format!("Truncated: {} blocks gone, length {length}, fork {fork}", before - length));
    }
    Ok(0)
}
