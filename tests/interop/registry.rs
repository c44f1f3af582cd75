//! The registry as its users have it: processes of the command line and of the real packages, in all mixtures.

use serde_json::json;

use super::seckel::{Folder, Seckel};
use super::support::{Node, skipped};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Made {
    Seckel,
    Node,
}

enum Process {
    Seckel(Seckel),
    Node(Node),
}

impl Process {
    fn leave(self) {
        match self {
            Process::Seckel(seckel) => seckel.interrupt(),
            Process::Node(mut node) => {
                node.ask(&json!({ "leave": true }));
            }
        }
    }
}

/// A DHT of so many nodes.
fn dht(made: Made, nodes: usize) -> (Process, String) {
    match made {
        Made::Seckel => {
            let mut seckel = Seckel::start(&["testnet", "--nodes", &nodes.to_string()]);
            let line = seckel.line_with("Bootstrap: ");
            let bootstrap = line.trim_start_matches("Bootstrap: ").to_owned();
            (Process::Seckel(seckel), bootstrap)
        }
        Made::Node => {
            let mut node = Node::start("registry.js", &["dht", &json!({ "nodes": nodes }).to_string()]);
            let bootstrap = node.hear()["bootstrap"].as_str().expect("an address").to_owned();
            (Process::Node(node), bootstrap)
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Keys {
    server: String,
    core: String,
}

fn server(made: Made, bootstrap: &str, storage: &str) -> (Process, Keys) {
    match made {
        Made::Seckel => {
            let mut seckel =
                Seckel::start(&["registry", "server", "--bootstrap", bootstrap, "--storage", storage]);
            let key = |line: String| line.rsplit(' ').next().expect("a word").to_owned();
            let server = key(seckel.line_with("Server Public Key: "));
            let core = key(seckel.line_with("Database Core Key: "));
            (Process::Seckel(seckel), Keys { server, core })
        }
        Made::Node => {
            let options = json!({ "bootstrap": bootstrap, "storage": storage }).to_string();
            let mut node = Node::start("registry.js", &["server", &options]);
            let said = node.hear();
            let text = |name: &str| said[name].as_str().expect("a key").to_owned();
            let keys = Keys { server: text("server"), core: text("core") };
            (Process::Node(node), keys)
        }
    }
}

struct Client(Process);

fn client(made: Made, bootstrap: &str, keys: &Keys, storage: &str) -> Client {
    match made {
        Made::Seckel => Client(Process::Seckel(Seckel::start(&[
            "registry",
            "client",
            &keys.server,
            &keys.core,
            "--bootstrap",
            bootstrap,
            "--storage",
            storage,
        ]))),
        Made::Node => {
            let options = json!({
                "bootstrap": bootstrap, "storage": storage, "server": keys.server, "core": keys.core,
            });
            let mut node = Node::start("registry.js", &["client", &options.to_string()]);
            assert_eq!(node.hear()["ready"], true);
            Client(Process::Node(node))
        }
    }
}

impl Client {
    /// The answer to a command that has one line.
    fn ask(&mut self, line: &str) -> String {
        match &mut self.0 {
            Process::Seckel(seckel) => {
                seckel.say(line);
                seckel.line()
            }
            Process::Node(node) => {
                node.ask(&json!({ "line": line }))["text"].as_str().expect("text").to_owned()
            }
        }
    }

    fn list(&mut self) -> Vec<String> {
        match &mut self.0 {
            Process::Seckel(seckel) => {
                seckel.say("list");
                seckel.say("whoami");
                let mut lines = Vec::new();
                loop {
                    let line = seckel.line();
                    if !line.contains(": ") {
                        return lines;
                    }
                    lines.push(line);
                }
            }
            Process::Node(_) => self.ask("list").lines().map(str::to_owned).collect(),
        }
    }

    fn finish(self) {
        match self.0 {
            Process::Seckel(seckel) => seckel.finish(),
            Process::Node(node) => node.finish(),
        }
    }
}

/// What a user does in an afternoon.
// proves registry.19
// proves registry.20
fn session(dht_made: Made, server_made: Made, client_made: Made) {
    let folder = Folder::new();
    // Two of the real packages do not find each other through a single node, their own included.
    let nodes = if (server_made, client_made) == (Made::Node, Made::Node) { 3 } else { 1 };
    let (_dht, bootstrap) = dht(dht_made, nodes);
    let place = folder.join("server");
    let (process, keys) = server(server_made, &bootstrap, &place);
    let mut alice = client(client_made, &bootstrap, &keys, &folder.join("alice"));
    let mut bob = client(client_made, &bootstrap, &keys, &folder.join("bob"));

    let me = alice.ask("whoami");
    assert_eq!(me.len(), 64, "{me}");
    assert_eq!(alice.ask("register alice"), "Registered: alice");
    assert_eq!(alice.ask("register alice"), "Already registered by you: alice");
    assert_eq!(alice.ask("lookup alice"), format!("alice -> {me}"));
    assert_eq!(bob.ask("register alice"), "Error: Username already taken");
    assert_eq!(alice.ask("lookup nobody"), "Not found");
    let unicode = "\u{e6}bler\u{f8}d\u{1f350}";
    assert_eq!(bob.ask(&format!("register {unicode}")), format!("Registered: {unicode}"));
    assert_eq!(bob.ask("register bob"), "Registered: bob");
    let other = bob.ask("whoami");
    assert_eq!(bob.list(), [format!("alice: {me}"), format!("bob: {other}"), format!("{unicode}: {other}")]);
    assert_eq!(bob.ask("delete alice"), "Error: Unauthorized: only the owner can delete this username");
    assert_eq!(alice.ask("delete nobody"), "Error: Username not found");
    assert_eq!(alice.ask("delete alice"), "Deleted: alice");
    assert_eq!(alice.ask("lookup alice"), "Not found");
    assert_eq!(bob.ask("register alice"), "Registered: alice");
    for n in 0..200 {
        assert_eq!(alice.ask(&format!("register user-{n:03}")), format!("Registered: user-{n:03}"));
    }
    let list = alice.list();
    assert_eq!(list.len(), 203);
    assert_eq!(list[0], format!("alice: {other}"));
    assert_eq!(list[202], format!("{unicode}: {other}"));

    process.leave();
    let (process, again) = server(server_made, &bootstrap, &place);
    assert_eq!(again, keys, "the keys stay");
    let mut carol = client(client_made, &bootstrap, &keys, &folder.join("carol"));
    assert_eq!(carol.ask("register carol"), "Registered: carol");
    assert_eq!(carol.ask("lookup alice"), format!("alice -> {other}"));
    assert_eq!(carol.ask("register user-100"), "Error: Username already taken");
    carol.finish();
    alice.finish();
    bob.finish();
    process.leave();
}

macro_rules! sessions {
    ($($name:ident: $dht:ident $server:ident $client:ident;)*) => {$(
        #[test]
        fn $name() {
            if !skipped(concat!("registry::", stringify!($name))) {
                session(Made::$dht, Made::$server, Made::$client);
            }
        }
    )*};
}

sessions! {
    seckel_alone: Seckel Seckel Seckel;
    node_client: Seckel Seckel Node;
    node_server: Seckel Node Seckel;
    node_server_and_client: Seckel Node Node;
    node_dht: Node Seckel Seckel;
    node_dht_and_client: Node Seckel Node;
    node_dht_and_server: Node Node Seckel;
    node_alone: Node Node Node;
}

/// Both sides of a copy without the server: one is seckel's client, the other one the packages'.
fn copy_from_a_client(giver_made: Made, taker_made: Made) {
    let folder = Folder::new();
    let (_dht, bootstrap) = dht(Made::Seckel, 1);
    let (process, keys) = server(Made::Seckel, &bootstrap, &folder.join("server"));
    let mut giver = match giver_made {
        Made::Seckel => client(Made::Seckel, &bootstrap, &keys, &folder.join("giver")),
        Made::Node => {
            let options = json!({
                "bootstrap": bootstrap, "server": keys.server, "core": keys.core, "serve": true,
                "storage": folder.join("giver"),
            });
            let mut node = Node::start("registry.js", &["client", &options.to_string()]);
            assert_eq!(node.hear()["ready"], true);
            Client(Process::Node(node))
        }
    };
    for n in 0..20 {
        assert_eq!(giver.ask(&format!("register name-{n:02}")), format!("Registered: name-{n:02}"));
    }
    let wanted = giver.list();
    process.leave();
    let nobody = Keys { server: "00".repeat(32), core: keys.core.clone() };
    let mut taker = match taker_made {
        Made::Seckel => client(Made::Seckel, &bootstrap, &nobody, &folder.join("taker")),
        Made::Node => {
            let options =
                json!({ "bootstrap": bootstrap, "core": keys.core, "storage": folder.join("taker") });
            let mut node = Node::start("registry.js", &["client", &options.to_string()]);
            assert_eq!(node.hear()["ready"], true);
            Client(Process::Node(node))
        }
    };
    match &mut taker.0 {
        Process::Node(_) => assert_eq!(taker.ask("complete 21"), "21"),
        Process::Seckel(seckel) => loop {
            seckel.say("status");
            assert!(seckel.line().starts_with("Server: "));
            let length = seckel.line();
            seckel.line();
            if length == "Replica length: 21" {
                break;
            }
        },
    }
    assert_eq!(taker.list(), wanted);
}

#[test]
fn node_copies_from_a_seckel_client() {
    if !skipped("registry::node_copies_from_a_seckel_client") {
        copy_from_a_client(Made::Seckel, Made::Node);
    }
}

#[test]
fn a_seckel_client_copies_from_a_node_client() {
    if !skipped("registry::a_seckel_client_copies_from_a_node_client") {
        copy_from_a_client(Made::Node, Made::Seckel);
    }
}
