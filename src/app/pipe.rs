//! One stream of bytes between two keys, as netcat has it between two addresses. The first that connects is taken; each
//! side ends its own direction, and slow readers slow writers down.

use std::collections::VecDeque;

use super::door::Manner;
use crate::base::{Error, Key};
use crate::node::{Closed, ConnId, ConnectError, Event, KeyPair, Met, Net, ServerId};
use crate::wire::hyperdht::Address;

/// Bytes of one message at most: the longest that is written at once.
pub const CHUNK_MAX: usize = 0x1_0000;

/// What happened, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    /// Others can find us.
    Listening,
    /// The stream is open; this is whom it leads to.
    Opened(Key),
    Data(Vec<u8>),
    /// The other side writes no more. It may still read.
    Ended,
    /// The last: both sides have ended, or it broke.
    Closed(Closed),
    /// The last: there was no connection.
    Failed {
        why: ConnectError,
        met: Option<Met>,
    },
}

/// One end. Commands: `write`, `end`, `set_reading`, `leave`; the program hands every event to `on_event`, then
/// takes what
/// `poll` has.
#[derive(Debug)]
pub struct Pipe {
    server: Option<ServerId>,
    manner: Manner,
    link: Link,
    /// We write no more, as soon as there is anybody to tell.
    ended: bool,
    told: VecDeque<Told>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Link {
    Waiting,
    Dialing(ConnId),
    Open { conn: ConnId, full: bool },
    Over,
}

impl Pipe {
    /// Waits for somebody to connect.
    pub fn listen(net: &mut Net<'_>, pair: &KeyPair) -> Result<Pipe, Error> {
        Pipe::listen_as(net, pair, Manner::default())
    }

    /// The same, for whom and how it is said.
    pub fn listen_as(net: &mut Net<'_>, pair: &KeyPair, manner: Manner) -> Result<Pipe, Error> {
        let server = manner.listen(net, pair)?;
        Ok(Pipe::new(Some(server), manner, Link::Waiting))
    }

    /// Connects to the one that listens there.
    pub fn connect(net: &mut Net<'_>, to: &Address, pair: &KeyPair, manner: Manner) -> Result<Pipe, Error> {
        let conn = manner.connect(net, to, pair)?;
        Ok(Pipe::new(None, manner, Link::Dialing(conn)))
    }

    fn new(server: Option<ServerId>, manner: Manner, link: Link) -> Pipe {
        Pipe { server, manner, link, ended: false, told: VecDeque::new() }
    }

    /// Whether `write` has somewhere to put bytes. Before the stream is open it has not.
    pub fn takes_input(&self) -> bool {
        matches!(self.link, Link::Open { full: false, .. }) && !self.ended
    }

    /// Sends bytes, `CHUNK_MAX` at most. `Error::Full`: nothing was sent; `takes_input` says when to try again.
    pub fn write(&mut self, net: &mut Net<'_>, bytes: &[u8]) -> Result<(), Error> {
        let Link::Open { conn, full } = &mut self.link else { return Err(Error::NotOpen) };
        if self.ended {
            return Err(Error::NotOpen);
        }
        let sent = net.send(*conn, bytes);
        *full = sent == Err(Error::Full);
        sent
    }

    /// Our side has no more; what was written still arrives, and the other side may go on.
    pub fn end(&mut self, net: &mut Net<'_>) {
        if !self.ended
            && let Link::Open { conn, .. } = self.link
        {
            net.close(conn);
        }
        self.ended = true;
    }

    /// Off: what comes waits on the other side, once what is under way has come.
    pub fn set_reading(&mut self, net: &mut Net<'_>, on: bool) {
        if let Link::Open { conn, .. } = self.link {
            // One that is gone has nothing more to read.
            let _ = net.set_reading(conn, on);
        }
    }

    /// Gives the connection up, if there is one, and takes the announcement back.
    pub fn leave(&mut self, net: &mut Net<'_>) {
        if let Link::Open { conn, .. } | Link::Dialing(conn) = self.link {
            net.destroy(conn);
        }
        self.link = Link::Over;
        self.unlisten(net);
    }

    /// Nothing is left to wait for.
    pub fn left(&self) -> bool {
        self.link == Link::Over && self.server.is_none()
    }

    pub fn poll(&mut self) -> Option<Told> {
        self.told.pop_front()
    }

    pub fn on_event(&mut self, net: &mut Net<'_>, event: Event) {
        self.manner.on_event(net, &event);
        match event {
            Event::Listening { server } if self.server == Some(server) && self.link == Link::Waiting => {
                self.told.push_back(Told::Listening);
            }
            Event::Unlistened { server } if self.server == Some(server) => self.server = None,
            Event::Connected { conn, server, key, .. } => match self.link {
                Link::Dialing(dialled) if dialled == conn => self.open(net, conn, key),
                Link::Waiting if server.is_some() => {
                    self.open(net, conn, key);
                    self.unlisten(net);
                }
                // There is one stream.
                Link::Waiting | Link::Dialing(_) | Link::Open { .. } | Link::Over => net.destroy(conn),
            },
            Event::ConnectFailed { conn, why, met, .. } if self.link == Link::Dialing(conn) => {
                self.over(Told::Failed { why, met });
            }
            Event::Data { conn, bytes } if self.is_open(conn) => self.told.push_back(Told::Data(bytes)),
            Event::Drained { conn } if self.is_open(conn) => self.link = Link::Open { conn, full: false },
            Event::Ended { conn } if self.is_open(conn) => self.told.push_back(Told::Ended),
            Event::Closed { conn, why } if self.is_open(conn) => self.over(Told::Closed(why)),
            _ => {}
        }
    }

    fn open(&mut self, net: &mut Net<'_>, conn: ConnId, key: Key) {
        self.link = Link::Open { conn, full: false };
        self.told.push_back(Told::Opened(key));
        if self.ended {
            net.close(conn);
        }
    }

    fn over(&mut self, last: Told) {
        self.link = Link::Over;
        self.told.push_back(last);
    }

    fn is_open(&self, conn: ConnId) -> bool {
        matches!(self.link, Link::Open { conn: open, .. } if open == conn)
    }

    fn unlisten(&mut self, net: &mut Net<'_>) {
        if let Some(server) = self.server {
            net.unlisten(server);
        }
    }
}
