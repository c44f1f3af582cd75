//! What a process keeps in memory while cores that are larger than it are written, copied and read: blocks of 64 KiB,
//! both nodes in this process, files on the disk. `SECKEL_MEMORY_MIB=10240 cargo test --release --test memory` writes
//! ten GiB (twice), and the figures are the peaks of its resident memory, without the system's cache of files.

#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use seckel::base::Addr;
use seckel::edge::{Host, NodeId, Wake};
use seckel::node::{Config, DhtConfig, Event, KeyPair};

const BLOCK: usize = 64 << 10;
const MIB: u64 = 1 << 20;
/// How much higher the peak may be when everything is done than after an eighth of it, in kilobytes: what is under way
/// between the two nodes comes and goes.
const GROWTH: u64 = 8 << 10;

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

/// A node of a network of its own, and one that joins it.
fn pair(folder: &Path) -> (Host, NodeId, NodeId) {
    let mut host = Host::open().expect("a host");
    let free = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
    let first = Addr::loopback(free);
    let dht = DhtConfig::bootstrapper(first).expect("a host and a port");
    let writer = host.add(Config { dht, ..Config::default() }, &folder.join("writer")).expect("a node");
    wait(&mut host, |_, node, event| node == writer && matches!(event, Event::Bootstrapped));
    let dht = DhtConfig { bootstrap: vec![first], host: [127, 0, 0, 1], ..DhtConfig::default() };
    let reader = host.add(Config { dht, ..Config::default() }, &folder.join("reader")).expect("a node");
    wait(&mut host, |_, node, event| node == reader && matches!(event, Event::Bootstrapped));
    (host, writer, reader)
}

/// The peaks while `count` steps are done: after the first of eight parts, and of all.
fn measure(what: &str, count: u64, mut step: impl FnMut(u64)) -> u64 {
    forget();
    let part = (count / 8).max(1);
    let mut early = 0;
    for n in 0..count {
        step(n);
        if n == part {
            early = peak();
        }
    }
    let all = peak();
    println!(
        "{what}: {count} blocks of 64 KiB, peak of resident memory {early} KiB after an eighth, {all} KiB in all"
    );
    assert!(all < early + GROWTH, "{what}: {early} KiB, then {all} KiB");
    all
}

#[test]
fn memory_does_not_grow_with_a_core() {
    let mib: u64 = std::env::var("SECKEL_MEMORY_MIB").map_or(128, |text| text.parse().expect("a number"));
    let blocks = mib * MIB / BLOCK as u64;
    let folder =
        Folder(Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("memory-{}", std::process::id())));
    std::fs::create_dir_all(&folder.0).expect("a folder");
    let (mut host, writer, reader) = pair(&folder.0);
    let store = host.net(writer).store("").expect("a store");
    let core = host.net(writer).core(store, "large").expect("a core");
    let key = host.net(writer).core_info(core).expect("open").key;
    let mut peaks = vec![measure("written", blocks, |n| {
        host.net(writer).append(core, &[&block(n)]).expect("an append");
        // What happens is told, and waits until it is heard.
        while !matches!(host.wait(Some(Duration::ZERO)), Ok(Wake::TimedOut)) {}
    })];
    peaks.push(measure("read", blocks, |n| {
        assert!(host.net(writer).block(core, n).is_ok_and(|found| found == Some(block(n))), "block {n}");
    }));
    let own = KeyPair::from_seed([1; 32]);
    host.net(writer).listen(&own, true).expect("listening");
    wait(&mut host, |_, node, event| node == writer && matches!(event, Event::Listening { .. }));
    let replicas = host.net(reader).store("").expect("a store");
    let copy = host.net(reader).core_by_key(replicas, &key).expect("a core");
    host.net(reader).download(copy).expect("open");
    host.net(reader).connect(own.public, &KeyPair::from_seed([2; 32]), true).expect("connecting");
    peaks.push(measure("replicated", blocks, |_| {
        wait(&mut host, |host, node, event| {
            if let Event::Connected { conn, .. } = event {
                let store = if node == writer { store } else { replicas };
                host.net(node).replicate(*conn, store).expect("open");
            }
            matches!(event, Event::Downloaded { .. })
        });
    }));
    assert_eq!(host.net(reader).core_info(copy).expect("open").contiguous_length, blocks);
    peaks.push(measure("read from the copy", blocks, |n| {
        assert!(host.net(reader).block(copy, n).is_ok_and(|found| found == Some(block(n))), "block {n}");
    }));
    if cfg!(not(debug_assertions)) {
        // Both ends of the copying are in this process.
        let bounds = [16 << 10, 16 << 10, 32 << 10, 32 << 10];
        assert!(peaks.iter().zip(bounds).all(|(peak, bound)| *peak < bound), "{peaks:?} KiB");
    }
}
