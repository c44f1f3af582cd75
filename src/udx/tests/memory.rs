//! What a stream costs that has nothing to do.

use super::rules::{ms, secs};
use super::world::{Link, World, pattern};
use crate::udx::StreamId;
use crate::udx::stream::Stream;

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
        for side in 0..2 {
            assert!(world.seen[1 - side].data == sent[side], "all of it arrived");
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
