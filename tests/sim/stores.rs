//! Stores of cores on a node.

use seckel::base::{Cx, Error, Span, limits};
use seckel::node::{Bee, Event, Hypercore, KeyPair, Namespace, Range, Want};
use seckel::node::{Durability, StoreOptions};
use seckel::sim::{Line, Step, World};

use crate::support::{joining, network, seed, wait};

/// pitfalls 15.11: a core that is open is the same core when it is opened again, by name and by key.
#[test]
fn a_core_is_opened_once() {
    let mut world = World::new(seed(11));
    let host = world.add([30, 0, 2, 1]);
    world.start(host, joining());
    let mut net = world.net(host);
    let store = net.store("store").expect("a store");
    let core = net.core(store, "names").expect("a core");
    let key = net.core_info(core).expect("open").key;
    assert_eq!(net.core(store, "names"), Ok(core));
    assert_eq!(net.core_by_key(store, &key), Ok(core));
    assert_ne!(net.core(store, "others"), Ok(core));
    net.bee_put(core, b"pear", b"seckel").expect("a put");
    // The process ends and starts again: the same core, with what it had.
    world.start(host, joining());
    let mut net = world.net(host);
    let store = net.store("store").expect("the store opens again");
    let core = net.core(store, "names").expect("the core opens again");
    assert_eq!(net.core_info(core).expect("open").key, key);
    assert_eq!(net.bee_get(core, b"pear"), Ok(Some(b"seckel".to_vec())));
}

/// Runs for some seconds, and counts the cores that were opened.
fn run(world: &mut World, seconds: u64) -> usize {
    let (until, mut opened) = (world.now() + Span::from_secs(seconds), 0);
    loop {
        match world.step(until) {
            Step::TimedOut => return opened,
            Step::Event(_, Event::CoreOpened { .. }) => opened += 1,
            Step::Event(..) | Step::Crashed(_) => {}
        }
    }
}

/// Who opens a core again shares it. When the last has let it go, it is closed a while later, and its files with it.
// proves corestore.10, corestore.18
#[test]
fn a_core_that_nobody_holds_is_closed() {
    let mut world = World::new(seed(14));
    let host = world.add([30, 0, 2, 1]);
    world.start(host, joining());
    let mut net = world.net(host);
    let store = net.store("store").expect("a store");
    net.watch_store(store, true).expect("open");
    let mut opened = 0;
    let core = net.core(store, "posts").expect("a core");
    let key = net.core_info(core).expect("open").key;
    assert_eq!(net.open_core(store, &Want::key(key)), Ok(core));
    let apart = Namespace::default().sub("apart");
    let other = net.open_core(store, &Want::name_in(apart, "posts")).expect("a core");
    assert_ne!(other, core);
    net.append(core, &[b"one"]).expect("an append");
    for _ in 0..2 {
        opened += run(&mut world, 20);
        let mut net = world.net(host);
        assert_eq!(net.core_info(core).map(|info| info.length), Ok(1), "somebody holds it");
        net.close_core(core).expect("open");
    }
    assert!(world.net(host).close_core(core).is_err(), "it was opened twice");
    let with_both = world.disk(host).open_count();
    // Whoever comes back in time has the same one.
    opened += run(&mut world, 3);
    assert_eq!(world.net(host).core_by_key(store, &key), Ok(core));
    opened += run(&mut world, 20);
    world.net(host).close_core(core).expect("open");
    opened += run(&mut world, 5);
    assert!(world.net(host).core_info(core).is_ok());
    opened += run(&mut world, 3);
    assert!(world.net(host).core_info(core).is_err());
    assert_eq!(world.disk(host).open_count(), with_both - 4);
    let mut net = world.net(host);
    let again = net.core(store, "posts").expect("a core");
    assert_eq!(net.block(again, 0), Ok(Some(b"one".to_vec())));
    assert_eq!(net.cores(store, None).map(|keys| keys.len()), Ok(2));
    assert_eq!(net.cores(store, Some(apart)).map(|keys| keys.len()), Ok(1));
    let copy = net.staticify(again).expect("a copy");
    assert_eq!(net.block(copy, 0), Ok(Some(b"one".to_vec())));
    // The store goes, and all with it; its lock is free.
    net.close_store(store).expect("closes");
    assert!(
        [again, other, copy].iter().all(|core| net.core_info(*core).is_err())
            && net.close_store(store).is_err()
    );
    assert_eq!(world.disk(host).open_count(), 0);
    opened += run(&mut world, 1);
    assert_eq!(opened, 4, "two at first, one again, and the copy");
    assert!(world.net(host).store("store").is_ok());
}

/// Flushed before it is acknowledged: however many wait in one turn, one sync of one file is enough for all of them,
/// once the core has its journal. Handed to the kernel: nothing is synced. Then the power fails, and what was
/// acknowledged is there.
// proves corestore.19, hypercore.152
#[test]
fn one_flush_serves_all_who_wait() {
    const EARLIER: u64 = limits::JOURNAL_AFTER as u64 + 1;
    const WRITERS: u64 = EARLIER + 64;
    for (durability, syncs) in [(Durability::Flush, 1), (Durability::Kernel, 0)] {
        let mut world = World::new(seed(15));
        let host = world.add([30, 0, 2, 1]);
        world.start(host, joining());
        let mut net = world.net(host);
        let options = StoreOptions { durability, ..StoreOptions::default() };
        let store = net.store_with("store", &options).expect("a store");
        let core = net.core(store, "log").expect("a core");
        run(&mut world, 2);
        for n in 0..EARLIER {
            world.net(host).append(core, &[&n.to_le_bytes()]).expect("an append");
        }
        run(&mut world, 2);
        let before = world.disk(host).syncs();
        for n in EARLIER..WRITERS {
            world.net(host).append(core, &[&n.to_le_bytes()]).expect("an append");
        }
        assert_eq!(world.disk(host).syncs(), before, "no append waits by itself");
        // Something leaves the node: that is the acknowledgement.
        let own = KeyPair::from_seed([1; 32]);
        world.net(host).connect([9; 32], &own, true).expect("connecting");
        run(&mut world, 2);
        assert_eq!(world.disk(host).syncs() - before, syncs, "{durability:?}");
        if durability == Durability::Flush {
            for crash in 0..20 {
                let mut disk = world.disk(host).clone();
                disk.crash(crash);
                let mut again = World::new(seed(15));
                let host = again.add([30, 0, 2, 1]);
                *again.disk(host) = disk;
                again.start(host, joining());
                let mut net = again.net(host);
                let store = net.store("store").expect("a store");
                let core = net.core(store, "log").expect("a core");
                assert_eq!(net.core_info(core).map(|info| info.length), Ok(WRITERS));
                assert_eq!(net.block(core, 80), Ok(Some(80_u64.to_le_bytes().to_vec())));
            }
        }
    }
}

/// On a long line many blocks must be under way at once: what is asked follows the round trip time.
#[test]
fn a_copy_over_a_long_line_is_not_one_window_a_round_trip() {
    const BLOCKS: u64 = 400;
    let mut world = World::new(seed(12));
    network(&mut world, 1);
    let (giver, taker) = (world.add([30, 0, 2, 1]), world.add([30, 0, 2, 2]));
    for host in [giver, taker] {
        world.start(host, joining());
        wait(&mut world, 60, |_, from, event| from == host && matches!(event, Event::Bootstrapped));
    }
    world.line = Line { delay: Span::from_millis(150), ..Line::default() };
    let own = KeyPair::from_seed([1; 32]);
    let mut net = world.net(giver);
    let from = net.store("store").expect("a store");
    let core = net.core(from, "core").expect("a core");
    let blocks = vec![&[7u8; 60_000][..]; BLOCKS as usize];
    net.append(core, &blocks).expect("an append");
    let key = net.core_info(core).expect("open").key;
    net.listen(&own, true).expect("listening");
    wait(&mut world, 60, |_, host, event| host == giver && matches!(event, Event::Listening { .. }));
    let mut net = world.net(taker);
    let to = net.store("store").expect("a store");
    let copy = net.core_by_key(to, &key).expect("a core");
    net.download(copy).expect("open");
    net.connect(own.public, &KeyPair::from_seed([2; 32]), true).expect("connecting");
    let mut began = world.now();
    wait(&mut world, 120, |world, host, event| {
        if let Event::Connected { conn, .. } = event {
            let store = if host == giver { from } else { to };
            world.net(host).replicate(*conn, store).expect("open");
            began = world.now();
        }
        host == taker && world.net(taker).core_info(copy).expect("open").contiguous_length == BLOCKS
    });
    // 16 blocks a round trip, what is asked of a near peer, take 6.3 s of the world's time.
    let took = world.now().since(began);
    assert!(took < Span::from_millis(5500), "{took}");
}

/// Every core of a store goes over one connection: those open on both sides, one that is opened later, and one that the
/// other side asks for by its discovery key although it is not open there.
#[test]
fn all_cores_go_over_one_connection() {
    let mut world = World::new(seed(13));
    network(&mut world, 1);
    let (giver, taker) = (world.add([30, 0, 2, 1]), world.add([30, 0, 2, 2]));
    world.start(giver, joining());
    let mut net = world.net(giver);
    let from = net.store("store").expect("a store");
    let closed = net.core(from, "closed").expect("a core");
    net.append(closed, &[b"three"]).expect("an append");
    let mut keys = vec![net.core_info(closed).expect("open").key];
    // The process starts again, and opens two of its three cores.
    for host in [giver, taker] {
        world.start(host, joining());
        wait(&mut world, 60, |_, from, event| from == host && matches!(event, Event::Bootstrapped));
    }
    let own = KeyPair::from_seed([1; 32]);
    let mut net = world.net(giver);
    let from = net.store("store").expect("a store");
    for (name, block) in [("first", b"one".as_slice()), ("second", b"two")] {
        let core = net.core(from, name).expect("a core");
        net.append(core, &[block]).expect("an append");
        keys.push(net.core_info(core).expect("open").key);
    }
    net.listen(&own, true).expect("listening");
    wait(&mut world, 60, |_, host, event| host == giver && matches!(event, Event::Listening { .. }));
    let mut net = world.net(taker);
    let to = net.store("store").expect("a store");
    let mut copies = vec![net.core_by_key(to, &keys[1]).expect("a core")];
    net.connect(own.public, &KeyPair::from_seed([2; 32]), true).expect("connecting");
    wait(&mut world, 60, |world, host, event| {
        if let Event::Connected { conn, .. } = event {
            let store = if host == giver { from } else { to };
            world.net(host).replicate(*conn, store).expect("open");
        }
        host == taker && matches!(event, Event::Connected { .. })
    });
    let mut net = world.net(taker);
    copies.push(net.core_by_key(to, &keys[2]).expect("a core"));
    copies.push(net.core_by_key(to, &keys[0]).expect("a core"));
    for copy in &copies {
        net.download(*copy).expect("open");
    }
    wait(&mut world, 60, |world, host, event| {
        if let (true, Event::Connected { conn, .. }) = (host == giver, event) {
            world.net(giver).replicate(*conn, from).expect("open");
        }
        let mut net = world.net(taker);
        copies.iter().all(|copy| net.block(*copy, 0).is_ok_and(|block| block.is_some()))
    });
    let blocks: Vec<_> = copies.iter().map(|copy| world.net(taker).block(*copy, 0)).collect();
    assert_eq!(blocks, [b"one".as_slice(), b"two", b"three"].map(|block| Ok(Some(block.to_vec()))));
    assert_eq!(world.net(taker).conns().len(), 1);
}

/// Reads the tree on `core` at `host` until `read` has its answer; gives it with the blocks that came
/// meanwhile, and how
/// long it took.
fn read_tree<T>(
    world: &mut World,
    (host, core): (seckel::sim::HostId, seckel::node::CoreId),
    mut read: impl FnMut(&mut Cx<'_>, &mut Bee, &mut Hypercore) -> Result<T, Error>,
) -> (T, u64, Span) {
    let (began, mut blocks) = (world.now(), 0);
    loop {
        match world.net(host).bee_read(core, &mut read) {
            Ok(done) => return (done, blocks, world.now().since(began)),
            Err(Error::Missing) => {
                wait(world, 60, |_, from, event| {
                    let came = from == host && matches!(event, Event::Downloaded { .. });
                    blocks += u64::from(came);
                    came
                });
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Of a tree elsewhere a look-up fetches only what it needs, and in few round trips because the peer is asked what that
/// will be; so does a range.
// proves hyperbee.35, hyperbee.56
#[test]
fn a_tree_elsewhere_is_read_without_a_copy() {
    const KEYS: u64 = 2000;
    let mut world = World::new(seed(15));
    network(&mut world, 1);
    let (giver, taker) = (world.add([30, 0, 2, 1]), world.add([30, 0, 2, 2]));
    for host in [giver, taker] {
        world.start(host, joining());
        wait(&mut world, 60, |_, from, event| from == host && matches!(event, Event::Bootstrapped));
    }
    world.line = Line { delay: Span::from_millis(50), ..Line::default() };
    let own = KeyPair::from_seed([1; 32]);
    let mut net = world.net(giver);
    let from = net.store("store").expect("a store");
    let tree = net.core(from, "tree").expect("a core");
    for n in 0..KEYS {
        net.bee_put(tree, format!("{:04}", n * 791 % KEYS).as_bytes(), b"a value").expect("a put");
    }
    let key = net.core_info(tree).expect("open").key;
    net.listen(&own, true).expect("listening");
    wait(&mut world, 60, |_, host, event| host == giver && matches!(event, Event::Listening { .. }));
    let mut net = world.net(taker);
    let to = net.store("store").expect("a store");
    let copy = net.core_by_key(to, &key).expect("a core");
    net.connect(own.public, &KeyPair::from_seed([2; 32]), true).expect("connecting");
    wait(&mut world, 120, |world, host, event| {
        if let Event::Connected { conn, .. } = event {
            let store = if host == giver { from } else { to };
            world.net(host).replicate(*conn, store).expect("open");
        }
        host == taker && world.net(taker).core_info(copy).expect("open").length == KEYS + 1
    });
    let (entry, blocks, took) =
        read_tree(&mut world, (taker, copy), |cx, bee, log| bee.get(cx, log, b"1234"));
    assert_eq!(entry.and_then(|entry| entry.value), Some(b"a value".to_vec()));
    assert!(blocks < 30, "{blocks} blocks of {KEYS}");
    // The question and the blocks that its answer names; one after the other they take as long as there are blocks.
    assert!(took < Span::from_millis(450), "{took} for {blocks} blocks");

    let range = Range::all().gte(b"0500").lt(b"0800");
    let mut cursor =
        world.net(taker).bee_read(copy, |_, bee, _| Ok(bee.range(KEYS + 1, range))).expect("open");
    let mut entries = 0;
    let (_, blocks, took) = read_tree(&mut world, (taker, copy), |cx, bee, log| {
        while cursor.next(cx, bee, log)?.is_some() {
            entries += 1;
        }
        Ok(())
    });
    assert_eq!(entries, 300);
    assert!(blocks < 400, "{blocks} blocks of {KEYS}");
    assert!(took < Span::from_millis(1000), "{took} for {blocks} blocks");
}

/// What a version of a tree does not need goes from the disk; the version stays whole.
// proves hyperbee.53
#[test]
fn what_a_tree_does_not_need_is_cleared() {
    let mut world = World::new(seed(16));
    let host = world.add([30, 0, 2, 1]);
    world.start(host, joining());
    let mut net = world.net(host);
    let store = net.store("store").expect("a store");
    let tree = net.core(store, "tree").expect("a core");
    for n in 0..600_u64 {
        net.bee_put(tree, format!("{:02}", n % 60).as_bytes(), &n.to_le_bytes()).expect("a put");
    }
    let mut unlinked =
        net.bee_read(tree, |_, bee, log| Ok(bee.unlinked(log.length(), 0, u64::MAX))).expect("open");
    assert!(net.bee_clear_unlinked(tree, &mut unlinked).expect("cleared") > 400);
    assert_eq!(net.bee_clear_unlinked(tree, &mut unlinked), Ok(0));
    let here = net.look(tree, |core| (0..core.length()).filter(|&seq| core.has(seq)).count()).expect("open");
    assert!(here < 200, "{here} blocks");
    world.start(host, joining());
    let mut net = world.net(host);
    let store = net.store("store").expect("a store");
    let tree = net.core(store, "tree").expect("a core");
    let entries = net.bee_list(tree, &Range::all()).expect("all is here");
    assert_eq!(entries.len(), 60);
    assert!(entries.iter().zip(540..).all(|(entry, n)| entry.1 == u64::to_le_bytes(n)));
}
