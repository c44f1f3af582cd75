//! Requests that wait for an answer: transaction numbers, the congestion window, retries. Follows dht_rpc.46 to
//! dht_rpc.54. A value that `DhtRpc` drives; it owns no timers of its own.

use std::collections::{BTreeMap, VecDeque};

use super::query::WalkId;
use super::table::Contact;
use crate::base::{Addr, Entropy, Id, Key, Kind, Slab, SocketId, Span, Tag, Time, limits, take_first};

pub enum FlightKind {}
impl Kind for FlightKind {
    const NAME: &'static str = "flight";
}
pub(super) type FlightId = Id<FlightKind>;

/// Who waits for the answer.
#[derive(Clone, Debug)]
pub(super) enum Owner {
    /// The layer above.
    User(Tag),
    /// A step of a query.
    Visit(WalkId),
    /// The writing request of a query to one of the closest nodes.
    Commit(WalkId),
    /// The first question whether our server socket can be reached.
    Probe,
    /// One of the questions that decide whether our server socket can be reached.
    Firewall,
    /// Is this node of the table still there?
    Check(Key),
    /// Is this node of a full row still there, or may `new` take its place?
    Swap { old: Key, new: Box<Contact> },
    /// Nobody.
    Hint,
}

/// A request that waits for an answer.
#[derive(Debug)]
pub(super) struct Flight {
    pub tid: u16,
    pub to: Addr,
    /// It leaves from here.
    pub socket: SocketId,
    /// Its answer comes in here.
    pub answer_on: SocketId,
    pub ttl: Option<u8>,
    pub bytes: Vec<u8>,
    pub owner: Owner,
    /// The internal command, if it is one.
    pub internal: Option<u64>,
    pub sends: u8,
    pub sent: u8,
    pub first_sent: Option<Time>,
    /// Waits as long as this for each send; `None` is the usual.
    pub wait: Option<Span>,
    /// It waits for room in the congestion window.
    pub queued: bool,
}

#[derive(Default)]
pub(super) struct Flights {
    all: Slab<FlightKind, Flight>,
    by_tid: BTreeMap<u16, FlightId>,
    next_tid: Option<u16>,
    queue: VecDeque<FlightId>,
}

impl Flights {
    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn is_full(&self) -> bool {
        self.all.len() >= limits::DHT_IN_FLIGHT_MAX
    }

    pub fn get_mut(&mut self, id: FlightId) -> Option<&mut Flight> {
        self.all.get_mut(id)
    }

    pub fn ids(&self) -> Vec<FlightId> {
        self.all.ids()
    }

    /// A transaction number that no other flight has. dht_rpc.46
    pub fn free_tid(&mut self, entropy: &mut dyn Entropy) -> u16 {
        let mut tid = self.next_tid.unwrap_or_else(|| entropy.u32() as u16);
        // fewer flights than numbers (limits::DHT_IN_FLIGHT_MAX), so this ends
        while self.by_tid.contains_key(&tid) {
            tid = tid.wrapping_add(1);
        }
        self.next_tid = Some(tid.wrapping_add(1));
        tid
    }

    pub fn insert(&mut self, flight: Flight) -> FlightId {
        let tid = flight.tid;
        let id = self.all.insert(flight);
        let old = self.by_tid.insert(tid, id);
        assert!(old.is_none(), "a transaction number is given out once at a time");
        id
    }

    /// The flight that an answer belongs to. dht_rpc.47
    pub fn find(&self, tid: u16, from: Addr, socket: SocketId) -> Option<FlightId> {
        let id = *self.by_tid.get(&tid)?;
        let flight = self.all.get(id)?;
        (flight.to == from && flight.answer_on == socket && flight.sent > 0).then_some(id)
    }

    pub fn remove(&mut self, id: FlightId) -> Option<Flight> {
        let flight = self.all.remove(id)?;
        self.by_tid.remove(&flight.tid);
        if flight.queued {
            self.queue.retain(|queued| *queued != id);
        }
        Some(flight)
    }

    /// Puts a flight behind those that wait for room.
    pub fn queue(&mut self, id: FlightId) {
        if let Some(flight) = self.all.get_mut(id)
            && !flight.queued
        {
            flight.queued = true;
            self.queue.push_back(id);
        }
    }

    /// Takes the flight that has waited longest for room.
    pub fn unqueue(&mut self) -> Option<FlightId> {
        let id = take_first(&mut self.queue)?;
        if let Some(flight) = self.all.get_mut(id) {
            flight.queued = false;
        }
        Some(id)
    }

    pub fn queued(&self) -> usize {
        self.queue.len()
    }
}

/// How much was sent lately: four slots of 750 ms. The slots turn when somebody looks, not by a timer: nearly always
/// there is room, and nobody waits for it. dht_rpc.52
pub(super) struct Window {
    slots: [u64; 4],
    at: usize,
    max: u64,
    /// When the next slot begins; `None` while nothing was sent lately.
    turns: Option<Time>,
}

impl Window {
    const SLOT: Span = Span::from_millis(750);

    pub fn new(max: usize) -> Window {
        Window { slots: [0; 4], at: 0, max: max as u64, turns: None }
    }

    pub fn is_full(&mut self, now: Time) -> bool {
        self.advance(now);
        self.total() >= 2 * self.max || self.slots[self.at] >= self.max
    }

    fn total(&self) -> u64 {
        self.slots.iter().sum()
    }

    pub fn sent(&mut self, now: Time) {
        self.advance(now);
        self.turns.get_or_insert(now + Window::SLOT);
        self.slots[self.at] += 1;
    }

    /// A request ended: room for another, if it falls into the same slot.
    pub fn ended(&mut self, now: Time) {
        self.advance(now);
        self.slots[self.at] = self.slots[self.at].saturating_sub(1);
    }

    /// When there is more room at the latest.
    pub fn next_turn(&mut self, now: Time) -> Time {
        self.advance(now);
        self.turns.unwrap_or(now + Window::SLOT)
    }

    fn advance(&mut self, now: Time) {
        while let Some(turn) = self.turns.filter(|turn| *turn <= now) {
            self.at = (self.at + 1) % 4;
            self.slots[self.at] = 0;
            self.turns = (self.total() > 0).then_some(turn + Window::SLOT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Seeded;

    fn flight(tid: u16) -> Flight {
        Flight {
            tid,
            to: Addr::loopback(7),
            socket: SocketId::CLIENT,
            answer_on: SocketId::CLIENT,
            ttl: None,
            bytes: Vec::new(),
            owner: Owner::Hint,
            internal: None,
            sends: 1,
            sent: 1,
            first_sent: None,
            wait: None,
            queued: false,
        }
    }

    /// pitfalls 3.4: 0 is a number like any other, and wrapping around meets no flight that is still up.
    /// proves dht_rpc.46
    #[test]
    fn transaction_numbers_wrap_around_those_in_use() {
        let (mut flights, mut entropy) = (Flights::default(), Seeded::new(3));
        let first = flights.free_tid(&mut entropy);
        flights.insert(flight(first));
        let mut given = vec![first];
        for _ in 0..65_535 {
            given.push(flights.free_tid(&mut entropy));
        }
        given.sort_unstable();
        assert!(given.iter().copied().eq(0..=u16::MAX), "each once, 0 included");
        assert_eq!(flights.free_tid(&mut entropy), first.wrapping_add(1), "one in use is passed over");
    }

    /// pitfalls 3.1: the number alone is not enough. proves dht_rpc.47
    #[test]
    fn an_answer_fits_by_number_address_and_socket() {
        let mut flights = Flights::default();
        let id = flights.insert(flight(7));
        assert_eq!(flights.find(7, Addr::loopback(7), SocketId::CLIENT), Some(id));
        assert_eq!(flights.find(8, Addr::loopback(7), SocketId::CLIENT), None);
        assert_eq!(flights.find(7, Addr::loopback(8), SocketId::CLIENT), None);
        assert_eq!(flights.find(7, Addr::loopback(7), SocketId::SERVER), None);
    }

    /// proves dht_rpc.52
    #[test]
    fn the_window_holds_one_slot_and_two_slots_worth() {
        let slot = |n: u64| Time::ZERO + Window::SLOT * n;
        let mut window = Window::new(80);
        (0..80).for_each(|_| window.sent(slot(0)));
        assert!(window.is_full(slot(0)));
        window.ended(slot(0));
        assert!(!window.is_full(slot(0)));
        window.sent(slot(0));
        assert!(!window.is_full(slot(1)));
        (0..80).for_each(|_| window.sent(slot(1)));
        assert!(window.is_full(slot(2)), "twice the slot in all");
        assert!(window.is_full(slot(3)));
        assert_eq!(window.next_turn(slot(3)), slot(4));
        assert!(!window.is_full(slot(4)), "the first slot was forgotten");
    }

    #[test]
    fn slots_turn_while_nobody_looks() {
        let slot = |n: u64| Time::ZERO + Window::SLOT * n;
        let mut window = Window::new(2);
        (0..2).for_each(|_| window.sent(slot(0)));
        assert!(!window.is_full(slot(1)));
        (0..2).for_each(|_| window.sent(slot(1)));
        assert!(window.is_full(slot(3)));
        assert!(!window.is_full(slot(100)));
        assert_eq!(window.turns, None, "idle, a slot begins with the next that is sent");
        let later = slot(100) + Span::from_millis(10);
        window.sent(later);
        assert_eq!(window.next_turn(later), later + Window::SLOT);
    }
}
