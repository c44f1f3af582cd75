//! The tables of upstream's own tests: what stands for each of them here is there.

use std::collections::BTreeSet;
use std::fs;

use super::{files, root};

/// The head of the tables.
const HEAD: &str = "| upstream | what happens | our tests |";
/// How a row begins that has a reason in the place of a test.
const NONE: &str = "none: ";
/// How many of upstream's tests the note has, of hypercore and of hyperbee.
const COUNTS: [usize; 2] = [418, 108];

/// The functions of the project that are tests.
pub fn tests() -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    for path in files("src", &["rs"]).into_iter().chain(files("tests", &["rs"])) {
        let text = fs::read_to_string(path).expect("a source");
        let mut tested = false;
        for line in text.lines().map(str::trim) {
            match line.strip_prefix("fn ").and_then(|rest| rest.split('(').next()) {
                Some(name) if tested => _ = tests.insert(name.to_owned()),
                _ => {}
            }
            tested = line == "#[test]" || tested && (line.starts_with("#[") || line.starts_with("//"));
        }
    }
    tests
}

/// What stands between a mark and the next.
fn between(text: &str, mark: char) -> Vec<&str> {
    text.split(mark).skip(1).step_by(2).collect()
}

#[test]
fn each_scenario_of_upstream_has_its_test_or_its_reason() {
    let text = fs::read_to_string(root().join("vendor-protocol-notes/scenarios.md")).expect("the note");
    let tests = tests();
    let (mut counts, mut package, mut seen, mut wrong) = ([0; 2], None, BTreeSet::new(), Vec::new());
    let mut file = "";
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            package = ["hypercore", "hyperbee"].iter().position(|package| *package == title);
        }
        file = line.strip_prefix("### ").unwrap_or(file);
        let Some(row) = line.strip_prefix("| ").filter(|_| line != HEAD) else { continue };
        let columns: Vec<&str> = row.trim_end_matches('|').split(" | ").map(str::trim).collect();
        let ([theirs, what, ours], Some(package)) = (&columns[..], package) else {
            panic!("three columns below a package: {line}");
        };
        for name in theirs.split("\", \"").map(|name| name.trim_matches('"')) {
            counts[package] += 1;
            if !seen.insert((package, file, name)) {
                wrong.push(format!("{file}: {name} stands there twice"));
            }
        }
        let (named, reason) = (between(ours, '`'), ours.strip_prefix(NONE));
        if what.is_empty()
            || reason.is_some_and(str::is_empty)
            || (reason.is_none() && !ours.starts_with('`'))
        {
            wrong.push(format!("{file}: {theirs} has neither a test nor a reason"));
        }
        // Before a semicolon or colon stand tests only; what is explained behind it may name what is no test.
        let end = ours.find([';', ':']).filter(|_| reason.is_none()).unwrap_or(ours.len());
        let sure = if reason.is_some() { 0 } else { between(&ours[..end], '`').len() };
        for (number, name) in named.into_iter().enumerate() {
            let code = name.contains("::") || !name.contains('_');
            if !tests.contains(name) && (number < sure || !code) {
                wrong.push(format!("{file}: there is no test {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(counts, COUNTS, "each of upstream's tests, once");
}
