use clap::Parser;

use super::write::{Cut, Cutter};
use super::*;
use crate::args::{Cli, Command};

fn parsed(line: &str) -> Result<Core, clap::Error> {
    let words = ["seckel", "core"].into_iter().chain(line.split_whitespace());
    match Cli::try_parse_from(words)?.command {
        Command::Core(core) => Ok(core),
        other => panic!("{other:?}"),
    }
}

fn refused(line: &str) {
    assert!(parsed(line).is_err(), "{line}");
}

#[test]
fn a_core_is_said_by_folder_and_name_or_key() {
    let digits = "07".repeat(32);
    let Ok(Core::Get(get)) = parsed("get ./store 7 --name log --json") else { panic!("get") };
    assert_eq!((get.at, get.index, get.json), (Place::Folder("./store".into()), 7, true));
    assert_eq!((get.which.name.as_deref(), get.which.key), (Some("log"), None));
    let Ok(Core::Info(info)) = parsed(&format!("info . --key {digits}")) else { panic!("info") };
    assert_eq!((info.which.name, info.which.key), (None, Some([7; 32])));
    refused(&format!("info . --key {digits} --name log"));
    refused("get ./store");
    refused("get ./store -1");
    refused("info . --key 07");
}

#[test]
fn input_is_cut_in_one_way() {
    let Ok(Core::Append(append)) = parsed("append ./log --block-size 65536 --unsynced") else {
        panic!("append")
    };
    assert_eq!((append.lines, append.block_size, append.keeping.unsynced), (false, Some(65536), true));
    refused("append ./log --lines --block-size 10");
    refused("append ./log --block-size 0");
    refused(&format!("append ./log --block-size {}", BLOCK_MAX + 1));
    let Ok(Core::Cat(cat)) = parsed("cat ./log --start 3 --end 5 --live --lines") else { panic!("cat") };
    assert_eq!((cat.start, cat.end, cat.live, cat.lines), (3, Some(5), true, true));
    refused("cat ./log --lines --json");
}

#[test]
fn a_key_instead_of_a_folder_asks_peers() {
    let digits = "07".repeat(32);
    let Ok(Core::Get(get)) = parsed(&format!("get {digits} 7 --bootstrap 127.0.0.1:1 --timeout 5")) else {
        panic!("get")
    };
    assert_eq!((get.at, get.reach.timeout), (Place::Key([7; 32]), 5));
    assert_eq!(get.reach.meeting.joining.bootstrap.as_deref(), Some("127.0.0.1:1"));
    let Ok(Core::Download(copy)) = parsed(&format!("download {digits} --start 3 --linear --storage s"))
    else {
        panic!("download")
    };
    assert_eq!((copy.key, copy.start, copy.end, copy.linear), ([7; 32], 3, None, true));
    assert_eq!(copy.reach.storage_or_default(), PathBuf::from("s"));
    let Ok(Core::Seed(seed)) = parsed(&format!("seed ./store --key {digits}")) else { panic!("seed") };
    assert_eq!((seed.at, seed.core), (Place::Folder("./store".into()), Some([7; 32])));
    assert_eq!(seed.reach.storage_or_default(), PathBuf::from("./seckel-store"));
    refused("download ./store");
    refused(&format!("seed ./store --key {digits} --name log"));
}

fn cut(cut: Cut, pieces: &[&[u8]]) -> Vec<Vec<u8>> {
    let (mut cutter, mut blocks) = (Cutter::new(cut), Vec::new());
    for piece in pieces {
        cutter.push(piece, &mut blocks).expect("short enough");
    }
    blocks.extend(cutter.finish());
    blocks
}

#[test]
fn blocks_are_the_same_however_the_input_comes() {
    let input = b"first\n\nthird\r\nlast";
    let lines: &[&[u8]] = &[b"first", b"", b"third\r", b"last"];
    let sized: &[&[u8]] = &[b"first\n\n", b"third\r\n", b"last"];
    for size in 1..=input.len() {
        let pieces: Vec<&[u8]> = input.chunks(size).collect();
        assert_eq!(cut(Cut::Lines, &pieces), lines);
        assert_eq!(cut(Cut::Size(7), &pieces), sized);
        assert_eq!(cut(Cut::Whole, &pieces), [input]);
    }
    for how in [Cut::Lines, Cut::Size(1), Cut::Whole] {
        assert!(cut(how, &[]).is_empty(), "no input is no block");
    }
    assert_eq!(cut(Cut::Lines, &[b"a\n"]), [b"a"], "nothing follows the last end of line");
}

#[test]
fn a_block_that_is_too_long_is_told_before_it_is_kept() {
    let (mut cutter, mut blocks) = (Cutter::new(Cut::Whole), Vec::new());
    let most = vec![0; BLOCK_MAX as usize];
    assert!(cutter.push(&most, &mut blocks).is_ok());
    assert!(cutter.push(b"x", &mut blocks).is_err());
    assert!(blocks.is_empty());
}
