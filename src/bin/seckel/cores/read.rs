//! `seckel core get`, `cat`, `info`, `list` in a folder.

use std::path::Path;
use std::time::Duration;

use seckel::app::text::{list as json_list, object, quoted, shown};
use seckel::base::{Key, hex};
use seckel::hypercore::Hypercore;

use super::{Cat, Get, Info, List, remote};
use crate::progress::{Progress, Unit, bytes};
use crate::run::Bad;
use crate::shelf::{LOOK_EVERY, NO, Place, Shelf, Which, name_of};
use crate::stdio::{Heap, put_value};
use crate::terminal::say;

/// `seckel core get`.
pub fn get(args: &Get) -> Result<u8, Bad> {
    if let Place::Key(key) = args.at {
        return remote::get(args, key);
    }
    let (mut shelf, mut core) = open(&args.at, &args.which)?;
    let block = block(&mut shelf, &mut core, args.index)?;
    match args.json {
        true => say(&block_json(args.index, &block)),
        false => put_value(&block),
    }
    Ok(0)
}

/// A core in a folder, for reading.
pub fn open(at: &Place, which: &Which) -> Result<(Shelf, Hypercore), Bad> {
    let dir = match at {
        Place::Folder(dir) => dir.clone(),
        Place::Key(key) => hex::encode(key).into(),
    };
    let mut shelf = Shelf::open(&dir, false)?;
    let core = shelf.reader(which)?;
    Ok((shelf, core))
}

fn block(shelf: &mut Shelf, core: &mut Hypercore, index: u64) -> Result<Vec<u8>, Bad> {
    let found = core.get(&mut shelf.cx(), index);
    if let Some(block) = found.map_err(|error| shelf.bad(error))? {
        return Ok(block);
    }
    let (dir, length) = (shelf.dir.display(), core.length());
    let text = match index < length {
        true => format!(
            "{dir}: block {index} is not in this copy; `seckel core get {}` gets it from peers",
            hex::encode(core.key())
        ),
        false => format!("{dir}: there is no block {index}: the core has {length}"),
    };
    Err(Bad { text, code: NO })
}

/// A block as JSON: as text if it is text.
pub fn block_json(index: u64, block: &[u8]) -> String {
    let value = match core::str::from_utf8(block) {
        Ok(text) => ("value", quoted(text)),
        Err(_) => ("hex", quoted(&hex::encode(block))),
    };
    object(&[("index", index.to_string()), ("bytes", block.len().to_string()), value])
}

/// How blocks are written.
pub fn put_block(args: &Cat, index: u64, block: &[u8], heap: &mut Heap) {
    if args.json {
        heap.add(block_json(index, block).as_bytes());
    } else {
        heap.add(block);
    }
    if args.json || args.lines {
        heap.add(b"\n");
    }
}

/// `seckel core cat`.
pub fn cat(args: &Cat) -> Result<u8, Bad> {
    if let Place::Key(key) = args.at {
        return remote::cat(args, key);
    }
    let (mut shelf, mut core) = open(&args.at, &args.which)?;
    let mut progress = Progress::new(Unit::Blocks, args.progress);
    let (mut next, mut heap) = (args.start, Heap::default());
    loop {
        let end = args.end.unwrap_or(u64::MAX).min(core.length());
        while next < end {
            let block = block(&mut shelf, &mut core, next)?;
            put_block(args, next, &block, &mut heap);
            next += 1;
            progress.tell(next - args.start, Some(end - args.start));
        }
        progress.end();
        heap.flush();
        if !args.live || args.end.is_some_and(|end| next >= end) {
            return beyond(args, core.length());
        }
        grown(&mut shelf, &mut core)?;
        next = next.min(core.length());
    }
}

/// What was asked for and is not there is not passed over in silence.
fn beyond(args: &Cat, length: u64) -> Result<u8, Bad> {
    match args.end {
        Some(end) if end > length => {
            Err(Bad { text: format!("there is no block {length} yet: the core ends there"), code: NO })
        }
        _ => Ok(0),
    }
}

/// Waits until another process has changed the core. It is killed by Ctrl-C: nothing is written here.
pub fn grown(shelf: &mut Shelf, core: &mut Hypercore) -> Result<(), Bad> {
    let mut failed = 0;
    loop {
        std::thread::sleep(Duration::from_micros(LOOK_EVERY.as_micros()));
        match core.refresh(&mut shelf.cx()) {
            Ok(true) => return Ok(()),
            Ok(false) => failed = 0,
            // In the midst of what the other one writes: it is looked at again.
            Err(_) if failed < 50 => failed += 1,
            Err(error) => return Err(shelf.bad(error)),
        }
    }
}

/// What `info` shows.
pub struct About {
    pub key: Key,
    pub discovery_key: Key,
    pub name: Option<String>,
    pub length: u64,
    pub fork: u64,
    pub byte_length: u64,
    pub contiguous_length: u64,
    pub signers: Vec<Key>,
    pub quorum: u64,
    pub writable: bool,
    /// If it was looked for with peers.
    pub peers: Option<usize>,
}

impl About {
    pub fn new(core: &Hypercore) -> About {
        let name = name_of(core).map(|name| String::from_utf8_lossy(name).into_owned());
        let manifest = core.manifest();
        About {
            key: *core.key(),
            discovery_key: *core.discovery_key(),
            name,
            length: core.length(),
            fork: core.fork(),
            byte_length: core.byte_length(),
            contiguous_length: core.contiguous_length(),
            signers: manifest.iter().flat_map(|all| &all.signers).map(|signer| signer.public).collect(),
            quorum: manifest.map_or(0, |manifest| manifest.quorum),
            writable: core.signable(),
            peers: None,
        }
    }

    pub fn json(&self) -> String {
        let or_null = |text: Option<String>| text.unwrap_or("null".to_owned());
        let fields = [
            ("key", quoted(&hex::encode(&self.key))),
            ("discovery_key", quoted(&hex::encode(&self.discovery_key))),
            ("name", or_null(self.name.as_deref().map(quoted))),
            ("length", self.length.to_string()),
            ("fork", self.fork.to_string()),
            ("byte_length", self.byte_length.to_string()),
            ("contiguous_length", self.contiguous_length.to_string()),
            ("signers", json_list(self.signers.iter().map(|key| quoted(&hex::encode(key))))),
            ("quorum", self.quorum.to_string()),
            ("writable", self.writable.to_string()),
            ("peers", or_null(self.peers.map(|peers| peers.to_string()))),
        ];
        object(&fields)
    }

    pub fn text(&self) -> String {
        let mut lines = vec![
            format!("Core Key: {}", hex::encode(&self.key)),
            format!("Discovery Key: {}", hex::encode(&self.discovery_key)),
        ];
        if let Some(name) = &self.name {
            lines.push(format!("Name: {}", shown(name)));
        }
        lines.push(format!("Length: {} blocks, {}", self.length, bytes(self.byte_length)));
        lines.push(format!("Fork: {}", self.fork));
        lines.push(format!("Here without a gap: {} blocks", self.contiguous_length));
        match &self.signers[..] {
            [] => lines.push("Signers: not known yet".to_owned()),
            signers => {
                let keys: Vec<String> = signers.iter().map(|key| hex::encode(key)).collect();
                lines.push(format!("Signers: {} of {}", self.quorum, keys.join(", ")));
            }
        }
        lines.push(format!("Writable: {}", if self.writable { "yes" } else { "no" }));
        if let Some(peers) = self.peers {
            lines.push(format!("Peers: {peers}"));
        }
        lines.join("\n")
    }
}

/// `seckel core info`.
pub fn info(args: &Info) -> Result<u8, Bad> {
    if let Place::Key(key) = args.at {
        return remote::info(args, key);
    }
    let (_, core) = open(&args.at, &args.which)?;
    let about = About::new(&core);
    say(&if args.json { about.json() } else { about.text() });
    Ok(0)
}

/// `seckel core list`.
pub fn list(args: &List) -> Result<u8, Bad> {
    let mut shelf = Shelf::open(Path::new(&args.dir), false)?;
    for folder in shelf.folders()? {
        let mut core = shelf.peek(&folder)?;
        let about = About::new(&core);
        let _ = core.close(&mut shelf.cx());
        if args.json {
            say(&about.json());
            continue;
        }
        let name = about.name.as_deref().map_or("-".to_owned(), shown);
        let all = if about.contiguous_length == about.length { "" } else { ", not all here" };
        let ours = if about.writable { ", writable" } else { "" };
        let (key, length, size) = (hex::encode(&about.key), about.length, bytes(about.byte_length));
        say(&format!("{key} {name}: {length} blocks, {size}{ours}{all}"));
    }
    Ok(0)
}
