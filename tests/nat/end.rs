//! One end of connections, driven line by line: JSON in, JSON out, as `node.js end` is on the other package.
//!
//! This test binary runs itself as this program, so that an end may live on a host of a lab.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, Write};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use seckel::base::{Error, Key, hex};
use seckel::edge::host::{Host, NodeId, Wake};
use seckel::edge::trace::{Transcript, Wanted};
use seckel::node::{
    Config, ConnId, ConnectOptions, DhtConfig, Event, KeyPair, ListenOptions, Net, Path, ServerId,
};
use serde_json::{Value, json};

/// Set in the environment of this binary when it is to be an end.
pub const SIGN: &str = "SECKEL_NAT_END";

/// Every seckel of a lab writes a transcript into the folder that this names.
pub const TRACES: &str = "SECKEL_NAT_TRACES";

/// Bytes of one message of an echo.
const PIECE: usize = 0x1_0000;
/// A talk has a message this often.
const EVERY: Duration = Duration::from_millis(100);

fn say(value: &Value) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{value}").and_then(|()| out.flush()).expect("the test reads");
}

fn path_name(path: Path) -> &'static str {
    match path {
        Path::Direct => "direct",
        Path::Passive => "passive",
        Path::Lan => "lan",
        Path::Punched => "punch",
        Path::Relayed => "relay",
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).expect("a test is short")
}

/// What a client does once it is connected.
#[derive(Debug)]
enum Doing {
    /// Every piece must come back as it was sent.
    Echo { sent: Vec<u8>, next: usize, came: Vec<u8>, since: Instant },
    /// A numbered message every `EVERY`, each of which is to come back, in order.
    Talk { sent: u32, came: u32, gap: Duration, last: Instant, due: Instant, ordered: bool },
}

/// The one connection that this end made.
#[derive(Debug)]
struct Client {
    conn: ConnId,
    asked: Instant,
    echo: usize,
    path: &'static str,
    doing: Option<Doing>,
}

struct End {
    host: Host,
    node: Option<NodeId>,
    /// A seed for the node's keys, drawn from the clock and the process: every node has keys of its own.
    pair: KeyPair,
    server: Option<ServerId>,
    /// What callers sent and what could not be sent back to them yet.
    callers: BTreeMap<ConnId, VecDeque<Vec<u8>>>,
    client: Option<Client>,
}

/// Serves commands until its input ends.
pub fn run() {
    let mut host = Host::open().expect("a host");
    if let Some(folder) = std::env::var_os(TRACES) {
        let text = std::path::Path::new(&folder).join(format!("{}.log", std::process::id()));
        let wanted = Wanted { text: Some(text), ..Wanted::default() };
        if let Some(transcript) = Transcript::open(&wanted).expect("a file for the transcript") {
            host.set_transcript(transcript);
        }
    }
    let waker = host.waker();
    let (lines, commands) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let line = line.expect("text");
            lines.send(serde_json::from_str::<Value>(&line).expect("JSON")).expect("the end listens");
            waker.wake().expect("wakes");
        }
        drop(lines);
        waker.wake().expect("wakes");
    });
    let pair = KeyPair::from_seed([0; 32]);
    let mut end = End { host, node: None, pair, server: None, callers: BTreeMap::new(), client: None };
    say(&json!({"event": "ready"}));
    end.serve(&commands);
}

impl End {
    fn serve(&mut self, commands: &Receiver<Value>) {
        loop {
            loop {
                match commands.try_recv() {
                    Ok(command) => self.obey(&command),
                    Err(std::sync::mpsc::TryRecvError::Empty) => break,
                    Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
                }
            }
            let patience = match &self.client {
                Some(Client { doing: Some(Doing::Talk { due, .. }), .. }) => {
                    Some(due.saturating_duration_since(Instant::now()))
                }
                _ => None,
            };
            if let Wake::Event(id, event) = self.host.wait(patience).expect("the host works")
                && self.node == Some(id)
            {
                self.on_event(event);
            }
            self.tick();
        }
    }

    fn net(&mut self) -> Net<'_> {
        let id = self.node.expect("the test joins first");
        self.host.net(id)
    }

    fn obey(&mut self, command: &Value) {
        match command["do"].as_str().expect("a command") {
            "join" => self.join(command),
            "listen" => {
                if let Some(seed) = key_of(&command["seed"]) {
                    self.pair = KeyPair::from_seed(seed);
                }
                let options =
                    ListenOptions { relay_through: relays(command), ..ListenOptions::new(self.pair.clone()) };
                self.server = Some(self.net().listen_with(options, false).expect("listens"));
            }
            "connect" => {
                let key = key_of(&command["key"]).expect("a key");
                let options = ConnectOptions {
                    relay_through: relays(command),
                    ..ConnectOptions::new(self.pair.clone())
                };
                if let Some(before) = self.client.take() {
                    self.net().destroy(before.conn);
                }
                let asked = Instant::now();
                let conn = self.net().connect_with(key, options, false).expect("connects");
                let echo = command["echo"].as_u64().map_or(0, |bytes| usize::try_from(bytes).expect("fits"));
                self.client = Some(Client { conn, asked, echo, path: "", doing: None });
            }
            "close" => self.close(),
            other => panic!("no command {other}"),
        }
    }

    fn join(&mut self, command: &Value) {
        let bootstrap = command["bootstrap"].as_str().expect("an address").parse().expect("an address");
        let dht = DhtConfig { bootstrap: vec![bootstrap], ..DhtConfig::default() };
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let epoch_millis = u64::try_from(since.as_millis()).ok();
        let mut seed = [0; 32];
        let drawn = since.as_nanos() ^ (u128::from(std::process::id()) << 64);
        seed[..16].copy_from_slice(&drawn.to_le_bytes());
        self.pair = KeyPair::from_seed(seed);
        let nowhere = std::env::temp_dir();
        self.node =
            Some(self.host.add(Config { dht, epoch_millis, ..Config::default() }, &nowhere).expect("a node"));
    }

    fn close(&mut self) {
        if let Some(id) = self.node.take() {
            self.host.remove(id);
        }
        self.server = None;
        self.client = None;
        self.callers.clear();
        say(&json!({"event": "gone"}));
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Bootstrapped => say(&json!({"event": "joined"})),
            Event::Listening { server } if self.server == Some(server) => {
                say(&json!({"event": "listening", "key": hex::encode(&self.pair.public)}));
            }
            Event::Connected { conn, server: Some(_), .. } => {
                self.callers.insert(conn, VecDeque::new());
            }
            Event::Connected { conn, path, .. } if self.is_client(conn) => self.opened(path),
            Event::Moved { conn, path } if self.is_client(conn) => {
                let client = self.client.as_mut().expect("it is the client");
                client.path = path_name(path);
                say(&json!({"event": "moved", "path": client.path, "ms": millis(client.asked)}));
            }
            Event::ConnectFailed { conn, why, .. } if self.is_client(conn) => {
                let client = self.client.take().expect("it is the client");
                say(&json!({"event": "failed", "why": why.code(), "ms": millis(client.asked)}));
            }
            Event::Closed { conn, why } if self.is_client(conn) => {
                let client = self.client.take().expect("it is the client");
                say(&json!({"event": "closed", "why": format!("{why:?}"), "ms": millis(client.asked)}));
            }
            Event::Data { conn, bytes } if self.is_client(conn) => self.came_back(&bytes),
            Event::Drained { conn } if self.is_client(conn) => self.send_pieces(),
            Event::Data { conn, bytes } => {
                if let Some(queue) = self.callers.get_mut(&conn) {
                    queue.push_back(bytes);
                }
                self.send_back(conn);
            }
            Event::Drained { conn } => self.send_back(conn),
            Event::Ended { conn } if self.callers.contains_key(&conn) => self.net().close(conn),
            Event::Closed { conn, .. } => {
                self.callers.remove(&conn);
            }
            _ => {}
        }
    }

    fn is_client(&self, conn: ConnId) -> bool {
        self.client.as_ref().is_some_and(|client| client.conn == conn)
    }

    fn opened(&mut self, path: Path) {
        let now = Instant::now();
        let client = self.client.as_mut().expect("it is the client");
        client.path = path_name(path);
        say(&json!({"event": "open", "ms": millis(client.asked), "path": client.path}));
        client.doing = Some(match client.echo {
            0 => Doing::Talk { sent: 0, came: 0, gap: Duration::ZERO, last: now, due: now, ordered: true },
            size => {
                let sent = (0..size).map(|at| ((at * 31 + (at >> 8) * 17) & 255) as u8).collect();
                Doing::Echo { sent, next: 0, came: Vec::new(), since: now }
            }
        });
        self.send_pieces();
    }

    /// Sends what of an echo has room.
    fn send_pieces(&mut self) {
        let id = self.node.expect("joined");
        let Some(Client { conn, doing: Some(Doing::Echo { sent, next, .. }), .. }) = &mut self.client else {
            return;
        };
        while *next < sent.len() {
            let piece = &sent[*next..sent.len().min(*next + PIECE)];
            match self.host.net(id).send(*conn, piece) {
                Ok(()) => *next += piece.len(),
                Err(Error::Full) => return,
                Err(error) => panic!("an open connection takes what is sent: {error}"),
            }
        }
    }

    /// Sends callers what they sent.
    fn send_back(&mut self, conn: ConnId) {
        let id = self.node.expect("joined");
        let Some(queue) = self.callers.get_mut(&conn) else { return };
        while let Some(bytes) = queue.front() {
            match self.host.net(id).send(conn, bytes) {
                Ok(()) => drop(queue.pop_front()),
                Err(Error::Full) => return,
                // It has closed meanwhile.
                Err(_) => queue.clear(),
            }
        }
    }

    fn came_back(&mut self, bytes: &[u8]) {
        match self.client.as_mut().and_then(|client| client.doing.as_mut()) {
            Some(Doing::Echo { sent, came, since, .. }) => {
                came.extend_from_slice(bytes);
                if came.len() >= sent.len() {
                    say(&json!({"event": "echo", "ms": millis(*since), "whole": came == sent}));
                }
            }
            Some(Doing::Talk { came, gap, last, ordered, .. }) => {
                *gap = (*gap).max(last.elapsed());
                *last = Instant::now();
                *ordered = *ordered && bytes == came.to_le_bytes();
                *came += 1;
                let gap = u64::try_from(gap.as_millis()).expect("short");
                say(&json!({"event": "came", "count": came, "gap": gap, "ordered": ordered}));
            }
            None => {}
        }
    }

    /// The next message of a talk, if it is time.
    fn tick(&mut self) {
        let Some(id) = self.node else { return };
        let Some(Client { conn, doing: Some(Doing::Talk { sent, due, .. }), .. }) = &mut self.client else {
            return;
        };
        if *due <= Instant::now() && self.host.net(id).send(*conn, &sent.to_le_bytes()).is_ok() {
            *sent += 1;
        }
        while *due <= Instant::now() {
            *due += EVERY;
        }
    }
}

fn key_of(value: &Value) -> Option<Key> {
    let bytes = hex::decode(value.as_str()?).expect("hex");
    Some(bytes.try_into().expect("32 bytes"))
}

fn relays(command: &Value) -> Vec<Key> {
    key_of(&command["relay"]).into_iter().collect()
}
