//! A core and the peers it is exchanged with. Follows replication.11 to replication.16 and replication.40 to
//! replication.46; what is asked for is in `fetch.rs`, what is answered in `serve.rs`, what a peer has in `remote.rs`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Hypercore;
use super::extension::Said;
use super::fetch::Asking;
use super::fork::Fork;
use super::jobs::{Done, JobId, Jobs, Undone};
use super::manners::{LINGER, Pace, WINDOW};
use super::peers::Peers;
use super::proof;
use super::remote::{Has, Wants};
use super::serve::Answering;
use super::told::Told;
use crate::base::{Cx, Error, Key, Malformed, Span, Timers, limits, trace};
use crate::crypto::hash;
use crate::wire::hypercore::{Bitfield, Extension, Handshake, NoData, Range, Sync, Want, kind};
use crate::wire::{Wire, decode, encode, encode_into};

/// The protocol of the channel on which a core is exchanged. (replication.11)
pub const PROTOCOL: &str = "hypercore/alpha";
/// The other name under which it is accepted.
pub const ALIAS: &str = "hypercore";

/// A peer of a core, as the owner counts its connections.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PeerId(pub u64);

impl core::fmt::Display for PeerId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "peer {}", self.0)
    }
}

/// What the channels tell.
#[derive(Debug)]
pub enum Input<'a> {
    /// Both sides opened the channel. `handshake_hash` and `initiator` are those of the secret stream below it.
    PeerOpened {
        peer: PeerId,
        remote_handshake: &'a [u8],
        handshake_hash: &'a [u8; 64],
        initiator: bool,
    },
    Message {
        peer: PeerId,
        kind: u64,
        bytes: &'a [u8],
    },
    /// The channel or its connection ended.
    PeerClosed {
        peer: PeerId,
    },
    /// Whether the connection takes more bytes; while it does not, all that is to be said waits. (replication.108)
    Writable {
        peer: PeerId,
        writable: bool,
    },
    /// The round trip time of the connection, for how much is asked at once.
    Rtt {
        peer: PeerId,
        rtt: Span,
    },
}

/// What the channels are asked to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    Message {
        peer: PeerId,
        kind: u64,
        bytes: Vec<u8>,
    },
    /// Close the channel; the peer is gone here already.
    Close {
        peer: PeerId,
        why: Close,
    },
    /// Open the channel again: the other side thought that we were done. (replication.16)
    Open {
        peer: PeerId,
    },
}

/// Why a channel is closed from this side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Close {
    /// Neither side downloads.
    Idle,
    /// Two trees of the core contradict each other.
    Frozen,
    /// The connection should be ended too.
    Fault(Fault),
}

/// How a peer breaks the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It does not know the core's key.
    Capability,
    Malformed(Malformed),
    /// An answer that does not hold what was asked, or that proves nothing.
    Proof(proof::Fault),
    /// Too many requests that no tree could answer.
    Requests,
    /// Too many answers without data.
    NoData,
    /// It does not take what is sent to it, and asks for more.
    Slow,
}

/// Told to the owner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The core is longer: by an append here or a verified upgrade.
    Appended {
        length: u64,
    },
    /// The core was cut to `length` blocks, here or by following a peer to a higher fork. `Appended` tells if more
    /// follow.
    Truncated {
        length: u64,
        fork: u64,
    },
    /// A block came from a peer, was verified and stored.
    Downloaded {
        index: u64,
    },
    Uploaded {
        peer: PeerId,
        index: u64,
    },
    PeerAdded {
        peer: PeerId,
    },
    PeerRemoved {
        peer: PeerId,
    },
    /// The peer is no longer asked, or no longer connected if an `Output::Close` names it.
    Fault {
        peer: PeerId,
        why: Fault,
    },
    /// A block could not be stored; nothing is asked for until the next try, some seconds later.
    Stalled {
        why: Error,
    },
    /// Storing works again.
    Resumed,
    /// What somebody waited for is there, or will not come.
    Job {
        job: JobId,
        result: Result<Done, Undone>,
    },
    /// Another tree of this fork is signed too, and differs within the first `length` blocks: the core is frozen.
    Conflict {
        length: u64,
        fork: u64,
    },
    /// A message of a name that is registered.
    Extension {
        peer: PeerId,
        name: String,
        message: Vec<u8>,
    },
}

/// Counts, since the replicator was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    pub requests: u64,
    pub cancels: u64,
    pub blocks_received: u64,
    pub blocks_sent: u64,
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub hotswaps: u64,
    /// Answers that were refused because of their proof.
    pub invalid_data: u64,
    pub invalid_requests: u64,
    /// Answers that nobody asked for, or no longer.
    pub unasked: u64,
    pub no_data: u64,
    /// Events that nobody took in time.
    pub events_dropped: u64,
    /// Blocks that were sent to peers who had not asked.
    pub pushes: u64,
    /// How often a peer that had been asked fell silent.
    pub silent: u64,
    /// How often a peer was followed to a higher fork.
    pub reorgs: u64,
    /// Messages of names that are not registered.
    pub extensions_dropped: u64,
}

/// What is known of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerInfo {
    pub peer: PeerId,
    pub fork: u64,
    pub length: u64,
    pub contiguous_length: u64,
    pub downloading: bool,
    pub paused: bool,
    /// Requests of ours without an answer yet.
    pub inflight: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Timer {
    /// Say that a request makes no sense.
    Refuse(PeerId, u64),
    /// Try to store again.
    Stall,
    /// Say that we no longer download.
    Linger,
    /// Wait for something no longer.
    Job(JobId),
    /// Wait for a peer no longer.
    Silent(PeerId),
    /// Give more.
    Upload,
    /// Ask for more.
    Download,
}

impl Timer {
    /// What it is for.
    pub(super) fn why(self) -> &'static str {
        match self {
            Timer::Refuse(..) => "say that a request makes no sense",
            Timer::Stall => "try to store again",
            Timer::Linger => "say that we no longer download",
            Timer::Job(_) => "wait for something no longer",
            Timer::Silent(_) => "wait for a peer no longer",
            Timer::Upload => "give more",
            Timer::Download => "ask for more",
        }
    }

    fn rule(self) -> &'static str {
        match self {
            Timer::Refuse(..) => "replication.73",
            Timer::Stall => "replication.92",
            Timer::Linger => "replication.16",
            Timer::Job(_) => "replication.104",
            Timer::Silent(_) => "replication.105",
            Timer::Upload | Timer::Download => "replication.106",
        }
    }

    fn peer(self) -> PeerName {
        match self {
            Timer::Refuse(peer, _) => PeerName(Some(peer)),
            Timer::Silent(peer) => PeerName(Some(peer)),
            Timer::Stall | Timer::Linger | Timer::Job(_) | Timer::Upload | Timer::Download => PeerName(None),
        }
    }
}

/// A peer, or nobody.
struct PeerName(Option<PeerId>);

impl core::fmt::Display for PeerName {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.map_or(Ok(()), |peer| peer.fmt(f))
    }
}

/// The other side of one channel.
pub(super) struct Peer {
    /// The last SYNC of the peer.
    pub(super) sync: Sync,
    pub(super) synced: bool,
    pub(super) has: Has,
    pub(super) wants: Wants,
    /// Our length, as far as the peer said that it knows.
    pub(super) acked: u64,
    /// We can prove our length to it.
    pub(super) can_upgrade: bool,
    /// The last length of the peer, and its fork, for which that was so.
    pub(super) upgradable: (u64, u64),
    /// The length for which we said that we have all blocks.
    pub(super) full_told: u64,
    pub(super) paused: bool,
    /// It answers requests with a seek.
    pub(super) seeks: bool,
    /// The length that was pushed to it.
    pub(super) pushed: u64,
    pub(super) bad_pushes: u32,
    /// So much waits to be taken that something was left out.
    pub(super) slow: bool,
    /// It was asked no more because so much waits to be taken.
    pub(super) held: bool,
    pub(super) sync_due: bool,
    /// It is listed among those that may have something to say.
    pub(super) speaking: bool,
    pub(super) out: VecDeque<(u64, Vec<u8>)>,
    pub(super) asking: Asking,
    pub(super) answering: Answering,
    pub(super) said: Said,
}

impl Peer {
    fn new() -> Peer {
        Peer {
            sync: Sync { uploading: true, downloading: true, ..Sync::default() },
            synced: false,
            has: Has::default(),
            wants: Wants::default(),
            acked: 0,
            can_upgrade: true,
            upgradable: (0, 0),
            full_told: 0,
            paused: false,
            seeks: false,
            pushed: 0,
            bad_pushes: 0,
            slow: false,
            held: false,
            sync_due: true,
            speaking: false,
            out: VecDeque::new(),
            asking: Asking::default(),
            answering: Answering::default(),
            said: Said::default(),
        }
    }

    pub(super) fn send<T: Wire>(&mut self, kind: u64, mut message: T) {
        let mut bytes = Vec::new();
        encode_into(&mut message, &mut bytes);
        self.out.push_back((kind, bytes));
    }
}

/// The exchange of one core with its peers. It holds no core: every command is given it. See `Live`.
///
/// By default it downloads nothing but what is waited for (`wait_for`), follows every growth of the core (the proof of
/// a longer tree is small), and serves what is there.
pub struct Replicator {
    pub(super) peers: Peers,
    /// Blocks that were asked for, and of whom.
    pub(super) inflight: BTreeMap<u64, Vec<PeerId>>,
    pub(super) jobs: Jobs,
    /// Who is to be asked for more once all that came together is heard.
    pub(super) to_ask: BTreeSet<PeerId>,
    /// Longer trees are followed as soon as they are heard of.
    pub(super) eager_upgrade: bool,
    pub(super) window: (usize, usize),
    pub(super) linger: Span,
    pub(super) upload: Pace,
    pub(super) download_pace: Pace,
    pub(super) allow_push: bool,
    pub(super) push_only: bool,
    /// Who was asked for a longer tree.
    pub(super) upgrading: Option<PeerId>,
    pub(super) manifest_from: Option<PeerId>,
    pub(super) download: bool,
    /// Where the download of everything begins; before the first missing block: there.
    pub(super) begin: u64,
    pub(super) active: bool,
    pub(super) stalled: bool,
    told_stalled: bool,
    pub(super) seen: (u64, u64),
    /// The manifest is here, and peers were told so.
    pub(super) manifest_seen: bool,
    /// Where the core was cut since, if that is known.
    pub(super) cut_at: Option<u64>,
    pub(super) allow_fork: bool,
    /// The higher fork that is followed.
    pub(super) fork: Option<Fork>,
    pub(super) outputs: VecDeque<Output>,
    pub(super) events: VecDeque<Event>,
    pub(super) timers: Timers<Timer>,
    pub(super) stats: Stats,
    /// Who was closed because neither side downloaded.
    idle: BTreeSet<PeerId>,
    /// The names of extension messages that are told.
    pub(super) extensions: BTreeSet<String>,
}

impl Default for Replicator {
    fn default() -> Replicator {
        Replicator {
            peers: Peers::default(),
            inflight: BTreeMap::new(),
            jobs: Jobs::default(),
            to_ask: BTreeSet::new(),
            eager_upgrade: true,
            window: WINDOW,
            linger: LINGER,
            upload: Pace::default(),
            download_pace: Pace::default(),
            allow_push: false,
            push_only: false,
            upgrading: None,
            manifest_from: None,
            download: false,
            begin: 0,
            active: true,
            stalled: false,
            told_stalled: false,
            seen: (0, 0),
            manifest_seen: false,
            cut_at: None,
            allow_fork: true,
            fork: None,
            outputs: VecDeque::new(),
            events: VecDeque::new(),
            timers: Timers::default(),
            stats: Stats::default(),
            idle: BTreeSet::new(),
            extensions: BTreeSet::new(),
        }
    }
}

/// The capability that a side shows: it knows the key, and is on this very connection. (replication.12)
pub fn capability(key: &Key, handshake_hash: &[u8; 64], initiator: bool) -> Key {
    let namespace = hash::namespace("hypercore", if initiator { 1 } else { 2 });
    hash::keyed_256(handshake_hash, &[&namespace, key])
}

/// How long after a failed write it is tried again.
pub(super) const STALL: Span = Span::from_secs(5);

impl Replicator {
    pub fn new() -> Replicator {
        Replicator::default()
    }

    /// The bytes of our side's handshake, for opening the channel on a connection. (replication.1, replication.12)
    pub fn local_handshake(core: &Hypercore, handshake_hash: &[u8; 64], initiator: bool) -> Vec<u8> {
        let capability = capability(core.key(), handshake_hash, initiator);
        crate::wire::encode(&Handshake { seeks: true, capability })
    }

    /// Whether every block is fetched, now and as the core grows.
    pub fn download_all(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore, all: bool) {
        self.download = all;
        self.restart();
        self.update_all(cx, core);
    }

    /// Whether we say that we download at all. Switching off takes effect after a while; then channels on which neither
    /// side downloads are closed. (replication.16)
    pub fn set_active(&mut self, cx: &mut Cx<'_>, active: bool) {
        if self.allow_push {
            let all: Vec<PeerId> = self.peers.keys().copied().collect();
            for id in all {
                self.peers.get_mut(&id).into_iter().for_each(|peer| peer.sync_due = true);
            }
        }
        self.timers.clear(Timer::Linger);
        if !active {
            self.timers.set(Timer::Linger, cx.now + self.linger);
            return;
        }
        if !std::mem::replace(&mut self.active, true) {
            let all: Vec<PeerId> = self.peers.keys().copied().collect();
            for id in all {
                self.peers.get_mut(&id).into_iter().for_each(|peer| peer.sync_due = true);
            }
            let closed = std::mem::take(&mut self.idle);
            self.outputs.extend(closed.into_iter().map(|peer| Output::Open { peer }));
        }
    }

    /// The longest length that a peer on our fork has.
    pub fn remote_length(&self, core: &Hypercore) -> u64 {
        let same = self.peers.values().filter(|peer| peer.sync.fork == core.fork());
        same.map(|peer| peer.sync.length).max().unwrap_or(0)
    }

    pub fn peers(&self) -> impl Iterator<Item = PeerInfo> {
        self.peers.iter().map(|(id, peer)| PeerInfo {
            peer: *id,
            fork: peer.sync.fork,
            length: peer.sync.length,
            contiguous_length: peer.has.contiguous(),
            downloading: peer.sync.downloading,
            paused: peer.paused,
            inflight: peer.asking.len(),
        })
    }

    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// True while we say that we download.
    pub(super) fn downloading(&self) -> bool {
        self.active || self.peers.values().any(|peer| peer.asking.len() > 0)
    }

    pub(super) fn tell(&mut self, event: Event) {
        if let (Event::Appended { .. }, Some(last @ Event::Appended { .. })) =
            (&event, self.events.back_mut())
        {
            *last = event;
        } else if self.events.len() >= limits::REPLICATION_EVENTS_MAX {
            self.stats.events_dropped += 1;
        } else {
            self.events.push_back(event);
        }
    }

    // ---- the channel

    pub(super) fn opened(
        &mut self,
        cx: &mut Cx<'_>,
        core: &mut Hypercore,
        id: PeerId,
        handshake: &[u8],
        expected: Key,
    ) {
        let why = match decode::<Handshake>(handshake) {
            Ok(theirs) if theirs.capability == expected && core.frozen() => {
                self.outputs.push_back(Output::Close { peer: id, why: Close::Frozen }); // replication.97
                return;
            }
            Ok(theirs) if theirs.capability == expected => {
                self.closed(cx, core, id, false);
                self.peers.insert(id, Peer { seeks: theirs.seeks, ..Peer::new() });
                self.idle.remove(&id);
                self.tell(Event::PeerAdded { peer: id });
                self.scatter(cx, core);
                trace!(cx, State, "hypercore", part: id, rule: "replication.12", "open");
                let known = core.length().min(core.contiguous_length());
                if known > 0 {
                    self.broadcast(core, id, 0, known, false); // replication.14
                }
                return;
            }
            Ok(_) => Fault::Capability,
            Err(malformed) => Fault::Malformed(malformed),
        };
        // replication.13
        trace!(cx, Drop, "hypercore", part: id, rule: "replication.13", "refused: {why:?}");
        self.tell(Event::Fault { peer: id, why });
        self.outputs.push_back(Output::Close { peer: id, why: Close::Fault(why) });
    }

    /// Ends a channel from this side.
    pub(super) fn close(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore, id: PeerId, why: Close) {
        if !self.peers.contains_key(&id) {
            return;
        }
        match why {
            Close::Fault(why) => self.tell(Event::Fault { peer: id, why }),
            Close::Idle => drop(self.idle.insert(id)),
            Close::Frozen => {}
        }
        trace!(cx, State, "hypercore", part: id, "closed by us: {why:?}");
        self.closed(cx, core, id, false);
        self.outputs.push_back(Output::Close { peer: id, why });
    }

    pub(super) fn closed(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore, id: PeerId, by_remote: bool) {
        let Some(mut peer) = self.peers.remove(&id) else {
            self.idle.remove(&id);
            return;
        };
        if by_remote {
            trace!(cx, State, "hypercore", part: id, rule: "replication.16", "closed by the peer");
        }
        self.forget_requests(id, &mut peer);
        self.timers.clear(Timer::Silent(id));
        for request in peer.answering.refused() {
            self.timers.clear(Timer::Refuse(id, request));
        }
        self.tell(Event::PeerRemoved { peer: id });
        if by_remote && !peer.sync.downloading && peer.sync.uploading && self.active {
            self.outputs.push_back(Output::Open { peer: id }); // replication.16
        }
        self.update_all(cx, core);
    }

    pub(super) fn message(
        &mut self,
        cx: &mut Cx<'_>,
        core: &mut Hypercore,
        id: PeerId,
        number: u64,
        bytes: &[u8],
    ) {
        if !self.peers.contains_key(&id) {
            return;
        }
        let told = Told(number, bytes);
        trace!(cx, In, "hypercore", part: id, rule: told.rule(), "{told}");
        let done = match number {
            kind::SYNC => decode(bytes).map(|sync| self.on_sync(cx, core, id, sync)),
            kind::REQUEST => decode(bytes).map(|request| self.on_request(id, request)),
            kind::CANCEL => decode(bytes).map(|cancel| self.on_cancel(id, cancel)),
            kind::DATA => decode(bytes).map(|data| self.on_data(cx, core, id, data)),
            kind::NO_DATA => decode::<NoData>(bytes).map(|no_data| self.on_no_data(cx, core, id, no_data)),
            kind::WANT => decode(bytes).map(|want| self.on_want(id, want)),
            kind::UNWANT => decode(bytes).map(|want: Want| self.on_unwant(id, &want)),
            kind::BITFIELD => decode(bytes).map(|bitfield: Bitfield| {
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.has.bitfield(bitfield.start, &bitfield.words);
                    peer.asking.restart(bitfield.start);
                }
                self.ask_later(id);
            }),
            kind::RANGE => decode(bytes).map(|range: Range| {
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.has.range(range.start, range.length, range.drop);
                    peer.asking.restart(range.start);
                    if range.start == 0 && !range.drop && peer.sync.fork == core.fork() {
                        core.note_remote_contiguous_length(range.length); // hypercore.102
                    }
                }
                if !range.drop {
                    self.ask_later(id);
                }
            }),
            kind::EXTENSION => decode(bytes).map(|extension: Extension| self.on_extension(id, extension)),
            _ => Ok(()),
        };
        if let Err(malformed) = done {
            self.close(cx, core, id, Close::Fault(Fault::Malformed(malformed)));
        }
    }

    pub(super) fn next_output(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        self.notice(cx, core);
        self.check_updates(core);
        self.ask_now(cx, core);
        while let Some(id) = self.peers.speaker() {
            if self.peers.get(&id).is_some_and(|peer| peer.slow) {
                self.close(cx, core, id, Close::Fault(Fault::Slow));
                break;
            }
            if self.peers.get(&id).is_some_and(|peer| !peer.answering.writable) {
                self.peers.silent(); // replication.108
                continue;
            }
            if let Some(sync) = self.sync_of(core, id) {
                return Some(Output::Message { peer: id, kind: kind::SYNC, bytes: encode(&sync) });
            }
            if let Some((kind, bytes)) = self.peers.get_mut(&id).and_then(|peer| peer.out.pop_front()) {
                return Some(Output::Message { peer: id, kind, bytes });
            }
            if self.peers.get_mut(&id).is_some_and(|peer| std::mem::take(&mut peer.held)) {
                self.update_peer(cx, core, id);
                continue;
            }
            // One answer of each peer in turn.
            let told = self.next_told(core, id);
            if let Some((kind, bytes)) = told.or_else(|| self.next_answer(cx, core, id)) {
                self.peers.next_turn();
                return Some(Output::Message { peer: id, kind, bytes });
            }
            self.peers.silent();
        }
        self.outputs.pop_front()
    }

    /// Remembers that a block could not be stored.
    pub(super) fn stall(&mut self, cx: &mut Cx<'_>, why: Error) {
        trace!(cx, State, "hypercore", part: "", rule: "replication.92", "stalled: {why}");
        self.stalled = true;
        self.timers.set(Timer::Stall, cx.now + STALL);
        if !std::mem::replace(&mut self.told_stalled, true) {
            self.tell(Event::Stalled { why });
        }
    }

    /// Remembers that a block was stored.
    pub(super) fn stored(&mut self) {
        if std::mem::take(&mut self.told_stalled) {
            self.tell(Event::Resumed);
        }
    }

    pub(super) fn timeout(&mut self, cx: &mut Cx<'_>, core: &mut Hypercore) {
        while let Some(timer) = self.timers.pop_due(cx.now) {
            trace!(cx, Timer, "hypercore", part: timer.peer(), rule: timer.rule(), "{}", timer.why());
            match timer {
                Timer::Refuse(id, request) => self.refuse(id, request),
                Timer::Job(job) => self.end_job(job, Err(Undone::TimedOut)),
                Timer::Silent(id) => self.on_silence(cx, core, id),
                Timer::Download => self.update_all(cx, core),
                Timer::Upload => {
                    // Whoever is touched is looked at again.
                    let all: Vec<PeerId> = self.peers.keys().copied().collect();
                    for id in &all {
                        self.peers.get_mut(id);
                    }
                }
                Timer::Stall => {
                    self.stalled = false;
                    self.restart();
                    self.update_all(cx, core);
                }
                Timer::Linger => {
                    self.ask_now(cx, core);
                    self.active = false;
                    let idle: Vec<PeerId> = self.peers.keys().copied().collect();
                    for id in idle {
                        let downloading = self.downloading();
                        let Some(peer) = self.peers.get_mut(&id) else { continue };
                        peer.sync_due = true;
                        if peer.synced && !peer.sync.downloading && !downloading {
                            self.close(cx, core, id, Close::Idle);
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
