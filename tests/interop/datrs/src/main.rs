//! Cores of the crate hypercore (datrs), in a folder that seckel uses too: one JSON line in, one out.

use std::io::{BufRead, Write};
use std::path::PathBuf;

use hypercore::{Hypercore, HypercoreBuilder, HypercoreError, PartialKeypair, SigningKey, Storage};
use serde_json::{Value, json};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(text: &Value) -> Vec<u8> {
    let text = text.as_str().expect("hex");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

async fn open(message: &Value) -> Result<Hypercore, HypercoreError> {
    let folder = PathBuf::from(message["folder"].as_str().expect("a folder"));
    let storage = Storage::new_disk(&folder, false).await?;
    let builder = HypercoreBuilder::new(storage);
    match &message["seed"] {
        Value::Null => builder.open(true).build().await,
        seed => {
            let seed: [u8; 32] = bytes(seed).try_into().expect("32 bytes");
            let secret = SigningKey::from_bytes(&seed);
            let pair = PartialKeypair { public: secret.verifying_key(), secret: Some(secret) };
            builder.key_pair(pair).build().await
        }
    }
}

async fn state(core: &mut Hypercore) -> Result<Value, HypercoreError> {
    let info = core.info();
    let mut blocks = Vec::new();
    for index in 0..info.length {
        blocks.push(core.get(index).await?.map(|block| hex(&block)));
    }
    Ok(json!({
        "key": hex(core.key_pair().public.as_bytes()),
        "length": info.length,
        "fork": info.fork,
        "byteLength": info.byte_length,
        "contiguousLength": info.contiguous_length,
        "writable": info.writeable,
        "blocks": blocks,
    }))
}

async fn act(core: &mut Option<Hypercore>, message: &Value) -> Result<Value, HypercoreError> {
    if message["do"] == "open" {
        *core = Some(open(message).await?);
    }
    let Some(core) = core else { return Ok(json!({ "error": "not open" })) };
    match message["do"].as_str() {
        Some("append") => {
            for batch in message["batches"].as_array().expect("a list") {
                let blocks: Vec<Vec<u8>> = batch.as_array().expect("a list").iter().map(bytes).collect();
                core.append_batch(blocks).await?;
            }
        }
        Some("clear") => {
            let number = |name: &str| message[name].as_u64().expect("a number");
            core.clear(number("start"), number("end")).await?;
        }
        _ => {}
    }
    state(core).await
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut core = None;
    for line in std::io::stdin().lock().lines() {
        let message: Value = serde_json::from_str(&line.expect("text")).expect("JSON");
        let answer = match act(&mut core, &message).await {
            Ok(answer) => answer,
            Err(error) => json!({ "error": error.to_string() }),
        };
        println!("{answer}");
        std::io::stdout().flush().expect("a pipe");
    }
}
