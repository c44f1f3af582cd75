//! `seckel dht`: nodes of a DHT, what they keep over restarts, and what they tell about themselves.

use std::fmt::Write as _;
use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use seckel::app::text::{object, quoted};
use seckel::base::{Addr, Span, Time};
use seckel::edge::host::{Host, NodeId, Wake};
use seckel::node::{DhtConfig, Event};

use super::args::{self, Role};
use super::run::{self, Bad, patience};
use super::terminal::say;

/// How often what is kept is written, if it has changed.
const KEEP_EVERY: Span = Span::from_secs(60);
/// The first line of a file of what is kept.
const HEAD: &str = "seckel dht 1";
/// Nodes that are kept; a table has not many more.
const NODES_MAX: usize = 1024;

/// `seckel dht`.
pub fn dht(args: &args::Dht, set: Option<&str>) -> Result<u8, Bad> {
    let (role, news) = (args.role(set)?, News { json: args.json });
    let shelf = args.storage.as_deref().map(Shelf::open).transpose()?;
    let mut host = Host::open()?;
    host.catch_signals()?;
    host.watch_usr1()?;
    let mut nodes = Vec::new();
    match role {
        Role::Bootstrap { host: ip, port } => {
            news.say("Starting DHT bootstrap node...", None);
            let mut config = DhtConfig::bootstrapper(Addr::new(ip, port))?;
            let kept = shelf.as_ref().map(|shelf| shelf.read(0)).transpose()?.unwrap_or_default();
            config.nodes = kept.nodes;
            let id = run::add(&mut host, run::config(config), &run::nowhere())?;
            let port = run::bound(&mut host, id, port)?;
            nodes.push(id);
            let bound = Addr::new(ip, port);
            news.bound(&format!("Bootstrap node bound to {bound}"), 0, bound);
            news.started("Fully started DHT bootstrap node", 1);
        }
        Role::Nodes { bootstrap, host: ip, port, count } => {
            news.say("Booting DHT nodes...", None);
            for number in 0..usize::from(count) {
                let kept = shelf.as_ref().map(|shelf| shelf.read(number)).transpose()?.unwrap_or_default();
                let mut dht = run::joining(bootstrap.clone(), ip, port.or(kept.port));
                // The port of the last time is wanted, the one of the command line is needed.
                dht.any_port = port.is_none();
                dht.nodes = kept.nodes;
                dht.firewalled = !args.open;
                if args.persistent {
                    dht.ephemeral = Some(false);
                } else if args.ephemeral {
                    dht.ephemeral = Some(true);
                }
                let (id, bound) = run::start_node(&mut host, run::config(dht))?;
                news.bound(&format!("Node #{} bound to {bound}", id.0), id.0, bound);
                nodes.push(id);
            }
            let plural = if count == 1 { "" } else { "s" };
            news.started(&format!("Fully started {count} DHT node{plural}"), count);
        }
    }
    let stats = args.stats.map(Span::from_secs);
    Service { host, nodes, shelf, stats, news }.run()
}

/// What is told as it happens: text, or with --json an object a line.
struct News {
    json: bool,
}

impl News {
    /// What is none for machines is not told to them.
    fn say(&self, text: &str, fields: Option<&[(&str, String)]>) {
        match (self.json, fields) {
            (false, _) => say(text),
            (true, Some(fields)) => say(&object(fields)),
            (true, None) => {}
        }
    }

    fn bound(&self, text: &str, node: usize, address: Addr) {
        let address = quoted(&address.to_string());
        self.say(text, Some(&[("event", quoted("bound")), ("node", node.to_string()), ("address", address)]));
    }

    fn started(&self, text: &str, nodes: u16) {
        self.say(text, Some(&[("event", quoted("started")), ("nodes", nodes.to_string())]));
    }

    fn persistent(&self, node: usize) {
        let fields = [("event", quoted("persistent")), ("node", node.to_string())];
        self.say(&format!("Node #{node} is persistent"), Some(&fields));
    }
}

/// Running nodes.
struct Service {
    host: Host,
    nodes: Vec<NodeId>,
    shelf: Option<Shelf>,
    stats: Option<Span>,
    news: News,
}

impl Service {
    fn run(mut self) -> Result<u8, Bad> {
        self.keep()?;
        let mut keep_at = self.host.now() + KEEP_EVERY;
        let mut tell_at = self.stats.map(|every| self.host.now() + every);
        loop {
            let now = self.host.now();
            if keep_at <= now {
                self.keep()?;
                keep_at = now + KEEP_EVERY;
            }
            if tell_at.is_some_and(|at| at <= now) {
                self.tell();
                tell_at = self.stats.map(|every| now + every);
            }
            let kept = self.shelf.is_some().then_some(keep_at);
            let until = [kept, tell_at].into_iter().flatten().min();
            match self.host.wait(patience(now, until))? {
                Wake::Event(id, Event::Persistent) => self.news.persistent(id.0),
                Wake::Interrupted => break,
                Wake::Woken if self.host.take_usr1() => self.tell(),
                Wake::Event(..) | Wake::Woken | Wake::TimedOut => {}
            }
        }
        self.keep()?;
        Ok(0)
    }

    fn keep(&mut self) -> Result<(), Bad> {
        let Some(shelf) = &mut self.shelf else { return Ok(()) };
        for &id in &self.nodes {
            let status = self.host.net(id).status();
            let port = status.local.map(|local| local.port);
            shelf.write(id.0, &Kept { port, nodes: status.nodes })?;
        }
        Ok(())
    }

    /// A line for each node.
    fn tell(&mut self) {
        let up = self.host.now().since(Time::ZERO).as_micros() / 1_000_000;
        for &id in &self.nodes {
            let (mut came, mut left, mut bytes_in, mut bytes_out) = (0, 0, 0, 0);
            for (_, traffic) in self.host.traffic(id) {
                (came, left) = (came + traffic.packets_in, left + traffic.packets_out);
                (bytes_in, bytes_out) = (bytes_in + traffic.bytes_in, bytes_out + traffic.bytes_out);
            }
            let net = self.host.net(id);
            let (status, stats, known) = (net.status(), net.dht_stats(), net.nodes_known());
            let address = status.local.map_or("-".to_owned(), |local| local.to_string());
            let role = if status.ephemeral { "ephemeral" } else { "persistent" };
            let counts: [(&str, u64); 10] = [
                ("uptime_s", up),
                ("nodes_known", known as u64),
                ("requests", stats.requests),
                ("responses", stats.responses),
                ("timeouts", stats.timeouts),
                ("queries", stats.queries),
                ("datagrams_in", came),
                ("datagrams_out", left),
                ("bytes_in", bytes_in),
                ("bytes_out", bytes_out),
            ];
            if self.news.json {
                let mut fields = vec![("event", quoted("statistics")), ("node", id.0.to_string())];
                fields.extend([("address", quoted(&address)), ("role", quoted(role))]);
                fields.push(("firewalled", status.firewalled.to_string()));
                fields.extend(counts.map(|(name, count)| (name, count.to_string())));
                say(&object(&fields));
            } else {
                let mut line = format!("Node #{}: {address}, {role}", id.0);
                for (name, count) in counts {
                    let _ = write!(line, ", {name} {count}");
                }
                say(&line);
            }
        }
    }
}

/// What a node keeps over restarts: its port, which with the host makes its id, and whom it knows.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Kept {
    port: Option<u16>,
    nodes: Vec<Addr>,
}

impl Kept {
    fn text(&self) -> String {
        let mut text = format!("{HEAD}\n");
        if let Some(port) = self.port {
            let _ = writeln!(text, "port {port}");
        }
        for node in self.nodes.iter().take(NODES_MAX) {
            let _ = writeln!(text, "node {node}");
        }
        text
    }

    fn parse(text: &str) -> Result<Kept, String> {
        let mut lines = text.lines().enumerate();
        if lines.next().map(|(_, line)| line) != Some(HEAD) {
            return Err(format!("its first line is not `{HEAD}`"));
        }
        let mut kept = Kept::default();
        for (number, line) in lines {
            let wrong = || format!("line {} is neither a port nor a node", number + 1);
            match line.split_once(' ').ok_or_else(wrong)? {
                ("port", port) => kept.port = Some(port.parse().map_err(|_| wrong())?),
                ("node", node) if kept.nodes.len() < NODES_MAX => {
                    kept.nodes.push(node.parse().map_err(|_| wrong())?);
                }
                _ => return Err(wrong()),
            }
        }
        Ok(kept)
    }
}

/// The folder in which nodes keep what they know; one process at a time.
struct Shelf {
    folder: PathBuf,
    /// What was written last, by node.
    written: Vec<Option<Kept>>,
    /// It is locked as long as it is open.
    _lock: File,
}

impl Shelf {
    fn open(folder: &Path) -> Result<Shelf, Bad> {
        std::fs::create_dir_all(folder).map_err(|error| bad(folder, &error))?;
        let path = folder.join("lock");
        let lock = File::create(&path).map_err(|error| bad(&path, &error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Shelf { folder: folder.to_owned(), written: Vec::new(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(bad(folder, &"in use by another process")),
            Err(TryLockError::Error(error)) => Err(bad(&path, &error)),
        }
    }

    fn path(&self, node: usize) -> PathBuf {
        self.folder.join(format!("node-{node}"))
    }

    /// What a node kept; nothing if it was never here.
    fn read(&self, node: usize) -> Result<Kept, Bad> {
        let path = self.path(node);
        match std::fs::read_to_string(&path) {
            Ok(text) => Kept::parse(&text).map_err(|wrong| {
                bad(&path, &format!("damaged: {wrong}; without this file the node starts anew"))
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Kept::default()),
            Err(error) => Err(bad(&path, &error)),
        }
    }

    /// Replaces what a node kept, whole or not at all.
    fn write(&mut self, node: usize, kept: &Kept) -> Result<(), Bad> {
        if self.written.len() <= node {
            self.written.resize(node + 1, None);
        }
        // One that knows nobody yet, or nobody any more, has more use for what is there.
        if kept.nodes.is_empty() || self.written.get(node) == Some(&Some(kept.clone())) {
            return Ok(());
        }
        let (path, fresh) = (self.path(node), self.folder.join(format!("node-{node}.new")));
        let written = File::create(&fresh)
            .and_then(|mut file| file.write_all(kept.text().as_bytes()).and_then(|()| file.sync_all()))
            .and_then(|()| std::fs::rename(&fresh, &path));
        written.map_err(|error| bad(&path, &error))?;
        self.written[node] = Some(kept.clone());
        Ok(())
    }
}

fn bad(path: &Path, why: &dyn std::fmt::Display) -> Bad {
    Bad { text: format!("{}: {why}", path.display()), code: 4 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_reads_back() {
        let nodes = (0..5).map(|n| Addr::new([10, 0, 0, n], 1000 + u16::from(n))).collect();
        let kept = Kept { port: Some(49737), nodes };
        assert_eq!(Kept::parse(&kept.text()), Ok(kept));
        assert_eq!(Kept::parse(&Kept::default().text()), Ok(Kept::default()));
    }

    #[test]
    fn what_is_damaged_is_told_with_its_line() {
        for (text, wrong) in [
            ("", "first line"),
            ("seckel dht 1\nport x", "line 2"),
            ("seckel dht 1\nport 1\nnode 1.2.3.4", "line 3"),
            ("seckel dht 1\n\n", "line 2"),
        ] {
            let told = Kept::parse(text).expect_err("damaged");
            assert!(told.contains(wrong), "{told}");
        }
        let many = format!("{HEAD}\n{}", "node 1.2.3.4:5\n".repeat(NODES_MAX + 1));
        assert!(Kept::parse(&many).is_err());
    }
}
