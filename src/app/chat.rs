//! Lines of text between keys: one that listens and any number that join it, or everybody on a topic. What one
//! types goes
//! to all it is connected with, as in the guide's chat; nobody passes on what others say.

use core::fmt;
use std::collections::{BTreeMap, VecDeque};

use super::door::Manner;
use super::text::{object, quoted, shown};
use crate::base::{Error, Key, hex, limits};
use crate::node::{Closed, ConnId, ConnectError, Event, JoinOptions, KeyPair, Met, Net, ServerId};
use crate::wire::hyperdht::Address;

/// What a user of the chat sees.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Line {
    /// Others can find us under this key, or under this topic.
    Listening(Key),
    Met(Key),
    Said {
        from: Key,
        text: String,
    },
    Parted {
        from: Key,
        why: Closed,
    },
    /// The last: the one that we wanted to join was not reached.
    Unreached {
        key: Key,
        why: ConnectError,
        met: Option<Met>,
    },
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Line::Listening(key) => write!(f, "listening on: {}", hex::encode(key)),
            Line::Met(key) => write!(f, "* got a connection from: {} *", hex::encode(key)),
            Line::Said { from, text } => write!(f, "{}: {}", hex::encode(from), shown(text)),
            Line::Parted { from, .. } => write!(f, "* lost the connection with: {} *", hex::encode(from)),
            Line::Unreached { key, why, met } => f.write_str(&super::reach::unreached(key, *why, *met)),
        }
    }
}

impl Line {
    pub fn json(&self) -> String {
        let key = |key: &Key| quoted(&hex::encode(key));
        match self {
            Line::Listening(own) => object(&[("event", quoted("listening")), ("key", key(own))]),
            Line::Met(from) => object(&[("event", quoted("connection")), ("key", key(from))]),
            Line::Said { from, text } => {
                object(&[("event", quoted("message")), ("key", key(from)), ("text", quoted(text))])
            }
            Line::Parted { from, .. } => object(&[("event", quoted("parted")), ("key", key(from))]),
            Line::Unreached { key, why, met } => super::reach::unreached_json(key, *why, *met),
        }
    }
}

#[derive(Debug)]
enum Place {
    Host { server: ServerId, key: Key, gone: bool },
    Guest { conn: Option<ConnId> },
    Room { topic: Key, told: bool, gone: bool },
}

#[derive(Debug)]
struct Peer {
    key: Key,
    /// Lines that wait until the peer has read others.
    waiting: VecDeque<Vec<u8>>,
    full: bool,
}

/// What the user has not seen.
#[derive(Debug)]
enum Waiting {
    Line(Line),
    /// A message, and where its next line begins: of a million lines in a message each is made when it is wanted, so
    /// that they take no more room than they did.
    Heard {
        from: Key,
        text: String,
        at: usize,
    },
}

/// A chat. Commands: `say`, `leave`; the program hands every event to `on_event`, then shows what `poll` has.
#[derive(Debug)]
pub struct Chat {
    place: Place,
    manner: Manner,
    peers: BTreeMap<ConnId, Peer>,
    lines: VecDeque<Waiting>,
    leaving: bool,
}

impl Chat {
    /// Anybody who knows the key of `pair` can join.
    pub fn listen(net: &mut Net<'_>, pair: &KeyPair) -> Result<Chat, Error> {
        Chat::listen_as(net, pair, Manner::default())
    }

    /// The same, for whom and how it is said.
    pub fn listen_as(net: &mut Net<'_>, pair: &KeyPair, manner: Manner) -> Result<Chat, Error> {
        let server = manner.listen(net, pair)?;
        Ok(Chat { manner, ..Chat::new(Place::Host { server, key: pair.public, gone: false }) })
    }

    /// Joins the one that listens on `key`.
    pub fn join(net: &mut Net<'_>, key: Key, pair: &KeyPair) -> Result<Chat, Error> {
        Chat::join_as(net, &Address { key, nodes: None }, pair, Manner::default())
    }

    /// The same, how it is said.
    pub fn join_as(net: &mut Net<'_>, to: &Address, pair: &KeyPair, manner: Manner) -> Result<Chat, Error> {
        let conn = manner.connect(net, to, pair)?;
        Ok(Chat { manner, ..Chat::new(Place::Guest { conn: Some(conn) }) })
    }

    /// Talks with everybody on a topic; once per node.
    pub fn room(net: &mut Net<'_>, topic: Key, pair: &KeyPair) -> Result<Chat, Error> {
        net.swarm_of_messages(pair);
        net.join(topic, JoinOptions { server: true, client: true })?;
        Ok(Chat::new(Place::Room { topic, told: false, gone: false }))
    }

    fn new(place: Place) -> Chat {
        Chat {
            place,
            manner: Manner::default(),
            peers: BTreeMap::new(),
            lines: VecDeque::new(),
            leaving: false,
        }
    }

    /// Those we are connected with.
    pub fn peers(&self) -> impl Iterator<Item = Key> {
        self.peers.values().map(|peer| peer.key)
    }

    /// A line that was typed, without its end, to all peers. One that reads too slowly is parted with.
    pub fn say(&mut self, net: &mut Net<'_>, text: &str) {
        // The guide's chat sends what a terminal gives it, the end of the line included.
        let message = format!("{text}\n").into_bytes();
        let mut slow = Vec::new();
        for (&conn, peer) in &mut self.peers {
            if !peer.full {
                match net.send(conn, &message) {
                    Err(Error::Full) => peer.full = true,
                    // Its end is told by an event.
                    Ok(()) | Err(_) => continue,
                }
            }
            if peer.waiting.len() < limits::CHAT_WAITING_MAX {
                peer.waiting.push_back(message.clone());
            } else {
                slow.push(conn);
            }
        }
        for conn in slow {
            net.destroy(conn);
        }
    }

    /// Ends the connections and takes announcements back; `left` tells when that is done.
    pub fn leave(&mut self, net: &mut Net<'_>) {
        self.leaving = true;
        for &conn in self.peers.keys() {
            net.close(conn);
        }
        match &mut self.place {
            Place::Host { server, .. } => net.unlisten(*server),
            Place::Guest { conn } => {
                if let Some(conn) = conn.take().filter(|conn| !self.peers.contains_key(conn)) {
                    net.destroy(conn);
                }
            }
            Place::Room { topic, .. } => net.leave(*topic),
        }
    }

    /// Ends what is still open, whether its other side has heard everything or not.
    pub fn give_up(&mut self, net: &mut Net<'_>) {
        for &conn in self.peers.keys() {
            net.destroy(conn);
        }
    }

    /// The announcement is taken back, and all connections have ended.
    pub fn left(&self) -> bool {
        self.peers.is_empty()
            && match self.place {
                Place::Host { gone, .. } | Place::Room { gone, .. } => gone,
                Place::Guest { conn } => conn.is_none(),
            }
    }

    pub fn poll(&mut self) -> Option<Line> {
        let (line, over) = match self.lines.front_mut()? {
            Waiting::Line(line) => (line.clone(), true),
            Waiting::Heard { from, text, at } => {
                let rest = &text[*at..];
                let end = rest.find('\n');
                let line = rest[..end.unwrap_or(rest.len())].trim_end_matches('\r').to_owned();
                *at += end.map_or(0, |end| end + 1);
                (Line::Said { from: *from, text: line }, end.is_none())
            }
        };
        if over {
            self.lines.pop_front();
        }
        Some(line)
    }

    pub fn on_event(&mut self, net: &mut Net<'_>, event: Event) {
        self.manner.on_event(net, &event);
        match event {
            Event::Listening { server } => {
                if let Place::Host { server: own, key, .. } = self.place
                    && own == server
                {
                    self.lines.push_back(Waiting::Line(Line::Listening(key)));
                }
            }
            Event::Refreshed { topic } => {
                if let Place::Room { topic: own, told, .. } = &mut self.place
                    && *own == topic
                    && !core::mem::replace(told, true)
                {
                    self.lines.push_back(Waiting::Line(Line::Listening(topic)));
                }
            }
            Event::Unlistened { server } => {
                if let Place::Host { server: own, gone, .. } = &mut self.place {
                    *gone |= *own == server;
                }
            }
            Event::Left { topic } => {
                if let Place::Room { topic: own, gone, .. } = &mut self.place {
                    *gone |= *own == topic;
                }
            }
            Event::Connected { conn, .. } if self.leaving => net.destroy(conn),
            Event::Connected { conn, key, .. } => {
                self.peers.insert(conn, Peer { key, waiting: VecDeque::new(), full: false });
                self.lines.push_back(Waiting::Line(Line::Met(key)));
            }
            Event::ConnectFailed { conn, key, why, met, .. } => {
                if let Place::Guest { conn: own } = &mut self.place
                    && *own == Some(conn)
                {
                    *own = None;
                    self.lines.push_back(Waiting::Line(Line::Unreached { key, why, met }));
                }
            }
            Event::Data { conn, bytes } => self.hear(conn, &bytes),
            Event::Drained { conn } => self.send_waiting(net, conn),
            Event::Ended { conn } if self.peers.contains_key(&conn) => net.close(conn),
            Event::Closed { conn, why } => {
                if let Place::Guest { conn: own } = &mut self.place
                    && *own == Some(conn)
                {
                    *own = None;
                }
                if let Some(peer) = self.peers.remove(&conn) {
                    self.lines.push_back(Waiting::Line(Line::Parted { from: peer.key, why }));
                }
            }
            _ => {}
        }
    }

    /// A message is one line, or several; whether it ends with the end of a line is its sender's taste.
    fn hear(&mut self, conn: ConnId, bytes: &[u8]) {
        let Some(peer) = self.peers.get(&conn) else { return };
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_end_matches(['\r', '\n']).to_owned();
        self.lines.push_back(Waiting::Heard { from: peer.key, text, at: 0 });
    }

    fn send_waiting(&mut self, net: &mut Net<'_>, conn: ConnId) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        peer.full = false;
        while let Some(message) = peer.waiting.front() {
            if net.send(conn, message) == Err(Error::Full) {
                peer.full = true;
                return;
            }
            peer.waiting.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Slab;

    /// What a stranger sends takes the room that it has, however many lines it is, and keeps its place.
    #[test]
    fn a_message_of_a_million_lines_is_one_thing_until_it_is_shown() {
        let mut ids = Slab::new();
        let conn: ConnId = ids.insert(());
        let mut chat = Chat::new(Place::Guest { conn: None });
        chat.peers.insert(conn, Peer { key: [7; 32], waiting: VecDeque::new(), full: false });
        let mut message = "\n".repeat(1_000_000).into_bytes();
        message.extend(b"first\r\n\xffsecond\r\n");
        chat.hear(conn, &message);
        chat.hear(conn, b"third");
        chat.hear(conn, b"\n");
        chat.lines.push_back(Waiting::Line(Line::Parted { from: [7; 32], why: Closed::Ended }));
        assert_eq!(chat.lines.len(), 4);
        let empty = (0..1_000_000)
            .all(|_| matches!(chat.poll(), Some(Line::Said { text, from: [7, ..] }) if text.is_empty()));
        assert!(empty);
        for said in ["first", "\u{fffd}second", "third", ""] {
            assert_eq!(chat.poll(), Some(Line::Said { from: [7; 32], text: said.to_owned() }));
        }
        assert!(matches!(chat.poll(), Some(Line::Parted { .. })));
        assert_eq!(chat.poll(), None);
    }
}
