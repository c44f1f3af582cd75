//! Blind relays: peers whose boxes cannot be passed meet through a third; those whose boxes can leave it again.

use seckel::base::{Key, Span};
use seckel::node::{Config, ConnId, ConnectError, ConnectOptions, Event, ListenOptions, Path, RelayBounds};
use seckel::sim::{HostId, Kind, Line, NatOptions, World};

use crate::support::{echo, join, joining, key, network, seed, wait};

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
