//! Why a peer was not reached, and what the user can do about it.

use super::nat::Kind;
use super::text::{object, quoted};
use crate::base::Key;
use crate::base::hex;
use crate::node::{Closed, ConnectError, Met, TransportWhy};

/// The peer of `key` was not reached: what happened, which kinds of NAT met, and a way out.
pub fn unreached(key: &Key, why: ConnectError, met: Option<Met>) -> String {
    let kinds = met.map_or(String::new(), |met| {
        let (ours, theirs) = (Kind::of(met.ours), Kind::of(met.theirs));
        format!(
            " Our NAT is {} ({}), theirs is {} ({}).",
            ours.name(),
            ours.meaning(),
            theirs.name(),
            theirs.meaning()
        )
    });
    format!("{} was not reached: {why} ({}).{kinds} {}", hex::encode(key), why.code(), way_out(why))
}

/// The same for machines.
pub fn unreached_json(key: &Key, why: ConnectError, met: Option<Met>) -> String {
    let kind = |class: Option<u64>| class.map_or("null".to_owned(), |class| quoted(Kind::of(class).name()));
    object(&[
        ("event", quoted("unreached")),
        ("key", quoted(&hex::encode(key))),
        ("error", quoted(why.code())),
        ("our_nat", kind(met.map(|met| met.ours))),
        ("their_nat", kind(met.map(|met| met.theirs))),
    ])
}

fn way_out(why: ConnectError) -> &'static str {
    match why {
        ConnectError::PeerNotFound => {
            "Is it listening, on the same network (--bootstrap), and is the key right?"
        }
        ConnectError::PeerConnectionFailed => {
            "It was announced, but it is gone (start it again, or try again in a minute), or does not let our key in."
        }
        ConnectError::HandshakeInvalid | ConnectError::ServerIncompatible | ConnectError::ServerError => {
            "It was found, but does not take this connection: does it run the same program?"
        }
        ConnectError::DoubleRandomizedNats => {
            "A blind relay helps (`seckel relay` on an open host, then `--relay-through KEY`), or an open port, or \
             another network for one side."
        }
        ConnectError::TryLater => {
            "A host searches for one peer's ports at a time, and rests 20 s after: try again in a minute, or use a \
             blind relay (`--relay-through KEY`)."
        }
        ConnectError::RelayAborted => {
            "Is the relay running, on the same network, and is its key right? Without it these two cannot meet."
        }
        ConnectError::CannotHolepunch
        | ConnectError::HolepunchAborted
        | ConnectError::HolepunchInvalid
        | ConnectError::HolepunchProbeTimeout
        | ConnectError::RemoteAborted
        | ConnectError::RemoteNotHolepunching
        | ConnectError::RemoteNotHolepunchable
        | ConnectError::BadHolepunchReply => {
            "Try again; `seckel nat` on both sides shows which NATs there are between them. A blind relay helps \
             (`seckel relay` on an open host, then `--relay-through KEY`)."
        }
        ConnectError::RequestTimeout
        | ConnectError::TimedOut
        | ConnectError::StreamClosed
        | ConnectError::Suspended
        | ConnectError::Destroyed
        | ConnectError::Duplicate => "Try again; `--trace FILE` shows how far it came.",
    }
}

/// Why an open connection ended before its time.
pub fn broken(why: Closed) -> &'static str {
    match why {
        Closed::Ended => "it was ended",
        Closed::Dropped => "it was given up here",
        Closed::Duplicate => "there is another one with that key",
        Closed::Transport(TransportWhy::Reset) => "the other side gave it up",
        Closed::Transport(TransportWhy::TimedOut) => "the other side does not answer any more",
        Closed::Transport(TransportWhy::Ended | TransportWhy::Destroyed) => "its transport is gone",
        Closed::Stream(_) => "the other side broke the rules of the stream, or fell silent",
        Closed::Channels(_) | Closed::Replication => "the other side broke the rules of the channels",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::hyperdht::firewall;

    /// Where two NATs keep peers apart it is said which two, and that a relay helps.
    #[test]
    fn who_meets_a_nat_that_cannot_be_passed_is_told_what_helps() {
        let met = Some(Met { ours: firewall::RANDOM, theirs: firewall::CONSISTENT });
        for why in [
            ConnectError::DoubleRandomizedNats,
            ConnectError::TryLater,
            ConnectError::CannotHolepunch,
            ConnectError::HolepunchAborted,
            ConnectError::HolepunchProbeTimeout,
            ConnectError::RemoteAborted,
            ConnectError::RemoteNotHolepunching,
            ConnectError::RemoteNotHolepunchable,
        ] {
            let told = unreached(&[7; 32], why, met);
            assert!(told.contains(why.code()) && told.contains("--relay-through KEY"), "{told}");
            assert!(told.contains("Our NAT is random") && told.contains("theirs is consistent"), "{told}");
        }
        let json = unreached_json(&[7; 32], ConnectError::PeerNotFound, None);
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!((&json["error"], &json["our_nat"]), (&"PEER_NOT_FOUND".into(), &serde_json::Value::Null));
    }
}
