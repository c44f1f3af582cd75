//! Sizes of simulated worlds: nodes of a DHT and registry clients for an hour; nodes that bootstrap and look things up.
//!
//! `seckel-bench sim --nodes 1000 --clients 200 --minutes 60`, `seckel-bench sim --nodes 10000 --lookups 1000`.
//! Each client does a command about every `--every` seconds, one of `--writes` writes. With `--serve 1` clients let
//! others copy from them, as the prompt does, and make a mesh of some hundred connections each.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use seckel::app::registry::command::Command;
use seckel::app::registry::gate::Bounds;
use seckel::app::registry::server::Server;
use seckel::app::registry::session::Session;
use seckel::base::{Entropy, Seeded, Span, Time};
use seckel::node::Event;
use seckel::sim::crowd::{Crowd, Found, What};
use seckel::sim::{HostId, Step};

use super::common::{Args, Report, cpu, timed, vm};

pub fn run(args: &Args) -> Report {
    let mut report = Report::default();
    let nodes = args.number("nodes", 100) as usize;
    let before = rss();
    let mut crowd = Crowd::new(args.number("seed", 1));
    let spread = Span::from_millis(args.number("spread_ms", 30) * nodes as u64);
    let (join, lasting) = timed(|| crowd.join(nodes - 1, spread));
    report.figure("join_s", join.s);
    report.figure("join_cpu_s", join.cpu);
    report.info("lasting", lasting as u64);
    report.info("join_sent", crowd.world.sent);
    report.figure("kb_per_node_joined", (rss() - before) / nodes as f64);
    let (settle, ()) = timed(|| crowd.world.run(Span::from_secs(60 * args.number("settle_minutes", 0))));
    report.figure("settle_cpu_s", settle.cpu);
    let lookups = args.number("lookups", 0) as usize;
    if lookups > 0 {
        look_up(&mut report, &mut crowd, lookups);
        report.figure("kb_per_node", (rss() - before) / nodes as f64);
        tables(&mut report, &mut crowd);
    }
    if args.number("minutes", 0) > 0 {
        let mut town = Town::new(crowd, args);
        let sent = town.crowd.world.sent;
        let (hour, ()) = timed(|| town.run(Span::from_secs(60 * args.number("minutes", 0))));
        report.figure("s", hour.s);
        report.figure("cpu_s", hour.cpu);
        report.figure("sent", (town.crowd.world.sent - sent) as f64);
        report.info("commands", town.commands);
        report.info("conns", town.conns());
        report.info("reports", json!(town.reports));
        crowd = town.crowd;
    }
    report.figure("kb_per_node_end", (rss() - before) / nodes as f64);
    report.info("trace_hash", format!("{:016x}", crowd.world.trace_hash()));
    report.info("all_cpu_s", cpu());
    report
}

/// Kilobytes that this process holds.
fn rss() -> f64 {
    vm()["RssAnon"].as_f64().unwrap_or(0.0)
}

fn look_up(report: &mut Report, crowd: &mut Crowd, count: usize) {
    let (spent, announced) = timed(|| crowd.announce(count));
    report.figure("announce_cpu_s", spent.cpu);
    told(report, "announce", &announced);
    for (name, what) in [("announced", What::Announced), ("nodes", What::Nodes)] {
        let sent = crowd.world.sent;
        let (spent, found) = timed(|| crowd.look_up(count, what));
        report.figure(&format!("{name}_cpu_s"), spent.cpu);
        report.info(&format!("{name}_sent"), crowd.world.sent - sent);
        told(report, name, &found);
    }
}

fn told(report: &mut Report, name: &str, found: &Found) {
    report.figure(&format!("{name}_success"), found.found as f64 / found.asked.max(1) as f64);
    report.figure(&format!("{name}_rounds"), found.mean_rounds() as f64 / 100.0);
    report.figure(&format!("{name}_visits"), found.mean_visits() as f64 / 100.0);
    report.figure(&format!("{name}_ms"), found.time.as_millis() as f64 / found.asked.max(1) as f64);
    let rounds: BTreeMap<String, u64> =
        found.rounds.iter().map(|(rounds, n)| (rounds.to_string(), *n)).collect();
    report.info(&format!("{name}_rounds_of"), json!(rounds));
}

/// How many nodes the nodes know.
fn tables(report: &mut Report, crowd: &mut Crowd) {
    let hosts = crowd.hosts().to_vec();
    let known: Vec<usize> = hosts.iter().map(|&host| crowd.world.net(host).nodes_known()).collect();
    report.figure("known_mean", known.iter().sum::<usize>() as f64 / known.len() as f64);
    report.info("known_min", known.iter().min().copied().unwrap_or(0) as u64);
    report.info("known_max", known.iter().max().copied().unwrap_or(0) as u64);
}

/// A registry and its clients among the nodes of a DHT.
struct Town {
    crowd: Crowd,
    draw: Seeded,
    home: HostId,
    server: Server,
    clients: BTreeMap<HostId, Client>,
    /// When each program wants its turn.
    alarms: BTreeSet<(Time, HostId)>,
    /// Seconds between two commands of a client, in the mean, and of how many commands one writes.
    every: u64,
    writes: u64,
    commands: u64,
    reports: BTreeMap<String, u64>,
}

struct Client {
    session: Session,
    name: String,
    /// It has not registered its name yet.
    fresh: bool,
    /// When its user types next.
    types: Time,
    alarm: Option<Time>,
}

impl Town {
    fn new(mut crowd: Crowd, args: &Args) -> Town {
        let (clients, serve) = (args.number("clients", 0), args.number("serve", 0) > 0);
        let home = crowd.world.add([40, 0, 0, 1]);
        crowd.world.start(home, Crowd::config(false));
        let server = Server::start(&mut crowd.world.net(home), Bounds::default()).expect("a new store");
        let keys = server.keys();
        let mut town = Town {
            crowd,
            draw: Seeded::new(7),
            home,
            server,
            clients: BTreeMap::new(),
            alarms: BTreeSet::new(),
            every: args.number("every", 120).max(2),
            writes: args.number("writes", 16).max(2),
            commands: 0,
            reports: BTreeMap::new(),
        };
        while !town.server.reachable() {
            town.step(town.crowd.world.now() + Span::from_secs(1));
        }
        for n in 0..clients {
            let world = &mut town.crowd.world;
            let host = world.add([40, 1, (n >> 8) as u8, n as u8]);
            world.start(host, Crowd::config(false));
            let session =
                Session::start(&mut world.net(host), keys.server, keys.core, serve).expect("a new store");
            let types = world.now() + Span::from_secs(20 + town.draw.below(town.every));
            town.clients
                .insert(host, Client { session, name: format!("user-{n}"), fresh: true, types, alarm: None });
            town.arm(host);
            town.run(Span::from_millis(50));
        }
        town
    }

    /// Connections of the clients, each counted once per client.
    fn conns(&mut self) -> u64 {
        let hosts: Vec<HostId> = self.clients.keys().copied().collect();
        hosts.iter().map(|&host| self.crowd.world.net(host).conns().len() as u64).sum()
    }

    fn run(&mut self, span: Span) {
        let until = self.crowd.world.now() + span;
        while self.step(until) {}
    }

    fn step(&mut self, until: Time) -> bool {
        let now = self.crowd.world.now();
        let server = self.server.deadline(now);
        let first = self.alarms.first().map(|(at, _)| *at);
        let next = server.into_iter().chain(first).min().map_or(until, |at| at.max(now).min(until));
        match self.crowd.world.step(next) {
            Step::Event(host, event) => self.tell(host, event),
            Step::TimedOut if next >= until => return false,
            Step::TimedOut | Step::Crashed(_) => {}
        }
        let now = self.crowd.world.now();
        if self.server.deadline(now).is_some_and(|at| at <= now) {
            self.server.on_timeout(&mut self.crowd.world.net(self.home)).expect("the disk works");
        }
        while let Some(&(at, host)) = self.alarms.first()
            && at <= now
        {
            self.turn(now, host);
        }
        true
    }

    fn turn(&mut self, now: Time, host: HostId) {
        let Some(client) = self.clients.get_mut(&host) else { return };
        if client.types <= now {
            client.types = now + Span::from_secs(self.every / 2 + self.draw.below(self.every));
            let command = match self.draw.below(2 * self.writes) {
                0 => Command::Delete(client.name.clone()),
                1 => Command::Register(client.name.clone()),
                _ if client.fresh => Command::Register(client.name.clone()),
                _ => Command::Lookup(format!("user-{}", self.draw.below(300))),
            };
            client.fresh = false;
            self.commands += 1;
            let _ = client.session.submit(&mut self.crowd.world.net(host), command);
        }
        if client.session.deadline().is_some_and(|at| at <= now) {
            client.session.on_timeout(&mut self.crowd.world.net(host));
        }
        self.arm(host);
    }

    /// Takes what a client has to report and sets its alarm.
    fn arm(&mut self, host: HostId) {
        let Some(client) = self.clients.get_mut(&host) else { return };
        while let Some(report) = client.session.poll_report() {
            let text = report.outcome.text();
            let kind = text.split([':', ' ']).next().unwrap_or_default().replace("user-", "user");
            let kind = if text.contains("->") { "found".to_owned() } else { kind };
            *self.reports.entry(kind).or_default() += 1;
        }
        let next = client.session.deadline().map_or(client.types, |at| at.min(client.types));
        if client.alarm != Some(next) {
            if let Some(old) = client.alarm.replace(next) {
                self.alarms.remove(&(old, host));
            }
            self.alarms.insert((next, host));
        }
    }

    fn tell(&mut self, host: HostId, event: Event) {
        if host == self.home {
            self.server.on_event(&mut self.crowd.world.net(host), event).expect("the disk works");
        } else if let Some(client) = self.clients.get_mut(&host) {
            client.session.on_event(&mut self.crowd.world.net(host), event).expect("the disk works");
            self.arm(host);
        }
    }
}
