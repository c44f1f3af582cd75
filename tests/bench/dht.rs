//! A network of twenty nodes in one process, asked from this one; and pings to one node.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::json;

use seckel::base::Addr;
use seckel::crypto::hash::blake2b_256;
use seckel::node::{DhtConfig, Event, KeyPair, LookupId, Net};

use super::common::{Args, Latencies, Report, cpu, fill, numbered};
use super::process::{Peer, Program, finish, new_key_pair, serve, testnet_role};

/// One node that is not ephemeral and knows no other.
fn node() -> ! {
    let mut program = Program::alone();
    program.bootstrapped();
    let port = program.net().status().local.expect("is bound").port;
    serve(&mut program.host, &json!({ "ready": true, "port": port }), |_, _, _| {});
    drop(program);
    finish(&json!({}));
}

/// What the operations work on.
struct Load {
    values: Vec<Vec<u8>>,
    topics: Vec<[u8; 32]>,
    pairs: Vec<KeyPair>,
}

impl Load {
    fn new(count: u64) -> Load {
        let base = fill(100, 4);
        let value = |i| numbered(&base, i);
        Load {
            values: (0..count).map(value).collect(),
            topics: (0..count).map(|i| blake2b_256(&[&value(i + 1_000_000)])).collect(),
            pairs: (0..count).map(|_| new_key_pair()).collect(),
        }
    }

    fn begin(&self, net: &mut Net<'_>, name: &str, i: usize) -> LookupId {
        match name {
            "immutable_put" => net.store_immutable(&self.values[i]).expect("short enough"),
            "immutable_get" => net.find_immutable(blake2b_256(&[&self.values[i]])),
            "announce" => net.announce(self.topics[i], &self.pairs[i], Vec::new()),
            "lookup" => net.lookup(self.topics[i]),
            "mutable_put" => net.store_mutable(&self.pairs[i], 0, &self.values[i]).expect("short enough"),
            "mutable_get" => net.find_mutable(self.pairs[i].public, 0),
            _ => net.find_nodes(self.topics[i]),
        }
    }
}

const OPERATIONS: [&str; 7] =
    ["immutable_put", "immutable_get", "announce", "lookup", "mutable_put", "mutable_get", "find_node"];

/// Waits until a lookup ends; how much it found.
fn finished(program: &mut Program, wanted: LookupId) -> usize {
    let mut found = 0;
    program.until(|_, event| match event {
        Event::Found { lookup, .. } | Event::Value { lookup, .. } if *lookup == wanted => {
            found += 1;
            None
        }
        Event::LookupDone { lookup, ok } if *lookup == wanted => {
            assert!(ok, "somebody answers");
            Some(())
        }
        _ => None,
    });
    found
}

fn one_by_one(program: &mut Program, testnet: &mut Peer, load: &Load, name: &str, report: &mut Report) {
    let count = load.values.len();
    let mut latencies = Latencies::default();
    let requests = program.net().dht_stats().requests;
    let (used, served, start) = (cpu(), testnet.cpu(), Instant::now());
    for i in 0..count {
        let begun = Instant::now();
        let lookup = load.begin(&mut program.net(), name, i);
        let found = finished(program, lookup);
        latencies.since(begun);
        assert!(found > 0 || !["immutable_get", "lookup", "mutable_get"].contains(&name), "{name} finds it");
    }
    let s = start.elapsed().as_secs_f64();
    let count = count as f64;
    report.figure(&format!("{name}_ops_s"), count / s);
    report.figure(&format!("{name}_p50_ms"), latencies.ms(50.0));
    report.figure(&format!("{name}_p99_ms"), latencies.ms(99.0));
    report.figure(&format!("{name}_client_cpu_ms"), (cpu() - used) / count * 1000.0);
    report.figure(&format!("{name}_testnet_cpu_ms"), (testnet.cpu() - served) / count * 1000.0);
    let requests = program.net().dht_stats().requests - requests;
    report.figure(&format!("{name}_requests"), requests as f64 / count);
}

/// Keeps `at_once` questions in flight until `count` have ended; how many of them failed.
fn many(
    program: &mut Program,
    count: u64,
    at_once: usize,
    mut begin: impl FnMut(&mut Net<'_>, u64) -> LookupId,
) -> u64 {
    let mut flying: BTreeMap<LookupId, ()> = BTreeMap::new();
    let (mut begun, mut bad) = (0, 0);
    while begun < count || !flying.is_empty() {
        while begun < count && flying.len() < at_once {
            flying.insert(begin(&mut program.net(), begun), ());
            begun += 1;
        }
        if let Event::LookupDone { lookup, ok } = program.next()
            && flying.remove(&lookup).is_some()
            && !ok
        {
            bad += 1;
        }
    }
    bad
}

fn pings(args: &Args, report: &mut Report) {
    let mut node = Peer::start("dht", "node", &json!({}));
    let addr = Addr::loopback(node.read()["port"].as_u64().expect("a port") as u16);
    let mut program =
        Program::start(DhtConfig { host: [127, 0, 0, 1], window: 100_000, ..DhtConfig::default() });
    program.bootstrapped();
    let mut latencies = Latencies::default();
    for _ in 0..3000 {
        let begun = Instant::now();
        let ping = program.net().ping(addr);
        finished(&mut program, ping);
        latencies.since(begun);
    }
    latencies.0.drain(..1000);
    report.figure("ping_seq_p50_us", latencies.us(50.0));
    report.figure("ping_seq_p99_us", latencies.us(99.0));
    let (count, at_once) = (args.number("pings", 100_000), args.number("inflight", 256) as usize);
    let (used, served, start) = (cpu(), node.cpu(), Instant::now());
    let bad = many(&mut program, count, at_once, |net, _| net.ping(addr));
    let s = start.elapsed().as_secs_f64();
    report.figure("ping_256_req_s", count as f64 / s);
    report.figure("ping_256_client_cpu_us", (cpu() - used) / count as f64 * 1e6);
    report.figure("ping_256_server_cpu_us", (node.cpu() - served) / count as f64 * 1e6);
    report.figure("ping_256_lost", bad as f64);
    report.figure("ping_256_retries", program.net().dht_stats().retries as f64);
    node.stop();
}

pub fn run(args: &Args) -> Report {
    let mut report = Report::default();
    let nodes = args.number("nodes", 20);
    let mut testnet = Peer::start("dht", "testnet", &json!({ "n": nodes }));
    let ready = testnet.read();
    report.figure("testnet_create_ms_node", ready["create_ms"].as_f64().unwrap_or(f64::NAN) / nodes as f64);
    let mut program = Program::join(&ready["bootstrap"]);
    program.bootstrapped();
    let ops = args.number("ops", 300);
    let load = Load::new(ops);
    let only = args.text("only");
    for name in
        OPERATIONS.into_iter().filter(|name| only.is_none_or(|only| only.split(',').any(|o| o == *name)))
    {
        one_by_one(&mut program, &mut testnet, &load, name, &mut report);
    }
    if only.is_some() {
        return report;
    }
    let start = Instant::now();
    let at_once = args.number("parallel", 8) as usize;
    let bad = many(&mut program, ops * 2, at_once, |net, n| load.begin(net, "lookup", (n % ops) as usize));
    assert_eq!(bad, 0);
    report.figure("lookup_par8_ops_s", (ops * 2) as f64 / start.elapsed().as_secs_f64());
    drop(program);
    testnet.stop();
    pings(args, &mut report);
    report
}

pub fn role(role: &str, opts: &Args) {
    match role {
        "node" => node(),
        _ => testnet_role(opts.number("n", 20)),
    }
}
