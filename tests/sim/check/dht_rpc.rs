//! Planted bugs in requests.

use std::collections::VecDeque;

use seckel::base::Time;
use seckel::node::Output;
use seckel::sim::{HostId, Saboteur};
use seckel::wire::dht_rpc::{REQUEST, RequestMessage};
use seckel::wire::{self};

use super::caught;

/// Gives the request of a host the number of its request before.
#[derive(Default)]
struct SameNumber(Option<(HostId, u16)>);

impl Saboteur for SameNumber {
    fn output(&mut self, _: Time, host: HostId, output: Option<Output>) -> Option<Output> {
        let Some(Output::Send { socket, to, bytes, ttl }) = output else { return output };
        let mut bytes = bytes;
        if bytes[0] == REQUEST
            && let Ok(mut message) = wire::decode::<RequestMessage>(&bytes)
        {
            match self.0 {
                Some((known, tid)) if known == host => message.tid = tid,
                _ => self.0 = Some((host, message.tid)),
            }
            bytes = wire::encode(&message);
        }
        Some(Output::Send { socket, to, bytes, ttl })
    }
}

#[test]
fn a_number_given_twice_is_caught() {
    caught("dht_rpc.ids", Box::new(SameNumber::default()));
}

/// Sends every request ten times over.
#[derive(Default)]
struct Insists(VecDeque<Output>);

impl Saboteur for Insists {
    fn output(&mut self, _: Time, _: HostId, output: Option<Output>) -> Option<Output> {
        if let Some(Output::Send { socket, to, bytes, ttl }) = &output
            && bytes[0] == REQUEST
        {
            for _ in 0..9 {
                let again = Output::Send { socket: *socket, to: *to, bytes: bytes.clone(), ttl: *ttl };
                self.0.push_back(again);
            }
        }
        output.or_else(|| self.0.pop_front())
    }
}

#[test]
fn a_request_that_is_sent_too_often_is_caught() {
    caught("dht_rpc.retries", Box::new(Insists::default()));
}
