//! One folder by turns, at random: seckel, hypercore 10 and the crate `hypercore` (datrs) each do something to a core
//! and leave it, closed or not.

use seckel::base::{Entropy, Seeded, hex};
use seckel::crypto::KeyPair;
use seckel::hypercore::{Durability, Encryption, Hypercore, Open, auth};
use serde_json::{Value, json};

use crate::hypercore::Folder;
use crate::support::{Node, skipped};

const SEED: [u8; 32] = [7; 32];

/// None is empty: hypercore 10 fails to clear blocks that have no bytes.
fn blocks(entropy: &mut Seeded, most: u64) -> Vec<Vec<u8>> {
    let count = 1 + entropy.below(most);
    (0..count).map(|_| vec![entropy.u64() as u8; [1, 2, 30, 700, 5000][entropy.below(5) as usize]]).collect()
}

/// What both sides have to say alike. Hypercore 10 may count too high how far a core is whole, after clearing.
fn common(mut state: Value) -> Value {
    // A block is all one byte, but where it is encrypted only the whole says so.
    for block in state["blocks"].as_array_mut().expect("a list") {
        if let Some(text) = block.as_str() {
            *block = json!(format!("{} of {}", &text[..2], text.len() / 2));
        }
    }
    for name in ["contiguousLength", "writable"] {
        state.as_object_mut().expect("an object").remove(name);
    }
    state
}

/// What was said, with blocks of `seen` that were cleared and are here again: their bytes are where they were, and
/// hypercore 10 may say of them that the core is whole up to behind them. (hypercore.51)
fn again(mut said: Value, seen: &Value) -> Value {
    let seen = seen["blocks"].as_array().expect("a list");
    for (block, seen) in said["blocks"].as_array_mut().expect("a list").iter_mut().zip(seen) {
        if block.is_null() {
            *block = seen.clone();
        }
    }
    said
}

/// What one side does in its turn.
fn step(entropy: &mut Seeded, length: u64, cuts: bool) -> Value {
    match entropy.below(8) {
        0 if length > 0 && cuts => json!({"do": "truncate", "length": entropy.below(length + 1)}),
        1 if length > 0 => {
            let start = entropy.below(length);
            json!({"do": "clear", "start": start, "end": (start + 1 + entropy.below(4)).min(length)})
        }
        2 if cuts => json!({"do": "note", "key": "note", "value": format!("note {}", entropy.below(1000))}),
        _ => {
            let some = blocks(entropy, 6);
            json!({"do": "append", "batches": [some.iter().map(|block| hex::encode(block)).collect::<Vec<_>>()]})
        }
    }
}

/// The same by seckel.
fn ours(folder: &mut Folder, core: &mut Hypercore, step: &Value) {
    let number = |name: &str| step[name].as_u64().expect("a number");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let done = match step["do"].as_str() {
        Some("truncate") => folder.with(|cx| core.truncate(cx, number("length"))),
        Some("clear") => folder.with(|cx| core.clear(cx, number("start"), number("end"))),
        Some("note") => {
            let value = text(&step["value"]);
            folder.with(|cx| core.set_user_data(cx, "note", Some(value.as_bytes())))
        }
        _ => {
            let batch = step["batches"][0].as_array().expect("a list");
            let blocks: Vec<Vec<u8>> =
                batch.iter().map(|block| hex::decode(&text(block)).expect("hex")).collect();
            folder.with(|cx| core.append(cx, &blocks)).map(|_| ())
        }
    };
    done.unwrap_or_else(|error| panic!("{step}: {error}"));
}

/// Appends, truncations, clears and user data by turns of seckel and Node, each of which closes the core or just ends.
// proves hypercore.33, hypercore.52, hypercore.57
#[test]
fn node_and_seckel_take_turns_at_random() {
    if skipped("files: turns with node") {
        return;
    }
    for seed in 0..6 {
        let mut entropy = Seeded::new(seed);
        let mut folder = Folder::new(&format!("turns-{seed}"));
        let encrypted = seed % 3 == 2;
        let key = [9; 32];
        let encryption = encrypted.then(|| Encryption::new(key));
        let node_key =
            if encrypted { json!({"key": hex::encode(&key), "block": false}) } else { Value::Null };
        let version = if seed % 2 == 0 { json!(1) } else { Value::Null };
        let (mut length, mut last) = (0, None);
        for turn in 0..14 {
            let what = format!("seed {seed} turn {turn}");
            let closes = entropy.chance(500);
            let steps = 1 + entropy.below(6);
            let said = if turn % 2 == 0 {
                let mut node = folder.node();
                let open = json!({
                    "do": "open", "folder": folder.path(), "seed": hex::encode(&SEED), "version": version,
                    "encryption": node_key,
                });
                let opened = node.ask(&open);
                assert_eq!(opened["error"], Value::Null, "{what}: {opened}");
                if let Some(last) = last.take() {
                    assert_eq!(common(opened.clone()), last, "{what}: node sees what seckel left");
                }
                let mut state = opened;
                for _ in 0..steps {
                    let step = step(&mut entropy, state["length"].as_u64().expect("a number"), true);
                    let done = node.ask(&step);
                    assert_eq!(done["error"], Value::Null, "{what}: {step}: {done}");
                    state = node.ask(&json!({"do": "read"}));
                }
                if closes {
                    node.ask(&json!({"do": "close"}));
                    node.finish();
                }
                state
            } else {
                let durability = if entropy.chance(500) { Durability::Flush } else { Durability::Kernel };
                let mut core = folder.open(Open {
                    create: false,
                    durability,
                    encryption: encryption.clone(),
                    ..Open::default()
                });
                for _ in 0..steps {
                    let step = step(&mut entropy, core.length(), true);
                    ours(&mut folder, &mut core, &step);
                }
                let state = folder.state(&mut core);
                if closes {
                    folder.with(|cx| core.close(cx)).expect("closes");
                }
                state
            };
            length = said["length"].as_u64().expect("a number").max(length);
            // Whoever looks sees the same; seckel without touching anything.
            let mut core = folder.open(Open {
                create: false,
                read_only: true,
                encryption: encryption.clone(),
                ..Open::default()
            });
            let (seen, said) = (common(folder.state(&mut core)), common(said));
            assert_eq!(seen, again(said.clone(), &seen), "{what}");
            folder.with(|cx| core.close(cx)).expect("closes");
            last = (turn % 2 == 1).then_some(said);
        }
        assert!(length > 10, "seed {seed}: {length}");
    }
}

/// Appends by turns of seckel and datrs' crate, and clears by seckel. What the crate does otherwise stands in
/// `vendor-protocol-notes/hypercore.md`.
// proves hypercore.57
#[test]
fn datrs_and_seckel_take_turns_at_random() {
    if skipped("files: turns with datrs") {
        return;
    }
    let wanted = ["key", "length", "fork", "byteLength", "blocks"];
    let common = |state: &Value| {
        let state = common(state.clone());
        wanted.map(|name| state[name].clone())
    };
    for seed in 0..6 {
        let mut entropy = Seeded::new(100 + seed);
        let mut folder = Folder::new(&format!("datrs-{seed}"));
        for turn in 0..12 {
            let what = format!("seed {seed} turn {turn}");
            let steps = 1 + entropy.below(6);
            let said = if (turn + seed) % 2 == 0 {
                let mut datrs = Node::crate_of("datrs");
                let mut open = json!({"do": "open", "folder": folder.path()});
                if turn == 0 {
                    open["seed"] = json!(hex::encode(&SEED));
                }
                let mut state = datrs.ask(&open);
                assert_eq!(state["error"], Value::Null, "{what}: {state}");
                for _ in 0..steps {
                    let step = step(&mut entropy, 0, false);
                    state = datrs.ask(&step);
                    assert_eq!(state["error"], Value::Null, "{what}: {step}: {state}");
                }
                state
            } else {
                let pair = KeyPair::from_seed(SEED);
                let manifest = Some(auth::single_signer(0, pair.public));
                let open = Open { key: Some(pair.public), manifest, key_pair: Some(pair), ..Open::default() };
                let mut core = folder.open(open);
                for _ in 0..steps {
                    let step = step(&mut entropy, core.length(), false);
                    ours(&mut folder, &mut core, &step);
                }
                let state = folder.state(&mut core);
                if entropy.chance(500) {
                    folder.with(|cx| core.close(cx)).expect("closes");
                }
                state
            };
            let mut core = folder.open(Open { create: false, read_only: true, ..Open::default() });
            assert_eq!(common(&folder.state(&mut core)), common(&said), "{what}");
            folder.with(|cx| core.close(cx)).expect("closes");
        }
    }
}
