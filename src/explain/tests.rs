use super::*;
use crate::base::{Addr, Entropy, Seeded};
use crate::wire::{self, dht_rpc, hyperdht, noise, udx};

/// Each section's lines cover its bytes once; sections that are not inside an earlier one's field cover `bytes`.
fn assert_covers(bytes: &[u8], sections: &[Section]) {
    let mut outer = vec![0_u8; bytes.len()];
    for (n, section) in sections.iter().enumerate() {
        let mut at = section.base;
        for line in &section.rows {
            assert_eq!(line.at, at, "{}: {}", section.format, line.field);
            at += line.len;
        }
        assert_eq!(at, section.base + section.len, "{}", section.format);
        let inside = |other: &Section| {
            other.rows.iter().any(|line| {
                line.at <= section.base && section.base + section.len <= line.at + line.len && line.len > 0
            })
        };
        if !sections[..n].iter().any(inside) {
            outer[section.base..section.base + section.len].iter_mut().for_each(|count| *count += 1);
        }
    }
    assert!(outer.iter().all(|count| *count == 1), "{outer:?}");
}

fn ping() -> dht_rpc::RequestMessage {
    let to = Addr::new([30, 0, 0, 1], 1);
    dht_rpc::RequestMessage { tid: 17, to, internal: true, ..dht_rpc::RequestMessage::default() }
}

#[test]
fn a_line_says_what_a_datagram_is() {
    let said = |bytes: &[u8]| summary(bytes).what;
    assert_eq!(said(&wire::encode(&ping())), "PING request tid 17 to 30.0.0.1:1");
    let header = udx::Header {
        kind: udx::Kind { data: true, sack: true, ..udx::Kind::STATE },
        data_offset: 8,
        remote_id: 7,
        seq: 5,
        ack: 2,
        ..udx::Header::default()
    };
    let sack = udx::Sack { blocks: vec![udx::Block { start: 4, end: 5 }] };
    let bytes = [wire::encode(&header), wire::encode(&sack), vec![9; 1200]].concat();
    assert_eq!(said(&bytes), "DATA|SACK seq 5 ack 2, 1 range, 1200 bytes for stream 7");
    assert_eq!(said(&[0]), "punch probe");
    assert_eq!(summary(&[0]).rule, "hyperdht.68");
    assert!(said(&bytes[..19]).starts_with("malformed: udx.header: field \"ack\""));
    assert_eq!(said(&[0x16, 3, 1]), "unknown: 3 bytes that begin with 0x16");
}

#[test]
fn nested_values_keep_their_place_in_the_datagram() {
    let message =
        noise::IkRequest { ephemeral: [5; 32], payload: vec![1, 2, 3], ..noise::IkRequest::default() };
    let value = hyperdht::Handshake { noise: wire::encode(&message), ..hyperdht::Handshake::default() };
    let request = dht_rpc::RequestMessage {
        internal: false,
        target: Some([7; 32]),
        value: Some(wire::encode(&value)),
        ..ping()
    };
    let bytes = wire::encode(&request);
    let sections = datagram(&bytes);
    let formats: Vec<_> = sections.iter().map(|section| section.format).collect();
    assert_eq!(formats, ["dht_rpc.request", "hyperdht.handshake", "noise.ik_request"]);
    let key = sections[2].line("ephemeral key").expect("a line");
    assert_eq!(bytes[key.at..key.at + key.len], [5; 32]);
    assert_covers(&bytes, &sections);
}

#[test]
fn a_fault_is_named_and_what_stands_before_it_is_shown() {
    let bytes = wire::encode(&dht_rpc::RequestMessage { target: Some([7; 32]), ..ping() });
    let cut = &bytes[..20];
    let sections = datagram(cut);
    let fault = sections[0].fault.expect("a fault");
    assert_eq!((fault.field, fault.at), ("target", 11));
    assert_eq!(sections[0].line("command").expect("before the fault").meaning, "PING");
    assert_eq!(sections[0].rows.last().expect("a line").field, "not understood");
    assert_covers(cut, &sections);
}

#[test]
fn what_a_hyperbee_asks_of_its_peers_is_opened() {
    let ask = wire::hyperbee::AskGet { version: 7, key: Some(b"pear".to_vec()) };
    let message = wire::hyperbee::Extension { get: Some(ask), ..Default::default() };
    let message = wire::encode(&wire::hyperbee::Envelope { message: wire::encode(&message) });
    let told = |name: &str| {
        let extension = wire::hypercore::Extension { name: name.to_owned(), message: message.clone() };
        let bytes = wire::encode(&extension);
        let mut sections = Vec::new();
        values::replication(&mut sections, 0, &bytes, wire::hypercore::kind::EXTENSION);
        assert_covers(&bytes, &sections);
        sections.iter().map(|section| section.format).collect::<Vec<_>>()
    };
    assert_eq!(told("hyperbee"), ["hypercore.extension", "hyperbee.envelope", "hyperbee.extension"]);
    assert_eq!(told("another"), ["hypercore.extension"]);
}

#[test]
fn calls_of_the_auction_are_opened_and_those_that_only_have_its_names_are_not() {
    let formats = |value: Vec<u8>| {
        let value = wire::encode(&wire::protomux_rpc::Buffer(value));
        let request = wire::protomux_rpc::Request { id: 1, method: "bid".to_owned(), value };
        let bytes = wire::encode(&request);
        let mut sections = Vec::new();
        values::request(&mut sections, 0, &bytes);
        assert_covers(&bytes, &sections);
        sections.iter().map(|section| section.format).collect::<Vec<_>>()
    };
    let bid = wire::encode(&wire::auction::Bid { auction: 1, amount: 9, ..Default::default() });
    assert_eq!(formats(bid), ["protomux_rpc.request", "protomux_rpc.buffer", "auction.bid"]);
    assert_eq!(formats(b"no".to_vec()), ["protomux_rpc.request", "protomux_rpc.buffer"]);
}

#[test]
fn every_byte_is_accounted_for_whatever_comes() {
    let mut entropy = Seeded::new(7);
    let formats = wire::formats();
    for round in 0..20_000_usize {
        let mut bytes = vec![0; entropy.below(90) as usize];
        entropy.fill(&mut bytes);
        match round % 4 {
            0 => {}
            1 => bytes = wire::encode(&wire::invent::<dht_rpc::RequestMessage>(&mut entropy)),
            2 => bytes = wire::encode(&wire::invent::<dht_rpc::ResponseMessage>(&mut entropy)),
            _ => bytes = [wire::encode(&wire::invent::<udx::Header>(&mut entropy)), bytes].concat(),
        }
        for _ in 0..entropy.below(3) {
            let at = entropy.below(bytes.len().max(1) as u64) as usize;
            if let Some(byte) = bytes.get_mut(at) {
                *byte = entropy.u64() as u8;
            }
        }
        assert_covers(&bytes, &datagram(&bytes));
        let format = &formats[round % formats.len()];
        assert_covers(&bytes, &[Section::of(format, 0, &bytes)]);
        let _ = summary(&bytes);
    }
}
