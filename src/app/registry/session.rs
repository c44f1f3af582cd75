//! A client at work over a node. Follows registry.19.

use super::client::{Client, Pair, Replica, Report};
use super::command::Command;
use super::rules;
use crate::app::service::session::View;
use crate::app::service::{self, CallFault, Exit, Mind, Output, Spoken, Status, Told};
use crate::base::{Error, Key, Time};
use crate::node::{KeyPair, Range};

/// A running client; see `service::session`.
pub type Session = service::session::Session<Client>;

impl Mind for Client {
    type Command = Command;
    type Report = Report;
    const NAME: &'static str = rules::CORE_NAME;

    fn new(now: Time, pair: KeyPair, _: Key) -> Client {
        Client::new(now, pair.public)
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
        self.answered(now, ticket, result.and_then(|value| rules::read_answer(&value).ok_or_else(too_long)));
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
    fn get(&mut self, name: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.net.bee_get(self.core, name)
    }
    fn list(&mut self) -> Result<Vec<Pair>, Error> {
        self.net.bee_list(self.core, &Range::all())
    }
    fn block(&mut self, seq: u64) -> Result<Option<Vec<u8>>, Error> {
        self.net.block(self.core, seq)
    }
}

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
        self.outcome.json(self.warning.is_some())
    }
    fn warnings(&self) -> Vec<&'static str> {
        self.warning.into_iter().collect()
    }
    fn aside(&self) -> bool {
        use super::outcome::Outcome;
        matches!(self.outcome, Outcome::NeverSynced | Outcome::Incomplete)
    }
    fn exit(&self) -> Exit {
        self.outcome.exit()
    }
}
