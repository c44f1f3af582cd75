//! Makes what the fuzzer begins with, out of the vectors and the dumps of the notes:
//! `cargo test --test fuzz -- --ignored seeds`. It adds to the corpus and takes nothing away.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use seckel::base::hex;
use seckel::wire;
use serde_json::Value;

use crate::corpus::folder;
use crate::targets::{self, TARGETS};

/// Inputs that are drawn for each machine.
const DRAWN: u64 = 12;
/// Inputs for each format.
const PER_FORMAT: usize = 4;

fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(folder).expect("a folder of the project");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|found| found == ending));
    paths.sort();
    paths
}

fn vectors() -> Vec<Value> {
    let read = |path: PathBuf| fs::read_to_string(path).expect("vectors");
    files("tests/vectors", "json")
        .into_iter()
        .map(|path| serde_json::from_str(&read(path)).expect("JSON"))
        .collect()
}

/// All texts in a value.
fn texts<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(fields) => fields.values().for_each(|item| texts(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The bytes of the dumps in the notes.
fn dumps() -> Vec<Vec<u8>> {
    let mut dumps = Vec::new();
    for path in files("vendor-protocol-notes", "md") {
        let text = fs::read_to_string(path).expect("a note");
        for dump in text.split("```hex ").skip(1) {
            let lines = dump.lines().skip(1).take_while(|line| !line.starts_with("```"));
            let columns = lines.map(|line| line.split("  ").next().unwrap_or_default().replace(' ', ""));
            dumps.extend(hex::decode(&columns.collect::<String>()));
        }
    }
    dumps
}

fn keep(target: &str, name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|found| found.name == target).expect("a target of that name");
    let folder = folder(target);
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join(name), input).expect("an input");
}

#[test]
#[ignore = "writes the corpus"]
fn seeds() {
    for target in TARGETS {
        for seed in 0..DRAWN {
            if let Some(invent) = target.invent {
                keep(target.name, &format!("drawn-{seed}"), &invent(seed));
            }
        }
    }
    let vectors = vectors();
    let mut found = Vec::new();
    vectors.iter().for_each(|file| texts(file, &mut found));
    let bytes: BTreeSet<(usize, Vec<u8>)> = found
        .iter()
        .filter_map(|text| hex::decode(text))
        .chain(dumps())
        .filter(|bytes| !bytes.is_empty() && bytes.len() < 1000)
        .map(|bytes| (bytes.len(), bytes))
        .collect();
    of_formats(&bytes);
    of_datagrams(&bytes);
    for (n, text) in found.iter().filter(|text| text.len() < 60).step_by(200).enumerate() {
        keep("text", &format!("vector-{n}"), text.as_bytes());
    }
    for (n, text) in
        ["register alice", "10.0.0.1:49737", "whoami", "lookup \u{f0}\u{1f350}"].iter().enumerate()
    {
        keep("text", &format!("typed-{n}"), text.as_bytes());
    }
    of_trees(&vectors);
    of_stores(&vectors);
}

/// Datagrams of UDX and of the hash table.
fn of_datagrams(bytes: &BTreeSet<(usize, Vec<u8>)>) {
    let datagrams = bytes.iter().filter(|(_, bytes)| [0xff, 0x03, 0x13].contains(&bytes[0]));
    for (n, (_, bytes)) in datagrams.step_by(6).enumerate() {
        keep("explain", &format!("vector-{n}"), &targets::of_datagram(bytes));
    }
}

/// What a format reads whole and writes the same.
fn of_formats(bytes: &BTreeSet<(usize, Vec<u8>)>) {
    for format in wire::formats() {
        let legal = bytes.iter().filter(|(_, bytes)| (format.again)(bytes).as_ref() == Ok(bytes));
        let mut lengths = BTreeSet::new();
        let legal = legal.filter(|(len, _)| lengths.insert(*len));
        for (n, (_, bytes)) in legal.take(PER_FORMAT).enumerate() {
            let input = [&targets::sum(format.name).to_le_bytes()[..], bytes].concat();
            keep("decode", &format!("{}-{n}", format.name), &input);
        }
    }
}

fn of_trees(vectors: &[Value]) {
    let trees = vectors.iter().filter(|file| file["file"] == "hyperbee-small.json");
    for (n, vector) in trees.flat_map(|file| file["vectors"].as_array().expect("vectors")).enumerate() {
        let blocks = vector["expected"]["blocks"].as_array();
        let blocks: Vec<Vec<u8>> =
            blocks.into_iter().flatten().filter_map(|block| hex::decode(block.as_str()?)).collect();
        if n % 3 == 0 && (2..40).contains(&blocks.len()) {
            keep("hyperbee", &format!("vector-{n}"), &targets::of_blocks(&blocks));
        }
    }
}

fn of_stores(vectors: &[Value]) {
    let stores = vectors.iter().filter(|file| file["file"] == "storage-v10.json");
    let stores = stores.flat_map(|file| file["vectors"].as_array().expect("vectors"));
    let steps = stores.filter_map(|vector| vector["expected"]["steps"].as_array()).flatten();
    for (n, step) in steps.step_by(3).enumerate() {
        let mut pieces = Vec::new();
        for (name, file) in step["files"].as_object().into_iter().flatten() {
            for segment in file["segments"].as_array().into_iter().flatten() {
                let at = segment[0].as_u64().expect("an offset");
                let bytes = segment[1].as_str().and_then(hex::decode).expect("hex");
                pieces.push((&name[..], at, bytes));
            }
        }
        let input = targets::of_files(&pieces);
        if input.len() < 4000 {
            keep("recovery", &format!("vector-{n}"), &input);
        }
    }
}
