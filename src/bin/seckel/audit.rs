//! `seckel audit`: what is stored, checked without changing it.

use std::fmt::Write;
use std::io::{IsTerminal, Write as _};
use std::path::Path;

use seckel::base::{Cx, Error, NoTrace, Seeded, Time, Trace, hex};
use seckel::corestore::audit::{Fault, Kind, StoreAudit, kind};
use seckel::edge::files::Files;
use seckel::hyperbee;
use seckel::hyperbee::audit::TreeAudit;
use seckel::hypercore::audit::{Audit, Verdict, audit};
use seckel::hypercore::{Hypercore, Open};

use super::args::AuditCore;
use super::run::Bad;
use super::terminal::say;
use super::tracing;

const SOUND: u8 = 0;
const DAMAGED: u8 = 1;
const UNJUDGED: u8 = 3;
const UNREADABLE: u8 = 4;
/// Unverifiable ranges that are shown of one core.
const RANGES_SHOWN: usize = 12;

/// One core, audited.
struct Core {
    /// Its folder below the one that was asked for.
    folder: String,
    outcome: Result<Audit, Error>,
    fault: Option<Fault>,
    /// If the core is sound, and has a hyperbee in it.
    tree: Option<TreeAudit>,
    /// Where the blocks lie of which the tree's audit says something.
    offsets: Vec<u64>,
}

impl Core {
    fn crooked(&self) -> bool {
        self.tree.as_ref().is_some_and(|tree| !tree.faults.is_empty())
    }

    fn code(&self) -> u8 {
        match &self.outcome {
            Err(_) => UNREADABLE,
            Ok(_) if self.fault.is_some() || self.crooked() => DAMAGED,
            Ok(audit) => match audit.verdict() {
                Verdict::Sound => SOUND,
                Verdict::Damaged => DAMAGED,
                Verdict::Unjudged => UNJUDGED,
            },
        }
    }
}

pub fn core(args: &AuditCore) -> Result<u8, Bad> {
    let dir = Path::new(&args.dir);
    let unreadable = |text: String| Bad { text, code: UNREADABLE };
    // `Files` would make a folder that is missing.
    if !dir.is_dir() {
        return Err(unreadable(format!("{}: there is no such folder", args.dir)));
    }
    let mut files = Files::open(dir).map_err(|error| unreadable(format!("{}: {error}", args.dir)))?;
    let entropy = &mut Seeded::new(0);
    let (mut transcript, mut none) = (tracing::transcript().map(|all| all.of(0)), NoTrace);
    let trace: &mut dyn Trace = match &mut transcript {
        Some(transcript) => transcript,
        None => &mut none,
    };
    let mut cx = Cx { now: Time::default(), entropy, disk: &mut files, trace };
    match kind(&mut cx, "")? {
        Kind::Core => {
            let core = one(&mut cx, "", None);
            show(&core, args);
            Ok(core.code())
        }
        Kind::Store => store(&mut cx, args),
        Kind::NewStore => {
            let why =
                "holds a store of corestore 7, which seckel does not read; give a folder of hypercore 10";
            Err(unreadable(format!("{}: {why}", args.dir)))
        }
        Kind::Neither => {
            let why = "holds neither a core (a file `oplog`) nor a store (`primary-key`, `cores/`)";
            Err(unreadable(format!("{}: {why}", args.dir)))
        }
    }
}

fn store(cx: &mut Cx<'_>, args: &AuditCore) -> Result<u8, Bad> {
    let mut store = StoreAudit::open(cx, "")?;
    let mut codes = Vec::new();
    for folder in store.cores.clone() {
        let core = one(cx, &folder, Some(&mut store));
        show(&core, args);
        codes.push(core.code());
    }
    let fault = store.finish();
    let code = match fault {
        Some(_) => DAMAGED,
        None => {
            [DAMAGED, UNREADABLE, UNJUDGED].into_iter().find(|code| codes.contains(code)).unwrap_or(SOUND)
        }
    };
    let count = |wanted: u8| codes.iter().filter(|code| **code == wanted).count();
    if args.json {
        let fault = fault.map_or("null".to_owned(), |fault| fault_json(&fault));
        say(&format!(
            "{{\"store\":{},\"cores\":{},\"sound\":{},\"damaged\":{},\"not_judged\":{},\"unreadable\":{},\
             \"fault\":{fault},\"primary_key_verified\":{}}}",
            quoted(&args.dir),
            codes.len(),
            count(SOUND),
            count(DAMAGED),
            count(UNJUDGED),
            count(UNREADABLE),
            !store.blind(),
        ));
    } else {
        let mut text = format!("{} cores: {} sound", codes.len(), count(SOUND));
        for (code, word) in [(DAMAGED, "damaged"), (UNJUDGED, "not judged"), (UNREADABLE, "unreadable")] {
            if count(code) > 0 {
                let _ = write!(text, ", {} {word}", count(code));
            }
        }
        match fault {
            Some(fault) => text += &format!("\n{}", fault_text(&fault)),
            None if store.blind() => {
                text += "\nprimary-key: 32 bytes, which nothing here vouches for: no core has a name";
            }
            None => text += "\nprimary-key: the named cores' key pairs follow from it",
        }
        say(&text);
    }
    Ok(code)
}

fn one(cx: &mut Cx<'_>, folder: &str, store: Option<&mut StoreAudit>) -> Core {
    let mut progress = Progress::new(folder);
    let outcome = audit(cx, folder, &mut |done, of| progress.tell(done, of));
    progress.end();
    let fault = match (&outcome, store) {
        (Ok(audit), Some(store)) => store.judge(folder, audit),
        _ => None,
    };
    let mut core = Core { folder: folder.to_owned(), outcome, fault, tree: None, offsets: Vec::new() };
    if let Ok(found) = &core.outcome
        && found.verdict() != Verdict::Damaged
        && found.length > 0
        && let Err(error) = bee(cx, &mut core)
    {
        core.outcome = Err(error);
    }
    core
}

/// The tree of a core that is sound.
fn bee(cx: &mut Cx<'_>, core: &mut Core) -> Result<(), Error> {
    let open = Open { create: false, read_only: true, ..Open::default() };
    let mut log = Hypercore::open(cx, &core.folder, open)?;
    let mut progress = Progress::new(&core.folder);
    core.tree = hyperbee::audit::audit(cx, &mut log, &mut |done, of| progress.tell(done, of))?;
    progress.end();
    for fault in core.tree.iter().flat_map(|tree| &tree.faults) {
        core.offsets.push(log.byte_offset(cx, fault.seq)?);
    }
    log.close(cx)
}

/// Per cent of a long audit, on a terminal.
struct Progress {
    name: String,
    shown: u64,
    on: bool,
}

impl Progress {
    /// Bytes of blocks from which on it is worth it.
    const LONG: u64 = 64 << 20;

    fn new(folder: &str) -> Progress {
        let name = folder.rsplit('/').next().unwrap_or_default();
        let name: String = name.chars().take(16).collect();
        Progress { name, shown: u64::MAX, on: std::io::stderr().is_terminal() }
    }

    fn tell(&mut self, done: u64, of: u64) {
        let percent = done.saturating_mul(100) / of.max(1);
        if self.on && of >= Progress::LONG && percent != self.shown {
            self.shown = percent;
            let _ = write!(std::io::stderr(), "\r{} {percent} %", self.name);
        }
    }

    fn end(&self) {
        if self.shown != u64::MAX {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn show(core: &Core, args: &AuditCore) {
    if args.json {
        say(&json(core));
    } else {
        say(&text(core, args));
    }
}

fn text(core: &Core, args: &AuditCore) -> String {
    let place = if core.folder.is_empty() { &args.dir } else { &core.folder };
    let audit = match &core.outcome {
        Ok(audit) => audit,
        Err(Error::Missing) => return format!("{place}: cannot be read: no core is stored there"),
        Err(error) => return format!("{place}: cannot be read: {error}"),
    };
    let verdict = if core.fault.is_some() || core.crooked() { Verdict::Damaged } else { audit.verdict() };
    let mut out = format!("{place}: {}", verdict.name());
    if let Some(key) = &audit.key {
        let _ = write!(out, "\n  key {}", hex::encode(key));
        let _ = write!(
            out,
            "\n  fork {}, {} blocks of {} bytes; {} blocks of {} bytes are here",
            audit.fork, audit.length, audit.byte_length, audit.blocks, audit.block_bytes
        );
        let _ = write!(out, "\n  checked {} nodes, {} signatures", audit.nodes, audit.signatures);
        if audit.entries > 0 {
            let _ = write!(out, "; {} unflushed entries", audit.entries);
        }
        if audit.dropped > 0 {
            let _ = write!(out, "; {} entries that a crash cut short", audit.dropped);
        }
        if audit.journaled > 0 {
            let _ = write!(out, "; {} changes that the next opening takes from the journal", audit.journaled);
        }
        if audit.pending > 0 {
            let _ = write!(out, "; {} blocks of an unsigned batch", audit.pending);
        }
    } else {
        out += "\n  the core was never wholly made";
    }
    if let Some(fault) = &core.fault {
        let _ = write!(out, "\n  {}", fault_text(fault));
    }
    if let Some(tree) = &core.tree {
        tree_text(tree, &core.offsets, &mut out);
    }
    for finding in &audit.findings {
        let block = finding.block.map_or(String::new(), |block| format!(" of block {block}"));
        let _ = write!(
            out,
            "\n  {} at byte {}: {}{block}: expected {}, found {} ({})",
            finding.file, finding.at, finding.what, finding.expected, finding.found, finding.rule
        );
    }
    if audit.more > 0 {
        let _ = write!(out, "\n  and {} more", audit.more);
    }
    for unjudged in &audit.unjudged {
        let _ = write!(out, "\n  {} at byte {}: not judged: {}", unjudged.file, unjudged.at, unjudged.why);
    }
    ranges(audit, args.all, &mut out);
    out
}

fn tree_text(tree: &TreeAudit, offsets: &[u64], out: &mut String) {
    let _ = write!(out, "\n  hyperbee: {} blocks, {} nodes", tree.blocks, tree.nodes);
    match tree.entries {
        Some(entries) => {
            let _ = write!(out, ", {entries} keys");
        }
        None => *out += ", the newest version is not all here",
    }
    if !tree.complete && tree.entries.is_some() {
        *out += "; whether every key can be reached was not judged";
    }
    for (fault, at) in tree.faults.iter().zip(offsets) {
        let place = fault.place.map_or(String::new(), |place| format!(" node {place}"));
        let _ =
            write!(out, "\n  data at byte {at}: block {}{place}: {} ({})", fault.seq, fault.what, fault.rule);
    }
    if tree.more > 0 {
        let _ = write!(out, "\n  and {} more", tree.more);
    }
}

fn tree_json(tree: &TreeAudit, offsets: &[u64]) -> String {
    let faults = tree.faults.iter().zip(offsets).map(|(fault, at)| {
        let place = fault.place.map_or("null".to_owned(), |place| place.to_string());
        let (what, rule) = (quoted(fault.what), quoted(fault.rule));
        format!("{{\"at\":{at},\"block\":{},\"node\":{place},\"what\":{what},\"rule\":{rule}}}", fault.seq)
    });
    let faults: Vec<String> = faults.collect();
    format!(
        "{{\"blocks\":{},\"nodes\":{},\"keys\":{},\"absent\":{},\"complete\":{},\"findings\":[{}],\
         \"more_findings\":{}}}",
        tree.blocks,
        tree.nodes,
        tree.entries.map_or("null".to_owned(), |entries| entries.to_string()),
        tree.absent,
        tree.complete,
        faults.join(","),
        tree.more,
    )
}

fn ranges(audit: &Audit, all: bool, out: &mut String) {
    if audit.unverifiable_bytes == 0 {
        return;
    }
    let _ = write!(out, "\n  {} bytes that nothing vouches for", audit.unverifiable_bytes);
    let shown = if all { usize::MAX } else { RANGES_SHOWN };
    for range in audit.unverifiable.iter().take(shown) {
        let _ = write!(out, "\n    {} {}..{}: {}", range.file, range.start, range.end, range.why);
    }
    if audit.unverifiable.len() > shown {
        let _ = write!(out, "\n    and {} more ranges (--all shows them)", audit.unverifiable.len() - shown);
    }
}

fn fault_text(fault: &Fault) -> String {
    match fault.file {
        Some(file) => format!("{file}: {} ({})", fault.what, fault.rule),
        None => format!("{} ({})", fault.what, fault.rule),
    }
}

fn fault_json(fault: &Fault) -> String {
    let file = fault.file.map_or("null".to_owned(), quoted);
    format!("{{\"file\":{file},\"what\":{},\"rule\":{}}}", quoted(fault.what), quoted(fault.rule))
}

/// One object on one line.
fn json(core: &Core) -> String {
    let folder = quoted(&core.folder);
    let audit = match &core.outcome {
        Ok(audit) => audit,
        Err(error) => {
            return format!(
                "{{\"core\":{folder},\"verdict\":\"unreadable\",\"why\":{}}}",
                quoted(&error.to_string())
            );
        }
    };
    let verdict = if core.fault.is_some() || core.crooked() { Verdict::Damaged } else { audit.verdict() };
    let findings = audit.findings.iter().map(|each| {
        format!(
            "{{\"file\":\"{}\",\"at\":{},\"block\":{},\"what\":{},\"expected\":{},\"found\":{},\"rule\":{}}}",
            each.file,
            each.at,
            each.block.map_or("null".to_owned(), |block| block.to_string()),
            quoted(each.what),
            quoted(&each.expected.to_string()),
            quoted(&each.found.to_string()),
            quoted(each.rule),
        )
    });
    let unjudged = audit.unjudged.iter().map(|each| {
        format!("{{\"file\":\"{}\",\"at\":{},\"why\":{}}}", each.file, each.at, quoted(each.why))
    });
    let blind = audit.unverifiable.iter().map(|each| {
        let (start, end) = (each.start, each.end);
        format!("{{\"file\":\"{}\",\"start\":{start},\"end\":{end},\"why\":{}}}", each.file, quoted(each.why))
    });
    let list = |items: Vec<String>| format!("[{}]", items.join(","));
    let fields = [
        ("core", folder),
        ("verdict", quoted(verdict.name())),
        ("key", audit.key.map_or("null".to_owned(), |key| quoted(&hex::encode(&key)))),
        ("fork", audit.fork.to_string()),
        ("length", audit.length.to_string()),
        ("byte_length", audit.byte_length.to_string()),
        ("blocks", audit.blocks.to_string()),
        ("block_bytes", audit.block_bytes.to_string()),
        ("nodes", audit.nodes.to_string()),
        ("signatures", audit.signatures.to_string()),
        ("unflushed_entries", audit.entries.to_string()),
        ("dropped_entries", audit.dropped.to_string()),
        ("journaled_changes", audit.journaled.to_string()),
        ("unsigned_blocks", audit.pending.to_string()),
        ("hyperbee", core.tree.as_ref().map_or("null".to_owned(), |tree| tree_json(tree, &core.offsets))),
        ("fault", core.fault.map_or("null".to_owned(), |fault| fault_json(&fault))),
        ("findings", list(findings.collect())),
        ("more_findings", audit.more.to_string()),
        ("not_judged", list(unjudged.collect())),
        ("unverifiable_bytes", audit.unverifiable_bytes.to_string()),
        ("unverifiable", list(blind.collect())),
    ];
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
