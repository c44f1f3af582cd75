//! `vendor-protocol-notes/COVERAGE.md`: of each rule, where the code follows it, which test proves it, or why it is not
//! followed. It is made from the comments that cite rules, and this test holds it to them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::{files, ids, notes, root};

const FILE: &str = "vendor-protocol-notes/COVERAGE.md";

/// A file, and the function or type in it; the empty name stands for the file.
type Place = (String, String);

/// What is known of one rule.
#[derive(Default)]
struct Rule {
    followed: BTreeSet<Place>,
    proved: BTreeSet<Place>,
    /// Why it is not followed.
    excuse: Option<String>,
}

impl Rule {
    /// Nothing follows it, by intent; a rule that is proved and has an excuse is followed in part.
    fn left_out(&self) -> bool {
        self.excuse.is_some() && self.proved.is_empty()
    }
}

type Rules = BTreeMap<(String, u32), Rule>;

fn key(id: &str) -> (String, u32) {
    let (package, number) = id.split_once('.').expect("an id");
    (package.to_owned(), number.parse().expect("a number"))
}

/// The ids of a comment; `udx.3 to udx.7` stands for all of them.
fn cited(comment: &str, packages: &BTreeSet<String>) -> Vec<(String, u32)> {
    let mut all: Vec<(String, u32)> = ids(comment, packages).map(|id| key(&id)).collect();
    for (before, after) in comment.match_indices(" to ").map(|(at, _)| (&comment[..at], &comment[at + 4..])) {
        let first = before.rsplit(char::is_whitespace).next().and_then(|word| ids(word, packages).next());
        let last = after.split(char::is_whitespace).next().and_then(|word| ids(word, packages).next());
        if let (Some((package, first)), Some((other, last))) =
            (first.map(|id| key(&id)), last.map(|id| key(&id)))
            && package == other
        {
            all.extend((first..=last).map(|number| (package.clone(), number)));
        }
    }
    all
}

/// The name that a line declares, if it declares one.
fn declared(line: &str) -> Option<String> {
    let mut words =
        line.trim_start().split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|w| !w.is_empty());
    let modifiers = ["pub", "crate", "super", "in", "const", "async", "extern", "default"];
    let mut word = words.next()?;
    let mut constant = false;
    while modifiers.contains(&word) {
        constant |= word == "const";
        word = words.next()?;
    }
    match word {
        "fn" | "struct" | "enum" | "trait" | "type" | "static" | "mod" | "macro_rules" => {
            words.next().map(str::to_owned)
        }
        "impl" => {
            let head = line.trim_start().trim_start_matches("impl").split('{').next()?;
            let name = head.rsplit(" for ").next()?.trim_start_matches(['<', '\'']).trim();
            let name: String = name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            (!name.is_empty()).then_some(name)
        }
        name if constant => Some(name.to_owned()),
        _ => None,
    }
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The function or type that line `number` of a file speaks of.
fn place(lines: &[&str], number: usize) -> String {
    let line = lines[number].trim_start();
    if line.starts_with("//!") {
        return String::new();
    }
    if line.starts_with("//") {
        let code = lines[number..].iter().find(|line| {
            let line = line.trim_start();
            !line.starts_with("//") && !line.starts_with("#[") && !line.is_empty()
        });
        if let Some(name) = code.and_then(|code| declared(code)) {
            return name;
        }
    } else if let Some(name) = declared(lines[number].split("//").next().unwrap_or_default())
        // A format's rule stands in its implementation.
        && name != "RULE"
    {
        return name;
    }
    let own = indent(lines[number]);
    let mut least = own;
    for line in lines[..number].iter().rev().filter(|line| !line.trim().is_empty()) {
        if indent(line) < least {
            least = indent(line);
            let code = line.split("//").next().unwrap_or_default();
            if let Some(name) = declared(code)
                && !code.trim_start().starts_with("let")
            {
                return name;
            }
        }
    }
    String::new()
}

/// Adds what one file cites.
fn read(path: &Path, rules: &mut Rules, packages: &BTreeSet<String>) {
    let name = path.strip_prefix(root()).expect("below the root").display().to_string();
    let text = fs::read_to_string(path).expect("code");
    let lines: Vec<&str> = text.lines().collect();
    let in_tests = !name.starts_with("src/") || name.ends_with("tests.rs") || name.contains("/tests/");
    let inner =
        |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].ends_with('{') && pair[1].starts_with("mod ");
    let tests_from = lines.windows(2).position(inner).unwrap_or(lines.len());
    for (number, line) in lines.iter().enumerate() {
        let test = in_tests || number >= tests_from;
        let said = match line.split_once("//") {
            Some((_, comment)) => comment,
            // Formats, and lines of the transcript, name their rules in the code.
            None if line.to_lowercase().contains("rule") && line.contains('"') => line,
            None => continue,
        };
        let proves = said.contains("proves");
        for id in cited(said, packages) {
            let Some(rule) = rules.get_mut(&id) else { continue };
            let list = match (proves, test) {
                (true, _) => &mut rule.proved,
                (false, false) => &mut rule.followed,
                (false, true) => continue,
            };
            list.insert((name.clone(), place(&lines, number)));
        }
    }
}

/// All rules of the notes, with the reasons of those that stand under *Not followed*.
fn said(packages: &BTreeSet<String>) -> Rules {
    let mut rules = Rules::new();
    for (note, text) in notes() {
        let (mut heading, mut excuse): (&str, Option<Excuse>) = ("", None);
        for line in text.lines() {
            if let Some(title) = line.strip_prefix("## ") {
                heading = title.trim();
            }
            let rule = line.strip_prefix("> **").and_then(|rest| rest.split_once("**"));
            if let Some((id, _)) = rule.filter(|(id, _)| id.starts_with(&format!("{note}."))) {
                rules.entry(key(id)).or_default();
            }
            if !heading.starts_with("Not followed") {
                continue;
            }
            match line.strip_prefix("- ") {
                Some(reason) => {
                    finish(&mut rules, excuse.take());
                    excuse = Some((leading(reason, packages), reason.to_owned()));
                }
                None if line.starts_with("  ") => {
                    if let Some((_, reason)) = &mut excuse {
                        *reason += " ";
                        *reason += line.trim();
                    }
                }
                None => finish(&mut rules, excuse.take()),
            }
        }
        finish(&mut rules, excuse.take());
    }
    rules
}

/// The rules that a reason is for, and the reason.
type Excuse = (Vec<(String, u32)>, String);

/// The ids at the very beginning of a text: `udx.3 and udx.5: the reason`.
fn leading(text: &str, packages: &BTreeSet<String>) -> Vec<(String, u32)> {
    let id = |word: &str| ids(word.trim_end_matches([',', ':']), packages).next();
    let words = text.split_whitespace().filter(|word| *word != "and");
    words.map_while(id).map(|id| key(&id)).collect()
}

fn finish(rules: &mut Rules, excuse: Option<Excuse>) {
    let Some((ids, reason)) = excuse else { return };
    for id in ids {
        if let Some(rule) = rules.get_mut(&id) {
            rule.excuse = Some(reason.clone());
        }
    }
}

/// Without the mentions at the head of a file, if there are others.
fn named(list: &BTreeSet<Place>) -> BTreeSet<Place> {
    let named: BTreeSet<Place> = list.iter().filter(|(_, name)| !name.is_empty()).cloned().collect();
    if named.is_empty() { list.clone() } else { named }
}

fn places(list: &BTreeSet<Place>) -> String {
    let mut by_file: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (file, name) in list {
        let names = by_file.entry(file).or_default();
        if !name.is_empty() {
            names.push(name);
        }
    }
    let shown = |(file, names): (&str, Vec<&str>)| {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        if names.is_empty() { file.to_owned() } else { format!("{file} {}", names.join(" ")) }
    };
    by_file.into_iter().map(shown).collect::<Vec<_>>().join("; ")
}

fn made(rules: &Rules) -> String {
    let mut out = String::from(
        "# Coverage\n\nOf each rule of the notes: where the code follows it, which test proves it, or why it is not \
         followed. Made from the\ncomments that cite rules: `SECKEL_WRITE=1 cargo test --test notes coverage` writes \
         this file anew, and without it the\nsame test fails if the file is not what it would write.\n\n\
         | note | rules | followed in code | proved by a test | not followed |\n|---|---|---|---|---|\n",
    );
    let packages: BTreeSet<&str> = rules.keys().map(|(package, _)| &package[..]).collect();
    let mut all = [0; 4];
    for package in &packages {
        let own = rules.iter().filter(|((own, _), _)| own == package).map(|(_, rule)| rule);
        let mut sums = [0; 4];
        for rule in own {
            let excused = rule.left_out();
            for (sum, counts) in sums.iter_mut().zip([
                true,
                !excused && !rule.followed.is_empty(),
                !excused && !rule.proved.is_empty(),
                excused,
            ]) {
                *sum += usize::from(counts);
            }
        }
        for (all, sum) in all.iter_mut().zip(sums) {
            *all += sum;
        }
        let [count, followed, proved, excused] = sums;
        let _ = writeln!(out, "| [{package}]({package}.md) | {count} | {followed} | {proved} | {excused} |");
    }
    let [count, followed, proved, excused] = all;
    let _ = writeln!(out, "| all | {count} | {followed} | {proved} | {excused} |");
    for package in packages {
        let _ = write!(out, "\n## {package}\n\n| rule | followed in | proved by |\n|---|---|---|\n");
        for ((_, number), rule) in rules.iter().filter(|((own, _), _)| own == package) {
            let (followed, proved) = (places(&named(&rule.followed)), places(&named(&rule.proved)));
            let own = format!("{package}.{number}: ");
            let reason = rule.excuse.as_deref().map(|reason| reason.strip_prefix(&own).unwrap_or(reason));
            let reason = reason.map(|reason| reason.replace('|', "\\|"));
            let followed = match reason {
                Some(reason) if rule.left_out() => format!("not followed: {reason}"),
                Some(reason) => format!("{followed}; not wholly: {reason}"),
                None => followed,
            };
            let _ = writeln!(out, "| {package}.{number} | {followed} | {proved} |");
        }
    }
    out
}

/// The rules as the code cites them.
fn gathered() -> Rules {
    let packages: BTreeSet<String> = notes().into_iter().map(|(name, _)| name).collect();
    let mut rules = said(&packages);
    for folder in ["src", "tests"] {
        files(folder, &["rs"]).iter().for_each(|path| read(path, &mut rules, &packages));
    }
    rules
}

#[test]
fn coverage_is_what_the_code_says() {
    let made = made(&gathered());
    let path = root().join(FILE);
    if std::env::var_os("SECKEL_WRITE").is_some_and(|set| !set.is_empty()) {
        fs::write(&path, &made).expect("the file can be written");
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    let differs = there.lines().zip(made.lines()).find(|(is, should)| is != should);
    assert!(
        there == made,
        "{FILE} is not what the code says; run: SECKEL_WRITE=1 cargo test --test notes coverage\nfirst: {differs:?}"
    );
}

#[test]
fn coverage_knows_where_each_rule_is_followed() {
    let rules = gathered();
    let lost: Vec<String> = rules
        .iter()
        .filter(|(_, rule)| !rule.left_out() && rule.followed.is_empty())
        .map(|((package, number), _)| format!("{package}.{number}"))
        .collect();
    assert!(lost.is_empty(), "no code cites these rules, and they are not under *Not followed*: {lost:?}");
}
