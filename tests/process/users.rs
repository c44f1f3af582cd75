//! What users of the registry notice: servers that go and come back, storages in use, pipes, other users in a hurry.

use std::process::{Command, Stdio};

use serde_json::Value;

use super::seckel::{Folder, Seckel};

/// A DHT, a server's folder, and its keys.
struct Scene {
    folder: Folder,
    bootstrap: String,
    server: String,
    core: String,
    _dht: Seckel,
}

impl Scene {
    /// With a server, which is returned beside it.
    fn new() -> (Scene, Seckel) {
        let folder = Folder::new();
        let mut dht = Seckel::start(&["testnet", "--nodes", "1"]);
        let bootstrap = last_word(&dht.line_with("Bootstrap: "));
        let (server, keys) = start_server(&bootstrap, &folder.join("server"));
        (Scene { folder, bootstrap, server: keys.0, core: keys.1, _dht: dht }, server)
    }

    fn server(&self) -> Seckel {
        let (server, keys) = start_server(&self.bootstrap, &self.folder.join("server"));
        assert_eq!(keys, (self.server.clone(), self.core.clone()), "the keys stay");
        server
    }

    fn client(&self, name: &str) -> Seckel {
        let storage = self.folder.join(name);
        Seckel::start(&[
            "registry",
            "client",
            &self.server,
            &self.core,
            "--bootstrap",
            &self.bootstrap,
            "--storage",
            &storage,
        ])
    }

    /// A one-shot: exit code, standard output, standard error.
    fn once(&self, name: &str, words: &[&str]) -> (Option<i32>, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_seckel"))
            .arg("registry")
            .args(words)
            .args(["--server", &self.server, "--core", &self.core])
            .args(["--bootstrap", &self.bootstrap, "--storage", &self.folder.join(name)])
            .output()
            .expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }
}

fn last_word(line: &str) -> String {
    line.rsplit(' ').next().expect("a word").to_owned()
}

fn start_server(bootstrap: &str, storage: &str) -> (Seckel, (String, String)) {
    let mut server = Seckel::start(&["registry", "server", "--bootstrap", bootstrap, "--storage", storage]);
    let key = last_word(&server.line_with("Server Public Key: "));
    let core = last_word(&server.line_with("Database Core Key: "));
    (server, (key, core))
}

fn ask(client: &mut Seckel, line: &str) -> String {
    client.say(line);
    client.line()
}

/// The user of a client whose server is killed and started again notices a pause, nothing else.
#[test]
fn a_client_finds_a_server_that_was_killed_and_came_back() {
    let (scene, server) = Scene::new();
    let mut client = scene.client("client");
    assert_eq!(ask(&mut client, "register alice"), "Registered: alice");
    server.kill();
    client.say("register bob");
    let server = scene.server();
    assert_eq!(client.line(), "Registered: bob");
    assert_eq!(ask(&mut client, "register alice"), "Already registered by you: alice");
    client.finish();
    server.interrupt();
}

#[test]
fn one_shots_say_it_in_their_exit_codes() {
    let (scene, server) = Scene::new();
    let json = |text: &str| serde_json::from_str::<Value>(text).expect("json");
    let (code, text, _) = scene.once("a", &["register", "alice"]);
    assert_eq!((code, text.as_str()), (Some(0), "Registered: alice"));
    let (code, text, _) = scene.once("a", &["register", "alice", "--json"]);
    assert_eq!((code, &json(&text)["result"]), (Some(0), &Value::from("already yours")));
    let (code, text, _) = scene.once("b", &["register", "alice"]);
    assert_eq!((code, text.as_str()), (Some(1), "Error: Username already taken"));
    let (code, text, _) = scene.once("b", &["register", "a b"]);
    assert_eq!((code, text.as_str()), (Some(1), "Error: Invalid username: it contains white space"));
    let (code, text, _) = scene.once("b", &["delete", "alice"]);
    assert_eq!(code, Some(1), "{text}");
    let (code, text, warning) = scene.once("b", &["lookup", "alice", "--json"]);
    assert_eq!((code, json(&text)["owner"].as_str().map(str::len)), (Some(0), Some(64)));
    assert_eq!((json(&text).get("stale"), warning.as_str()), (None, ""));
    let (code, text, _) = scene.once("b", &["lookup", "nobody"]);
    assert_eq!((code, text.as_str()), (Some(1), "Not found"));
    let (code, text, _) = scene.once("b", &["list", "--json"]);
    assert_eq!((code, json(&text)["entries"][0]["name"].as_str()), (Some(0), Some("alice")));
    assert_eq!(scene.once("b", &["dance"]).0, Some(2));

    // Without the server: what is here is said, with a warning; what is not, too.
    server.interrupt();
    let (code, text, warning) = scene.once("b", &["lookup", "alice"]);
    assert_eq!(code, Some(0));
    assert!(text.starts_with("alice -> "), "{text}");
    assert!(warning.contains("may be old"), "{warning}");
    let (code, text, _) = scene.once("fresh", &["lookup", "alice"]);
    assert_eq!(code, Some(3));
    assert!(text.starts_with("Never synced"), "{text}");
    let (code, text, _) = scene.once("b", &["register", "bob"]);
    assert_eq!((code, text.as_str()), (Some(3), "Error: Server unreachable"));
}

/// The second process on a storage says so and ends; the first one is not disturbed.
#[test]
fn a_storage_is_for_one_process() {
    let (scene, server) = Scene::new();
    let second = Command::new(env!("CARGO_BIN_EXE_seckel"))
        .args(["registry", "server", "--bootstrap", &scene.bootstrap])
        .args(["--storage", &scene.folder.join("server")])
        .output()
        .expect("it runs");
    assert_eq!(second.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&second.stderr).contains("in use by another process"));
    let mut client = scene.client("client");
    assert_eq!(ask(&mut client, "register alice"), "Registered: alice");
    let (code, _, warning) = scene.once("client", &["lookup", "alice"]);
    assert_eq!(code, Some(4), "{warning}");
    assert!(warning.contains("in use by another process"), "{warning}");
    client.finish();
    server.interrupt();
}

/// The client's key is made before it is used, readable by its owner only, and survives a kill.
#[cfg(unix)]
#[test]
fn a_clients_key_is_private_and_stays() {
    use std::os::unix::fs::PermissionsExt;
    let (scene, _server) = Scene::new();
    let mut client = scene.client("client");
    let me = ask(&mut client, "whoami");
    let key = std::fs::metadata(scene.folder.join("client/primary-key")).expect("a key on disk");
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    client.kill();
    let mut client = scene.client("client");
    assert_eq!(ask(&mut client, "whoami"), me);
}

#[test]
fn the_prompt_reads_a_pipe_to_its_end() {
    let (scene, server) = Scene::new();
    let mut client = scene.client("client");
    client.say("\n  \nhelp");
    assert!(client.line().starts_with("register NAME"), "empty lines say nothing");
    assert!(client.line_with("end of input").starts_with("exit"));
    assert_eq!(ask(&mut client, "dance"), "Unknown command: dance (try: help)");
    assert_eq!(ask(&mut client, "register"), "Usage: register NAME");
    assert_eq!(ask(&mut client, "register alice"), "Registered: alice");
    client.say("list");
    assert!(client.line().starts_with("alice: "));
    client.finish();
    let mut client = scene.client("client");
    client.say("lookup alice\nexit\nlookup bob");
    assert!(client.line().starts_with("alice -> "));
    client.finish();
    server.interrupt();
}

/// One client in a hurry does not keep another one waiting.
#[test]
fn a_busy_client_does_not_starve_another() {
    let (scene, server) = Scene::new();
    let mut busy = scene.client("busy");
    let mut calm = scene.client("calm");
    for n in 0..400 {
        busy.say(&format!("register busy-{n}"));
        if n % 40 == 0 {
            let name = format!("calm-{n}");
            assert_eq!(ask(&mut calm, &format!("register {name}")), format!("Registered: {name}"));
        }
    }
    for n in 0..400 {
        assert_eq!(busy.line(), format!("Registered: busy-{n}"));
    }
    busy.finish();
    calm.finish();
    server.interrupt();
}

#[test]
fn demo_is_all_of_it_in_one_process() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_seckel"))
        .arg("demo")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    use std::io::Write;
    let mut input = demo.stdin.take().expect("piped");
    input.write_all(b"register alice\nlookup alice\nstatus\ndelete alice\nlookup alice\n").expect("it reads");
    drop(input);
    let output = demo.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "Registered: alice");
    assert!(lines[1].starts_with("alice -> "));
    assert_eq!(lines[2], "Server: reachable");
    assert_eq!(lines[5..], ["Deleted: alice", "Not found"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("Server Public Key: ") && told.contains("Database Core Key: "));
}

#[test]
fn a_bootstrap_node_and_nodes_that_join_it() {
    let port = free_port().to_string();
    let mut first = Seckel::start(&["dht", "--bootstrap", "--host", "127.0.0.1", "--port", &port]);
    assert!(first.line_with("Fully started").contains("bootstrap"));
    let list = format!("127.0.0.1:{port}");
    let mut three = Seckel::start(&["dht", "--bootstrap", &list, "--nodes", "3", "--host", "127.0.0.1"]);
    three.line_with("Fully started 3");
    let second = Command::new(env!("CARGO_BIN_EXE_seckel"))
        .args(["dht", "--bootstrap", "--host", "127.0.0.1", "--port", &port])
        .output()
        .expect("it runs");
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("cannot be bound"));
    three.interrupt();
    first.interrupt();
}

fn free_port() -> u16 {
    let socket = std::net::UdpSocket::bind(("127.0.0.1", 0)).expect("loopback");
    socket.local_addr().expect("bound").port()
}
