//! Two connections of one pair, and one.

use super::*;

// proves hyperswarm.21
#[test]
fn duplicates_are_the_vectors() {
    for vector in vectors("duplicate") {
        let inputs = &vector["inputs"];
        let key = |name: &str| {
            let bytes = hex::decode(inputs[name].as_str().unwrap_or(&"00".repeat(32))).expect("hex");
            Key::try_from(bytes).expect("32 bytes")
        };
        let ours = inputs["newConnectionIsInitiator"].as_bool().unwrap_or(false);
        let outdated = inputs["existingHasSentAndReceivedBytes"].as_bool().unwrap_or(false);
        let keep = keep_new(&key("publicKey"), &key("remotePublicKey"), ours, outdated);
        assert_eq!(keep, vector["expected"]["keepNew"], "{vector}");
    }
}

/// pitfalls 13.1: both dial at once; for 1000 seeds each pair keeps exactly one connection, and both the same.
// proves hyperswarm.21, hyperswarm.22
#[test]
fn simultaneous_dials_leave_one_connection() {
    for seed in 0..1000 {
        let mut entropy = Seeded::new(seed);
        let keys = [entropy.bytes32(), entropy.bytes32()];
        let mut sides = keys.map(|key| Side::with(Config::new(key)));
        for (n, side) in sides.iter_mut().enumerate() {
            let query = side.look(TOPIC);
            side.find(query, keys[1 - n]);
            assert_eq!(side.dials(), [keys[1 - n]]);
        }
        one_connection_in_the_end(&mut entropy, keys, sides, seed);
    }
}

/// Two sides that dial each other; connection n is the one that side n opened. Messages between them: the callee sees
/// the connection some time before or after the caller does, a close reaches the other side later.
fn one_connection_in_the_end(entropy: &mut Seeded, keys: [Key; 2], mut sides: [Side; 2], seed: u64) {
    #[derive(Clone, Copy, PartialEq, Debug)]
    enum Step {
        Arrive(usize),
        Open(usize),
        Gone(usize, usize),
    }
    let link = |caller: usize| Link(caller as u64);
    let mut steps = vec![Step::Arrive(0), Step::Arrive(1)];
    let mut open = [[false; 2]; 2];
    let mut dead = [false; 2];
    while !steps.is_empty() {
        let step = steps.swap_remove(entropy.below(steps.len() as u64) as usize);
        match step {
            Step::Arrive(caller) if !dead[caller] => {
                open[1 - caller][caller] = true;
                let input = Input::Incoming { key: keys[caller], link: link(caller), outdated: false };
                sides[1 - caller].input(input);
                steps.push(Step::Open(caller));
            }
            Step::Open(caller) if !dead[caller] => {
                open[caller][caller] = true;
                sides[caller].input(Input::Connected { key: keys[1 - caller], link: link(caller) });
            }
            Step::Arrive(_) | Step::Open(_) => {}
            Step::Gone(side, caller) => {
                if core::mem::take(&mut open[side][caller]) {
                    sides[side].input(Input::Closed { link: link(caller) });
                } else if side == caller {
                    sides[side].fail(keys[1 - side]);
                }
            }
        }
        for (side, own) in sides.iter_mut().enumerate() {
            for output in own.outputs() {
                let caller = match output {
                    Output::Drop { link, .. } => link.0 as usize,
                    Output::Abort { .. } => side,
                    _ => continue,
                };
                if !core::mem::replace(&mut dead[caller], true) {
                    steps.push(Step::Gone(0, caller));
                    steps.push(Step::Gone(1, caller));
                }
            }
        }
    }
    let told = sides.each_mut().map(|side| side.swarm.links());
    assert_eq!((told[0].len(), told[1].len()), (1, 1), "seed {seed}");
    assert_eq!(told[0][0].1, told[1][0].1, "seed {seed}: the same one");
    let greater = usize::from(keys[1] > keys[0]);
    assert_eq!(told[0][0].1, link(greater), "seed {seed}: the one of the greater key");
    for side in &mut sides {
        let mut known = BTreeSet::new();
        for event in side.events() {
            match event {
                Event::Connection { link, .. } => assert!(known.insert(link) && known.len() == 1),
                Event::Closed { link, .. } => assert!(known.remove(&link)),
                _ => {}
            }
        }
        assert_eq!(known.len(), 1);
    }
}

/// pitfalls 13.2: the new one is told only after the old one has closed.
// proves hyperswarm.21
#[test]
fn a_replacement_waits_for_the_old_one_to_close() {
    let mut a = Side::new();
    let old = a.call(key(200), false);
    let new = a.call(key(200), true);
    a.events();
    assert_eq!(a.outputs(), [Output::Drop { link: old, why: DropReason::Duplicate }]);
    let other = a.call(key(200), true);
    assert_eq!((a.outputs(), a.events()), (vec![], vec![]));
    a.close(old);
    assert_eq!(
        a.events(),
        [
            Event::Closed { link: old, key: key(200) },
            Event::Connection { link: new, key: key(200), initiator: false, topics: vec![] }
        ]
    );
    // the third one meets the second: the greater key's connection is the one to keep
    assert_eq!(a.outputs(), [Output::Drop { link: new, why: DropReason::Duplicate }]);
    a.close(other);
    a.close(new);
    assert_eq!(a.events(), [Event::Closed { link: new, key: key(200) }]);
    assert_eq!(a.swarm.counts(), (0, 0, 0));
}

// proves hyperswarm.21
#[test]
fn a_losing_connection_is_dropped_and_the_old_one_tested() {
    let mut a = Side::new();
    let old = a.call(key(2), false);
    let new = a.call(key(2), false);
    let drop = Output::Drop { link: new, why: DropReason::Duplicate };
    assert_eq!(a.outputs(), [Output::KeepAlive { link: old }, drop]);
    a.close(new);
    assert_eq!(a.events().len(), 1, "nothing was told of it");
    assert_eq!(a.swarm.existing(&key(2)), Some(Existing::Open(old)));
}

/// pitfalls 13.5: connections are told one by one, however late the owner takes them; none is dropped.
// proves hyperswarm.32
#[test]
fn no_connection_is_lost_on_a_slow_owner() {
    let mut a = Side::new();
    for n in 1..=90 {
        a.call(key(n), false);
    }
    assert_eq!(a.outputs(), []);
    assert_eq!(a.events().len(), 90);
}
