//! A stream between two machines that know only a third.

use std::collections::BTreeMap;

use super::rules::{OPEN, header, ms, packet_to, secs};
use super::world::{CLIENT, SERVER, address, at, pattern};
use crate::base::{Addr, Entropy, Error, Machine, Seeded, SocketId, Span, Time, limits};
use crate::udx::{Event, Input, Output, StreamId, Udx, Why};
use crate::wire::udx::Kind;

/// Ids of the streams of machine 0, of both legs of the relay, and of machine 2.
const ENDS: [u32; 2] = [10, 20];
const LEGS: [u32; 2] = [11, 21];
const RELAY: usize = 1;
const DELAY: Span = Span::from_millis(5);

/// A packet: who sent it from which socket to whom.
type Sent = (usize, SocketId, Addr, Vec<u8>);

struct Trio {
    now: Time,
    udx: [Udx; 3],
    ends: [StreamId; 2],
    legs: [StreamId; 2],
    /// What the ends read, and how each of the four streams closed.
    read: [Vec<u8>; 2],
    closed: BTreeMap<(usize, StreamId), Why>,
    loss_permille: u64,
    draw: Seeded,
    way: BTreeMap<(Time, u64), Sent>,
    /// Every packet.
    log: Vec<Sent>,
}

impl Trio {
    /// The legs are wired before anything came, on two sockets, and learn where their sides are.
    fn new(seed: u64) -> Trio {
        let mut udx = [Udx::new(), Udx::new(), Udx::new()];
        let (ends, legs) = at(Time::ZERO, |cx| {
            let legs = LEGS.map(|leg| udx[RELAY].open(cx, leg).expect("free"));
            udx[RELAY].relay_to(cx, legs[0], legs[1]).expect("new");
            udx[RELAY].relay_to(cx, legs[1], legs[0]).expect("new");
            let ends = [0, 1].map(|side| {
                udx[RELAY].expect(cx, legs[side], ENDS[side]).expect("new");
                let end = udx[2 * side].open(cx, ENDS[side]).expect("free");
                let to = address(RELAY, [SERVER, CLIENT][side]);
                udx[2 * side].connect(cx, end, SERVER, LEGS[side], to).expect("new");
                end
            });
            (ends, legs)
        });
        Trio {
            now: Time::ZERO,
            udx,
            ends,
            legs,
            read: [Vec::new(), Vec::new()],
            closed: BTreeMap::new(),
            loss_permille: 0,
            draw: Seeded::new(seed),
            way: BTreeMap::new(),
            log: Vec::new(),
        }
    }

    fn write(&mut self, side: usize, bytes: &[u8]) {
        at(self.now, |cx| self.udx[2 * side].write(cx, self.ends[side], bytes)).expect("open");
    }

    fn end(&mut self, side: usize) {
        at(self.now, |cx| self.udx[2 * side].end(cx, self.ends[side])).expect("open");
    }

    fn destroy(&mut self, machine: usize, stream: StreamId) {
        at(self.now, |cx| self.udx[machine].destroy(cx, stream)).expect("live");
    }

    fn settle(&mut self) {
        for machine in 0..3 {
            while let Some(output) = at(self.now, |cx| self.udx[machine].poll_output(cx)) {
                let Output::Send { socket, to, bytes, .. } = output;
                self.log.push((machine, socket, to, bytes.clone()));
                if !self.draw.chance(self.loss_permille) {
                    let key = (self.now + DELAY, self.log.len() as u64);
                    self.way.insert(key, (machine, socket, to, bytes));
                }
            }
            while let Some(event) = self.udx[machine].poll_event() {
                match event {
                    Event::Data { bytes, .. } => self.read[machine / 2].extend(bytes),
                    Event::Closed { stream, why } => {
                        assert_eq!(self.closed.insert((machine, stream), why), None, "closed once");
                    }
                    _ => {}
                }
            }
        }
    }

    fn run_for(&mut self, span: Span) {
        let until = self.now + span;
        loop {
            self.settle();
            let due = self.udx.iter().filter_map(|udx| udx.poll_timeout().map(|deadline| deadline.at));
            let arrival = self.way.keys().next().map(|key| key.0);
            let Some(next) = due.chain(arrival).min().filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            while let Some(entry) = self.way.first_entry()
                && entry.key().0 <= self.now
            {
                let (machine, socket, to, bytes) = entry.remove();
                let (into, on) = (usize::from(to.ip[3]) - 1, SocketId(u32::from(to.port) - 1000));
                let input = Input::Datagram { socket: on, from: address(machine, socket), bytes: &bytes };
                at(self.now, |cx| self.udx[into].handle_input(cx, input));
            }
            for udx in &mut self.udx {
                at(self.now, |cx| udx.handle_timeout(cx));
            }
        }
        self.now = until;
    }

    fn stats(&self, leg: usize) -> crate::udx::Stats {
        self.udx[RELAY].stats(self.legs[leg]).expect("live")
    }

    fn closed(&self, machine: usize, stream: StreamId) -> Option<Why> {
        self.closed.get(&(machine, stream)).copied()
    }
}

/// pitfalls 2.23 and 2.24: legs that wait for their address learn it though they are wired already, and what goes on
/// leaves from the other leg's socket.
#[test]
fn a_relay_carries_a_stream() {
    // proves udx.90 and udx.94
    for (seed, loss) in [(1, 0), (2, 30), (3, 100)] {
        let mut trio = Trio::new(seed);
        trio.loss_permille = loss;
        let sent = [pattern(200_000, 1), pattern(300_000, 2)];
        for (side, sent) in sent.iter().enumerate() {
            trio.write(side, sent);
            trio.end(side);
        }
        trio.run_for(secs(120));
        assert!(trio.read[1] == sent[0] && trio.read[0] == sent[1], "loss {loss}");
        for side in 0..2 {
            assert_eq!(trio.closed(2 * side, trio.ends[side]), Some(Why::Ended));
        }
        let from_relay = trio.log.iter().filter(|(machine, ..)| *machine == RELAY);
        for (_, socket, to, bytes) in from_relay {
            let side = usize::from(to.ip[3] == 3);
            assert_eq!((*socket, header(bytes).remote_id), ([SERVER, CLIENT][side], ENDS[side]));
            let same = |(machine, _, _, other): &Sent| {
                *machine == 2 * (1 - side) && other[..4] == bytes[..4] && other[8..] == bytes[8..]
            };
            assert!(trio.log.iter().any(same), "an end sent this but for the id");
        }
        assert_eq!(trio.udx[RELAY].poll_timeout().map(|_| ()), None, "a relay has nothing to do later");
    }
}

#[test]
fn what_has_nowhere_to_go_is_lost() {
    // proves udx.91
    let mut trio = Trio::new(1);
    trio.write(0, b"anyone?");
    trio.run_for(ms(900));
    assert!(trio.log.iter().all(|(machine, ..)| *machine != RELAY), "no ack, no answer");
    assert_eq!(trio.stats(0).relay_lost, trio.stats(0).packets_in);
    trio.write(1, b"here I am");
    trio.run_for(secs(3));
    assert_eq!(trio.read, [b"here I am".to_vec(), b"anyone?".to_vec()], "it came again");
    assert!(trio.stats(0).relay_lost < trio.stats(0).packets_in && trio.stats(1).relayed > 0);
}

/// pitfalls 2.25: each side's end is the end of both legs, and of the other side.
#[test]
fn a_destroy_ends_the_pair() {
    // proves udx.92 and udx.93
    for side in 0..2 {
        let mut trio = Trio::new(1);
        trio.write(0, b"hello");
        trio.write(1, b"hello");
        trio.run_for(secs(2));
        let before = trio.log.iter().filter(|(machine, ..)| *machine == RELAY).count();
        trio.destroy(2 * side, trio.ends[side]);
        trio.run_for(secs(1));
        assert_eq!(trio.closed(RELAY, trio.legs[side]), Some(Why::Reset));
        assert_eq!(trio.closed(RELAY, trio.legs[1 - side]), Some(Why::Destroyed));
        assert_eq!(trio.closed(2 * (1 - side), trio.ends[1 - side]), Some(Why::Reset));
        let after = trio.log.iter().filter(|(machine, ..)| *machine == RELAY).count();
        assert_eq!(after, before + 1, "the end's own DESTROY went on, none was added");
        assert!(trio.udx[RELAY].is_empty() && trio.udx[RELAY].relaying.is_empty());
    }
}

/// An end's goodbye reaches the relay and not the other end: that is told when it writes on, by a DESTROY that follows
/// what was relayed.
#[test]
fn who_missed_the_destroy_is_told_of_it() {
    // proves udx.92 and udx.93
    for side in 0..2 {
        let mut trio = Trio::new(1);
        trio.write(0, &pattern(50_000, 1));
        trio.write(1, &pattern(20_000, 2));
        trio.run_for(secs(3));
        trio.destroy(2 * side, trio.ends[side]);
        trio.run_for(ms(1));
        trio.loss_permille = 1000;
        trio.run_for(ms(10));
        trio.loss_permille = 0;
        let (other, leg) = (trio.ends[1 - side], trio.legs[1 - side]);
        assert_eq!(trio.closed(RELAY, leg), Some(Why::Destroyed));
        assert_eq!(trio.closed(2 * (1 - side), other), None);
        trio.write(1 - side, b"still there?");
        trio.run_for(ms(50));
        assert_eq!(trio.closed(2 * (1 - side), other), Some(Why::Reset));
        assert!(trio.udx.iter().all(Udx::is_empty));
    }
}

/// The legs are closed where they meet. No word of it goes out, also not to who writes on: the ends may be on a path of
/// their own by then, with a last packet of theirs still on its way to here.
#[test]
fn legs_close_together_and_silently() {
    // proves udx.93
    for leg in 0..2 {
        let mut trio = Trio::new(1);
        trio.write(0, &pattern(50_000, 1));
        trio.write(1, &pattern(20_000, 2));
        trio.run_for(secs(3));
        let before = trio.log.len();
        trio.destroy(RELAY, trio.legs[leg]);
        trio.run_for(secs(1));
        assert_eq!(trio.log.len(), before);
        for leg in trio.legs {
            assert_eq!(trio.closed(RELAY, leg), Some(Why::Destroyed));
        }
        trio.write(0, b"still there?");
        trio.write(1, b"and you?");
        trio.run_for(secs(1));
        assert!(trio.log[before..].iter().all(|(machine, ..)| *machine != RELAY));
        trio.run_for(secs(60));
        for side in 0..2 {
            assert_eq!(trio.closed(2 * side, trio.ends[side]), Some(Why::TimedOut));
        }
        assert!(trio.udx.iter().all(Udx::is_empty));
    }
}

/// A guess at the number does not close the pair; the ends judge for themselves.
#[test]
fn a_guessed_destroy_does_not_close_a_relay() {
    // proves udx.92
    let mut trio = Trio::new(1);
    trio.write(0, &pattern(5000, 1));
    trio.write(1, b"hello");
    trio.run_for(secs(2));
    let mut draw = Seeded::new(9);
    for _ in 0..500 {
        let far = (limits::UDX_AHEAD_MAX as u32 + 10).wrapping_add(draw.below(0xffff_0000) as u32);
        let forged = packet_to(LEGS[0], Kind::DESTROY, far, 0, OPEN, b"");
        let input = Input::Datagram { socket: SERVER, from: address(0, SERVER), bytes: &forged };
        at(trio.now, |cx| trio.udx[RELAY].handle_input(cx, input));
        trio.settle();
    }
    trio.run_for(secs(1));
    assert!(trio.closed.is_empty());
}

#[test]
fn a_stream_relays_once_and_does_nothing_else() {
    // proves udx.90
    let mut trio = Trio::new(1);
    at(trio.now, |cx| {
        let udx = &mut trio.udx[RELAY];
        let [one, other] = trio.legs;
        assert!(matches!(udx.relay_to(cx, one, other), Err(Error::Refused(_))));
        assert!(matches!(udx.write(cx, one, b"x"), Err(Error::Refused(_))));
        assert!(matches!(udx.end(cx, one), Err(Error::Refused(_))));
        assert!(matches!(udx.send(cx, one, b"x"), Err(Error::Refused(_))));
        udx.set_keep_alive(cx, one, Some(secs(1))).expect("live");
        let third = udx.open(cx, 99).expect("free");
        assert!(matches!(udx.relay_to(cx, third, third), Err(Error::Invalid(_))));
        udx.connect(cx, third, SERVER, 5, address(0, SERVER)).expect("new");
        udx.write(cx, third, b"in use").expect("open");
        assert!(matches!(udx.relay_to(cx, third, one), Err(Error::Refused(_))));
        udx.destroy(cx, third).expect("live");
        let fourth = udx.open(cx, 99).expect("free");
        assert_eq!(udx.relay_to(cx, third, one), Err(Error::Gone));
        assert_eq!(udx.relay_to(cx, fourth, third), Err(Error::Gone));
    });
    trio.write(0, b"x");
    trio.run_for(secs(10));
    let beats = trio.log.iter().filter(|(machine, ..)| *machine == RELAY);
    assert_eq!(
        beats.map(|packet| header(&packet.3).remote_id).collect::<Vec<u32>>(),
        [5],
        "the DESTROY of `third`"
    );
}
