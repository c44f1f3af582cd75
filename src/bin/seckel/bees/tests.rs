use core::ops::Bound;

use clap::Parser;

use super::*;
use crate::args::{Cli, Command};

fn parsed(line: &str) -> Result<Bee, clap::Error> {
    let words = ["seckel", "bee"].into_iter().chain(line.split_whitespace());
    match Cli::try_parse_from(words)?.command {
        Command::Bee(bee) => Ok(bee),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_value_may_come_from_standard_input() {
    let Ok(Bee::Put(put)) = parsed("put ./names 00ff --encoding hex --name n") else { panic!("put") };
    assert_eq!((&put.entry[..], put.value, put.encoding), ("00ff", None, Encoding::Hex));
    let Ok(Bee::Put(put)) = parsed("put ./names alice x") else { panic!("put") };
    assert_eq!((put.value.as_deref(), put.encoding), (Some("x"), Encoding::Utf8));
    assert!(parsed("put ./names").is_err());
    assert!(parsed("put ./names a --encoding latin1").is_err());
}

#[test]
fn a_range_has_one_bound_on_each_side() {
    let Ok(Bee::List(list)) = parsed("list . --gte 61 --lt 7a --limit 3 --reverse --encoding hex") else {
        panic!("list")
    };
    let range = list.bounds.range(list.encoding).expect("hex");
    assert_eq!(range.from, Bound::Included(b"a".to_vec()));
    assert_eq!(range.to, Bound::Excluded(b"z".to_vec()));
    assert_eq!((range.limit, range.reverse), (Some(3), true));
    assert!(list.bounds.range(Encoding::Hex).is_ok());
    for both in ["list . --gt a --gte a", "list . --lt a --lte a", "history . --live --reverse"] {
        assert!(parsed(both).is_err(), "{both}");
    }
    let Ok(Bee::List(list)) = parsed("list . --gt x --encoding hex") else { panic!("list") };
    assert_eq!(list.bounds.range(list.encoding).map(|_| ()).expect_err("no hex").code, USAGE);
}

#[test]
fn a_history_begins_with_the_first_operation() {
    let Ok(Bee::History(history)) = parsed("history . --live --since 100") else { panic!("history") };
    assert_eq!((history.since, history.live, history.limit), (100, true, None));
    let Ok(Bee::History(history)) = parsed("history .") else { panic!("history") };
    assert_eq!((history.since, history.reverse), (1, false));
}
