//! The transcript of a node: one line for each thing that happens, made only if somebody reads it.
//!
//! Machines write `trace!(cx, State, "udx", id: stream, rule: "udx.7", "connected to {to}")`. Whoever runs the node
//! gives a [`Trace`] that takes the lines; [`Entry`] is what such a reader makes of one, and writes it as text or JSON.

use core::fmt::{self, Display, Write};

use super::Time;

/// What a line tells of. (transcript.3)
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// A datagram or a message came in.
    In,
    /// A datagram or a message goes out.
    Out,
    /// A deadline has come, and what for.
    Timer,
    /// Something is in another phase than before.
    State,
    /// A decision: what is tried next, or again, or given up, and why.
    Step,
    /// What came in, or was to go out, is dropped or refused, and why.
    Drop,
    /// The program asks for something.
    Call,
    /// The program is told something.
    Event,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 8] =
        [Kind::In, Kind::Out, Kind::Timer, Kind::State, Kind::Step, Kind::Drop, Kind::Call, Kind::Event];

    /// The word for it in a transcript.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::In => "in",
            Kind::Out => "out",
            Kind::Timer => "timer",
            Kind::State => "state",
            Kind::Step => "step",
            Kind::Drop => "drop",
            Kind::Call => "call",
            Kind::Event => "event",
        }
    }
}

/// One line as a machine gives it. Nothing in it is a secret, nor what a user sent: of that, the length only.
/// (transcript.6)
pub struct Line<'a> {
    pub kind: Kind,
    /// The folder of the machine that tells it.
    pub layer: &'static str,
    /// The name of what it is about, as `stream 3.1`; nothing if it is about the whole machine.
    pub id: &'a dyn Display,
    /// `id` is a name within what the machine belongs to (a channel of a connection), which the reader puts before it.
    pub part: bool,
    /// Who is on the other side: an address, or the beginning of a key; nothing if nobody is.
    pub peer: &'a dyn Display,
    /// The rules of the notes that it follows, with a space between; nothing if there is none.
    pub rule: &'static str,
    /// What texts of a peer stand in it as `{text:?}`.
    pub what: fmt::Arguments<'a>,
}

/// What a machine without a name of its own belongs to: `conn 3.1`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    pub name: &'static str,
    pub slot: u32,
    pub age: u32,
}

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}.{}", self.name, self.slot, self.age)
    }
}

/// Where the transcript goes.
pub trait Trace {
    /// False: nobody reads, do not bother to make lines. Nothing else may depend on it. (transcript.8)
    fn on(&self) -> bool;
    fn line(&mut self, now: Time, line: &Line<'_>);
    /// From now on, lines with `part` are about something in `place`. Returns the place before it.
    fn within(&mut self, _place: Option<Place>) -> Option<Place> {
        None
    }
    /// True: session keys are logged (`vendor-protocol-notes/key_log.md`); false: do not bother to make them.
    fn wants_keys(&self) -> bool {
        false
    }
    /// One line of the key log: what it opens, by what that is found on the wire, the secrets in the label's order.
    fn key(&mut self, _label: &'static str, _id: &[u8], _secrets: &[&[u8]]) {}
}

/// No transcript.
pub struct NoTrace;

impl Trace for NoTrace {
    fn on(&self) -> bool {
        false
    }
    fn line(&mut self, _: Time, _: &Line<'_>) {}
}

/// A line of a key log: label, id, secrets.
#[cfg(test)]
pub(crate) type KeyLine = (&'static str, Vec<u8>, Vec<[u8; 32]>);

/// Keeps the lines of a key log, for tests.
#[cfg(test)]
#[derive(Default)]
pub(crate) struct KeptKeys(pub Vec<KeyLine>);

#[cfg(test)]
impl Trace for KeptKeys {
    fn on(&self) -> bool {
        false
    }
    fn line(&mut self, _: Time, _: &Line<'_>) {}
    fn wants_keys(&self) -> bool {
        true
    }
    fn key(&mut self, label: &'static str, id: &[u8], secrets: &[&[u8]]) {
        let secrets = secrets.iter().map(|secret| (*secret).try_into().expect("32 bytes"));
        self.0.push((label, id.to_vec(), secrets.collect()));
    }
}

/// Writes a line to the transcript, if there is one: the arguments are looked at only then.
///
/// `trace!(cx, KIND, LAYER, id: NAME, peer: WHO, rule: RULES, FORMAT, ..)`, each of `id` (or `part`), `peer` and
/// `rule` may be left out.
macro_rules! trace {
    ($cx:expr, $kind:ident, $layer:expr, $(id: $id:expr,)? $(part: $part:expr,)? $(peer: $peer:expr,)?
     $(rule: $rule:expr,)? $format:literal $($arguments:tt)*) => {
        if $cx.trace.on() {
            $cx.trace.line($cx.now, &$crate::base::trace::Line {
                kind: $crate::base::trace::Kind::$kind,
                layer: $layer,
                id: $crate::base::trace::trace!(@either $($id)? $($part)?),
                part: $crate::base::trace::trace!(@given $($part)?),
                peer: $crate::base::trace::trace!(@either $($peer)?),
                rule: $crate::base::trace::trace!(@rule $($rule)?),
                what: format_args!($format $($arguments)*),
            });
        }
    };
    (@either) => { &"" };
    (@either $given:expr) => { &$given };
    (@given) => { false };
    (@given $given:expr) => { true };
    (@rule) => { "" };
    (@rule $given:expr) => { $given };
}
pub(crate) use trace;

/// A line as a reader keeps and writes it; the same one is used for line after line.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    pub time: Time,
    /// Which of the nodes that run together; `None` if it is about what they run in.
    pub node: Option<usize>,
    pub kind: &'static str,
    pub layer: &'static str,
    pub id: String,
    pub peer: String,
    pub what: String,
    pub rule: &'static str,
}

impl Entry {
    /// Takes a line in place of the one that was here. (transcript.7)
    pub fn take(&mut self, now: Time, node: Option<usize>, place: Option<Place>, line: &Line<'_>) {
        (self.time, self.node) = (now, node);
        (self.kind, self.layer, self.rule) = (line.kind.name(), line.layer, line.rule);
        self.id.clear();
        self.peer.clear();
        self.what.clear();
        if let (true, Some(place)) = (line.part, place) {
            let _ = write!(self.id, "{place} ");
        }
        let _ = write!(OneLine(&mut self.id), "{}", line.id);
        self.id.truncate(self.id.trim_end().len());
        let _ = write!(OneLine(&mut self.peer), "{}", line.peer);
        let _ = write!(OneLine(&mut self.what), "{}", line.what);
    }

    /// Appends it as `TIME node N KIND LAYER WHO: WHAT [RULE]` and a line's end; `WHO` is `ID`, `ID with PEER`,
    /// `with PEER` or `-`. (transcript.2)
    pub fn text(&self, out: &mut String) {
        let Entry { time, node, kind, layer, id, peer, what, rule } = self;
        let _ = match node {
            Some(node) => write!(out, "{time} node {node} {kind} {layer} "),
            None => write!(out, "{time} node - {kind} {layer} "),
        };
        let _ = match (id.is_empty(), peer.is_empty()) {
            (true, true) => out.write_str("-"),
            (false, true) => out.write_str(id),
            (true, false) => write!(out, "with {peer}"),
            (false, false) => write!(out, "{id} with {peer}"),
        };
        let _ = write!(out, ": {what}");
        if !rule.is_empty() {
            let _ = write!(out, " [{rule}]");
        }
        out.push('\n');
    }

    /// Appends it as an object of JSON and a line's end. What is not there is `null`. (transcript.4)
    pub fn json(&self, out: &mut String) {
        let Entry { time, node, kind, layer, id, peer, what, rule } = self;
        let _ = write!(out, r#"{{"time_us":{},"node":"#, time.as_micros());
        let _ = match node {
            Some(node) => write!(out, "{node}"),
            None => out.write_str("null"),
        };
        for (name, value) in
            [("kind", *kind), ("layer", *layer), ("id", id), ("peer", peer), ("what", what), ("rule", rule)]
        {
            let _ = write!(out, r#","{name}":"#);
            if value.is_empty() {
                out.push_str("null");
            } else {
                quoted(value, out);
            }
        }
        out.push_str("}\n");
    }
}

/// Appends a text as JSON has it.
fn quoted(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Writes into a text without ending its line, whatever comes: control characters are escaped. (transcript.1,
/// transcript.5)
struct OneLine<'a>(&'a mut String);

impl Write for OneLine<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
                true => self.0.extend(c.escape_default()),
                false => self.0.push(c),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Cx, Seeded};
    use super::*;
    use crate::sim::ramdisk::RamDisk;

    #[derive(Default)]
    struct Reader {
        on: bool,
        place: Option<Place>,
        text: String,
        json: String,
    }

    impl Trace for Reader {
        fn on(&self) -> bool {
            self.on
        }
        fn line(&mut self, now: Time, line: &Line<'_>) {
            let mut entry = Entry::default();
            entry.take(now, Some(7), self.place, line);
            entry.text(&mut self.text);
            entry.json(&mut self.json);
        }
        fn within(&mut self, place: Option<Place>) -> Option<Place> {
            core::mem::replace(&mut self.place, place)
        }
    }

    fn read(act: impl FnOnce(&mut Cx<'_>)) -> (String, String) {
        let mut reader = Reader { on: true, ..Reader::default() };
        let (mut entropy, mut disk) = (Seeded::new(1), RamDisk::new());
        let now = Time::from_micros(1_500_000);
        act(&mut Cx { now, entropy: &mut entropy, disk: &mut disk, trace: &mut reader });
        (reader.text, reader.json)
    }

    const CONN: Place = Place { name: "conn", slot: 3, age: 1 };

    #[test]
    fn a_line_has_what_it_was_given() {
        let (text, json) = read(|cx| {
            trace!(cx, Out, "udx", id: "stream 2.0", peer: "1.2.3.4:5", rule: "udx.7", "{} bytes", 9);
            trace!(cx, State, "dht_rpc", "bootstrapped");
            trace!(cx, Timer, "udx", peer: "1.2.3.4:5", "late");
            cx.within(CONN, |cx| {
                trace!(cx, In, "protomux", part: "channel 2", "open");
                trace!(cx, In, "secret_stream", part: "", "header");
                trace!(cx, State, "udx", id: "stream 2.0", "open");
            });
            trace!(cx, In, "protomux", part: "channel 2", "open");
        });
        let lines = [
            "1.500000 node 7 out udx stream 2.0 with 1.2.3.4:5: 9 bytes [udx.7]",
            "1.500000 node 7 state dht_rpc -: bootstrapped",
            "1.500000 node 7 timer udx with 1.2.3.4:5: late",
            "1.500000 node 7 in protomux conn 3.1 channel 2: open",
            "1.500000 node 7 in secret_stream conn 3.1: header",
            "1.500000 node 7 state udx stream 2.0: open",
            "1.500000 node 7 in protomux channel 2: open",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), lines);
        let first = concat!(
            r#"{"time_us":1500000,"node":7,"kind":"out","layer":"udx","id":"stream 2.0","peer":"1.2.3.4:5","#,
            r#""what":"9 bytes","rule":"udx.7"}"#
        );
        assert_eq!(json.lines().next(), Some(first));
    }

    #[test]
    fn a_peers_text_does_not_end_the_line() {
        let evil = "a\n0.0 \"b\\\u{2028}\r\u{7f}[udx.7]";
        let (text, json) = read(|cx| {
            trace!(cx, In, "protomux_rpc", part: evil, peer: evil, "{evil} and {evil:?}");
        });
        assert_eq!(text.chars().filter(|c| c.is_control()).collect::<String>(), "\n");
        assert!(!text.contains('\u{2028}'));
        assert!(text.ends_with("\"\n"), "a text in quotes is not taken for a rule: {text}");
        let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        let what = value["what"].as_str().expect("a text");
        assert!(text.contains(what), "{text} {what}");
    }

    #[test]
    fn nothing_is_looked_at_when_nobody_reads() {
        let mut reader = Reader::default();
        let (mut entropy, mut disk) = (Seeded::new(1), RamDisk::new());
        let cx = &mut Cx { now: Time::ZERO, entropy: &mut entropy, disk: &mut disk, trace: &mut reader };
        let mut looked = 0;
        let mut look = || {
            looked += 1;
            looked
        };
        trace!(cx, In, "udx", id: look(), peer: look(), "{}", look());
        assert_eq!((looked, reader.text.as_str()), (0, ""));
    }
}
