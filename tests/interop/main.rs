//! seckel against the real npm packages, in both directions. Needs Node 20 and npm; see `support`.

#[path = "../process/seckel.rs"]
mod seckel;
mod support;

mod api;
mod asks;
mod auction;
mod audit;
mod chat;
mod cores;
mod corestore;
mod dht_rpc;
mod differential;
mod files;
mod hyperbee;
mod hyperbee_ahead;
mod hypercore;
mod hyperdht;
mod hyperswarm;
mod hyperswarm_rpc;
mod protomux;
mod protomux_rpc;
mod registry;
mod relay;
mod replication;
mod secret_stream;
mod udx;
mod values;
mod whole;
