//! What ends a stream with the real package on the other side.

use serde_json::json;

use seckel::udx::{Event, StreamId, Why};

use super::{Judge, Real};
use crate::support::skipped;

/// One of our streams to one of Node's.
pub fn pair(options: serde_json::Value) -> (Real, Judge, StreamId) {
    let (mut real, mut judge) = (Real::new(), Judge::start());
    let port = judge.port;
    let id = real.stream(1, 2, port);
    judge.stream(&mut real, 2, 1, options);
    (real, judge, id)
}

pub fn destroy(real: &mut Real, id: StreamId) {
    real.with(|udx, cx| udx.destroy(cx, id)).expect("live");
}

/// We end first, and read on: what Node writes after that arrives, then its end.
#[test]
fn node_writes_on_after_our_end() {
    if skipped("udx::closing::node_writes_on_after_our_end") {
        return;
    }
    let (mut real, mut judge, id) = pair(json!({"hash": true}));
    real.write(id, &[0, 0, 0, 0]);
    real.end(id);
    let end = judge.wait(&mut real, "end", 2);
    assert_eq!((end["bytes"].as_u64(), &end["right"]), (Some(4), &json!(true)));
    assert!(!real.events.contains(&Event::Ended { stream: id }));
    real.digest = Some(super::Digest::default());
    let total = 300_000;
    judge.ask(&mut real, json!({"op": "bulk", "id": 2, "total": total}));
    real.until_event(&Event::Closed { stream: id, why: Why::Ended });
    judge.wait(&mut real, "close", 2);
    let digest = real.digest.take().expect("set above");
    assert_eq!((digest.bytes, digest.wrong), (total, false));
    assert_eq!(real.events, [Event::Ended { stream: id }, Event::Closed { stream: id, why: Why::Ended }]);
}

#[test]
fn a_stream_is_destroyed_before_any_data() {
    if skipped("udx::closing::a_stream_is_destroyed_before_any_data") {
        return;
    }
    let (mut real, mut judge, id) = pair(json!({}));
    judge.ask(&mut real, json!({"op": "destroy", "id": 2}));
    real.until_event(&Event::Closed { stream: id, why: Why::Reset });
    judge.wait(&mut real, "close", 2);
    assert_eq!(real.events.len(), 1, "{:?}", real.events);

    let (mut real, mut judge, id) = pair(json!({}));
    destroy(&mut real, id);
    assert_eq!(judge.wait(&mut real, "error", 2)["code"], "ECONNRESET");
    judge.wait(&mut real, "close", 2);
    assert_eq!(real.events, [Event::Closed { stream: id, why: Why::Destroyed }]);
    assert!(real.udx.is_empty());
}

/// Node destroys its stream while a megabyte of ours is on its way.
#[test]
fn node_destroys_in_the_middle_of_our_data() {
    if skipped("udx::closing::node_destroys_in_the_middle_of_our_data") {
        return;
    }
    let (mut real, mut judge, id) = pair(json!({}));
    real.write(id, &vec![7; 1 << 20]);
    judge.wait(&mut real, "data", 2);
    judge.ask(&mut real, json!({"op": "destroy", "id": 2}));
    real.until_event(&Event::Closed { stream: id, why: Why::Reset });
    judge.wait(&mut real, "close", 2);
    assert!(real.udx.is_empty());
}

/// We destroy ours while Node sends.
#[test]
fn we_destroy_in_the_middle_of_nodes_data() {
    if skipped("udx::closing::we_destroy_in_the_middle_of_nodes_data") {
        return;
    }
    let (mut real, mut judge, id) = pair(json!({}));
    judge.say(json!({"op": "write", "id": 2, "hex": "ab".repeat(1 << 20)}));
    real.until("some data", |real| real.data.get(&id).is_some_and(|data| data.len() > 10_000));
    destroy(&mut real, id);
    judge.hear(&mut real);
    assert_eq!(judge.wait(&mut real, "error", 2)["code"], "ECONNRESET");
    judge.wait(&mut real, "close", 2);
    assert!(real.data[&id].iter().all(|byte| *byte == 0xab));
    assert_eq!(real.events.last(), Some(&Event::Closed { stream: id, why: Why::Destroyed }));
}

/// Both end at once, with data in the last packet of each.
#[test]
fn both_end_at_once() {
    if skipped("udx::closing::both_end_at_once") {
        return;
    }
    let (mut real, mut judge, id) = pair(json!({}));
    judge.ask(&mut real, json!({"op": "write", "id": 2, "hex": "0102"}));
    real.write(id, b"last");
    real.end(id);
    judge.ask(&mut real, json!({"op": "end", "id": 2}));
    real.until_event(&Event::Closed { stream: id, why: Why::Ended });
    assert_eq!(judge.wait(&mut real, "data", 2)["hex"], "6c617374");
    judge.wait(&mut real, "close", 2);
    assert_eq!(real.data[&id], [1, 2]);
    assert!(real.udx.is_empty());
}
