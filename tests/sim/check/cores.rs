//! Planted bugs in what is stored.

use seckel::base::Key;
use seckel::node::CoreId;
use seckel::sim::check::{self, Note};
use seckel::sim::{HostId, World};
use seckel::wire;
use seckel::wire::hyperbee::{Index, Level, Node};

use super::run;
use crate::support::{joining, network};

fn open(world: &mut World, host: HostId) -> (CoreId, Key) {
    let mut net = world.net(host);
    let store = net.store("store").expect("a store");
    let core = net.core(store, "core").expect("a core");
    let key = net.core_info(core).expect("open").key;
    (core, key)
}

fn world() -> (World, HostId) {
    let mut world = World::new(crate::support::seed(0xc07e));
    world.watch(check::all());
    network(&mut world, 1);
    let host = world.add([30, 0, 2, 1]);
    world.start(host, joining());
    (world, host)
}

fn found(world: &World) -> Option<&'static str> {
    world.violation().map(|violation| violation.checker)
}

/// A backup of a store is written to on another machine, and the store itself too.
fn backup(copied: bool) -> Option<&'static str> {
    let (mut world, host) = world();
    let other = world.add([30, 0, 2, 2]);
    let (core, _) = open(&mut world, host);
    world.net(host).append(core, &[b"one"]).expect("an append");
    run(&mut world, 10, |_, _, _| {});
    if copied {
        for path in world.disk(host).paths() {
            let bytes = world.disk(host).content(&path).expect("there").to_vec();
            world.disk(other).put(&path, &bytes);
        }
    }
    world.start(other, joining());
    let (copy, _) = open(&mut world, other);
    world.net(host).append(core, &[b"two"]).expect("an append");
    world.net(other).append(copy, &[b"another"]).expect("an append");
    run(&mut world, 300, |_, _, _| {});
    found(&world)
}

#[test]
fn two_trees_of_one_length_are_caught() {
    assert_eq!(backup(false), None);
    assert_eq!(backup(true), Some("hypercore.one_root"));
}

/// The power fails again and again, and a disk may lie about what it has synced.
fn failing(lying: bool) -> Option<&'static str> {
    let (mut world, host) = world();
    let (mut core, _) = open(&mut world, host);
    run(&mut world, 10, |_, _, _| {});
    for _ in 0..5 {
        world.disk(host).set_lying(lying);
        for n in 0..20u8 {
            world.net(host).append(core, &[&[n; 100]]).expect("an append");
            run(&mut world, 2, |_, _, _| {});
        }
        world.crash(host);
        world.start(host, joining());
        core = open(&mut world, host).0;
        run(&mut world, 10, |_, _, _| {});
        if found(&world).is_some() {
            break;
        }
    }
    found(&world)
}

#[test]
fn a_disk_that_lies_is_caught() {
    assert_eq!(failing(false), None);
    assert_eq!(failing(true), Some("hypercore.reopened"));
}

/// A writer of a tree puts and deletes; then it may append a block whose index forgets all keys but its own.
fn tree(forgetful: bool, lies: bool) -> Option<&'static str> {
    let (mut world, host) = world();
    let (core, key) = open(&mut world, host);
    for n in 0..60u8 {
        let entry = [n % 40];
        if n % 7 == 6 {
            world.net(host).bee_del(core, &entry).expect("a deletion");
        } else {
            world.net(host).bee_put(core, &entry, &[n; 10]).expect("a put");
            let version = world.net(host).core_info(core).expect("open").length;
            let value = if lies && n == 30 { &[0; 10] } else { &[n; 10] };
            world.note(host, &Note::Entry { core: key, version, key: &entry, value: Some(value) });
        }
        run(&mut world, 1, |_, _, _| {});
    }
    if forgetful {
        let seq = world.net(host).core_info(core).expect("open").length;
        let index = wire::encode(&Index {
            levels: vec![Level { keys: [seq].into_iter().collect(), ..Level::default() }],
        });
        let block = wire::encode(&Node { index, key: b"mine".to_vec(), value: Some(b"all".to_vec()) });
        world.net(host).append(core, &[&block]).expect("an append");
    }
    run(&mut world, 10, |_, _, _| {});
    found(&world)
}

#[test]
fn a_tree_that_is_not_its_map_is_caught() {
    assert_eq!(tree(false, false), None);
    assert_eq!(tree(true, false), Some("hyperbee.model"));
    assert_eq!(tree(false, true), Some("hyperbee.model"));
}
