//! What happens over minutes and hours: ticks, pings, promotion, sleep, and the state of the network.

use std::collections::BTreeSet;

use super::world::{Wall, World};
use crate::base::{Addr, Machine, SocketId, Span, Tag, Time};
use crate::dht_rpc::table::{Contact, K, node_id};
use crate::dht_rpc::{Config, Event, Lost, Timer};
use crate::sim::check::dht_rpc::table_is_sane;
use crate::wire;
use crate::wire::dht_rpc::{Ask, PING, Query, RequestMessage};

const MINUTE: Span = Span::from_secs(60);

fn joins(bootstrap: Addr) -> Config {
    Config { bootstrap: vec![bootstrap], ..Config::default() }
}

fn persistent(bootstrap: Addr) -> Config {
    Config { ephemeral: Some(false), firewalled: false, ..joins(bootstrap) }
}

fn network(seed: u64, more: usize) -> World {
    let mut world = World::new(seed);
    let bootstrap = world.bootstrapper();
    for _ in 0..more {
        let host = world.add(persistent(bootstrap));
        world.bootstrapped(host);
    }
    world
}

/// The checker of tables is shown to fail, by damage that no node does to its own.
#[test]
fn a_damaged_table_is_caught() {
    let sane = |damage: fn(&mut Contact)| {
        let mut world = network(5, 12);
        let dht = &mut world.hosts[0].dht;
        let first = dht.known(None)[0].id;
        damage(dht.table.get_mut(&first).expect("known"));
        table_is_sane(&dht.table_id(), &dht.known(None), Some(dht.node_count()))
    };
    assert_eq!(sane(|_| {}), Ok(()));
    assert!(sane(|contact| contact.id[31] ^= 1).is_err());
    assert!(sane(|contact| contact.addr.port ^= 1).is_err());
}

/// pitfalls 4.13: nodes that start together do not tick together. proves dht_rpc.55
#[test]
fn first_ticks_are_spread() {
    let firsts: BTreeSet<Option<Time>> = (0..50)
        .map(|seed| {
            let mut world = World::new(seed);
            world.add(Config::default());
            world.hosts[0].dht.timers.get(Timer::Tick)
        })
        .collect();
    assert!(firsts.len() > 45);
    assert!(firsts.iter().all(|at| at.is_some_and(|at| at <= Time::ZERO + Span::from_secs(5))));
    let ticks: BTreeSet<u32> = (0..50)
        .map(|seed| {
            let mut world = World::new(seed);
            world.add(Config::default());
            world.hosts[0].dht.tick
        })
        .collect();
    assert!(ticks.len() > 20 && ticks.iter().all(|tick| (51..=100).contains(tick)));
}

/// pitfalls 4.5 and 4.6: after twenty quiet minutes an adaptive node is persistent, with the id of its server socket,
/// though its questions had left from the client socket. A node that is to be ephemeral never is.
/// proves dht_rpc.79, dht_rpc.80, dht_rpc.40, dht_rpc.76 and dht_rpc.76
#[test]
fn adaptive_nodes_become_persistent_after_twenty_minutes() {
    let mut world = network(1, 5);
    let bootstrap = world.addr(0, SocketId::SERVER);
    let adaptive = world.add(Config { quick_firewall: false, ..joins(bootstrap) });
    let never = world.add(Config { ephemeral: Some(true), ..joins(bootstrap) });
    world.bootstrapped(adaptive);
    assert_eq!(world.hosts[adaptive].dht.socket(), SocketId::CLIENT);
    assert!(world.hosts[adaptive].dht.firewalled());
    world.run(MINUTE * 19);
    assert!(world.hosts[adaptive].dht.ephemeral());
    assert!(world.hosts[0].dht.nodes(99).iter().all(|addr| addr.ip != world.hosts[adaptive].ip));
    world.run(MINUTE * 2);
    let server = world.addr(adaptive, SocketId::SERVER);
    let dht = &world.hosts[adaptive].dht;
    assert!(!dht.ephemeral() && !dht.firewalled());
    assert_eq!(dht.id(), Some(node_id(server)));
    assert_eq!(dht.remote_addr(), Some(server));
    assert_eq!(world.count(adaptive, |event| *event == Event::Persistent), 1);
    assert!(world.hosts[0].dht.nodes(99).contains(&server), "and is in the others' tables");
    world.run(MINUTE * 120);
    assert!(world.hosts[never].dht.ephemeral());
    assert!(!world.hosts[0].dht.nodes(99).iter().any(|addr| addr.ip == world.hosts[never].ip));
}

/// proves dht_rpc.81
#[test]
fn a_firewalled_node_stays_ephemeral() {
    let mut world = network(2, 6);
    let bootstrap = world.addr(0, SocketId::SERVER);
    for ephemeral in [None, Some(false)] {
        let host = world.add(Config { ephemeral, ..joins(bootstrap) });
        world.hosts[host].wall = Wall::Firewall;
        world.bootstrapped(host);
        let known = world.hosts[host].dht.node_count();
        world.run(MINUTE * 90);
        let dht = &world.hosts[host].dht;
        assert!(dht.ephemeral() && dht.firewalled());
        // that they do not reach us says nothing against them
        assert_eq!(dht.node_count(), known);
    }
}

/// pitfalls 4.5 and 4.14: after a sleep an adaptive node is ephemeral again, keeps its table and refreshes it.
/// proves dht_rpc.60
#[test]
fn a_sleep_is_noticed_and_nobody_is_thrown_out() {
    let mut world = network(3, 12);
    let bootstrap = world.addr(0, SocketId::SERVER);
    let host = world.add(joins(bootstrap));
    world.bootstrapped(host);
    world.run(MINUTE * 21);
    assert!(!world.hosts[host].dht.ephemeral());
    let id = *world.hosts[host].dht.table.own();
    let known = world.hosts[host].dht.node_count();
    world.hosts[host].up = false;
    world.run(MINUTE * 60);
    world.hosts[host].up = true;
    world.hosts[host].record = true;
    let tick = world.hosts[host].dht.tick;
    world.run(Span::from_secs(1));
    let dht = &world.hosts[host].dht;
    assert!(dht.ephemeral() && !dht.firewalled());
    assert_eq!(*dht.table.own(), id, "the table stays where it is");
    assert!(dht.tick >= tick + 720);
    assert_eq!(world.count(host, |event| *event == Event::WakeUp), 1);
    assert_eq!(world.count(host, |event| *event == Event::Ephemeral), 1);
    world.run(Span::from_secs(20));
    let dht = &world.hosts[host].dht;
    assert_eq!(dht.node_count(), known);
    let asked: BTreeSet<Addr> = world.hosts[host].sent.iter().map(|(_, _, to, _)| *to).collect();
    assert!(asked.len() >= known.min(5), "it looks around");
    world.run(MINUTE * 70);
    assert!(!world.hosts[host].dht.ephemeral(), "and is persistent again after an hour");
}

/// pitfalls 4.1: with 30 % loss nobody who is alive is thrown out of a table for long.
#[test]
fn tables_are_stable_under_loss() {
    let mut world = network(4, 40);
    world.run(MINUTE * 2);
    let before: usize = world.hosts.iter().map(|host| host.dht.node_count()).sum();
    world.loss = 300;
    world.run(MINUTE * 30);
    let after: usize = world.hosts.iter().map(|host| host.dht.node_count()).sum();
    assert!(after * 10 >= before * 9, "{after} of {before}");
}

/// Nodes that are gone leave the tables of the others. proves dht_rpc.56 and dht_rpc.41
#[test]
fn dead_nodes_leave_the_tables() {
    let mut world = network(5, 30);
    for host in 1..11 {
        world.hosts[host].up = false;
    }
    world.run(MINUTE * 20);
    let dead: Vec<Addr> = (1..11).map(|host| world.addr(host, SocketId::SERVER)).collect();
    for host in 11..31 {
        let dht = &world.hosts[host].dht;
        assert!(!dht.nodes(99).iter().any(|addr| dead.contains(addr)));
        assert_eq!(dht.node_count(), 20);
    }
}

/// pitfalls 4.1 and 4.2: a full row keeps members that answer, and swaps out one that does not. proves dht_rpc.42
#[test]
fn a_full_row_swaps_only_dead_members() {
    let mut world = network(6, 30);
    let own = *world.hosts[0].dht.table.own();
    // a row of the bootstrapper that is full of others: at most half of all nodes fall into row 0
    let in_row: Vec<usize> =
        (1..31).filter(|host| node_id(world.addr(*host, SocketId::SERVER))[0] >> 7 != own[0] >> 7).collect();
    assert!(in_row.len() >= 4);
    let fakes: Vec<Addr> = (0..)
        .map(|n| Addr::new([10, 200, 0, 1], n))
        .skip(1)
        .filter(|addr| node_id(*addr)[0] >> 7 != own[0] >> 7)
        .take(K)
        .collect();
    world.with(0, |dht, _| {
        dht.table = crate::dht_rpc::table::Table::new(own);
        for addr in &fakes[..K - 1] {
            dht.table.add(Contact::new(*addr, 1));
        }
    });
    // one member is alive, the others are not there
    let (alive, new) = (world.addr(in_row[0], SocketId::SERVER), world.addr(in_row[1], SocketId::SERVER));
    let ping = |world: &mut World, from: Addr| {
        let message = RequestMessage {
            internal: true,
            command: PING,
            id: Some(node_id(from)),
            ..RequestMessage::default()
        };
        world.deliver(0, SocketId::SERVER, from, &wire::encode(&message));
    };
    ping(&mut world, alive);
    assert_eq!(world.hosts[0].dht.node_count(), K);
    ping(&mut world, new);
    assert!(!world.hosts[0].dht.nodes(99).contains(&new), "first the oldest is asked");
    world.run(Span::from_secs(3));
    assert!(!world.hosts[0].dht.nodes(99).contains(&new), "with the usual retries");
    world.run(Span::from_secs(2));
    let nodes = world.hosts[0].dht.nodes(99);
    assert!(nodes.contains(&new) && nodes.contains(&alive));
    assert_eq!(nodes.len(), K);
    // All members alive: nobody is swapped.
    world.with(0, |dht, _| {
        dht.table = crate::dht_rpc::table::Table::new(own);
        dht.table.add(Contact::new(alive, 1));
        for addr in &fakes[..K - 1] {
            dht.table.add(Contact::new(*addr, dht.tick));
        }
    });
    ping(&mut world, new);
    world.run(Span::from_secs(4));
    let nodes = world.hosts[0].dht.nodes(99);
    assert!(nodes.contains(&alive) && !nodes.contains(&new));
}

/// pitfalls 4.9: what others see is sampled from requests too, and again after half an hour.
/// proves dht_rpc.32, dht_rpc.33 and dht_rpc.34
#[test]
fn inbound_requests_tell_our_address() {
    let mut world = World::new(7);
    let host = world.add(Config { firewalled: false, ..Config::default() });
    world.bootstrapped(host);
    assert_eq!(world.hosts[host].dht.public_host(), None);
    let seen_as = |world: &mut World, from: Addr, id: bool, to: Addr| {
        let id = id.then(|| node_id(from));
        let message = RequestMessage { internal: true, command: PING, id, to, ..RequestMessage::default() };
        world.deliver(host, SocketId::SERVER, from, &wire::encode(&message));
        (world.hosts[host].dht.public_host(), world.hosts[host].dht.node_count())
    };
    let old = Addr::new([5; 4], 40_000);
    let new = Addr::new([6; 4], 40_000);
    let one = Addr::new([10, 7, 7, 7], 7);
    assert_eq!(seen_as(&mut world, one, false, old), (None, 0), "requests of ephemeral nodes say nothing");
    assert_eq!(seen_as(&mut world, one, true, old), (Some([5; 4]), 1));
    assert_eq!(world.count(host, |event| *event == Event::NatUpdate), 0);
    world.settle();
    assert_eq!(world.count(host, |event| *event == Event::NatUpdate), 1);
    assert_eq!(seen_as(&mut world, one, true, new), (Some([5; 4]), 1), "each once");
    // Half an hour later it counts again; that is one against one, so nothing is known.
    world.with(host, |dht, _| dht.tick += 360);
    assert_eq!(seen_as(&mut world, one, true, new), (None, 1));
}

/// proves dht_rpc.86, dht_rpc.87 and dht_rpc.89
#[test]
fn no_answers_at_all_is_offline() {
    let mut world = network(8, 10);
    let bootstrap = world.addr(0, SocketId::SERVER);
    let host = world.add(joins(bootstrap));
    world.bootstrapped(host);
    let mut asked = 0;
    let mut traffic = |world: &mut World, span: u64| {
        for _ in 0..span {
            world.run(Span::from_secs(1));
            asked += 1;
            for n in 1..6 {
                let to = world.addr(n, SocketId::SERVER);
                let ask = Ask { sends: 1, ..Ask::internal(to, PING) };
                world.with(host, |dht, cx| dht.ask(cx, Tag(asked * 100 + n as u64), ask)).expect("room");
            }
        }
    };
    traffic(&mut world, 60);
    assert!(world.hosts[host].dht.online() && !world.hosts[host].dht.degraded());
    world.loss = 1000;
    traffic(&mut world, 20);
    assert!(!world.hosts[host].dht.online());
    world.loss = 0;
    traffic(&mut world, 20);
    assert!(world.hosts[host].dht.online());
    let updates: Vec<bool> = world.hosts[host]
        .events
        .iter()
        .filter_map(|event| match event {
            Event::NetworkUpdate { online } => Some(*online),
            _ => None,
        })
        .collect();
    assert_eq!((updates.first(), updates.last()), (Some(&false), Some(&true)));
    assert!(updates.len() <= 3, "no flicker: {updates:?}");
}

/// An idle network is quiet, and its tables stay. proves dht_rpc.57, dht_rpc.58 and dht_rpc.59
#[test]
fn an_idle_node_refreshes_every_five_minutes() {
    let mut world = network(9, 30);
    world.run(MINUTE * 10);
    world.hosts[5].record = true;
    world.hosts[5].sent.clear();
    world.run(MINUTE * 20);
    let finds = world.hosts[5]
        .sent
        .iter()
        .filter_map(|(_, _, _, bytes)| wire::decode::<RequestMessage>(bytes).ok())
        .filter(|message| message.internal && message.command == 2)
        .map(|message| message.target)
        .collect::<Vec<_>>();
    let refreshes: BTreeSet<_> = finds.iter().collect();
    assert!((2..=5).contains(&refreshes.len()), "{} refreshes", refreshes.len());
    let sent = world.hosts[5].sent.len();
    assert!(sent < 1200, "{sent} datagrams in 20 minutes");
}

/// Who starts before the bootstrap node begins again when it is there. proves dht_rpc.85
#[test]
fn a_node_that_starts_too_early_joins_later() {
    let mut world = World::new(10);
    let bootstrap = world.bootstrapper();
    world.hosts[0].up = false;
    let host = world.add(Config { ephemeral: Some(false), ..joins(bootstrap) });
    let open = world.add(joins(bootstrap));
    let took = world.bootstrapped(host);
    assert!(took <= Span::from_secs(7));
    assert!(world.hosts[host].dht.ephemeral());
    world.run(MINUTE * 5);
    world.hosts[0].up = true;
    world.run(Span::from_secs(20));
    let server = world.addr(host, SocketId::SERVER);
    assert_eq!(world.hosts[host].dht.remote_addr(), Some(server));
    assert!(!world.hosts[host].dht.ephemeral());
    assert!(world.hosts[0].dht.nodes(9).contains(&server));
    assert_eq!(world.hosts[open].dht.remote_addr(), Some(world.addr(open, SocketId::SERVER)));
    assert_eq!(world.count(host, |event| *event == Event::Bootstrapped), 0, "that was told before");
}

/// proves dht_rpc.43 and dht_rpc.44
#[test]
fn ports_are_tried_in_order() {
    let bound = |taken: Vec<u16>, config: Config| {
        let mut world = World::new(11);
        let host = world.add(config);
        world.hosts[host].taken = taken;
        world.run(Span::from_secs(1));
        let failed = world.count(host, |event| *event == Event::BindFailed) == 1;
        (world.hosts[host].dht.local(SocketId::SERVER).map(|addr| addr.port), failed)
    };
    let config = |any_port| Config { port: 500, any_port, ..Config::default() };
    assert_eq!(bound(vec![], config(true)), (Some(500), false));
    assert_eq!(bound(vec![500, 501], config(true)), (Some(502), false));
    assert_eq!(bound((500..=504).collect(), config(true)).0, Some(40_000));
    assert_eq!(bound(vec![500], config(false)), (Some(501), false));
    let exactly = Config { ports: 1, ..config(false) };
    assert_eq!(bound(vec![500], exactly), (None, true));
    let range = Config { ports: 10, ..config(false) };
    assert_eq!(bound((500..=508).collect(), range.clone()), (Some(509), false));
    assert_eq!(bound((500..=509).collect(), range), (None, true));
    let last = Config { port: 65_535, ..Config::default() };
    assert_eq!(bound(vec![65_535], last).0, Some(40_000));
}

/// What is asked before the sockets are bound leaves when they are.
#[test]
fn requests_wait_for_the_sockets() {
    let mut world = World::new(12);
    let host = world.add(Config::default());
    let to = Addr::new([1; 4], 1);
    world.with(host, |dht, cx| dht.ask(cx, Tag(1), Ask::new(to, 7))).expect("room");
    let first = world.with(host, |dht, cx| dht.poll_output(cx));
    assert!(matches!(first, Some(crate::dht_rpc::Output::Bind { .. })));
    assert_eq!(world.with(host, |dht, cx| dht.poll_output(cx)), None);
    for (socket, port) in [(SocketId::SERVER, 1), (SocketId::CLIENT, 2)] {
        let local = Addr::new([0; 4], port);
        world.with(host, |dht, cx| dht.handle_input(cx, crate::dht_rpc::Input::Bound { socket, local }));
        while let Some(output) = world.with(host, |dht, cx| dht.poll_output(cx)) {
            if let crate::dht_rpc::Output::Send { to: sent_to, socket, .. } = output {
                assert_eq!((sent_to, socket), (to, SocketId::CLIENT));
                return;
            }
        }
    }
    panic!("it was sent");
}

/// pitfalls 3.13: suspended in the middle of a query and resumed: nobody is taken for dead, the query ends, the ports
/// are the same. proves dht_rpc.92 and dht_rpc.93
#[test]
fn suspended_nodes_lose_nothing_but_time() {
    let mut world = network(13, 30);
    let known = world.hosts[3].dht.nodes(99);
    let before = (world.hosts[3].dht.local(SocketId::SERVER), world.hosts[3].dht.local(SocketId::CLIENT));
    for host in 0..31 {
        world.hosts[host].echo = true;
    }
    let to = world.addr(1, SocketId::SERVER);
    let query = Query::new([1; 32], 7, None);
    world.with(3, |dht, cx| dht.query(cx, Tag(1), query)).expect("room");
    world.with(3, |dht, cx| dht.ask(cx, Tag(1), Ask::new(to, 7))).expect("room");
    world.run(Span::from_millis(10));
    world.with(3, |dht, cx| dht.suspend(cx));
    world.with(3, |dht, cx| dht.suspend(cx));
    world.settle();
    let lost = |event: &Event| matches!(event, Event::Answer { result: Err(Lost::Suspended), .. });
    assert_eq!(world.count(3, lost), 1);
    world.with(3, |dht, cx| dht.ask(cx, Tag(2), Ask::new(to, 7))).expect("room");
    let message = RequestMessage { internal: true, command: PING, ..RequestMessage::default() };
    world.deliver(3, SocketId::SERVER, to, &wire::encode(&message));
    assert!(world.sent(3).is_empty());
    assert!(world.hosts[3].dht.suspended());
    assert_eq!(world.hosts[3].dht.poll_timeout(), None);
    world.run(MINUTE * 10);
    assert!(world.sent(3).is_empty());

    world.with(3, |dht, cx| dht.resume(cx));
    world.with(3, |dht, cx| dht.resume(cx));
    world.run(Span::from_secs(5));
    let dht = &world.hosts[3].dht;
    let after = (dht.local(SocketId::SERVER), dht.local(SocketId::CLIENT));
    assert_eq!(after, before);
    assert!(known.iter().all(|addr| dht.nodes(99).contains(addr)));
    assert_eq!(dht.stats().timeouts, 0);
    assert_eq!(world.count(3, |event| matches!(event, Event::Answer { tag: Tag(2), result: Ok(_) })), 1);
    assert_eq!(world.count(3, |event| matches!(event, Event::QueryDone { .. })), 1);
    assert_eq!(world.count(3, |event| *event == Event::WakeUp), 1);

    // The ports are taken by then.
    let server = before.0.map_or(0, |addr| addr.port);
    world.with(3, |dht, cx| dht.suspend(cx));
    world.settle();
    world.hosts[3].taken = vec![server, before.1.map_or(0, |addr| addr.port)];
    world.with(3, |dht, cx| dht.resume(cx));
    world.run(Span::from_secs(5));
    let local = world.hosts[3].dht.local(SocketId::SERVER);
    assert!(local.is_some_and(|addr| addr.port != server));
}

#[test]
fn suspended_before_anything_is_bound() {
    let mut world = World::new(14);
    let bootstrap = world.bootstrapper();
    let host = world.add(joins(bootstrap));
    world.with(host, |dht, cx| dht.suspend(cx));
    world.run(Span::from_secs(5));
    assert_eq!(world.hosts[host].dht.local(SocketId::SERVER), None);
    world.with(host, |dht, cx| dht.resume(cx));
    world.bootstrapped(host);
    assert!(world.hosts[host].dht.remote_addr().is_some());
}
