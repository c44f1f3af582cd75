//! @hyperswarm/rpc over real connections: our client at its server, its client at our server. The channel's id is the
//! server's public key.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use seckel::base::{Addr, Key, Span, hex};
use seckel::crypto::sign::KeyPair;
use seckel::edge::host::{Host, NodeId, Wake};
use seckel::node::{Config, ConnId, Event, Failure};
use serde_json::{Value, json};

use crate::support::{Node, skipped};

/// Longer than anything here takes, except when it fails.
const PATIENCE: Duration = Duration::from_secs(30);

struct Story {
    node: Node,
    host: Host,
    id: NodeId,
    root: PathBuf,
}

impl Story {
    fn begin(name: &str) -> Story {
        let mut node = Node::start("hyperswarm_rpc.js", &[]);
        let port = node.ask(&json!({ "do": "net" }))["port"].as_u64().expect("a port") as u16;
        let folder = format!("hyperswarm-rpc-{}-{name}", std::process::id());
        let root = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
        std::fs::create_dir_all(&root).expect("a folder");
        let mut config = Config::default();
        config.dht.host = [127, 0, 0, 1];
        config.dht.port = 0;
        config.dht.bootstrap = vec![Addr::loopback(port)];
        let mut host = Host::open().expect("a host");
        let id = host.add(config, &root).expect("a node");
        let mut story = Story { node, host, id, root };
        story.until(|_, event| matches!(event, Event::Bootstrapped).then_some(()));
        story
    }

    /// The next event that `pick` wants.
    fn until<T>(&mut self, mut pick: impl FnMut(&mut Story, &Event) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Wake::Event(_, event) = self.host.wait(Some(Duration::from_millis(5))).expect("a host")
                && let Some(found) = pick(self, &event)
            {
                return found;
            }
        }
        panic!("not in time");
    }

    fn answer(&mut self, event: &Event) {
        if let Event::Call { call, method, body, .. } = event {
            let mut net = self.host.net(self.id);
            match &method[..] {
                "echo" => net.answer(*call, body),
                _ => net.refuse(*call, "NOT_HERE", "no such thing"),
            }
            .expect("a call");
        }
    }

    /// What Node's client was told next; our server answers meanwhile.
    fn told(&mut self) -> Value {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Wake::Event(_, event) = self.host.wait(Some(Duration::from_millis(5))).expect("a host") {
                self.answer(&event);
            }
            let told = self.node.ask(&json!({ "do": "answers" }));
            if let Some(first) = told["answers"].as_array().and_then(|answers| answers.first()) {
                return first.clone();
            }
        }
        panic!("not in time");
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

// proves protomux_rpc.24
#[test]
fn our_client_calls_their_server() {
    if skipped("@hyperswarm/rpc: our client") {
        return;
    }
    let mut story = Story::begin("client");
    let answer = story.node.ask(&json!({ "do": "listen" }));
    let server: Key =
        hex::decode(answer["key"].as_str().expect("hex")).expect("hex").try_into().expect("32 bytes");
    let pair = KeyPair::from_seed([3; 32]);
    story.host.net(story.id).connect(server, &pair, true).expect("dialled");
    let conn: ConnId = story.until(|_, event| match event {
        Event::Connected { conn, .. } => Some(*conn),
        Event::ConnectFailed { why, .. } => panic!("{why}"),
        _ => None,
    });
    let rpc = story.host.net(story.id).rpc(conn, &server).expect("a channel");
    let ask = |story: &mut Story, method: &str, body: &[u8]| -> Result<Vec<u8>, Failure> {
        let timeout = Some(Span::from_secs(20));
        let asked = story.host.net(story.id).call(rpc, method, body, timeout).expect("asked");
        story.until(|story, event| {
            story.answer(event);
            match event {
                Event::Answer { call, result } if *call == asked => Some(result.clone()),
                _ => None,
            }
        })
    };
    assert_eq!(ask(&mut story, "echo", b"ping"), Ok(b"ping".to_vec()));
    assert_eq!(ask(&mut story, "ask back", b"to and fro"), Ok(b"to and fro".to_vec()));
    let broken = ask(&mut story, "throws", b"").expect_err("throws");
    assert_eq!(broken.to_string(), "REQUEST_ERROR: Request failed (BROKEN: it broke)");
    let unknown = ask(&mut story, "nothing", b"").expect_err("unknown");
    assert_eq!(unknown.to_string(), "UNKNOWN_METHOD: Unknown method 'nothing'");
    let large = vec![0xab; 1 << 20];
    assert_eq!(ask(&mut story, "echo", &large), Ok(large));
}

// proves protomux_rpc.24
#[test]
fn their_client_calls_our_server() {
    if skipped("@hyperswarm/rpc: our server") {
        return;
    }
    let mut story = Story::begin("server");
    let pair = KeyPair::from_seed([4; 32]);
    let public = pair.public;
    story.host.net(story.id).listen(&pair, true).expect("listens");
    story.until(|_, event| matches!(event, Event::Listening { .. }).then_some(()));
    story.node.ask(&json!({ "do": "connect", "key": hex::encode(&public) }));
    story.node.ask(&json!({ "do": "request", "method": "echo", "value": "0102" }));
    story.until(|story, event| match event {
        Event::Connected { conn, .. } => {
            story.host.net(story.id).rpc(*conn, &public).expect("a channel");
            Some(())
        }
        _ => None,
    });
    assert_eq!(story.told(), json!({ "value": "0102" }), "asked before we had opened the channel");
    let large = "cd".repeat(300_000);
    story.node.ask(&json!({ "do": "request", "method": "echo", "value": large }));
    assert_eq!(story.told()["value"], large);
    story.node.ask(&json!({ "do": "request", "method": "nothing", "value": "" }));
    assert_eq!(story.told(), json!({ "code": "REQUEST_ERROR", "cause": "no such thing" }));
    story.node.ask(&json!({ "do": "end" }));
    assert_eq!(story.told(), json!({ "closed": true }));
    story.until(|_, event| matches!(event, Event::Closed { .. } | Event::RpcClosed { .. }).then_some(()));
}
