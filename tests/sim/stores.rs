//! Stores of cores on a node.

use seckel::sim::World;

use crate::support::{joining, seed};

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
