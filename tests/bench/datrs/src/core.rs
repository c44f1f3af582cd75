//! The crate `hypercore`.

use std::path::Path;
use std::time::Instant;

use hypercore::{Hypercore, HypercoreBuilder, Storage};
use serde_json::{Map, json};

use crate::{Args, Figures, Rng, Tmp, fill, numbered, rate};

async fn open(folder: &Path) -> Hypercore {
    let storage = Storage::new_disk(&folder.to_path_buf(), false).await.expect("a storage");
    HypercoreBuilder::new(storage).build().await.expect("a core")
}

pub async fn run(args: &Args) -> Figures {
    let mut figures = Map::new();
    let small = fill(100, 7);
    let one = args.number("one", 20_000);
    let tmp = Tmp::new("one");
    let mut core = open(&tmp.0).await;
    let start = Instant::now();
    for i in 0..one {
        core.append(&numbered(&small, i)).await.expect("appends");
    }
    rate(&mut figures, "append_1_100b_ops_s", one, start);

    let (count, gets) = (args.number("batch", 200_000), args.number("gets", 20_000));
    let tmp = Tmp::new("batch");
    let mut core = open(&tmp.0).await;
    let batches: Vec<Vec<Vec<u8>>> = (0..count / 1000)
        .map(|batch| (0..1000).map(|i| numbered(&small, batch * 1000 + i)).collect())
        .collect();
    let start = Instant::now();
    for batch in &batches {
        core.append_batch(batch).await.expect("appends");
    }
    rate(&mut figures, "append_1000_100b_blocks_s", count, start);
    drop(core);
    let start = Instant::now();
    let mut core = open(&tmp.0).await;
    figures.insert("reopen_ms".to_owned(), json!(start.elapsed().as_secs_f64() * 1000.0));
    let mut rng = Rng(42);
    let start = Instant::now();
    for _ in 0..gets {
        let index = rng.below(count);
        let block = core.get(index).await.expect("reads").expect("is here");
        assert_eq!(block[..4], (index as u32).to_le_bytes());
    }
    rate(&mut figures, "get_100b_ops_s", gets, start);
    large(args, &mut figures).await;
    figures
}

async fn large(args: &Args, figures: &mut Figures) {
    let (count, gets) = (args.number("big", 2048), args.number("biggets", 4000));
    let data = fill(65_536, 9);
    let tmp = Tmp::new("big");
    let mut core = open(&tmp.0).await;
    let batches: Vec<Vec<Vec<u8>>> =
        (0..count / 16).map(|batch| (0..16).map(|i| numbered(&data, batch * 16 + i)).collect()).collect();
    let start = Instant::now();
    for batch in &batches {
        core.append_batch(batch).await.expect("appends");
    }
    let mb_s = count as f64 * 65_536.0 / 1e6 / start.elapsed().as_secs_f64();
    figures.insert("append_16_64k_mb_s".to_owned(), json!(mb_s));
    drop(core);
    let mut core = open(&tmp.0).await;
    let mut rng = Rng(43);
    let start = Instant::now();
    for _ in 0..gets {
        core.get(rng.below(count)).await.expect("reads").expect("is here");
    }
    let mb_s = gets as f64 * 65_536.0 / 1e6 / start.elapsed().as_secs_f64();
    figures.insert("get_64k_mb_s".to_owned(), json!(mb_s));
}
