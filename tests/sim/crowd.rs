//! Many nodes: what they find and what they cost, counted in messages and wake-ups. The same for thousands of nodes is
//! `seckel-bench sim`, and *Growth* in `vendor-protocol-notes/dht_rpc.md`.

use seckel::app::registry::command::Command;
use seckel::base::Span;
use seckel::sim::crowd::{Crowd, Found, What};
use seckel::sim::town::{Town, Turn};
use seckel::sim::{Kind, NatOptions};

use crate::support::seed;

const NODES: usize = 100;

/// A hundred nodes that joined within three seconds.
fn crowd(seed: u64) -> Crowd {
    let mut crowd = Crowd::new(seed);
    let lasting = crowd.join(NODES - 1, Span::from_secs(3));
    assert_eq!(lasting, NODES, "every node is part of the DHT, the first included");
    crowd
}

/// All were found, in about as many rounds and by asking about as many nodes as the notes say.
fn check(found: &Found, count: u64) {
    assert_eq!((found.asked, found.found), (count, count));
    let most = found.rounds.keys().max().copied().unwrap_or(0);
    assert!((1..=3).contains(&most), "{found:?}");
    assert!((100..=200).contains(&found.mean_rounds()), "{found:?}");
    // the twenty closest, and those on the way to them
    assert!((2000..=3500).contains(&found.mean_visits()), "{found:?}");
}

#[test]
fn what_is_announced_among_a_hundred_nodes_is_found() {
    let mut crowd = crowd(seed(0xc0));
    let announced = crowd.announce(20);
    assert_eq!((announced.asked, announced.found), (20, 20));
    check(&crowd.look_up(40, What::Announced), 40);
    check(&crowd.look_up(40, What::Nodes), 40);
}

#[test]
fn the_same_seed_grows_the_same_network() {
    let grow = |seed| {
        let mut crowd = Crowd::new(seed);
        crowd.join(30, Span::from_secs(1));
        crowd.announce(3);
        (crowd.look_up(5, What::Announced), crowd.world.trace_hash())
    };
    let seed = seed(0xc1);
    let first = grow(seed);
    assert_eq!(grow(seed), first);
    assert_ne!(grow(seed + 1).1, first.1);
}

/// A node that nobody asks anything looks after its table: five pings in forty seconds at most, a walk in five
/// minutes. Each node answers as much as it asks.
#[test]
fn an_idle_node_costs_little() {
    const MINUTES: u64 = 11;
    let mut crowd = crowd(seed(0xc2));
    let (sent, woken) = (crowd.world.sent, crowd.world.woken);
    crowd.world.run(Span::from_secs(60 * MINUTES));
    let per_minute = |count: u64| count / (MINUTES * NODES as u64);
    let pings = 5 * 60 / 40 + 1;
    let walked = 40 / 5;
    let sent = per_minute(crowd.world.sent - sent);
    assert!(sent <= 2 * (pings + walked), "{sent} datagrams a minute");
    assert!(sent >= 2 * 2, "it does look after its table: {sent} datagrams a minute");
    // twelve ticks; a congestion slot turns up to five times after something was sent
    let woken = per_minute(crowd.world.woken - woken);
    assert!((12..=12 + 5 * (pings + 1)).contains(&woken), "{woken} time-outs a minute");
}

/// A connection costs a keep-alive of each side every five seconds, and its acks; a key that is served costs a ping to
/// each of three relays every three seconds.
#[test]
fn an_idle_client_costs_its_keep_alives() {
    const CLIENTS: usize = 3;
    const MINUTES: u64 = 10;
    let mut town = Town::new(seed(0xc3));
    for _ in 0..8 {
        town.add_node();
    }
    run(&mut town, 10);
    town.open_server(None::<Kind>, NatOptions::default()).expect("a new store");
    run(&mut town, 20);
    for _ in 0..CLIENTS {
        let n = town.add_client(None, NatOptions::default()).expect("a new store");
        town.submit(n, Command::Register(format!("user-{n}"))).expect("room for a command");
    }
    run(&mut town, 60);
    for client in &mut town.clients {
        let said = client.reports.pop_front().map(|report| report.outcome.text());
        assert!(said.is_some_and(|text| text.starts_with("Registered")), "every client has registered");
    }
    let hosts: Vec<_> = town.clients.iter().map(|client| client.host).collect();
    let server = town.server.as_ref().expect("it is open").host;
    let mut ends = town.world.net(server).conns().len() as u64;
    for host in hosts {
        ends += town.world.net(host).conns().len() as u64;
    }
    let (sent, woken) = (town.world.sent, town.world.woken);
    run(&mut town, 60 * MINUTES);
    // the server's two keys (for calls and for copies), and one of each client, from which others copy
    let keys = 2 + CLIENTS as u64;
    // of each end a minute: twelve keep-alives, twelve acks; of each key: twenty times three pings and answers
    let traffic = MINUTES * (ends * 24 + keys * 120);
    let upkeep = MINUTES * 13 * 32;
    let sent = town.world.sent - sent;
    assert!(sent >= traffic * 9 / 10, "{sent} datagrams on {ends} ends of connections");
    assert!(sent <= traffic + upkeep, "{sent} datagrams on {ends} ends of connections");
    // one for each thing that is sent unasked, one to see that it was answered, and those of idle nodes
    let woken = town.world.woken - woken;
    assert!(woken <= traffic + 13 * MINUTES * 48, "{woken} time-outs on {ends} ends of connections");
}

fn run(town: &mut Town, seconds: u64) {
    let until = town.world.now() + Span::from_secs(seconds);
    while !matches!(town.step(until), Turn::TimedOut) {}
}
