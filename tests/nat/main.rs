//! seckel and npm's hyperdht behind every kind of NAT, on real sockets: labs of network namespaces (`lab/README.md`).
//! Needs root, iproute2, nftables and Node; where labs cannot be it says so and tests nothing.
//!
//! `cargo test --test nat` tries some telling pairs of boxes. `SECKEL_NAT=whole cargo test --test nat matrix` tries all
//! of them ten times, beside Node alone, and writes the table into the notes; it takes about half an hour.

#[path = "../interop/support.rs"]
#[allow(dead_code, reason = "programs on hosts of labs are started otherwise")]
mod support;

mod end;
mod lab;
mod matrix;
mod stories;

/// Whether all is wanted, as long as it takes.
fn whole() -> bool {
    std::env::var_os("SECKEL_NAT").is_some_and(|value| value == "whole")
}

/// Not a test: this binary is started as one end of connections on the hosts of labs.
#[test]
#[ignore = "the program at one end of a connection, which the tests start"]
fn an_end_of_connections() {
    if std::env::var_os(end::SIGN).is_some() {
        end::run();
    }
}
