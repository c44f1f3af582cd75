//! Memory and start-up: a bare process, one node of a DHT, a server with a store, and many nodes in one process.

use std::time::Duration;

use serde_json::{Value, json};

use seckel::edge::host::{Host, Wake};
use seckel::node::{DhtConfig, Event, JoinOptions};

use super::common::{Args, Report, cpu, now_ms, spawned_ms, vm};
use super::process::{Peer, Program, addresses, finish, new_key_pair, say, serve, testnet_role};

fn bare() -> ! {
    say(&json!({ "ready": true, "start_ms": now_ms() - spawned_ms() }));
    let mut line = String::new();
    while std::io::stdin().read_line(&mut line).is_ok_and(|read| read > 0) {
        line.clear();
        say(&json!({ "vm": vm() }));
    }
    finish(&json!({}));
}

fn dht(opts: &Args) -> ! {
    let spawned = spawned_ms();
    let start = now_ms() - spawned;
    let bootstrap = addresses(opts.value("bootstrap"));
    let mut program = Program::start(DhtConfig { bootstrap, host: [127, 0, 0, 1], ..DhtConfig::default() });
    let (mut listening, mut boot) = (None, None);
    while boot.is_none() {
        match program.host.wait(None).expect("runs") {
            Wake::Event(_, Event::Bound { .. }) => {
                listening.get_or_insert(now_ms() - spawned);
            }
            Wake::Event(_, Event::Bootstrapped) => boot = Some(now_ms() - spawned),
            _ => {}
        }
    }
    let ready = json!({
        "ready": true,
        "start_ms": start,
        "loaded_ms": start,
        "listening_ms": listening,
        "ready_ms": boot,
        "bootstrapped_ms": boot,
        "cpu_s": cpu(),
    });
    serve(&mut program.host, &ready, |_, _, _| {});
    drop(program);
    finish(&json!({}));
}

fn registry(opts: &Args) -> ! {
    let spawned = spawned_ms();
    let mut program = Program::join(opts.value("bootstrap"));
    let mut net = program.net();
    let store = net.store("").expect("a store");
    let core = net.core(store, "registry").expect("a core");
    for i in 0..1000_u64 {
        net.bee_put(core, format!("user-{i}").as_bytes(), &[i as u8; 32]).expect("puts");
    }
    let topic = net.core_info(core).expect("is open").discovery_key;
    let pair = new_key_pair();
    let server = net.listen(&pair, true).expect("listens");
    net.swarm(&new_key_pair());
    net.join(topic, JoinOptions { server: true, client: false }).expect("joins");
    let (mut listening, mut announced) = (false, false);
    program.until(|_, event| {
        match event {
            Event::Listening { server: which } if *which == server => listening = true,
            Event::Refreshed { topic: of } if *of == topic => announced = true,
            _ => {}
        }
        (listening && announced).then_some(())
    });
    let ready = json!({ "ready": true, "ready_ms": now_ms() - spawned, "cpu_s": cpu() });
    serve(&mut program.host, &ready, |host: &mut Host, id, event| match event {
        Event::Connected { conn, .. } => {
            let _ = host.net(id).replicate(conn, store);
            let _ = host.net(id).rpc(conn, &pair.public);
        }
        Event::Call { call, body, .. } => {
            let _ = host.net(id).answer(call, &body);
        }
        _ => {}
    });
    drop(program);
    finish(&json!({}));
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

pub fn run(args: &Args) -> Report {
    let mut report = Report::default();
    let idle = args.number("idle", 10_000);
    let mut testnet = Peer::start("footprint", "testnet", &json!({ "n": 20 }));
    let bootstrap = testnet.read()["bootstrap"].clone();
    let opts = json!({ "bootstrap": bootstrap });

    let mut starts: Vec<Value> = Vec::new();
    for _ in 0..5 {
        let mut peer = Peer::start("footprint", "dht", &opts);
        starts.push(peer.read());
        peer.stop();
    }
    let middle = |name: &str| {
        let mut all: Vec<f64> = starts.iter().map(|start| number(&start[name])).collect();
        all.sort_by(f64::total_cmp);
        all[2]
    };
    report.figure("dht_script_start_ms", middle("start_ms"));
    for name in ["loaded_ms", "listening_ms", "ready_ms", "bootstrapped_ms"] {
        report.figure(&format!("dht_{name}"), middle(name));
    }
    report.figure("dht_start_cpu_ms", middle("cpu_s") * 1000.0);

    let mut bare = Peer::start("footprint", "bare", &json!({}));
    let mut dht = Peer::start("footprint", "dht", &opts);
    let mut registry = Peer::start("footprint", "registry", &opts);
    bare.read();
    let (dht_before, registry_before) = (dht.read(), registry.read());
    std::thread::sleep(Duration::from_millis(idle));
    let (bare_after, dht_after, registry_after) = (bare.ask(), dht.ask(), registry.ask());
    report.figure("bare_rss_kb", number(&bare_after["vm"]["VmRSS"]));
    for (name, before, after) in
        [("dht", &dht_before, &dht_after), ("registry", &registry_before, &registry_after)]
    {
        report.figure(&format!("{name}_rss_kb"), number(&after["vm"]["VmRSS"]));
        report.figure(&format!("{name}_hwm_kb"), number(&after["vm"]["VmHWM"]));
        report.figure(&format!("{name}_anon_kb"), number(&after["vm"]["RssAnon"]));
        report.figure(&format!("{name}_threads"), number(&after["vm"]["Threads"]));
        let used = number(&after["cpu_s"]) - number(&before["cpu_s"]);
        report.figure(&format!("{name}_idle_cpu_ms_s"), used / idle as f64 * 1e6);
    }
    report.figure("registry_ready_ms", number(&registry_before["ready_ms"]));
    for peer in [bare, dht, registry, testnet] {
        peer.stop();
    }

    let big = args.number("big", 1000);
    if big > 0 {
        let mut peer = Peer::start("footprint", "testnet", &json!({ "n": big }));
        let begun = peer.read();
        let idle = args.number("bigidle", 3000);
        std::thread::sleep(Duration::from_millis(idle));
        let after = peer.ask();
        let rss = number(&after["vm"]["VmRSS"]);
        report.figure("big_nodes", big as f64);
        report.figure("big_create_s", number(&begun["create_ms"]) / 1000.0);
        report.figure("big_create_cpu_s", number(&begun["create_cpu_s"]));
        report.figure("big_rss_kb", rss);
        report.figure("big_hwm_kb", number(&after["vm"]["VmHWM"]));
        report.figure("big_rss_kb_node", (rss - number(&begun["before"])) / big as f64);
        let used = number(&after["cpu_s"]) - number(&begun["create_cpu_s"]);
        report.figure("big_idle_cpu_ms_s", used / idle as f64 * 1e6);
        peer.stop();
    }
    report
}

pub fn role(role: &str, opts: &Args) {
    match role {
        "bare" => bare(),
        "dht" => dht(opts),
        "registry" => registry(opts),
        _ => testnet_role(opts.number("n", 20)),
    }
}
