//! What a stream costs that has nothing to do.

use super::rules::{ms, secs};
use super::world::{Link, SERVER, World, address, at, pattern};
use crate::base::{Machine, Span, Time};
use crate::udx::stream::Stream;
use crate::udx::{Event, Input, Output, StreamId, Udx};

const MEGABYTE: usize = 1 << 20;
/// What the machine keeps of each stream beside it, with the slack of its trees: its slot's age, its id, its deadline.
const LISTS: usize = 2 * (16 + size_of::<(u32, StreamId)>() + 2 * size_of::<(StreamId, u64)>());

/// Streams that have moved a megabyte each way, on good and on bad lines, hold no more than 4 KiB when they are idle.
#[test]
fn an_idle_stream_is_small() {
    // proves udx.107
    for (seed, loss, jitter) in [(1, 0, 0), (2, 20, 0), (3, 0, 20), (4, 50, 30), (5, 150, 50)] {
        let mut link = Link::new(ms(10));
        (link.loss_permille, link.jitter) = (loss, ms(jitter));
        let mut world = World::connected(seed, link);
        let sent = [pattern(MEGABYTE, 1), pattern(MEGABYTE, 2)];
        world.feed(0, &sent[0], false);
        world.feed(1, &sent[1], false);
        for side in 0..2 {
            for n in 0..100 {
                world.command(side, |udx, cx, stream| udx.send(cx, stream, &[n; 500])).expect("room");
            }
        }
        world.run_for(secs(300));
        for (side, sent) in sent.iter().enumerate() {
            assert!(world.seen[1 - side].data == *sent, "all of it arrived");
            let stream = world.udx[side].streams.get(world.streams[side]).expect("live");
            let bytes = size_of::<Stream>() + stream.heap_bytes() + LISTS;
            assert!(bytes < 4096, "{bytes} bytes, {} of them behind it, loss {loss}", stream.heap_bytes());
        }
    }
}

/// The same after each of many small exchanges, which leave their lists in place.
#[test]
fn a_stream_between_two_messages_is_small() {
    // proves udx.107
    let mut world = World::connected(1, Link::new(ms(10)));
    for len in [1, 64, 500, 1000, 5000, 70_000] {
        world.write(0, &vec![1; len]);
        world.write(1, &vec![2; len]);
        world.run_for(secs(2));
        for side in 0..2 {
            let stream = world.udx[side].streams.get(world.streams[side]).expect("live");
            let bytes = size_of::<Stream>() + stream.heap_bytes() + LISTS;
            assert!(bytes < 4096, "{bytes} bytes after messages of {len}");
        }
    }
}

/// Ten thousand streams between two machines, a megabyte each way on each: what all of them hold together.
#[test]
#[ignore = "a measurement"]
fn ten_thousand_idle_streams() {
    const COUNT: u32 = 10_000;
    let mut udx = [Udx::new(), Udx::new()];
    let mut streams = Vec::new();
    let sent = pattern(MEGABYTE, 1);
    let mut now = Time::ZERO;
    for id in 0..COUNT {
        let pair = at(now, |cx| {
            let pair = [0, 1].map(|side| udx[side].open(cx, id).expect("free"));
            for side in 0..2 {
                udx[side].connect(cx, pair[side], SERVER, id, address(1 - side, SERVER)).expect("new");
                udx[side].write(cx, pair[side], &sent).expect("room");
            }
            pair
        });
        streams.push(pair);
        let (mut read, mut rests) = ([0, 0], false);
        while read != [MEGABYTE; 2] || !rests {
            now += Span::from_micros(20);
            rests = true;
            for side in 0..2 {
                at(now, |cx| udx[side].handle_timeout(cx));
                while let Some(Output::Send { bytes, .. }) = at(now, |cx| udx[side].poll_output(cx)) {
                    let input =
                        Input::Datagram { socket: SERVER, from: address(side, SERVER), bytes: &bytes };
                    at(now, |cx| udx[1 - side].handle_input(cx, input));
                    rests = false;
                }
            }
            for side in 0..2 {
                while let Some(event) = udx[side].poll_event() {
                    if let Event::Data { bytes, .. } = event {
                        read[side] += bytes.len();
                    }
                }
            }
        }
    }
    for (side, udx) in udx.iter().enumerate() {
        let live = streams.iter().filter_map(|pair| udx.streams.get(pair[side]));
        let bytes: usize = live.map(|stream| size_of::<Stream>() + stream.heap_bytes() + LISTS).sum();
        let each = bytes / COUNT as usize;
        println!("{each} bytes a stream, {} of them the stream itself", size_of::<Stream>());
        assert!(udx.len() == COUNT as usize && each < 4096);
    }
}
