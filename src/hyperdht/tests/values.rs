//! Values that the network keeps, as its clients see them.

use super::super::*;
use super::pitfalls::SHORT;
use super::stories::nodes;
use super::world::*;
use crate::base::Error;
use crate::wire::hyperdht::command;

fn network() -> (World, usize, usize) {
    let mut world = World::new(1);
    nodes(&mut world, 5);
    let (one, other) = (world.host(Shape::Consistent), world.host(Shape::Consistent));
    (world, one, other)
}

fn stored(world: &mut World, host: usize, wanted: LookupId) -> usize {
    world.wait(host, SHORT, |event| match event {
        Event::Stored { lookup, nodes, .. } if *lookup == wanted => Some(*nodes),
        _ => None,
    })
}

/// The values that a lookup told, after it ended.
fn found(world: &mut World, host: usize, wanted: LookupId) -> Vec<(u64, Vec<u8>)> {
    world.wait(host, SHORT, |event| {
        matches!(event, Event::LookupDone { lookup, ok: true } if *lookup == wanted).then_some(())
    });
    let events = std::mem::take(&mut world.hosts[host].events);
    let values = events.into_iter().filter_map(|event| match event {
        Event::Value { lookup, seq, value } if lookup == wanted => Some((seq, value)),
        _ => None,
    });
    values.collect()
}

// proves hyperdht.94
#[test]
fn an_immutable_value_is_kept_by_the_closest_and_found_by_its_hash() {
    let (mut world, one, other) = network();
    let value = vec![7; 100];
    let hash = hash::blake2b_256(&[&value]);
    let storing = world.with(one, |dht, cx| dht.store_immutable(cx, &value)).expect("short enough");
    assert_eq!(stored(&mut world, one, storing), 5);
    let takers =
        world.hosts[..5].iter().filter(|host| host.asked.iter().any(|(c, _)| *c == command::IMMUTABLE_PUT));
    assert_eq!(takers.count(), 5);
    let finding = world.with(other, |dht, cx| dht.find_immutable(cx, hash));
    assert_eq!(found(&mut world, other, finding), [(0, value)], "told once, and the walk ends there");
    let finding = world.with(other, |dht, cx| dht.find_immutable(cx, [9; 32]));
    assert_eq!(found(&mut world, other, finding), []);
    let long = vec![0; limits::HYPERDHT_VALUE_MAX + 1];
    assert!(matches!(world.with(one, |dht, cx| dht.store_immutable(cx, &long)), Err(Error::Invalid(_))));
}

// proves hyperdht.95
#[test]
fn the_newest_mutable_value_counts() {
    let (mut world, one, other) = network();
    for (seq, value) in [(0, b"zero"), (2, b"two!")] {
        let storing = world.with(one, |dht, cx| dht.store_mutable(cx, &pair(1), seq, value)).expect("short");
        assert_eq!(stored(&mut world, one, storing), 5);
    }
    // An older one is refused by those that have a newer one.
    let storing = world.with(one, |dht, cx| dht.store_mutable(cx, &pair(1), 1, b"one!")).expect("short");
    assert_eq!(stored(&mut world, one, storing), 0);
    let finding = world.with(other, |dht, cx| dht.find_mutable(cx, pair(1).public, 0));
    assert_eq!(found(&mut world, other, finding), [(2, b"two!".to_vec())]);
    let finding = world.with(other, |dht, cx| dht.find_mutable(cx, pair(1).public, 3));
    assert_eq!(found(&mut world, other, finding), []);
}

/// Whoever has the key need not be here: a signature made elsewhere does, if it is one.
// proves hyperdht.95
#[test]
fn a_value_may_be_signed_elsewhere() {
    let (mut world, one, other) = network();
    let (key, value) = (pair(1).public, b"from afar");
    let signature = pair(1).sign(&mutable_signable(4, value));
    for (seq, value, signature) in
        [(5, &value[..], signature), (4, b"forged", signature), (4, value, [7; 64])]
    {
        let stored = world.with(one, |dht, cx| dht.store_signed(cx, key, seq, value, signature));
        assert!(matches!(stored, Err(Error::Invalid(_))), "{seq}");
    }
    let storing = world.with(one, |dht, cx| dht.store_signed(cx, key, 4, value, signature)).expect("signed");
    assert_eq!(stored(&mut world, one, storing), 5);
    let finding = world.with(other, |dht, cx| dht.find_mutable(cx, key, 0));
    assert_eq!(found(&mut world, other, finding), [(4, value.to_vec())]);
}

#[test]
fn nodes_are_walked_to_and_pinged() {
    let (mut world, one, _) = network();
    let finding = world.with(one, |dht, cx| dht.find_nodes(cx, [3; 32]));
    assert_eq!(found(&mut world, one, finding), []);
    let node = world.server_addr(2);
    let ping = world.with(one, |dht, cx| dht.ping(cx, node));
    assert_eq!(found(&mut world, one, ping), []);
}
