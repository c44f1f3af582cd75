//! UDP sockets: bound with the buffers that UDX asks for, never blocking, a bounded queue where the kernel is full, and
//! with the don't-fragment bit (udx.98; `quinn_udp` sets it).
//! Datagrams of one size to one address leave in one call, and what the kernel joined on its way in arrives in one.

use std::array;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use quinn_udp::{RecvMeta, Transmit, UdpSocketState};

use crate::base::{Addr, Traffic, limits};

/// udx.h: what libudx asks the kernel for, largest first.
const RECV_BUFFERS: [usize; 4] = [1 << 20, 512 << 10, 256 << 10, 208 << 10];
const SEND_BUFFER: usize = 212_992;
const TTL: u8 = 64;
/// Bytes that leave in one call: what fits into an IP packet.
const BURST: usize = 65_000;
/// Buffers that are filled by one call, and the size of each: the most that the kernel joins.
const BUFFERS: usize = 8;
const BUFFER: usize = 65_536;

/// Datagrams to one address that leave in one call: all of `each` bytes but the last, which may be shorter.
#[derive(Debug, Default)]
struct Burst {
    to: Option<Addr>,
    bytes: Vec<u8>,
    /// How many of the bytes are datagrams of this burst. What stands behind them is being written.
    noted: usize,
    each: usize,
    count: usize,
    ttl: Option<u8>,
}

impl Burst {
    fn takes(&self, to: Addr, len: usize, ttl: Option<u8>, most: usize) -> bool {
        self.to == Some(to)
            && ttl.is_none()
            && self.ttl.is_none()
            && self.count < most
            && (1..=self.each).contains(&len)
            && self.noted == self.count * self.each
            && self.noted + len <= BURST
    }
}

/// A bound UDP socket.
pub struct Udp {
    socket: mio::net::UdpSocket,
    state: UdpSocketState,
    /// What leaves with the next `flush`.
    burst: Burst,
    waiting: VecDeque<Burst>,
    /// Whoever polls was asked to say when the kernel has room again.
    pub watched: bool,
    /// Datagrams in `waiting`.
    waiting_count: usize,
    /// Datagrams that may leave in one call, whatever the kernel could take.
    joined_max: usize,
    /// What the kernel took, and what whoever receives says that came. (udx.105)
    pub traffic: Traffic,
    /// Datagrams dropped because the queue was full, or because the kernel refused them.
    pub dropped: u64,
}

impl Udp {
    pub fn bind(host: [u8; 4], port: u16) -> io::Result<Udp> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
        socket.set_nonblocking(true)?;
        for size in RECV_BUFFERS {
            if socket.set_recv_buffer_size(size).is_ok() {
                break;
            }
        }
        let _ = socket.set_send_buffer_size(SEND_BUFFER);
        socket.bind(&SocketAddr::from((host, port)).into())?;
        let state = UdpSocketState::new((&socket).into())?;
        tell_less(&socket);
        let socket = mio::net::UdpSocket::from_std(socket.into());
        socket.set_ttl(u32::from(TTL))?;
        Ok(Udp {
            socket,
            state,
            burst: Burst::default(),
            waiting: VecDeque::new(),
            watched: false,
            waiting_count: 0,
            joined_max: usize::MAX,
            traffic: Traffic::default(),
            dropped: 0,
        })
    }

    pub fn source(&mut self) -> &mut mio::net::UdpSocket {
        &mut self.socket
    }

    pub fn local(&self) -> io::Result<Addr> {
        match self.socket.local_addr()? {
            SocketAddr::V4(addr) => Ok(Addr::new(addr.ip().octets(), addr.port())),
            SocketAddr::V6(_) => Err(ErrorKind::AddrNotAvailable.into()),
        }
    }

    /// Whether routers may cut datagrams into pieces: only where the system cannot forbid it. (udx.98)
    pub fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }

    /// From now on at most `count` datagrams leave in one call. With 1 each has a call of its own, as where the kernel
    /// or the way out takes no joined ones, which is found out by itself.
    pub fn join_at_most(&mut self, count: usize) {
        self.joined_max = count.max(1);
    }

    /// Sends a datagram at the latest at the next `flush`.
    pub fn send(&mut self, to: Addr, bytes: &[u8], ttl: Option<u8>) {
        self.burst.bytes.extend_from_slice(bytes);
        self.wrote(to, ttl);
    }

    /// Where a datagram may be written that is to leave here, behind all that is there: the kernel takes it from there.
    /// `wrote` comes next, or the bytes are taken off again.
    pub fn room(&mut self) -> &mut Vec<u8> {
        &mut self.burst.bytes
    }

    /// What was written to `room` is a datagram, and leaves as one that was given to `send`.
    pub fn wrote(&mut self, to: Addr, ttl: Option<u8>) {
        let (start, end) = (self.burst.noted, self.burst.bytes.len());
        let most = self.state.max_gso_segments().min(self.joined_max);
        if !self.burst.takes(to, end - start, ttl, most) {
            if start > 0 {
                let written = self.burst.bytes.split_off(start);
                self.flush();
                self.burst.bytes.extend_from_slice(&written);
            }
            (self.burst.to, self.burst.each, self.burst.ttl) = (Some(to), end - start, ttl);
        }
        self.burst.noted = self.burst.bytes.len();
        self.burst.count += 1;
    }

    /// Sends, or keeps for later if the kernel is full. Other failures lose datagrams, as a network may.
    pub fn flush(&mut self) {
        let Some(to) = self.burst.to.take() else { return };
        let mut burst = core::mem::take(&mut self.burst);
        if self.waiting.is_empty() && self.try_send(to, &burst) {
            burst.bytes.clear();
            self.burst = Burst { bytes: burst.bytes, ..Burst::default() };
        } else if self.waiting_count + burst.count <= limits::SOCKET_QUEUE_MAX {
            self.waiting_count += burst.count;
            self.waiting.push_back(Burst { to: Some(to), ..burst });
        } else {
            self.dropped += burst.count as u64;
        }
    }

    /// True once nothing waits.
    pub fn send_waiting(&mut self) -> bool {
        while let Some(burst) = self.waiting.pop_front() {
            if burst.to.is_some_and(|to| !self.try_send(to, &burst)) {
                self.waiting.push_front(burst);
                return false;
            }
            self.waiting_count -= burst.count;
        }
        true
    }

    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// False if the kernel is full.
    fn try_send(&mut self, to: Addr, burst: &Burst) -> bool {
        let target = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::from(to.ip), to.port));
        if let Some(ttl) = burst.ttl {
            let _ = self.socket.set_ttl(u32::from(ttl));
        }
        let sent = if burst.count > 1 {
            self.send_joined(target, burst)
        } else {
            self.send_one(target, &burst.bytes).map(|()| (1, burst.bytes.len()))
        };
        if burst.ttl.is_some() {
            let _ = self.socket.set_ttl(u32::from(TTL));
        }
        if sent.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
            return false;
        }
        let (packets, bytes) = sent.unwrap_or((0, 0));
        self.traffic.left(packets, bytes);
        self.dropped += (burst.count - packets) as u64;
        true
    }

    fn send_one(&self, target: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        loop {
            match self.socket.send_to(bytes, target) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => return other.map(drop),
            }
        }
    }

    /// Says how many datagrams left, and their bytes.
    fn send_joined(&self, target: SocketAddr, burst: &Burst) -> io::Result<(usize, usize)> {
        let transmit = Transmit {
            destination: target,
            ecn: None,
            contents: &burst.bytes,
            segment_size: Some(burst.each),
            src_ip: None,
        };
        match self.socket.try_io(|| self.state.try_send((&self.socket).into(), &transmit)) {
            Ok(()) => Ok((burst.count, burst.bytes.len())),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(error),
            // This way out does not take them joined: one by one, as far as it takes them. One may be too long for the
            // interface (udx.98), and the next may not.
            Err(_) => {
                let one_by_one = burst.bytes.chunks(burst.each);
                let left = one_by_one.filter(|bytes| self.send_one(target, bytes).is_ok());
                Ok(left.fold((0, 0), |(packets, sum), bytes| (packets + 1, sum + bytes.len())))
            }
        }
    }
}

/// `quinn_udp` has the kernel say of each datagram when it came, where to, and how it was marked. Nobody here
/// reads that,
/// and it takes the kernel a third of a microsecond each time.
#[cfg(target_os = "linux")]
fn tell_less(socket: &socket2::Socket) {
    use nix::sys::socket::{setsockopt, sockopt};
    // Where one of these fails, datagrams are told of as before.
    let _ = setsockopt(socket, sockopt::ReceiveTimestampns, &false);
    let _ = setsockopt(socket, sockopt::Ipv4PacketInfo, &false);
    let _ = setsockopt(socket, sockopt::IpRecvTos, &false);
}

#[cfg(not(target_os = "linux"))]
fn tell_less(_: &socket2::Socket) {}

/// Where datagrams arrive.
pub struct Inbox {
    bytes: Vec<u8>,
    filled: [RecvMeta; BUFFERS],
}

/// What a socket still has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Left {
    Nothing,
    Perhaps,
}

impl Default for Inbox {
    fn default() -> Inbox {
        Inbox { bytes: vec![0; BUFFERS * BUFFER], filled: [RecvMeta::default(); BUFFERS] }
    }
}

impl Inbox {
    /// Takes what one call brings. Returns how many buffers that filled.
    pub fn receive(&mut self, udp: &Udp) -> (usize, Left) {
        let mut parts = self.bytes.chunks_exact_mut(BUFFER);
        let mut buffers: [_; BUFFERS] =
            array::from_fn(|_| IoSliceMut::new(parts.next().expect("as many buffers as there are")));
        let take = || udp.state.recv((&udp.socket).into(), &mut buffers, &mut self.filled);
        match udp.socket.try_io(take) {
            // Fewer than there was room for: the kernel had no more, and tells of what comes after.
            Ok(count) if count < BUFFERS && cfg!(any(target_os = "linux", target_os = "android")) => {
                (count, Left::Nothing)
            }
            Ok(count) => (count, Left::Perhaps),
            // An ICMP answer to something that was sent earlier: not about what comes in.
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionRefused) => {
                (0, Left::Perhaps)
            }
            Err(_) => (0, Left::Nothing),
        }
    }

    /// A filled buffer: its source, its bytes, and the length of each datagram in it; only the last may be shorter.
    pub fn get(&self, index: usize) -> Option<(Addr, &[u8], usize)> {
        let meta = self.filled.get(index)?;
        let SocketAddr::V4(from) = meta.addr else { return None };
        let start = index * BUFFER;
        let bytes = self.bytes.get(start..start + meta.len)?;
        let from = Addr::new(from.ip().octets(), from.port());
        (meta.stride > 0).then_some((from, bytes, meta.stride))
    }
}
