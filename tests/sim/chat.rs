//! The chat in a world: many guests, one whose power fails, and a host that leaves and is found no more.

use std::collections::BTreeMap;

use seckel::app::ask::{Answer, Ask, Question};
use seckel::app::chat::{Chat, Line};
use seckel::app::nat::{Finder, Found, Kind as NatKind};
use seckel::base::{Key, Span, hex};
use seckel::node::{Closed, ConnectError, Event, TransportWhy};
use seckel::sim::{HostId, Kind, Line as Wire, NatOptions, Step, World};

use crate::support::{joining, key, network, seed};

/// People who chat, on hosts of their own.
struct Party {
    world: World,
    chats: BTreeMap<HostId, Chat>,
    /// What each of them saw and nobody looked at yet.
    seen: BTreeMap<HostId, Vec<Line>>,
}

impl Party {
    fn new(seed: u64, wire: Wire) -> Party {
        let mut world = World::new(seed);
        network(&mut world, 4);
        world.line = wire;
        Party { world, chats: BTreeMap::new(), seen: BTreeMap::new() }
    }

    fn host(&mut self, n: u8) -> HostId {
        let host = self.world.add([30, 0, 2, n]);
        self.world.start(host, joining());
        host
    }

    fn listen(&mut self, n: u8) -> (HostId, Key) {
        let host = self.host(n);
        let chat = Chat::listen(&mut self.world.net(host), &key(n)).expect("listening");
        self.chats.insert(host, chat);
        self.until(host, |line| matches!(line, Line::Listening(own) if *own == key(n).public));
        (host, key(n).public)
    }

    fn join(&mut self, n: u8, to: Key) -> HostId {
        let host = self.host(n);
        let chat = Chat::join(&mut self.world.net(host), to, &key(n)).expect("connecting");
        self.chats.insert(host, chat);
        host
    }

    fn say(&mut self, host: HostId, text: &str) {
        let chat = self.chats.get_mut(&host).expect("one of them");
        chat.say(&mut self.world.net(host), text);
    }

    /// The next thing happens, within two minutes.
    fn step(&mut self) {
        let until = self.world.now() + Span::from_secs(120);
        match self.world.step(until) {
            Step::Event(host, event) => self.tell(host, event),
            Step::Crashed(_) => {}
            Step::TimedOut => panic!("{:?}\n{}", self.world.violation(), self.world.last_lines()),
        }
    }

    fn tell(&mut self, host: HostId, event: Event) {
        let Some(chat) = self.chats.get_mut(&host) else { return };
        chat.on_event(&mut self.world.net(host), event);
        while let Some(line) = chat.poll() {
            self.seen.entry(host).or_default().push(line);
        }
    }

    /// Runs until somebody sees such a line, and takes all that came before it.
    fn until(&mut self, host: HostId, wanted: impl Fn(&Line) -> bool) -> Line {
        loop {
            let seen = self.seen.entry(host).or_default();
            if let Some(at) = seen.iter().position(&wanted) {
                return seen.drain(..=at).next_back().expect("it is there");
            }
            self.step();
        }
    }

    fn hears(&mut self, host: HostId, from: Key, text: &str) {
        let wanted = Line::Said { from, text: text.to_owned() };
        self.until(host, |line| *line == wanted);
    }
}

#[test]
fn many_chat_one_crashes_and_the_host_is_found_no_more_once_it_left() {
    const GUESTS: u8 = 20;
    let wire = Wire {
        delay: Span::from_millis(20),
        jitter: Span::from_millis(20),
        loss_permille: 50,
        ..Wire::INTERNET
    };
    let mut party = Party::new(seed(0xc4a7), wire);
    let (host, own) = party.listen(1);
    let guests: Vec<(HostId, Key)> =
        (0..GUESTS).map(|n| (party.join(10 + n, own), key(10 + n).public)).collect();
    for &(guest, public) in &guests {
        party.until(guest, |line| *line == Line::Met(own));
        let text = format!("hello from {}", hex::encode(&public));
        party.say(guest, &text);
        party.hears(host, public, &text);
    }
    party.say(host, "hello to all");
    for &(guest, _) in &guests {
        party.hears(guest, own, "hello to all");
    }
    // The power fails at one of them; the others do not notice.
    let (victim, lost) = guests[3];
    party.world.crash(victim);
    party.chats.remove(&victim);
    party.say(host, "still here");
    for &(guest, _) in guests.iter().filter(|(guest, _)| *guest != victim) {
        party.hears(guest, own, "still here");
    }
    let parted = party.until(host, |line| matches!(line, Line::Parted { from, .. } if *from == lost));
    assert_eq!(parted, Line::Parted { from: lost, why: Closed::Transport(TransportWhy::TimedOut) });
    // Ctrl-C.
    let chat = party.chats.get_mut(&host).expect("the host");
    chat.leave(&mut party.world.net(host));
    for &(guest, _) in guests.iter().filter(|(guest, _)| *guest != victim) {
        let parted = party.until(guest, |line| matches!(line, Line::Parted { .. }));
        assert_eq!(parted, Line::Parted { from: own, why: Closed::Ended });
    }
    while !party.chats[&host].left() {
        party.step();
    }
    party.world.crash(host);
    let late = party.join(99, own);
    let unreached = party.until(late, |line| matches!(line, Line::Unreached { .. }));
    assert_eq!(unreached, Line::Unreached { key: own, why: ConnectError::PeerNotFound, met: None });
    assert_eq!(nodes_of(&mut party, late, own), Answer::Nodes { key: own, nodes: Vec::new() });
}

/// Which nodes lead to a key, as `seckel find-peer` asks it.
fn nodes_of(party: &mut Party, host: HostId, key: Key) -> Answer {
    let mut ask = Ask::start(&mut party.world.net(host), Question::FindPeer(key)).expect("a question");
    let until = party.world.now() + Span::from_secs(60);
    loop {
        if let Some(answer) = ask.answer() {
            return answer;
        }
        match party.world.step(until) {
            Step::Event(from, event) if from == host => {
                ask.on_event(&mut party.world.net(host), event).expect("no fault")
            }
            Step::Event(..) | Step::Crashed(_) => {}
            Step::TimedOut => panic!("no answer\n{}", party.world.last_lines()),
        }
    }
}

/// Everybody on a topic is connected with everybody.
#[test]
fn a_room_of_a_topic_hears_everybody() {
    let mut party = Party::new(seed(0x5a), Wire::INTERNET);
    let topic = [7; 32];
    let hosts: Vec<(HostId, Key)> = (1..=5)
        .map(|n| {
            let host = party.host(n);
            let chat = Chat::room(&mut party.world.net(host), topic, &key(n)).expect("a room");
            party.chats.insert(host, chat);
            party.until(host, |line| *line == Line::Listening(topic));
            (host, key(n).public)
        })
        .collect();
    while hosts.iter().any(|(host, _)| party.chats[host].peers().count() < hosts.len() - 1) {
        party.step();
    }
    for &(speaker, from) in &hosts {
        party.say(speaker, "to everybody");
        for &(host, _) in hosts.iter().filter(|(host, _)| *host != speaker) {
            party.hears(host, from, "to everybody");
        }
    }
}

/// Who comes back before others know that it was gone is heard from its first line on.
#[test]
fn nothing_is_lost_of_who_comes_back_to_a_room() {
    let mut party = Party::new(seed(0x5b), Wire::INTERNET);
    let topic = [7; 32];
    let enter = |party: &mut Party, host: HostId, n: u8| {
        let chat = Chat::room(&mut party.world.net(host), topic, &key(n)).expect("a room");
        party.chats.insert(host, chat);
    };
    let (stays, goes) = (party.host(1), party.host(2));
    enter(&mut party, stays, 1);
    party.until(stays, |line| *line == Line::Listening(topic));
    enter(&mut party, goes, 2);
    let (other, own) = (key(1).public, key(2).public);
    party.until(goes, |line| *line == Line::Met(other));
    party.until(stays, |line| *line == Line::Met(own));
    for round in 0..3 {
        party.say(stays, "are you there?");
        party.hears(goes, other, "are you there?");
        // An old connection gives way to a new one only if both sides have said something on it.
        party.say(goes, "yes");
        party.hears(stays, own, "yes");
        party.world.crash(goes);
        party.chats.remove(&goes);
        party.seen.remove(&goes);
        party.world.start(goes, joining());
        enter(&mut party, goes, 2);
        party.until(goes, |line| *line == Line::Met(other));
        let text = format!("back for the time {round}");
        party.say(goes, &text);
        party.hears(stays, own, &text);
    }
}

/// A host behind a box of its own.
fn behind(party: &mut Party, kind: Kind, n: u8) -> HostId {
    let home = party.world.add_box(kind, [30, 0, 101, n], NatOptions::default());
    let inner = if kind.is_transparent() { [30, 0, 201, n] } else { [192, 168, n, 10] };
    let host = party.world.add_behind(home, inner);
    party.world.start(host, joining());
    host
}

/// Two whom no punch brings together are told which kinds they are, and what helps.
#[test]
fn nats_that_cannot_be_passed_are_told_by_their_kinds() {
    let mut party = Party::new(seed(0x7a), Wire::INTERNET);
    let host = behind(&mut party, Kind::Symmetric, 1);
    let chat = Chat::listen(&mut party.world.net(host), &key(1)).expect("listening");
    party.chats.insert(host, chat);
    party.until(host, |line| matches!(line, Line::Listening(_)));
    let guest = behind(&mut party, Kind::Symmetric, 2);
    let chat = Chat::join(&mut party.world.net(guest), key(1).public, &key(2)).expect("connecting");
    party.chats.insert(guest, chat);
    let line = party.until(guest, |line| matches!(line, Line::Unreached { .. }));
    let told = line.to_string();
    assert!(told.contains("HOLEPUNCH_DOUBLE_RANDOMIZED_NATS"), "{told}");
    assert!(told.contains("Our NAT is random") && told.contains("theirs is random"), "{told}");
    assert!(told.contains("--relay-through"), "{told}");
    assert!(line.json().contains("\"our_nat\":\"random\""), "{}", line.json());
}

/// What `seckel nat` finds out behind a box.
fn found(party: &mut Party, host: HostId) -> Found {
    let mut finder = Finder::start(&mut party.world.net(host));
    let until = party.world.now() + Span::from_secs(60);
    loop {
        if let Some(found) = finder.found() {
            return found;
        }
        match party.world.step(until) {
            Step::Event(from, event) if from == host => {
                finder.on_event(&mut party.world.net(host), event);
            }
            Step::Event(..) | Step::Crashed(_) => {}
            Step::TimedOut => panic!("it does not find out\n{}", party.world.last_lines()),
        }
    }
}

#[test]
fn each_box_is_told_as_what_it_is_to_the_protocol() {
    let mut party = Party::new(seed(0x7b), Wire::INTERNET);
    for (kind, n, wanted) in [
        (Kind::Open, 1, NatKind::Open),
        (Kind::Firewall, 2, NatKind::Consistent),
        (Kind::AddrRestricted, 3, NatKind::Consistent),
        (Kind::Restricted, 4, NatKind::Consistent),
        (Kind::Symmetric, 5, NatKind::Random),
    ] {
        let host = behind(&mut party, kind, n);
        let found = found(&mut party, host);
        assert_eq!(found.kind, wanted, "{kind:?}: {found:?}");
        assert!(found.seen.iter().all(|seen| seen.ip[..2] == [30, 0]), "the outer address: {found:?}");
    }
}
