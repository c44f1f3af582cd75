//! What `test/streams.js` of hypercore 11 asks of reading in order.

use super::*;
use crate::hypercore::seek::{Blocks, Bytes};

const WORDS: [&[u8]; 4] = [b"hello", b"world", b"verden", b"welt"];

fn written(blocks: &[&[u8]]) -> (Bench, Hypercore) {
    let mut bench = Bench::new();
    let mut core = bench.create();
    bench.append(&mut core, blocks);
    (bench, core)
}

fn blocks(bench: &mut Bench, core: &mut Hypercore, read: &mut Blocks) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| bench.with(|cx| read.next(cx, core)).expect("is here")).collect()
}

fn pieces(bench: &mut Bench, core: &mut Hypercore, from: u64, length: u64) -> Vec<Vec<u8>> {
    let mut read = Bytes::range(from, length);
    std::iter::from_fn(|| bench.with(|cx| read.next(cx, core)).expect("is here")).collect()
}

/// "basic read stream", "read stream with start / end".
// proves hypercore.94
#[test]
fn blocks_come_in_order_from_the_first_to_the_last() {
    let (mut bench, mut core) = written(&WORDS);
    let length = core.length();
    assert_eq!(blocks(&mut bench, &mut core, &mut Blocks::range(0, length)), WORDS);
    assert_eq!(blocks(&mut bench, &mut core, &mut Blocks::range(2, length)), WORDS[2..]);
    assert_eq!(blocks(&mut bench, &mut core, &mut Blocks::range(1, 3)), WORDS[1..3]);
    assert_eq!(blocks(&mut bench, &mut core, &mut Blocks::range(3, 1)), [b""; 0]);
}

/// "basic write+read stream", live.
// proves hypercore.94
#[test]
fn live_blocks_go_on_with_what_is_appended() {
    let (mut bench, mut core) = written(&WORDS[..2]);
    let mut live = Blocks::live(1);
    assert_eq!(blocks(&mut bench, &mut core, &mut live), WORDS[1..2]);
    assert_eq!(blocks(&mut bench, &mut core, &mut live), [b""; 0]);
    bench.append(&mut core, &WORDS[2..]);
    assert_eq!(blocks(&mut bench, &mut core, &mut live), WORDS[2..]);
    assert_eq!(live.position(), 4);
}

// proves hypercore.94
#[test]
fn a_block_that_is_not_here_is_waited_for() {
    let (mut bench, mut core) = written(&WORDS);
    bench.with(|cx| core.clear(cx, 1, 2)).expect("clears");
    let mut read = Blocks::range(0, 4);
    assert_eq!(bench.with(|cx| read.next(cx, &mut core)), Ok(Some(WORDS[0].to_vec())));
    for _ in 0..2 {
        assert_eq!(bench.with(|cx| read.next(cx, &mut core)), Err(Error::Missing));
        assert_eq!(read.position(), 1);
    }
    let mut bytes = Bytes::range(3, 9);
    assert_eq!(bench.with(|cx| bytes.next(cx, &mut core)), Ok(Some(b"lo".to_vec())));
    assert_eq!(bench.with(|cx| bytes.next(cx, &mut core)), Err(Error::Missing));
    assert_eq!(bytes.position(), Some(1));
    let again = Change { block: Some((1, WORDS[1].to_vec())), ..Change::default() };
    bench.with(|cx| core.apply(cx, again)).expect("its leaf is here");
    assert_eq!(bench.with(|cx| bytes.next(cx, &mut core)), Ok(Some(b"world".to_vec())));
    assert_eq!(bench.with(|cx| bytes.next(cx, &mut core)), Ok(Some(b"ve".to_vec())));
    assert_eq!(bench.with(|cx| bytes.next(cx, &mut core)), Ok(None));
    assert_eq!(bench.with(|cx| read.next(cx, &mut core)), Ok(Some(WORDS[1].to_vec())));
}

/// "basic byte stream", "... with byteOffset / byteLength", "byte stream with lower byteLength than byteOffset",
/// "basic byte stream with custom byteOffset but default byteLength".
// proves hypercore.94
#[test]
fn bytes_are_cut_at_both_ends() {
    let (mut bench, mut core) = written(&WORDS);
    assert_eq!(pieces(&mut bench, &mut core, 0, u64::MAX), WORDS);
    assert_eq!(pieces(&mut bench, &mut core, 5, 11), WORDS[1..3]);
    assert_eq!(pieces(&mut bench, &mut core, 10, 6), WORDS[2..3]);
    assert_eq!(pieces(&mut bench, &mut core, 10, u64::MAX), WORDS[2..]);
    assert_eq!(pieces(&mut bench, &mut core, 20, 5), [b""; 0]);
    assert_eq!(pieces(&mut bench, &mut core, 0, 0), [b""; 0]);
}

/// "basic byte stream w/ empty buffers"; and every range of bytes against the bytes themselves, encrypted or not.
// proves hypercore.7, hypercore.92, hypercore.94
#[test]
fn every_range_of_bytes_is_that_of_all_bytes() {
    for encryption in [None, Some(Encryption::new([3; 32]))] {
        let (mut bench, mut core) = written(&[]);
        core.set_encryption(encryption);
        bench.append(&mut core, &[b"hello", b"", b"world", b"", b"", b"end", b""]);
        let all = b"helloworldend";
        for from in 0..=all.len() {
            for to in from..=all.len() {
                let pieces = pieces(&mut bench, &mut core, from as u64, (to - from) as u64);
                assert!(pieces.iter().all(|piece| !piece.is_empty()));
                assert_eq!(pieces.concat(), all[from..to]);
            }
        }
    }
}
