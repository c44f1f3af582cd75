//! `seckel chat` and `seckel swarm`.

use std::path::PathBuf;

use clap::Args;
use seckel::app::chat::{Chat, Line};
use seckel::app::reach;
use seckel::base::{Key, Span};
use seckel::edge::host::Wake;
use seckel::node::{Closed, Event};
use seckel::wire::hyperdht::Address;

use super::args;
use super::keys;
use super::network::{Door, Joined, Meeting, Route, Ways};
use super::run::{Bad, LEAVE};
use super::terminal::{Terminal, Typed, say, warn};

pub const CHAT: &str = "\
Examples:
  seckel chat                          prints `listening on: KEY`; others join with it
  seckel chat KEY                      joins the one who listens there
  seckel chat --key alice.key          the same KEY every time; the file is made if there is none
  seckel chat --allow KEY,KEY          lets in nobody else
  echo hello | seckel chat KEY         says one line and leaves
  seckel chat KEY --bootstrap 127.0.0.1:30001
What you type goes to everybody you are connected with. Ctrl-C leaves, and takes the announcement back.
Exit codes: 0 left, 2 wrong command line, 3 not reached or lost, 4 the key file cannot be used.
With --json a line is an object: {\"event\":\"message\",\"key\":..,\"text\":..}; other events are listening, connection,
parted, unreached.";

pub const SWARM: &str = "\
Examples:
  seckel swarm pears                   everybody who says `pears` is in the room
  seckel swarm 64_HEX_DIGITS --json
  seckel swarm pears --bootstrap 127.0.0.1:30001
  seckel swarm pears --relay-through KEY     where some find no direct way (seckel relay)
TOPIC is 64 hex digits, or text: its BLAKE2b hash is the topic then, as DHT.hash has it.
Exit codes: 0 left, 2 wrong command line, 4 the key file cannot be used.";

#[derive(Args, Debug)]
pub struct ChatArgs {
    /// Whom to join, hex or z-base-32 [nobody: listen]
    #[arg(value_name = "KEY", value_parser = args::key_or_blob)]
    pub to: Option<Address>,
    /// Be this key; the file is made if there is none [a new key]
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// One JSON object for each line
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub door: Door,
    #[command(flatten)]
    pub route: Route,
    #[command(flatten)]
    pub ways: Ways,
    #[command(flatten)]
    pub joining: Meeting,
}

#[derive(Args, Debug)]
pub struct SwarmArgs {
    /// 64 hex digits, or text that is hashed
    #[arg(value_parser = args::topic)]
    pub topic: Key,
    /// Be this key; the file is made if there is none [a new key]
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// One JSON object for each line
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub joining: Meeting,
}

/// `seckel chat`.
pub fn chat(args: &ChatArgs) -> Result<u8, Bad> {
    let pair = keys::read_or_make(args.key.as_deref())?;
    let mut joined = args.joining.open()?;
    let manner = args.joining.manner(&args.ways, Some(&args.door), Some(&args.route));
    let chat = match &args.to {
        None => Chat::listen_as(&mut joined.net(), &pair, manner)?,
        Some(to) => Chat::join_as(&mut joined.net(), to, &pair, manner)?,
    };
    Talk { joined, chat, guest: args.to.is_some(), json: args.json, code: 0 }.run()
}

/// `seckel swarm`.
pub fn swarm(args: &SwarmArgs) -> Result<u8, Bad> {
    let pair = keys::read_or_make(args.key.as_deref())?;
    let mut joined = args.joining.open()?;
    let chat = Chat::room(&mut joined.net(), args.topic, &pair)?;
    Talk { joined, chat, guest: false, json: args.json, code: 0 }.run()
}

/// How long those we leave have time to end their side as well.
const POLITE: Span = Span::from_millis(500);

struct Talk {
    joined: Joined,
    chat: Chat,
    /// The end of the only connection, or of what is typed, is the end.
    guest: bool,
    json: bool,
    code: u8,
}

impl Talk {
    fn run(mut self) -> Result<u8, Bad> {
        let waker = self.joined.host.waker();
        let mut terminal = Terminal::lines(move || {
            let _ = waker.wake();
        });
        let mut typing = true;
        loop {
            if self.show() {
                self.joined.linger()?;
                return Ok(self.code);
            }
            // What is typed before anybody is there waits for them.
            while typing && self.chat.peers().next().is_some() {
                match terminal.next() {
                    None => break,
                    Some(Typed::Line(line)) => self.chat.say(&mut self.joined.net(), &line),
                    Some(Typed::NotText) => warn("the line is not UTF-8 text and was not sent"),
                    Some(Typed::End) => typing = false,
                }
            }
            if !typing && self.guest {
                break;
            }
            match self.joined.wait(None)? {
                Wake::Event(_, event) => self.on_event(event)?,
                Wake::Interrupted => break,
                Wake::Woken | Wake::TimedOut => {}
            }
        }
        self.leave()
    }

    fn on_event(&mut self, event: Event) -> Result<(), Bad> {
        if matches!(event, Event::BindFailed) {
            return Err(self.joined.unbound());
        }
        let id = self.joined.id;
        self.chat.on_event(&mut self.joined.host.net(id), event);
        Ok(())
    }

    /// Shows what happened. True: there is nobody to talk to any more.
    fn show(&mut self) -> bool {
        let mut over = false;
        while let Some(line) = self.chat.poll() {
            let last = matches!(line, Line::Parted { .. } | Line::Unreached { .. });
            if self.json {
                say(&line.json());
            } else if last {
                warn(&line.to_string());
            } else {
                say(&line.to_string());
            }
            if !(last && self.guest) {
                continue;
            }
            over = true;
            self.code = match line {
                Line::Parted { why: Closed::Ended, .. } => 0,
                Line::Parted { why, .. } => {
                    warn(reach::broken(why));
                    3
                }
                Line::Unreached { .. } | Line::Listening(_) | Line::Met(_) | Line::Said { .. } => 3,
            };
        }
        over
    }

    /// Says goodbye; what cannot be said in time stays unsaid.
    fn leave(mut self) -> Result<u8, Bad> {
        // The goodbyes of others are no news.
        self.chat.leave(&mut self.joined.net());
        let begun = self.joined.host.now();
        let (polite, until) = (begun + POLITE, begun + LEAVE);
        while !self.chat.left() && self.joined.host.now() < until {
            let now = self.joined.host.now();
            if now >= polite && self.joined.net().idle() {
                let id = self.joined.id;
                self.chat.give_up(&mut self.joined.host.net(id));
            }
            match self.joined.wait(Some(if now < polite { polite } else { until }))? {
                Wake::Event(_, event) => self.on_event(event)?,
                Wake::Interrupted => break,
                Wake::Woken | Wake::TimedOut => {}
            }
            while let Some(line) = self.chat.poll() {
                if matches!(line, Line::Said { .. }) {
                    say(&if self.json { line.json() } else { line.to_string() });
                }
            }
        }
        self.joined.linger()?;
        Ok(0)
    }
}
