//! `seckel explain` on real captures (tests/captures, made by `make.sh` there): Node talking to Node, seckel to Node.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use seckel::base::trace::Line;
use seckel::base::{Addr, Cx, Entropy, Machine, Seeded, Time, Trace, hex, limits};
use seckel::crypto::KeyPair;
use seckel::explain::{Keys, Place, Reader};
use seckel::secret_stream::{self, SecretStream};
use seckel::sim::ramdisk::RamDisk;
use seckel::wire::{self, udx};
use serde_json::Value;

fn captures(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures").join(name)
}

/// `seckel explain ARGS` with `input` as its standard input.
fn run(args: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_seckel"))
        .arg("explain")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("seckel starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // Who is given too much closes its end.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("seckel ends");
    writer.join().expect("a thread that writes");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{output:?}");
    output
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn objects(output: &Output) -> Vec<Value> {
    text(output).lines().map(|line| serde_json::from_str(line).expect("an object of JSON")).collect()
}

/// What is said of a capture, with the keys beside it.
fn explained(capture: &[u8], keys: Option<&str>) -> (Vec<Value>, i32) {
    let keys = keys.map(|keys| captures(keys).to_string_lossy().into_owned());
    let mut args = vec!["--json", "-"];
    if let Some(keys) = &keys {
        args.extend(["--keys", keys]);
    }
    let output = run(&args, capture);
    (objects(&output), output.status.code().expect("an exit code"))
}

fn number(value: &Value) -> usize {
    usize::try_from(value.as_u64().expect("a number")).expect("fits")
}

fn fields(section: &Value) -> &[Value] {
    section["fields"].as_array().expect("fields")
}

fn sections(object: &Value) -> &[Value] {
    object["sections"].as_array().map_or(&[], Vec::as_slice)
}

/// Each section's fields cover its bytes once, and what is not inside a field of an earlier section covers the datagram
/// (or goes on where the stream's last such section ended) once.
fn assert_every_byte_is_accounted_for(objects: &[Value]) {
    let mut streams: BTreeMap<u64, usize> = BTreeMap::new();
    let mut datagrams = 0;
    for object in objects.iter().filter(|object| !object["len"].is_null()) {
        datagrams += 1;
        let mut at = 0;
        let mut seen: Vec<&Value> = Vec::new();
        for section in sections(object) {
            let (base, len) = (number(&section["at"]), number(&section["len"]));
            let mut next = base;
            for field in fields(section) {
                assert_eq!(number(&field["at"]), next, "{object}");
                next += number(&field["len"]);
            }
            assert_eq!(next, base + len, "{object}");
            let nested = seen.iter().filter(|other| other["stream"] == section["stream"]).any(|other| {
                fields(other).iter().any(|field| {
                    let (from, long) = (number(&field["at"]), number(&field["len"]));
                    from <= base && base + len <= from + long
                })
            });
            seen.push(section);
            if nested {
                continue;
            }
            let front = match section["stream"].as_u64() {
                Some(stream) => streams.entry(stream).or_default(),
                None => &mut at,
            };
            assert_eq!(*front, base, "{object}");
            *front += len;
        }
        assert_eq!(at, number(&object["len"]), "{object}");
    }
    assert!(datagrams > 50, "{datagrams}");
}

fn formats(objects: &[Value]) -> BTreeSet<&str> {
    objects.iter().flat_map(sections).map(|section| section["format"].as_str().expect("text")).collect()
}

/// The values of that field in that format, as they are in JSON.
fn values<'o>(objects: &'o [Value], format: &str, field: &str) -> Vec<&'o Value> {
    let of_format = objects.iter().flat_map(sections).filter(|section| section["format"] == format);
    of_format.flat_map(fields).filter(|line| line["field"] == field).map(|line| &line["value"]).collect()
}

fn has_bytes(objects: &[Value], format: &str, field: &str, wanted: &[u8]) -> bool {
    values(objects, format, field).iter().any(|value| **value == hex::encode(wanted))
}

/// Whether a rule is in the notes.
fn is_a_rule(rule: &str) -> bool {
    let Some((note, _)) = rule.split_once('.') else { return false };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("vendor-protocol-notes/{note}.md"));
    std::fs::read_to_string(path).is_ok_and(|text| text.contains(&format!("> **{rule}** ")))
}

/// Nothing is malformed, nothing is left sealed, and each field has a rule of the notes.
fn assert_all_is_understood(objects: &[Value]) {
    let mut rules = BTreeSet::new();
    assert_every_byte_is_accounted_for(objects);
    for object in objects {
        assert_ne!(object["layer"], "unknown", "{object}");
        assert!(object["note"].is_null(), "{object}");
        for section in sections(object) {
            assert!(section["fault"].is_null(), "{section}");
            for field in fields(section) {
                let meaning = field["meaning"].as_str().expect("text");
                assert!(!meaning.starts_with("sealed;"), "{section}");
                rules.insert(field["rule"].as_str().expect("text"));
                assert!(
                    !["rest", "skipped", "not understood"].contains(&field["field"].as_str().unwrap_or(""))
                );
            }
        }
    }
    assert!(rules.len() > 30, "{rules:?}");
    assert!(rules.iter().all(|rule| is_a_rule(rule)), "{rules:?}");
}

/// proves key_log.1, key_log.2, key_log.3, key_log.4, key_log.6
#[test]
fn node_talking_to_node_is_understood_to_the_last_byte() {
    let capture = std::fs::read(captures("node.pcap")).expect("the capture");
    let (objects, code) = explained(&capture, Some("node.keys"));
    assert_eq!(code, 0);
    assert_all_is_understood(&objects);
    let seen = formats(&objects);
    for format in [
        "udx.header",
        "udx.payload",
        "dht_rpc.request",
        "dht_rpc.response",
        "hyperdht.handshake",
        "hyperdht.holepunch",
        "hyperdht.holepunch_payload",
        "hyperdht.announce",
        "hyperdht.lookup_reply",
        "hyperdht.peer",
        "hyperdht.mutable_put",
        "hyperdht.mutable",
        "hyperdht.probe",
        "noise.ik_request",
        "noise.ik_answer",
        "noise.static",
        "hyperdht.noise_payload",
        "secret_stream.header",
        "secret_stream.message",
        "secret_stream.unordered",
        "secret_stream.opened",
        "protomux.open",
        "protomux.batch",
        "protomux_rpc.request",
        "protomux_rpc.response",
        "protomux_rpc.buffer",
        "hypercore.handshake",
        "hypercore.sync",
        "hypercore.request",
        "hypercore.data",
        "hypercore.range",
        "manifest.signature",
        "hyperbee.header",
        "hyperbee.node",
        "hyperbee.index",
        "registry.request",
        "registry.answer",
    ] {
        assert!(seen.contains(format), "{format} is not among {seen:?}");
    }
    assert!(has_bytes(&objects, "hyperdht.mutable_put", "value", b"a mutable value"));
    assert!(has_bytes(&objects, "dht_rpc.request", "value", b"an immutable value"));
    assert!(has_bytes(&objects, "protomux_rpc.buffer", "bytes", b"hello over the wire"));
    assert!(has_bytes(&objects, "protomux_rpc.buffer", "bytes", b"hello over the wire!"));
    assert!(has_bytes(&objects, "registry.request", "name", b"alice"));
    assert!(has_bytes(&objects, "registry.answer", "text", b"OK"));
    assert!(has_bytes(&objects, "secret_stream.opened", "message", b"beside the stream"));
    assert!(has_bytes(&objects, "secret_stream.opened", "message", &[b'x'; 3000]));
    assert!(values(&objects, "protomux_rpc.response", "cause").contains(&&Value::from("it cannot be")));
    for n in 0..12 {
        assert!(has_bytes(&objects, "hyperbee.node", "value", format!("value {n}").as_bytes()), "{n}");
    }
}

/// proves key_log.2, key_log.4
#[test]
fn seckel_talking_to_node_is_understood_with_the_keys_of_seckel() {
    let capture = std::fs::read(captures("seckel.pcapng")).expect("the capture");
    let (objects, code) = explained(&capture, Some("seckel.keys"));
    assert_eq!(code, 0);
    assert_all_is_understood(&objects);
    for name in ["alice", "bob"] {
        assert!(has_bytes(&objects, "registry.request", "name", name.as_bytes()));
        assert!(has_bytes(&objects, "hyperbee.node", "key", name.as_bytes()));
    }
    assert_eq!(values(&objects, "registry.answer", "text").len(), 3);
    let at_once = objects.iter().filter(|object| object["segment"].as_u64() > Some(0)).count();
    assert!(at_once >= 2, "the kernel took several datagrams at once");
}

/// The real packages, told to log their keys, and seckel at the other end of the same sessions write the same lines.
/// proves key_log.2, key_log.3, key_log.4, key_log.6
#[test]
fn both_ends_of_a_session_log_the_same() {
    let lines = |name: &str| -> BTreeSet<String> {
        let text = std::fs::read_to_string(captures(name)).expect("a key log");
        text.lines().map(str::to_owned).collect()
    };
    let (ours, theirs) = (lines("seckel.keys"), lines("seckel.peer.keys"));
    for label in ["SECRET_STREAM", "UNORDERED", "NOISE_IK", "HOLEPUNCH"] {
        let of = |lines: &BTreeSet<String>| -> BTreeSet<String> {
            let whole = |line: &&String| label != "NOISE_IK" || line.split(' ').count() == 6;
            let labelled =
                lines.iter().filter(|line| line.starts_with(label) && line[label.len()..].starts_with(' '));
            labelled.filter(whole).cloned().collect()
        };
        let (ours, theirs) = (of(&ours), of(&theirs));
        assert!(!ours.is_empty(), "{label}");
        assert_eq!(ours, theirs, "{label}");
    }
}

/// What is sealed is named, with the line of a key log that would open it; all else is understood.
#[test]
fn without_keys_it_is_said_which_would_open_what() {
    let capture = std::fs::read(captures("node.pcap")).expect("the capture");
    let (objects, code) = explained(&capture, None);
    assert_eq!(code, 0);
    assert_every_byte_is_accounted_for(&objects);
    let keys = std::fs::read_to_string(captures("node.keys")).expect("the keys");
    let mut wanted: BTreeMap<String, usize> = BTreeMap::new();
    let lines = objects.iter().flat_map(sections).flat_map(fields);
    for meaning in lines.filter_map(|line| line["meaning"].as_str()) {
        if let Some(rest) = meaning.strip_prefix("sealed; a key log line ") {
            let line = rest.strip_suffix(" opens it").expect("what it does");
            assert!(keys.lines().any(|known| known.starts_with(line)), "{line}");
            *wanted.entry(line.split(' ').next().expect("a label").to_owned()).or_default() += 1;
        }
    }
    for label in ["NOISE_IK", "SECRET_STREAM", "HOLEPUNCH"] {
        assert!(wanted.contains_key(label), "{label}: {wanted:?}");
    }
    assert!(!formats(&objects).contains("protomux.head"));
}

/// A packet of a capture: when, and what an Ethernet had.
struct Packet {
    seconds: u32,
    micros: u32,
    frame: Vec<u8>,
}

fn packets(capture: &[u8]) -> Vec<Packet> {
    let word = |at: usize| u32::from_le_bytes(capture[at..at + 4].try_into().expect("four bytes"));
    assert_eq!((word(0), word(20)), (0xa1b2_c3d4, 1), "a pcap of an Ethernet");
    let (mut at, mut packets) = (24, Vec::new());
    while at < capture.len() {
        let held = word(at + 8) as usize;
        let frame = capture[at + 16..at + 16 + held].to_vec();
        packets.push(Packet { seconds: word(at), micros: word(at + 4), frame });
        at += 16 + held;
    }
    packets
}

fn pcap(link: u32, packets: &[Packet], frame: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let mut out = Vec::new();
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 0x4_0000, link] {
        out.extend(u32::to_le_bytes(word));
    }
    for packet in packets {
        let data = frame(&packet.frame);
        let len = u32::try_from(data.len()).expect("short");
        for word in [packet.seconds, packet.micros, len, len] {
            out.extend(word.to_le_bytes());
        }
        out.extend(data);
    }
    out
}

fn pcapng(packets: &[Packet], big_endian: bool) -> Vec<u8> {
    let word = |number: u32| if big_endian { number.to_be_bytes() } else { number.to_le_bytes() };
    let half = |number: u16| if big_endian { number.to_be_bytes() } else { number.to_le_bytes() };
    let block = |kind: u32, body: Vec<u8>| {
        let len = word(u32::try_from(body.len() + 12).expect("short"));
        [&word(kind)[..], &len, &body, &len].concat()
    };
    let section = [&word(0x1a2b_3c4d)[..], &half(1), &half(0), &[0xff; 8]].concat();
    let mut out = block(0x0a0d_0d0a, section);
    out.extend(block(1, [&half(1)[..], &half(0), &word(0x4_0000)].concat()));
    for packet in packets {
        let time = u64::from(packet.seconds) * 1_000_000 + u64::from(packet.micros);
        let len = word(u32::try_from(packet.frame.len()).expect("short"));
        let (high, low) = (word((time >> 32) as u32), word(time as u32));
        let mut body = [&word(0)[..], &high, &low, &len, &len, &packet.frame].concat();
        body.resize(body.len().next_multiple_of(4), 0);
        out.extend(block(6, body));
    }
    out
}

#[test]
fn every_form_of_capture_says_the_same() {
    let capture = std::fs::read(captures("node.pcap")).expect("the capture");
    let packets = packets(&capture);
    let ip = |frame: &[u8]| frame[14..].to_vec();
    let behind = |head: &'static [u8]| move |frame: &[u8]| [head, &frame[14..]].concat();
    let forms = [
        ("pcapng", pcapng(&packets, false)),
        ("pcapng, big endian", pcapng(&packets, true)),
        ("raw IP", pcap(101, &packets, ip)),
        ("IPv4", pcap(228, &packets, ip)),
        ("BSD loopback", pcap(0, &packets, behind(&[2, 0, 0, 0]))),
        ("OpenBSD loopback", pcap(108, &packets, behind(&[0, 0, 0, 2]))),
        ("Linux cooked", pcap(113, &packets, behind(&[0, 0, 3, 4, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0]))),
        (
            "Linux cooked 2",
            pcap(276, &packets, behind(&[8, 0, 0, 0, 0, 0, 0, 1, 3, 4, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0])),
        ),
    ];
    let (wanted, _) = explained(&capture, Some("node.keys"));
    for (name, form) in forms {
        let (said, code) = explained(&form, Some("node.keys"));
        assert_eq!(code, 0, "{name}");
        assert!(said == wanted, "{name}");
    }
}

/// The number of the first packet of a stream's data that has others behind it, by what is said of a capture.
fn first_data(objects: &[Value]) -> usize {
    let data = |object: &&Value| object["what"].as_str().is_some_and(|what| what.starts_with("DATA seq 1 "));
    number(&objects.iter().find(data).expect("data")["number"])
}

#[test]
fn a_packet_that_was_not_captured_is_said_to_be_missing() {
    let capture = std::fs::read(captures("node.pcap")).expect("the capture");
    let mut packets = packets(&capture);
    let (whole, _) = explained(&capture, Some("node.keys"));
    packets.remove(first_data(&whole) - 1);
    let (objects, code) = explained(&pcap(1, &packets, <[u8]>::to_vec), Some("node.keys"));
    assert_eq!(code, 0, "what is missing is not malformed");
    let notes: Vec<_> = objects.iter().filter_map(|object| object["note"].as_str()).collect();
    assert!(notes.iter().any(|note| note.contains("not in the capture")), "{notes:?}");
    let opened = |objects: &[Value]| values(objects, "protomux.head", "kind").len();
    assert!(opened(&objects) < opened(&whole));
    assert!(opened(&objects) > 0, "the other streams are read");
}

/// Packets that came twice, in another order, or late do not matter.
#[test]
fn order_and_copies_do_not_matter() {
    let capture = std::fs::read(captures("node.pcap")).expect("the capture");
    let mut packets = packets(&capture);
    let (whole, _) = explained(&capture, Some("node.keys"));
    let at = first_data(&whole) - 1;
    let frame = packets[at].frame.clone();
    let Packet { seconds, micros, .. } = packets[at];
    packets.insert(at, Packet { seconds, micros, frame });
    for pair in packets.chunks_mut(2).filter(|pair| pair.len() == 2) {
        // Two that lead the same way: addresses and ports are at 26 to 38.
        if pair[0].frame[26..38] == pair[1].frame[26..38] {
            pair.swap(0, 1);
        }
    }
    let (objects, code) = explained(&pcap(1, &packets, <[u8]>::to_vec), Some("node.keys"));
    assert_eq!(code, 0);
    let said = text(&run(&["-"], &pcap(1, &packets, <[u8]>::to_vec)));
    assert!(said.contains("sent again"), "the copy is named");
    let values = |objects: &[Value]| {
        let mut found: Vec<String> =
            values(objects, "hyperbee.node", "value").iter().map(|value| value.to_string()).collect();
        found.sort();
        found
    };
    assert_eq!(values(&objects), values(&whole));
}

#[test]
fn fragments_are_named_and_not_put_together() {
    let capture = std::fs::read(captures("node.pcap")).expect("the capture");
    let mut packets = packets(&capture);
    // More fragments follow: bit 13 of the word at 6 of the IP header.
    packets[0].frame[14 + 6] = 0x20;
    let (objects, _) = explained(&pcap(1, &packets, <[u8]>::to_vec), None);
    assert!(objects[0]["note"].as_str().is_some_and(|note| note.contains("a fragment of IP packet")));
}

/// Captures that were cut, or in which anything was changed, are read as far as they go: no crash, an exit code of 0 or
/// 1, and every byte of what is shown accounted for.
#[test]
fn damaged_captures_are_read_as_far_as_they_go() {
    let mut entropy = Seeded::new(11);
    for name in ["node", "seckel"] {
        let file = if name == "node" { "node.pcap" } else { "seckel.pcapng" };
        let capture = std::fs::read(captures(file)).expect("the capture");
        let keys = format!("{name}.keys");
        for round in 0..40 {
            let mut damaged = capture.clone();
            if round % 2 == 0 {
                damaged.truncate(entropy.below(damaged.len() as u64) as usize);
            }
            for _ in 0..entropy.below(20) {
                let at = entropy.below(damaged.len().max(1) as u64) as usize;
                if let Some(byte) = damaged.get_mut(at) {
                    *byte = entropy.u64() as u8;
                }
            }
            let keys = captures(&keys);
            let output = run(&["--json", "-", "--keys", &keys.to_string_lossy()], &damaged);
            assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
            objects(&output);
        }
    }
    let output = run(&["--json", "-"], &std::fs::read(captures("node.pcap")).expect("the capture")[..5000]);
    assert_eq!(output.status.code(), Some(1));
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(why.contains("it ends inside a block"), "{why}");
}

#[test]
fn hex_is_explained_with_offsets_and_rules() {
    let output = run(&["03", "04", "34 12", "0a02020220 4e", "00"], b"");
    assert_eq!(output.status.code(), Some(0));
    let said = text(&output);
    let lines: Vec<Vec<&str>> = said.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        said.lines().next(),
        Some("11 bytes, dht_rpc: PING request tid 4660 to 10.2.2.2:20000 [dht_rpc.3]")
    );
    assert!(lines.contains(&vec!["4", "6", "to", "10.2.2.2:20000", "[dht_rpc.5]"]), "{said}");
    assert!(lines.contains(&vec!["10", "1", "command", "0", "PING", "[dht_rpc.12]"]), "{said}");
    assert_eq!(text(&run(&["-"], b"03 04 3412 0a02\n0202204e 00\n")), said);
    assert_eq!(text(&run(&[], &hex::decode("030434120a020202204e00").expect("hex"))), said);
}

#[test]
fn what_was_understood_up_to_a_fault_is_shown_with_field_and_reason() {
    let output = run(&["030c34120a020202204e02", "7777"], b"");
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output);
    assert!(said.contains("dht_rpc.request: field \"target\" at byte 11: the bytes end inside it"), "{said}");
    assert!(said.contains("10.2.2.2:20000") && said.contains("not understood      7777"), "{said}");
    assert_eq!(run(&["160301"], b"").status.code(), Some(1), "of no protocol");
}

#[test]
fn the_readmes_example_is_what_is_written() {
    let readme =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("README");
    let (_, rest) = readme.split_once("```explain\n").expect("the example");
    let (example, _) = rest.split_once("```").expect("its end");
    let [capture, keys] =
        ["node.pcap", "node.keys"].map(|name| captures(name).to_string_lossy().into_owned());
    assert!(text(&run(&[&capture, "--keys", &keys], b"")).contains(example));
}

#[test]
fn formats_have_names() {
    let listed = text(&run(&["--layer", "list"], b""));
    let names: Vec<&str> = listed.lines().collect();
    for format in seckel::wire::formats() {
        assert!(names.contains(&format.name), "{}", format.name);
        let mut entropy = Seeded::new(3);
        let bytes = (format.invent)(&mut entropy);
        if !bytes.is_empty() {
            let output = run(&["--layer", format.name, "--json", "-"], hex::encode(&bytes).as_bytes());
            assert_eq!(output.status.code(), Some(0), "{}: {output:?}", format.name);
            assert_eq!(sections(&objects(&output)[0])[0]["format"], format.name);
        }
    }
    let block = "0a080a060a040102ac0212036b65791a0576616c7565";
    let said = text(&run(&["--layer", "hyperbee.block", block], b""));
    assert!(
        said.contains("hyperbee.node") && said.contains("hyperbee.index") && said.contains("\"key\""),
        "{said}"
    );
    let output = run(&["--layer", "hyperbee", "00"], b"");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("hyperbee.index"), "the names are listed");
}

#[test]
fn what_cannot_be_read_is_said_with_code_2() {
    for args in [&["nothing-of-that-name.pcap"][..], &["012"], &["--keys", "no-such-file", "00"]] {
        let output = run(args, b"");
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty());
    }
}

/// The datagrams of a capture: from, to, bytes.
fn datagrams(capture: &[u8]) -> Vec<(Addr, Addr, Vec<u8>)> {
    let half = |bytes: &[u8]| u16::from_be_bytes([bytes[0], bytes[1]]);
    let addr = |ip: &[u8], port: &[u8]| Addr::new(ip.try_into().expect("four bytes"), half(port));
    let one = |packet: &Packet| {
        let frame = &packet.frame;
        (addr(&frame[26..30], &frame[34..36]), addr(&frame[30..34], &frame[36..38]), frame[42..].to_vec())
    };
    packets(capture).iter().map(one).collect()
}

fn keys_of(name: &str) -> Keys {
    let mut keys = Keys::default();
    for line in std::fs::read_to_string(captures(name)).expect("the keys").lines() {
        keys.read(line).expect("a line of a key log");
    }
    keys
}

/// Datagrams of a capture with bytes changed, left out, doubled and in any order: each byte is accounted for still.
#[test]
fn changed_datagrams_are_accounted_for() {
    let datagrams = datagrams(&std::fs::read(captures("node.pcap")).expect("the capture"));
    let mut entropy = Seeded::new(5);
    for round in 0..30 {
        let mut reader = Reader::new(if round % 3 == 0 { Keys::default() } else { keys_of("node.keys") });
        for (from, to, bytes) in &datagrams {
            let mut bytes = bytes.clone();
            if entropy.chance(20) {
                continue;
            }
            if entropy.chance(100) {
                let at = entropy.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << entropy.below(8);
            }
            if entropy.chance(20) {
                bytes.truncate(entropy.below(bytes.len() as u64) as usize);
            }
            for _ in 0..=entropy.below(2) {
                let sections = reader.datagram(*from, *to, &bytes);
                for section in &sections {
                    let mut at = section.base;
                    for line in &section.rows {
                        assert_eq!(line.at, at, "{section:?}");
                        at += line.len;
                    }
                    assert_eq!(at, section.base + section.len, "{section:?}");
                }
                reader.notes();
            }
        }
        reader.finish();
    }
}

/// A stream that makes its own handshake (XX): its parts are named, and what follows is opened.
#[test]
fn a_handshake_of_a_streams_own_is_named() {
    let mut world = Seckels::new();
    let mut ends = [true, false].map(|initiator| {
        let pair = KeyPair::from_seed([u8::from(initiator); 32]);
        world.with(|cx| SecretStream::handshake(cx, initiator, &pair))
    });
    let mut packets = Vec::new();
    let mut numbers = [0, 0];
    for _ in 0..4 {
        for from in [0, 1] {
            while let Some(output) = world.with(|cx| ends[from].poll_output(cx)) {
                let secret_stream::Output::Write(bytes) = output else { panic!("{output:?}") };
                world.with(|cx| ends[1 - from].handle_input(cx, secret_stream::Input::Bytes(&bytes)));
                packets.push((from, numbers[from], bytes));
                numbers[from] += 1;
            }
        }
    }
    world.with(|cx| ends[0].send(cx, b"hello")).expect("open");
    while let Some(secret_stream::Output::Write(bytes)) = world.with(|cx| ends[0].poll_output(cx)) {
        packets.push((0, numbers[0], bytes));
        numbers[0] += 1;
    }
    let mut keys = Keys::default();
    world.keys.lines.iter().for_each(|line| keys.read(line).expect("a line of a key log"));
    let mut reader = Reader::new(keys);
    let addrs = [Addr::loopback(1), Addr::loopback(2)];
    let (mut seen, mut fixed) = (Vec::new(), Vec::new());
    for (from, seq, bytes) in packets {
        let kind = udx::Kind::DATA;
        let header = udx::Header { kind, remote_id: 7, seq, ..udx::Header::default() };
        let datagram = [wire::encode(&header), bytes.to_vec()].concat();
        let sections = reader.datagram(addrs[from], addrs[1 - from], &datagram);
        let streamed = sections.into_iter().filter(|section| section.place != Place::Datagram);
        for section in streamed {
            seen.push(section.format);
            fixed.extend(section.line("static key").map(|line| line.value.to_string()));
        }
    }
    let keys = [0, 1].map(|seed| hex::encode(&KeyPair::from_seed([seed; 32]).public));
    assert_eq!(fixed, keys, "the responder's key comes first");
    let shaking = [
        "noise.xx_first",
        "noise.xx_second",
        "noise.xx_third",
        "secret_stream.header",
        "secret_stream.message",
        "secret_stream.opened",
    ];
    for format in shaking {
        assert!(seen.contains(&format), "{format}: {seen:?}");
    }
    assert!(!seen.contains(&"udx.stream"), "{seen:?}");
}

/// What machines need, and the key log that they write.
struct Seckels {
    entropy: Seeded,
    disk: RamDisk,
    keys: Lines,
}

#[derive(Default)]
struct Lines {
    lines: Vec<String>,
}

impl Trace for Lines {
    fn on(&self) -> bool {
        false
    }
    fn line(&mut self, _: Time, _: &Line<'_>) {}
    fn wants_keys(&self) -> bool {
        true
    }
    fn key(&mut self, label: &'static str, id: &[u8], secrets: &[&[u8]]) {
        let words = [&[id][..], secrets].concat().iter().map(|bytes| hex::encode(bytes)).collect::<Vec<_>>();
        self.lines.push(format!("{label} {}", words.join(" ")));
    }
}

impl Seckels {
    fn new() -> Seckels {
        Seckels { entropy: Seeded::new(1), disk: RamDisk::new(), keys: Lines::default() }
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Cx<'_>) -> T) -> T {
        let Seckels { entropy, disk, keys } = self;
        act(&mut Cx { now: Time::ZERO, entropy, disk, trace: keys })
    }
}

/// A message with more fields than are shown costs a bounded number of lines, and each byte is still accounted for.
#[test]
fn fields_without_end_are_bounded() {
    let batch = [&[0][..], &[0, 1].repeat(1 << 20)].concat();
    let sections = seckel::explain::format("protomux.batch", &batch).expect("a format");
    let rows: usize = sections.iter().map(|section| section.rows.len()).sum();
    assert!(rows <= limits::EXPLAIN_ROWS + 1, "{rows}");
    let last = sections[0].rows.last().expect("lines");
    assert_eq!((last.field, last.at + last.len), ("not shown", batch.len()));
}

/// What a pipe has brought is shown before more comes, in either form.
#[test]
fn a_capture_is_read_while_it_is_made() {
    use std::io::{BufRead, BufReader};
    let capture = std::fs::read(captures("node.pcap")).expect("the capture");
    let packets = packets(&capture);
    for whole in [capture.clone(), pcapng(&packets, false)] {
        let front = whole.len() / 4;
        let mut child = Command::new(env!("CARGO_BIN_EXE_seckel"))
            .args(["explain", "--json", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("seckel starts");
        let mut input = child.stdin.take().expect("piped");
        input.write_all(&whole[..front]).expect("it reads");
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        // The input is still open: who waited for its end would never answer.
        for number in 1..=40 {
            line.clear();
            output.read_line(&mut line).expect("text");
            let object: Value = serde_json::from_str(&line).expect("an object of JSON");
            assert_eq!(object["number"], number);
        }
        drop(input);
        let mut rest = Vec::new();
        std::io::Read::read_to_end(&mut output, &mut rest).expect("text");
        child.wait().expect("it ends");
    }
}

/// Memory does not grow with the capture: the same stream of datagrams ten times as long takes no more.
#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_grow_with_the_capture() {
    let peak = |times: u32| {
        let capture = std::fs::read(captures("node.pcap")).expect("the capture");
        let mut child = Command::new(env!("CARGO_BIN_EXE_seckel"))
            .args(["explain", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("seckel starts");
        let mut input = child.stdin.take().expect("piped");
        input.write_all(&capture[..24]).expect("it reads");
        for _ in 0..times {
            input.write_all(&capture[24..]).expect("it reads");
        }
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it runs");
        drop(input);
        assert!(child.wait().expect("it ends").success());
        let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("a peak");
        line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("KiB")
    };
    let (short, long) = (peak(20), peak(200));
    assert!(long < short + 4096, "{short} KiB, then {long} KiB");
}
