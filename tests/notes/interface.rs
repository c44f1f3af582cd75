//! The tables of what the reference offers and where it is here: what the right column names is there.

use std::collections::BTreeSet;
use std::fs;

use super::{files, notes, root};

/// Heads of the tables: the left column, and `here`.
const HEAD: &str = "| here |";
/// In a column that stands for something of the code, these words say that there is nothing.
const NOTHING: [&str; 2] = ["not yet", "not offered"];

/// What stands in `backticks`.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The words of a file of the code.
fn words(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()).collect()
}

/// The rows of such tables: the note, the left column and the right one.
fn rows(name: &str, text: &str) -> Vec<(String, String, String)> {
    let mut rows = Vec::new();
    let mut within = false;
    for line in text.lines() {
        within = line.starts_with('|') && (within || line.ends_with(HEAD));
        if !within || line.ends_with(HEAD) || line.starts_with("|---") {
            continue;
        }
        let (left, right) = line.trim_matches('|').rsplit_once(" | ").expect("two columns");
        rows.push((name.to_owned(), left.trim().to_owned(), right.trim().to_owned()));
    }
    rows
}

#[test]
fn what_the_tables_of_the_interface_name_is_there() {
    let code: Vec<String> =
        files("src", &["rs"]).iter().map(|path| fs::read_to_string(path).expect("code")).collect();
    let files: Vec<BTreeSet<&str>> = code.iter().map(|text| words(text)).collect();
    let rows: Vec<_> = notes().iter().flat_map(|(name, text)| rows(name, text)).collect();
    assert!(rows.iter().filter(|row| row.0 == "hyperdht").count() > 30, "the table of hyperdht is read");
    let mut missing = Vec::new();
    for (note, left, right) in &rows {
        let mut any = false;
        for name in quoted(right) {
            any = true;
            let there = if name.contains('/') {
                root().join(name).exists() || root().join("src").join(name).exists()
            } else if name.contains(' ') || name.contains('-') {
                // A command, or a name that is not one of the code.
                true
            } else {
                // The modules before a name are not in its file.
                let parts: Vec<&str> = name.split("::").collect();
                let from = parts.iter().position(|part| part.starts_with(char::is_uppercase));
                let parts = words(&name[parts[..from.unwrap_or(parts.len() - 1)].join("::").len()..]);
                files.iter().any(|file| parts.is_subset(file))
            };
            if !there {
                missing.push(format!("{note}, {left}: {name}"));
            }
        }
        let said = NOTHING.iter().any(|nothing| right.contains(nothing));
        if !any && !said && right.len() < 8 {
            missing.push(format!("{note}, {left}: says nothing"));
        }
    }
    assert!(missing.is_empty(), "not in the code:\n{}", missing.join("\n"));
}
