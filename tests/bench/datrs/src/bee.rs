//! The crate `hyperbee`.

use std::path::Path;
use std::time::Instant;

use futures_lite::StreamExt;
use hyperbee::Hyperbee;
use hyperbee::traverse::TraverseConfig;
use serde_json::Map;

use crate::{Args, Figures, Rng, Tmp, fill, numbered, rate};

fn key(i: u64) -> Vec<u8> {
    format!("user-{i:06}").into_bytes()
}

async fn tree(folder: &Path) -> Hyperbee {
    Hyperbee::from_storage_dir(folder).await.expect("a tree")
}

pub async fn run(args: &Args) -> Figures {
    let mut figures = Map::new();
    let base = fill(32, 5);
    let one = args.number("one", 10_000);
    let tmp = Tmp::new("bee");
    let bee = tree(&tmp.0).await;
    let start = Instant::now();
    for i in 0..one {
        let i = (i * 7919) % one;
        bee.put(&key(i), Some(&numbered(&base, i))).await.expect("puts");
    }
    rate(&mut figures, "put_ops_s", one, start);

    let (count, gets, dels) =
        (args.number("n", 100_000), args.number("gets", 10_000), args.number("dels", 1000));
    let tmp = Tmp::new("tree");
    let bee = tree(&tmp.0).await;
    for i in 0..count {
        bee.put(&key(i), Some(&numbered(&base, i))).await.expect("puts");
    }
    drop(bee);
    let bee = tree(&tmp.0).await;
    let mut rng = Rng(11);
    for name in ["get_ops_s", "get_warm_ops_s"] {
        let start = Instant::now();
        for _ in 0..gets {
            let i = rng.below(count);
            let (_, value) = bee.get(&key(i)).await.expect("reads").expect("is there");
            assert_eq!(value.expect("a value")[..4], (i as u32).to_le_bytes());
        }
        rate(&mut figures, name, gets, start);
    }
    drop(bee);
    let bee = tree(&tmp.0).await;
    let start = Instant::now();
    let mut stream = Box::pin(bee.traverse(TraverseConfig::default()).await.expect("walks"));
    let mut found = 0;
    while let Some(entry) = stream.next().await {
        entry.expect("reads");
        found += 1;
    }
    drop(stream);
    assert_eq!(found, count, "the walk meets every entry");
    rate(&mut figures, "stream_entries_s", count, start);
    let start = Instant::now();
    for i in 0..dels {
        bee.del(&key((i * 7919) % count)).await.expect("deletes").expect("was there");
    }
    rate(&mut figures, "del_ops_s", dels, start);
    figures
}
