//! A side whose address changes without its knowledge.

use super::rules::{ms, secs};
use super::world::{CLIENT, Link, Packet, SERVER, World, address, pattern};
use crate::base::SocketId;

/// Where nothing listens.
const NOWHERE: SocketId = SocketId(9);

/// From now on machine 1 is seen at the address of its other socket, and reached there only.
fn new_address(packet: &mut Packet) {
    match (packet.side, packet.socket) {
        (0, _) => packet.from = address(1, CLIENT),
        (_, CLIENT) => packet.socket = SERVER,
        _ => packet.socket = NOWHERE,
    }
}

fn moved_world() -> World {
    let mut world = World::connected(1, Link::new(ms(20)));
    world.write(0, b"a");
    world.write(1, b"b");
    world.run_for(secs(1));
    world.rewrite = Box::new(new_address);
    world.filter = Box::new(|_, packet| packet.socket != NOWHERE);
    world
}

fn remote(world: &World) -> crate::base::Addr {
    world.udx[0].remote(world.streams[0]).expect("connected").1
}

#[test]
fn a_talk_goes_on() {
    // proves udx.132
    let mut world = moved_world();
    for n in 0..30 {
        world.write(0, &[n]);
        world.write(1, &[n]);
        world.run_for(ms(100));
    }
    let all: Vec<u8> = (0..30).collect();
    assert_eq!(world.seen[0].data, [b"b", &all[..]].concat());
    assert_eq!(world.seen[1].data, [b"a", &all[..]].concat());
    assert_eq!(remote(&world), address(1, CLIENT));
}

/// The one that is not moved has nothing in flight: it learns of it by what comes again.
#[test]
fn who_only_listens_follows() {
    // proves udx.132
    let mut world = moved_world();
    let sent = pattern(2_000_000, 1);
    world.feed(1, &sent, false);
    world.run_for(secs(8));
    assert!(world.seen[0].data[1..] == sent);
    assert_eq!(remote(&world), address(1, CLIENT));
}

/// One message, and an answer.
#[test]
fn a_call_and_its_answer() {
    // proves udx.132
    let mut world = moved_world();
    world.write(1, b"call");
    world.run_for(ms(100));
    world.write(0, b"answer");
    world.run_for(secs(3));
    assert_eq!(world.seen[1].data, b"aanswer");
}

/// Packets may come from where none can be sent, for a NAT in between sees to that. All is well until a line is silent;
/// and then again.
#[test]
fn an_address_that_does_not_answer_is_left_again() {
    // proves udx.132
    let mut world = World::connected(2, Link::new(ms(20)));
    world.rewrite = Box::new(|packet| match (packet.side, packet.socket) {
        (0, _) => packet.from = address(1, CLIENT),
        (_, CLIENT) => packet.socket = NOWHERE,
        _ => {}
    });
    world.filter = Box::new(|_, packet| packet.socket != NOWHERE);
    let talk = |world: &mut World, count: usize| {
        for _ in 0..count {
            world.write(0, b"0");
            world.write(1, b"1");
            world.run_for(ms(100));
        }
    };
    talk(&mut world, 30);
    assert_eq!(remote(&world), address(1, SERVER), "what arrives is not left");
    world.links[0].cut = true;
    talk(&mut world, 20);
    world.links[0].cut = false;
    talk(&mut world, 150);
    world.run_for(secs(1));
    assert_eq!([world.seen[0].data.len(), world.seen[1].data.len()], [200, 200]);
}

/// Who sends for somebody else gets that one no more than three times what it sent itself.
#[test]
fn an_address_that_is_not_proven_gets_little() {
    // proves udx.132 and udx.99
    let mut world = moved_world();
    world.links[0].cut = true;
    world.write(0, &pattern(1_000_000, 1));
    let seen = world.watch();
    for _ in 0..10 {
        world.write(1, b"more");
        world.run_for(ms(100));
    }
    world.write(1, b"more");
    world.run_for(secs(30));
    let (mut there, mut sent) = (0, 0);
    for (_, packet) in seen.borrow().iter() {
        match packet.side {
            0 => sent += packet.bytes.len() + 28,
            _ if packet.socket == SERVER => there += packet.bytes.len() + 28,
            _ => {}
        }
    }
    assert!(there > 0 && there <= 3 * sent, "{there} for {sent}");
}

/// A stranger who knows ids and numbers does not take a stream away from one that is there.
#[test]
fn a_stranger_beside_the_remote_is_not_followed() {
    // proves udx.132
    let mut world = World::connected(3, Link::new(ms(20)));
    let mut count = 0;
    world.rewrite = Box::new(move |packet| {
        count += 1;
        if packet.side == 0 && count % 3 == 0 {
            packet.from = address(1, CLIENT);
        }
    });
    world.links[0].loss_permille = 300;
    for _ in 0..100 {
        world.write(0, b"0");
        world.write(1, b"1");
        world.run_for(ms(50));
        assert_eq!(remote(&world), address(1, SERVER));
    }
}
