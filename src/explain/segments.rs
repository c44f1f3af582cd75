//! Datagrams that a capture shows as one: a kernel that takes several at once (UDP segmentation offload), all of one
//! length but the last, hands them to the capture before it takes them apart.

use crate::base::limits;
use crate::wire::{self, dht_rpc, udx};

/// The datagrams in what a capture holds as one; most often itself alone.
pub fn segments(bytes: &[u8]) -> Vec<&[u8]> {
    let each = match bytes {
        [udx::MAGIC, udx::VERSION, ..] => packets(bytes),
        [dht_rpc::REQUEST, ..] => messages::<dht_rpc::RequestMessage>(bytes),
        [dht_rpc::RESPONSE, ..] => messages::<dht_rpc::ResponseMessage>(bytes),
        _ => None,
    };
    match each {
        Some(each) => bytes.chunks(each).collect(),
        None => vec![bytes],
    }
}

/// The length at every multiple of which a header stands. Sealed bytes that look like one by chance are rare: 34 bits
/// of a header are known.
fn packets(bytes: &[u8]) -> Option<usize> {
    let header = |packet: &[u8]| match wire::decode::<udx::Header>(packet) {
        Ok(header) => packet[2] < 64 && header.data_offset == 0 && header.window < 1 << 24,
        Err(_) => false,
    };
    let longest = bytes.len().min(limits::DATAGRAM_MAX + 1);
    (udx::HEADER_LEN..longest).find(|&each| bytes.chunks(each).all(header))
}

/// The length of the first message, if the rest are messages of that length, the last perhaps a shorter one.
fn messages<T: wire::Wire + Default + Clone>(bytes: &[u8]) -> Option<usize> {
    let (_, rest) = wire::decode_head::<T>(bytes).ok()?;
    let each = bytes.len() - rest.len();
    let whole = |message: &[u8]| matches!(wire::decode_head::<T>(message), Ok((_, [])));
    (!rest.is_empty() && rest.chunks(each).all(whole)).then_some(each)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::encode;

    fn packet(seq: u32, len: usize) -> Vec<u8> {
        let header = udx::Header { kind: udx::Kind::DATA, remote_id: 7, seq, ..udx::Header::default() };
        [encode(&header), vec![0xff; len]].concat()
    }

    #[test]
    fn packets_that_left_at_once_are_told_apart() {
        let packets = [packet(5, 1152), packet(6, 1152), packet(7, 30)];
        let bytes = packets.concat();
        assert_eq!(segments(&bytes), packets.each_ref().map(|packet| &packet[..]));
        assert_eq!(segments(&packets[0]), [&packets[0][..]]);
        let acks = [packet(5, 0), packet(5, 0)].concat();
        assert_eq!(segments(&acks).len(), 2);
        let other = udx::Header { remote_id: 8, window: 4 << 20, ..udx::Header::default() };
        let two_streams = [packet(5, 51), encode(&other)].concat();
        assert_eq!(segments(&two_streams), [&packet(5, 51)[..], &encode(&other)]);
    }

    #[test]
    fn messages_that_left_at_once_are_told_apart() {
        let ping = |tid| encode(&dht_rpc::RequestMessage { tid, internal: true, ..Default::default() });
        let both = [ping(1), ping(2)].concat();
        assert_eq!(segments(&both), [&ping(1)[..], &ping(2)[..]]);
        let trailing = [&ping(1)[..], b"more"].concat();
        assert_eq!(segments(&trailing), [&trailing[..]]);
    }
}
