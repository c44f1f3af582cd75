//! Blind relays beside punches: who asks which, in whatever order they come to an end, and the way from one to the
//! other. The relay is this test: what the machines ask of it stands in `relaying`.

use super::super::*;
use super::stories::nodes;
use super::world::*;

/// The relay's end for a side, an address that nobody has.
const LEG: Addr = Addr::new([9, 9, 9, 9], 9);

pub struct Call {
    pub world: World,
    pub server: usize,
    pub client: usize,
    conn: ConnId,
}

/// What a side asks a relay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Asks {
    conn: ConnId,
    relay: Key,
    initiator: bool,
    token: Key,
}

pub fn relay(n: u8) -> Key {
    pair(n).public
}

impl Call {
    fn new(shape: Shape, servers: Vec<Key>, clients: Vec<Key>) -> Call {
        Call::between([shape, shape], servers, clients)
    }

    /// The server's shape and the client's.
    pub fn between(shapes: [Shape; 2], servers: Vec<Key>, clients: Vec<Key>) -> Call {
        let mut world = World::new(5);
        nodes(&mut world, 5);
        let [server, client] = shapes.map(|shape| world.host(shape));
        let options = ListenOptions { relay_through: servers, ..ListenOptions::new(pair(1)) };
        world.with(server, |dht, cx| dht.listen(cx, options)).expect("new");
        let listening = |event: &Event| matches!(event, Event::Listening { .. }).then_some(());
        world.wait(server, Span::from_secs(10), listening);
        let options = ConnectOptions { relay_through: clients, ..ConnectOptions::new(pair(2)) };
        let conn = world.with(client, |dht, cx| dht.connect(cx, pair(1).public, options));
        Call { world, server, client, conn }
    }

    fn asks(&self, host: usize) -> Option<Asks> {
        self.world.hosts[host].relaying.iter().find_map(|output| match *output {
            Output::RelayAsk { conn, relay, initiator, token, .. } => {
                Some(Asks { conn, relay, initiator, token })
            }
            _ => None,
        })
    }

    /// Until both sides ask their relay.
    pub fn asked(mut self) -> Call {
        for _ in 0..1000 {
            if self.asks(self.server).is_some() && self.asks(self.client).is_some() {
                return self;
            }
            self.world.run(Span::from_millis(1));
        }
        panic!("nobody asks");
    }

    fn sides(&self) -> [usize; 2] {
        [self.server, self.client]
    }

    pub fn pair(&mut self) {
        for side in self.sides() {
            let conn = self.asks(side).expect("asked").conn;
            let input = Input::RelayPaired { conn, socket: SocketId::CLIENT, to: LEG, stream: 77 };
            self.world.input(side, input);
        }
    }

    fn refuse(&mut self) {
        for side in self.sides() {
            let conn = self.asks(side).expect("asked").conn;
            self.world.input(side, Input::RelayClosed { conn });
        }
    }

    /// Where the connections of a side went, first and later, and what failed.
    pub fn told(&self, side: usize) -> (Vec<Path>, Vec<ConnectError>) {
        let (mut paths, mut failed) = (Vec::new(), Vec::new());
        for event in &self.world.hosts[side].events {
            match event {
                Event::Connected(connected) => paths.push(connected.path),
                Event::Moved { path, .. } => paths.push(*path),
                Event::Failed { why, .. } => failed.push(*why),
                _ => {}
            }
        }
        (paths, failed)
    }

    fn looks(&mut self, side: usize) -> usize {
        let relaying = &mut self.world.hosts[side].relaying;
        let before = relaying.len();
        relaying.retain(|output| !matches!(output, Output::StreamLook { .. }));
        before - relaying.len()
    }

    fn ended(&self, side: usize) -> bool {
        self.world.hosts[side].relaying.iter().any(|output| matches!(output, Output::RelayEnd { .. }))
    }

    /// A connection of the client that went through the relay and has found the direct path just now.
    fn moved() -> Call {
        let mut call = Call::new(Shape::Consistent, vec![], vec![relay(7)]).asked();
        call.pair();
        call.world.run(Span::from_millis(1));
        assert_eq!(call.told(call.client).0, [Path::Relayed]);
        while call.told(call.client).0.len() < 2 {
            call.world.run(Span::from_millis(1));
        }
        assert_eq!(call.told(call.client).0, [Path::Relayed, Path::Punched]);
        call
    }

    /// Answers each look for so long: `each` packets came directly and otherwise since the one before.
    fn flow(&mut self, seconds: u64, each: [u64; 2], sums: &mut [u64; 2]) {
        for _ in 0..seconds * 10 {
            self.world.run(Span::from_millis(100));
            if self.looks(self.client) > 0 {
                (sums[0], sums[1]) = (sums[0] + each[0], sums[1] + each[1]);
                let (conn, [direct, elsewhere]) = (self.conn, *sums);
                self.world
                    .input(self.client, Input::StreamHeard { conn, direct, elsewhere, changing: false });
            }
        }
    }
}

#[test]
fn the_server_chooses_the_relay_if_it_has_one() {
    // proves blind_relay.20
    for (servers, clients, key, server_begins) in [
        (vec![relay(7)], vec![relay(8)], relay(7), true),
        (vec![relay(7)], vec![], relay(7), true),
        (vec![], vec![relay(8)], relay(8), false),
    ] {
        let call = Call::new(Shape::Random, servers, clients).asked();
        let [server, client] = call.sides().map(|side| call.asks(side).expect("asked"));
        assert_eq!([server.relay, client.relay], [key; 2]);
        assert_eq!((server.initiator, client.initiator), (server_begins, !server_begins));
        assert_eq!(server.token, client.token);
    }
}

#[test]
fn one_relay_of_a_list_is_drawn_and_each_call_has_a_token_of_its_own() {
    // proves blind_relay.20
    let mut call = Call::new(Shape::Random, vec![], (7..10).map(relay).collect()).asked();
    for _ in 0..20 {
        let options =
            ConnectOptions { relay_through: (7..10).map(relay).collect(), ..ConnectOptions::new(pair(2)) };
        call.world.with(call.client, |dht, cx| dht.connect(cx, pair(1).public, options));
        call.world.run(Span::from_millis(500));
    }
    let mut asked: BTreeMap<Key, BTreeSet<Key>> = BTreeMap::new();
    for output in &call.world.hosts[call.client].relaying {
        if let Output::RelayAsk { relay, token, .. } = output {
            asked.entry(*relay).or_default().insert(*token);
        }
    }
    assert_eq!(asked.len(), 3, "each was drawn");
    assert!(asked.values().map(BTreeSet::len).sum::<usize>() >= 20);
}

/// pitfalls 10.5: in any order.
#[test]
fn neither_relay_nor_punch_ends_the_other() {
    // proves blind_relay.23, blind_relay.24
    let long = Span::from_secs(40);
    let begin = || Call::new(Shape::Random, vec![], vec![relay(7)]).asked();

    let mut call = begin();
    call.pair();
    call.world.run(long);
    assert_eq!(
        call.sides().map(|side| call.told(side)),
        [(vec![Path::Relayed], vec![]), (vec![Path::Relayed], vec![])]
    );

    let mut call = begin();
    call.world.run(long);
    assert_eq!(call.sides().map(|side| call.told(side)), [(vec![], vec![]), (vec![], vec![])]);
    call.pair();
    call.world.run(long);
    assert_eq!(call.told(call.client), (vec![Path::Relayed], vec![]));
    assert_eq!(call.told(call.server), (vec![Path::Relayed], vec![]));

    let mut call = begin();
    call.refuse();
    assert_eq!(call.told(call.client), (vec![], vec![]));
    call.world.run(long);
    assert!(matches!(call.told(call.client).1[..], [why] if why != ConnectError::RelayAborted));

    let mut call = begin();
    call.world.run(long);
    call.refuse();
    assert_eq!(call.told(call.client), (vec![], vec![ConnectError::RelayAborted]));
    call.world.run(long);
    for side in call.sides() {
        assert_eq!(call.world.hosts[side].dht.counts().punches, 0);
        assert_eq!(call.world.hosts[side].dht.connections(), 0, "nothing is left");
    }
}

#[test]
fn a_punch_that_comes_first_needs_no_relay() {
    // proves blind_relay.23
    let mut call = Call::new(Shape::Consistent, vec![], vec![relay(7)]).asked();
    call.world.run(Span::from_secs(5));
    for side in call.sides() {
        assert_eq!(call.told(side), (vec![Path::Punched], vec![]));
        assert!(call.ended(side));
    }
    call.pair();
    call.world.run(Span::from_secs(5));
    assert_eq!(call.told(call.client).0, [Path::Punched], "too late");
}

/// pitfalls 10.6: a straggler from the relay begins the wait anew.
#[test]
fn the_relay_is_left_when_nothing_comes_through_it() {
    // proves blind_relay.26, blind_relay.27
    let mut call = Call::moved();
    let mut sums = [0; 2];
    call.flow(4, [1, 1], &mut sums);
    call.flow(4, [1, 0], &mut sums);
    assert!(!call.ended(call.client));
    call.flow(1, [1, 1], &mut sums);
    call.flow(4, [1, 0], &mut sums);
    assert!(!call.ended(call.client), "there was a straggler");
    call.flow(2, [1, 0], &mut sums);
    assert!(call.ended(call.client));
    call.world.run(Span::from_secs(5));
    assert_eq!(call.looks(call.client), 0, "and no look after that");
}

/// pitfalls 10.7: the other side may have closed the socket meanwhile.
#[test]
fn a_path_on_which_nothing_comes_is_not_kept() {
    // proves blind_relay.26
    let mut call = Call::moved();
    call.flow(6, [0, 1], &mut [0; 2]);
    assert_eq!(call.told(call.client).0, [Path::Relayed, Path::Punched, Path::Relayed]);
    let stream = &call.world.hosts[call.client].streams[&call.conn];
    assert_eq!(stream.remote, Some((SocketId::CLIENT, 77, LEG)));
    assert!(!call.ended(call.client));
    call.world.run(Span::from_secs(30));
    assert_eq!(call.world.hosts[call.client].dht.pooled_sockets(), 0);
}

#[test]
fn a_relay_that_goes_while_it_is_left_is_not_waited_for() {
    // proves blind_relay.28
    for early in [false, true] {
        let mut call = Call::new(Shape::Consistent, vec![], vec![relay(7)]).asked();
        call.pair();
        let conn = call.conn;
        if early {
            call.world.input(call.client, Input::RelayClosed { conn });
        }
        while call.told(call.client).0.len() < 2 {
            call.world.run(Span::from_millis(1));
        }
        if !early {
            call.world.input(call.client, Input::RelayClosed { conn });
        }
        let forget = Output::StreamForget { conn };
        assert!(call.world.hosts[call.client].relaying.contains(&forget), "{early}");
        assert_eq!(call.told(call.client), (vec![Path::Relayed, Path::Punched], vec![]));
    }
}

/// The caller is on the direct path already; its packets show it.
#[test]
fn a_packet_on_another_socket_is_the_direct_path() {
    // proves blind_relay.25
    let mut call = Call::moved();
    let from = Addr::new([8, 8, 8, 77], 7);
    let conn = call.asks(call.server).expect("asked").conn;
    let called = |call: &mut Call, socket| {
        call.world.input(call.server, Input::StreamCalled { conn, socket, from });
    };
    called(&mut call, SocketId::FIRST_POOLED);
    assert_eq!(call.told(call.server).0, [Path::Relayed, Path::Punched]);
    let stream = &call.world.hosts[call.server].streams[&conn];
    assert_eq!(stream.remote.map(|(socket, _, to)| (socket, to)), Some((SocketId::FIRST_POOLED, from)));
    called(&mut call, SocketId(9));
    assert_eq!(call.told(call.server).0.len(), 2, "once");
}
