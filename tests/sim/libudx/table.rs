//! Holds the stories and the table of upstream's test programs in `vendor-protocol-notes/udx.md` to each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The stories of this folder: their names, with what stands above each.
fn stories() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(root().join("tests/sim/libudx")).expect("this folder") {
        let path = entry.expect("a file").path();
        if path.file_name().is_some_and(|name| name == "table.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a text");
        let lines: Vec<&str> = text.lines().collect();
        for (n, line) in lines.iter().enumerate() {
            if *line != "#[test]" {
                continue;
            }
            let above: Vec<&str> =
                lines[..n].iter().rev().map_while(|line| line.strip_prefix("///")).map(str::trim).collect();
            let above = above.into_iter().rev().collect::<Vec<_>>().join(" ");
            let name = lines[n + 1].trim_start_matches("fn ").trim_end_matches("() {");
            assert!(found.insert(name.to_owned(), above).is_none(), "two stories {name}");
        }
    }
    found
}

/// A row: the program, what is said of it (a title within it, or nothing), and its story or why there is none.
struct Row {
    program: String,
    title: String,
    story: String,
}

fn rows() -> Vec<Row> {
    let note = fs::read_to_string(root().join("vendor-protocol-notes/udx.md")).expect("the note");
    let table = note.split("| upstream's test | of it | story |\n").nth(1).expect("the table");
    let cells = |line: &str| {
        let cells: Vec<String> = line.split('|').map(|cell| cell.trim().replace('`', "")).collect();
        let [_, program, title, story, _] = <[String; 5]>::try_from(cells).expect("three columns");
        Row { program, title, story }
    };
    table.lines().skip(1).take_while(|line| line.starts_with('|')).map(cells).collect()
}

/// Where a function of a name stands in the tests of the machine and in tests on real sockets.
fn elsewhere(path: &str, name: &str) -> bool {
    fs::read_to_string(root().join(path)).is_ok_and(|text| text.contains(&format!("fn {name}() {{")))
}

#[test]
fn each_row_has_its_story_and_each_story_its_row() {
    let (stories, mut told) = (stories(), BTreeSet::new());
    let mut wrong = Vec::new();
    for Row { program, title, story } in rows() {
        if let Some(why) = story.strip_prefix("none:") {
            if why.trim().len() < 10 {
                wrong.push(format!("{program} {title}: a reason"));
            }
            continue;
        }
        for name in story.split(", ") {
            if let Some((path, name)) = name.split_once("::") {
                if !elsewhere(path, name) {
                    wrong.push(format!("{program} {title}: no test {name} in {path}"));
                }
                continue;
            }
            told.insert(name.to_owned());
            match stories.get(name) {
                None => wrong.push(format!("{program} {title}: no story {name}")),
                Some(above) if !above.contains(&program) || !above.contains(&title) => {
                    wrong.push(format!("{name} does not say that it follows {program} {title}"));
                }
                Some(_) => {}
            }
        }
    }
    wrong
        .extend(stories.keys().filter(|name| !told.contains(*name)).map(|name| format!("{name} has no row")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// All programs that libudx a9af5de builds as tests, so that none is forgotten.
#[test]
fn no_program_is_left_out() {
    const PROGRAMS: &str = "lookup lookup-invalid lookup-ipv6 socket-send-recv socket-send-recv-dualstack \
        socket-send-recv-ipv6 socket-send-recv-multicast stream-bbr-state stream-change-remote \
        stream-combined-write stream-destroy stream-destroy-before-connect stream-destroy-slowpath \
        stream-keepalive stream-multiple stream-no-zwp-with-data-in-flight stream-preconnect \
        stream-preconnect-same-socket stream-rack-tlp-example stream-relay stream-relay-firewall-source \
        stream-relay-force-slow-path stream-retransmit-refreshes-header stream-rto stream-send-recv \
        stream-send-recv-ipv6 stream-strict-sack stream-write-read stream-write-read-and-drop-probes \
        stream-write-read-force-drop stream-write-read-ipv6 stream-write-read-multiple stream-write-read-perf \
        stream-write-read-receive-window stream-write-read-receive-window-2 win-filter";
    let rows: BTreeSet<String> = rows().into_iter().map(|row| row.program).collect();
    let missing: Vec<&str> =
        PROGRAMS.split_whitespace().filter(|name| !rows.contains(&format!("{name}.c"))).collect();
    assert!(missing.is_empty(), "no row for {missing:?}");
}
