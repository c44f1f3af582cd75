//! The machines alone, with virtual time.

use super::*;
use crate::base::{Cx, Error, Key, Machine, NoTrace, Seeded, Span, Time};
use crate::sim::ramdisk::RamDisk;
use crate::wire::{self, blind_relay as format};

struct Bench<M> {
    machine: M,
    now: Time,
    entropy: Seeded,
}

impl<M> Bench<M> {
    fn of(machine: M) -> Bench<M> {
        Bench { machine, now: Time::from_micros(1), entropy: Seeded::new(1) }
    }

    fn with<R>(&mut self, act: impl FnOnce(&mut M, &mut Cx<'_>) -> R) -> R {
        let (mut disk, mut trace) = (RamDisk::new(), NoTrace);
        let mut cx = Cx { now: self.now, entropy: &mut self.entropy, disk: &mut disk, trace: &mut trace };
        act(&mut self.machine, &mut cx)
    }
}

impl<M: Machine> Bench<M> {
    fn outputs(&mut self) -> Vec<M::Output> {
        core::iter::from_fn(|| self.with(|machine, cx| machine.poll_output(cx))).collect()
    }

    fn events(&mut self) -> Vec<M::Event> {
        core::iter::from_fn(|| self.machine.poll_event()).collect()
    }

    fn wait(&mut self, span: Span) {
        self.now += span;
        self.with(|machine, cx| machine.handle_timeout(cx));
    }
}

fn token(n: u8) -> Key {
    [n; 32]
}

fn pair(initiator: bool, token: Key, stream: u64) -> Vec<u8> {
    wire::encode(&format::Pair { initiator, token, stream, seq: 0 })
}

fn secs(n: u64) -> Span {
    Span::from_secs(n)
}

// ---- the side that asks

impl Bench<Client> {
    fn ask(&mut self, initiator: bool, n: u8) -> Result<(), Error> {
        self.with(|client, cx| client.pair(cx, initiator, token(n), 7, secs(15)))
    }

    fn hear(&mut self, kind: u64, bytes: &[u8]) {
        self.with(|client, cx| client.handle_input(cx, ClientInput::Message { kind, bytes }));
    }
}

#[test]
fn a_client_asks_and_is_answered() {
    let mut bench = Bench::of(Client::new());
    bench.ask(true, 1).expect("room");
    assert_eq!(bench.ask(false, 1), Err(Error::Taken));
    let asked = ClientOutput::Message { kind: 0, bytes: pair(true, token(1), 7) };
    assert_eq!(bench.outputs(), [asked]);
    bench.hear(0, &pair(true, token(1), 300));
    assert_eq!(bench.events(), [ClientEvent::Paired { token: token(1), stream: 300 }]);
    assert_eq!(bench.machine.poll_timeout(), None);
}

#[test]
fn a_client_ignores_what_it_did_not_ask() {
    // proves blind_relay.10
    let mut bench = Bench::of(Client::new());
    bench.ask(true, 1).expect("room");
    bench.outputs();
    bench.hear(0, &pair(false, token(1), 300));
    bench.hear(0, &pair(true, token(2), 300));
    bench.hear(1, &wire::encode(&format::Unpair { token: token(1) }));
    bench.hear(9, b"what");
    assert!(bench.events().is_empty() && bench.outputs().is_empty());
    bench.hear(0, b"\x01\x02");
    assert!(matches!(bench.outputs()[..], [ClientOutput::Destroy(_)]));
    assert_eq!(bench.events(), [ClientEvent::Failed { token: token(1), why: Unpaired::Closed }]);
    assert_eq!(bench.ask(true, 3), Err(Error::NotOpen));
}

#[test]
fn a_client_does_not_wait_for_ever() {
    // proves blind_relay.12
    let mut bench = Bench::of(Client::new());
    bench.ask(false, 1).expect("room");
    bench.outputs();
    bench.wait(Span::from_millis(14_999));
    assert!(bench.events().is_empty());
    bench.wait(Span::from_millis(1));
    assert_eq!(bench.events(), [ClientEvent::Failed { token: token(1), why: Unpaired::TimedOut }]);
    bench.hear(0, &pair(false, token(1), 300));
    assert!(bench.events().is_empty(), "too late");
}

#[test]
fn a_stream_that_cannot_be_is_a_failure() {
    let mut bench = Bench::of(Client::new());
    bench.ask(true, 1).expect("room");
    bench.hear(0, &pair(true, token(1), 1 << 32));
    assert_eq!(bench.events(), [ClientEvent::Failed { token: token(1), why: Unpaired::NoStream }]);
}

#[test]
fn an_ending_client_closes_once_its_requests_have_answers() {
    let mut bench = Bench::of(Client::new());
    bench.ask(true, 1).expect("room");
    bench.ask(true, 2).expect("room");
    bench.machine.end();
    assert_eq!(bench.outputs().len(), 2);
    bench.hear(0, &pair(true, token(1), 300));
    assert!(bench.outputs().is_empty());
    bench.with(|client, cx| client.unpair(cx, token(2))).expect("open");
    let unpair = wire::encode(&format::Unpair { token: token(2) });
    assert_eq!(bench.outputs(), [ClientOutput::Message { kind: 1, bytes: unpair }, ClientOutput::Close]);
}

#[test]
fn a_client_has_a_bound() {
    let mut bench = Bench::of(Client::new());
    let took = (0..=255).take_while(|&n| bench.ask(true, n).is_ok()).count();
    assert_eq!(took, crate::base::limits::BLIND_RELAY_REQUESTS_MAX);
}

// ---- the relay

impl Bench<Relay> {
    fn relay() -> Bench<Relay> {
        Bench::of(Relay::new(Bounds::default()))
    }

    fn accept(&mut self) -> SessionId {
        self.with(|relay, cx| relay.accept(cx)).expect("room")
    }

    fn hear(&mut self, session: SessionId, kind: u64, bytes: &[u8]) {
        self.with(|relay, cx| relay.handle_input(cx, RelayInput::Message { session, kind, bytes }));
    }

    fn tell(&mut self, input: RelayInput<'_>) {
        self.with(|relay, cx| relay.handle_input(cx, input));
    }

    fn unpair(&mut self, session: SessionId, n: u8) {
        self.hear(session, 1, &wire::encode(&format::Unpair { token: token(n) }));
    }

    /// Two sessions and their pair, which is open.
    fn paired(&mut self) -> ([SessionId; 2], PairId) {
        let sides = [self.accept(), self.accept()];
        self.hear(sides[1], 0, &pair(true, token(1), 11));
        self.hear(sides[0], 0, &pair(false, token(1), 12));
        let Some(RelayOutput::Open { pair, remotes }) = self.outputs().pop() else { panic!("a pair") };
        assert_eq!(remotes, [12, 11]);
        self.tell(RelayInput::Opened { pair, streams: Some([22, 21]) });
        (sides, pair)
    }

    /// Time passes, and so many packets come on the two streams in each second of it.
    fn flow(&mut self, pair: PairId, packets: &mut [u64; 2], each: [u64; 2], seconds: u64) {
        for _ in 0..seconds {
            self.wait(secs(1));
            (packets[0], packets[1]) = (packets[0] + each[0], packets[1] + each[1]);
            if self.outputs().contains(&RelayOutput::Look { pair }) {
                self.tell(RelayInput::Heard { pair, packets: *packets });
            }
        }
    }
}

#[test]
fn two_roles_of_one_token_are_a_pair() {
    // proves blind_relay.5
    let mut bench = Bench::relay();
    let (sides, made) = bench.paired();
    let answer = |session, initiator, stream| RelayOutput::Message {
        session,
        kind: 0,
        bytes: pair(initiator, token(1), stream),
    };
    assert_eq!(bench.outputs(), [answer(sides[0], false, 22), answer(sides[1], true, 21)]);
    assert_eq!(bench.events(), [RelayEvent::Paired { pair: made }]);
    let stats = bench.machine.stats();
    assert_eq!((stats.requested, stats.paired, stats.waiting, stats.pairs), (2, 1, 0, 1));
}

#[test]
fn a_second_request_of_a_role_is_ignored() {
    // proves blind_relay.7
    let mut bench = Bench::relay();
    let (one, other) = (bench.accept(), bench.accept());
    bench.hear(one, 0, &pair(true, token(1), 11));
    bench.hear(other, 0, &pair(true, token(1), 12));
    assert!(bench.outputs().is_empty());
    bench.hear(other, 0, &pair(false, token(1), 13));
    assert!(matches!(bench.outputs()[..], [RelayOutput::Open { remotes: [13, 11], .. }]), "the first one's");
}

#[test]
fn unpair_takes_back_a_request_or_ends_a_pair() {
    // proves blind_relay.8
    let mut bench = Bench::relay();
    let (one, other) = (bench.accept(), bench.accept());
    bench.hear(one, 0, &pair(true, token(9), 11));
    bench.unpair(other, 9);
    bench.hear(other, 0, &pair(false, token(9), 12));
    assert!(bench.outputs().is_empty(), "nobody waited");
    let (sides, pair) = bench.paired();
    bench.outputs();
    bench.unpair(one, 1);
    assert!(bench.outputs().is_empty(), "not a pair of that side");
    bench.unpair(sides[0], 1);
    assert_eq!(bench.outputs(), [RelayOutput::End { pair }], "and not a word");
    assert_eq!(bench.machine.stats().cancelled, 2);
}

#[test]
fn a_pair_that_a_side_has_left_goes_on_while_it_is_used() {
    // proves blind_relay.9
    for (flowing, lives) in [(0, 4), (3, 7), (300, 59)] {
        let mut bench = Bench::relay();
        let (sides, pair) = bench.paired();
        let mut packets = [0; 2];
        bench.flow(pair, &mut packets, [5, 5], 20);
        bench.tell(RelayInput::Closed { session: sides[0] });
        bench.events();
        bench.flow(pair, &mut packets, [0, 1], flowing.min(lives));
        bench.flow(pair, &mut packets, [0, 0], lives - flowing.min(lives));
        assert!(bench.events().is_empty(), "{flowing}");
        bench.flow(pair, &mut packets, [0, u64::from(flowing == 300)], 2);
        assert!(matches!(bench.events()[..], [RelayEvent::Ended { .. }]), "{flowing}");
        assert_eq!(bench.machine.stats().pairs, 0);
    }
}

#[test]
fn who_leaves_takes_its_requests_along() {
    // proves blind_relay.9
    let mut bench = Bench::relay();
    let (one, other) = (bench.accept(), bench.accept());
    bench.hear(one, 0, &pair(true, token(1), 11));
    bench.tell(RelayInput::Closed { session: one });
    bench.hear(other, 0, &pair(false, token(1), 12));
    assert!(bench.outputs().is_empty());
    assert_eq!(bench.machine.stats().waiting, 1);
}

#[test]
fn ten_thousand_half_pairs_are_bounded_and_forgotten() {
    // proves blind_relay.11
    let mut bench = Bench::relay();
    let bounds = Bounds::default();
    let mut refused = 0;
    for n in 0..10_000_u32 {
        let Ok(session) = bench.with(|relay, cx| relay.accept(cx)) else {
            refused += 1;
            continue;
        };
        for half in 0..2_u32 {
            let mut token = [0; 32];
            token[..4].copy_from_slice(&n.to_le_bytes());
            token[4..8].copy_from_slice(&half.to_le_bytes());
            bench.hear(session, 0, &pair(half == 0, token, 1));
        }
    }
    let stats = bench.machine.stats();
    assert_eq!((refused, stats.sessions), (10_000 - bounds.sessions, bounds.sessions));
    assert_eq!(stats.waiting, bounds.waiting);
    bench.wait(bounds.patience);
    assert_eq!(bench.machine.stats().waiting, 0);
    assert!(bench.outputs().is_empty());
}

#[test]
fn one_channel_has_a_bound_of_its_own() {
    // proves blind_relay.11
    let mut bench = Bench::relay();
    let (one, other) = (bench.accept(), bench.accept());
    for n in 0..100 {
        bench.hear(one, 0, &pair(true, token(n), 11));
        bench.hear(other, 0, &pair(false, token(n), 12));
    }
    assert_eq!(bench.outputs().len(), Bounds::default().pairs_per_session);
}

#[test]
fn pairs_have_a_bound() {
    // proves blind_relay.11
    let mut bench = Bench::of(Relay::new(Bounds { pairs: 3, ..Bounds::default() }));
    for n in 0..5 {
        let (one, other) = (bench.accept(), bench.accept());
        bench.hear(one, 0, &pair(true, token(n), 11));
        bench.hear(other, 0, &pair(false, token(n), 12));
    }
    let stats = bench.machine.stats();
    assert_eq!((stats.pairs, stats.dropped), (3, 2));
}

#[test]
fn an_idle_side_ends_a_pair() {
    // proves blind_relay.11
    for (each, lives) in [([1, 1], true), ([0, 1], false), ([0, 0], false)] {
        let mut bench = Bench::relay();
        let (_, pair) = bench.paired();
        bench.events();
        let mut packets = [0; 2];
        bench.flow(pair, &mut packets, each, 59);
        assert!(bench.events().is_empty(), "{each:?}");
        bench.flow(pair, &mut packets, each, 7);
        assert_eq!(bench.events().is_empty(), lives, "{each:?}");
    }
}

#[test]
fn what_is_no_message_ends_its_connection() {
    // proves blind_relay.10
    let mut bench = Bench::relay();
    let session = bench.accept();
    bench.hear(session, 0, b"\x01");
    assert!(matches!(bench.outputs()[..], [RelayOutput::Destroy { .. }]));
    assert_eq!(bench.machine.stats().sessions, 0);
    bench.hear(session, 0, &pair(true, token(1), 1));
    assert_eq!(bench.machine.stats().requested, 0);
}

#[test]
fn a_closed_relay_ends_all_and_takes_nobody() {
    let mut bench = Bench::relay();
    let (_, pair) = bench.paired();
    bench.outputs();
    bench.with(|relay, cx| relay.close(cx));
    let outputs = bench.outputs();
    assert_eq!(outputs.len(), 3);
    assert!(outputs.contains(&RelayOutput::End { pair }));
    assert_eq!(bench.with(|relay, cx| relay.accept(cx)), Err(Error::Full));
    assert_eq!(bench.machine.poll_timeout(), None);
}
