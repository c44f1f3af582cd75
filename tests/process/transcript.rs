//! --trace, --trace-json and -v: what processes write about themselves, and what happens when they cannot.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::grammar;
use super::seckel::Folder;
use super::{client, network, server};

fn piped(mut command: Command) -> Command {
    for name in ["SECKEL_BOOTSTRAP", "SECKEL_TRACE", "SECKEL_TRACE_JSON", "SECKEL_KEYS"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn seckel(args: &[&str]) -> Command {
    let mut command = piped(Command::new(env!("CARGO_BIN_EXE_seckel")));
    command.args(args);
    command
}

/// Runs a demo in which a name is registered and looked up.
fn demo(mut command: Command) -> Output {
    let mut child = command.spawn().expect("seckel starts");
    child.stdin.take().expect("piped").write_all(b"register zebra\nlookup zebra\n").expect("it reads");
    child.wait_with_output().expect("seckel ends")
}

/// What a demo says whatever else it writes.
fn answered(output: &Output) {
    let said = text(&output.stdout);
    let lines: Vec<&str> = said.lines().collect();
    assert!(matches!(lines[..], ["Registered: zebra", found] if found.starts_with("zebra -> ")), "{said}");
    assert_eq!(output.status.code(), Some(0));
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// Reads what the process says until a line has `text`.
fn read_until(child: &mut Child, text: &str) -> BufReader<ChildStdout> {
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    while !line.contains(text) {
        line.clear();
        assert!(output.read_line(&mut line).expect("text") > 0, "it ended without {text}");
    }
    output
}

/// Ctrl-C, and a sound end.
fn interrupt(child: Child) -> Output {
    let done = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    assert!(done.success());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    output
}

/// The lines of a transcript in a file: all whole, all by the grammar.
fn lines(path: &str) -> Vec<String> {
    let said = std::fs::read_to_string(path).expect("a transcript");
    assert!(said.is_empty() || said.ends_with('\n'), "it ends within a line: {path}");
    for line in said.lines() {
        assert!(grammar::line(line).is_some(), "{line}");
    }
    said.lines().map(str::to_owned).collect()
}

// proves transcript.1, transcript.7, transcript.9
#[test]
fn a_process_writes_its_transcript_while_it_waits_and_all_of_it_by_ctrl_c() {
    let folder = Folder::new();
    let (file, json) = (folder.join("trace"), folder.join("trace.json"));
    let args = ["testnet", "--nodes", "3", "--trace", &file, "--trace-json", &json];
    let mut child = seckel(&args).spawn().expect("seckel starts");
    let _output = read_until(&mut child, "Fully started");
    // It waits, so that a reader of the file sees what happened: soon, as the machine may be busy.
    let patience = Instant::now() + Duration::from_secs(60);
    while !std::fs::read_to_string(&file).expect("there").contains("node 2 event node -: bootstrapped\n") {
        assert!(Instant::now() < patience, "the file does not follow");
        std::thread::yield_now();
    }
    interrupt(child);
    let said = lines(&file);
    for node in 0..3 {
        let first = said.iter().find(|line| line.contains(&format!(" node {node} "))).expect("its lines");
        let (_, unix) = first.split_once("unix time ").unwrap_or_else(|| panic!("{first}"));
        let seconds: f64 = unix.parse().expect("a number");
        assert!(seconds > 1_700_000_000.0, "{first}");
    }
    let objects = std::fs::read_to_string(&json).expect("a transcript");
    assert_eq!(objects.lines().count(), said.len());
    for (line, object) in said.iter().zip(objects.lines()) {
        let object: Value = serde_json::from_str(object).expect("JSON");
        assert_eq!(grammar::line(line).expect("it parses").json(), object);
    }
    assert!(
        said.iter().any(|line| line.contains(" out dht_rpc "))
            && said.iter().any(|line| line.contains(" in dht_rpc "))
    );
}

#[test]
fn verbose_lines_leave_standard_output_alone() {
    let output = demo(seckel(&["-v", "demo"]));
    answered(&output);
    let said = text(&output.stderr);
    let (transcript, words): (Vec<&str>, Vec<&str>) =
        said.lines().partition(|line| grammar::line(line).is_some());
    assert!(words.iter().all(|line| line.starts_with("seckel: ")), "{words:?}");
    assert!(transcript.iter().any(|line| line.contains(" in protomux_rpc ")), "{}", transcript.len());
}

#[test]
fn verbose_lines_leave_json_alone() {
    let folder = Folder::new();
    let (_dht, bootstrap) = network();
    let (_server, keys) = server(&bootstrap, &folder.join("server"));
    let mut first = client(&bootstrap, &keys, &folder.join("first"));
    first.say("register zebra");
    assert_eq!(first.line(), "Registered: zebra");
    let storage = folder.join("one");
    let mut args = vec!["registry", "lookup", "zebra", "--json", "--verbose", "--bootstrap", &bootstrap];
    args.extend(["--server", &keys[0], "--core", &keys[1], "--storage", &storage]);
    let output = seckel(&args).output().expect("seckel runs");
    let said = text(&output.stdout);
    let answer: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(answer["name"], "zebra");
    assert!(text(&output.stderr).lines().any(|line| grammar::line(line).is_some()));
}

// proves transcript.6
#[test]
fn no_line_holds_a_key_of_the_key_log() {
    let folder = Folder::new();
    let (file, log) = (folder.join("trace"), folder.join("keys"));
    let mut command = seckel(&["demo"]);
    command.env("SECKEL_TRACE", &file).env("SECKEL_KEYS", &log);
    answered(&demo(command));
    let said = lines(&file).join("\n");
    let keys = std::fs::read_to_string(&log).expect("the key log");
    let secrets: Vec<&str> = keys.lines().flat_map(|line| line.split(' ').skip(2)).collect();
    assert!(secrets.len() > 8, "{keys}");
    // Not even its beginning, which is how much a line shows of a public key.
    let public = "NOISE_IK";
    for line in keys.lines() {
        let skipped = if line.starts_with(public) { 3 } else { 2 };
        for secret in line.split(' ').skip(skipped) {
            assert!(!said.contains(&secret[..8]), "{line}");
        }
    }
    assert!(!said.contains("zebra"), "what a user sent");
}

#[test]
fn a_file_that_cannot_be_opened_is_said_so_at_once() {
    let folder = Folder::new();
    let nowhere = folder.join("no/such/folder");
    for option in ["--trace", "--trace-json"] {
        let output = seckel(&["demo", option, &nowhere]).output().expect("seckel runs");
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(&nowhere));
        assert!(output.stdout.is_empty());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_ends_the_transcript_and_not_the_process() {
    let output = demo(seckel(&["demo", "--trace", "/dev/full"]));
    answered(&output);
    assert!(text(&output.stderr).contains("the transcript ends here"));
}

// proves transcript.1
#[cfg(unix)]
#[test]
fn a_disk_that_becomes_full_leaves_whole_lines() {
    let folder = Folder::new();
    let file = folder.join("trace");
    // The shell's bound on the size of files stands for the disk's.
    let script = "trap '' XFSZ; ulimit -f 16; exec \"$0\" testnet --nodes 4 --trace \"$1\"";
    let mut shell = piped(Command::new("sh"));
    let mut child =
        shell.args(["-c", script, env!("CARGO_BIN_EXE_seckel"), &file]).spawn().expect("sh starts");
    let _output = read_until(&mut child, "Fully started");
    let output = interrupt(child);
    assert!(text(&output.stderr).contains("the transcript ends here"), "{}", text(&output.stderr));
    let said = lines(&file);
    assert!(said.len() > 50, "{} lines", said.len());
}

#[test]
fn a_reader_that_goes_away_ends_the_transcript_and_not_the_process() {
    let mut child = seckel(&["demo", "-v"]).spawn().expect("seckel starts");
    drop(child.stderr.take());
    child.stdin.take().expect("piped").write_all(b"register zebra\nlookup zebra\n").expect("it reads");
    answered(&child.wait_with_output().expect("seckel ends"));
}

/// A program whose output nobody reads ends quietly, and its transcript is whole.
#[test]
fn what_was_told_is_there_when_nobody_reads_the_output() {
    let folder = Folder::new();
    let file = folder.join("trace");
    let mut child = seckel(&["testnet", "--nodes", "4", "--trace", &file]).spawn().expect("seckel starts");
    drop(child.stdout.take());
    assert!(child.wait().expect("it ends").success());
    assert!(!lines(&file).is_empty());
}
