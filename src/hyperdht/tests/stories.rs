//! Connecting, listening, announcing, as whole stories.

use super::super::*;
use super::world::*;

const SHORT: Span = Span::from_secs(2);

pub fn nodes(world: &mut World, count: usize) {
    (0..count).for_each(|_| {
        world.node();
    });
    world.settle_nodes();
}

/// Both sides have the same keys, crosswise, and their streams have each other.
pub fn joined(world: &mut World, client: usize, ours: &Connected, server: usize) {
    world.run(Span::from_millis(100));
    let theirs = world.take_accepted(server);
    assert_eq!(theirs.len(), 1, "one accept per connect");
    let theirs = &theirs[0];
    assert_eq!((ours.keys.tx, ours.keys.rx), (theirs.keys.rx, theirs.keys.tx));
    assert!(ours.initiator && !theirs.initiator);
    let ends = [&world.hosts[client].streams[&ours.conn], &world.hosts[server].streams[&theirs.conn]];
    assert!(ends.iter().all(|end| end.heard), "packets pass both ways");
}

/// pitfalls 16.9 and 7.1: networks of 1, 2 and 3 nodes, and the same message through each of them.
// proves hyperdht.12, hyperdht.30
#[test]
fn a_firewalled_client_reaches_an_open_server_at_the_first_try() {
    for count in 1..=5 {
        let mut world = World::new(count as u64);
        nodes(&mut world, count);
        let server = world.host(Shape::Open);
        world.listen(server, 1);
        let client = world.host(Shape::Consistent);
        for _ in 0..20 {
            let conn = world.dial(client, 1, 2);
            let ours = world.outcome(client, conn, SHORT).expect("connected");
            assert_eq!(ours.path, Path::Direct);
            assert_eq!(ours.remote_key, pair(1).public);
            joined(&mut world, client, &ours, server);
        }
    }
}

// proves hyperdht.82
#[test]
fn an_open_client_is_dialled_by_a_firewalled_server() {
    let mut world = World::new(1);
    nodes(&mut world, 3);
    let server = world.host(Shape::Consistent);
    world.listen(server, 1);
    let client = world.host(Shape::Open);
    let conn = world.dial(client, 1, 2);
    let ours = world.outcome(client, conn, SHORT).expect("connected");
    assert_eq!(ours.path, Path::Passive);
    joined(&mut world, client, &ours, server);
}

/// pitfalls 9.1 and 9.16: through NATs, on a socket of its own, and the path is told.
// proves hyperdht.27, hyperdht.39, hyperdht.68, hyperdht.84, hyperdht.85, hyperdht.88, hyperdht.89
#[test]
fn two_consistent_nats_are_punched() {
    for count in 4..8 {
        let mut world = World::new(count);
        nodes(&mut world, count as usize);
        let server = world.host(Shape::Consistent);
        world.listen(server, 1);
        let client = world.host(Shape::Consistent);
        world.settle_nodes();
        let conn = world.dial(client, 1, 2);
        let ours = world.outcome(client, conn, Span::from_secs(5)).expect("connected");
        assert_eq!(ours.path, Path::Punched);
        joined(&mut world, client, &ours, server);
        assert_eq!(world.hosts[client].dht.pooled_sockets(), 1);
        assert_eq!(world.hosts[server].dht.pooled_sockets(), 1);
    }
}

/// A lossy network makes connecting slower, not impossible.
#[test]
fn a_fifth_of_all_datagrams_may_be_lost() {
    for (server, client) in [(Shape::Open, Shape::Consistent), (Shape::Consistent, Shape::Consistent)] {
        for seed in 0..20 {
            let mut world = World::new(seed);
            nodes(&mut world, 7);
            let server = world.host(server);
            let client = world.host(client);
            world.settle_nodes();
            world.listen(server, 1);
            world.loss = 200;
            let conn = world.dial(client, 1, 2);
            let outcome = world.outcome(client, conn, Span::from_secs(40));
            assert!(outcome.is_ok(), "seed {seed}: {:?}", outcome.err());
        }
    }
}
