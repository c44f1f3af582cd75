//! One question to the network, and what comes of it: as text, as JSON, with its exit code.

use std::collections::BTreeMap;

use super::registry::outcome::Exit;
use super::text::{list, object, quoted};
use crate::base::{Addr, Error, Key, Span, Time, hex};
use crate::crypto::hash::blake2b_256;
use crate::node::{Event, KeyPair, LookupId, Net};

/// What is asked.
#[derive(Clone, Debug)]
pub enum Question {
    Lookup(Key),
    /// `relays`: nodes that lead to the key.
    Announce {
        topic: Key,
        pair: KeyPair,
        relays: Vec<Addr>,
    },
    Unannounce {
        topic: Key,
        pair: KeyPair,
    },
    FindPeer(Key),
    Ping(Addr),
    Put(Vec<u8>),
    /// Without a number: the one after the number that the network has.
    PutMutable {
        pair: KeyPair,
        seq: Option<u64>,
        value: Vec<u8>,
    },
    /// The value with this hash, or the one that this key signed. `latest`: the newest of all nodes near it, not the
    /// first that is met. `seq`: none below that number.
    Get {
        key: Key,
        latest: bool,
        seq: u64,
    },
}

/// A key, and addresses of nodes through which it can be reached.
pub type Peer = (Key, Vec<Addr>);

/// What comes of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    Peers {
        topic: Key,
        peers: Vec<Peer>,
    },
    Announced {
        topic: Key,
        key: Key,
    },
    Unannounced {
        topic: Key,
        key: Key,
    },
    Nodes {
        key: Key,
        nodes: Vec<Addr>,
    },
    Pong {
        from: Addr,
        seen: Addr,
        took: Span,
    },
    Put {
        hash: Key,
    },
    PutMutable {
        key: Key,
        seq: u64,
    },
    /// There is one with this number or a higher one.
    Outdated {
        seq: u64,
        known: u64,
    },
    Value {
        seq: Option<u64>,
        value: Vec<u8>,
    },
    NoValue {
        key: Key,
    },
    /// Nobody answered, or nobody took it.
    Nobody,
}

/// A question under way. The program hands every event to `on_event` until `answer` has what came of it.
#[derive(Debug)]
pub struct Ask {
    question: Question,
    begun: Time,
    /// Look-ups under way.
    waiting: Vec<LookupId>,
    /// Of these, the one for a mutable value.
    mutable: Option<LookupId>,
    /// Any node answered.
    heard: bool,
    peers: BTreeMap<Key, Vec<Addr>>,
    nodes: Vec<Addr>,
    value: Option<(u64, Vec<u8>)>,
    /// The number under which a mutable value is being stored.
    storing: Option<u64>,
    answer: Option<Answer>,
}

impl Ask {
    /// `Error::Invalid`: the value is longer than any node keeps.
    pub fn start(net: &mut Net<'_>, question: Question) -> Result<Ask, Error> {
        let mut ask = Ask {
            question,
            begun: net.now(),
            waiting: Vec::new(),
            mutable: None,
            heard: false,
            peers: BTreeMap::new(),
            nodes: Vec::new(),
            value: None,
            storing: None,
            answer: None,
        };
        let lookup = match &ask.question {
            Question::Lookup(topic) => net.lookup(*topic),
            Question::Announce { topic, pair, relays } => net.announce(*topic, pair, relays.clone()),
            Question::Unannounce { topic, pair } => net.unannounce(*topic, pair),
            Question::FindPeer(key) => net.find_peer(*key),
            Question::Ping(node) => net.ping(*node),
            Question::Put(value) => net.store_immutable(value)?,
            Question::PutMutable { pair, seq: Some(seq), value } => {
                ask.storing = Some(*seq);
                net.store_mutable(pair, *seq, value)?
            }
            Question::PutMutable { pair, seq: None, .. } => net.find_mutable(pair.public, 0),
            Question::Get { key, seq, .. } => {
                ask.mutable = Some(net.find_mutable(*key, *seq));
                net.find_immutable(*key)
            }
        };
        ask.waiting = [Some(lookup), ask.mutable].into_iter().flatten().collect();
        Ok(ask)
    }

    /// What came of it, once that is known.
    pub fn answer(&mut self) -> Option<Answer> {
        self.answer.take()
    }

    pub fn on_event(&mut self, net: &mut Net<'_>, event: Event) -> Result<(), Error> {
        match event {
            Event::Found { lookup, peer, from } if self.waiting.contains(&lookup) => {
                self.peers.insert(peer.key, peer.relays);
                self.nodes.push(from);
            }
            Event::Pinged { lookup, from, seen } if self.waiting.contains(&lookup) => {
                let took = net.now().since(self.begun);
                self.answer = Some(Answer::Pong { from, seen, took });
            }
            Event::Value { lookup, seq, value } if self.waiting.contains(&lookup) => {
                let mutable = self.mutable == Some(lookup);
                if let Question::Get { latest, .. } = self.question
                    && !(mutable && latest)
                {
                    self.answer = Some(Answer::Value { seq: mutable.then_some(seq), value });
                } else {
                    self.value = Some((seq, value));
                }
            }
            Event::LookupDone { lookup, ok } if self.waiting.contains(&lookup) => {
                self.waiting.retain(|waiting| *waiting != lookup);
                self.heard |= ok;
                if self.waiting.is_empty() && self.answer.is_none() {
                    self.done(net, ok)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The last look-up has ended; `ok`: somebody answered, or took it.
    fn done(&mut self, net: &mut Net<'_>, ok: bool) -> Result<(), Error> {
        // A walk over nobody is over at once, and that is no failure of the walk.
        self.heard &= net.nodes_known() > 0;
        let known = self.value.as_ref().map(|(seq, _)| *seq);
        let answer = match &self.question {
            Question::PutMutable { pair, seq, value } => match (self.storing, ok) {
                // What the network has is known now; it may be nothing.
                (None, _) => {
                    if !self.heard {
                        self.answer = Some(Answer::Nobody);
                        return Ok(());
                    }
                    let next = known.map_or(0, |known| known.saturating_add(1));
                    let lookup = net.store_mutable(pair, next, value)?;
                    (self.storing, self.value) = (Some(next), None);
                    self.waiting.push(lookup);
                    return Ok(());
                }
                (Some(seq), true) if known.is_none() => Answer::PutMutable { key: pair.public, seq },
                (Some(_), false) if seq.is_some() && known.is_none() && !self.nodes_refused() => {
                    // Perhaps there is a newer one: that is looked for, once.
                    let lookup = net.find_mutable(pair.public, 0);
                    self.mutable = Some(lookup);
                    self.waiting.push(lookup);
                    return Ok(());
                }
                (Some(seq), _) => known.map_or(Answer::Nobody, |known| Answer::Outdated { seq, known }),
            },
            _ if !self.heard => Answer::Nobody,
            Question::Lookup(topic) => {
                let peers = core::mem::take(&mut self.peers).into_iter().collect();
                Answer::Peers { topic: *topic, peers }
            }
            Question::Announce { topic, pair, .. } => Answer::Announced { topic: *topic, key: pair.public },
            Question::Unannounce { topic, pair } => Answer::Unannounced { topic: *topic, key: pair.public },
            Question::FindPeer(key) => Answer::Nodes { key: *key, nodes: core::mem::take(&mut self.nodes) },
            Question::Ping(_) => Answer::Nobody,
            Question::Put(value) => Answer::Put { hash: blake2b_256(&[value]) },
            Question::Get { key, .. } => match self.value.take() {
                Some((seq, value)) => Answer::Value { seq: Some(seq), value },
                None => Answer::NoValue { key: *key },
            },
        };
        self.answer = Some(answer);
        Ok(())
    }

    /// That a newer value may be there was looked at already.
    fn nodes_refused(&self) -> bool {
        self.mutable.is_some()
    }
}

impl Answer {
    pub fn exit(&self) -> Exit {
        match self {
            Answer::Nobody => Exit::Unreachable,
            Answer::NoValue { .. } | Answer::Outdated { .. } => Exit::No,
            Answer::Peers { peers, .. } if peers.is_empty() => Exit::No,
            Answer::Nodes { nodes, .. } if nodes.is_empty() => Exit::No,
            Answer::Peers { .. }
            | Answer::Nodes { .. }
            | Answer::Announced { .. }
            | Answer::Unannounced { .. }
            | Answer::Pong { .. }
            | Answer::Put { .. }
            | Answer::PutMutable { .. }
            | Answer::Value { .. } => Exit::Ok,
        }
    }

    /// For standard error: why the answer is no, and what helps.
    pub fn complaint(&self) -> Option<String> {
        let text = match self {
            Answer::Nobody => "no answer from the network".to_owned(),
            Answer::NoValue { key } => {
                format!("no value under {}; nodes keep one for two days", hex::encode(key))
            }
            Answer::Outdated { seq, known } => format!(
                "number {seq} is not above the one that the network has, {known}; leave --seq away, or use {}",
                known.saturating_add(1)
            ),
            Answer::Peers { topic, peers } if peers.is_empty() => {
                format!("nobody is announced under {}", hex::encode(topic))
            }
            Answer::Nodes { key, nodes } if nodes.is_empty() => {
                format!("nobody listens on {}, as far as the network knows", hex::encode(key))
            }
            _ => return None,
        };
        Some(text)
    }

    /// For standard output. A value is bytes, and not here.
    pub fn text(&self) -> String {
        match self {
            Answer::Peers { peers, .. } => {
                let peer = |(key, relays): &Peer| {
                    let relays: Vec<String> = relays.iter().map(|relay| format!(" {relay}")).collect();
                    format!("{}{}", hex::encode(key), relays.concat())
                };
                peers.iter().map(peer).collect::<Vec<_>>().join("\n")
            }
            Answer::Nodes { nodes, .. } => nodes.iter().map(Addr::to_string).collect::<Vec<_>>().join("\n"),
            Answer::Announced { topic, key } => {
                format!("Announced: {} under {}", hex::encode(key), hex::encode(topic))
            }
            Answer::Unannounced { topic, key } => {
                format!("Unannounced: {} under {}", hex::encode(key), hex::encode(topic))
            }
            Answer::Pong { from, seen, took } => {
                format!("{from} answered in {} and sees us as {seen}", millis(*took))
            }
            Answer::Put { hash } => hex::encode(hash),
            Answer::PutMutable { key, seq } => format!("{} number {seq}", hex::encode(key)),
            Answer::Value { .. } | Answer::NoValue { .. } | Answer::Outdated { .. } | Answer::Nobody => {
                String::new()
            }
        }
    }

    pub fn json(&self) -> String {
        let key = |key: &Key| quoted(&hex::encode(key));
        let addr = |addr: &Addr| quoted(&addr.to_string());
        match self {
            Answer::Peers { topic, peers } => {
                let peer = |(public, relays): &Peer| {
                    object(&[("key", key(public)), ("relays", list(relays.iter().map(addr)))])
                };
                object(&[("topic", key(topic)), ("peers", list(peers.iter().map(peer)))])
            }
            Answer::Nodes { key: public, nodes } => {
                object(&[("key", key(public)), ("nodes", list(nodes.iter().map(addr)))])
            }
            Answer::Announced { topic, key: public } => {
                object(&[("announced", "true".to_owned()), ("topic", key(topic)), ("key", key(public))])
            }
            Answer::Unannounced { topic, key: public } => {
                object(&[("unannounced", "true".to_owned()), ("topic", key(topic)), ("key", key(public))])
            }
            Answer::Pong { from, seen, took } => object(&[
                ("from", addr(from)),
                ("seen", addr(seen)),
                ("micros", took.as_micros().to_string()),
            ]),
            Answer::Put { hash } => object(&[("hash", key(hash))]),
            Answer::PutMutable { key: public, seq } => {
                object(&[("key", key(public)), ("seq", seq.to_string())])
            }
            Answer::Outdated { seq, known } => object(&[
                ("error", quoted("outdated")),
                ("seq", seq.to_string()),
                ("known", known.to_string()),
            ]),
            Answer::Value { seq, value } => {
                let seq = seq.map_or("null".to_owned(), |seq| seq.to_string());
                let text = core::str::from_utf8(value).map_or("null".to_owned(), quoted);
                object(&[("seq", seq), ("value", quoted(&hex::encode(value))), ("text", text)])
            }
            Answer::NoValue { .. } => object(&[("error", quoted("not found"))]),
            Answer::Nobody => object(&[("error", quoted("no answer"))]),
        }
    }
}

/// With one digit of its fraction.
fn millis(span: Span) -> String {
    let tenths = span.as_micros() / 100;
    format!("{}.{} ms", tenths / 10, tenths % 10)
}
