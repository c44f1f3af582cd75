//! What `test/snapshots.js`, `test/user-data.js` and `test/remote-length.js` of hypercore 11 ask of one core.

use super::*;
use crate::base::Entropy;

/// "snapshot does not change when original gets modified", "error when using inconsistent snapshot".
// proves hypercore.101
#[test]
fn a_snapshot_is_what_was_there_up_to_a_later_cut() {
    let mut bench = Bench::new();
    let mut core = bench.create();
    bench.append(&mut core, &[b"block0", b"block1", b"block2"]);
    let snap = core.snapshot();
    let at = |bench: &mut Bench, core: &mut Hypercore, n| bench.with(|cx| core.get_at(cx, &snap, n));
    bench.append(&mut core, &[b"block3"]);
    assert_eq!((snap.length, snap.byte_length, core.shared_with(&snap)), (3, 18, 3));
    assert_eq!(at(&mut bench, &mut core, 3), Ok(None), "behind its end");
    bench.with(|cx| core.truncate(cx, 3)).expect("cuts");
    assert_eq!((core.shared_with(&snap), at(&mut bench, &mut core, 2)), (3, Ok(Some(b"block2".to_vec()))));
    bench.with(|cx| core.truncate(cx, 2)).expect("cuts");
    bench.append(&mut core, &[b"another2"]);
    assert_eq!(core.shared_with(&snap), 2);
    assert_eq!(at(&mut bench, &mut core, 1), Ok(Some(b"block1".to_vec())));
    assert_eq!(at(&mut bench, &mut core, 2), Err(Error::Gone));
    let later = core.snapshot();
    bench.with(|cx| core.truncate(cx, 0)).expect("cuts");
    assert_eq!((core.shared_with(&snap), core.shared_with(&later)), (0, 0));
}

/// Against a record of all that ever was.
// proves hypercore.101
#[test]
fn every_snapshot_of_a_drawn_history_is_right() {
    let mut draw = Seeded::new(77);
    let mut bench = Bench::new();
    let mut core = bench.create();
    let mut now: Vec<Vec<u8>> = Vec::new();
    let mut taken: Vec<(Snapshot, Vec<Vec<u8>>)> = Vec::new();
    for step in 0..600_u64 {
        match draw.below(4) {
            0 | 1 => {
                let block = step.to_le_bytes().to_vec();
                bench.append(&mut core, &[&block]);
                now.push(block);
            }
            2 => {
                let length = draw.below(now.len() as u64 + 1);
                bench.with(|cx| core.truncate(cx, length)).expect("cuts");
                now.truncate(length as usize);
            }
            _ => taken.push((core.snapshot(), now.clone())),
        }
        for (snap, was) in &taken {
            let shared = was.iter().zip(&now).take_while(|(a, b)| a == b).count() as u64;
            let said = core.shared_with(snap);
            assert!(said <= shared, "step {step}: {snap:?} says {said} of {shared}");
            assert!(said == shared || snap.fork < core.fork(), "nothing was cut");
            if said > 0 {
                let last = bench.with(|cx| core.get_at(cx, snap, said - 1));
                assert_eq!(last, Ok(Some(was[said as usize - 1].clone())));
            }
        }
        if taken.len() > 8 {
            taken.remove(0);
        }
    }
    let fresh = core.snapshot();
    bench.close(&mut core);
    let core = bench.open(Open::default()).expect("opens");
    assert_eq!(core.shared_with(&fresh), fresh.length, "nothing was cut since");
    let older = taken.iter().filter(|(snap, _)| snap.fork < core.fork());
    assert!(older.clone().count() > 0 && older.clone().all(|(snap, _)| core.shared_with(snap) == 0));
}

/// "snapshots are consistent": of a copy that follows its writer to a later fork.
// proves hypercore.101
#[test]
fn a_snapshot_of_a_copy_outlives_a_fork() {
    let mut bench = Bench::new();
    let mut source = bench.create();
    bench.append(&mut source, &[b"0.0", b"1.0", b"2.0"]);
    let open = Open { key: Some(*source.key()), ..Open::default() };
    let mut copy = bench.with(|cx| Hypercore::open(cx, "copy", open)).expect("opens");
    for block in 0..3 {
        let change = crate::hypercore::crash::change(&mut bench, &mut source, Some(block), block == 0);
        bench.with(|cx| copy.apply(cx, change)).expect("applies");
    }
    let snap = copy.snapshot();
    assert_eq!(bench.with(|cx| copy.get_at(cx, &snap, 1)), Ok(Some(b"1.0".to_vec())));
    bench.with(|cx| source.truncate(cx, 1)).expect("cuts");
    bench.append(&mut source, &[b"1.1", b"2.1"]);
    let change = crate::hypercore::crash::change(&mut bench, &mut source, Some(1), true);
    bench.with(|cx| copy.reorg(cx, 1, change)).expect("follows");
    assert_eq!((copy.fork(), copy.length(), snap.length), (1, 3, 3));
    assert_eq!(copy.shared_with(&snap), 1);
    let read = [0, 1, 2].map(|block| bench.with(|cx| copy.get_at(cx, &snap, block)));
    assert_eq!(read, [Ok(Some(b"0.0".to_vec())), Err(Error::Gone), Err(Error::Gone)]);
    assert_eq!(bench.with(|cx| copy.get(cx, 1)), Ok(Some(b"1.1".to_vec())));
}

/// "userdata - big userdata gets swapped to external header", "userdata - persists across restarts".
// proves hypercore.37, hypercore.49
#[test]
fn large_user_data_is_kept() {
    let mut bench = Bench::new();
    let mut core = bench.create();
    for name in ["hello", "world", "world2"] {
        bench.with(|cx| core.set_user_data(cx, name, Some(&[7; 20_000]))).expect("sets");
    }
    bench.close(&mut core);
    let core = bench.open(Open::default()).expect("opens");
    for name in ["hello", "world", "world2"] {
        assert_eq!(core.user_data(name), Some(&[7; 20_000][..]));
    }
}

/// "remote contiguous length - persists", "... updates on truncate".
// proves hypercore.102
#[test]
fn what_a_peer_was_seen_to_have_is_remembered() {
    let mut bench = Bench::new();
    let mut core = bench.create();
    bench.append(&mut core, &[b"a", b"b", b"c", b"d"]);
    assert_eq!(core.remote_contiguous_length(), 0);
    assert!(core.note_remote_contiguous_length(9), "news, though more than we know of");
    assert!(!core.note_remote_contiguous_length(3));
    assert_eq!(core.remote_contiguous_length(), 4);
    bench.close(&mut core);
    let mut core = bench.open(Open::default()).expect("opens");
    assert_eq!(core.remote_contiguous_length(), 4);
    bench.with(|cx| core.truncate(cx, 2)).expect("cuts");
    bench.append(&mut core, &[b"e", b"f"]);
    assert_eq!(core.remote_contiguous_length(), 2);
    bench.close(&mut core);
    let mut core = bench.open(Open::default()).expect("opens");
    assert_eq!(core.remote_contiguous_length(), 2);
    assert!(core.note_remote_contiguous_length(3));
    bench.close(&mut core);
    let mut core = bench.open(Open::default()).expect("opens");
    assert_eq!(core.remote_contiguous_length(), 3, "though nothing else changed");
    let taken = bench.with(|cx| core.set_user_data(cx, "seckel/x", Some(b"x")));
    assert!(matches!(taken, Err(Error::Invalid(_))));
}
