//! The same bytes to our decoders and to those of the packages: legal ones, changed ones, drawn ones, from a seed.
//!
//! Both accept and write the same, or both refuse. Where that is not so the difference stands in `DIFFERENCES`, each
//! with the place in the notes that says which and why; one that is not there fails, and so does one that is gone.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use seckel::base::{Entropy, Machine, Malformed, Reason, Seeded, hex};
use seckel::protomux::{Event, Input, Open, Output, Protomux};
use seckel::wire::hyperdht::NoisePayload;
use seckel::wire::protomux_rpc::Response;
use seckel::wire::{self, Cursor, Format, Wire, protomux};
use serde_json::{Value, json};

use crate::protomux::cx;
use crate::support::{Node, skipped};

/// Inputs for each format.
const INPUTS: usize = 4000;

/// Formats, or packages (with their dot), that the packages do not read with a function of their own.
const NOT_COMPARED: &[(&str, &str)] = &[
    ("udx.", "native code"),
    ("noise.", "sealed"),
    ("secret_stream.", "sealed"),
    ("hyperdht.sealed", "sealed"),
    ("hyperdht.probe", "not read at all"),
    ("protomux.batch", "see `frames_are_taken_as_the_package_takes_them`"),
    ("protomux.item", "the same"),
    ("protomux.kind", "the same"),
    ("hypercore.node", "a part of hypercore.data"),
    ("oplog.frame", "with its checksum only"),
    ("oplog.node", "a place in a file"),
    ("oplog.draft", "our own"),
    ("oplog.journal", "our own"),
    ("registry.", "our own"),
    ("auction.", "our own"),
];

/// Format or package (with its dot), what differs (`*` is anything), and the rule of the notes about which *Not
/// followed* says which and why.
const DIFFERENCES: &[(&str, &str, &str)] = &[
    ("test.string", "refused here: *: not text", "compact_encoding.8"),
    ("hyperdht.plugin_request", "refused here: *: not text", "compact_encoding.8"),
    ("hypercore.extension", "refused here: *: not text", "compact_encoding.8"),
    ("oplog.", "refused here: user data key: not text", "compact_encoding.8"),
    ("hyperbee.header", "refused here: *: not text", "compact_encoding.8"),
    ("test.numbers", "refused there: uint must be between*", "compact_encoding.3"),
    ("blind_relay.", "refused here: flags: illegal", "compact_encoding.3"),
    ("protomux_rpc.response", "refused here: flags: illegal", "compact_encoding.3"),
    ("oplog.header 10", "refused here: *: illegal", "compact_encoding.3"),
    ("oplog.entry 10", "refused here: *: illegal", "compact_encoding.3"),
    ("hyperdht.noise_payload", "refused here: stream id: illegal", "hyperdht.6"),
    ("oplog.header 10", "refused there: *", "hypercore.60"),
    ("oplog.header 10", "read otherwise", "hypercore.60"),
    ("oplog.header 10", "refused here: *: short", "hypercore.60"),
    ("oplog.header", "refused here: *: too long", "hypercore.60"),
    ("hyperbee.", "refused here: *: short", "hyperbee.9"),
    ("hyperbee.", "refused here: *: illegal", "hyperbee.9"),
    ("hyperbee.", "refused here: *: too long", "hyperbee.9"),
];

/// Small formats for the ways in which compact-encoding writes a value.
macro_rules! small {
    ($($name:literal $type:ident($($value:ident: $of:ty),+) |$c:ident| $walk:expr;)+) => {
        $(#[derive(Clone, Default)]
        struct $type { $($value: $of),+ }
        impl Wire for $type {
            const NAME: &'static str = $name;
            const RULE: &'static str = "compact_encoding.1";
            fn walk(&mut self, $c: &mut Cursor<'_>) -> Result<(), Malformed> {
                let $type { $($value),+ } = self;
                $walk
            }
        })+
        const SMALL: &[Format] = &[$(wire::format::<$type>()),+];
    };
}

const MAX: usize = 1 << 20;

small! {
    "test.uint" Uint(n: u64) |c| c.uint("n", n);
    "test.buffer" Buffer(bytes: Vec<u8>) |c| c.buffer("bytes", bytes, MAX);
    "test.optional_buffer" Optional(bytes: Option<Vec<u8>>) |c| c.optional_buffer("bytes", bytes, MAX);
    "test.string" Text(text: String) |c| c.string("text", text, MAX);
    "test.raw" Raw(bytes: Vec<u8>) |c| c.raw("bytes", bytes, MAX);
    "test.array" Array(list: Vec<u64>) |c| c.list("list", list, MAX, 1, |c, n| c.uint("n", n));
    "test.frame" Frame(n: u64) |c| c.frame("frame", MAX, |c| c.uint("n", n));
    "test.address" Address(addr: seckel::base::Addr) |c| c.addr("addr", addr);
    "test.fixed" Fixed(bytes: [u8; 32]) |c| c.fixed("bytes", bytes);
    "test.numbers" Numbers(a: u8, b: u16, c3: u32, d: u32, e: u64) |c| {
        c.u8("a", a)?;
        c.u16("b", b)?;
        c.u24("c", c3)?;
        c.u32("d", d)?;
        c.u64("e", e)
    };
}

/// An input: legal, changed in a few places, or drawn.
fn input(format: &Format, draw: &mut Seeded) -> Vec<u8> {
    let bytes = if draw.chance(850) { (format.invent)(draw) } else { drawn(draw, 80) };
    if draw.chance(200) {
        return bytes;
    }
    changed(draw, bytes)
}

/// With a few changes.
fn changed(draw: &mut Seeded, mut bytes: Vec<u8>) -> Vec<u8> {
    for _ in 0..=draw.below(3) {
        let at = draw.below(bytes.len() as u64 + 1) as usize;
        match draw.below(7) {
            0 | 1 if at < bytes.len() => bytes[at] ^= 1 << draw.below(8),
            2 => bytes.truncate(at),
            3 => bytes.insert(at, draw.below(256) as u8),
            4 => bytes.extend(drawn(draw, 9)),
            // Numbers at the borders of what a length, a version, a kind can say.
            5 if at < bytes.len() => {
                bytes[at] = [0, 1, 2, 3, 0x7f, 0x80, 0xfc, 0xfd, 0xfe, 0xff][draw.below(10) as usize]
            }
            6 => {
                const BORDERS: [&[u8]; 4] = [
                    &[0xfd, 0xff, 0xff],
                    &[0xfe, 0xff, 0xff, 0xff, 0xff],
                    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x1f, 0],
                    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                ];
                let end = (at + 1).min(bytes.len());
                bytes.splice(at..end, BORDERS[draw.below(4) as usize].iter().copied());
            }
            _ => {}
        }
    }
    bytes
}

fn drawn(draw: &mut Seeded, max: u64) -> Vec<u8> {
    let mut bytes = vec![0; draw.below(max) as usize];
    draw.fill(&mut bytes);
    bytes
}

/// What is read, written again without what the packages read and do not keep.
fn kept(format: &Format, input: &[u8]) -> Result<Vec<u8>, Malformed> {
    match format.name {
        "hyperdht.noise_payload" => {
            let mut payload: NoisePayload = wire::decode(input)?;
            payload.udx.iter_mut().for_each(|udx| udx.version = 1);
            payload.secret_stream = payload.secret_stream.map(|_| 1);
            payload.relay_through.iter_mut().for_each(|through| (through.version, through.flags) = (1, 0));
            Ok(wire::encode(&payload))
        }
        // protomux_rpc.12
        "protomux_rpc.response" => {
            let mut response: Response = wire::decode(input)?;
            if let Err(failure) = &mut response.result {
                const KNOWN: [&str; 4] = ["UNKNOWN_METHOD", "REQUEST_ERROR", "DECODE_ERROR", "ENCODE_ERROR"];
                failure.code = failure.code.take().filter(|code| KNOWN.contains(&&code[..]));
                if failure.code.as_deref() == Some(KNOWN[0]) {
                    failure.cause = None;
                }
                let cause = failure.cause.as_mut();
                cause
                    .into_iter()
                    .for_each(|cause| cause.context = cause.context.take().filter(|text| !text.is_empty()));
            }
            Ok(wire::encode(&response))
        }
        _ => (format.again)(input),
    }
}

/// How one input is taken differently, if it is.
fn difference(ours: &Result<Vec<u8>, Malformed>, theirs: &Value) -> Option<String> {
    let written = theirs[0].as_str().map(|text| hex::decode(text).expect("hex"));
    match (ours, written) {
        (Ok(ours), Some(theirs)) if *ours == theirs => None,
        (Ok(_), Some(_)) => Some("read otherwise".to_owned()),
        (Err(_), None) => None,
        (Ok(_), None) => Some(format!("refused there: {}", theirs[1].as_str().unwrap_or_default())),
        (Err(fault), Some(_)) => {
            let reason = match fault.reason {
                Reason::Short => "short",
                Reason::TooLong { .. } => "too long",
                Reason::Illegal { .. } => "illegal",
                Reason::NotText => "not text",
            };
            Some(format!("refused here: {}: {reason}", fault.field))
        }
    }
}

/// The *Not followed* of all notes.
fn not_followed() -> String {
    let notes = Path::new(env!("CARGO_MANIFEST_DIR")).join("vendor-protocol-notes");
    let paths = fs::read_dir(notes).expect("the notes").map(|entry| entry.expect("a note").path());
    let text = paths.map(|path| fs::read_to_string(path).expect("a note"));
    text.filter_map(|text| Some(text.split_once("## Not followed")?.1.split("\n## ").next()?.to_owned()))
        .collect()
}

fn matches(pattern: &str, what: &str) -> bool {
    match pattern.split_once('*') {
        Some((start, end)) => what.starts_with(start) && what.ends_with(end),
        None => pattern == what,
    }
}

#[test]
fn decoders_differ_from_the_packages_where_the_notes_say_so() {
    if skipped("differential") {
        return;
    }
    let mut node = Node::start("differential.js", &[]);
    let mut met = BTreeSet::new();
    let mut wrong = Vec::new();
    for (name, format) in comparisons() {
        let mut draw = Seeded::new(11).fork(&name);
        let inputs: Vec<Vec<u8>> = (0..INPUTS).map(|_| input(&format, &mut draw)).collect();
        let lines: Vec<String> = inputs.iter().map(|input| hex::encode(input)).collect();
        let answer = node.ask(&json!({ "format": name, "inputs": lines }));
        let theirs = answer.as_array().unwrap_or_else(|| panic!("{name} is not compared"));
        for (n, input) in inputs.iter().enumerate() {
            let ours = kept(&format, input);
            let Some(what) = difference(&ours, &theirs[n]) else { continue };
            let known = DIFFERENCES
                .iter()
                .find(|(start, pattern, _)| name.starts_with(start) && matches(pattern, &what));
            if let Some((format, _, rule)) = known {
                met.insert((*format, *rule));
            } else {
                let ours = ours.map(|bytes| hex::encode(&bytes));
                wrong.push(format!("{name}: {what}: {}\n  ours {ours:?}\n  theirs {}", lines[n], theirs[n]));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} differences that no note tells of:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(20)].join("\n")
    );
    let notes = not_followed();
    for (format, _, rule) in DIFFERENCES {
        // Some ways in which a rule shows are rare among drawn bytes; one is always there.
        assert!(met.contains(&(*format, *rule)), "{format} does not differ any more: {rule}");
        assert!(notes.contains(&format!("- {rule}: ")), "{rule} does not stand under Not followed");
    }
}

/// Each format with the name of what reads it there.
fn comparisons() -> Vec<(String, Format)> {
    let formats = [SMALL.to_vec(), wire::formats()].concat().into_iter();
    let compared =
        formats.filter(|format| !NOT_COMPARED.iter().any(|(start, _)| format.name.starts_with(start)));
    compared
        .flat_map(|format| {
            match format.name {
                "oplog.header" | "oplog.entry" => vec![format.name.to_owned(), format!("{} 10", format.name)],
                name => vec![name.to_owned()],
            }
            .into_iter()
            .map(move |name| (name, format))
        })
        .collect()
}

/// A frame of a peer that may know protomux.
fn frame(draw: &mut Seeded) -> Vec<u8> {
    let id = 1 + draw.below(3) as u8;
    let frame = match draw.below(8) {
        0 | 1 => {
            let open = protomux::Open {
                channel: id.into(),
                protocol: ["p", "q", ""][draw.below(3) as usize].to_owned(),
                id: draw.chance(200).then(|| vec![1]),
                handshake: drawn(draw, 4),
            };
            [vec![0, 1], wire::encode(&open)].concat()
        }
        2 => vec![0, 2 + draw.below(2) as u8, id],
        3 | 4 => {
            let mut batch = vec![0, 0, id];
            for _ in 0..draw.below(4) {
                let item = drawn(draw, 6);
                batch.push(item.len() as u8 + draw.chance(50) as u8);
                batch.extend(if item.is_empty() { vec![id] } else { item });
            }
            batch
        }
        _ => [vec![id, draw.below(5) as u8], drawn(draw, 8)].concat(),
    };
    if draw.chance(200) { changed(draw, frame) } else { frame }
}

/// What our multiplexer makes of frames: whether it destroys the stream (or should, to be like the package, which does
/// so where protomux.24 rejects), and what it hands up, in order.
fn taken_here(frames: &[Vec<u8>]) -> (bool, Vec<(u64, String)>) {
    let mut mux = Protomux::new();
    cx(|cx| mux.open(cx, Open { unique: false, ..Open::new("p", None) })).expect("opens");
    let (mut destroyed, mut heard) = (false, Vec::new());
    for frame in frames {
        cx(|cx| mux.handle_input(cx, Input::Message(frame)));
        while let Some(event) = mux.poll_event() {
            match event {
                Event::Wanted { protocol, id } => drop(cx(|cx| mux.reject(cx, &protocol, id.as_deref()))),
                Event::Message { kind, bytes, .. } if kind < 4 => heard.push((kind, hex::encode(&bytes))),
                _ => {}
            }
        }
        while let Some(output) = cx(|cx| mux.poll_output(cx)) {
            destroyed |= match output {
                Output::Message(bytes) => rejects_zero(&bytes),
                Output::Destroy(_) => true,
                Output::Reading(_) => false,
            };
        }
        if destroyed {
            break;
        }
    }
    (destroyed, heard)
}

/// A reject of channel 0, alone or in a batch.
fn rejects_zero(message: &[u8]) -> bool {
    match message {
        [0, 2, 0] => true,
        [0, 0, rest @ ..] => {
            let batch: protomux::Batch = wire::decode(rest).expect("a batch of ours");
            batch.items.contains(&protomux::Item::Message(vec![2, 0]))
        }
        _ => false,
    }
}

#[test]
fn frames_are_taken_as_the_package_takes_them() {
    if skipped("differential: frames") {
        return;
    }
    let mut node = Node::start("protomux.js", &[]);
    let (mut sound, mut broken) = (0, 0);
    for seed in 0..1500 {
        let mut draw = Seeded::new(seed).fork("frames");
        let mut frames: Vec<Vec<u8>> = (0..=draw.below(5)).map(|_| frame(&mut draw)).collect();
        if draw.chance(700) {
            frames.insert(0, vec![0, 1, 1, 1, b'p', 0]);
        }
        let hexes: Vec<String> = frames.iter().map(|frame| hex::encode(frame)).collect();
        let answer = node.ask(&json!([
            { "do": "fresh" },
            { "do": "open", "name": "x", "protocol": "p", "unique": false },
            { "do": "hear", "messages": hexes },
        ]));
        let events = answer["events"].as_array().expect("events");
        let destroyed = events.iter().any(|event| event["event"] == "destroyed");
        let heard = events.iter().filter(|event| event["event"] == "message").map(|event| {
            (event["kind"].as_u64().expect("a kind"), event["bytes"].as_str().expect("hex").to_owned())
        });
        let there = (destroyed, heard.collect::<Vec<_>>());
        assert_eq!(taken_here(&frames), there, "seed {seed}: {hexes:?}");
        *(if destroyed { &mut broken } else { &mut sound }) += 1;
    }
    assert!(sound > 300 && broken > 300, "{sound} sound, {broken} broken");
}
