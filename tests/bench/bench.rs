//! `seckel-bench BENCH [--option value]...` prints one JSON line of figures: the same work, under the same
//! names, as the
//! scripts that measure the Node.js packages, so that both can take turns on one machine. `seckel-bench peer BENCH
//! --role ROLE --opts JSON` is the other process of a bench that has two.
//!
//! Not a test and not installed: `cargo build --release --example seckel-bench`.

mod common;
mod counts;
mod dht;
mod footprint;
mod hyperbee;
mod hypercore;
mod line;
mod process;
mod registry;
mod replication;
mod rpc;
mod secret;
mod sim;
mod udx;

use common::{Args, Report};

fn main() {
    let mut words = std::env::args().skip(1).peekable();
    let peer = words.next_if(|word| word == "peer").is_some();
    let Some(bench) = words.next() else {
        eprintln!("seckel-bench [peer] BENCH [--option value]...");
        std::process::exit(2);
    };
    let args = Args::parse(words);
    if peer || args.text("role").is_some() {
        let role = args.text("role").unwrap_or_default().to_owned();
        let opts = Args::from_json(args.text("opts").unwrap_or("{}"));
        return run_role(&bench, &role, &opts);
    }
    common::give_up_after(&args);
    let report = match &bench[..] {
        "hypercore" => hypercore::run(&args),
        "hyperbee" => hyperbee::run(&args),
        "replication" => replication::run(&args),
        "secret" => secret::run(&args),
        "udx" => udx::run(&args),
        "line" => line::run(&args),
        "rpc" => rpc::run(&args),
        "dht" => dht::run(&args),
        "footprint" => footprint::run(&args),
        "registry" => registry::run(&args),
        "sim" => sim::run(&args),
        "counts" => counts::run(&args),
        _ => unknown(&bench),
    };
    report.print(&bench);
}

fn run_role(bench: &str, role: &str, opts: &Args) {
    match bench {
        "replication" => replication::role(role, opts),
        "secret" => secret::role(role, opts),
        "udx" => udx::role(),
        "line" => line::role(role, opts),
        "rpc" => rpc::role(role, opts),
        "dht" => dht::role(role, opts),
        "footprint" => footprint::role(role, opts),
        "registry" => registry::role(role, opts),
        _ => {
            unknown(&format!("{bench} --role {role}"));
        }
    }
}

fn unknown(what: &str) -> Report {
    eprintln!("no bench {what}");
    std::process::exit(2);
}
