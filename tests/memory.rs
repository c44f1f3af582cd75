//! What a process keeps in memory while cores that are larger than it are written, replicated and read: blocks of
//! 64 KiB, files on the disk, and the one who copies in a process of its own. `SECKEL_MEMORY_MIB=10240 cargo test
//! --release --test memory -- --nocapture` writes ten GiB (twice), and the figures are the peaks of each process's
//! resident memory, without the system's cache of files.

#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use seckel::base::{Addr, hex, limits};
use seckel::edge::{Host, NodeId, Wake};
use seckel::node::{Config, CoreId, DhtConfig, Event, Exchange, KeyPair, StoreId};

const BLOCK: usize = 64 << 10;
const MIB: u64 = 1 << 20;
/// The most that a process may keep, in kilobytes; of one that is not optimised only the growth is looked at.
const MOST: u64 = 16 << 10;
/// How much higher the peak may be when everything is done than after an eighth of it, in kilobytes: what is under way
/// between the two processes comes and goes, most of it in the window of a stream (4 MiB).
const GROWTH: u64 = 6 << 10;
/// Tells the process that it is the one who copies: the folder, the port of the network, the key of the core, how many
/// blocks, and how many of them it asks for at one time at least.
const COPY: &str = "SECKEL_MEMORY_COPY";

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The peak of this process's resident memory since the last `forget`, in kilobytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("readable");
    let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("a peak");
    line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number")
}

/// From here on `peak` begins anew.
fn forget() {
    std::fs::write("/proc/self/clear_refs", "5").expect("writable");
}

fn block(n: u64) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    block[..8].copy_from_slice(&(n + 1).to_le_bytes());
    block
}

fn wait(host: &mut Host, mut done: impl FnMut(&mut Host, NodeId, &Event) -> bool) {
    loop {
        match host.wait(Some(Duration::from_secs(60))).expect("the machine works") {
            Wake::Event(node, event) if done(host, node, &event) => return,
            Wake::TimedOut => panic!("nothing happened for a minute"),
            Wake::Event(..) | Wake::Woken | Wake::Interrupted => {}
        }
    }
}

/// Peaks of resident memory, in kilobytes: after an eighth, and of all.
struct Peaks {
    early: u64,
    all: u64,
}

impl Peaks {
    fn check(&self, what: &str, blocks: u64) {
        let Peaks { early, all } = self;
        println!(
            "{what}: {blocks} blocks of 64 KiB, peak of memory {early} KiB after an eighth, {all} KiB in all"
        );
        assert!(*all < early + GROWTH, "{what}: it grows from {early} KiB to {all} KiB");
        assert!(cfg!(debug_assertions) || *all < MOST, "{what}: {all} KiB");
    }
}

/// The peaks while `count` steps are done.
fn measure(count: u64, mut step: impl FnMut(u64)) -> Peaks {
    forget();
    let mut early = 0;
    for n in 0..count {
        step(n);
        if n == count / 8 {
            early = peak();
        }
    }
    Peaks { early, all: peak() }
}

/// A node that is bootstrapped.
fn node(host: &mut Host, dht: DhtConfig, folder: &Path) -> NodeId {
    let node = host.add(Config { dht, ..Config::default() }, folder).expect("a node");
    wait(host, |_, from, event| from == node && matches!(event, Event::Bootstrapped));
    node
}

fn read(host: &mut Host, node: NodeId, core: CoreId, blocks: u64) -> Peaks {
    measure(blocks, |n| {
        assert!(host.net(node).block(core, n).is_ok_and(|found| found == Some(block(n))), "block {n}");
    })
}

/// The other process: copies the core and reads the copy.
fn copy(order: &str) {
    let mut order = order.lines();
    let mut next = || order.next().expect("five lines");
    let (folder, port, key) = (PathBuf::from(next()), next(), next());
    let mut number = || next().parse::<u64>().expect("a number");
    let (blocks, inflight) = (number(), number());
    let port = port.parse().expect("a port");
    let key = hex::key_from_text(key).expect("a key");
    let mut host = Host::open().expect("a host");
    let dht =
        DhtConfig { bootstrap: vec![Addr::loopback(port)], host: [127, 0, 0, 1], ..DhtConfig::default() };
    let reader = node(&mut host, dht, &folder.join("reader"));
    let store = host.net(reader).store("").expect("a store");
    let core = host.net(reader).core_by_key(store, &key).expect("a core");
    let inflight = (inflight as usize, limits::INFLIGHT_MAX);
    host.net(reader).set_exchange(core, Exchange { inflight, ..Exchange::default() }).expect("open");
    host.net(reader).download(core).expect("open");
    let own = KeyPair::from_seed([1; 32]);
    host.net(reader).connect(own.public, &KeyPair::from_seed([2; 32]), true).expect("connecting");
    let copied = measure(blocks, |_| {
        wait(&mut host, |host, node, event| {
            if let Event::Connected { conn, .. } = event {
                host.net(node).replicate(*conn, store).expect("open");
            }
            matches!(event, Event::Downloaded { .. })
        });
    });
    assert_eq!(host.net(reader).core_info(core).expect("open").contiguous_length, blocks);
    copied.check("copied", blocks);
    read(&mut host, reader, core, blocks).check("read from the copy", blocks);
}

/// Gives the core to the other process, which is started here, until that has it all.
fn give(host: &mut Host, writer: NodeId, store: StoreId, blocks: u64, order: &str) -> Peaks {
    let own = KeyPair::from_seed([1; 32]);
    host.net(writer).listen(&own, true).expect("listening");
    wait(host, |_, node, event| node == writer && matches!(event, Event::Listening { .. }));
    forget();
    let mut other = Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", "memory_does_not_grow_with_a_core", "--nocapture"])
        .env(COPY, order)
        .stdin(Stdio::null())
        .spawn()
        .expect("a process");
    let (mut early, mut to) = (None, None);
    let ended = loop {
        match host.wait(Some(Duration::from_millis(100))).expect("the machine works") {
            Wake::Event(node, Event::Connected { conn, .. }) => {
                host.net(node).replicate(conn, store).expect("open");
                to = Some(conn);
            }
            Wake::Event(..) | Wake::Woken | Wake::Interrupted => {}
            Wake::TimedOut => {
                if let Some(ended) = other.try_wait().expect("ours") {
                    break ended;
                }
            }
        }
        let sent =
            to.and_then(|conn| host.net(writer).stream_stats(conn)).map_or(0, |told| told.raw_bytes_written);
        if early.is_none() && sent > blocks * BLOCK as u64 / 8 {
            early = Some(peak());
        }
    };
    assert!(ended.success(), "the other process: {ended}");
    Peaks { early: early.expect("an eighth was sent"), all: peak() }
}

#[test]
fn memory_does_not_grow_with_a_core() {
    if let Ok(order) = std::env::var(COPY) {
        return copy(&order);
    }
    let mib: u64 = std::env::var("SECKEL_MEMORY_MIB").map_or(128, |text| text.parse().expect("a number"));
    let (usual, _) = Exchange::default().inflight;
    replicated(mib * MIB / BLOCK as u64, usual);
    // One who asks for 64 MiB at once does not make the other keep them.
    replicated(64 * MIB / BLOCK as u64, 1024);
}

/// A core of so many blocks is written, read, copied by another process and read there. The other asks for that many
/// blocks at one time at least.
fn replicated(blocks: u64, inflight: usize) {
    let folder =
        Folder(Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("memory-{}", std::process::id())));
    std::fs::create_dir_all(&folder.0).expect("a folder");
    let mut host = Host::open().expect("a host");
    let port = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
    let dht = DhtConfig::bootstrapper(Addr::loopback(port)).expect("a host and a port");
    let writer = node(&mut host, dht, &folder.0.join("writer"));
    let store = host.net(writer).store("").expect("a store");
    let core = host.net(writer).core(store, "large").expect("a core");
    let key = host.net(writer).core_info(core).expect("open").key;
    let written = measure(blocks, |n| {
        host.net(writer).append(core, &[&block(n)]).expect("an append");
        // What happens is told, and waits until it is heard.
        while !matches!(host.wait(Some(Duration::ZERO)), Ok(Wake::TimedOut)) {}
    });
    written.check("written", blocks);
    read(&mut host, writer, core, blocks).check("read", blocks);
    let order = format!("{}\n{port}\n{}\n{blocks}\n{inflight}", folder.0.display(), hex::encode(&key));
    give(&mut host, writer, store, blocks, &order).check("given", blocks);
}
