//! Two streams joined by hand, one alone against recorded bytes, and peers that lie.

use serde_json::Value;

use super::*;
use crate::base::{Entropy, KeptKeys, NoTrace, Seeded, hex};
use crate::sim::ramdisk::RamDisk;

/// The world of one test: a clock to set, entropy, nothing else.
struct World {
    now: Time,
    entropy: Box<dyn Entropy>,
    disk: RamDisk,
}

impl World {
    fn new(seed: u64) -> World {
        World { now: Time::ZERO, entropy: Box::new(Seeded::new(seed)), disk: RamDisk::new() }
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Cx<'_>) -> T) -> T {
        act(&mut Cx { now: self.now, entropy: &mut *self.entropy, disk: &mut self.disk, trace: &mut NoTrace })
    }

    fn wait(&mut self, span: Span) {
        self.now += span;
    }
}

fn write(frame: Vec<u8>) -> Output {
    Output::Write(frame.into())
}

fn outputs(world: &mut World, stream: &mut SecretStream) -> Vec<Output> {
    world.with(|cx| core::iter::from_fn(|| stream.poll_output(cx)).collect())
}

fn events(stream: &mut SecretStream) -> Vec<Event> {
    core::iter::from_fn(|| stream.poll_event()).collect()
}

fn messages(stream: &mut SecretStream) -> Vec<Vec<u8>> {
    let message = |event| match event {
        Event::Message(message) => Some(message),
        _ => None,
    };
    events(stream).into_iter().filter_map(message).collect()
}

/// Both ends of a connection, and the bytes between them.
struct Pair {
    world: World,
    ends: [SecretStream; 2],
    /// Bytes are handed over in pieces of at most this size.
    piece: usize,
}

fn noise_keys(initiator: bool) -> NoiseKeys {
    let (tx, rx) = if initiator { ([0x44; 32], [0x55; 32]) } else { ([0x55; 32], [0x44; 32]) };
    let remote_public = if initiator { [2; 32] } else { [1; 32] };
    NoiseKeys { tx, rx, handshake_hash: [0x33; 64], remote_public }
}

fn keys(initiator: bool) -> Keys {
    Keys { initiator, keys: noise_keys(initiator), public: if initiator { [1; 32] } else { [2; 32] } }
}

impl Pair {
    /// Keys from a handshake done elsewhere.
    fn keyed() -> Pair {
        let mut world = World::new(1);
        let ends =
            [true, false].map(|initiator| world.with(|cx| SecretStream::with_keys(cx, keys(initiator))));
        Pair { world, ends, piece: usize::MAX }
    }

    /// A handshake of its own.
    fn shaking() -> Pair {
        let mut world = World::new(2);
        let ends = [true, false].map(|initiator| {
            let pair = KeyPair::from_seed([1 + u8::from(!initiator); 32]);
            world.with(|cx| SecretStream::handshake(cx, initiator, &pair))
        });
        Pair { world, ends, piece: usize::MAX }
    }

    /// Both headers exchanged.
    fn open() -> Pair {
        let mut pair = Pair::keyed();
        pair.settle();
        pair.ends.iter_mut().for_each(|end| drop(events(end)));
        pair
    }

    /// Carries outputs over until none is left.
    fn settle(&mut self) {
        loop {
            let mut moved = false;
            for from in 0..2 {
                for output in outputs(&mut self.world, &mut self.ends[from]) {
                    moved = true;
                    self.carry(1 - from, output);
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn carry(&mut self, to: usize, output: Output) {
        let (world, end) = (&mut self.world, &mut self.ends[to]);
        match output {
            Output::Write(bytes) => {
                for piece in bytes.chunks(self.piece.min(bytes.len())) {
                    world.with(|cx| end.handle_input(cx, Input::Bytes(piece)));
                }
            }
            Output::Send(bytes) => world.with(|cx| end.handle_input(cx, Input::Message(&bytes))),
            Output::End => world.with(|cx| end.handle_input(cx, Input::Ended)),
            Output::Destroy => world.with(|cx| end.handle_input(cx, Input::Closed)),
        }
    }

    fn send(&mut self, from: usize, message: &[u8]) {
        let sent = self.world.with(|cx| self.ends[from].send(cx, message));
        assert_eq!(sent, Ok(()));
    }

    /// Lets time pass, and each end see its deadlines on the way.
    fn pass(&mut self, span: Span) {
        let until = self.world.now + span;
        loop {
            let due = |end: &SecretStream| end.poll_timeout().map(|deadline| deadline.at);
            let next = self.ends.iter().filter_map(due).min().filter(|at| *at <= until);
            let Some(at) = next else { break };
            self.world.now = at;
            for end in &mut self.ends {
                self.world.with(|cx| end.handle_timeout(cx));
                assert!(
                    end.poll_timeout().is_none_or(|deadline| deadline.at > at),
                    "a deadline that is over"
                );
            }
            self.settle();
        }
        self.world.now = until;
    }
}

/// proves secret_stream.1, secret_stream.2
#[test]
fn messages_arrive_in_order_whatever_the_pieces() {
    for piece in [1, 2, 3, 7, 59, 60, 1000, usize::MAX] {
        for mut pair in [Pair::keyed(), Pair::shaking()] {
            pair.piece = piece;
            let sent: Vec<Vec<u8>> = (0..40).map(|n| vec![n as u8; n * n]).collect();
            for message in &sent {
                pair.send(0, message);
                pair.send(1, message);
            }
            pair.settle();
            assert_eq!(messages(&mut pair.ends[0]), sent);
            assert_eq!(messages(&mut pair.ends[1]), sent);
        }
    }
}

/// pitfalls 11.4: writes before the peer's header, or before the handshake is done, wait and are not lost.
/// proves secret_stream.11
#[test]
fn what_is_written_early_arrives() {
    for (mut pair, open) in [(Pair::keyed(), true), (Pair::shaking(), false)] {
        assert_eq!(pair.ends[0].remote_key().is_some(), open);
        pair.send(0, b"early");
        pair.send(1, b"as early");
        pair.settle();
        assert_eq!(messages(&mut pair.ends[1]), [b"early".to_vec()]);
        assert_eq!(messages(&mut pair.ends[0]), [b"as early".to_vec()]);
    }
}

/// pitfalls 11.5: open means that the keys are known, not that the peer's header came.
/// proves secret_stream.10, secret_stream.5
#[test]
fn a_stream_with_keys_is_open_at_once_and_data_follows_the_header() {
    let mut world = World::new(1);
    let mut stream = world.with(|cx| SecretStream::with_keys(cx, keys(true)));
    let open = Event::Open { remote_key: [2; 32], handshake_hash: [0x33; 64] };
    assert_eq!(events(&mut stream), [open]);
    world.with(|cx| stream.send(cx, b"first")).expect("open");
    let written = outputs(&mut world, &mut stream);
    assert!(matches!(&written[..], [Output::Write(header), Output::Write(first)]
        if header.len() == 3 + 56 && first.len() == 3 + 17 + 5));
}

/// proves secret_stream.4
#[test]
fn an_own_handshake_has_three_messages_and_ends_with_the_headers() {
    let mut pair = Pair::shaking();
    let mut sizes = Vec::new();
    loop {
        let mut moved = false;
        for from in 0..2 {
            for output in outputs(&mut pair.world, &mut pair.ends[from]) {
                let Output::Write(bytes) = &output else { panic!("only writes") };
                sizes.push((from, bytes.len()));
                pair.carry(1 - from, output);
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    assert_eq!(sizes, [(0, 3 + 32), (1, 3 + 96), (0, 3 + 64), (0, 3 + 56), (1, 3 + 56)]);
    let keys = [1, 2].map(|seed| KeyPair::from_seed([seed; 32]).public);
    assert_eq!(pair.ends[0].remote_key(), Some(&keys[1]));
    assert_eq!(pair.ends[1].remote_key(), Some(&keys[0]));
    assert_eq!(pair.ends[0].handshake_hash(), pair.ends[1].handshake_hash());
    assert_eq!((pair.ends[0].initiator(), pair.ends[1].initiator()), (true, false));
    assert_eq!(pair.ends[0].public_key(), &keys[0]);
}

fn vector(name: &str) -> Value {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/secret-stream.json"));
    let all: Value = serde_json::from_str(text).expect("a vector file");
    let found = all["vectors"].as_array().expect("a list").iter().find(|vector| vector["name"] == name);
    found.expect("that vector").clone()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().expect("hex text")).expect("hex")
}

fn list(value: &Value) -> Vec<Vec<u8>> {
    value.as_array().expect("a list").iter().map(bytes).collect()
}

/// Entropy that says what was recorded, so that the bytes come out as recorded.
struct Recorded(VecDeque<u8>);

impl Entropy for Recorded {
    fn fill(&mut self, into: &mut [u8]) {
        into.iter_mut().for_each(|byte| *byte = self.0.pop_front().expect("recorded entropy"));
    }
}

/// pitfalls 11.11: the keys of unordered messages are other keys than the stream's.
/// proves secret_stream.1, secret_stream.5, secret_stream.6, secret_stream.7, secret_stream.12, secret_stream.18,
/// secret_stream.19
#[test]
fn both_ends_write_what_the_reference_writes() {
    let recorded = vector("stream");
    for (initiator, side) in [(true, "initiator"), (false, "responder")] {
        let frames = list(&recorded["expected"][format!("{side}Frames")]);
        let unordered = list(&recorded["expected"][format!("{side}Unordered")]);
        // Drawn in this order: the header, then where the counter begins (one before the first used).
        let first = u64::from_le_bytes(*unordered[0].first_chunk().expect("a counter")).wrapping_sub(1);
        let drawn = frames[0][35..].iter().copied().chain(first.to_le_bytes()).collect();
        let mut world = World { entropy: Box::new(Recorded(drawn)), ..World::new(0) };
        let mut stream = world.with(|cx| SecretStream::with_keys(cx, keys(initiator)));
        let written: &[&[u8]] = if initiator { &[b"first", b"", &[b'x'; 300]] } else { &[b"reply"] };
        for message in written {
            world.with(|cx| stream.send(cx, message)).expect("open");
        }
        let beside: &[&[u8]] = if initiator { &[b"unordered", b""] } else { &[b"back"] };
        for message in beside {
            world.with(|cx| stream.send_unordered(cx, message)).expect("open");
        }
        let wanted = frames.into_iter().map(write).chain(unordered.into_iter().map(Output::Send));
        assert_eq!(outputs(&mut world, &mut stream), wanted.collect::<Vec<_>>(), "{side}");
    }
}

/// proves secret_stream.8, secret_stream.18, secret_stream.20
#[test]
fn what_the_reference_wrote_is_read() {
    let recorded = vector("stream");
    let mut world = World::new(1);
    let mut stream = world.with(|cx| SecretStream::with_keys(cx, keys(false)));
    for frame in list(&recorded["expected"]["initiatorFrames"]) {
        world.with(|cx| stream.handle_input(cx, Input::Bytes(&frame)));
    }
    for datagram in list(&recorded["expected"]["initiatorUnordered"]) {
        world.with(|cx| stream.handle_input(cx, Input::Message(&datagram)));
    }
    let received = events(&mut stream).into_iter().skip(1).collect::<Vec<_>>();
    let plain = list(&recorded["expected"]["responderReceived"]).into_iter().map(Event::Message);
    let beside = [b"unordered".to_vec(), Vec::new()].map(Event::Unordered);
    assert_eq!(received, plain.chain(beside).collect::<Vec<_>>());
}

/// proves secret_stream.7
#[test]
fn stream_ids_are_those_of_the_reference() {
    let recorded = vector("stream-id");
    let hash = bytes(&recorded["inputs"]["handshakeHash"]).try_into().expect("64 bytes");
    assert_eq!(stream_id(&hash, true).to_vec(), bytes(&recorded["expected"]["initiator"]));
    assert_eq!(stream_id(&hash, false).to_vec(), bytes(&recorded["expected"]["responder"]));
}

/// proves secret_stream.4
#[test]
fn the_layout_of_an_own_handshake_is_that_of_the_reference() {
    let recorded = vector("stream-xx");
    let sizes = |side: &str| -> Vec<usize> {
        let frames = list(&recorded["expected"][side]);
        frames.iter().map(Vec::len).take(if side == "initiatorFrames" { 3 } else { 2 }).collect()
    };
    assert_eq!(sizes("initiatorFrames"), [3 + 32, 3 + 64, 3 + 56]);
    assert_eq!(sizes("responderFrames"), [3 + 96, 3 + 56]);
    let mut world = World::new(1);
    let pair = KeyPair::from_seed([0xb1; 32]);
    let mut responder = world.with(|cx| SecretStream::handshake(cx, false, &pair));
    let first = &list(&recorded["expected"]["initiatorFrames"])[0];
    world.with(|cx| responder.handle_input(cx, Input::Bytes(first)));
    assert!(
        matches!(&outputs(&mut world, &mut responder)[..], [Output::Write(reply)] if reply.len() == 3 + 96)
    );
}

/// pitfalls 11.3: the ids of initiator and responder differ, and are checked.
/// proves secret_stream.8
#[test]
fn a_header_of_the_same_side_ends_the_stream() {
    let mut world = World::new(1);
    let mut ends = [0, 1].map(|_| world.with(|cx| SecretStream::with_keys(cx, keys(true))));
    let Some(Output::Write(header)) = world.with(|cx| ends[0].poll_output(cx)) else { panic!("a header") };
    world.with(|cx| ends[1].handle_input(cx, Input::Bytes(&header)));
    assert_eq!(events(&mut ends[1]).pop(), Some(Event::Closed(Why::Fault(Fault::WrongId))));
    assert_eq!(outputs(&mut world, &mut ends[1]), [Output::Destroy]);
}

/// proves secret_stream.8, secret_stream.9
#[test]
fn a_header_of_another_length_ends_the_stream() {
    for len in [0, 1, 55, 57, 0xff_ffff] {
        let mut world = World::new(1);
        let mut stream = world.with(|cx| SecretStream::with_keys(cx, keys(true)));
        let head = wire::encode(&Head { len });
        world.with(|cx| stream.handle_input(cx, Input::Bytes(&head)));
        let fault = Fault::HeaderLength(len as usize);
        assert_eq!(events(&mut stream).pop(), Some(Event::Closed(Why::Fault(fault))));
        assert_eq!(fault.rule(), Some("secret_stream.8"));
    }
}

/// pitfalls 11.6: a peer that announces 16 MiB makes nobody reserve them.
/// proves secret_stream.2, secret_stream.3
#[test]
fn an_announced_length_reserves_nothing() {
    let mut pair = Pair::open();
    let world = &mut pair.world;
    world.with(|cx| pair.ends[0].handle_input(cx, Input::Bytes(&[0xff, 0xff, 0xff])));
    assert_eq!(pair.ends[0].frames.reserved(), 0);
    world.with(|cx| pair.ends[0].handle_input(cx, Input::Bytes(&[0; 1000])));
    assert!(pair.ends[0].frames.reserved() < 4096);
    assert_eq!(events(&mut pair.ends[0]), []);
}

/// pitfalls 11.6: neither do a thousand of them, after some bytes of each.
/// proves secret_stream.3
#[test]
fn a_thousand_announcements_reserve_what_came() {
    let mut reserved = 0;
    let (count, came) = (1000, 100);
    for _ in 0..count {
        let Pair { mut world, ends: [mut stream, _], .. } = Pair::open();
        world.with(|cx| stream.handle_input(cx, Input::Bytes(&[0xff; 3])));
        world.with(|cx| stream.handle_input(cx, Input::Bytes(&vec![0; came])));
        reserved += stream.frames.reserved();
    }
    assert!(reserved <= count * 2048, "{reserved} bytes for {} that came", count * came);
}

/// Who has sent a long message gets room for the next one at once, but no more than that.
/// proves secret_stream.3
#[test]
fn a_peer_gets_room_for_what_it_has_shown_to_send() {
    let mut pair = Pair::open();
    pair.piece = 1000;
    pair.send(0, &[7; 60_000]);
    pair.settle();
    assert_eq!(messages(&mut pair.ends[1]).len(), 1);
    let (world, end) = (&mut pair.world, &mut pair.ends[1]);
    world.with(|cx| end.handle_input(cx, Input::Bytes(&[0xff, 0xff, 0xff])));
    assert_eq!(end.frames.reserved(), 0, "nothing of it came");
    world.with(|cx| end.handle_input(cx, Input::Bytes(&[0])));
    assert!((60_000..61_000).contains(&end.frames.reserved()), "{}", end.frames.reserved());
}

/// A stream that lies idle gives back what long messages took.
#[test]
fn an_idle_stream_holds_little() {
    let mut pair = Pair::open();
    pair.piece = 1000;
    for end in &mut pair.ends {
        pair.world.with(|cx| end.set_keep_alive(cx, Some(Span::from_secs(5))));
    }
    for _ in 0..20 {
        pair.send(0, &[7; 60_000]);
        pair.send(1, &[7; 60_000]);
    }
    pair.settle();
    for end in &mut pair.ends {
        assert_eq!(messages(end).len(), 20);
        assert_eq!(end.frames.reserved(), 0, "what a frame came in is its message now");
    }
    pair.pass(Span::from_secs(5));
    for end in &pair.ends {
        assert_eq!(end.frames.reserved(), 0);
        let queues =
            end.outputs.capacity() * size_of::<Output>() + end.events.capacity() * size_of::<Event>();
        assert!(size_of::<SecretStream>() + queues < 2048, "{} and {queues}", size_of::<SecretStream>());
    }
}

/// proves secret_stream.24
#[test]
fn any_flipped_bit_ends_the_stream() {
    for bit in 24..(3 + 17 + 4) * 8 {
        let mut pair = Pair::open();
        pair.send(0, b"good");
        pair.send(0, b"evil");
        let [Output::Write(good), Output::Write(evil)] = &mut outputs(&mut pair.world, &mut pair.ends[0])[..]
        else {
            panic!("two frames");
        };
        evil[bit / 8] ^= 1 << (bit % 8);
        pair.world.with(|cx| pair.ends[1].handle_input(cx, Input::Bytes(good)));
        pair.world.with(|cx| pair.ends[1].handle_input(cx, Input::Bytes(evil)));
        let closed = Event::Closed(Why::Fault(Fault::Forged));
        assert_eq!(events(&mut pair.ends[1]), [Event::Message(b"good".to_vec()), closed]);
        assert_eq!(outputs(&mut pair.world, &mut pair.ends[1]), [Output::Destroy]);
        assert_eq!(pair.world.with(|cx| pair.ends[1].send(cx, b"x")), Err(Error::NotOpen));
        assert_eq!(pair.ends[1].poll_timeout(), None);
    }
}

/// proves secret_stream.9, secret_stream.24
#[test]
fn a_frame_too_short_for_a_message_ends_the_stream() {
    for len in 0..17 {
        let mut pair = Pair::open();
        pair.world.with(|cx| pair.ends[1].handle_input(cx, Input::Bytes(&[len, 0, 0])));
        let closed = Event::Closed(Why::Fault(Fault::TooShort(usize::from(len))));
        assert_eq!(events(&mut pair.ends[1]), [closed]);
    }
}

/// proves secret_stream.4, secret_stream.25
#[test]
fn a_handshake_that_is_garbled_cut_or_too_long_ends_the_stream() {
    let mut world = World::new(1);
    let own = KeyPair::from_seed([1; 32]);
    let mut faults = |input: Input<'_>| {
        let mut stream = world.with(|cx| SecretStream::handshake(cx, false, &own));
        world.with(|cx| stream.handle_input(cx, input));
        let Some(Event::Closed(Why::Fault(fault))) = events(&mut stream).pop() else { panic!("closed") };
        fault
    };
    let refused = Fault::Handshake(crate::crypto::NoiseError::Refused);
    assert_eq!(faults(Input::Bytes(&[2, 0, 0, 1, 2])), refused);
    assert_eq!(faults(Input::Bytes(&[0, 0, 0])), refused);
    let point = Fault::Handshake(crate::crypto::NoiseError::BadPoint);
    assert_eq!(faults(Input::Bytes(&[&[32, 0, 0][..], &[0; 32]].concat())), point);
    assert_eq!(faults(Input::Bytes(&[0, 0, 1])), Fault::HandshakeLength(0x1_0000));
    assert_eq!(faults(Input::Ended), Fault::EndedEarly);
}

/// proves secret_stream.12
#[test]
fn a_message_that_fits_no_frame_is_refused_and_the_longest_arrives() {
    let mut pair = Pair::open();
    let longest = vec![7; MESSAGE_MAX];
    let refused = pair.world.with(|cx| pair.ends[0].send(cx, &vec![0; MESSAGE_MAX + 1]));
    assert!(matches!(refused, Err(Error::Invalid(_))));
    pair.send(0, &longest);
    pair.settle();
    assert!(messages(&mut pair.ends[1]) == [longest]);
}

/// pitfalls 11.7: more than a frame holds is split.
/// proves secret_stream.13
#[test]
fn a_long_write_is_split() {
    let mut pair = Pair::open();
    let long: Vec<u8> = (0..64_usize << 20).map(|n| (n % 251) as u8).collect();
    pair.world.with(|cx| pair.ends[0].write(cx, &long)).expect("nothing waits");
    assert_eq!(pair.world.with(|cx| pair.ends[0].write(cx, b"more")), Err(Error::Full));
    let mut arrived = Vec::new();
    for output in outputs(&mut pair.world, &mut pair.ends[0]) {
        pair.carry(1, output);
        messages(&mut pair.ends[1]).iter().for_each(|message| arrived.extend_from_slice(message));
    }
    assert!(arrived == long);
    assert_eq!(pair.ends[0].unsent_bytes(), 0);
    pair.world.with(|cx| pair.ends[0].write(cx, b"more")).expect("it drained");
}

#[test]
fn a_full_queue_refuses() {
    let mut pair = Pair::open();
    let message = vec![0; 1 << 20];
    let sent = (0..100).take_while(|_| pair.world.with(|cx| pair.ends[0].send(cx, &message)).is_ok()).count();
    assert_eq!(sent, 63);
    assert_eq!(pair.world.with(|cx| pair.ends[0].send(cx, &message)), Err(Error::Full));
    drop(outputs(&mut pair.world, &mut pair.ends[0]));
    pair.send(0, &message);
}

#[test]
fn messages_that_nobody_takes_end_the_stream_at_the_bound() {
    let mut pair = Pair::open();
    let message = vec![0; 1 << 20];
    for _ in 0..=64 {
        pair.send(0, &message);
        pair.settle();
    }
    assert_eq!(events(&mut pair.ends[1]).pop(), Some(Event::Closed(Why::Fault(Fault::Flooded))));
}

/// pitfalls 11.8: an empty message is swallowed only where keep-alive is or was on.
/// proves secret_stream.15
#[test]
fn empty_messages_are_swallowed_where_keep_alive_was_on() {
    for (keep_alive, seen) in [(false, 2), (true, 1)] {
        let mut pair = Pair::open();
        if keep_alive {
            pair.world.with(|cx| pair.ends[1].set_keep_alive(cx, Some(Span::from_secs(5))));
            pair.world.with(|cx| pair.ends[1].set_keep_alive(cx, None));
        }
        assert_eq!(pair.ends[1].poll_timeout(), None);
        pair.send(0, b"");
        pair.send(0, b"message");
        pair.settle();
        assert_eq!(messages(&mut pair.ends[1]).len(), seen);
    }
    let mut pair = Pair::open();
    pair.ends[1].swallow_empty_messages();
    pair.send(0, b"");
    pair.settle();
    assert_eq!(events(&mut pair.ends[1]), []);
}

/// proves secret_stream.14
#[test]
fn a_keep_alive_is_an_empty_message_and_each_write_puts_it_off() {
    let mut pair = Pair::open();
    pair.world.with(|cx| pair.ends[0].set_keep_alive(cx, Some(Span::from_secs(5))));
    pair.pass(Span::from_secs(4));
    pair.send(0, b"message");
    pair.settle();
    pair.pass(Span::from_micros(4_999_999));
    assert_eq!(messages(&mut pair.ends[1]), [b"message".to_vec()]);
    pair.pass(Span::from_micros(1));
    assert_eq!(messages(&mut pair.ends[1]), [b"".to_vec()]);
    pair.pass(Span::from_secs(20));
    assert_eq!(messages(&mut pair.ends[1]), vec![b"".to_vec(); 4]);
    assert_eq!(pair.ends[0].stats().raw_bytes_written, 5 * 20 + 27);
}

/// proves secret_stream.14, secret_stream.15
#[test]
fn keep_alives_are_those_of_the_reference() {
    let recorded = vector("keep-alive");
    let frames = list(&recorded["expected"]["initiatorFrames"]);
    let drawn = frames[0][35..].iter().copied().chain([0; 8]).collect();
    let mut world = World { entropy: Box::new(Recorded(drawn)), ..World::new(0) };
    let mut stream = world.with(|cx| SecretStream::with_keys(cx, keys(true)));
    world.with(|cx| stream.set_keep_alive(cx, Some(Span::from_secs(5))));
    assert_eq!(outputs(&mut world, &mut stream), [write(frames[0].clone())]);
    world.wait(Span::from_secs(5));
    world.with(|cx| stream.handle_timeout(cx));
    world.with(|cx| stream.send(cx, b"data")).expect("open");
    let wanted = frames[1..].iter().cloned().map(write).collect::<Vec<_>>();
    assert_eq!(outputs(&mut world, &mut stream), wanted);
}

/// pitfalls 11.13: keep-alive and timeout work alone and together.
/// proves secret_stream.23
#[test]
fn silence_ends_a_stream_and_keep_alives_are_not_silence() {
    let mut pair = Pair::open();
    pair.world.with(|cx| pair.ends[1].set_timeout(cx, Some(Span::from_secs(7))));
    pair.world.with(|cx| pair.ends[0].set_keep_alive(cx, Some(Span::from_secs(5))));
    pair.pass(Span::from_secs(100));
    assert_eq!(messages(&mut pair.ends[1]).len(), 20);
    pair.world.with(|cx| pair.ends[0].set_keep_alive(cx, None));
    pair.pass(Span::from_secs(7));
    assert_eq!(events(&mut pair.ends[1]), [Event::Closed(Why::Silent)]);
    assert_eq!(events(&mut pair.ends[0]), [Event::Closed(Why::Cut)]);
    let mut alone = Pair::open();
    alone.world.with(|cx| alone.ends[1].set_timeout(cx, Some(Span::from_secs(7))));
    alone.world.with(|cx| alone.ends[1].set_timeout(cx, None));
    alone.pass(Span::from_secs(100));
    assert_eq!(events(&mut alone.ends[1]), []);
}

/// pitfalls 11.9: any byte is a sign of life, not only a whole frame.
/// proves secret_stream.23
#[test]
fn a_trickle_of_bytes_is_not_silence() {
    let mut pair = Pair::open();
    pair.world.with(|cx| pair.ends[1].set_timeout(cx, Some(Span::from_secs(2))));
    pair.send(0, &[1; 30]);
    let Some(Output::Write(frame)) = pair.world.with(|cx| pair.ends[0].poll_output(cx)) else {
        panic!("a frame")
    };
    for byte in frame.iter() {
        pair.pass(Span::from_micros(1_999_999));
        pair.world.with(|cx| pair.ends[1].handle_input(cx, Input::Bytes(&[*byte])));
    }
    assert_eq!(messages(&mut pair.ends[1]), [vec![1; 30]]);
}

/// A length that was flipped to a large one swallows whatever comes, keep-alives included.
/// proves secret_stream.27
#[test]
fn a_message_whose_rest_does_not_come_ends_the_stream() {
    let mut pair = Pair::open();
    pair.world.with(|cx| pair.ends[1].set_patience(cx, Some(Span::from_secs(60))));
    pair.world.with(|cx| pair.ends[0].set_keep_alive(cx, Some(Span::from_secs(5))));
    pair.send(0, &[1; 30]);
    let Some(Output::Write(mut frame)) = pair.world.with(|cx| pair.ends[0].poll_output(cx)) else {
        panic!("a frame")
    };
    frame[2] ^= 0x80;
    pair.world.with(|cx| pair.ends[1].handle_input(cx, Input::Bytes(&frame)));
    pair.pass(Span::from_secs(59));
    assert_eq!(events(&mut pair.ends[1]), []);
    pair.pass(Span::from_secs(1));
    assert_eq!(events(&mut pair.ends[1]), [Event::Closed(Why::Stalled)]);
}

/// proves secret_stream.27
#[test]
fn a_long_message_may_take_its_time() {
    let mut pair = Pair::open();
    pair.world.with(|cx| pair.ends[1].set_patience(cx, Some(Span::from_secs(60))));
    let message = vec![1; 50_000];
    pair.send(0, &message);
    let Some(Output::Write(frame)) = pair.world.with(|cx| pair.ends[0].poll_output(cx)) else {
        panic!("a frame")
    };
    for part in frame.chunks(4096) {
        pair.world.with(|cx| pair.ends[1].handle_input(cx, Input::Bytes(part)));
        pair.pass(Span::from_secs(59));
    }
    assert_eq!(messages(&mut pair.ends[1]), [message]);
    pair.pass(Span::from_secs(600));
    assert_eq!(events(&mut pair.ends[1]), [], "nothing has begun");
    assert_eq!(pair.ends[1].poll_timeout(), None);
}

/// pitfalls 11.10: after the end there are no keep-alives.
/// proves secret_stream.22, secret_stream.26
#[test]
fn an_end_is_the_byte_streams_end_and_stops_keep_alive() {
    let mut pair = Pair::open();
    pair.world.with(|cx| pair.ends[0].set_keep_alive(cx, Some(Span::from_secs(5))));
    pair.send(0, b"last");
    pair.world.with(|cx| pair.ends[0].end(cx));
    assert_eq!(pair.ends[0].poll_timeout(), None);
    assert_eq!(pair.world.with(|cx| pair.ends[0].send(cx, b"x")), Err(Error::NotOpen));
    let sent = outputs(&mut pair.world, &mut pair.ends[0]);
    assert!(matches!(&sent[..], [Output::Write(_), Output::End]));
    sent.into_iter().for_each(|output| pair.carry(1, output));
    assert_eq!(events(&mut pair.ends[1]), [Event::Message(b"last".to_vec()), Event::Ended]);
    pair.send(1, b"still open");
    pair.world.with(|cx| pair.ends[1].end(cx));
    pair.settle();
    assert_eq!(events(&mut pair.ends[0]), [Event::Message(b"still open".to_vec()), Event::Ended]);
    for end in &mut pair.ends {
        pair.world.with(|cx| end.handle_input(cx, Input::Closed));
        assert_eq!(events(end), [Event::Closed(Why::Ended)]);
    }
}

/// proves secret_stream.22
#[test]
fn an_end_within_the_handshake_waits_for_what_was_written() {
    let mut pair = Pair::shaking();
    pair.send(0, b"early");
    pair.world.with(|cx| pair.ends[0].end(cx));
    pair.settle();
    let heard = events(&mut pair.ends[1]);
    assert_eq!(heard[1..], [Event::Message(b"early".to_vec()), Event::Ended]);
}

/// proves secret_stream.26
#[test]
fn a_stream_that_goes_away_too_early_was_cut() {
    for ends in 0..2 {
        let mut pair = Pair::open();
        if ends == 1 {
            pair.world.with(|cx| pair.ends[0].end(cx));
        }
        pair.world.with(|cx| pair.ends[0].handle_input(cx, Input::Closed));
        pair.world.with(|cx| pair.ends[0].handle_input(cx, Input::Closed));
        assert_eq!(events(&mut pair.ends[0]), [Event::Closed(Why::Cut)]);
        pair.world.with(|cx| pair.ends[1].destroy(cx));
        assert_eq!(outputs(&mut pair.world, &mut pair.ends[1]), [Output::Destroy]);
        assert_eq!(events(&mut pair.ends[1]), [Event::Closed(Why::Destroyed)]);
    }
}

/// proves secret_stream.16
#[test]
fn counters_count_data_frames_alone() {
    let mut pair = Pair::keyed();
    pair.settle();
    assert_eq!((pair.ends[0].stats(), pair.ends[1].stats()), (Stats::default(), Stats::default()));
    pair.send(0, b"12345");
    pair.settle();
    assert_eq!(pair.ends[0].stats().raw_bytes_written, 3 + 17 + 5);
    assert_eq!(pair.ends[1].stats().raw_bytes_read, 17 + 5);
}

/// proves secret_stream.17, secret_stream.20, secret_stream.21
#[test]
fn unordered_messages_that_are_not_the_peers_vanish() {
    let mut pair = Pair::open();
    pair.world.with(|cx| pair.ends[0].send_unordered(cx, b"beside")).expect("open");
    let Some(Output::Send(datagram)) = pair.world.with(|cx| pair.ends[0].poll_output(cx)) else {
        panic!("one")
    };
    assert_eq!(datagram.len(), 8 + 16 + 6);
    for bit in 0..datagram.len() * 8 {
        let mut changed = datagram.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        pair.carry(1, Output::Send(changed));
    }
    for len in 0..datagram.len() {
        pair.carry(1, Output::Send(datagram[..len].to_vec()));
    }
    // Its own, sent back: the two directions have different keys.
    pair.carry(0, Output::Send(datagram.clone()));
    assert_eq!(events(&mut pair.ends[0]), []);
    assert_eq!(events(&mut pair.ends[1]), []);
    assert_eq!(pair.ends[1].stats().unordered_dropped, datagram.len() as u64 * 9);
    pair.carry(1, Output::Send(datagram.clone()));
    pair.carry(1, Output::Send(datagram));
    assert_eq!(events(&mut pair.ends[1]), vec![Event::Unordered(b"beside".to_vec()); 2]);
}

/// proves secret_stream.17, secret_stream.20
#[test]
fn unordered_messages_need_the_keys() {
    let mut pair = Pair::shaking();
    assert_eq!(pair.world.with(|cx| pair.ends[0].send_unordered(cx, b"x")), Err(Error::NotOpen));
    pair.carry(0, Output::Send(vec![0; 24]));
    assert_eq!(pair.ends[0].stats().unordered_dropped, 1);
    pair.settle();
    assert_eq!(pair.world.with(|cx| pair.ends[0].send_unordered(cx, b"x")), Ok(()));
}

/// proves secret_stream.19
#[test]
fn a_stream_ends_rather_than_use_a_nonce_twice() {
    let mut pair = Pair::open();
    pair.ends[0].boxes.as_mut().expect("open").use_up();
    assert_eq!(pair.world.with(|cx| pair.ends[0].send_unordered(cx, b"last")), Ok(()));
    assert_eq!(pair.world.with(|cx| pair.ends[0].send_unordered(cx, b"none")), Err(Error::NotOpen));
    assert_eq!(events(&mut pair.ends[0]), [Event::Closed(Why::Fault(Fault::NoncesUsedUp))]);
}

#[test]
fn unordered_queues_are_bounded() {
    let mut pair = Pair::open();
    let send = |pair: &mut Pair| pair.world.with(|cx| pair.ends[0].send_unordered(cx, b"x"));
    let sent = (0..2000).take_while(|_| send(&mut pair).is_ok()).count();
    assert_eq!(sent, SECRET_STREAM_UNORDERED_MAX);
    assert_eq!(send(&mut pair), Err(Error::Full));
    pair.settle();
    assert_eq!(send(&mut pair), Ok(()));
    pair.settle();
    assert_eq!(events(&mut pair.ends[1]).len(), SECRET_STREAM_UNORDERED_MAX);
    assert_eq!(pair.ends[1].stats().unordered_dropped, 1);
}

/// L8: whatever comes, in whatever phase, nothing panics and the stream closes at most once.
#[test]
fn garbage_in_any_phase_panics_nowhere() {
    let mut entropy = Seeded::new(99);
    for round in 0..3000 {
        let mut pair = [Pair::keyed, Pair::shaking, Pair::open][round % 3]();
        pair.send(0, b"some message");
        let mut frames: Vec<u8> = Vec::new();
        for output in outputs(&mut pair.world, &mut pair.ends[0]) {
            if let Output::Write(bytes) = output {
                frames.extend_from_slice(&bytes);
            }
        }
        for _ in 0..entropy.below(4) {
            let at = entropy.below(frames.len() as u64) as usize;
            frames[at] ^= 1 << entropy.below(8);
        }
        let cut = entropy.below(frames.len() as u64 + 1) as usize;
        for piece in frames[..cut].chunks(1 + entropy.below(40) as usize) {
            pair.world.with(|cx| pair.ends[1].handle_input(cx, Input::Bytes(piece)));
            pair.world.with(|cx| pair.ends[1].handle_input(cx, Input::Message(piece)));
        }
        pair.world.with(|cx| pair.ends[1].handle_input(cx, Input::Ended));
        pair.world.with(|cx| pair.ends[1].handle_input(cx, Input::Closed));
        let closed = |event: &Event| matches!(event, Event::Closed(_));
        let heard = events(&mut pair.ends[1]);
        assert_eq!(heard.iter().filter(|event| closed(event)).count(), 1);
        assert!(heard.last().is_some_and(closed));
    }
}

/// L2, L3, L4: commands, inputs and time-outs in any order, drained or not; every message arrives, in order.
#[test]
fn nothing_is_lost_in_any_order_of_things() {
    for seed in 0..200 {
        let mut draw = Seeded::new(seed);
        let mut pair = if seed % 2 == 0 { Pair::keyed() } else { Pair::shaking() };
        let mut sent = [Vec::new(), Vec::new()];
        let mut heard = [Vec::new(), Vec::new()];
        let mut under_way: [VecDeque<Output>; 2] = Default::default();
        for n in 0..200_u64 {
            let side = draw.below(2) as usize;
            let span = Some(Span::from_millis(draw.below(50))).filter(|_| draw.chance(700));
            match draw.below(8) {
                0 | 1 => {
                    let message = vec![n as u8; 1 + draw.below(100) as usize];
                    pair.send(side, &message);
                    sent[side].push(message);
                }
                2 => pair.world.with(|cx| pair.ends[side].set_keep_alive(cx, span)),
                3 => pair.world.with(|cx| pair.ends[side].handle_timeout(cx)),
                4 => pair.world.wait(Span::from_millis(draw.below(30))),
                5 => under_way[side].extend(outputs(&mut pair.world, &mut pair.ends[side])),
                6 => {
                    let carried = under_way[side].pop_front();
                    carried.into_iter().for_each(|output| pair.carry(1 - side, output));
                }
                _ => heard[side].extend(messages(&mut pair.ends[side])),
            }
            let due = pair.ends[side].poll_timeout();
            pair.world.with(|cx| pair.ends[side].handle_timeout(cx));
            let after = pair.ends[side].poll_timeout();
            assert!(after.is_none_or(|deadline| deadline.at > pair.world.now), "{due:?} then {after:?}");
        }
        for (side, outputs) in under_way.into_iter().enumerate() {
            outputs.into_iter().for_each(|output| pair.carry(1 - side, output));
        }
        pair.settle();
        for side in 0..2 {
            heard[side].extend(messages(&mut pair.ends[side]));
            heard[side].retain(|message| !message.is_empty());
            assert_eq!(heard[side], sent[1 - side], "seed {seed}");
        }
    }
}

/// L7: equal seeds and inputs give equal bytes.
#[test]
fn equal_seeds_give_equal_bytes() {
    let written = || {
        let mut pair = Pair::shaking();
        pair.send(0, b"message");
        let first = outputs(&mut pair.world, &mut pair.ends[0]);
        first.into_iter().for_each(|output| pair.carry(1, output));
        outputs(&mut pair.world, &mut pair.ends[1])
    };
    assert_eq!(written(), written());
    assert!(!written().is_empty());
}

/// What each side logs opens what the other sends, in the stream and beside it, and both log the same.
// proves key_log.2, key_log.3
#[test]
fn a_key_log_opens_messages_and_datagrams() {
    let (mut world, mut logs) = (World::new(1), [KeptKeys::default(), KeptKeys::default()]);
    let mut ends: Vec<_> = [true, false]
        .into_iter()
        .zip(&mut logs)
        .map(|(initiator, trace)| {
            let (entropy, disk) = (&mut *world.entropy, &mut world.disk);
            SecretStream::with_keys(&mut Cx { now: Time::ZERO, entropy, disk, trace }, keys(initiator))
        })
        .collect();
    let [ours, mut theirs] = logs.map(|log| log.0);
    theirs.reverse();
    assert_eq!(ours.len(), 4);
    assert!(ours.iter().all(|line| theirs.contains(line)));
    for end in &mut ends {
        world.with(|cx| end.send(cx, b"in order")).expect("sent");
        world.with(|cx| end.send_unordered(cx, b"beside")).expect("sent");
        let key = |label: &str, id: &Key| {
            let line = ours.iter().find(|(named, by, _)| *named == label && by == id).expect("a line");
            line.2[0]
        };
        let mut id = None;
        for output in outputs(&mut world, end) {
            match (output, &mut id) {
                (Output::Write(frame), None) => id = wire::decode::<Header>(&frame).ok(),
                (Output::Write(frame), Some(header)) => {
                    let mut pull = Pull::new(&key("SECRET_STREAM", &header.stream_id), &header.header);
                    assert_eq!(pull.pull(&frame[Head::LEN..]).expect("opens"), b"in order");
                }
                (Output::Send(datagram), Some(header)) => {
                    let mut nonce = [0; 24];
                    nonce[..8].copy_from_slice(&datagram[..8]);
                    let key = key("UNORDERED", &header.stream_id);
                    let opened = crate::crypto::secretbox::open(&key, &nonce, &datagram[8..]);
                    assert_eq!(opened.expect("opens"), b"beside");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
