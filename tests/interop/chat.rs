//! The guide's chat: its program on npm's hyperdht at one end, `seckel chat` at the other, both ways.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::seckel::Seckel;
use super::support::{packages, skipped};

/// The guide's program.
struct Guide {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Guide {
    fn start(args: &[&str]) -> Guide {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/js/chat.js");
        let mut child = Command::new("node")
            .arg(script)
            .args(args)
            .env("NODE_PATH", packages().join("node_modules"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node cannot be run: install Node 20, or set SECKEL_SKIP_INTEROP=1");
        let (input, output) = (child.stdin.take(), child.stdout.take());
        Guide { child, input: input.expect("piped"), output: BufReader::new(output.expect("piped")) }
    }

    /// The next line that is not empty: the guide's program shows the end of a line that came, and adds its own.
    fn line(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).expect("text") > 0, "node ended without a line");
            if !line.trim().is_empty() {
                return line.trim_end_matches('\n').to_owned();
            }
        }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").and_then(|()| self.input.flush()).expect("node reads");
    }

    fn interrupt(mut self) {
        let done = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().expect("kill");
        assert!(done.success());
        assert_eq!(self.child.wait().expect("it ends").code(), Some(0));
    }
}

impl Drop for Guide {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn network() -> (Seckel, String) {
    let mut dht = Seckel::start(&["testnet", "--nodes", "4"]);
    let bootstrap = dht.line_with("Bootstrap: ").trim_start_matches("Bootstrap: ").to_owned();
    dht.line_with("Fully started");
    (dht, bootstrap)
}

fn port(bootstrap: &str) -> &str {
    bootstrap.rsplit(':').next().expect("a port")
}

fn after<'a>(line: &'a str, label: &str) -> &'a str {
    line.strip_prefix(label).unwrap_or_else(|| panic!("{line}"))
}

fn met(line: &str) -> String {
    after(line, "* got a connection from: ").trim_end_matches(" *").to_owned()
}

#[test]
fn seckel_listens_and_the_guides_chat_joins() {
    if skipped("seckel_listens_and_the_guides_chat_joins") {
        return;
    }
    let (_dht, bootstrap) = network();
    let mut host = Seckel::start(&["chat", "--bootstrap", &bootstrap]);
    let key = after(&host.line(), "listening on: ").to_owned();
    let mut guests: Vec<(Guide, String)> = Vec::new();
    for _ in 0..2 {
        let mut guest = Guide::start(&[port(&bootstrap), &key]);
        assert_eq!(met(&guest.line()), key);
        let own = met(&host.line());
        guest.say("hello from node");
        assert_eq!(host.line(), format!("{own}: hello from node"));
        guests.push((guest, own));
    }
    host.say("hello to all \u{1f350}");
    for (guest, _) in &mut guests {
        assert_eq!(guest.line(), format!("{key}: hello to all \u{1f350}"));
    }
    let (gone, _) = guests.remove(0);
    gone.interrupt();
    host.say("still here");
    assert_eq!(guests[0].0.line(), format!("{key}: still here"));
    host.interrupt();
    closed(&mut guests[0].0, &key);
}

/// How the end looks there depends on who is first, as the guide's program does not end its own side; that it comes
/// does not.
fn closed(guide: &mut Guide, key: &str) {
    loop {
        let line = guide.line();
        if line == format!("closed: {key}") {
            return;
        }
        assert!(line.starts_with("Connection error:"), "{line}");
    }
}

#[test]
fn the_guides_chat_listens_and_seckel_joins() {
    if skipped("the_guides_chat_listens_and_seckel_joins") {
        return;
    }
    let (_dht, bootstrap) = network();
    let mut host = Guide::start(&[port(&bootstrap)]);
    let key = after(&host.line(), "listening on: ").to_owned();
    let mut guest = Seckel::start(&["chat", &key, "--bootstrap", &bootstrap]);
    assert_eq!(met(&guest.line()), key);
    let own = met(&host.line());
    guest.say("hello from seckel");
    assert_eq!(host.line(), format!("{own}: hello from seckel"));
    host.say("hello back");
    assert_eq!(guest.line(), format!("{key}: hello back"));
    let mut second = Seckel::start(&["chat", &key, "--bootstrap", &bootstrap]);
    assert_eq!(met(&second.line()), key);
    host.say("and to both");
    for seckel in [&mut guest, &mut second] {
        assert_eq!(seckel.line(), format!("{key}: and to both"));
    }
    guest.interrupt();
    assert_eq!(met(&host.line()).len(), 64);
    closed(&mut host, &own);
    host.interrupt();
}

/// Everybody on a topic, whoever made their program, whoever was there first.
#[test]
fn a_room_has_both() {
    if skipped("a_room_has_both") {
        return;
    }
    let topic = "07".repeat(32);
    for seckel_first in [true, false] {
        let (_dht, bootstrap) = network();
        let ours = || {
            let mut seckel = Seckel::start(&["swarm", &topic, "--bootstrap", &bootstrap]);
            assert_eq!(seckel.line(), format!("listening on: {topic}"));
            seckel
        };
        let listens = format!("listening on: {topic}");
        let theirs = || Guide::start(&[port(&bootstrap), "", &topic]);
        let (mut seckel, mut guide, our_key) = if seckel_first {
            let seckel = ours();
            let mut guide = theirs();
            // It says that it listens once it has met those who are there, or before.
            let lines = [guide.line(), guide.line()];
            let other = lines.iter().find(|line| **line != listens).expect("two different lines");
            assert!(lines.contains(&listens), "{lines:?}");
            let our_key = met(other);
            (seckel, guide, our_key)
        } else {
            let mut guide = theirs();
            assert_eq!(guide.line(), listens);
            let seckel = ours();
            let our_key = met(&guide.line());
            (seckel, guide, our_key)
        };
        let their_key = met(&seckel.line());
        seckel.say("from seckel");
        assert_eq!(guide.line(), format!("{our_key}: from seckel"));
        guide.say("from node");
        assert_eq!(seckel.line(), format!("{their_key}: from node"));
        seckel.interrupt();
        closed(&mut guide, &our_key);
        guide.interrupt();
    }
}
