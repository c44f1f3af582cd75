//! Calls between two processes: an echo of a small payload, one at a time and many in flight.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::json;

use seckel::base::hex;
use seckel::node::{CallId, Event, RpcId};

use super::common::{Args, Latencies, Report, cpu, fill};
use super::process::{
    Peer, Program, bare_udp_us, bootstrap, finish, key, new_key_pair, serve, testnet_role, udp_role,
};

fn server(opts: &Args) -> ! {
    let mut program = Program::join(opts.value("bootstrap"));
    let pair = new_key_pair();
    let listening = program.net().listen(&pair, true).expect("listens");
    program
        .until(|_, event| matches!(event, Event::Listening { server } if *server == listening).then_some(()));
    let ready = json!({ "ready": true, "key": hex::encode(&pair.public) });
    serve(&mut program.host, &ready, |host, id, event| match event {
        Event::Connected { conn, .. } => {
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

/// An open channel for calls.
pub struct Client {
    pub program: Program,
    pub rpc: RpcId,
}

impl Client {
    pub fn connect(mut program: Program, server: [u8; 32]) -> Client {
        let conn = program.connect(server, &new_key_pair(), true);
        let rpc = program.net().rpc(conn, &server).expect("opens a channel");
        Client { program, rpc }
    }

    pub fn call(&mut self, method: &str, body: &[u8]) -> Vec<u8> {
        let rpc = self.rpc;
        let wanted = self.program.net().call(rpc, method, body, None).expect("calls");
        self.program.until(|_, event| match event {
            Event::Answer { call, result } if *call == wanted => Some(result.clone().expect("an answer")),
            _ => None,
        })
    }

    /// Makes `count` calls, `inflight` at once, each with the body that `body` gives for its number.
    pub fn call_many(
        &mut self,
        method: &str,
        count: u64,
        inflight: usize,
        mut body: impl FnMut(u64) -> Vec<u8>,
        mut answered: impl FnMut(Instant, Vec<u8>),
    ) {
        let mut begun: BTreeMap<CallId, Instant> = BTreeMap::new();
        let mut made = 0;
        while made < count || !begun.is_empty() {
            while made < count && begun.len() < inflight {
                let at = Instant::now();
                let rpc = self.rpc;
                let call = self.program.net().call(rpc, method, &body(made), None).expect("calls");
                begun.insert(call, at);
                made += 1;
            }
            if let Event::Answer { call, result } = self.program.next()
                && let Some(at) = begun.remove(&call)
            {
                answered(at, result.expect("an answer"));
            }
        }
    }
}

pub fn run(args: &Args) -> Report {
    let mut report = Report::default();
    let (testnet, bootstrap) = bootstrap("rpc", args);
    let mut peer = Peer::start("rpc", "server", &json!({ "bootstrap": bootstrap }));
    let server = key(&peer.read()["key"]);
    let message = fill(args.number("size", 32) as usize, 3);
    let program = Program::join(&bootstrap);
    let start = Instant::now();
    let mut client = Client::connect(program, server);
    client.call("echo", &message);
    report.figure("first_request_ms", start.elapsed().as_secs_f64() * 1000.0);
    for _ in 0..2000 {
        client.call("echo", &message);
    }

    report.figure("bare_udp_p50_us", bare_udp_us("rpc"));
    let count = args.number("seq", 10_000);
    let mut latencies = Latencies::default();
    let (used, served, start) = (cpu(), peer.cpu(), Instant::now());
    for _ in 0..count {
        let at = Instant::now();
        assert_eq!(client.call("echo", &message).len(), message.len());
        latencies.since(at);
    }
    let s = start.elapsed().as_secs_f64();
    report.figure("seq_req_s", count as f64 / s);
    report.figure("seq_p50_us", latencies.us(50.0));
    report.figure("seq_p99_us", latencies.us(99.0));
    report.figure("seq_client_cpu_us", (cpu() - used) / count as f64 * 1e6);
    report.figure("seq_server_cpu_us", (peer.cpu() - served) / count as f64 * 1e6);

    let count = args.number("par", 50_000);
    let mut latencies = Latencies::default();
    let (used, served, start) = (cpu(), peer.cpu(), Instant::now());
    let inflight = args.number("inflight", 64) as usize;
    client.call_many("echo", count, inflight, |_| message.clone(), |at, _| latencies.since(at));
    let s = start.elapsed().as_secs_f64();
    report.figure("par64_req_s", latencies.0.len() as f64 / s);
    report.figure("par64_p50_us", latencies.us(50.0));
    report.figure("par64_p99_us", latencies.us(99.0));
    report.figure("par64_client_cpu_us", (cpu() - used) / count as f64 * 1e6);
    report.figure("par64_server_cpu_us", (peer.cpu() - served) / count as f64 * 1e6);

    report.info("server", peer.stop());
    testnet.map(Peer::stop);
    report
}

pub fn role(role: &str, opts: &Args) {
    match role {
        "server" => server(opts),
        "udp" => udp_role(),
        _ => testnet_role(opts.number("n", 5)),
    }
}
