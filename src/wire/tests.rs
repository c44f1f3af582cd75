use super::*;
use crate::base::Seeded;

#[derive(Clone, Default, PartialEq, Debug)]
struct Pear {
    seed: Option<u64>,
    name: String,
    leaves: Vec<Addr>,
    core: Vec<u8>,
    stem: Vec<u8>,
}

impl Wire for Pear {
    const NAME: &'static str = "test.pear";
    const RULE: &'static str = "compact_encoding.1";
    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Malformed> {
        let [seed] = c.bits("flags", [self.seed.is_some()])?;
        c.exactly("version", 1)?;
        c.when(seed, &mut self.seed, |c, v| c.uint("seed", v))?;
        c.string("name", &mut self.name, 30)?;
        c.list("leaves", &mut self.leaves, 4, 6, |c, v| c.addr("leaf", v))?;
        let core = &mut self.core;
        c.frame("core", 100, |c| c.buffer("flesh", core, 50))?;
        c.raw("stem", &mut self.stem, 50)
    }
}

fn pear() -> Pear {
    Pear {
        seed: Some(0x1234),
        name: "seckel".into(),
        leaves: vec![Addr::new([1, 2, 3, 4], 0x1234)],
        core: vec![7; 3],
        stem: vec![9],
    }
}

#[test]
fn what_is_written_is_read() {
    let bytes = encode(&pear());
    assert_eq!(decode::<Pear>(&bytes), Ok(pear()));
    let (rows, result) = explain::<Pear>(&bytes);
    assert_eq!(result, Ok(()));
    let fields: Vec<_> = rows.iter().map(|row| (row.at, row.len, row.field)).collect();
    assert_eq!(
        fields,
        [
            (0, 1, "flags"),
            (1, 1, "version"),
            (2, 3, "seed"),
            (5, 7, "name"),
            (12, 1, "leaves"),
            (13, 6, "leaf"),
            (19, 1, "core"),
            (20, 4, "flesh"),
            (24, 1, "stem")
        ]
    );
}

/// pitfalls 1.1: the port is little endian.
#[test]
fn a_port_is_little_endian() {
    let bytes = encode(&pear());
    assert_eq!(bytes[13..19], [1, 2, 3, 4, 0x34, 0x12]);
}

#[test]
fn every_prefix_is_refused_or_read_without_panic() {
    let bytes = encode(&pear());
    for len in 0..24 {
        let fault = decode::<Pear>(&bytes[..len]).expect_err("too short");
        assert_eq!(fault.reason, Reason::Short, "{len}");
    }
}

/// pitfalls 1.3 and 1.4: lengths and counts from the network are bounded before anything is reserved.
#[test]
fn giant_lengths_are_refused() {
    for tail in [
        vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        vec![0xff, 0, 0, 0, 0, 0, 0, 0x20, 0],
        vec![0xfe, 0xff, 0xff, 0xff, 0xff],
    ] {
        let bytes = [&[0, 1][..], &tail].concat();
        let fault = decode::<Pear>(&bytes).expect_err("giant");
        assert_eq!(fault.field, "name");
    }
    let fault = decode::<Pear>(&[0, 1, 0, 4, 1, 2, 3]).expect_err("four leaves in three bytes");
    assert_eq!((fault.field, fault.reason), ("leaves", Reason::Short));
}

#[test]
fn long_varints_are_accepted() {
    let bytes = [0xfd, 0, 0, 1, 0, 0, 1, 0];
    assert_eq!(decode::<Pear>(&bytes).map(|pear| pear.name), Ok(String::new()));
}

#[test]
fn invented_values_come_back() {
    for seed in 0..500 {
        let invented: Pear = invent(&mut Seeded::new(seed));
        assert_eq!(decode::<Pear>(&encode(&invented)), Ok(invented));
    }
}

#[test]
fn numbers_of_every_size_come_back() {
    for value in [0, 0xfc, 0xfd, 0xffff, 0x1_0000, 0xffff_ffff, 0x1_0000_0000, compact::UINT_MAX] {
        let pear = Pear { seed: Some(value), ..Pear::default() };
        assert_eq!(decode::<Pear>(&encode(&pear)), Ok(pear));
    }
}
