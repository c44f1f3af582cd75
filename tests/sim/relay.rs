//! Blind relays: peers whose boxes cannot be passed meet through a third; those whose boxes can leave it again.

use seckel::base::{Key, Span};
use seckel::node::{
    Closed, Config, ConnId, ConnectError, ConnectOptions, Event, ListenOptions, Path, RelayBounds,
};
use seckel::sim::{HostId, Kind, Line, NatOptions, Step, World};

use crate::support::{echo, join, joining, key, lives, network, seed, wait};

/// A host behind a box of its own.
fn behind(world: &mut World, kind: Kind, side: u8, n: u8) -> HostId {
    let home = world.add_box(kind, [30, 0, 100 + side, n], NatOptions::default());
    world.set_uplink(home, Line { delay: Span::from_millis(5), ..Line::CLEAR });
    let host = world.add_behind(home, [192, 168, n, 10]);
    join(world, host);
    host
}

/// A blind relay on the open internet.
fn relay(world: &mut World, bounds: RelayBounds) -> HostId {
    let host = world.add([30, 0, 50, 1]);
    let config: Config = joining();
    world.start(host, config);
    wait(world, 60, |_, from, event| from == host && matches!(event, Event::Bootstrapped));
    world.net(host).serve_relay(bounds);
    world.net(host).listen(&key(7), true).expect("listening");
    wait(world, 60, |_, from, event| from == host && matches!(event, Event::Listening { .. }));
    host
}

fn relays() -> Vec<Key> {
    vec![key(7).public]
}

fn listen(world: &mut World, host: HostId, relay_through: Vec<Key>) {
    let options = ListenOptions { relay_through, ..ListenOptions::new(key(1)) };
    world.net(host).listen_with(options, false).expect("listening");
    wait(world, 60, |_, from, event| from == host && matches!(event, Event::Listening { .. }));
}

fn connect(
    world: &mut World,
    client: HostId,
    relay_through: Vec<Key>,
) -> (ConnId, Result<Path, ConnectError>) {
    let options = ConnectOptions { relay_through, ..ConnectOptions::new(key(99)) };
    let conn = world.net(client).connect_with(key(1).public, options, false).expect("connecting");
    let (_, event) = wait(world, 90, |_, host, event| {
        host == client && matches!(event, Event::Connected { .. } | Event::ConnectFailed { .. })
    });
    match event {
        Event::Connected { path, .. } => (conn, Ok(path)),
        Event::ConnectFailed { why, .. } => (conn, Err(why)),
        _ => unreachable!("waited for these"),
    }
}

struct Story {
    world: World,
    relay: HostId,
    server: HostId,
    client: HostId,
}

fn story(seed_of: u64, server: Kind, client: Kind, bounds: RelayBounds) -> Story {
    let mut world = World::new(seed(seed_of));
    network(&mut world, 12);
    let relay = relay(&mut world, bounds);
    let server = behind(&mut world, server, 1, 10);
    let client = behind(&mut world, client, 2, 10);
    Story { world, relay, server, client }
}

impl Story {
    fn pairs(&mut self) -> usize {
        self.world.net(self.relay).relay_stats().expect("a relay").pairs
    }
}

#[test]
fn two_hosts_behind_symmetric_boxes_meet_through_a_relay() {
    // proves blind_relay.5, blind_relay.6, blind_relay.20, blind_relay.21, blind_relay.23
    for (servers, clients) in [(vec![], relays()), (relays(), vec![]), (relays(), relays())] {
        let mut story = story(70, Kind::Symmetric, Kind::Symmetric, RelayBounds::default());
        listen(&mut story.world, story.server, servers);
        let (conn, outcome) = connect(&mut story.world, story.client, clients);
        assert_eq!(outcome, Ok(Path::Relayed));
        echo(&mut story.world, story.client, conn, story.server);
        assert_eq!(story.pairs(), 1);
        // blind_relay.21: an idle one is kept.
        story.world.run(Span::from_secs(600));
        echo(&mut story.world, story.client, conn, story.server);
        story.world.net(story.client).destroy(conn);
        story.world.run(Span::from_secs(90));
        assert_eq!(story.pairs(), 0, "the pair ends with the connection");
        assert_eq!(story.world.net(story.relay).relay_stats().expect("a relay").sessions, 0);
    }
}

/// Nothing passes, or all does, between the boxes of server and client.
fn set_between(story: &mut Story, cut: bool) {
    let boxes = [story.server, story.client].map(|host| story.world.home(host).expect("a box"));
    let line = Line { cut, ..Line::CLEAR };
    story.world.set_line(boxes[0], boxes[1], line);
    story.world.set_line(boxes[1], boxes[0], line);
}

/// Two hosts that could meet directly, but for a cut, and are connected through the relay. The server's end as well.
fn relayed(seed_of: u64) -> (Story, ConnId, ConnId) {
    let mut story = story(seed_of, Kind::Restricted, Kind::Restricted, RelayBounds::default());
    listen(&mut story.world, story.server, relays());
    set_between(&mut story, true);
    let options = ConnectOptions { local_connection: false, ..ConnectOptions::new(key(99)) };
    let ours = story.world.net(story.client).connect_with(key(1).public, options, false).expect("connecting");
    let (mut here, mut there) = (None, None);
    let (client, server) = (story.client, story.server);
    wait(&mut story.world, 30, |_, host, event| {
        if let Event::Connected { conn, path, .. } = event {
            // The relay is told of its own.
            if [client, server].contains(&host) {
                assert_eq!(*path, Path::Relayed);
            }
            if host == client {
                here = Some(*conn);
            } else if host == server {
                there = Some(*conn);
            }
        }
        here.is_some() && there.is_some()
    });
    assert_eq!(here, Some(ours));
    (story, ours, there.expect("called"))
}

/// Numbered messages both ways, one of each side every ten milliseconds, for so many rounds. `at` is called before each
/// round with what has moved so far. What came of it: all messages of both sides in order, and who moved where.
fn talk(
    story: &mut Story,
    conns: [ConnId; 2],
    rounds: u32,
    mut at: impl FnMut(&mut Story, u32, &[(HostId, Path)]),
) -> Vec<(HostId, Path)> {
    let hosts = [story.client, story.server];
    let (mut heard, mut moved) = ([0_u32; 2], Vec::new());
    let mut turn = |story: &mut Story, moved: &mut Vec<(HostId, Path)>, span: Span| {
        let until = story.world.now() + span;
        loop {
            match story.world.step(until) {
                Step::Event(host, Event::Data { bytes, .. }) => {
                    let side = usize::from(host == hosts[1]);
                    let number = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                    assert_eq!(number, heard[side], "every message once, in order");
                    heard[side] += 1;
                }
                Step::Event(host, Event::Moved { path, .. }) => moved.push((host, path)),
                Step::Event(host, Event::Closed { why, .. }) if hosts.contains(&host) => {
                    panic!("closed: {why:?}\n{}", story.world.last_lines())
                }
                Step::Event(..) | Step::Crashed(_) => {}
                Step::TimedOut => {
                    assert!(
                        story.world.violation().is_none(),
                        "{}",
                        story.world.violation().expect("there is one")
                    );
                    break;
                }
            }
        }
        heard
    };
    for round in 0..rounds {
        at(story, round, &moved);
        for (host, conn) in hosts.into_iter().zip(conns) {
            let mut message = vec![7; 200];
            message[..4].copy_from_slice(&round.to_le_bytes());
            story.world.net(host).send(conn, &message).expect("open, and not too much");
        }
        turn(story, &mut moved, Span::from_millis(10));
    }
    let heard = turn(story, &mut moved, Span::from_secs(25));
    assert_eq!(heard, [rounds; 2], "all of it came");
    moved
}

#[test]
fn a_relayed_connection_goes_on_directly_when_it_can() {
    // proves blind_relay.24, blind_relay.25, blind_relay.26, blind_relay.27, blind_relay.9
    for n in 0..6 {
        let (mut story, here, there) = relayed(80 + n);
        let near = story.world.home(story.client).expect("a box");
        // Every third world loses packets, on the way through the relay and on the direct one.
        if n % 3 == 2 {
            let line = Line { delay: Span::from_millis(5), loss_permille: 30, ..Line::CLEAR };
            story.world.set_uplink(near, line);
        }
        let moved = talk(&mut story, [here, there], 600, |story, round, _| {
            if round == 150 {
                set_between(story, false);
            }
        });
        let mut hosts: Vec<HostId> = moved.iter().map(|&(host, _)| host).collect();
        hosts.sort();
        let mut both = [story.client, story.server];
        both.sort();
        assert_eq!(hosts, both, "each moved once: {moved:?}");
        assert!(moved.iter().all(|&(_, path)| path == Path::Punched));
        assert_eq!(story.pairs(), 0, "nobody needs the relay");
        story.world.run(Span::from_secs(120));
        echo(&mut story.world, story.client, here, story.server);
    }
}

#[test]
fn a_relay_that_ends_the_pair_too_early_does_no_harm() {
    // proves blind_relay.28
    for n in 0..4 {
        let (mut story, here, there) = relayed(100 + n);
        let mut closed = false;
        let moved = talk(&mut story, [here, there], 600, |story, round, moved| {
            if round == 150 {
                set_between(story, false);
            }
            if !moved.is_empty() && !closed {
                closed = true;
                story.world.net(story.relay).close_relay();
            }
        });
        assert!(closed && moved.len() == 2, "{moved:?}");
    }
}

#[test]
fn a_direct_path_that_does_not_carry_is_left_again() {
    // proves blind_relay.26
    let (mut story, here, there) = relayed(120);
    let (mut opened, mut shut) = (false, false);
    let moved = talk(&mut story, [here, there], 900, |story, _, moved| {
        if !opened {
            opened = true;
            set_between(story, false);
        }
        if !moved.is_empty() && !shut {
            shut = true;
            set_between(story, true);
        }
    });
    let client: Vec<Path> =
        moved.iter().filter(|(host, _)| *host == story.client).map(|&(_, path)| path).collect();
    assert_eq!(client, [Path::Punched, Path::Relayed]);
    assert_eq!(story.pairs(), 1);
}

#[test]
fn a_relay_that_dies_takes_its_connections_along_and_no_others() {
    let (mut story, here, _) = relayed(121);
    story.world.run(Span::from_secs(20));
    story.world.kill(story.relay);
    let end = lives(&mut story.world, story.client, here, 90);
    let (after, why) = end.expect("it ends");
    assert!(after < Span::from_secs(60) && matches!(why, Closed::Transport(_)), "{after} {why:?}");

    let (mut story, here, there) = relayed(122);
    let moved = talk(&mut story, [here, there], 300, |story, round, _| {
        if round == 1 {
            set_between(story, false);
        }
    });
    assert_eq!(moved.len(), 2);
    story.world.kill(story.relay);
    assert_eq!(lives(&mut story.world, story.client, here, 120), None);
}

#[test]
fn a_relay_that_refuses_or_is_not_there_fails_the_attempt_in_time() {
    // proves blind_relay.23
    for (bounds, by) in [
        (RelayBounds { sessions: 0, ..RelayBounds::default() }, key(7).public),
        (RelayBounds { pairs: 0, ..RelayBounds::default() }, key(7).public),
        (RelayBounds::default(), key(8).public),
    ] {
        let mut story = story(130, Kind::Symmetric, Kind::Symmetric, bounds);
        listen(&mut story.world, story.server, vec![]);
        let begin = story.world.now();
        let (_, outcome) = connect(&mut story.world, story.client, vec![by]);
        assert!(
            matches!(outcome, Err(ConnectError::RelayAborted | ConnectError::DoubleRandomizedNats)),
            "{outcome:?}"
        );
        let took = story.world.now().since(begin);
        assert!(took < Span::from_secs(20), "{took}");
        story.world.run(Span::from_secs(60));
        assert_eq!(story.world.net(story.client).connect_stats().relays_failed, 1);
        assert_eq!(story.pairs(), 0);
    }
}

#[test]
fn who_can_be_reached_needs_no_relay() {
    // proves blind_relay.22
    for open_server in [true, false] {
        let mut world = World::new(seed(140));
        network(&mut world, 12);
        let relay = relay(&mut world, RelayBounds::default());
        let open = world.add([30, 0, 60, 1]);
        join(&mut world, open);
        let hidden = behind(&mut world, Kind::Restricted, 1, 10);
        let (server, client) = if open_server { (open, hidden) } else { (hidden, open) };
        listen(&mut world, server, relays());
        let (conn, outcome) = connect(&mut world, client, relays());
        assert_eq!(outcome, Ok(if open_server { Path::Direct } else { Path::Passive }));
        echo(&mut world, client, conn, server);
        world.run(Span::from_secs(30));
        let asked = [server, client].map(|host| world.net(host).connect_stats().relays_asked);
        assert_eq!(world.net(relay).relay_stats().expect("a relay").paired, 0);
        // A client that says it is open finds out only from the answer that the server is not.
        assert_eq!(asked[0], 0);
        assert!(!open_server || asked[1] == 0);
    }
}
