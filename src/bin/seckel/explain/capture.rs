//! Captures: pcap and pcapng as a stream of blocks, and the UDP datagrams in them. Memory does not grow with the file.

use std::io::{Cursor, Read};

use etherparse::{EtherType, LaxNetSlice, LaxSlicedPacket, TransportSlice};
use pcap_parser::data::{PacketData, get_packetdata};
use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{Block, LegacyPcapReader, Linktype, PcapBlockOwned, PcapError, PcapNGReader};
use seckel::base::Addr;
use seckel::explain::segments;

/// The address of bytes that came from nowhere.
pub const NOWHERE: Addr = Addr::new([0; 4], 0);
/// Bytes of the longest block that is read. Kernels hand over at most 256 KiB of a packet.
const BLOCK_MAX: usize = 1 << 20;
/// Bytes of a pcap's head; a pcapng's is longer.
const PCAP_HEAD: u64 = 24;
/// Interfaces of one capture; packets of further ones are passed over.
const INTERFACES_MAX: usize = 1 << 12;

/// A UDP datagram of a capture.
pub struct Packet<'a> {
    /// Counts the capture's packets from 1, as Wireshark does.
    pub number: u64,
    /// Which of the datagrams that left at once; 0 if it is alone.
    pub segment: usize,
    /// Seconds, as the capture says.
    pub time: f64,
    pub from: Addr,
    pub to: Addr,
    pub bytes: &'a [u8],
    /// The capture does not hold all of it.
    pub cut: bool,
}

pub enum Found<'a> {
    Datagram(Packet<'a>),
    /// The packet of that number is not read, and why.
    Said(u64, String),
    /// No UDP over IPv4.
    Other,
}

/// Whether bytes that begin so are a capture.
pub fn is_capture(start: &[u8]) -> bool {
    matches!(
        start,
        [0xd4, 0xc3, 0xb2, 0xa1]
            | [0xa1, 0xb2, 0xc3, 0xd4]
            | [0x4d, 0x3c, 0xb2, 0xa1]
            | [0xa1, 0xb2, 0x3c, 0x4d]
            | [0x0a, 0x0d, 0x0d, 0x0a]
    )
}

/// An interface of the capture: its link type, ticks per second, offset in seconds.
#[derive(Clone, Copy)]
struct Interface {
    link: Linktype,
    ticks: u64,
    offset: i64,
}

/// Hands out each packet of a capture until `each` returns false.
pub fn read(reader: Box<dyn Read + Send>, each: &mut dyn FnMut(Found<'_>) -> bool) -> Result<(), String> {
    let mut reader = blocks(reader)?;
    let (mut interfaces, mut number) = (Vec::new(), 0);
    loop {
        match reader.next() {
            Ok((used, block)) => {
                let go_on = take(&block, &mut interfaces, &mut number, each);
                reader.consume(used);
                if !go_on {
                    return Ok(());
                }
            }
            Err(PcapError::Eof) => return Ok(()),
            Err(PcapError::Incomplete(_)) => {
                reader.refill().map_err(|error| why(&error, number))?;
            }
            Err(error) => return Err(why(&error, number)),
        }
    }
}

/// A reader of blocks. The head of a capture must be there as a whole when it is made, and a pipe gives less at a time.
fn blocks(mut reader: Box<dyn Read + Send>) -> Result<Box<dyn PcapReaderIterator + Send>, String> {
    let failed = |error: std::io::Error| format!("the capture cannot be read: {error}");
    let mut head = Vec::new();
    reader.by_ref().take(PCAP_HEAD).read_to_end(&mut head).map_err(failed)?;
    let section = match head[..] {
        // A section's head says how long it is, behind its type, in the byte order that the next word shows.
        [0x0a, 0x0d, 0x0d, 0x0a, a, b, c, d, 0x1a, ..] => Some(u32::from_be_bytes([a, b, c, d])),
        [0x0a, 0x0d, 0x0d, 0x0a, a, b, c, d, ..] => Some(u32::from_le_bytes([a, b, c, d])),
        _ => None,
    };
    let rest = section.map_or(0, |len| u64::from(len).min(BLOCK_MAX as u64).saturating_sub(PCAP_HEAD));
    reader.by_ref().take(rest).read_to_end(&mut head).map_err(failed)?;
    let whole = Whole { head: Cursor::new(head), rest: reader };
    Ok(if section.is_some() {
        Box::new(PcapNGReader::new(BLOCK_MAX, whole).map_err(|error| why(&error, 0))?)
    } else {
        Box::new(LegacyPcapReader::new(BLOCK_MAX, whole).map_err(|error| why(&error, 0))?)
    })
}

/// First the head alone, then whatever comes: who waits for the second read would hold back what is there.
struct Whole {
    head: Cursor<Vec<u8>>,
    rest: Box<dyn Read + Send>,
}

impl Read for Whole {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        match self.head.read(into)? {
            0 => self.rest.read(into),
            got => Ok(got),
        }
    }
}

fn why<I>(error: &PcapError<I>, number: u64) -> String {
    let what = match error {
        PcapError::UnexpectedEof | PcapError::Incomplete(_) | PcapError::Eof => "it ends inside a block",
        PcapError::BufferTooSmall => "a block is longer than captures have them",
        PcapError::ReadError => "it cannot be read",
        PcapError::HeaderNotRecognized => "its head is not that of a capture",
        PcapError::NomError(..) | PcapError::OwnedNomError(..) => "a block is damaged",
    };
    format!("the capture, behind packet {number}: {what}")
}

/// One block. False: nothing more is wanted.
fn take(
    block: &PcapBlockOwned<'_>,
    interfaces: &mut Vec<Interface>,
    number: &mut u64,
    each: &mut dyn FnMut(Found<'_>) -> bool,
) -> bool {
    let (interface, data, whole, time) = match block {
        PcapBlockOwned::LegacyHeader(head) => {
            let nano = matches!(head.magic_number, 0xa1b2_3c4d | 0x4d3c_b2a1);
            let ticks = if nano { 1_000_000_000 } else { 1_000_000 };
            interfaces.push(Interface { link: head.network, ticks, offset: 0 });
            return true;
        }
        PcapBlockOwned::Legacy(packet) => {
            let ticks = interfaces.first().map_or(1, |interface| interface.ticks);
            let time = f64::from(packet.ts_sec) + f64::from(packet.ts_usec) / ticks as f64;
            (0, packet.data, packet.origlen, time)
        }
        PcapBlockOwned::NG(Block::SectionHeader(_)) => {
            interfaces.clear();
            return true;
        }
        PcapBlockOwned::NG(Block::InterfaceDescription(found)) => {
            if interfaces.len() < INTERFACES_MAX {
                let ticks = found.ts_resolution().filter(|&ticks| ticks > 0).unwrap_or(1_000_000);
                interfaces.push(Interface { link: found.linktype, ticks, offset: found.ts_offset() });
            }
            return true;
        }
        PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
            let index = packet.if_id as usize;
            let ticks = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
            let time = interfaces
                .get(index)
                .map_or(0.0, |interface| interface.offset as f64 + ticks as f64 / interface.ticks as f64);
            let held = (packet.caplen as usize).min(packet.data.len());
            (index, &packet.data[..held], packet.origlen, time)
        }
        PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
            let held = (packet.origlen as usize).min(packet.data.len());
            (0, &packet.data[..held], packet.origlen, 0.0)
        }
        PcapBlockOwned::NG(_) => return true,
    };
    *number += 1;
    let Some(interface) = interfaces.get(interface) else {
        return each(Found::Said(*number, "of an interface that the capture does not describe".to_owned()));
    };
    packet(*number, time, interface.link, data, whole as usize, each)
}

/// One packet as the link had it.
fn packet(
    number: u64,
    time: f64,
    link: Linktype,
    data: &[u8],
    whole: usize,
    each: &mut dyn FnMut(Found<'_>) -> bool,
) -> bool {
    let sliced = match link {
        // The family stands in front, in network byte order; 2 is IPv4.
        Linktype::LOOP => match data {
            [0, 0, 0, 2, ip @ ..] => Some(LaxSlicedPacket::from_ether_type(EtherType::IPV4, ip)),
            _ => None,
        },
        _ => match get_packetdata(data, link, data.len()) {
            Some(PacketData::L2(frame)) => LaxSlicedPacket::from_ethernet(frame).ok(),
            Some(PacketData::L3(kind, ip)) => Some(LaxSlicedPacket::from_ether_type(EtherType(kind), ip)),
            Some(PacketData::Unsupported(_)) => {
                let text = format!("of a link type that is not known here ({})", link.0);
                return each(Found::Said(number, text));
            }
            Some(PacketData::L4(..)) | None => None,
        },
    };
    let Some(sliced) = sliced else { return each(Found::Other) };
    let Some(LaxNetSlice::Ipv4(ip)) = &sliced.net else { return each(Found::Other) };
    if ip.payload().ip_number != etherparse::IpNumber::UDP {
        return each(Found::Other);
    }
    if ip.payload().fragmented {
        let text = format!(
            "a fragment of IP packet {} from {:?}, not put together",
            ip.header().identification(),
            ip.header().source_addr()
        );
        return each(Found::Said(number, text));
    }
    let Some(TransportSlice::Udp(udp)) = &sliced.transport else {
        return each(Found::Said(number, "cut inside its UDP header".to_owned()));
    };
    let from = Addr::new(ip.header().source(), udp.source_port());
    let to = Addr::new(ip.header().destination(), udp.destination_port());
    let cut = data.len() < whole || ip.payload().incomplete;
    let bytes = udp.payload();
    if cut {
        return each(Found::Datagram(Packet { number, segment: 0, time, from, to, bytes, cut }));
    }
    let parts = segments(bytes);
    let alone = parts.len() == 1;
    parts.into_iter().enumerate().all(|(n, bytes)| {
        let segment = if alone { 0 } else { n + 1 };
        each(Found::Datagram(Packet { number, segment, time, from, to, bytes, cut }))
    })
}
