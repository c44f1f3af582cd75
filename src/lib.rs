//! The Holepunch peer-to-peer stack in one synchronous crate: HyperDHT, UDX, Noise secret streams, protomux, RPC,
//! Hypercore, Hyperbee, wire-compatible with the Node.js packages.
//!
//! ```text
//!               app/   registry, auction, …: a few lines over Net
//!                | commands               ^ Event
//!   +------------v------------------------|-----------------------+
//!   | node/   owns every machine, carries values between them     |
//!   |   hyperswarm    hyperdht    dht_rpc    udx                  |
//!   |   per connection:  secret_stream - protomux - protomux_rpc  |
//!   |   data:            corestore - hypercore - hyperbee         |
//!   +------------^------------------------|-----------------------+
//!          Input | datagram, bound, time  v Output: bind, send (ttl), close
//!   +----------------------------+     +--------------------------+
//!   | edge/  Host: mio, clock,   | or  | sim/  World: one seed,   |
//!   | files; one blocking call   |     | lines, boxes, torn disks |
//!   +----------------------------+     +--------------------------+
//! ```
//!
//! Outside `edge/` there is no socket, clock, file, thread or global: a module is a *machine* (state over time, the
//! five methods of [`base::Machine`]) or a *value* (pure functions, plain data). Protocol folders do not use each
//! other; they exchange values through `node/route.rs`. `tests/tidy.rs` holds this. `sim/` uses `app/`: its towns
//! run the registry's and the auction's own programs. `explain/` is beside the picture: it says what bytes mean,
//! for transcripts and for people, and stands on `base`, `wire` and `crypto` alone.
//!
//! The laws of machines, checked by `tests/laws`:
//! - L1 closed: the world enters through `cx` and arguments only. `now` is never stored as "now".
//! - L2 any order: inputs, time-outs and commands come in any order, undrained in between; nothing is lost.
//! - L3 finite: at one `now` both polls reach `None`.
//! - L4 no spin: after `handle_timeout` and a drain, the deadline is `None` or later than `now`. Early is harmless.
//! - L5 polls hand out; they do not decide. They may hold back (pacing) and mark "sent at `now`".
//! - L6 bounded: each queue has its bound in `base/limits.rs`; a full one refuses or drops, and counts.
//! - L7 deterministic: equal seed, inputs, times give equal outputs, byte for byte.
//! - L8 no bytes make it panic.
//!
//! Reading order: this page, `base/machine.rs`, `wire/mod.rs`; then one small protocol from end to end:
//! `vendor-protocol-notes/protomux.md`, `wire/protomux.rs`, `protomux/`; then `node/route.rs`, `edge/host.rs`.

#![forbid(unsafe_code)]

pub mod app;
pub mod base;
pub mod blind_relay;
pub mod corestore;
pub mod crypto;
pub mod dht_rpc;
pub mod edge;
pub mod explain;
pub mod hyperbee;
pub mod hypercore;
pub mod hyperdht;
pub mod hyperswarm;
pub mod node;
pub mod protomux;
pub mod protomux_rpc;
pub mod secret_stream;
pub mod sim;
pub mod udx;
pub mod wire;

pub use base::Error;
