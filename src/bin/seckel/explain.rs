//! `seckel explain`: reads bytes, a file or a capture, and writes what each byte means.

mod capture;
mod show;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, IsTerminal, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use seckel::base::hex;
use seckel::explain::{self, Keys, Reader};

use super::run::Bad;
use super::terminal::warn;
use capture::Found;
use show::Show;

#[derive(Args, Debug)]
pub struct Explain {
    /// Read the bytes as this format, instead of as a datagram; `list` names them all
    #[arg(long, value_name = "NAME")]
    pub layer: Option<String>,
    /// Open what is sealed with the keys of this log (see SECKEL_KEYS)
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
    /// Write JSON: an object on a line for each datagram
    #[arg(long)]
    pub json: bool,
    /// Write long bytes whole
    #[arg(long)]
    pub full: bool,
    /// Hex digits (spaces allowed), a file (binary, hex, pcap or pcapng), or `-` for standard input
    #[arg(value_name = "HEX | FILE | -", default_value = "-", num_args = 0..)]
    pub input: Vec<String>,
}

pub const EXAMPLES: &str = "\
Examples:
  seckel explain 03 04 34 12 0a 02 02 02 20 4e 00          a datagram in hex: a PING
  seckel explain traffic.pcap                              every UDP datagram of a capture
  tcpdump -i any -U -w - udp | seckel explain -            the same, while it happens
  SECKEL_KEYS=keys.log seckel demo                         logs the session keys of a process
  seckel explain traffic.pcap --keys keys.log --json       opens what is sealed, for scripts
  seckel explain --layer hyperbee.block block.bin          one block of a hyperbee
  seckel explain --layer list                              the formats that have names
Lines: offset, length, field, value, rule of vendor-protocol-notes. Offsets of nested fields, and of what was opened
with a key, count from the start of the datagram or of the stream.
Exit codes: 0 all was understood, 1 something is malformed, 2 wrong command line or no such file.";

/// Bytes of an input that is no capture; a longer one is refused.
const INPUT_MAX: u64 = 17 << 20;
/// Bytes of a line of a key log; a longer one is no such line.
const KEY_LINE_MAX: u64 = 4096;

/// `seckel explain`.
pub fn explain(args: &Explain) -> Result<u8, Bad> {
    if args.layer.as_deref() == Some("list") {
        return show::names();
    }
    if let Some(name) = &args.layer
        && !explain::names().contains(&&name[..])
    {
        let known = explain::names().join(" ");
        return Err(Bad::from(format!("no format is called {name}; there are: {known}")));
    }
    let keys = match &args.keys {
        Some(path) => keys(path)?,
        None => Keys::default(),
    };
    let mut show = Show::new(args.json, args.full);
    show.live = !matches!(&args.input[..], [name] if Path::new(name).is_file());
    let done = match source(&args.input)? {
        Source::Bytes(bytes) => one(args, keys, &bytes, &mut show),
        Source::Capture(reader) => many(args, keys, reader, &mut show)?,
    };
    match done {
        Ok(()) => Ok(u8::from(show.faults > 0)),
        // Who reads only the first lines is not in need of an error.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        Err(error) => Err(Bad { text: error.to_string(), code: 1 }),
    }
}

/// Bytes that are not in a capture: one datagram, or one format.
fn one(args: &Explain, keys: Keys, bytes: &[u8], show: &mut Show) -> io::Result<()> {
    let sections = match &args.layer {
        Some(name) => explain::format(name, bytes).unwrap_or_default(),
        None => Reader::new(keys).datagram(capture::NOWHERE, capture::NOWHERE, bytes),
    };
    let summary = args.layer.is_none().then(|| explain::summary(bytes));
    show.bytes(bytes, summary.as_ref(), &sections)
}

fn many(
    args: &Explain,
    keys: Keys,
    reader: Box<dyn Read + Send>,
    show: &mut Show,
) -> Result<io::Result<()>, Bad> {
    if args.layer.is_some() {
        return Err(Bad::from("--layer is for bytes alone, not for a capture".to_owned()));
    }
    let mut reading = Reader::new(keys);
    let mut passed = 0_u64;
    let mut written = Ok(());
    let read = capture::read(reader, &mut |found| {
        written = match found {
            Found::Datagram(packet) if packet.cut => {
                let sections = explain::datagram(packet.bytes);
                show.datagram(&packet, &explain::summary(packet.bytes), &sections)
            }
            Found::Datagram(packet) => {
                let sections = reading.datagram(packet.from, packet.to, packet.bytes);
                show.datagram(&packet, &explain::summary(packet.bytes), &sections)
            }
            Found::Said(number, text) => show.note(Some(number), &text),
            Found::Other => {
                passed += 1;
                Ok(())
            }
        };
        for note in reading.notes() {
            if written.is_ok() {
                written = show.note(None, &note);
            }
        }
        written.is_ok()
    });
    if let Err(why) = read {
        show.faults += 1;
        warn(&why);
    }
    let finish = || {
        written?;
        for note in reading.finish() {
            show.note(None, &note)?;
        }
        if passed > 0 {
            show.note(None, &format!("{passed} packets are not UDP over IPv4 and were passed over"))?;
        }
        show.flush()
    };
    Ok(finish())
}

enum Source {
    Bytes(Vec<u8>),
    Capture(Box<dyn Read + Send>),
}

fn source(input: &[String]) -> Result<Source, Bad> {
    let unreadable = |path: &str, error: io::Error| Bad::from(format!("{path}: {error}"));
    match input {
        [] => sniff(Box::new(io::stdin()), "standard input"),
        [name] if name == "-" => {
            if io::stdin().is_terminal() {
                warn("reading hex or a capture from the keyboard; see seckel explain --help");
            }
            sniff(Box::new(io::stdin()), "standard input")
        }
        [name] if Path::new(name).is_file() => {
            let file = File::open(name).map_err(|error| unreadable(name, error))?;
            sniff(Box::new(file), name)
        }
        words => {
            let text = words.join(" ");
            match from_hex(text.as_bytes()) {
                Some(bytes) => Ok(Source::Bytes(bytes)),
                None => Err(Bad::from(format!("{text}: neither a file nor hex digits of whole bytes"))),
            }
        }
    }
}

/// A capture, hex text or bytes, by how it begins.
fn sniff(mut reader: Box<dyn Read + Send>, name: &str) -> Result<Source, Bad> {
    let unreadable = |error: io::Error| Bad::from(format!("{name}: {error}"));
    let mut start = Vec::new();
    reader.by_ref().take(4).read_to_end(&mut start).map_err(unreadable)?;
    let mut whole: Box<dyn Read + Send> = Box::new(Cursor::new(start.clone()).chain(reader));
    if capture::is_capture(&start) {
        return Ok(Source::Capture(whole));
    }
    let mut bytes = Vec::new();
    whole.by_ref().take(INPUT_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > INPUT_MAX {
        return Err(Bad::from(format!("{name}: longer than {INPUT_MAX} bytes, and no capture")));
    }
    Ok(Source::Bytes(from_hex(&bytes).unwrap_or(bytes)))
}

/// The bytes that hex text writes; spaces, line ends and colons are passed over.
fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.iter().copied().filter(|byte| !byte.is_ascii_whitespace() && *byte != b':').collect();
    if digits.is_empty() {
        return None;
    }
    hex::decode(core::str::from_utf8(&digits).ok()?)
}

fn keys(path: &Path) -> Result<Keys, Bad> {
    let unreadable = |error: io::Error| Bad::from(format!("{}: {error}", path.display()));
    let mut reader = BufReader::new(File::open(path).map_err(unreadable)?);
    let (mut keys, mut line, mut number, mut bad) = (Keys::default(), Vec::new(), 0_u64, 0_u64);
    loop {
        line.clear();
        number += 1;
        if reader.by_ref().take(KEY_LINE_MAX).read_until(b'\n', &mut line).map_err(unreadable)? == 0 {
            break;
        }
        let read = core::str::from_utf8(&line).is_ok_and(|text| keys.read(text).is_ok());
        if !read {
            bad += 1;
            if bad == 1 {
                warn(&format!("{}: line {number} is not one of a key log", path.display()));
            }
        }
    }
    if keys.count() == 0 {
        warn(&format!("{}: no keys in it", path.display()));
    }
    Ok(keys)
}
