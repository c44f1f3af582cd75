//! What a packet costs. Run with `cargo test --release --lib udx::tests::speed -- --ignored --nocapture`.

use std::time::Instant;

use super::world::{IDS, SERVER, address, at};
use crate::base::{Machine, Span, Time};
use crate::udx::{Event, Input, Output, Udx};

/// Both ends of a bulk transfer in one thread, without sockets: turns of at most 64 datagrams.
#[test]
#[ignore = "a measurement"]
fn bulk_costs_little() {
    let mut udx = [Udx::new(), Udx::new()];
    let streams = at(Time::ZERO, |cx| {
        let a = udx[0].open(cx, IDS[0]).expect("free");
        let b = udx[1].open(cx, IDS[1]).expect("free");
        udx[0].connect(cx, a, SERVER, IDS[1], address(1, SERVER)).expect("new");
        udx[1].connect(cx, b, SERVER, IDS[0], address(0, SERVER)).expect("new");
        [a, b]
    });
    let total = 512 << 20;
    let piece = vec![7; 64 * 1024];
    let (mut written, mut read, mut packets) = (0, 0, 0_u64);
    let started = Instant::now();
    let mut now = Time::ZERO;
    let mut ways: [Vec<Vec<u8>>; 2] = Default::default();
    let mut open = true;
    while read < total {
        now += Span::from_micros(20);
        at(now, |cx| {
            while open && written < total {
                written += piece.len();
                open = udx[0].write(cx, streams[0], &piece).expect("open");
            }
            for side in 0..2 {
                if udx[side].poll_timeout().is_some_and(|deadline| deadline.at <= now) {
                    udx[side].handle_timeout(cx);
                }
                let way = core::mem::take(&mut ways[side]);
                let mut left = way.into_iter();
                for bytes in left.by_ref().take(64) {
                    let from = address(1 - side, SERVER);
                    udx[side].handle_input(cx, Input::Datagram { socket: SERVER, from, bytes: &bytes });
                }
                ways[side] = left.collect();
                while let Some(event) = udx[side].poll_event() {
                    match event {
                        Event::Data { bytes, .. } => read += bytes.len(),
                        Event::Drained { .. } => open = true,
                        _ => {}
                    }
                }
                while let Some(Output::Send { bytes, .. }) = udx[side].poll_output(cx) {
                    packets += 1;
                    ways[1 - side].push(bytes);
                }
            }
        });
    }
    let seconds = started.elapsed().as_secs_f64();
    let data = total as f64 / 1152.0;
    println!(
        "{:.0} MB/s, {:.2} us for each data packet on both ends together, {packets} packets in all\n{:?}",
        total as f64 / 1e6 / seconds,
        seconds * 1e6 / data,
        udx[0].stats(streams[0])
    );
}
