//! What `test/batch.js` and `test/sessions.js` of hypercore 11 ask of named sessions.

use super::*;
use crate::hypercore::draft::Draft;

struct Desk {
    bench: Bench,
    core: Hypercore,
}

impl Desk {
    fn new(blocks: &[&[u8]]) -> Desk {
        let mut bench = Bench::new();
        let mut core = bench.create();
        bench.append(&mut core, blocks);
        Desk { bench, core }
    }

    fn draft(&mut self) -> Draft {
        self.try_draft().expect("opens")
    }

    fn try_draft(&mut self) -> Result<Draft, Error> {
        self.bench.with(|cx| Draft::open(cx, &mut self.core, "batch"))
    }

    fn write(&mut self, draft: &mut Draft, blocks: &[&[u8]]) {
        self.bench.with(|cx| draft.append(cx, &mut self.core, blocks)).expect("appends");
    }

    fn commit(&mut self, draft: &mut Draft, length: u64) -> Result<u64, Error> {
        self.bench.with(|cx| draft.commit(cx, &mut self.core, length, None))
    }

    fn cut(&mut self, draft: &mut Draft, length: u64) -> Result<(), Error> {
        self.bench.with(|cx| draft.truncate(cx, &mut self.core, length))
    }

    fn all(&mut self, draft: &mut Draft) -> Vec<Vec<u8>> {
        let length = draft.length();
        let mut block = |n| self.bench.with(|cx| draft.get(cx, &mut self.core, n)).expect("reads");
        (0..length).map(|n| block(n).expect("is here")).collect()
    }

    fn reopen(&mut self, draft: Draft) -> Draft {
        self.bench.with(|cx| draft.close(cx));
        self.bench.close(&mut self.core);
        self.core = self.bench.open(Open::default()).expect("opens");
        self.draft()
    }
}

/// "batch append", "batch has", "append to core during batch", "batch info".
// proves hypercore.103, hypercore.105
#[test]
fn a_draft_is_not_in_the_core_before_it_is_committed() {
    let mut desk = Desk::new(&[b"a", b"b", b"c"]);
    let mut draft = desk.draft();
    desk.write(&mut draft, &[b"de", b"fg"]);
    assert_eq!((draft.length(), draft.byte_length(), draft.base()), (5, 7, 3));
    assert_eq!((desk.core.length(), desk.core.byte_length()), (3, 3));
    assert_eq!(desk.all(&mut draft), [&b"a"[..], b"b", b"c", b"de", b"fg"]);
    assert_eq!(desk.bench.with(|cx| draft.get(cx, &mut desk.core, 5)), Ok(None));
    let hash = draft.tree_hash();
    assert_eq!(desk.commit(&mut draft, 5), Ok(3));
    assert_eq!((desk.core.length(), desk.core.tree_hash(), draft.base()), (5, hash, 5));
    assert!(sound(&desk.core), "signed once");
    let Desk { bench, core } = &mut desk;
    assert_eq!(bench.all(core)[3..], [b"de", b"fg"]);
    desk.write(&mut draft, &[b"h"]);
    assert_eq!(desk.commit(&mut draft, 6), Ok(5), "and it goes on");
}

/// "partial flush", "multiple batches".
// proves hypercore.105
#[test]
fn a_draft_is_committed_in_parts() {
    let mut desk = Desk::new(&[]);
    let mut draft = desk.draft();
    desk.write(&mut draft, &[b"a", b"b", b"c", b"d"]);
    for length in 2..=4 {
        desk.commit(&mut draft, length).expect("fits");
        assert_eq!((desk.core.length(), draft.length()), (length, 4));
    }
    assert!(matches!(desk.commit(&mut draft, 5), Err(Error::Invalid(_))));
    assert_eq!(desk.commit(&mut draft, 4), Ok(4), "nothing is left");
}

/// "append to core during batch", "flush with bg activity", "... persists non conflicting values", "flush with
/// conflicting bg activity".
// proves hypercore.105
#[test]
fn a_core_that_went_the_same_way_takes_the_rest() {
    let mut desk = Desk::new(&[b"a"]);
    let mut draft = desk.draft();
    desk.write(&mut draft, &[b"b"]);
    let Desk { bench, core } = &mut desk;
    bench.append(core, &[b"b", b"c"]);
    assert!(matches!(desk.commit(&mut draft, 2), Err(Error::Refused(_))), "the core is ahead");
    desk.write(&mut draft, &[b"c", b"d"]);
    assert_eq!(desk.commit(&mut draft, 4), Ok(3));
    let Desk { bench, core } = &mut desk;
    assert_eq!(bench.all(core), [b"a", b"b", b"c", b"d"]);
    bench.append(core, &[b"e"]);
    desk.write(&mut draft, &[b"x", b"y"]);
    assert!(matches!(desk.commit(&mut draft, 6), Err(Error::Refused(_))), "it went another way");
    assert_eq!(desk.core.length(), 5);
}

/// "batch truncate", "truncate core during batch", "sessions - truncate a checkout session", "checkout batch".
// proves hypercore.103, hypercore.106
#[test]
fn drafts_and_cores_are_cut_apart_from_each_other() {
    let mut desk = Desk::new(&[b"a", b"b", b"c"]);
    let mut draft = desk.draft();
    desk.write(&mut draft, &[b"d", b"e"]);
    desk.cut(&mut draft, 4).expect("cuts");
    assert_eq!((draft.length(), desk.core.length()), (4, 3));
    desk.cut(&mut draft, 2).expect("below its base");
    desk.write(&mut draft, &[b"x"]);
    assert_eq!((draft.base(), desk.all(&mut draft)), (2, vec![b"a".to_vec(), b"b".to_vec(), b"x".to_vec()]));
    assert!(matches!(desk.commit(&mut draft, 3), Err(Error::Refused(_))), "the core has another block there");
    desk.bench.with(|cx| desk.core.truncate(cx, 2)).expect("cuts");
    assert_eq!(desk.commit(&mut draft, 3), Ok(2), "now it fits, with the core's new fork");
    assert_eq!((desk.core.fork(), sound(&desk.core)), (1, true));
    desk.bench.with(|cx| desk.core.truncate(cx, 1)).expect("cuts");
    let gone = desk.bench.with(|cx| draft.get(cx, &mut desk.core, 0));
    assert_eq!(gone, Err(Error::Gone), "it stood on blocks that are no more");
    desk.bench.with(|cx| draft.close(cx));
    assert!(matches!(desk.try_draft(), Err(Error::Gone)));
    desk.bench.with(|cx| Draft::remove_of(cx, &desk.core, "batch")).expect("removes");
    assert_eq!(desk.draft().base(), 1);
}

/// "persistent batch", "batch does not append but reopens", "encryption and batches".
// proves hypercore.104
#[test]
fn a_draft_is_there_when_the_core_is_opened_again() {
    for encryption in [None, Some(Encryption::new([5; 32]))] {
        let mut desk = Desk::new(&[]);
        desk.core.set_encryption(encryption.clone());
        let Desk { bench, core } = &mut desk;
        bench.append(core, &[b"a", b"b"]);
        let mut draft = desk.draft();
        let long = vec![7; 70_000];
        desk.write(&mut draft, &[b"c", b"", &long, &long[..300]]);
        desk.write(&mut draft, &[b"d"]);
        desk.cut(&mut draft, 6).expect("cuts");
        let mut draft = desk.reopen(draft);
        desk.core.set_encryption(encryption);
        desk.write(&mut draft, &[b"e"]);
        assert_eq!(desk.all(&mut draft)[..4], [&b"a"[..], b"b", b"c", b""]);
        assert_eq!((draft.base(), draft.length()), (2, 7));
        assert_eq!(desk.commit(&mut draft, 7), Ok(2));
        let Desk { bench, core } = &mut desk;
        assert_eq!(bench.all(core)[4..], [long.clone(), long[..300].to_vec(), b"e".to_vec()]);
        let draft = desk.reopen(draft);
        assert_eq!((draft.base(), draft.length()), (7, 7));
    }
}

/// Whatever is left of the file, what it held up to there is back, and never anything else.
// proves hypercore.104
#[test]
fn a_torn_draft_is_what_it_was_before() {
    let mut desk = Desk::new(&[b"a"]);
    let mut draft = desk.draft();
    let mut known = vec![(draft.end, 1)];
    for n in 0..6_u8 {
        desk.write(&mut draft, &[&[n; 20], &[n]]);
        known.push((draft.end, draft.length()));
        desk.cut(&mut draft, 2 + u64::from(n)).expect("cuts");
        known.push((draft.end, draft.length()));
    }
    let (path, end) = (draft.path.clone(), draft.end);
    desk.bench.with(|cx| draft.close(cx));
    let whole = desk.bench.disk.content(&path).expect("a file").to_vec();
    assert_eq!(whole.len() as u64, end);
    for len in 0..=whole.len() {
        desk.bench.disk.put(&path, &whole[..len]);
        let draft = desk.draft();
        let wanted = known.iter().rev().find(|(end, _)| *end <= len as u64).map_or(1, |(_, length)| *length);
        assert_eq!(draft.length(), wanted, "cut at {len}");
        desk.bench.with(|cx| draft.close(cx));
    }
    for bit in 0..8 * whole.len() {
        let mut wrong = whole.clone();
        wrong[bit / 8] ^= 1 << (bit % 8);
        desk.bench.disk.put(&path, &wrong);
        let Ok(draft) = desk.try_draft() else { continue };
        let at = known.iter().find(|(end, _)| *end > bit as u64 / 8).map(|(end, _)| *end);
        let before = known.iter().rev().find(|(end, _)| Some(*end) < at).map_or(1, |(_, length)| *length);
        assert_eq!(draft.length(), before, "bit {bit}");
        desk.bench.with(|cx| draft.close(cx));
    }
}

/// "simultaneous batches", "multiple batches", "compact all batches": several by name, each begun at another length;
/// those that went the same way are committed one after the other, one that did not is refused.
// proves hypercore.103, hypercore.105
#[test]
fn several_drafts_are_there_at_once() {
    let mut desk = Desk::new(&[]);
    let Desk { bench, core } = &mut desk;
    let open = |bench: &mut Bench, core: &mut Hypercore, name: &str| {
        bench.with(|cx| Draft::open(cx, core, name)).expect("opens")
    };
    let [mut one, mut two, mut three] = ["1", "2", "3"].map(|name| open(bench, core, name));
    for (draft, blocks) in [(&mut one, &[&b"a"[..]][..]), (&mut two, &[b"a", b"c"]), (&mut three, &[b"c"])] {
        bench.with(|cx| draft.append(cx, core, blocks)).expect("appends");
    }
    let mut late = open(bench, core, "late");
    assert_eq!((core.length(), late.length()), (0, 0));
    assert_eq!(bench.with(|cx| one.commit(cx, core, 1, None)), Ok(0));
    assert_eq!(bench.with(|cx| two.commit(cx, core, 2, None)), Ok(1));
    let refused = bench.with(|cx| three.commit(cx, core, 1, None));
    assert!(matches!(refused, Err(Error::Refused(_))), "it has another first block: {refused:?}");
    assert_eq!(bench.all(core), [b"a", b"c"]);
    bench.append(core, &[b"d"]);
    let mut fourth = open(bench, core, "4");
    bench.with(|cx| fourth.append(cx, core, &[b"e"])).expect("appends");
    bench.with(|cx| late.append(cx, core, &[b"own"])).expect("appends");
    for draft in [one, two, three, late, fourth] {
        bench.with(|cx| draft.close(cx));
    }
    bench.close(core);
    desk.core = desk.bench.open(Open::default()).expect("opens");
    let Desk { bench, core } = &mut desk;
    let kept: [(&str, u64, &[u8]); 5] =
        [("1", 1, b"a"), ("2", 2, b"c"), ("3", 1, b"c"), ("late", 1, b"own"), ("4", 4, b"e")];
    for (name, length, last) in kept {
        let mut draft = open(bench, core, name);
        assert_eq!(draft.length(), length, "{name}");
        let block = bench.with(|cx| draft.get(cx, core, length - 1));
        assert_eq!(block, Ok(Some(last.to_vec())), "{name}");
    }
}

/// "batch close", "batch flush after close", "batch close after flush": what is drafted and not committed is not in
/// the core, and stays in the draft; a draft of a core that was closed is refused.
#[test]
fn a_draft_that_is_closed_changes_nothing() {
    let mut desk = Desk::new(&[b"a", b"b", b"c"]);
    let mut draft = desk.draft();
    assert_eq!(desk.commit(&mut draft, 3), Ok(3), "nothing to commit");
    desk.write(&mut draft, &[b"de", b"fg"]);
    desk.bench.with(|cx| draft.close(cx));
    let Desk { bench, core } = &mut desk;
    bench.append(core, &[b"d", b"e"]);
    assert_eq!(core.length(), 5);
    let mut draft = desk.draft();
    assert_eq!(draft.length(), 5, "its own");
    let Desk { bench, core } = &mut desk;
    bench.close(core);
    let refused = bench.with(|cx| draft.commit(cx, core, 5, None));
    assert!(refused.is_err());
}

/// "batch append with huge batch", "batch commit under replication": a copy that has part of a core's tree takes what
/// it drafted itself, with the signature that the core had at that length.
// proves hypercore.105
#[test]
fn a_copy_takes_its_own_draft_with_the_cores_signature() {
    let mut source = Desk::new(&[]);
    let tick = vec![&b"tick"[..]; 10];
    let Desk { bench, core } = &mut source;
    bench.append(core, &tick);
    let signature = core.signature().to_vec();
    bench.append(core, &tick);
    let mut bench = Bench::new();
    let manifest = core.manifest().cloned();
    let open = Open { key: Some(*core.key()), manifest, ..Open::default() };
    let core = bench.open(open).expect("a new core");
    let mut copy = Desk { bench, core };
    let mut draft = copy.draft();
    let many = vec![&b"tick"[..]; 20_000];
    copy.write(&mut draft, &many);
    assert_eq!(draft.length(), 20_000);
    let unsigned = copy.commit(&mut draft, 10);
    assert!(matches!(unsigned, Err(Error::Refused(_))), "it has no key pair");
    for length in [9, 11] {
        let wrong = copy.bench.with(|cx| draft.commit(cx, &mut copy.core, length, Some(&signature)));
        assert!(matches!(wrong, Err(Error::Refused(_))), "signed was another length");
    }
    let done = copy.bench.with(|cx| draft.commit(cx, &mut copy.core, 10, Some(&signature)));
    assert_eq!((done, copy.core.length(), copy.core.contiguous_length()), (Ok(0), 10, 10));
    let now = source.core.signature().to_vec();
    let done = copy.bench.with(|cx| draft.commit(cx, &mut copy.core, 20, Some(&now)));
    assert_eq!((done, copy.core.tree_hash()), (Ok(10), source.core.tree_hash()));
    assert!(sound(&copy.core));
    let behind = copy.bench.with(|cx| draft.commit(cx, &mut copy.core, 10, Some(&signature)));
    assert!(matches!(behind, Err(Error::Refused(_))), "the core is longer: it stays as it is");
    assert_eq!(copy.core.length(), 20);
}

/// "batch catchup to same length", "reverse batch catchup to same length", "batch catchup to same length and hash": a
/// draft of a core that went elsewhere is given up, and begun anew where the core is.
// proves hypercore.103
#[test]
fn a_draft_is_begun_anew_where_the_core_is() {
    for drafted in [1, 5] {
        let mut desk = Desk::new(&[]);
        let mut draft = desk.draft();
        desk.write(&mut draft, &vec![&b"b"[..]; drafted]);
        let Desk { bench, core } = &mut desk;
        bench.append(core, &[b"a"]);
        assert_ne!(draft.tree_hash(), core.tree_hash());
        bench.with(|cx| draft.remove(cx)).expect("removes");
        let mut draft = desk.draft();
        assert_eq!((draft.length(), draft.base(), draft.tree_hash()), (1, 1, desk.core.tree_hash()));
        assert_eq!(desk.all(&mut draft), [b"a"]);
    }
}

#[test]
fn bad_names_and_closed_cores_are_refused() {
    let mut desk = Desk::new(&[b"a"]);
    for name in [String::new(), "x".repeat(limits::DRAFT_NAME_MAX + 1)] {
        let opened = desk.bench.with(|cx| Draft::open(cx, &mut desk.core, &name).map(|_| ()));
        assert!(matches!(opened, Err(Error::Invalid(_))));
    }
    let Desk { bench, core } = &mut desk;
    bench.close(core);
    assert!(matches!(desk.try_draft().map(|_| ()), Err(Error::NotOpen)));
}
