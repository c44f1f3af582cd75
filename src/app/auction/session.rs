//! A client at work over a node. Follows registry.19.

use super::client::{Client, Replica, Report};
use super::command::Command;
use super::outcome::Outcome;
use super::rules::Answer;
use super::server::CORE_NAME;
use crate::app::service::session::View;
use crate::app::service::{self, CallFault, Exit, Mind, Output, Spoken, Status, Told};
use crate::base::disk::{read_file, replace_file};
use crate::base::{Error, Key, Mode, Time, limits};
use crate::node::KeyPair;

/// A running client; see `service::session`.
pub type Session = service::session::Session<Client>;

impl Mind for Client {
    type Command = Command;
    type Report = Report;
    const NAME: &'static str = CORE_NAME;

    fn new(now: Time, pair: KeyPair, core: Key) -> Client {
        Client::new(now, pair, core)
    }
    fn submit(&mut self, command: Command) -> Result<(), Error> {
        self.submit(command)
    }
    fn busy(&self) -> bool {
        self.busy()
    }
    fn link_up(&mut self, now: Time) {
        self.link_up(now);
    }
    fn link_down(&mut self, now: Time, draw: u64) {
        self.link_down(now, draw);
    }
    fn answered(&mut self, now: Time, ticket: u64, result: Result<Vec<u8>, CallFault>) {
        let too_long = || CallFault::Failed("an answer that is too long".to_owned());
        self.answered(now, ticket, result.and_then(|value| Answer::read(&value).ok_or_else(too_long)));
    }
    fn look(&mut self, now: Time, draw: u64, copy: &mut View<'_, '_>) {
        self.tick(now, draw, copy);
    }
    fn poll_output(&mut self) -> Option<Output> {
        self.poll_output()
    }
    fn poll_report(&mut self) -> Option<Report> {
        self.poll_report()
    }
    fn deadline(&self) -> Option<Time> {
        self.deadline()
    }
}

impl Replica for View<'_, '_> {
    fn status(&self, reachable: bool) -> Status {
        View::status(self, reachable)
    }
    fn block(&mut self, seq: u64) -> Result<Option<Vec<u8>>, Error> {
        self.net.block(self.core, seq)
    }
    fn unix_millis(&self) -> u64 {
        self.net.unix_millis().unwrap_or(0)
    }
    fn mark(&mut self) -> Option<Vec<u8>> {
        read_file(self.net.cx().disk, MARK, limits::AUCTION_MARK_MAX).ok().flatten()
    }
    fn keep_mark(&mut self, mark: &[u8]) {
        let _ = replace_file(self.net.cx().disk, MARK, Mode::Write, mark);
    }
}

/// In the client's storage. (auction.25)
const MARK: &str = "auction-checked";

/// auction.15
const FAULTY: &str =
    "the log has blocks that do not count, against the rules or signed by nobody; `verify` names them";

impl Spoken for Command {
    fn parse(line: &str) -> Result<Option<Command>, String> {
        super::command::parse(line).map_err(|mistake| mistake.to_string())
    }
    fn is_exit(&self) -> bool {
        *self == Command::Exit
    }
}

impl Told for Report {
    fn text(&self) -> String {
        self.outcome.text()
    }
    fn json(&self) -> String {
        self.outcome.json(self.warning.is_some(), self.faulty)
    }
    fn warnings(&self) -> Vec<&'static str> {
        self.warning.into_iter().chain(self.faulty.then_some(FAULTY)).collect()
    }
    fn aside(&self) -> bool {
        matches!(self.outcome, Outcome::NeverSynced | Outcome::Incomplete)
    }
    fn last(&self) -> bool {
        self.last
    }
    fn exit(&self) -> Exit {
        self.outcome.exit()
    }
}
