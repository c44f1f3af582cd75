//! `seckel relay` as a process, and those who name it.

use super::seckel::{Folder, Seckel};
use super::{network, run};

#[test]
fn a_relay_keeps_its_key_and_leaves_when_it_is_told_to() {
    let folder = Folder::new();
    let (_dht, bootstrap) = network();
    let file = folder.join("relay.key");
    let words = ["relay", "--key", &file, "--bootstrap", &bootstrap, "--host", "127.0.0.1"];
    let mut relay = Seckel::start(&words);
    let key = relay.line().strip_prefix("relay: ").expect("the key").to_owned();
    relay.interrupt();
    let mut again = Seckel::start(&[&words[..], &["--json"]].concat());
    assert_eq!(again.line(), format!("{{\"relay\":\"{key}\"}}"));

    // Whoever finds a direct way is not kept from it.
    let through = ["--bootstrap", &bootstrap, "--relay-through", &key];
    let mut host = Seckel::start(&[&["chat"][..], &through].concat());
    let listens = host.line().strip_prefix("listening on: ").expect("the key").to_owned();
    let mut guest = Seckel::start(&[&["chat", &listens][..], &through].concat());
    guest.line_with("got a connection");
    guest.say("hello");
    assert!(host.line_with(": hello").len() > 64);
    guest.finish();
    host.interrupt();
    again.interrupt();
}

#[test]
fn a_relay_is_named_by_its_key() {
    for words in [&["relay", "--pairs", "0"][..], &["chat", "--relay-through", "nonsense"]] {
        assert_eq!(run(words).status.code(), Some(2), "{words:?}");
    }
}
