//! Executes vendor-protocol-notes: every dump is explained and encoded again, every rule id that is cited exists, and
//! every rule is proved by a test or stands under *Not followed*.

#[path = "notes/coverage.rs"]
mod coverage;
#[path = "notes/interface.rs"]
mod interface;
#[path = "notes/scenarios.rs"]
mod scenarios;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use seckel::base::hex;
use seckel::wire::{self, Format};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the project") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| endings.iter().any(|want| e == *want)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The notes by name, without the pages about them.
fn notes() -> Vec<(String, String)> {
    let name = |path: &PathBuf| path.file_stem().expect("a name").to_string_lossy().into_owned();
    let notes = files("vendor-protocol-notes", &["md"]);
    let own = notes.iter().filter(|path| !["README", "COVERAGE", "pitfalls"].contains(&&name(path)[..]));
    own.map(|path| (name(path), fs::read_to_string(path).expect("a note"))).collect()
}

/// A dump of the notes: where it stands, its format, what it should show, its rows (bytes and field).
struct Dump {
    place: String,
    format: String,
    refused: Option<String>,
    rows: Vec<(Vec<u8>, Option<String>)>,
}

fn dumps() -> Vec<Dump> {
    let mut dumps = Vec::new();
    for path in files("vendor-protocol-notes", &["md"]) {
        let text = fs::read_to_string(&path).expect("a note");
        let mut open: Option<Dump> = None;
        for (number, line) in text.lines().enumerate() {
            let place = format!("{}:{}", path.file_name().expect("a name").to_string_lossy(), number + 1);
            if let Some(head) = line.trim_start().strip_prefix("```hex ") {
                let words: Vec<&str> = head.split_whitespace().collect();
                let refused = match words[1..] {
                    ["ok"] => None,
                    ["refused", field] => Some(field.to_owned()),
                    ["refused", ..] => Some(words[2..].join(" ")),
                    _ => panic!("{place}: a dump is `ok` or `refused FIELD`"),
                };
                open = Some(Dump { place, format: words[0].to_owned(), refused, rows: Vec::new() });
            } else if line.trim_start().starts_with("```") {
                dumps.extend(open.take());
            } else if let Some(dump) = &mut open {
                dump.add(line, &place);
            }
        }
    }
    dumps
}

impl Dump {
    fn add(&mut self, line: &str, place: &str) {
        let mut columns = line.trim().split("  ").map(str::trim).filter(|column| !column.is_empty());
        let (mut bytes, mut field) = (Vec::new(), None);
        for column in columns.by_ref() {
            match hex::decode(&column.replace(' ', "")) {
                Some(more) if field.is_none() && is_hex(column) => bytes.extend(more),
                _ => {
                    field = Some(column.to_owned());
                    break;
                }
            }
        }
        assert!(!bytes.is_empty() || field.is_none(), "{place}: a row begins with bytes");
        match (self.rows.last_mut(), field) {
            (_, Some(field)) => self.rows.push((bytes, Some(field))),
            (Some(last), None) if self.refused.is_none() => last.0.extend(bytes),
            (_, None) => self.rows.push((bytes, None)),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        self.rows.iter().flat_map(|(bytes, _)| bytes.clone()).collect()
    }
}

/// Whole bytes in hex with a space between each, so that a field called `add` is not taken for bytes.
fn is_hex(column: &str) -> bool {
    column.split(' ').all(|word| word.len() % 2 == 0 && word.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn format(name: &str) -> Option<Format> {
    wire::formats().into_iter().find(|format| format.name == name)
}

#[test]
fn dumps_are_what_the_formats_say() {
    let mut wrong = Vec::new();
    for dump in dumps() {
        let Some(format) = format(&dump.format) else {
            wrong.push(format!("{}: no format {}", dump.place, dump.format));
            continue;
        };
        let bytes = dump.bytes();
        let (rows, result) = (format.explain)(&bytes);
        if let Some(field) = &dump.refused {
            if !result.is_err_and(|fault| fault.field == field) {
                wrong.push(format!("{}: not refused at {field} but {result:?}", dump.place));
            }
            continue;
        }
        if let Err(fault) = result {
            wrong.push(format!("{}: {fault}", dump.place));
            continue;
        }
        let said: Vec<_> = rows
            .iter()
            .map(|row| (bytes[row.at..row.at + row.len].to_vec(), Some(row.field.to_owned())))
            .collect();
        if said != dump.rows {
            let show = |rows: &[(Vec<u8>, Option<String>)]| {
                rows.iter()
                    .map(|(bytes, field)| {
                        format!("    {}  {}\n", hex::encode(bytes), field.as_deref().unwrap_or("?"))
                    })
                    .collect::<String>()
            };
            wrong.push(format!(
                "{}: the note says\n{}  but it is\n{}",
                dump.place,
                show(&dump.rows),
                show(&said)
            ));
        } else if (format.again)(&bytes).as_deref() != Ok(&bytes[..]) {
            wrong.push(format!("{}: encoding again gives other bytes", dump.place));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_format_has_a_dump() {
    let shown: BTreeSet<String> =
        dumps().into_iter().filter(|dump| dump.refused.is_none()).map(|dump| dump.format).collect();
    let missing: Vec<_> =
        wire::formats().into_iter().map(|f| f.name).filter(|name| !shown.contains(*name)).collect();
    assert!(missing.is_empty(), "formats without a dump in the notes: {missing:?}");
}

/// The words of a text that look like rule ids of one of `packages`: `udx.7`.
fn ids<'t>(text: &'t str, packages: &'t BTreeSet<String>) -> impl Iterator<Item = String> + 't {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.')).filter_map(|word| {
        let word = word.trim_end_matches('.');
        let (package, number) = word.split_once('.')?;
        let number: u32 = number.parse().ok()?;
        packages.contains(package).then(|| format!("{package}.{number}"))
    })
}

#[test]
fn every_rule_is_proved_or_said_not_to_be_followed() {
    let mut rules: BTreeMap<String, String> = BTreeMap::new();
    let mut excused = BTreeSet::new();
    let mut packages = BTreeSet::new();
    let mut wrong = Vec::new();
    let notes = files("vendor-protocol-notes", &["md"]);
    for path in &notes {
        packages.insert(path.file_stem().expect("a name").to_string_lossy().into_owned());
    }
    for path in &notes {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        if name == "README" || name == "COVERAGE" {
            continue;
        }
        let text = fs::read_to_string(path).expect("a note");
        let mut heading = "";
        for line in text.lines() {
            if let Some(title) = line.strip_prefix("## ") {
                heading = title.trim();
            }
            if let Some(rest) = line.trim_start_matches("> ").strip_prefix("**")
                && let Some((id, _)) = rest.split_once("**")
                && line.starts_with('>')
                && id.starts_with(&format!("{name}."))
                && rules.insert(id.to_owned(), line.to_owned()).is_some()
            {
                wrong.push(format!("{id} is said twice"));
            }
            if heading.starts_with("Not followed") {
                excused.extend(ids(line, &packages));
            }
        }
    }
    let (mut cited, mut proved) = (BTreeMap::new(), BTreeSet::new());
    for path in files("src", &["rs"]).into_iter().chain(files("tests", &["rs"])) {
        for line in fs::read_to_string(&path).expect("code").lines() {
            let Some((_, comment)) = line.split_once("//") else { continue };
            let here: Vec<String> = ids(comment, &packages).collect();
            if comment.contains("proves") {
                proved.extend(here.iter().cloned());
            }
            for id in here {
                cited.entry(id).or_insert_with(|| path.display().to_string());
            }
        }
    }
    for (id, place) in &cited {
        if !rules.contains_key(id) {
            wrong.push(format!("{place} cites {id}, which no note says"));
        }
    }
    for id in rules.keys() {
        if !proved.contains(id) && !excused.contains(id) {
            wrong.push(format!("{id} is neither proved by a test nor under Not followed"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a line of code says in quotes; of an escaped quote it makes two, which no rule's id has.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('"').skip(1).step_by(2)
}

/// The ids in a line of code, as a line of the transcript or a fault names its rules: `rule: "udx.7 udx.9"`, and every
/// quoted text that is nothing but ids. Those that no note says are given back.
fn unknown_rules<'l>(
    line: &'l str,
    rules: &BTreeMap<String, String>,
    notes: &BTreeSet<&str>,
) -> Vec<&'l str> {
    let of_note = |word: &str| {
        let (note, number) = word.split_once('.').unwrap_or_default();
        notes.contains(note) && number.parse::<u32>().is_ok()
    };
    let named = line.split_once("rule: \"").and_then(|(_, rest)| rest.split('"').next());
    let ids = quoted(line).filter(|text| !text.is_empty() && text.split(' ').all(of_note));
    ids.chain(named)
        .flat_map(|text| text.split(' '))
        .filter(|id| !id.is_empty() && !rules.contains_key(*id))
        .collect()
}

#[test]
fn rules_that_the_code_names_exist() {
    let rules = rules();
    let notes: BTreeSet<&str> =
        rules.keys().filter_map(|id| id.split_once('.')).map(|(note, _)| note).collect();
    let (mut wrong, mut named) = (Vec::new(), 0);
    for path in files("src", &["rs"]) {
        let text = fs::read_to_string(&path).expect("code");
        for (number, line) in text.lines().enumerate() {
            named += usize::from(line.contains("rule: \""));
            for id in unknown_rules(line, &rules, &notes) {
                wrong.push(format!("{}:{}: {id}, which no note says", path.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(named > 150, "{named} lines of the transcript name a rule");
    // The check sees what is wrong.
    for (line, found) in [
        (r#"trace!(cx, State, "udx", id: id, rule: "udx.7 udx.9999", "open");"#, vec!["udx.9999"]),
        (r#"trace!(cx, State, "udx", rule: "udxx.7", "open [udx.9999]");"#, vec!["udxx.7"]),
        (r#"Why::Ended => "hypercore.9999","#, vec!["hypercore.9999"]),
        (r#"trace!(cx, State, "udx", id: id, rule: "udx.7", "open");"#, vec![]),
        (r#"let addr = "1.2"; let version = "dht_rpc 6.27";"#, vec![]),
    ] {
        let mut unknown = unknown_rules(line, &rules, &notes);
        unknown.dedup();
        assert_eq!(unknown, found, "{line}");
    }
}

/// The rules of the notes: id and whole text, in lower case.
fn rules() -> BTreeMap<String, String> {
    let mut rules = BTreeMap::new();
    for path in files("vendor-protocol-notes", &["md"]) {
        let text = fs::read_to_string(path).expect("a note");
        for paragraph in text.split("\n\n").filter(|paragraph| paragraph.starts_with("> **")) {
            let words: Vec<_> = paragraph.lines().map(|line| line.trim_start_matches("> ")).collect();
            let words = words.join(" ").replace('`', "").to_lowercase();
            let (id, said) = words[2..].split_once("**").expect("an id");
            rules.insert(id.to_owned(), said.to_owned());
        }
    }
    rules
}

/// Whether a text has these words, or their plural.
fn mentions(text: &str, words: &str) -> bool {
    text.match_indices(words).any(|(at, _)| {
        let border = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
        let behind = &text[at + words.len()..];
        border(text[..at].chars().next_back())
            && (border(behind.chars().next())
                || behind.strip_prefix('s').is_some_and(|b| border(b.chars().next())))
    })
}

/// What `seckel explain` says of a field: each names a rule, and that rule speaks of the field by its name.
#[test]
fn every_field_has_a_rule_that_names_it() {
    let rules = rules();
    let mut wrong = BTreeSet::new();
    let mut check = |format: &str, field: &str, rule: &str| match rules.get(rule) {
        None => _ = wrong.insert(format!("{format}: {field}: no rule {rule}")),
        Some(text) if !mentions(text, &field.to_lowercase()) => {
            wrong.insert(format!("{format}: {field}: {rule} does not name it: {text}"));
        }
        Some(_) => {}
    };
    let mut entropy = seckel::base::Seeded::new(1);
    for format in wire::formats() {
        for _ in 0..300 {
            let bytes = (format.invent)(&mut entropy);
            for row in (format.explain)(&bytes).0 {
                check(format.name, row.field, format.rule_of(row.field));
            }
        }
        for (field, rule) in format.rules {
            check(format.name, field, rule);
        }
    }
    for dump in dumps() {
        let Some(format) = format(&dump.format) else { continue };
        for row in (format.explain)(&dump.bytes()).0 {
            check(format.name, row.field, format.rule_of(row.field));
        }
    }
    assert!(wrong.is_empty(), "{}", Vec::from_iter(wrong).join("\n"));
}

/// Rows of `vendor-protocol-notes/pitfalls.md`: number, and the tests that it names.
fn pitfalls() -> Vec<((u32, u32), Vec<String>)> {
    let path = root().join("vendor-protocol-notes/pitfalls.md");
    let text = fs::read_to_string(path).expect("a note");
    let mut rows = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("| ")) {
        let mut columns = line.trim_matches('|').split('|').map(str::trim);
        let Some((section, nth)) = columns.next().and_then(|number| number.split_once('.')) else { continue };
        let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("{line}"));
        let names = columns.next_back().expect("three columns");
        rows.push((
            (number(section), number(nth)),
            names.split('`').skip(1).step_by(2).map(str::to_owned).collect(),
        ));
    }
    rows
}

#[test]
fn what_others_ran_into_has_tests_that_exist() {
    let tests = scenarios::tests();
    let rows = pitfalls();
    for (number, names) in &rows {
        assert!(!names.is_empty(), "{number:?} has no test");
        for name in names {
            assert!(tests.contains(name), "{number:?}: there is no test {name}");
        }
    }
    let numbers: Vec<(u32, u32)> = rows.iter().map(|(number, _)| *number).collect();
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(numbers, sorted, "each once, in order");
    // How many there are of each section.
    for (section, count) in [(3, 16), (4, 15), (5, 8), (6, 18), (7, 14), (8, 10), (9, 16), (10, 11), (13, 9)]
    {
        let missing: Vec<u32> = (1..=count).filter(|nth| !numbers.contains(&(section, *nth))).collect();
        assert!(missing.is_empty(), "{section}: {missing:?} are missing");
    }
}
