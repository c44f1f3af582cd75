//! Two nodes find each other by key and talk.

use seckel::base::Span;
use seckel::node::{Event, KeyPair};
use seckel::sim::{Line, World};

use crate::support::{joining, network, seed, wait};

/// Server and client on hosts of their own, in a network of `nodes` nodes beside the bootstrapper.
fn echo(world: &mut World, nodes: u8) {
    network(world, nodes);
    let (server, client) = (world.add([30, 0, 2, 1]), world.add([30, 0, 2, 2]));
    world.start(server, joining());
    world.start(client, joining());
    let (own, other) = (KeyPair::from_seed([1; 32]), KeyPair::from_seed([2; 32]));
    wait(world, 60, |_, host, event| host == server && matches!(event, Event::Bootstrapped));
    world.net(server).listen(&own, false).expect("listening");
    wait(world, 60, |_, host, event| host == server && matches!(event, Event::Listening { .. }));
    let conn = world.net(client).connect(own.public, &other, false).expect("connecting");
    let mut answered = false;
    wait(world, 60, |world, host, event| {
        match event {
            Event::Connected { conn: opened, key, .. } if host == client => {
                assert_eq!(*key, own.public);
                world.net(client).send(*opened, b"hello").expect("open");
            }
            Event::Connected { key, .. } if host == server => assert_eq!(*key, other.public),
            Event::Data { conn, bytes } if host == server => {
                world.net(server).send(*conn, bytes).expect("open")
            }
            Event::Data { bytes, .. } if host == client => {
                assert_eq!(bytes, b"hello");
                answered = true;
                world.net(client).close(conn);
            }
            Event::ConnectFailed { why, .. } => panic!("{why:?}"),
            Event::Ended { conn } if host == server => world.net(server).close(*conn),
            _ => {}
        }
        host == client && matches!(event, Event::Closed { .. })
    });
    assert!(answered);
}

/// pitfalls 16.9: a private network of one, two and three nodes just works.
#[test]
fn a_network_of_one_two_and_three_nodes_works() {
    for more in 0..3 {
        echo(&mut World::new(seed(1 + u64::from(more))), more);
    }
}

#[test]
fn it_works_on_a_bad_line() {
    for n in 0..5 {
        let mut world = World::new(seed(100 + n));
        world.line = Line {
            delay: Span::from_millis(30),
            jitter: Span::from_millis(20),
            loss_permille: 100,
            copies_permille: 50,
            ..Line::default()
        };
        echo(&mut world, 3);
    }
}

/// proves hyperdht.96
#[test]
fn refused_nodes_are_never_asked() {
    let mut world = World::new(seed(9));
    let hosts = network(&mut world, 1);
    world.tap = Some(Vec::new());
    let host = world.add([30, 0, 2, 1]);
    let mut config = joining();
    config.dht.nodes = seckel::hyperdht::REFUSED_NODES.map(|node| node.with_port(node.port.max(1))).to_vec();
    world.start(host, config);
    wait(&mut world, 60, |_, from, event| from == host && matches!(event, Event::Bootstrapped));
    world.run(Span::from_secs(600));
    let sent = world.tap.take().expect("a tap");
    assert!(sent.iter().any(|(_, to, _)| to.ip[0] == 30));
    assert!(
        !sent.iter().any(|(_, to, _)| seckel::hyperdht::REFUSED_NODES.iter().any(|node| node.ip == to.ip))
    );
    assert!(!hosts.is_empty());
}
