//! The command line of seckel.

mod args;
mod ask;
mod auction;
mod audit;
mod bees;
mod cores;
mod dht;
mod explain;
mod keys;
mod leftovers;
mod network;
mod online;
mod pipe;
mod progress;
mod relay;
mod run;
mod shelf;
mod sim;
mod stdio;
mod talk;
mod terminal;
mod tracing;

use std::process::ExitCode;

use clap::Parser;
use seckel::app::registry::Registry as Names;
use seckel::app::registry::command::Command as Prompted;

use args::{Cli, Command, Registry};

/// Where a client of the registry keeps its files unless told otherwise.
const NAMES: &str = "./registry-client";

fn main() -> ExitCode {
    let cli = Cli::parse();
    let _program = tracing::Program;
    let ended = tracing::start(cli.tracing).and_then(|()| start(cli.command));
    online::tidy();
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(bad) => {
            terminal::warn(&bad.text);
            ExitCode::from(bad.code)
        }
    }
}

fn start(command: Command) -> Result<u8, run::Bad> {
    match command {
        Command::Demo(demo) => run::demo(demo.storage.as_deref()),
        Command::Dht(args) => {
            let set = std::env::var("SECKEL_BOOTSTRAP").ok();
            dht::dht(&args, set.as_deref())
        }
        Command::Explain(explain) => explain::explain(&explain),
        Command::Testnet(testnet) => run::testnet(testnet.nodes, testnet.port),
        Command::Audit(args::Audit::Core(args)) => audit::core(&args),
        Command::Core(core) => cores::core(&core),
        Command::Bee(bee) => bees::bee(&bee),
        Command::Relay(args) => relay::relay(&args),
        Command::Sim(args) => sim::sim(&args),
        Command::Keygen(args) => keys::keygen(&args),
        Command::Listen(args) => pipe::listen(&args),
        Command::Connect(args) => pipe::connect(&args),
        Command::Chat(args) => talk::chat(&args),
        Command::Lookup(args) => ask::lookup(&args),
        Command::Announce(args) => ask::announce(&args),
        Command::Unannounce(args) => ask::unannounce(&args),
        Command::FindPeer(args) => ask::find_peer(&args),
        Command::Ping(args) => ask::ping(&args),
        Command::Put(args) => ask::put(&args),
        Command::Get(args) => ask::get(&args),
        Command::Nat(args) => ask::nat(&args),
        Command::Swarm(args) => talk::swarm(&args),
        Command::Auction(args) => auction::auction(args),
        Command::Registry(registry) => match registry {
            Registry::Server(server) => run::server::<Names>(&server, "./registry-server"),
            Registry::Client(client) => run::client::<Names>(&client, NAMES),
            Registry::Register(args) => run::once::<Names>(&args.one, NAMES, Prompted::Register(args.name)),
            Registry::Lookup(args) => run::once::<Names>(&args.one, NAMES, Prompted::Lookup(args.name)),
            Registry::Delete(args) => run::once::<Names>(&args.one, NAMES, Prompted::Delete(args.name)),
            Registry::List(one) => run::once::<Names>(&one, NAMES, Prompted::List),
        },
    }
}
