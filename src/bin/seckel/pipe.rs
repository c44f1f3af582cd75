//! `seckel listen` and `seckel connect`: standard input and output through an encrypted stream.

use std::collections::VecDeque;
use std::io::{ErrorKind, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::JoinHandle;

use clap::Args;
use seckel::app::pipe::{CHUNK_MAX, Pipe, Told};
use seckel::app::reach;
use seckel::app::text::{object, quoted};
use seckel::base::{Error, Key, hex};
use seckel::edge::host::Wake;
use seckel::node::{Closed, Event};
use seckel::wire::hyperdht::Address;

use super::args;
use super::keys;
use super::network::{Door, Joined, Meeting, Route, Ways};
use super::run::{Bad, LEAVE};
use super::terminal::{unwritten, warn, warn_json};

pub const LISTEN: &str = "\
Examples:
  seckel listen > got.tar              says on standard error `listening on: KEY`
  seckel connect KEY < sent.tar        elsewhere
  seckel listen --key backup.key       the same KEY every time; the file is made if there is none
  seckel listen --allow KEY,KEY        nobody else finds it
The first who connects is served, and nobody else; when both sides have ended it ends. Bytes go as they come; the end of
the input ends that direction only, and a slow reader slows the writer down.
With --json what is said on standard error is one object for each line: {\"event\":\"listening\",\"key\":..};
other events are connection, ended, broken.
Exit codes: 0 both sides ended, 2 wrong command line, 3 the connection broke, 4 the key file cannot be used or the
output not be written, 130 Ctrl-C.";

pub const CONNECT: &str = "\
Examples:
  tar c photos | seckel connect KEY
  seckel connect KEY < /dev/null > got.tar
  seckel connect KEY --bootstrap 127.0.0.1:30001
  seckel connect KEY --relay-through RELAY_KEY      where there is no direct way (seckel relay)
  seckel connect KEY --relay-addresses 10.0.0.1:49737     by way of this node, without a search
With --json what is said on standard error is one object for each line: {\"event\":\"connection\",\"key\":..};
other events are ended, broken, unreached with the error's code and both NATs.
KEY is what `seckel listen` shows, in hex or z-base-32, or an address blob in hex: the key, and nodes that lead there.
Exit codes: 0 both sides ended, 2 wrong command line, 3 not reached or broken, 4 the key file cannot be used or the
output not be written, 130 Ctrl-C.";

#[derive(Args, Debug)]
pub struct Listen {
    /// Be this key; the file is made if there is none [a new key]
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Say on standard error what happens as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub door: Door,
    #[command(flatten)]
    pub ways: Ways,
    #[command(flatten)]
    pub joining: Meeting,
}

#[derive(Args, Debug)]
pub struct Connect {
    /// Who listens, hex or z-base-32
    #[arg(value_name = "KEY", value_parser = args::key_or_blob)]
    pub to: Address,
    /// Be this key; the file is made if there is none [a new key]
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Say on standard error what happens as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub route: Route,
    #[command(flatten)]
    pub ways: Ways,
    #[command(flatten)]
    pub joining: Meeting,
}

/// Pieces that are read ahead of the network, or wait for the reader of standard output.
const AHEAD: usize = 4;

/// `seckel listen`.
pub fn listen(args: &Listen) -> Result<u8, Bad> {
    let pair = keys::read_or_make(args.key.as_deref())?;
    let mut joined = args.joining.open()?;
    let manner = args.joining.manner(&args.ways, Some(&args.door), None);
    let pipe = Pipe::listen_as(&mut joined.net(), &pair, manner)?;
    Plumbing::new(joined, pipe, pair.public, args.json).run()
}

/// `seckel connect`.
pub fn connect(args: &Connect) -> Result<u8, Bad> {
    let pair = keys::read_or_make(args.key.as_deref())?;
    let mut joined = args.joining.open()?;
    let manner = args.joining.manner(&args.ways, None, Some(&args.route));
    let pipe = Pipe::connect(&mut joined.net(), &args.to, &pair, manner)?;
    Plumbing::new(joined, pipe, args.to.key, args.json).run()
}

/// Standard input, read on a thread of its own.
fn input(wake: impl Fn() + Send + 'static) -> Receiver<Result<Vec<u8>, std::io::Error>> {
    let (to_loop, chunks) = sync_channel(AHEAD);
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        let mut chunk = vec![0; CHUNK_MAX];
        loop {
            let read = match input.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => Ok(chunk[..count].to_vec()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let failed = read.is_err();
            if to_loop.send(read).is_err() {
                return;
            }
            wake();
            if failed {
                break;
            }
        }
        drop(to_loop);
        wake();
    });
    chunks
}

/// Standard output, written on a thread of its own.
struct Out {
    /// `None`: nothing more comes, or nobody reads.
    to_writer: Option<SyncSender<Vec<u8>>>,
    /// It ends with the exit code that its failure comes to.
    writer: Option<JoinHandle<u8>>,
    waiting: VecDeque<Vec<u8>>,
}

impl Out {
    fn new(wake: impl Fn() + Send + 'static) -> Out {
        let (to_writer, chunks) = sync_channel::<Vec<u8>>(AHEAD);
        let writer = std::thread::spawn(move || {
            let mut output = std::io::stdout().lock();
            let mut code = 0;
            while let Ok(chunk) = chunks.recv() {
                if let Err(error) = output.write_all(&chunk).and_then(|()| output.flush()) {
                    code = unwritten(&error);
                    break;
                }
                wake();
            }
            drop(chunks);
            wake();
            code
        });
        Out { to_writer: Some(to_writer), writer: Some(writer), waiting: VecDeque::new() }
    }

    /// Hands over what fits. False: the reader of standard output is gone.
    fn push(&mut self) -> bool {
        while let Some(chunk) = self.waiting.pop_front() {
            let Some(to_writer) = &self.to_writer else { return false };
            match to_writer.try_send(chunk) {
                Ok(()) => {}
                Err(TrySendError::Full(chunk)) => {
                    self.waiting.push_front(chunk);
                    return true;
                }
                Err(TrySendError::Disconnected(_)) => return false,
            }
        }
        true
    }

    /// Writes the rest, however long its reader takes. The exit code that its failure comes to comes back.
    fn finish(&mut self) -> u8 {
        if let Some(to_writer) = self.to_writer.take() {
            for chunk in self.waiting.drain(..) {
                if to_writer.send(chunk).is_err() {
                    break;
                }
            }
        }
        self.writer.take().and_then(|writer| writer.join().ok()).unwrap_or(0)
    }
}

struct Plumbing {
    joined: Joined,
    pipe: Pipe,
    /// Ours if we listen, else the other side's.
    key: Key,
    out: Out,
    input: Receiver<Result<Vec<u8>, std::io::Error>>,
    /// Read, but not sent yet.
    chunk: Option<Vec<u8>>,
    input_ended: bool,
    reading: bool,
    json: bool,
}

impl Plumbing {
    fn new(joined: Joined, pipe: Pipe, key: Key, json: bool) -> Plumbing {
        let wakers = [joined.host.waker(), joined.host.waker()];
        let [first, second] = wakers.map(|waker| {
            move || {
                let _ = waker.wake();
            }
        });
        let (input, out) = (input(first), Out::new(second));
        Plumbing { joined, pipe, key, out, input, chunk: None, input_ended: false, reading: true, json }
    }

    fn run(mut self) -> Result<u8, Bad> {
        loop {
            if let Some(code) = self.tell()? {
                let written = self.out.finish();
                return self.leave(if written == 0 { code } else { written });
            }
            if !self.send() {
                return self.leave(4);
            }
            if !self.out.push() {
                let code = self.out.finish();
                return self.leave(code);
            }
            self.throttle();
            match self.joined.wait(None)? {
                Wake::Event(_, Event::BindFailed) => return Err(self.joined.unbound()),
                Wake::Event(id, event) => self.pipe.on_event(&mut self.joined.host.net(id), event),
                Wake::Interrupted => return self.leave(130),
                Wake::Woken | Wake::TimedOut => {}
            }
        }
    }

    /// Acts on what happened. Some: it is over, with this exit code.
    fn tell(&mut self) -> Result<Option<u8>, Bad> {
        while let Some(told) = self.pipe.poll() {
            match told {
                Told::Listening => self.say("listening", Some(&self.key), "listening on: "),
                Told::Opened(key) => self.say("connection", Some(&key), "connected with: "),
                Told::Data(bytes) => self.out.waiting.push_back(bytes),
                Told::Ended => {
                    self.say("ended", None, "the other side has ended its direction");
                    // Nobody types on when there is nothing more to answer.
                    if std::io::stdin().is_terminal() {
                        self.input_ended = true;
                        self.pipe.end(&mut self.joined.host.net(self.joined.id));
                    }
                }
                Told::Closed(Closed::Ended) => return Ok(Some(0)),
                Told::Closed(why) => {
                    let why =
                        format!("the connection broke: {}; what came may not be all", reach::broken(why));
                    self.say("broken", None, &why);
                    return Ok(Some(3));
                }
                Told::Failed { why, met } if self.json => {
                    warn_json(&reach::unreached_json(&self.key, why, met));
                    return Ok(Some(3));
                }
                Told::Failed { why, met } => {
                    return Err(Bad { text: reach::unreached(&self.key, why, met), code: 3 });
                }
            }
        }
        Ok(None)
    }

    fn say(&self, event: &str, key: Option<&Key>, text: &str) {
        let key = key.map(|key| hex::encode(key));
        if self.json {
            let mut fields = vec![("event", quoted(event))];
            match &key {
                Some(key) => fields.push(("key", quoted(key))),
                None => fields.push(("text", quoted(text))),
            }
            warn_json(&object(&fields));
        } else {
            warn(&format!("{text}{}", key.unwrap_or_default()));
        }
    }

    /// Sends what was read, while there is room for it. False: not all can be read.
    fn send(&mut self) -> bool {
        let id = self.joined.id;
        while self.pipe.takes_input() && !self.input_ended {
            let chunk = match self.chunk.take() {
                Some(chunk) => chunk,
                None => match self.input.try_recv() {
                    Ok(Ok(chunk)) => chunk,
                    // The other side must not take what came for all.
                    Ok(Err(error)) => {
                        warn(&format!("standard input cannot be read: {error}"));
                        return false;
                    }
                    Err(TryRecvError::Empty) => return true,
                    Err(TryRecvError::Disconnected) => {
                        self.input_ended = true;
                        self.pipe.end(&mut self.joined.host.net(id));
                        return true;
                    }
                },
            };
            // One that is gone is told of by an event.
            if self.pipe.write(&mut self.joined.host.net(id), &chunk) == Err(Error::Full) {
                self.chunk = Some(chunk);
            }
        }
        true
    }

    /// The other side waits while our reader does.
    fn throttle(&mut self) {
        let reading = self.out.waiting.is_empty();
        if reading != self.reading {
            self.reading = reading;
            let id = self.joined.id;
            self.pipe.set_reading(&mut self.joined.host.net(id), reading);
        }
    }

    /// Takes the announcement back, if there is time for it.
    fn leave(mut self, code: u8) -> Result<u8, Bad> {
        let id = self.joined.id;
        self.pipe.leave(&mut self.joined.host.net(id));
        let until = self.joined.host.now() + LEAVE;
        while !self.pipe.left() && self.joined.host.now() < until {
            match self.joined.wait(Some(until))? {
                Wake::Event(id, event) => self.pipe.on_event(&mut self.joined.host.net(id), event),
                Wake::Interrupted => break,
                Wake::Woken | Wake::TimedOut => {}
            }
        }
        self.joined.linger()?;
        Ok(code)
    }
}
