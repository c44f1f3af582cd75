//! Messages beside the stream, and signs of life, with the real package.

use serde_json::json;

use seckel::base::{Error, Span};
use seckel::udx::Event;

use super::closing::pair;
use super::{Judge, Real};
use crate::support::skipped;

#[test]
fn messages_begun_by_either() {
    if skipped("udx::messages::messages_begun_by_either") {
        return;
    }
    let (mut real, mut judge, id) = pair(json!({}));
    for text in [&b"one"[..], b"", &[7; 1152]] {
        real.with(|udx, cx| udx.send(cx, id, text)).expect("it fits");
        let heard = judge.wait(&mut real, "message", 2);
        assert_eq!(heard["hex"], seckel::base::hex::encode(text));
        judge.ask(&mut real, json!({"op": "message", "id": 2, "hex": seckel::base::hex::encode(text)}));
        let event = Event::Message { stream: id, bytes: text.to_vec() };
        real.until_event(&event);
    }
    // None of them is part of the stream.
    real.write(id, b"data");
    assert_eq!(judge.wait(&mut real, "data", 2)["hex"], "64617461");
    assert!(!real.data.contains_key(&id));
}

/// Ours refuses what no packet takes. Node sends it all the same; what is longer than any datagram of the protocol is
/// dropped here, and what comes after it is not.
#[test]
fn messages_that_are_too_long() {
    if skipped("udx::messages::messages_that_are_too_long") {
        return;
    }
    let (mut real, mut judge, id) = pair(json!({}));
    let most = real.udx.stats(id).expect("live").mtu - 48;
    let sent = real.with(|udx, cx| udx.send(cx, id, &vec![7; most + 1]));
    assert!(matches!(sent, Err(Error::Invalid(_))), "{sent:?}");
    for len in [1400, 3000, 5] {
        judge.ask(&mut real, json!({"op": "message", "id": 2, "hex": "cd".repeat(len)}));
    }
    real.until_event(&Event::Message { stream: id, bytes: vec![0xcd; 5] });
    assert!(real.events.contains(&Event::Message { stream: id, bytes: vec![0xcd; 1400] }));
    assert_eq!((real.events.len(), real.udx.dropped()), (2, 1), "{:?}", real.events);
}

fn packets(judge: &mut Judge, real: &mut Real) -> (u64, u64) {
    let stats = judge.ask(real, json!({"op": "stats", "id": 2}));
    let count = |name: &str| stats[name].as_u64().expect("a number");
    (count("packetsReceived"), count("packetsTransmitted"))
}

/// Each side's heartbeats are answered by the other, and are no data.
#[test]
fn heartbeats_of_either_are_answered() {
    if skipped("udx::messages::heartbeats_of_either_are_answered") {
        return;
    }
    let (mut real, mut judge, id) = pair(json!({}));
    real.with(|udx, cx| udx.set_keep_alive(cx, id, Some(Span::from_millis(20)))).expect("open");
    real.until("five answers", |real| real.udx.stats(id).expect("live").packets_in >= 5);
    real.with(|udx, cx| udx.set_keep_alive(cx, id, None)).expect("open");
    let (heard, answered) = packets(&mut judge, &mut real);
    assert!(heard >= 5 && answered == heard, "{heard} {answered}");

    let (mut real, mut judge, id) = pair(json!({}));
    judge.ask(&mut real, json!({"op": "keepalive", "id": 2, "every": 20}));
    real.until("five answers", |real| real.udx.stats(id).expect("live").packets_out >= 5);
    let stats = real.udx.stats(id).expect("live");
    assert_eq!((stats.packets_in, stats.bytes_in), (stats.packets_out, 20 * stats.packets_in), "{stats:?}");
    let (heard, asked) = packets(&mut judge, &mut real);
    assert!(heard >= 4 && asked >= heard, "{heard} {asked}");
    assert!(real.events.is_empty(), "{:?}", real.events);
    judge.ask(&mut real, json!({"op": "destroy", "id": 2}));
}
