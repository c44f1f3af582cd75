//! How nodes find each other and learn whether they can be reached.

use super::world::{Wall, World};
use crate::base::{Addr, Machine, SocketId, Span};
use crate::dht_rpc::{Config, Event, Input, node_id};
use crate::wire;
use crate::wire::dht_rpc::{PING_NAT, RequestMessage};

fn joins(bootstrap: Addr) -> Config {
    Config { bootstrap: vec![bootstrap], ..Config::default() }
}

/// pitfalls 4.3: a node with an empty bootstrap list bootstraps. proves dht_rpc.84
#[test]
fn the_first_node_of_a_network_is_ready_at_once() {
    let mut world = World::new(1);
    let addr = world.bootstrapper();
    assert_eq!(world.bootstrapped(0), Span::ZERO);
    let dht = &world.hosts[0].dht;
    assert_eq!(dht.remote_addr(), Some(addr));
    assert_eq!(dht.id(), Some(node_id(addr)));
    assert_eq!(dht.socket(), SocketId::SERVER);
    assert!(!dht.ephemeral() && !dht.firewalled());
    assert_eq!(world.count(0, |event| *event == Event::Persistent), 1);
}

/// pitfalls 4.4: a host that can be reached knows it right at the start, with a single bootstrap node too.
/// proves dht_rpc.77, dht_rpc.78, dht_rpc.31, dht_rpc.45 and dht_rpc.82
#[test]
fn a_host_that_can_be_reached_knows_it_when_it_is_bootstrapped() {
    for others in [0, 1, 2, 8] {
        let mut world = World::new(2);
        let bootstrap = world.bootstrapper();
        for _ in 0..others {
            let host = world.add(Config { ephemeral: Some(false), firewalled: false, ..joins(bootstrap) });
            world.bootstrapped(host);
            assert!(!world.hosts[host].dht.ephemeral());
        }
        let host = world.add(joins(bootstrap));
        let took = world.bootstrapped(host);
        let server = world.addr(host, SocketId::SERVER);
        let dht = &world.hosts[host].dht;
        assert!(!dht.firewalled(), "{others} others");
        assert_eq!(dht.remote_addr(), Some(server));
        assert_eq!(dht.socket(), SocketId::SERVER);
        assert!(dht.ephemeral(), "it takes more to be persistent");
        assert_eq!(dht.id(), None);
        assert!(took < Span::from_millis(500), "{took}");
    }
}

#[test]
fn a_host_behind_a_firewall_stays_firewalled_and_starts_soon() {
    let mut world = World::new(3);
    let bootstrap = world.bootstrapper();
    let host = world.add(joins(bootstrap));
    world.hosts[host].wall = Wall::Firewall;
    let took = world.bootstrapped(host);
    let dht = &world.hosts[host].dht;
    assert!(dht.firewalled());
    assert_eq!(dht.remote_addr(), None);
    assert_eq!(dht.public_host(), Some(world.hosts[host].ip));
    assert_eq!(dht.socket(), SocketId::CLIENT);
    assert!(took <= Span::from_millis(1100), "{took}");
}

/// A private network of one, two and three nodes: each finds each.
#[test]
fn small_networks_know_each_other() {
    for size in 1..=3 {
        let mut world = World::new(4);
        let bootstrap = world.bootstrapper();
        for _ in 1..size {
            let host = world.add(Config { ephemeral: Some(false), ..joins(bootstrap) });
            world.bootstrapped(host);
            assert_eq!(world.hosts[host].dht.id(), Some(node_id(world.addr(host, SocketId::SERVER))));
        }
        world.run(Span::from_secs(1));
        for host in 0..size {
            assert_eq!(world.hosts[host].dht.node_count(), size - 1, "host {host} of {size}");
        }
    }
}

/// proves dht_rpc.83
#[test]
fn who_is_not_firewalled_asks_nobody() {
    let mut world = World::new(5);
    let bootstrap = world.bootstrapper();
    let host = world.add(Config { firewalled: false, ..joins(bootstrap) });
    world.hosts[host].record = true;
    world.bootstrapped(host);
    let server = world.addr(host, SocketId::SERVER);
    assert_eq!(world.hosts[host].dht.remote_addr(), Some(server));
    let nat = |bytes: &[u8]| {
        wire::decode::<RequestMessage>(bytes)
            .is_ok_and(|message| message.internal && message.command == PING_NAT)
    };
    assert!(!world.hosts[host].sent.is_empty());
    assert!(
        world.hosts[host].sent.iter().all(|(_, socket, _, bytes)| *socket == SocketId::SERVER && !nat(bytes))
    );
}

/// A probe may be lost: it is sent again within the time that the bootstrap grants it.
#[test]
fn reachable_hosts_know_it_under_loss() {
    let mut open = 0;
    for seed in 0..40 {
        let mut world = World::new(seed);
        let bootstrap = world.bootstrapper();
        world.loss = 200;
        let host = world.add(joins(bootstrap));
        let took = world.bootstrapped(host);
        assert!(took <= Span::from_secs(10), "{took}");
        open += u64::from(!world.hosts[host].dht.firewalled());
    }
    assert!(open >= 34, "{open} of 40");
}

/// An answer to a probe that comes after the bootstrap still counts. proves dht_rpc.78
#[test]
fn a_late_probe_counts() {
    let mut world = World::new(6);
    let bootstrap = world.bootstrapper();
    let host = world.add(joins(bootstrap));
    world.hosts[host].wall = Wall::Firewall;
    world.bootstrapped(host);
    assert!(world.hosts[host].dht.firewalled());
    world.hosts[host].wall = Wall::Open;
    world.run(Span::from_secs(2));
    let server = world.addr(host, SocketId::SERVER);
    assert_eq!(world.hosts[host].dht.remote_addr(), Some(server));
    assert!(world.hosts[host].dht.ephemeral());
}

/// A world of twelve nodes and one more, which was told its own address by the operating system.
fn settled(seed: u64, config: Config) -> (World, usize) {
    let mut world = World::new(seed);
    let bootstrap = world.bootstrapper();
    for _ in 0..11 {
        let host = world.add(Config { ephemeral: Some(false), firewalled: false, ..joins(bootstrap) });
        world.bootstrapped(host);
    }
    let host = world.add(Config { bootstrap: vec![bootstrap], ..config });
    let ip = world.hosts[host].ip;
    world.with(host, |dht, cx| dht.handle_input(cx, Input::Interfaces(&[ip, [127, 0, 0, 1]])));
    world.bootstrapped(host);
    world.run(Span::from_secs(60));
    (world, host)
}

/// Found by a world in which an open server moved: it named its old address for as long as anybody looked.
/// proves dht_rpc.94
#[test]
fn a_node_that_moves_finds_out_where_it_is() {
    for (config, persistent) in
        [(Config::default(), false), (Config { ephemeral: Some(false), ..Config::default() }, true)]
    {
        let (mut world, host) = settled(7, config);
        let before = world.addr(host, SocketId::SERVER);
        assert_eq!(world.hosts[host].dht.remote_addr(), Some(before));
        world.move_to(host, [10, 9, 9, 9]);
        assert_eq!(world.hosts[host].dht.remote_addr(), None, "not known at once");
        assert_eq!(world.hosts[host].dht.id(), None);
        world.run(Span::from_secs(3));
        let now = world.addr(host, SocketId::SERVER);
        assert_ne!(now, before);
        let dht = &world.hosts[host].dht;
        assert_eq!((dht.remote_addr(), dht.firewalled()), (Some(now), false));
        assert_eq!(dht.id(), persistent.then(|| node_id(now)));
        // Behind a wall it is firewalled again.
        world.hosts[host].wall = Wall::Firewall;
        world.move_to(host, [10, 9, 9, 10]);
        world.run(Span::from_secs(30));
        let dht = &world.hosts[host].dht;
        assert_eq!((dht.remote_addr(), dht.firewalled(), dht.id()), (None, true, None));
        assert_eq!(dht.public_host(), Some([10, 9, 9, 10]));
        assert_eq!(world.count(host, |event| *event == Event::Bootstrapped), 0, "told once, before");
    }
}

#[test]
fn the_same_addresses_again_are_no_news() {
    let (mut world, host) = settled(8, Config::default());
    world.sent(host);
    let ip = world.hosts[host].ip;
    world.with(host, |dht, cx| dht.handle_input(cx, Input::Interfaces(&[ip, [127, 0, 0, 1]])));
    assert_eq!(world.sent(host), []);
    let addr = world.addr(host, SocketId::SERVER);
    assert_eq!(world.hosts[host].dht.remote_addr(), Some(addr));
}
