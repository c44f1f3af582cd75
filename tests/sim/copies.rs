//! Cores by key: the program of `seckel core download` and `seed`, unchanged, on lossy lines and torn disks.

use std::collections::BTreeMap;

use seckel::app::bee::{Ask, Piece, Reading};
use seckel::app::core::{Blocks, Copying, Exchange, Extent, Standing, Step as Block};
use seckel::base::{Entropy, Error, Key, Seeded, Span};
use seckel::node::{CoreId, Range};
use seckel::sim::{HostId, Line, Step, World};

use crate::support::{join, joining, network, seed};

/// Hosts with programs of their own.
struct Story {
    world: World,
    programs: BTreeMap<HostId, Exchange>,
}

impl Story {
    fn new(number: u64, line: Line) -> Story {
        let mut world = World::new(seed(number));
        network(&mut world, 3);
        world.line = line;
        Story { world, programs: BTreeMap::new() }
    }

    /// A host on which a core of so many blocks is served.
    fn giver(&mut self, blocks: u64) -> (HostId, Key) {
        let (host, key) = self.owner(blocks);
        self.world.start(host, joining());
        self.start(host, key, true);
        (host, key)
    }

    /// A host with a core of so many blocks.
    fn owner(&mut self, blocks: u64) -> (HostId, Key) {
        let host = self.world.add([30, 0, 2, 1]);
        join(&mut self.world, host);
        let mut net = self.world.net(host);
        let store = net.store("store").expect("a store");
        let core = net.core(store, "log").expect("a core");
        let all: Vec<Vec<u8>> = (0..blocks).map(block).collect();
        let all: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
        net.append(core, &all).expect("an append");
        (host, net.core_info(core).expect("open").key)
    }

    fn start(&mut self, host: HostId, key: Key, serve: bool) -> CoreId {
        let exchange = Exchange::start(&mut self.world.net(host), "store", &[key], serve).expect("it opens");
        let core = exchange.core();
        self.programs.insert(host, exchange);
        core
    }

    /// One event; false when the time is over.
    fn step(&mut self, seconds: u64) -> bool {
        let until = self.world.now() + Span::from_secs(seconds);
        match self.world.step(until) {
            Step::Event(host, event) => {
                if let Some(exchange) = self.programs.get_mut(&host) {
                    exchange.on_event(&mut self.world.net(host), &event).expect("the disk is sound");
                }
                true
            }
            Step::Crashed(_) => true,
            Step::TimedOut => {
                let violation = self.world.violation().map(|violation| format!("{violation}"));
                assert_eq!(violation, None);
                false
            }
        }
    }

    /// Until `done` says so.
    fn until<T>(&mut self, what: &str, mut done: impl FnMut(&mut Story) -> Option<T>) -> T {
        let end = self.world.now() + Span::from_secs(300);
        while self.world.now() < end {
            if let Some(done) = done(self) {
                return done;
            }
            self.step(1);
        }
        panic!("{what}: not in five minutes\n{}", self.world.last_lines());
    }
}

fn block(n: u64) -> Vec<u8> {
    format!("block {n} ").into_bytes().repeat(1 + n as usize % 40)
}

fn lossy() -> Line {
    Line { delay: Span::from_millis(30), loss_permille: 20, ..Line::default() }
}

/// The power goes off at the taker again and again, with torn sectors: the copy goes on where its disk is, and
/// ends equal.
#[test]
fn a_download_outlives_power_cuts() {
    const BLOCKS: u64 = 600;
    let mut story = Story::new(21, lossy());
    let (_, key) = story.giver(BLOCKS);
    let taker = story.world.add([30, 0, 2, 2]);
    let mut draw = Seeded::new(seed(21));
    let mut kept = Vec::new();
    loop {
        story.world.start(taker, joining());
        let core = story.start(taker, key, false);
        let before = story.world.net(taker).look(core, |core| core.bits().count(0, BLOCKS)).expect("open");
        kept.push(before);
        let goal = before + 1 + draw.below(BLOCKS / 3);
        let mut copying = Copying::new(core, Extent::default());
        let done = story.until("the copy goes on", |story| {
            let exchange = &story.programs[&taker];
            let state = copying.poll(&mut story.world.net(taker), exchange).expect("it goes on");
            (state.done || state.here >= goal).then_some(state.done)
        });
        if done {
            let mut net = story.world.net(taker);
            for n in 0..BLOCKS {
                assert_eq!(net.block(core, n), Ok(Some(block(n))));
            }
            break;
        }
        story.programs.remove(&taker);
        story.world.crash(taker);
        assert!(kept.len() < 40, "{kept:?}");
    }
    assert!(kept.len() > 2, "it was cut off: {kept:?}");
    assert!(kept.iter().any(|&count| count > 0), "something outlived the cuts: {kept:?}");
}

/// Of a part only that part comes; what lies beyond the end is an error, once that is known.
#[test]
fn a_part_is_copied_in_order() {
    let mut story = Story::new(22, lossy());
    let (_, key) = story.giver(300);
    let taker = story.world.add([30, 0, 2, 2]);
    join(&mut story.world, taker);
    let core = story.start(taker, key, false);
    for (start, end, linear) in [(100, 150, true), (200, 290, false)] {
        let mut copying = Copying::new(core, Extent { start, end: Some(end), linear, live: false });
        story.until("the part is here", |story| {
            let exchange = &story.programs[&taker];
            let state = copying.poll(&mut story.world.net(taker), exchange).expect("it goes on");
            state.done.then_some(())
        });
    }
    let here = story.world.net(taker).look(core, |core| core.bits().count(0, 300)).expect("open");
    assert_eq!(here, 140, "nothing else was fetched");
    let mut beyond = Copying::new(core, Extent { start: 290, end: Some(301), ..Extent::default() });
    let why = story.until("the end is known", |story| {
        let exchange = &story.programs[&taker];
        beyond.poll(&mut story.world.net(taker), exchange).err()
    });
    assert_eq!(why, Error::Missing);
}

/// Blocks come in order; those of a live reading as the writer appends them.
#[test]
fn blocks_are_read_as_they_come() {
    let mut story = Story::new(23, lossy());
    let (giver, key) = story.giver(50);
    let taker = story.world.add([30, 0, 2, 2]);
    join(&mut story.world, taker);
    let core = story.start(taker, key, false);
    let mut blocks = Blocks::new(core, 40, None, true);
    let theirs = story.programs[&giver].core();
    for n in 40..60 {
        if n >= 50 {
            story.world.net(giver).append(theirs, &[&block(n)]).expect("an append");
        }
        let next = story.until("the next block", |story| {
            let exchange = &story.programs[&taker];
            match blocks.poll(&mut story.world.net(taker), exchange).expect("it goes on") {
                Block::Wait => None,
                step => Some(step),
            }
        });
        assert_eq!(next, Block::Block(n, block(n)));
    }
    let mut beyond = Blocks::new(core, 60, Some(61), false);
    let end = story.until("the end is known", |story| {
        let exchange = &story.programs[&taker];
        match beyond.poll(&mut story.world.net(taker), exchange).expect("it goes on") {
            Block::Wait => None,
            step => Some(step),
        }
    });
    assert_eq!(end, Block::Beyond { length: 60 });
}

/// A tree that is asked by key: of two thousand keys few blocks lead to one.
#[test]
fn a_lookup_in_a_tree_fetches_little() {
    let mut story = Story::new(24, lossy());
    let (giver, key) = story.giver(0);
    let theirs = story.programs[&giver].core();
    for n in 0..2000 {
        let name = format!("{:04}", n * 1237 % 2000);
        story.world.net(giver).bee_put(theirs, name.as_bytes(), b"x").expect("a put");
    }
    let taker = story.world.add([30, 0, 2, 2]);
    join(&mut story.world, taker);
    let core = story.start(taker, key, false);
    story.until("the length is known", |story| {
        let standing = story.programs[&taker].standing(&story.world.net(taker));
        (standing == Standing::Fresh).then_some(())
    });
    let length = story.world.net(taker).core_info(core).expect("open").length;
    assert_eq!(length, 2001);
    let mut reading = Reading::new(Ask::List(Range::all().gte(b"1000").limit(2)), length);
    let mut found = Vec::new();
    story.until("the answer", |story| {
        loop {
            match story.world.net(taker).bee_read(core, |cx, bee, core| reading.next(cx, bee, core)) {
                Ok(Some(Piece::Entry(entry))) => found.push(entry.key),
                Ok(None) => return Some(()),
                Err(Error::Missing) => return None,
                other => panic!("{other:?}"),
            }
        }
    });
    assert_eq!(found, [b"1000", b"1001"]);
    let here = story.world.net(taker).look(core, |core| core.bits().count(0, length)).expect("open");
    assert!(here < 60, "{here} blocks");
}

/// Nobody serves the core: that is known soon, and who comes later is met.
#[test]
fn who_is_alone_meets_who_comes_later() {
    let mut story = Story::new(25, Line::default());
    let (giver, key) = story.owner(1);
    story.world.kill(giver);
    let taker = story.world.add([30, 0, 2, 2]);
    join(&mut story.world, taker);
    let core = story.start(taker, key, false);
    story.until("the topic is looked through", |story| story.programs[&taker].flushed().then_some(()));
    assert_eq!(story.programs[&taker].standing(&story.world.net(taker)), Standing::Alone);
    story.world.start(giver, joining());
    story.start(giver, key, true);
    story.until("they meet", |story| {
        let standing = story.programs[&taker].standing(&story.world.net(taker));
        (standing == Standing::Fresh).then_some(())
    });
    assert_eq!(story.world.net(taker).core_info(core).expect("open").length, 1);
}
