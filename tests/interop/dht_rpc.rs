//! seckel's nodes of the hash table and those of npm's dht-rpc, in one network on loopback.

use std::collections::{BTreeMap, VecDeque};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use seckel::base::{Addr, Cx, Key, Machine, NoTrace, Seeded, SocketId, Span, Tag, Time, hex};
use seckel::dht_rpc::{Config, DhtRpc, Event, Input, Lost, Output, QueryError, node_id};
use seckel::sim::ramdisk::RamDisk;
use seckel::wire::dht_rpc::{
    Ask, DELAYED_PING, FIND_NODE, INVALID_TOKEN, OK, PING, PING_NAT, Query, Reply, Request, Respond,
    UNKNOWN_COMMAND,
};
use serde_json::{Value, json};

use crate::support::{Node, free_port, skipped};

const STORE: u64 = 7;
const CODES: u64 = 8;
/// Longer than anything here takes, except when it fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A node of ours with real sockets. Stores like the script does.
struct Ours {
    dht: DhtRpc,
    entropy: Seeded,
    disk: RamDisk,
    begin: Instant,
    /// How far its clock was set ahead.
    ahead: Span,
    sockets: BTreeMap<SocketId, UdpSocket>,
    events: VecDeque<Event>,
    seen: Vec<Request>,
    stored: BTreeMap<Key, Vec<u8>>,
    next_tag: u64,
}

impl Ours {
    fn new(seed: u64, config: Config) -> Ours {
        let (mut entropy, mut disk, begin) = (Seeded::new(seed), RamDisk::new(), Instant::now());
        let mut cx = Cx { now: Time::ZERO, entropy: &mut entropy, disk: &mut disk, trace: &mut NoTrace };
        let config = Config { host: [127, 0, 0, 1], ..config };
        let dht = DhtRpc::new(&mut cx, config);
        Ours {
            dht,
            entropy,
            disk,
            begin,
            ahead: Span::ZERO,
            sockets: BTreeMap::new(),
            events: VecDeque::new(),
            seen: Vec::new(),
            stored: BTreeMap::new(),
            next_tag: 0,
        }
    }

    fn with<R>(&mut self, command: impl FnOnce(&mut DhtRpc, &mut Cx<'_>) -> R) -> R {
        let now = self.now();
        let mut cx = Cx { now, entropy: &mut self.entropy, disk: &mut self.disk, trace: &mut NoTrace };
        command(&mut self.dht, &mut cx)
    }

    fn settle(&mut self) {
        loop {
            let output = self.with(|dht, cx| dht.poll_output(cx));
            let event = self.dht.poll_event();
            if output.is_none() && event.is_none() {
                return;
            }
            if let Some(output) = output {
                self.carry(output);
            }
            match event {
                Some(Event::Request(request)) => self.serve(&request),
                Some(event) => self.events.push_back(event),
                None => {}
            }
        }
    }

    fn carry(&mut self, output: Output) {
        match output {
            Output::Bind { socket, host, port } => {
                match UdpSocket::bind((std::net::Ipv4Addr::from(host), port)) {
                    Ok(udp) => {
                        udp.set_nonblocking(true).expect("a socket");
                        let port = udp.local_addr().expect("bound").port();
                        self.sockets.insert(socket, udp);
                        let local = Addr::new(host, port);
                        self.with(|dht, cx| dht.handle_input(cx, Input::Bound { socket, local }));
                    }
                    Err(_) => self.with(|dht, cx| dht.handle_input(cx, Input::BindFailed { socket })),
                }
            }
            Output::Close { socket } => drop(self.sockets.remove(&socket)),
            Output::Send { socket, to, bytes, .. } => {
                if let Some(udp) = self.sockets.get(&socket) {
                    let _ = udp.send_to(&bytes, (std::net::Ipv4Addr::from(to.ip), to.port));
                }
            }
        }
    }

    fn serve(&mut self, request: &Request) {
        self.seen.push(request.clone());
        let respond = match (request.command, request.target) {
            (STORE, Some(target)) => {
                if request.token.is_some() {
                    self.stored.insert(target, request.value.clone().unwrap_or_default());
                }
                Respond::value(self.stored.get(&target).cloned())
            }
            _ => Respond::error(UNKNOWN_COMMAND),
        };
        self.with(|dht, cx| dht.respond(cx, request, respond));
    }

    /// Takes what came in and what is due; true if there was something.
    fn turn(&mut self) -> bool {
        self.settle();
        let mut came = Vec::new();
        let mut buffer = [0; 4096];
        for (socket, udp) in &self.sockets {
            while let Ok((len, from)) = udp.recv_from(&mut buffer) {
                let std::net::SocketAddr::V4(from) = from else { continue };
                came.push((*socket, Addr::new(from.ip().octets(), from.port()), buffer[..len].to_vec()));
            }
        }
        let something = !came.is_empty();
        for (socket, from, bytes) in came {
            self.with(|dht, cx| dht.handle_input(cx, Input::Datagram { socket, from, bytes: &bytes }));
            self.settle();
        }
        let now = self.now();
        if self.dht.poll_timeout().is_some_and(|deadline| deadline.at <= now) {
            self.with(|dht, cx| dht.handle_timeout(cx));
            self.settle();
        }
        something
    }

    fn now(&self) -> Time {
        Time::from_micros(self.begin.elapsed().as_micros() as u64) + self.ahead
    }

    /// Sets the clock ahead to what comes next, if no answer is waited for.
    fn skip(&mut self) {
        if self.dht.stats().active > 0 {
            return;
        }
        if let Some(deadline) = self.dht.poll_timeout() {
            self.ahead = self.ahead + deadline.at.since(self.now());
        }
    }

    fn server(&self) -> Addr {
        self.dht.local(SocketId::SERVER).expect("bound")
    }

    fn ask(&mut self, ask: Ask) -> Tag {
        self.next_tag += 1;
        let tag = Tag(self.next_tag);
        self.with(|dht, cx| dht.ask(cx, tag, ask)).expect("room");
        tag
    }

    fn query(&mut self, query: Query) -> Tag {
        self.next_tag += 1;
        let tag = Tag(self.next_tag);
        self.with(|dht, cx| dht.query(cx, tag, query)).expect("room");
        tag
    }
}

/// Runs all of ours until `done` finds what it looks for.
fn run<R>(ours: &mut [&mut Ours], mut done: impl FnMut(&mut [&mut Ours]) -> Option<R>) -> R {
    let begin = Instant::now();
    loop {
        let mut something = false;
        for one in ours.iter_mut() {
            something |= one.turn();
        }
        if let Some(found) = done(ours) {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "nothing happens");
        if !something {
            std::thread::sleep(Duration::from_millis(1)); // nothing to do: leave the processor to the other process
        }
    }
}

fn take<R>(one: &mut Ours, find: impl Fn(&Event) -> Option<R>) -> Option<R> {
    let (at, found) =
        one.events.iter().enumerate().find_map(|(at, event)| find(event).map(|found| (at, found)))?;
    one.events.remove(at);
    Some(found)
}

fn bootstrapped(one: &mut Ours) {
    run(&mut [one], |ours| take(ours[0], |event| (*event == Event::Bootstrapped).then_some(())));
}

fn answer(one: &mut Ours, ask: Ask) -> Result<Reply, Lost> {
    let tag = one.ask(ask);
    run(&mut [one], |ours| {
        take(ours[0], |event| match event {
            Event::Answer { tag: about, result } if *about == tag => Some(result.clone()),
            _ => None,
        })
    })
}

type Closest = (Result<(), QueryError>, Vec<Reply>);

fn walk(ours: &mut [&mut Ours], query: Query) -> Closest {
    let tag = ours[0].query(query);
    run(ours, |ours| {
        take(ours[0], |event| match event {
            Event::QueryDone { tag: about, result, closest } if *about == tag => {
                Some((*result, closest.clone()))
            }
            _ => None,
        })
    })
}

/// Asks the script while ours go on answering.
fn ask_node(node: &mut Node, ours: Vec<Ours>, message: &Value) -> (Value, Vec<Ours>) {
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            let mut ours = ours;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                if !ours.iter_mut().fold(false, |any, one| one.turn() | any) {
                    std::thread::sleep(Duration::from_millis(1)); // nothing to do
                }
            }
            ours
        });
        let said = node.ask(message);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        (said, running.join().expect("ours run"))
    })
}

fn port(value: &Value) -> u16 {
    value.as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port")
}

fn ports(value: &Value) -> Vec<u16> {
    value.as_array().expect("a list").iter().map(port).collect()
}

fn joins(bootstrap: u16) -> Config {
    Config { bootstrap: vec![Addr::loopback(bootstrap)], ..Config::default() }
}

/// Waits until a node of the script satisfies `wanted`.
fn until_node(
    node: &mut Node,
    mut ours: Vec<Ours>,
    n: u64,
    wanted: impl Fn(&Value) -> bool,
) -> (Value, Vec<Ours>) {
    let begin = Instant::now();
    loop {
        let (about, back) = ask_node(node, ours, &json!({"op": "about", "n": n}));
        ours = back;
        if wanted(&about) {
            return (about, ours);
        }
        assert!(begin.elapsed() < PATIENCE, "never so: {about}");
    }
}

/// pitfalls 3.8 and 4.4: in the table of Node's bootstrap node we stand after we are persistent and never before.
#[test]
fn we_join_a_node_bootstrapper() {
    if skipped("we_join_a_node_bootstrapper") {
        return;
    }
    let mut node = Node::start("dht_rpc.js", &[]);
    let at = free_port();
    node.ask(&json!({"op": "bootstrapper", "port": at}));

    let mut ours = Ours::new(1, joins(at));
    bootstrapped(&mut ours);
    assert!(!ours.dht.firewalled());
    assert_eq!(ours.dht.remote_addr(), Some(ours.server()));
    let find = Ask { target: Some([7; 32]), ..Ask::internal(Addr::loopback(at), FIND_NODE) };
    let reply = answer(&mut ours, find).expect("an answer");
    assert_eq!(reply.id, Some(node_id(Addr::loopback(at))));
    assert_eq!((reply.token, reply.to), (None, ours.server()));
    let about = node.ask(&json!({"op": "about", "n": 0}));
    assert_eq!(about["nodes"], json!([]), "an ephemeral node is in nobody's table");

    let mut persistent = Ours::new(2, Config { ephemeral: Some(false), ..joins(at) });
    bootstrapped(&mut persistent);
    assert_eq!(persistent.dht.id(), Some(node_id(persistent.server())));
    let want = json!([persistent.server().port]);
    let (_, _ours) = until_node(&mut node, vec![persistent], 0, |about| about["nodes"] == want);
    node.finish();
}

/// pitfalls 3.8 and 4.5: an adaptive node, over its first twenty minutes (with a clock that skips idle time).
#[test]
fn an_adaptive_node_enters_nodes_table_when_it_turns_persistent() {
    if skipped("an_adaptive_node_enters_nodes_table_when_it_turns_persistent") {
        return;
    }
    let at = free_port();
    let mut node = Node::start("dht_rpc.js", &[]);
    node.ask(&json!({"op": "bootstrapper", "port": at}));
    let mut ours = Ours::new(5, joins(at));
    bootstrapped(&mut ours);
    run(&mut [&mut ours], |ours| {
        ours[0].skip();
        (ours[0].now() > Time::ZERO + Span::from_secs(19 * 60)).then_some(())
    });
    assert!(ours.dht.ephemeral());
    assert_eq!(node.ask(&json!({"op": "about", "n": 0}))["nodes"], json!([]));
    run(&mut [&mut ours], |ours| {
        ours[0].skip();
        take(ours[0], |event| (*event == Event::Persistent).then_some(()))
    });
    assert!(ours.now() < Time::ZERO + Span::from_secs(21 * 60));
    assert_eq!(ours.dht.id(), Some(node_id(ours.server())));
    let want = json!([ours.server().port]);
    let (_, _ours) = until_node(&mut node, vec![ours], 0, |about| about["nodes"] == want);
    node.finish();
}

#[test]
fn node_joins_our_bootstrapper() {
    if skipped("node_joins_our_bootstrapper") {
        return;
    }
    let at = free_port();
    let mut ours = Ours::new(3, Config::bootstrapper(Addr::loopback(at)).expect("an address"));
    bootstrapped(&mut ours);
    let mut node = Node::start("dht_rpc.js", &[]);

    // It begins firewalled; our answers to its PING_NAT make it persistent.
    let asked = json!({"op": "node", "bootstrap": [at], "options": {"ephemeral": false}});
    let (about, mut all) = ask_node(&mut node, vec![ours], &asked);
    assert_eq!((&about["ephemeral"], &about["firewalled"]), (&json!(false), &json!(false)), "{about}");
    assert_eq!(about["remote"], about["server"]);
    let server = Addr::loopback(port(&about["server"]));
    assert_eq!(about["nodes"], json!([at]));
    run(&mut [&mut all[0]], |ours| (ours[0].dht.nodes(9) == [server]).then_some(()));

    // An ephemeral one is answered, but not remembered.
    let asked = json!({"op": "node", "bootstrap": [at], "options": {"ephemeral": true}});
    let (about, all) = ask_node(&mut node, all, &asked);
    assert_eq!(about["ephemeral"], json!(true));
    let found = ports(&about["nodes"]);
    assert!(found.contains(&at), "{about}");
    assert_eq!(all[0].dht.nodes(9), [server]);

    let (pong, all) = ask_node(&mut node, all, &json!({"op": "ping", "n": 0, "port": at, "size": 100}));
    assert_eq!(pong["id"], json!(hex::encode(&node_id(Addr::loopback(at)))));
    assert_eq!((&pong["token"], &pong["value"], &pong["error"]), (&json!(null), &json!(null), &json!(0)));
    let (pong, _all) = ask_node(&mut node, all, &json!({"op": "delayed", "n": 0, "port": at, "ms": 300}));
    assert!(pong["took"].as_u64().is_some_and(|took| took >= 299), "{pong}");
    node.finish();
}

/// pitfalls 3.6 and 3.7 against the real package, both ways.
#[test]
fn tokens_and_errors() {
    if skipped("tokens_and_errors") {
        return;
    }
    let at = free_port();
    let mut node = Node::start("dht_rpc.js", &[]);
    node.ask(&json!({"op": "bootstrapper", "port": at}));
    let theirs = Addr::loopback(at);
    let mut ours = Ours::new(4, joins(at));
    bootstrapped(&mut ours);

    // We ask.
    let target = Some([9; 32]);
    let wrong = Ask { target, token: Some([1; 32]), ..Ask::new(theirs, STORE) };
    let reply = answer(&mut ours, wrong.clone()).expect("an answer");
    assert_eq!(reply.error, INVALID_TOKEN);
    let fresh = reply.token.expect("a fresh token");
    let right = Ask { token: Some(fresh), value: Some(b"hello".to_vec()), ..wrong };
    let reply = answer(&mut ours, right).expect("an answer");
    assert_eq!((reply.error, reply.value.as_deref()), (OK, Some(&b"hello"[..])));
    let reply = answer(&mut ours, Ask::new(theirs, 99)).expect("an answer");
    assert_eq!((reply.error, reply.token), (UNKNOWN_COMMAND, None));
    let reply =
        answer(&mut ours, Ask { value: Some(vec![33]), ..Ask::new(theirs, CODES) }).expect("an answer");
    assert_eq!(reply.error, 33);
    let reply = answer(&mut ours, Ask::internal(theirs, 77)).expect("an answer");
    assert_eq!(reply.error, UNKNOWN_COMMAND);
    let reply = answer(&mut ours, Ask::internal(theirs, PING)).expect("an answer");
    assert_eq!((reply.error, reply.token, reply.value), (OK, None, None));
    let delayed = Ask { value: Some(200_u32.to_le_bytes().to_vec()), ..Ask::internal(theirs, DELAYED_PING) };
    let reply = answer(&mut ours, delayed).expect("an answer");
    assert!(reply.rtt >= Span::from_millis(199), "{}", reply.rtt);
    let nat = Ask {
        value: Some(ours.server().port.to_le_bytes().to_vec()),
        socket: Some(SocketId::CLIENT),
        ..Ask::internal(theirs, PING_NAT)
    };
    let reply = answer(&mut ours, nat).expect("an answer");
    assert_eq!((reply.socket, reply.to), (SocketId::SERVER, ours.server()));

    // They ask an ephemeral node of ours.
    let server = ours.server().port;
    let target = hex::encode(&[9; 32]);
    let wrong = json!({"op": "request", "n": 0, "port": server, "command": STORE, "target": target,
        "token": target, "value": "aa"});
    let (reply, all) = ask_node(&mut node, vec![ours], &wrong);
    assert_eq!((&reply["error"], &reply["id"]), (&json!(2), &json!(null)), "{reply}");
    assert!(all[0].seen.is_empty(), "a wrong token is refused before anybody sees it");
    let mut right = wrong;
    right["token"] = reply["token"].clone();
    let (reply, all) = ask_node(&mut node, all, &right);
    assert_eq!((&reply["error"], &reply["value"]), (&json!(0), &json!("aa")), "{reply}");
    assert_eq!(reply["closer"], json!([at]));
    assert_eq!(all[0].stored.get(&[9; 32]).map(|value| &value[..]), Some(&[0xaa][..]));
    let unknown = json!({"op": "request", "n": 0, "port": server, "command": 300, "target": null});
    let (reply, _all) = ask_node(&mut node, all, &unknown);
    assert_eq!((&reply["error"], &reply["token"]), (&json!(1), &json!(null)), "{reply}");
    node.finish();
}

/// A network of five of each: queries and writes from both sides reach the nodes that are closest.
#[test]
fn queries_with_commit_in_a_mixed_network() {
    if skipped("queries_with_commit_in_a_mixed_network") {
        return;
    }
    let at = free_port();
    let mut node = Node::start("dht_rpc.js", &[]);
    let mut all = vec![Ours::new(10, Config::bootstrapper(Addr::loopback(at)).expect("an address"))];
    bootstrapped(&mut all[0]);
    let options = json!({"ephemeral": false, "firewalled": false});
    let mut everybody = vec![Addr::loopback(at)];
    for n in 0..4 {
        let asked = json!({"op": "node", "bootstrap": [at], "options": options});
        let (about, back) = ask_node(&mut node, all, &asked);
        everybody.push(Addr::loopback(port(&about["server"])));
        all = back;
        all.push(Ours::new(11 + n, Config { ephemeral: Some(false), firewalled: false, ..joins(at) }));
        let mut every: Vec<&mut Ours> = all.iter_mut().collect();
        run(&mut every, |ours| {
            let last = ours.len() - 1;
            take(ours[last], |event| (*event == Event::Bootstrapped).then_some(()))
        });
        everybody.push(all[all.len() - 1].server());
    }
    for round in 0..4_u8 {
        let target = [round.wrapping_mul(77); 32];
        let mut sorted = everybody.clone();
        sorted.sort_by_key(|addr| node_id(*addr).iter().zip(target).map(|(a, b)| a ^ b).collect::<Vec<u8>>());

        // Ours writes: everybody but the writer has it.
        let writer = all.len() - 1;
        let writer_addr = all[writer].server();
        let mut every: Vec<&mut Ours> = all.iter_mut().rev().collect();
        let query = Query { commit: true, ..Query::new(target, STORE, Some(vec![1, round])) };
        let (result, closest) = walk(&mut every, query);
        assert_eq!(result, Ok(()));
        let expected: Vec<Addr> = sorted.iter().copied().filter(|addr| *addr != writer_addr).collect();
        assert_eq!(closest.iter().map(|reply| reply.from).collect::<Vec<_>>(), expected);
        for one in &all[..writer] {
            assert_eq!(one.stored.get(&target), Some(&vec![1, round]));
        }
        for n in 0..4 {
            let (about, back) = ask_node(&mut node, all, &json!({"op": "about", "n": n}));
            all = back;
            assert!(
                about["stored"]
                    .as_array()
                    .is_some_and(|stored| stored.contains(&json!(hex::encode(&target))))
            );
        }

        // Node writes: everybody but the writer has it.
        let value = hex::encode(&[2, round]);
        let asked = json!({"op": "query", "n": 0, "target": hex::encode(&target), "command": STORE,
            "value": value, "commit": true});
        let (done, back) = ask_node(&mut node, all, &asked);
        all = back;
        let expected: Vec<u16> =
            sorted.iter().map(|addr| addr.port).filter(|p| *p != everybody[1].port).collect();
        let closest: Vec<u16> =
            done["closest"].as_array().expect("closest").iter().map(|m| port(&m["from"])).collect();
        assert_eq!(closest, expected, "{done}");
        for one in &all {
            assert_eq!(one.stored.get(&target), Some(&vec![2, round]));
        }
    }
    node.finish();
}
