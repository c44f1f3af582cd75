//! What was read, as text or as JSON.

use std::fmt::Write as _;
use std::io::{self, BufWriter, Stdout, Write};

use seckel::base::hex::Hex;
use seckel::explain::{self, Line, Place, Section, Summary};
use seckel::wire::Value;

use super::capture::Packet;
use crate::run::Bad;

/// Bytes of a value that are shown, unless all are wanted.
const SHOWN: usize = 32;

/// Writes to standard output.
pub struct Show {
    json: bool,
    full: bool,
    /// Each datagram is written at once: it may be a while until the next.
    pub live: bool,
    out: BufWriter<Stdout>,
    /// How many sections ended at a fault.
    pub faults: usize,
}

/// The formats that have names, one on a line.
pub fn names() -> Result<u8, Bad> {
    let mut out = io::stdout().lock();
    for name in explain::names() {
        if writeln!(out, "{name}").is_err() {
            break;
        }
    }
    Ok(0)
}

impl Show {
    pub fn new(json: bool, full: bool) -> Show {
        Show { json, full, live: false, out: BufWriter::new(io::stdout()), faults: 0 }
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Bytes that were not in a capture.
    pub fn bytes(&mut self, bytes: &[u8], summary: Option<&Summary>, sections: &[Section]) -> io::Result<()> {
        if self.json {
            let mut line = format!("{{\"len\":{}", bytes.len());
            json_sections(&mut line, summary, sections);
            writeln!(self.out, "{line}}}")?;
            self.count(sections);
        } else {
            match summary {
                Some(summary) => {
                    let Summary { layer, what, rule } = summary;
                    writeln!(self.out, "{} bytes, {layer}: {} [{rule}]", bytes.len(), plain(what))?;
                }
                None => writeln!(self.out, "{} bytes", bytes.len())?,
            }
            self.sections(sections)?;
        }
        if sections.iter().any(|section| section.layer == "unknown") {
            self.faults += 1;
        }
        self.out.flush()
    }

    /// A datagram of a capture.
    pub fn datagram(
        &mut self,
        packet: &Packet<'_>,
        summary: &Summary,
        sections: &[Section],
    ) -> io::Result<()> {
        let Packet { number, segment, time, from, to, bytes, cut } = packet;
        if self.json {
            let mut line = format!(
                "{{\"number\":{number},\"segment\":{segment},\"time\":{time:.6},\"from\":\"{from}\",\"to\":\"{to}\",\
                 \"len\":{},\"cut\":{cut}",
                bytes.len()
            );
            json_sections(&mut line, Some(summary), sections);
            writeln!(self.out, "{line}}}")?;
            self.count(sections);
            return self.written();
        }
        let segment = if *segment > 0 { format!(".{segment}") } else { String::new() };
        let cut = if *cut { ", cut by the capture" } else { "" };
        let Summary { layer, what, rule } = summary;
        writeln!(
            self.out,
            "#{number}{segment} {time:.6} {from} > {to}, {} bytes{cut}, {layer}: {} [{rule}]",
            bytes.len(),
            plain(what)
        )?;
        self.sections(sections)?;
        self.written()
    }

    fn written(&mut self) -> io::Result<()> {
        if self.live { self.out.flush() } else { Ok(()) }
    }

    /// A remark about the capture.
    pub fn note(&mut self, number: Option<u64>, text: &str) -> io::Result<()> {
        match (self.json, number) {
            (true, Some(number)) => writeln!(self.out, "{{\"number\":{number},\"note\":{}}}", quoted(text)),
            (true, None) => writeln!(self.out, "{{\"note\":{}}}", quoted(text)),
            (false, Some(number)) => writeln!(self.out, "#{number} {}", plain(text)),
            (false, None) => writeln!(self.out, "note: {}", plain(text)),
        }
    }

    fn count(&mut self, sections: &[Section]) {
        self.faults += sections.iter().filter(|section| section.fault.is_some()).count();
    }

    fn sections(&mut self, sections: &[Section]) -> io::Result<()> {
        self.count(sections);
        for section in sections {
            match section.place {
                Place::Datagram => writeln!(self.out, "  {}", section.format)?,
                Place::Stream(number) => {
                    writeln!(self.out, "  stream {number}, {} bytes: {}", section.len, section.format)?;
                }
            }
            for line in &section.rows {
                self.line(line)?;
            }
            if let Some(fault) = section.fault {
                writeln!(self.out, "    malformed: {fault}")?;
            }
        }
        Ok(())
    }

    fn line(&mut self, line: &Line) -> io::Result<()> {
        let Line { at, len, field, value, meaning, rule } = line;
        let mut text = format!("    {at:>6} {len:>5}  {field:<18}  {}", self.value(value));
        if !meaning.is_empty() {
            let _ = write!(text, "  {}", plain(meaning));
        }
        if !rule.is_empty() {
            let _ = write!(text, "  [{rule}]");
        }
        writeln!(self.out, "{text}")
    }

    fn value(&self, value: &Value) -> String {
        match value {
            Value::Bytes(bytes) if bytes.len() > SHOWN && !self.full => {
                format!("{}… ({} bytes)", Hex(&bytes[..SHOWN]), bytes.len())
            }
            Value::Bytes(_) | Value::Number(_) | Value::Flags(_) | Value::Text(_) | Value::Addr(_) => {
                value.to_string()
            }
        }
    }
}

/// Text of strangers, without what a terminal would obey.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect()
}

fn json_sections(line: &mut String, summary: Option<&Summary>, sections: &[Section]) {
    if let Some(Summary { layer, what, rule }) = summary {
        let _ = write!(line, ",\"layer\":\"{layer}\",\"what\":{},\"rule\":\"{rule}\"", quoted(what));
    }
    line.push_str(",\"sections\":[");
    for (n, section) in sections.iter().enumerate() {
        if n > 0 {
            line.push(',');
        }
        let stream = match section.place {
            Place::Datagram => "null".to_owned(),
            Place::Stream(number) => number.to_string(),
        };
        let fault = section.fault.map_or("null".to_owned(), |fault| quoted(&fault.to_string()));
        let Section { layer, format, base, len, .. } = section;
        let _ = write!(
            line,
            "{{\"layer\":\"{layer}\",\"format\":\"{format}\",\"stream\":{stream},\"at\":{base},\"len\":{len},\
             \"fault\":{fault},\"fields\":["
        );
        for (n, field) in section.rows.iter().enumerate() {
            if n > 0 {
                line.push(',');
            }
            json_line(line, field);
        }
        line.push_str("]}");
    }
    line.push(']');
}

fn json_line(out: &mut String, line: &Line) {
    let Line { at, len, field, value, meaning, rule } = line;
    let value = match value {
        Value::Number(number) | Value::Flags(number) => number.to_string(),
        Value::Text(text) => quoted(text),
        Value::Bytes(_) | Value::Addr(_) => format!("\"{value}\""),
    };
    let _ = write!(
        out,
        "{{\"at\":{at},\"len\":{len},\"field\":{},\"value\":{value},\"meaning\":{},\"rule\":\"{rule}\"}}",
        quoted(field),
        quoted(meaning)
    );
}

/// A string as JSON writes it.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
