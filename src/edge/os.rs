//! Randomness, network interfaces and the wall clock, from the operating system.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::base::Entropy;

/// The operating system's random bytes, drawn in portions.
#[derive(Default)]
pub struct OsEntropy {
    portion: Vec<u8>,
}

impl Entropy for OsEntropy {
    fn fill(&mut self, into: &mut [u8]) {
        if into.len() > 64 {
            getrandom::fill(into).expect("the operating system has random bytes");
            return;
        }
        if self.portion.len() < into.len() {
            self.portion.resize(1024, 0);
            getrandom::fill(&mut self.portion).expect("the operating system has random bytes");
        }
        let rest = self.portion.len() - into.len();
        into.copy_from_slice(&self.portion[rest..]);
        self.portion[rest..].fill(0);
        self.portion.truncate(rest);
    }
}

/// Half of what the allocator keeps from here on at the top of its heap, in bytes.
const KEPT: usize = 1 << 20;

/// Has the allocator keep memory that is free for a moment. glibc gives the top of the heap back to the kernel once
/// 128 KiB of it are free, and a transfer then pays for the same pages again at each message. That a larger block was
/// freed raises this bound to twice its size (mallopt(3): M_MMAP_THRESHOLD is dynamic); its pages are never touched, so
/// they are never there. With other allocators this does nothing.
pub fn keep_freed_memory() {
    drop(core::hint::black_box(Vec::<u8>::with_capacity(KEPT)));
}

/// The IPv4 addresses of this host's interfaces, loopback last.
pub fn interfaces() -> Vec<[u8; 4]> {
    let Ok(found) = if_addrs::get_if_addrs() else { return vec![[127, 0, 0, 1]] };
    let mut hosts: Vec<[u8; 4]> = found
        .into_iter()
        .filter_map(|interface| match interface.ip() {
            std::net::IpAddr::V4(ip) => Some(ip.octets()),
            std::net::IpAddr::V6(_) => None,
        })
        .collect();
    hosts.sort_by_key(|ip| ip[0] == 127);
    hosts.dedup();
    hosts
}

/// Seconds since 1970 with six digits of their fraction, as captures of a network have them.
pub fn unix_time() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:06}", since.as_secs(), since.subsec_micros())
}

/// Milliseconds since 1970.
pub fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Bytes of memory that this process has in use, where the system tells (Linux).
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}
