//! A core whose files are damaged in any way, sums made good again, is opened, used, and opened again.
//!
//! As long as nothing was damaged the core holds what a plain list holds, also after the power was off. After damage
//! opening may fail, and the auditor knows why; a core that opens gives the same tree when it is opened once more.

use seckel::base::{Cx, Error, Key, NoTrace, Seeded, Time};
use seckel::corestore::Corestore;
use seckel::crypto::sign::KeyPair;
use seckel::hypercore::audit::{Audit, Verdict, audit};
use seckel::hypercore::{Draft, Hypercore, Open};
use seckel::sim::ramdisk::RamDisk;
use seckel::wire::oplog::{BitfieldUpdate, Entry, Frame, Header, TreeUpgrade};
use seckel::wire::{self, oplog};

use super::{Draw, Drawn, Recorded};

pub fn run(input: &[u8], _: bool) -> String {
    live(&mut Drawn::new(input));
    String::new()
}

pub fn live(draw: &mut dyn Draw) {
    let mut shelf = Shelf::new();
    while draw.more() {
        shelf.turn(draw);
    }
    shelf.reopen();
}

/// An input: a core whose files hold these pieces (file, offset, bytes), opened.
pub fn of_files(pieces: &[(&str, u64, Vec<u8>)]) -> Vec<u8> {
    let mut input = Recorded::new(0, 0);
    for (file, at, bytes) in pieces {
        let number = FILES.iter().position(|name| name == file).expect("a file of a core") as u64;
        for (n, piece) in bytes.chunks(PIECE_MAX as usize).enumerate() {
            let at = at + n as u64 * PIECE_MAX;
            input
                .say(ACTIONS, OVERWRITE)
                .say(FILES.len() as u64, number)
                .say(FAR, at)
                .say_bytes(PIECE_MAX, piece);
        }
    }
    input.say(ACTIONS, REOPEN);
    input.finish()
}

const FILES: [&str; 5] = ["oplog", "tree", "bitfield", "data", "header"];
const ACTIONS: u64 = 20;
const REOPEN: u64 = 9;
const OVERWRITE: u64 = 12;
/// Where a file may be written.
const FAR: u64 = 1 << 16;
const PIECE_MAX: u64 = 255;
const SLOT: usize = 4096;
/// Files with holes up to the largest index are refused as a full disk.
const CAPACITY: u64 = 4 << 20;

/// A disk with one core on it.
struct Shelf {
    disk: RamDisk,
    entropy: Seeded,
    dir: String,
    core: Option<Hypercore>,
    /// What it holds; None once something was damaged. A cleared block is None.
    list: Option<Vec<Option<Vec<u8>>>>,
}

impl Shelf {
    fn new() -> Shelf {
        let mut disk = RamDisk::new();
        disk.set_capacity(Some(CAPACITY));
        let (dir, list) = (String::new(), Some(Vec::new()));
        let mut shelf = Shelf { disk, entropy: Seeded::new(1), dir, core: None, list };
        let core = shelf.with(|cx| {
            let mut store = Corestore::open(cx, "store").expect("a new store");
            store.core_by_key_pair(cx, KeyPair::from_seed([3; 32])).expect("a new core")
        });
        let key: String = seckel::base::hex::encode(core.discovery_key());
        shelf.dir = format!("store/cores/{}/{}/{key}", &key[..2], &key[2..4]);
        shelf.core = Some(core);
        shelf
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Cx<'_>) -> T) -> T {
        let (entropy, disk) = (&mut self.entropy, &mut self.disk);
        act(&mut Cx { now: Time::ZERO, entropy, disk, trace: &mut NoTrace })
    }

    fn on_core<T>(&mut self, act: impl FnOnce(&mut Hypercore, &mut Cx<'_>) -> T) -> Option<T> {
        let mut core = self.core.take()?;
        let result = self.with(|cx| act(&mut core, cx));
        self.core = Some(core);
        Some(result)
    }

    fn turn(&mut self, draw: &mut dyn Draw) {
        let sound = self.list.is_some();
        let length = self.core.as_ref().map_or(0, Hypercore::length);
        match draw.below(ACTIONS) {
            0..=2 => {
                let blocks: Vec<Vec<u8>> = (0..=draw.below(3)).map(|_| draw.drawn_bytes(40)).collect();
                let appended = self.on_core(|core, cx| core.append(cx, &blocks));
                if let Some(list) = &mut self.list {
                    assert!(appended.is_some_and(|result| result.is_ok()));
                    list.extend(blocks.into_iter().map(Some));
                }
            }
            3 => {
                let to = draw.below(length.min(1000) + 1);
                let cut = self.on_core(|core, cx| core.truncate(cx, to));
                if let Some(list) = &mut self.list {
                    assert!(cut.is_some_and(|result| result.is_ok()));
                    list.truncate(to as usize);
                }
            }
            4 => {
                let start = draw.below(length.min(1000) + 1);
                let end = start + draw.below(4);
                let cleared = self.on_core(|core, cx| core.clear(cx, start, end));
                if let Some(list) = &mut self.list {
                    assert!(cleared.is_some_and(|result| result.is_ok()));
                    list.iter_mut().take(end as usize).skip(start as usize).for_each(|block| *block = None);
                }
            }
            5 => {
                let value = draw.chance(800).then(|| draw.drawn_bytes(20));
                let set = self.on_core(|core, cx| core.set_user_data(cx, "name", value.as_deref()));
                assert!(!sound || set.is_some_and(|result| result.is_ok()));
            }
            6 => {
                let flushed = self.on_core(|core, cx| core.flush(cx));
                assert!(!sound || flushed.is_some_and(|result| result.is_ok()));
            }
            7 => self.compare(),
            8 => {
                let at = if draw.chance(500) { draw.below(300) } else { draw.u64() };
                let _ =
                    self.on_core(|core, cx| (core.seek(cx, at), core.byte_offset(cx, at), core.get(cx, at)));
                let _ = self.on_core(|core, cx| on_draft(core, cx, at));
            }
            REOPEN => self.reopen(),
            10 => {
                self.with(|cx| cx.disk.sync_pending()).expect("a sound disk");
                self.disk.crash(draw.u64());
                self.core = None;
                self.reopen();
            }
            11 => self.visit_store(draw),
            damage => {
                self.core = None;
                self.disk.release();
                self.list = None;
                self.damage(damage, draw);
                if draw.chance(700) {
                    self.reopen();
                }
            }
        }
    }

    /// Changes files behind the core's back.
    fn damage(&mut self, how: u64, draw: &mut dyn Draw) {
        let name = FILES[if how < 14 { draw.below(FILES.len() as u64) as usize } else { 0 }];
        let path = format!("{}/{name}", self.dir);
        let mut content = self.disk.content(&path).unwrap_or_default().to_vec();
        match how {
            OVERWRITE => {
                let at = draw.below(FAR) as usize;
                let bytes = draw.drawn_bytes(PIECE_MAX);
                content.resize(content.len().max(at + bytes.len()), 0);
                content[at..at + bytes.len()].copy_from_slice(&bytes);
            }
            13 => content.truncate(draw.below(content.len() as u64 + 1) as usize),
            14 => reseal(&mut content),
            15 => {
                let slot = draw.below(2) as usize * SLOT;
                let header = changed_header(draw, &content[slot.min(content.len())..]);
                put_header(&mut content, slot, header);
            }
            16 => {
                let payload = draw.drawn_bytes(PIECE_MAX);
                put_header(&mut content, draw.below(2) as usize * SLOT, payload);
            }
            17 => {
                let payload = draw.drawn_bytes(PIECE_MAX);
                push_entry(&mut content, payload, draw.chance(100));
            }
            _ => {
                let payload = wire::encode(&entry(draw));
                push_entry(&mut content, payload, draw.chance(100));
            }
        }
        self.disk.put(&path, &content);
    }

    fn reopen(&mut self) {
        self.core = None;
        self.disk.release();
        let dir = self.dir.clone();
        let open = || Open { create: false, ..Open::default() };
        let audited = self.audit();
        let opened = self.with(|cx| Hypercore::open(cx, &dir, open()));
        let Ok(core) = opened else {
            assert!(self.list.is_none(), "a sound core opens");
            // `None` within: what is left when the power goes before a core is wholly made, and nothing to open.
            let passed =
                audited.is_some_and(|audit| audit.key.is_some() && audit.verdict() == Verdict::Sound);
            assert!(!passed, "an audit that finds nothing means a core that opens");
            return;
        };
        let before = (core.length(), core.fork(), core.tree_hash());
        self.core = Some(core);
        self.compare();
        self.with(|cx| cx.disk.sync_pending()).expect("a sound disk");
        self.core = None;
        self.disk.release();
        match self.with(|cx| Hypercore::open(cx, &dir, open())) {
            Ok(core) => {
                assert_eq!(
                    (core.length(), core.fork(), core.tree_hash()),
                    before,
                    "opened twice is the same"
                );
                self.core = Some(core);
            }
            Err(error) => panic!("it opened once, then: {error}"),
        }
    }

    /// The auditor changes nothing, and finds nothing in what nobody damaged.
    fn audit(&mut self) -> Option<Audit> {
        let dir = self.dir.clone();
        let content =
            |disk: &RamDisk| FILES.map(|name| disk.content(&format!("{dir}/{name}")).map(<[u8]>::to_vec));
        let before = content(&self.disk);
        let audited = self.with(|cx| audit(cx, &dir, &mut |_, _| ())).ok();
        self.disk.release();
        assert!(content(&self.disk) == before, "an audit changes nothing");
        let sound = audited.as_ref().is_some_and(|audit| audit.verdict() == Verdict::Sound);
        assert!(self.list.is_none() || sound, "{audited:?}");
        audited
    }

    /// Reads, and compares with the list if it is known.
    fn compare(&mut self) {
        let list = self.list.clone();
        self.on_core(|core, cx| {
            let Some(list) = list else {
                for index in (0..core.length().min(8)).chain(core.length().saturating_sub(3)..core.length()) {
                    let got = core.get(cx, index);
                    assert!(core.has(index) || !matches!(got, Ok(Some(_))), "what is not here is not read");
                }
                return;
            };
            assert_eq!(core.length(), list.len() as u64);
            for (index, block) in list.iter().enumerate() {
                assert_eq!(core.get(cx, index as u64), Ok(block.clone()), "block {index}");
            }
            let first_gone = list.iter().position(Option::is_none).unwrap_or(list.len());
            assert_eq!(core.contiguous_length(), first_gone as u64);
        });
    }

    /// The store around the core, perhaps with a damaged key, a stray folder, or as a peer would look for it.
    fn visit_store(&mut self, draw: &mut dyn Draw) {
        self.core = None;
        self.disk.release();
        if draw.chance(200) {
            let key = draw.drawn_bytes(40);
            self.disk.put("store/primary-key", &key);
        }
        if draw.chance(200) {
            let name = String::from_utf8_lossy(&draw.drawn_bytes(8)).replace(['/', '.'], "a");
            self.disk.put(&format!("store/cores/{name}/ab/oplog"), b"");
        }
        let (by_name, key): (bool, Key) = (draw.chance(500), [draw.below(3) as u8; 32]);
        self.with(|cx| {
            let Ok(mut store) = Corestore::open(cx, "store") else { return };
            let listed = store.list(cx).unwrap_or_default();
            if by_name {
                let _ = store.core_by_name(cx, "a name");
            }
            let _ = store.core_by_discovery_key(cx, &key);
            for key in listed {
                let _ = store.core_by_discovery_key(cx, &key);
            }
        });
        self.disk.release();
        self.reopen();
    }
}

/// A frame with a sum that is right.
fn sealed(payload: &[u8], partial: bool, bit: bool) -> Vec<u8> {
    let mut frame = Frame { crc: 0, len: payload.len() as u32, partial, bit };
    let summed = [&frame.word().to_le_bytes()[..], payload].concat();
    frame.crc = crc32fast::hash(&summed);
    [wire::encode(&frame), payload.to_vec()].concat()
}

/// The frame at the front of `bytes`, and its payload.
fn unsealed(bytes: &[u8]) -> Option<(Frame, &[u8])> {
    let (frame, rest) = wire::decode_head::<Frame>(bytes).ok()?;
    Some((frame, rest.get(..frame.len as usize)?))
}

/// Makes the sums right again, of both headers and of all entries.
fn reseal(content: &mut [u8]) {
    let mut at = 0;
    while let Some((frame, payload)) = content.get(at..).and_then(unsealed) {
        let record = sealed(payload, frame.partial, frame.bit);
        content[at..at + record.len()].copy_from_slice(&record);
        at = if at < 2 * SLOT { (at / SLOT + 1) * SLOT } else { at + record.len() };
    }
}

/// Which of the headers counts.
fn bit(content: &[u8]) -> bool {
    let bits = [0, SLOT].map(|at| content.get(at..).and_then(unsealed).is_some_and(|(frame, _)| frame.bit));
    bits[0] ^ bits[1]
}

fn put_header(content: &mut Vec<u8>, slot: usize, payload: Vec<u8>) {
    content.resize(content.len().max(2 * SLOT), 0);
    let old = unsealed(&content[slot..]).is_some_and(|(frame, _)| frame.bit);
    let mut record = sealed(&payload, false, !old);
    record.truncate(SLOT);
    content[slot..slot + record.len()].copy_from_slice(&record);
}

/// A header that says something else, or a drawn one.
fn changed_header(draw: &mut dyn Draw, slot: &[u8]) -> Vec<u8> {
    let old = unsealed(slot).and_then(|(_, payload)| wire::decode::<Header>(payload).ok());
    let Some(mut header) = old.filter(|_| draw.chance(800)) else {
        return wire::encode(&wire::invent::<Header>(draw));
    };
    match draw.below(7) {
        0 => header.tree.length = number(draw),
        1 => header.tree.fork = number(draw),
        2 => header.contiguous_length = number(draw),
        3 => header.manifest = None,
        4 => header.key_pair = None,
        5 => header.tree.signature = draw.drawn_bytes(70),
        _ => header.external = Some(oplog::External { start: number(draw), length: number(draw) }),
    }
    wire::encode(&header)
}

fn push_entry(content: &mut Vec<u8>, payload: Vec<u8>, partial: bool) {
    content.resize(content.len().max(2 * SLOT), 0);
    let mut end = 2 * SLOT;
    while let Some((frame, _)) = unsealed(&content[end..]).filter(|(frame, _)| frame.len > 0) {
        end += Frame::BYTES + frame.len as usize;
    }
    content.truncate(end);
    content.extend(sealed(&payload, partial, bit(content)));
}

/// Small, or at a border.
fn number(draw: &mut dyn Draw) -> u64 {
    match draw.below(4) {
        0 => [1 << 32, (1 << 53) - 1, 1 << 40, 1 << 20][draw.below(4) as usize],
        _ => draw.below(40),
    }
}

/// An entry whose numbers may fit a small core.
fn entry(draw: &mut dyn Draw) -> Entry {
    if draw.chance(200) {
        return wire::invent(draw);
    }
    let mut entry = Entry::default();
    for _ in 0..draw.below(4) {
        let (index, size) = (number(draw), number(draw));
        entry.nodes.push(wire::hypercore::Node { index, size, hash: [draw.below(3) as u8; 32] });
    }
    if draw.chance(600) {
        let (fork, ancestors, length) = (number(draw), number(draw), number(draw));
        entry.upgrade = Some(TreeUpgrade { fork, ancestors, length, signature: draw.drawn_bytes(64) });
    }
    if draw.chance(600) {
        let (start, length) = (number(draw), number(draw));
        entry.bitfield = Some(BitfieldUpdate { drop: draw.chance(400), start, length });
    }
    entry
}

/// A draft of the core, as far as its file can be read.
fn on_draft(core: &mut Hypercore, cx: &mut Cx<'_>, at: u64) -> Result<(), Error> {
    let mut draft = Draft::open(cx, core, "draft")?;
    let mut act = || {
        draft.append(cx, core, &[at.to_le_bytes()])?;
        (0..draft.length().min(30)).try_for_each(|n| draft.get(cx, core, n).map(|_| ()))?;
        draft.truncate(cx, core, at % (draft.length() + 1))
    };
    let done = act();
    draft.close(cx);
    done
}
