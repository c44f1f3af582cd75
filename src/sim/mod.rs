//! sim

pub mod ramdisk;
