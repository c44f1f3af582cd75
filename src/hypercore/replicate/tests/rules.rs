//! One core against a peer that is driven by hand.

use super::world::{Node, World};
use crate::base::{DiskError, Error, Machine, Span, Time, hex, limits};
use crate::hypercore::proof;
use crate::hypercore::replicate::*;
use crate::wire::hypercore::{Node as TreeNode, *};
use crate::wire::{Wire, decode, encode};

const HASH: [u8; 64] = [6; 64];

/// The core that is tested, and what it says to its peers.
struct Raw {
    world: World,
    now: Time,
    node: usize,
}

impl Raw {
    fn writer(count: u64) -> Raw {
        let mut world = World::new(1);
        let node = world.writer(false);
        world.append(node, &super::blocks(0, count));
        Raw { world, now: Time::ZERO, node }
    }

    /// A replica of a writer with `count` blocks; node 0 of the world is that writer.
    fn replica(count: u64) -> Raw {
        let mut raw = Raw::writer(count);
        raw.node = raw.world.replica();
        raw
    }

    fn core(&mut self) -> &mut Node {
        &mut self.world.nodes[self.node]
    }

    fn input(&mut self, input: Input<'_>) {
        let now = self.now;
        self.core().with(now, |live, cx| live.handle_input(cx, input));
    }

    fn open(&mut self, peer: u64) {
        let key = *self.core().live.core.key();
        let hello = encode(&Handshake { seeks: true, capability: capability(&key, &HASH, true) });
        let peer = PeerId(peer);
        let input =
            Input::PeerOpened { peer, remote_handshake: &hello, handshake_hash: &HASH, initiator: false };
        self.input(input);
    }

    fn say<T: Wire + Clone>(&mut self, peer: u64, kind: u64, message: &T) {
        self.input(Input::Message { peer: PeerId(peer), kind, bytes: &encode(message) });
    }

    fn sync(&mut self, peer: u64, length: u64, remote_length: u64) {
        let sync = Sync {
            length,
            remote_length,
            can_upgrade: true,
            uploading: true,
            downloading: true,
            has_manifest: true,
            ..Sync::default()
        };
        self.say(peer, kind::SYNC, &sync);
    }

    fn outputs(&mut self) -> Vec<Output> {
        let now = self.now;
        let mut outputs = Vec::new();
        while let Some(output) = self.core().with(now, |live, cx| live.poll_output(cx)) {
            outputs.push(output);
        }
        outputs
    }

    /// What is said to a peer, of one kind.
    fn hear<T: Wire + Default>(&mut self, peer: u64, wanted: u64) -> Vec<T> {
        let outputs = self.outputs();
        let bytes = outputs.iter().filter_map(|output| match output {
            Output::Message { peer: PeerId(to), kind, bytes } if (*to, *kind) == (peer, wanted) => {
                Some(bytes)
            }
            _ => None,
        });
        bytes.map(|bytes| decode(bytes).expect("what we say is well formed")).collect()
    }

    fn closes(&mut self) -> Vec<Close> {
        let outputs = self.outputs();
        let close = |output: &Output| match output {
            Output::Close { why, .. } => Some(*why),
            _ => None,
        };
        outputs.iter().filter_map(close).collect()
    }

    /// The writer's answer to a request.
    fn answer(&mut self, request: &Request) -> Data {
        let now = self.now;
        self.world.nodes[0].with(now, |live, cx| {
            let length = live.core.length();
            let mut data = proof::prove(length, None, &mut |index| live.core.tree_node(cx, index), request)
                .expect("a request that can be answered");
            if let Some(block) = &mut data.block {
                block.value = live.core.get(cx, block.index).expect("a disk").expect("here");
            }
            if let Some(upgrade) = &mut data.upgrade {
                upgrade.signature = Some(live.core.signature().to_vec());
            }
            if request.manifest {
                data.manifest = live.core.manifest().cloned();
            }
            data
        })
    }

    /// Answers everything that is asked of a peer until nothing is asked any more.
    fn serve(&mut self, peer: u64) {
        loop {
            let requests: Vec<Request> = self.hear(peer, kind::REQUEST);
            if requests.is_empty() {
                return;
            }
            for request in requests {
                let data = self.answer(&request);
                self.say(peer, kind::DATA, &data);
            }
        }
    }

    fn wait(&mut self, millis: u64) {
        self.now += Span::from_millis(millis);
        let now = self.now;
        self.core().with(now, |live, cx| live.handle_timeout(cx));
    }

    fn events(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.core().live.poll_event() {
            events.push(event);
        }
        events
    }

    fn stats(&mut self) -> Stats {
        self.core().live.replicator.stats()
    }
}

fn block(id: u64, index: u64) -> Request {
    Request { id, block: Some(Wanted { index, nodes: 0 }), ..Request::default() }
}

// proves replication.11, replication.12
#[test]
fn capabilities_are_upstreams() {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/crypto.json"));
    let file: serde_json::Value = serde_json::from_str(text).expect("the vectors");
    let all = file["vectors"].as_array().expect("a list").iter();
    let mut seen = 0;
    for vector in all.filter(|vector| vector["name"] == "hypercore-replicate-capability") {
        let initiator = vector["inputs"]["isInitiator"].as_bool().expect("a flag");
        let made = capability(&[5; 32], &[6; 64], initiator);
        assert_eq!(vector["expected"]["hex"], hex::encode(&made));
        seen += 1;
    }
    assert_eq!(seen, 2);
    assert_eq!((PROTOCOL, ALIAS), ("hypercore/alpha", "hypercore"));
}

// proves replication.13
#[test]
fn who_does_not_know_the_key_gets_nothing() {
    let mut raw = Raw::writer(5);
    let key = *raw.core().live.core.key();
    for capability in [capability(&key, &HASH, false), capability(&key, &[7; 64], true), [0; 32]] {
        let hello = encode(&Handshake { seeks: true, capability });
        let peer = PeerId(1);
        let input =
            Input::PeerOpened { peer, remote_handshake: &hello, handshake_hash: &HASH, initiator: false };
        raw.input(input);
        raw.say(1, kind::REQUEST, &block(1, 0));
        assert_eq!(raw.outputs(), [Output::Close { peer, why: Close::Fault(Fault::Capability) }]);
    }
}

// proves replication.14, replication.40
#[test]
fn the_first_words_are_what_is_here() {
    let mut raw = Raw::writer(5);
    raw.open(1);
    let said = raw.outputs();
    let bytes: Vec<String> = said
        .iter()
        .map(|output| match output {
            Output::Message { kind, bytes, .. } => format!("{kind} {}", hex::encode(bytes)),
            other => panic!("{other:?}"),
        })
        .collect();
    // As the writer of the vector "get all of five, one after the other, v1" does.
    assert_eq!(bytes, ["0 0f000500", "8 000005"]);
    let mut empty = Raw::writer(0);
    empty.open(1);
    assert_eq!(empty.hear::<Range>(1, kind::RANGE), []);
}

// proves replication.16
#[test]
fn two_who_do_not_download_part() {
    let mut raw = Raw::writer(5);
    raw.open(1);
    let now = raw.now;
    raw.core().with(now, |live, cx| live.set_active(cx, false));
    let idle = Sync { uploading: true, ..Sync::default() };
    raw.say(1, kind::SYNC, &idle);
    assert_eq!(raw.closes(), [], "we still say that we download");
    raw.wait(40_000);
    assert_eq!(raw.closes(), [Close::Idle]);
    let now = raw.now;
    raw.core().with(now, |live, cx| live.set_active(cx, true));
    assert_eq!(raw.outputs(), [Output::Open { peer: PeerId(1) }]);
    raw.open(2);
    raw.say(2, kind::SYNC, &idle);
    raw.outputs();
    raw.input(Input::PeerClosed { peer: PeerId(2) });
    assert_eq!(raw.outputs(), [Output::Open { peer: PeerId(2) }], "it thought that we were done");
}

// proves replication.41, replication.42
#[test]
fn who_is_behind_is_told() {
    let mut raw = Raw::writer(5);
    raw.open(1);
    raw.outputs();
    raw.sync(1, 3, 0);
    let said: Vec<Sync> = raw.hear(1, kind::SYNC);
    assert_eq!((said[0].length, said[0].remote_length, said[0].can_upgrade), (5, 3, true));
    raw.sync(1, 5, 5);
    assert_eq!(raw.hear::<Sync>(1, kind::SYNC), [], "nothing new");
    let other = Sync { fork: 1, length: 2, downloading: true, ..Sync::default() };
    raw.say(1, kind::SYNC, &other);
    raw.world.append(raw.node, &super::blocks(5, 1));
    let said: Vec<Sync> = raw.hear(1, kind::SYNC);
    assert_eq!((said[0].remote_length, said[0].can_upgrade), (0, false), "on another fork");
}

/// pitfalls 14.6: the longer tree is told before the blocks.
// proves replication.43, replication.44, replication.45, replication.46
#[test]
fn new_blocks_are_told_to_whom_they_matter() {
    let mut raw = Raw::writer(300);
    raw.open(1);
    raw.sync(1, 300, 300);
    raw.outputs();
    raw.world.append(raw.node, &super::blocks(300, 2));
    let kinds: Vec<u64> = raw
        .outputs()
        .iter()
        .filter_map(|output| match output {
            Output::Message { kind, .. } => Some(*kind),
            _ => None,
        })
        .collect();
    assert_eq!(kinds, [kind::SYNC, kind::RANGE]);
    // A replica with holes: old blocks are told if wanted, new ones always.
    let mut raw = Raw::replica(600);
    raw.open(1);
    raw.open(2);
    raw.sync(1, 600, 0);
    raw.say(2, kind::WANT, &Want { start: 0, length: 2_097_152, any: false });
    raw.say(1, kind::RANGE, &Range { drop: false, start: 5, length: 1 });
    raw.say(1, kind::RANGE, &Range { drop: false, start: 590, length: 1 });
    let (mut told, mut asked) = (Vec::new(), true);
    while std::mem::take(&mut asked) {
        for output in raw.outputs() {
            let Output::Message { peer, kind, bytes } = output else { continue };
            if kind == kind::RANGE {
                let range: Range = decode(&bytes).expect("a range");
                told.extend((range.start..range.start + range.length).map(|block| (peer.0, block)));
            } else if kind == kind::REQUEST {
                let data = raw.answer(&decode(&bytes).expect("a request"));
                raw.say(1, kind::DATA, &data);
                asked = true;
            }
        }
    }
    told.sort_unstable();
    assert_eq!(told, [(2, 5), (2, 590)], "the sender itself has them");
}

// proves replication.57, replication.58
#[test]
fn wants_are_answered() {
    let mut raw = Raw::writer(40);
    raw.open(1);
    raw.outputs();
    raw.say(1, kind::WANT, &Want { start: 0, length: 2_097_152, any: false });
    assert_eq!(raw.hear::<Range>(1, kind::RANGE), [Range { drop: false, start: 0, length: 40 }]);
    let now = raw.now;
    raw.core().with(now, |live, cx| live.core.clear(cx, 1, 2).expect("a disk"));
    raw.say(1, kind::WANT, &Want { start: 0, length: 4096, any: false });
    let words = vec![0xffff_fffd, 0xff];
    assert_eq!(raw.hear::<Bitfield>(1, kind::BITFIELD), [Bitfield { start: 0, words }]);
    raw.say(1, kind::WANT, &Want { start: 1, length: 9, any: true });
    assert_eq!(raw.hear::<Range>(1, kind::RANGE), [Range { drop: false, start: 2, length: 1 }]);
    raw.say(1, kind::WANT, &Want { start: 1 << 50, length: u64::MAX >> 11, any: true });
    assert_eq!(raw.outputs(), []);
}

// proves replication.47
#[test]
fn blocks_that_are_gone_are_taken_back() {
    let mut raw = Raw::writer(40);
    raw.open(1);
    raw.sync(1, 40, 40);
    raw.outputs();
    let now = raw.now;
    raw.core().with(now, |live, cx| live.clear(cx, 3, 5).expect("a disk"));
    assert_eq!(raw.hear::<Range>(1, kind::RANGE), [Range { drop: true, start: 3, length: 2 }]);
    raw.core().with(now, |live, cx| live.truncate(cx, 30).expect("a writer"));
    let said = raw.outputs();
    let said: Vec<String> = said
        .iter()
        .map(|output| match output {
            Output::Message { kind, bytes, .. } => format!("{kind} {}", hex::encode(bytes)),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(said, ["0 0e011e00", "8 011e0a"]);
}

// proves replication.70, replication.71, replication.72
#[test]
fn requests_are_answered_in_turn() {
    let mut raw = Raw::writer(20);
    raw.open(1);
    raw.outputs();
    raw.say(1, kind::REQUEST, &block(1, 11));
    raw.say(1, kind::REQUEST, &block(2, 12));
    raw.say(1, kind::REQUEST, &block(1, 13));
    raw.say(1, kind::REQUEST, &Request { priority: 1, ..block(4, 14) });
    raw.say(1, kind::REQUEST, &Request { priority: 1, ..block(5, 15) });
    raw.say(1, kind::REQUEST, &block(6, 16));
    raw.say(1, kind::CANCEL, &Cancel { request: 6 });
    raw.input(Input::Writable { peer: PeerId(1), writable: false });
    assert_eq!(raw.outputs(), []);
    raw.input(Input::Writable { peer: PeerId(1), writable: true });
    let said: Vec<Data> = raw.hear(1, kind::DATA);
    let said: Vec<(u64, u64)> =
        said.iter().map(|data| (data.request, data.block.as_ref().map_or(0, |b| b.index))).collect();
    assert_eq!(said, [(5, 15), (4, 14), (2, 12), (1, 13)]);
    raw.say(1, kind::REQUEST, &Request { fork: 1, ..block(7, 3) });
    raw.say(1, kind::REQUEST, &block(8, 20));
    let none = |request, reason| NoData { request, reason };
    assert_eq!(raw.hear::<NoData>(1, kind::NO_DATA), [none(7, NO_REASON), none(8, NOT_AVAILABLE)]);
    raw.say(1, kind::REQUEST, &Request { fork: 1, manifest: true, ..block(9, 3) });
    let said: Vec<Data> = raw.hear(1, kind::DATA);
    assert!(said[0].manifest.is_some() && said[0].block.is_none() && said[0].fork == 0);
}

// proves replication.73, replication.74
#[test]
fn senseless_requests_are_refused_slowly() {
    let mut raw = Raw::writer(20);
    raw.open(1);
    raw.outputs();
    let senseless =
        |id| Request { upgrade: Some(Grow { start: 5, length: 50 }), ..Request { id, ..block(1, 1) } };
    for (id, wait) in [(1, 200), (2, 500), (3, 500), (4, 500), (5, 1000)] {
        raw.say(1, kind::REQUEST, &senseless(id));
        assert_eq!(raw.outputs(), []);
        raw.wait(wait - 1);
        assert_eq!(raw.outputs(), []);
        raw.wait(1);
        let refused = NoData { request: id, reason: INVALID_REQUEST };
        assert_eq!(raw.hear::<NoData>(1, kind::NO_DATA), [refused]);
    }
    for id in 6..64 {
        raw.say(1, kind::REQUEST, &senseless(id));
    }
    assert_eq!(raw.closes(), []);
    raw.say(1, kind::REQUEST, &senseless(64));
    assert_eq!(raw.closes(), [Close::Fault(Fault::Requests)]);
    assert_eq!(raw.core().live.poll_timeout(), None, "nothing is left of it");
    raw.open(2);
    for id in 0..3 * limits::REPLICATION_REQUESTS_MAX as u64 {
        raw.say(2, kind::REQUEST, &block(id, 1));
    }
    let answered: Vec<NoData> = raw.hear(2, kind::NO_DATA);
    assert!(answered.iter().all(|none| none.reason == NOT_AVAILABLE));
    assert_eq!(raw.stats().blocks_sent, limits::REPLICATION_REQUESTS_MAX as u64);
}

/// The request that comes first: the upgrade, with the manifest, and the last block with it.
// proves replication.81, replication.83, replication.87
#[test]
fn a_longer_tree_is_asked_for_once() {
    let mut raw = Raw::replica(20);
    raw.open(1);
    raw.open(2);
    raw.outputs();
    raw.sync(1, 0, 0);
    let asked: Vec<Request> = raw.hear(1, kind::REQUEST);
    assert_eq!(asked, [Request { id: 1, manifest: true, ..Request::default() }]);
    raw.sync(2, 20, 7);
    assert_eq!(raw.hear::<Request>(2, kind::REQUEST), [], "it does not know our length");
    raw.say(2, kind::RANGE, &Range { drop: false, start: 0, length: 20 });
    raw.sync(2, 20, 0);
    let asked: Vec<Request> = raw.hear(2, kind::REQUEST);
    let upgrade = Some(Grow { start: 0, length: 20 });
    let last = Some(Wanted { index: 19, nodes: 0 });
    assert_eq!(asked, [Request { id: 1, block: last, upgrade, manifest: true, ..Request::default() }]);
    raw.sync(1, 20, 0);
    assert_eq!(raw.hear::<Request>(1, kind::REQUEST), [], "one at a time");
}

/// The tree is told of first, its last block right behind it: one request is enough for both.
// proves replication.44, replication.87
#[test]
fn a_longer_tree_and_its_last_block_are_asked_for_at_once() {
    let mut raw = Raw::replica(20);
    raw.open(1);
    raw.outputs();
    raw.sync(1, 20, 0);
    raw.say(1, kind::RANGE, &Range { drop: false, start: 0, length: 20 });
    let asked: Vec<Request> = raw.hear(1, kind::REQUEST);
    let upgrade = Some(Grow { start: 0, length: 20 });
    let last = Some(Wanted { index: 19, nodes: 0 });
    assert_eq!(asked, [Request { id: 1, block: last, upgrade, manifest: true, ..Request::default() }]);
    // A block that cannot be read is no reason to go without the tree.
    raw.say(1, kind::NO_DATA, &NoData { request: 1, reason: NOT_AVAILABLE });
    let asked: Vec<Request> = raw.hear(1, kind::REQUEST);
    assert_eq!(asked, [Request { id: asked[0].id, upgrade, manifest: true, ..Request::default() }]);
}

// proves replication.80, replication.82, replication.85, replication.86
#[test]
fn a_window_is_asked_for() {
    let mut raw = Raw::replica(3000);
    raw.open(1);
    raw.sync(1, 3000, 0);
    let asked: Vec<Request> = raw.hear(1, kind::REQUEST);
    let data = raw.answer(&asked[0]);
    raw.say(1, kind::DATA, &data);
    assert_eq!(raw.hear::<Want>(1, kind::WANT), [Want { start: 0, length: 2_097_152, any: false }]);
    raw.say(1, kind::RANGE, &Range { drop: false, start: 0, length: 3000 });
    let asked: Vec<Request> = raw.hear(1, kind::REQUEST);
    assert_eq!(asked.len(), 32, "64 KiB are assumed");
    let ids: Vec<u64> = asked.iter().map(|request| request.id).collect();
    assert_eq!(ids, (1..=32).collect::<Vec<_>>(), "the id of the answered one is used again");
    for request in &asked {
        let data = raw.answer(request);
        raw.say(1, kind::DATA, &data);
    }
    let asked: Vec<Request> = raw.hear(1, kind::REQUEST);
    assert_eq!(asked.len(), 512, "small blocks");
    for request in asked {
        let data = raw.answer(&request);
        raw.say(1, kind::DATA, &data);
    }
    raw.serve(1);
    assert_eq!(raw.core().live.core.contiguous_length(), 3000);
}

/// Everything that a peer can do wrong: nothing of it is stored, it is asked no more, another is.
// proves replication.76, replication.89, replication.90, replication.91
#[test]
fn a_lying_peer_is_asked_no_more() {
    type Lie = fn(&mut Data);
    let lies: [(&str, Lie); 7] = [
        ("value", |data| data.block.as_mut().expect("a block").value.push(1)),
        ("node", |data| data.block.as_mut().expect("a block").nodes[0].hash[0] ^= 1),
        ("size", |data| data.block.as_mut().expect("a block").nodes[0].size += 1),
        ("missing", |data| {
            data.block.as_mut().expect("a block").nodes.pop();
        }),
        ("surplus", |data| {
            data.block.as_mut().expect("a block").nodes.push(TreeNode { index: 1, ..TreeNode::default() })
        }),
        ("order", |data| data.block.as_mut().expect("a block").nodes.swap(0, 1)),
        ("index", |data| data.block.as_mut().expect("a block").nodes[1].index += 4),
    ];
    for (what, lie) in lies {
        let mut raw = Raw::replica(64);
        raw.open(1);
        raw.sync(1, 64, 0);
        raw.serve(1);
        raw.say(1, kind::RANGE, &Range { drop: false, start: 0, length: 64 });
        let asked: Vec<Request> = raw.hear(1, kind::REQUEST);
        let mut data = raw.answer(&asked[0]);
        lie(&mut data);
        raw.say(1, kind::DATA, &data);
        let core = &raw.core().live.core;
        assert!(core.bits().count(0, 64) == 0 && core.length() == 64, "{what}");
        let said = raw.events();
        let bad = |event: &Event| matches!(event, Event::Fault { why: Fault::Proof(_), .. });
        assert!(said.iter().any(bad), "{what}: {said:?}");
        assert_eq!(raw.stats().invalid_data, 1);
        assert!(raw.core().live.peers().all(|peer| peer.paused && peer.inflight == 0));
        let late = raw.answer(&asked[1]);
        raw.say(1, kind::DATA, &late);
        assert_eq!(raw.core().live.core.bits().count(0, 64), 0, "{what}: it is not listened to");
        raw.say(1, kind::REQUEST, &block(1, 0));
        assert_eq!(raw.hear::<Data>(1, kind::DATA), [], "{what}: it is told nothing");
        raw.open(2);
        raw.sync(2, 64, 64);
        raw.say(2, kind::RANGE, &Range { drop: false, start: 0, length: 64 });
        raw.serve(2);
        assert_eq!(raw.core().live.core.contiguous_length(), 64, "{what}: the other one serves");
    }
}

/// pitfalls 14.2: a longer tree with a wrong signature, another manifest, another fork; answers that nobody asked for.
// proves replication.35, replication.90
#[test]
fn what_nobody_signed_or_asked_is_not_stored() {
    type Lie = fn(&mut Data);
    let lies: [(&str, Lie); 5] = [
        ("signature", |data| {
            data.upgrade.as_mut().expect("an upgrade").signature.as_mut().expect("signed")[20] ^= 1
        }),
        ("no signature", |data| data.upgrade.as_mut().expect("an upgrade").signature = None),
        ("manifest", |data| data.manifest.as_mut().expect("a manifest").signers[0].public = [9; 32]),
        ("no manifest", |data| data.manifest = None),
        ("root", |data| data.upgrade.as_mut().expect("an upgrade").nodes[0].hash[3] ^= 1),
    ];
    for (what, lie) in lies {
        let mut raw = Raw::replica(11);
        raw.open(1);
        raw.sync(1, 11, 0);
        let asked: Vec<Request> = raw.hear(1, kind::REQUEST);
        let mut data = raw.answer(&asked[0]);
        lie(&mut data);
        raw.say(1, kind::DATA, &data);
        assert_eq!((raw.core().live.core.length(), raw.stats().invalid_data), (0, 1), "{what}");
        assert_eq!(raw.core().live.core.manifest(), None, "{what}");
    }
    let mut raw = Raw::replica(11);
    raw.open(1);
    raw.outputs();
    for request in [0, 1, 77] {
        let upgrade = Some(Grow { start: 0, length: 11 });
        let data =
            raw.answer(&Request { upgrade, manifest: true, ..Request { id: request, ..Request::default() } });
        raw.say(1, kind::DATA, &data);
    }
    assert_eq!((raw.core().live.core.length(), raw.stats().unasked), (0, 3));
    raw.sync(1, 11, 0);
    for _ in 0..40 {
        for request in raw.hear::<Request>(1, kind::REQUEST) {
            raw.say(1, kind::DATA, &Data { request: request.id, fork: 3, ..Data::default() });
        }
    }
    assert_eq!(raw.core().live.core.length(), 0);
    assert!(raw.core().live.peers().all(|peer| peer.paused), "it says nothing for ever");
}

// proves replication.88
#[test]
fn who_never_has_what_it_says_is_asked_no_more() {
    let mut raw = Raw::replica(11);
    raw.open(1);
    raw.sync(1, 11, 0);
    let mut count = 0;
    for _ in 0..100 {
        for request in raw.hear::<Request>(1, kind::REQUEST) {
            raw.say(1, kind::NO_DATA, &NoData { request: request.id, reason: NOT_AVAILABLE });
            count += 1;
        }
    }
    assert_eq!(count, 32);
    assert!(raw.events().contains(&Event::Fault { peer: PeerId(1), why: Fault::NoData }));
}

/// pitfalls 14.3: a claim of 2^62 blocks costs neither time nor memory, and nothing beyond the length is asked for.
#[test]
fn giant_ranges_are_harmless() {
    let mut raw = Raw::replica(11);
    raw.open(1);
    raw.say(1, kind::RANGE, &Range { drop: false, start: 0, length: (1 << 53) - 1 });
    raw.say(1, kind::RANGE, &Range { drop: false, start: 9, length: (1 << 53) - 1 });
    raw.say(
        1,
        kind::SYNC,
        &Sync { length: (1 << 53) - 1, downloading: true, uploading: true, ..Sync::default() },
    );
    assert_eq!(raw.hear::<Request>(1, kind::REQUEST), [], "it does not say that it can prove that");
    raw.sync(1, 11, 0);
    raw.serve(1);
    assert_eq!(raw.core().live.core.contiguous_length(), 11);
}

/// pitfalls 14.8: a full disk stops asking, is told, and asking goes on when there is room.
// proves replication.92
#[test]
fn a_full_disk_is_waited_for() {
    let mut raw = Raw::replica(64);
    raw.open(1);
    raw.sync(1, 64, 0);
    raw.serve(1);
    raw.core().disk.set_capacity(Some(0));
    raw.say(1, kind::RANGE, &Range { drop: false, start: 0, length: 64 });
    raw.serve(1);
    let said = raw.events();
    let full = Event::Stalled { why: Error::Io(DiskError::Full) };
    assert_eq!(said.iter().filter(|event| **event == full).count(), 1, "{said:?}");
    assert_eq!(raw.core().live.core.bits().count(0, 64), 0);
    raw.wait(5_000);
    raw.serve(1);
    assert_eq!(raw.core().live.core.bits().count(0, 64), 0, "still full");
    raw.core().disk.set_capacity(None);
    raw.wait(5_000);
    raw.serve(1);
    assert_eq!(raw.core().live.core.contiguous_length(), 64);
    assert!(raw.events().contains(&Event::Resumed));
    assert!(raw.core().live.peers().all(|peer| !peer.paused), "it is nobody's fault");
}

#[test]
fn malformed_messages_close_the_channel() {
    for number in 0..10 {
        let mut raw = Raw::writer(3);
        raw.open(1);
        raw.outputs();
        raw.input(Input::Message { peer: PeerId(1), kind: number, bytes: &[0xff] });
        let closes = raw.closes();
        assert!(matches!(closes[..], [Close::Fault(Fault::Malformed(_))]), "message {number}: {closes:?}");
    }
    let mut raw = Raw::writer(3);
    raw.open(1);
    raw.outputs();
    raw.input(Input::Message { peer: PeerId(1), kind: 77, bytes: &[0xff] });
    raw.say(1, kind::EXTENSION, &Extension { name: "hyperbee".into(), message: vec![1] });
    assert_eq!(raw.outputs(), []);
}

#[test]
fn what_nobody_takes_is_bounded() {
    let mut raw = Raw::writer(3);
    raw.open(1);
    for n in 0..2 * limits::REPLICATION_OUT_MAX as u64 {
        raw.say(1, kind::WANT, &Want { start: 0, length: 4096, any: false });
        if n % 64 == 0 {
            raw.world.append(raw.node, &super::blocks(3 + n, 1));
        }
    }
    assert!(raw.outputs().len() <= limits::REPLICATION_OUT_MAX + 2);
    raw.open(2);
    assert_eq!(raw.hear::<Sync>(2, kind::SYNC).len(), 1);
}

/// A peer that reads nothing and sends whatever makes us speak: what waits for it stays small, and is said when it
/// reads.
// proves replication.108
#[test]
fn a_full_connection_holds_little() {
    let mut raw = Raw::writer(20_000);
    let now = raw.now;
    raw.core().with(now, |live, cx| live.core.clear(cx, 1, 2).expect("a disk"));
    raw.open(1);
    raw.outputs();
    raw.input(Input::Writable { peer: PeerId(1), writable: false });
    for n in 0..20_000 {
        let chunk = 32 << (n % 4);
        let start = n % 2000 * chunk;
        raw.say(1, kind::WANT, &Want { start, length: chunk, any: n % 7 == 0 });
        raw.sync(1, n % 3, 0);
        raw.say(1, kind::REQUEST, &block(1 + n % 4000, n));
        raw.world.append(raw.node, &super::blocks(20_000 + n, u64::from(n % 20 == 0)));
        assert_eq!(raw.outputs(), [], "it takes nothing");
    }
    raw.input(Input::Writable { peer: PeerId(1), writable: true });
    let said = raw.outputs();
    let kinds =
        |wanted| said.iter().filter(|o| matches!(o, Output::Message { kind, .. } if *kind == wanted)).count();
    let small = said.iter().map(|output| match output {
        Output::Message { kind: kind::DATA, .. } => 0,
        Output::Message { bytes, .. } => bytes.len(),
        other => panic!("{other:?}"),
    });
    assert_eq!(kinds(kind::SYNC), 1);
    let told = kinds(kind::RANGE) + kinds(kind::BITFIELD);
    assert!((100..1 + limits::REPLICATION_WANTS_MAX).contains(&told), "{told}");
    assert!(kinds(kind::DATA) <= limits::REPLICATION_REQUESTS_MAX);
    assert!(small.sum::<usize>() < 1 << 20);
    let Output::Message { kind: kind::SYNC, .. } = said[0] else { panic!("{:?}", said[0]) };
    let Output::Message { kind: kind::RANGE, bytes, .. } = &said[1] else { panic!("{:?}", said[1]) };
    assert_eq!(decode::<Range>(bytes), Ok(Range { drop: false, start: 20_000, length: 1000 }));
}

/// A want that is taken back before it was answered is not answered.
// proves replication.108
#[test]
fn a_want_is_taken_back() {
    let mut raw = Raw::writer(400);
    let now = raw.now;
    raw.core().with(now, |live, cx| live.core.clear(cx, 1, 2).expect("a disk"));
    raw.open(1);
    raw.outputs();
    let wants = [0, 64, 128].map(|start| Want { start, length: 64, any: false });
    wants.iter().chain(&wants).for_each(|want| raw.say(1, kind::WANT, want));
    raw.say(1, kind::UNWANT, &wants[1]);
    let starts: Vec<u64> = raw.hear::<Bitfield>(1, kind::BITFIELD).iter().map(|bits| bits.start).collect();
    assert_eq!(starts, [0, 128]);
}

fn extension(name: &str, message: &[u8]) -> Extension {
    Extension { name: name.to_owned(), message: message.to_owned() }
}

/// hypercore test/extension.js: a name goes over the channel once.
// proves replication.60
#[test]
fn a_name_that_is_said_twice_is_left_out() {
    let mut raw = Raw::writer(1);
    raw.open(1);
    raw.open(2);
    raw.outputs();
    let now = raw.now;
    let said = raw.core().with(now, |live, _| {
        let said = [("a", 1), ("a", 2), ("b", 1), ("a", 1)];
        said.map(|(name, to)| live.send_extension(PeerId(to), name, b"x"))
    });
    assert_eq!(said, [Ok(()); 4]);
    let outputs = raw.outputs();
    let names = |peer| {
        let bytes = outputs.iter().filter_map(move |output| match output {
            Output::Message { peer: to, kind: kind::EXTENSION, bytes } if *to == PeerId(peer) => Some(bytes),
            _ => None,
        });
        bytes.map(|bytes| decode::<Extension>(bytes).expect("ours").name).collect::<Vec<_>>()
    };
    assert_eq!(names(1), ["a", "b", "a"]);
    assert_eq!(names(2), ["a"]);
}

/// hypercore test/extension.js: basic, two extensions, unknown ones.
// proves replication.61
#[test]
fn only_names_that_are_registered_are_told() {
    let mut raw = Raw::writer(1);
    raw.open(1);
    let now = raw.now;
    assert_eq!(raw.core().with(now, |live, _| live.register_extension("")).err(), Some(EMPTY));
    assert_eq!(raw.core().with(now, |live, _| live.register_extension("known")), Ok(()));
    for (name, message) in [("", "0"), ("other", "1"), ("", "2"), ("known", "3"), ("", "4"), ("", "")] {
        raw.say(1, kind::EXTENSION, &extension(name, message.as_bytes()));
    }
    let mut heard = Vec::new();
    while let Some(event) = raw.core().live.poll_event() {
        if let Event::Extension { peer: PeerId(1), name, message } = event {
            heard.push((name, message));
        }
    }
    let known = |message: &str| ("known".to_owned(), message.as_bytes().to_owned());
    assert_eq!(heard, [known("3"), known("4"), known("")]);
    assert_eq!(raw.core().live.replicator.stats().extensions_dropped, 3);
    raw.core().with(now, |live, _| live.unregister_extension("known"));
    raw.say(1, kind::EXTENSION, &extension("known", b"5"));
    assert_eq!(raw.core().live.replicator.stats().extensions_dropped, 4);
}

const EMPTY: Error = Error::Invalid("an extension without a name, or too long");

/// hypercore test/extension.js: broadcast.
// proves replication.62
#[test]
fn a_broadcast_passes_over_who_takes_nothing() {
    let mut raw = Raw::writer(1);
    (1..=3).for_each(|peer| raw.open(peer));
    raw.outputs();
    raw.input(Input::Writable { peer: PeerId(2), writable: false });
    let now = raw.now;
    let (all, one, gone) = raw.core().with(now, |live, _| {
        let all = live.broadcast_extension("a", b"x");
        (all, live.send_extension(PeerId(2), "a", b"x"), live.send_extension(PeerId(9), "a", b"x"))
    });
    assert_eq!((all, one, gone), (Ok(2), Err(Error::Full), Err(Error::Gone)));
    raw.input(Input::Writable { peer: PeerId(2), writable: true });
    assert_eq!(raw.core().with(now, |live, _| live.broadcast_extension("a", b"x")), Ok(3));
}
