//! UDP sockets: bound with the buffers that UDX asks for, never blocking, a bounded queue where the kernel is full.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use crate::base::Addr;
use crate::base::limits;

/// udx.h: what libudx asks the kernel for, largest first.
const RECV_BUFFERS: [usize; 4] = [1 << 20, 512 << 10, 256 << 10, 208 << 10];
const SEND_BUFFER: usize = 212_992;
const TTL: u8 = 64;

/// A datagram that the kernel would not take yet.
struct Waiting {
    to: Addr,
    bytes: Vec<u8>,
    ttl: Option<u8>,
}

/// A bound UDP socket.
pub struct Udp {
    socket: mio::net::UdpSocket,
    waiting: VecDeque<Waiting>,
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
        let socket = mio::net::UdpSocket::from_std(socket.into());
        socket.set_ttl(u32::from(TTL))?;
        Ok(Udp { socket, waiting: VecDeque::new(), dropped: 0 })
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

    /// Sends, or keeps for later if the kernel is full. Other failures lose the datagram, as a network may.
    pub fn send(&mut self, to: Addr, bytes: Vec<u8>, ttl: Option<u8>) {
        if !self.waiting.is_empty() || !self.try_send(to, &bytes, ttl) {
            if self.waiting.len() < limits::SOCKET_QUEUE_MAX {
                self.waiting.push_back(Waiting { to, bytes, ttl });
            } else {
                self.dropped += 1;
            }
        }
    }

    /// True once nothing waits.
    pub fn send_waiting(&mut self) -> bool {
        while let Some(Waiting { to, bytes, ttl }) = self.waiting.pop_front() {
            if !self.try_send(to, &bytes, ttl) {
                self.waiting.push_front(Waiting { to, bytes, ttl });
                return false;
            }
        }
        true
    }

    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// False if the kernel is full.
    fn try_send(&mut self, to: Addr, bytes: &[u8], ttl: Option<u8>) -> bool {
        let target = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::from(to.ip), to.port));
        if let Some(ttl) = ttl {
            let _ = self.socket.set_ttl(u32::from(ttl));
        }
        let sent = loop {
            match self.socket.send_to(bytes, target) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        if ttl.is_some() {
            let _ = self.socket.set_ttl(u32::from(TTL));
        }
        match sent {
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(_) => {
                self.dropped += 1;
                true
            }
            Ok(_) => true,
        }
    }

    /// The next datagram, if there is one: its source and its length in `buffer`.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Option<(Addr, usize)> {
        loop {
            match self.socket.recv_from(buffer) {
                Ok((len, from)) => match from.ip() {
                    IpAddr::V4(ip) => return Some((Addr::new(ip.octets(), from.port()), len)),
                    IpAddr::V6(_) => {}
                },
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                // An ICMP answer to something that was sent earlier: not about what comes in.
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionRefused) => {}
                Err(_) => return None,
            }
        }
    }
}
