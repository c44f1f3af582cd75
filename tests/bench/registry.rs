//! A registry end to end, as its user sees it: names are registered by calls, and looked up in a copy.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use seckel::app::registry::gate::Bounds;
use seckel::app::registry::rules;
use seckel::app::registry::server::Server;
use seckel::base::{Key, Time, hex};
use seckel::edge::host::Wake;
use seckel::node::{CoreId, Durability, Event, JoinOptions};

use super::common::{Args, Latencies, Report, cpu, now_ms, spawned_ms, vm};
use super::process::{Lines, Peer, Program, finish, key, new_key_pair, say, testnet_role};
use super::rpc;

fn server(opts: &Args) -> ! {
    let spawned = spawned_ms();
    let mut program = Program::join(opts.value("bootstrap"));
    program.net().set_durability(durability(opts.value("sync") == true));
    let mut server = Server::start(&mut program.net(), Bounds::default()).expect("the server starts");
    let mut listening = None;
    let mut lines = None;
    loop {
        if lines.is_none() && server.reachable() {
            lines = Some(Lines::of_stdin(&program.host));
            say(&json!({
                "ready": true,
                "rpc": hex::encode(&server.keys().server),
                "bee": hex::encode(&server.keys().core),
                "listening_ms": listening,
                "ready_ms": now_ms() - spawned,
            }));
        }
        let now = program.host.now();
        let patience = server.deadline(now).map(|at: Time| Duration::from_micros(at.since(now).as_micros()));
        match program.host.wait(patience).expect("runs") {
            Wake::Event(_, event) => {
                if let Event::Listening { .. } = event {
                    listening.get_or_insert(now_ms() - spawned);
                }
                server.on_event(&mut program.net(), event).expect("the server runs");
            }
            Wake::TimedOut => server.on_timeout(&mut program.net()).expect("the server runs"),
            Wake::Woken if lines.as_ref().is_some_and(|lines: &Lines| !lines.answer()) => break,
            Wake::Woken | Wake::Interrupted => {}
        }
    }
    drop(program);
    finish(&json!({}));
}

fn durability(sync: bool) -> Durability {
    if sync { Durability::Flush } else { Durability::Kernel }
}

/// A client: calls to the server, and a copy of its tree.
struct Client {
    inner: rpc::Client,
    core: CoreId,
    swarm_ms: Option<f64>,
}

impl Client {
    fn start(bootstrap: &Value, server: Key, bee: Key, durability: Durability) -> Client {
        let mut program = Program::join(bootstrap);
        let mut net = program.net();
        net.set_durability(durability);
        let store = net.store("").expect("a store");
        let core = net.core_by_key(store, &bee).expect("a core");
        let topic = net.core_info(core).expect("is open").discovery_key;
        net.download(core).expect("is open");
        net.swarm(&new_key_pair());
        net.join(topic, JoinOptions { server: false, client: true }).expect("joins");
        let start = now_ms();
        let conn = net.connect(server, &new_key_pair(), true).expect("begins to connect");
        let mut swarm_ms = None;
        let mut rpc = None;
        program.until(|net, event| {
            match event {
                Event::Connected { conn: on, .. } if *on == conn => {
                    rpc = Some(net.rpc(conn, &server).expect("opens a channel"));
                }
                Event::Connected { conn, .. } => {
                    let _ = net.replicate(*conn, store);
                    swarm_ms = Some(now_ms() - start);
                }
                Event::ConnectFailed { why, .. } => panic!("no connection: {why}"),
                _ => {}
            }
            rpc.filter(|_| swarm_ms.is_some())
        });
        Client { inner: rpc::Client { program, rpc: rpc.expect("is open") }, core, swarm_ms }
    }

    fn request(&mut self, method: &str, name: &str) -> String {
        let answer = self.inner.call(method, &rules::request(name));
        rules::read_answer(&answer).expect("an answer of the registry")
    }

    /// Waits until the copy says the same.
    fn settle(&mut self, name: &str, present: bool) {
        let core = self.core;
        let shown = |net: &mut seckel::node::Net<'_>| match net.bee_get(core, name.as_bytes()) {
            Ok(found) => found.is_some() == present && net.core_info(core).is_ok_and(|info| info.length > 0),
            Err(_) => false,
        };
        if shown(&mut self.inner.program.net()) {
            return;
        }
        self.inner.program.until(|net, event| match event {
            Event::Appended { .. } | Event::Downloaded { .. } => shown(net).then_some(()),
            _ => None,
        });
    }

    fn register(&mut self, name: &str) -> String {
        let answer = self.request("register", name);
        if answer == "OK" {
            self.settle(name, true);
        }
        answer
    }

    fn delete(&mut self, name: &str) -> String {
        let answer = self.request("delete", name);
        if answer == "OK" {
            self.settle(name, false);
        }
        answer
    }

    fn lookup(&mut self, name: &str) -> Option<Vec<u8>> {
        let core = self.core;
        self.inner.program.net().bee_get(core, name.as_bytes()).expect("reads")
    }
}

/// A client in a process of its own: its first register, from the start of the process on.
fn first_client(opts: &Args) -> ! {
    let spawned = spawned_ms();
    let mut client = Client::start(
        opts.value("bootstrap"),
        key(opts.value("rpc")),
        key(opts.value("bee")),
        Durability::Kernel,
    );
    let answer = client.register("first");
    let done = now_ms();
    let ready =
        json!({ "ready": true, "answer": answer, "first_ms": done - spawned, "swarm_ms": client.swarm_ms });
    super::process::serve(&mut client.inner.program.host, &ready, |_, _, _| {});
    drop(client);
    finish(&json!({ "vm": vm() }));
}

pub fn run(args: &Args) -> Report {
    let mut report = Report::default();
    let mut testnet = Peer::start("registry", "testnet", &json!({ "n": 10 }));
    let bootstrap = testnet.read()["bootstrap"].clone();
    let mut server = Peer::start("registry", "server", &json!({ "bootstrap": bootstrap }));
    let ready = server.read();
    let opts = json!({ "bootstrap": bootstrap, "rpc": ready["rpc"], "bee": ready["bee"] });
    let mut one = Peer::start("registry", "client", &opts);
    let first = one.read();
    report.figure("launch_to_first_register_ms", now_ms() - server.spawned_ms);
    report.figure("server_listening_ms", ready["listening_ms"].as_f64().unwrap_or(f64::NAN));
    report.figure("server_ready_ms", ready["ready_ms"].as_f64().unwrap_or(f64::NAN));
    report.figure("client_exec_to_first_register_ms", first["first_ms"].as_f64().unwrap_or(f64::NAN));
    assert_eq!(first["answer"], "OK");
    one.stop();

    let mut client = Client::start(&bootstrap, key(&ready["rpc"]), key(&ready["bee"]), Durability::Kernel);
    assert_eq!(client.register("second"), "OK");
    assert!(client.register("first").starts_with("ERR:"));
    assert_eq!(client.register("second"), "IDEMPOTENT");
    for i in 0..50 {
        client.register(&format!("warm-{i}"));
    }
    let count = args.number("registers", 1000);
    registers(&mut client, &mut server, "", count, &mut report);
    lookups(&mut client, count, args.number("lookups", 20_000), &mut report);
    let deletes = args.number("deletes", 200);
    let start = Instant::now();
    for i in 0..deletes {
        assert_eq!(client.delete(&format!("user-{i:06}")), "OK");
    }
    report.figure("deletes_s", deletes as f64 / start.elapsed().as_secs_f64());
    drop(client);
    let end = server.ask();
    report.figure("server_rss_after_kb", end["vm"]["VmRSS"].as_f64().unwrap_or(f64::NAN));
    report.figure("server_hwm_kb", end["vm"]["VmHWM"].as_f64().unwrap_or(f64::NAN));
    server.stop();
    synced(&bootstrap, args.number("sync", 200), &mut report);
    testnet.stop();
    report.info("first", first);
    report
}

/// The same where an answer outlives a crash of the machine. The copy does not, as in the program: it is fetched again.
fn synced(bootstrap: &Value, count: u64, report: &mut Report) {
    let mut server = Peer::start("registry", "server", &json!({ "bootstrap": bootstrap, "sync": true }));
    let ready = server.read();
    let mut client = Client::start(bootstrap, key(&ready["rpc"]), key(&ready["bee"]), Durability::Kernel);
    assert_eq!(client.register("first"), "OK");
    registers(&mut client, &mut server, "_sync", count, report);
    drop(client);
    server.stop();
}

fn registers(client: &mut Client, server: &mut Peer, mode: &str, count: u64, report: &mut Report) {
    let mut latencies = Latencies::default();
    let (served, used, start) = (server.cpu(), cpu(), Instant::now());
    for i in 0..count {
        let name = format!("user-{i:06}");
        let answer = latencies.time(|| client.register(&name));
        assert_eq!(answer, "OK");
    }
    let s = start.elapsed().as_secs_f64();
    let used = cpu() - used;
    report.figure(&format!("registers{mode}_s"), count as f64 / s);
    report.figure(&format!("register{mode}_p50_ms"), latencies.ms(50.0));
    report.figure(&format!("register{mode}_p99_ms"), latencies.ms(99.0));
    report.figure(&format!("register{mode}_client_cpu_ms"), used / count as f64 * 1000.0);
    report.figure(&format!("register{mode}_server_cpu_ms"), (server.cpu() - served) / count as f64 * 1000.0);

    let start = Instant::now();
    client.inner.call_many(
        "register",
        count,
        16,
        |n| rules::request(&format!("par-{n}")),
        |_, answer| assert_eq!(rules::read_answer(&answer).as_deref(), Some("OK")),
    );
    report.figure(&format!("registers{mode}_par16_s"), count as f64 / start.elapsed().as_secs_f64());
    client.settle(&format!("par-{}", count - 1), true);
}

fn lookups(client: &mut Client, registered: u64, count: u64, report: &mut Report) {
    let mut latencies = Latencies::default();
    let start = Instant::now();
    for i in 0..count {
        let name = format!("user-{:06}", (i * 7919) % registered);
        latencies.time(|| client.lookup(&name)).expect("is registered");
    }
    report.figure("lookups_s", count as f64 / start.elapsed().as_secs_f64());
    report.figure("lookup_p50_us", latencies.us(50.0));
    report.figure("lookup_p99_us", latencies.us(99.0));
}

pub fn role(role: &str, opts: &Args) {
    match role {
        "server" => server(opts),
        "client" => first_client(opts),
        _ => testnet_role(opts.number("n", 10)),
    }
}
