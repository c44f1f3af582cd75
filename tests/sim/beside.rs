//! What a connection does beside carrying its stream: unordered messages, keep-alives, and an end to silence.

use seckel::base::Span;
use seckel::node::{Closed, ConnId, Event, StreamWhy};
use seckel::sim::{HostId, World};

use crate::support::{connect, join, key, listen, network, seed, wait};

/// A server and a client that is connected to it; the connection as either side names it.
fn connected(n: u64) -> (World, [(HostId, ConnId); 2]) {
    let mut world = World::new(seed(n));
    network(&mut world, 2);
    let (server, client) = (world.add([30, 0, 2, 1]), world.add([30, 0, 2, 2]));
    join(&mut world, server);
    join(&mut world, client);
    listen(&mut world, server, &key(1));
    let (dialled, outcome) = connect(&mut world, client, key(1).public);
    outcome.expect("connected");
    world.net(client).send(dialled, b"here").expect("open");
    let (_, event) =
        wait(&mut world, 20, |_, host, event| host == server && matches!(event, Event::Data { .. }));
    let Event::Data { conn, .. } = event else { unreachable!("waited for that") };
    (world, [(client, dialled), (server, conn)])
}

fn silent(event: &Event) -> bool {
    matches!(event, Event::Closed { why: Closed::Stream(StreamWhy::Silent), .. })
}

#[test]
fn unordered_messages_go_both_ways() {
    let (mut world, [(client, dialled), (server, _)]) = connected(1);
    world.net(client).send_unordered(dialled, b"beside").expect("open");
    wait(&mut world, 20, |world, host, event| match event {
        Event::Unordered { conn, bytes } if host == server => {
            world.net(server).send_unordered(*conn, &[bytes.as_slice(), b" too"].concat()).expect("open");
            false
        }
        Event::Unordered { bytes, .. } if host == client => bytes == b"beside too",
        _ => false,
    });
    let stats = world.net(client).stream_stats(dialled).expect("open");
    // secret_stream.16: "here" in a frame, and nothing of what went beside the stream.
    assert_eq!((stats.raw_bytes_written, stats.unordered_dropped), (3 + 17 + 4, 0));
}

/// pitfalls 11.13: a timeout works where the other side keeps nothing alive.
#[test]
fn a_silent_peer_is_given_up() {
    let (mut world, [(client, dialled), (server, accepted)]) = connected(2);
    world.net(server).set_keep_alive(accepted, None).expect("open");
    world.net(client).set_timeout(dialled, Some(Span::from_secs(20))).expect("open");
    let start = world.now();
    wait(&mut world, 30, |_, host, event| host == client && silent(event));
    assert!(world.now().since(start) >= Span::from_secs(20));
}

/// pitfalls 11.13: keep-alives are heard, and each puts the end of patience off.
#[test]
fn keep_alives_are_no_silence() {
    let (mut world, [(client, dialled), (server, accepted)]) = connected(3);
    world.net(server).set_keep_alive(accepted, Some(Span::from_secs(2))).expect("open");
    world.net(client).set_timeout(dialled, Some(Span::from_secs(3))).expect("open");
    let until = world.now() + Span::from_secs(120);
    while let seckel::sim::Step::Event(host, event) = world.step(until) {
        assert!(host != client || !silent(&event), "given up although it was kept alive");
    }
    assert!(world.net(client).stream_stats(dialled).is_some_and(|stats| stats.raw_bytes_read >= 50 * 17));
}
