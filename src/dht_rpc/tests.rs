//! Machines of dht_rpc against each other, in virtual time.

mod bootstrap;
mod messages;
mod queries;
mod upkeep;
mod world;

type TestDisk = crate::sim::ramdisk::RamDisk;
