//! Which addresses are worth dialling. Values only. Follows hyperdht.70 to hyperdht.72.

use crate::base::Addr;

/// Networks that never leave a site: private use, carrier-grade NAT, loopback, link local.
pub fn is_private(ip: [u8; 4]) -> bool {
    match ip {
        [10 | 127, ..] | [169, 254, ..] | [192, 168, ..] => true,
        [100, b, ..] => (64..=127).contains(&b),
        [172, b, ..] => (16..=31).contains(&b),
        _ => false,
    }
}

/// Networks that no host has: "this", protocol assignments, documentation, benchmarks, multicast, future use.
pub fn is_reserved(ip: [u8; 4]) -> bool {
    matches!(
        ip,
        [0 | 224..=255, ..] | [192, 0, 0 | 2, _] | [198, 18 | 19, ..] | [198, 51, 100, _] | [203, 0, 113, _]
    )
}

/// Not an address of a host on the open internet. hyperdht.70
pub fn is_bogon(ip: [u8; 4]) -> bool {
    is_private(ip) || is_reserved(ip)
}

/// The addresses under which this node can be reached from its own network: the server socket's own address if it is
/// bound to one, else each interface with the server socket's port. hyperdht.71
pub fn local_addresses(server: Option<Addr>, interfaces: &[[u8; 4]]) -> Vec<Addr> {
    let Some(server) = server.filter(|server| server.port != 0) else { return Vec::new() };
    if server.ip != [0, 0, 0, 0] {
        return vec![server];
    }
    let mut found: Vec<Addr> =
        interfaces.iter().filter(|ip| ip[0] != 127).map(|&ip| Addr::new(ip, server.port)).collect();
    if found.is_empty() {
        found.push(Addr::loopback(server.port));
    }
    found
}

/// The one of `theirs` that shares the longest prefix of whole bytes (3, 2, 1) with one of `mine`. hyperdht.72
pub fn match_address(mine: &[Addr], theirs: &[Addr]) -> Option<Addr> {
    let mut best: (usize, Option<Addr>) = (0, None);
    for a in mine {
        for b in theirs {
            let same = a.ip.iter().zip(&b.ip).take(3).take_while(|(x, y)| x == y).count();
            if same == 3 {
                return Some(*b);
            }
            // A longer match replaces a shorter one; among equals the first one stays.
            if same > best.0 {
                best = (same, Some(*b));
            }
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hyperdht::tests::vectors;

    fn ip(text: &str) -> Option<[u8; 4]> {
        text.parse::<std::net::Ipv4Addr>().ok().map(|ip| ip.octets())
    }

    /// pitfalls 8.3: carrier-grade NAT and documentation ranges are bogons.
    // proves hyperdht.70
    #[test]
    fn bogons_are_as_upstream_says() {
        let mut seen = 0;
        for vector in vectors("bogon") {
            let Some(ip) = ip(vector["inputs"]["ip"].as_str().expect("text")) else { continue };
            let expected = &vector["expected"];
            assert_eq!(is_bogon(ip), expected["isBogon"], "{ip:?}");
            assert_eq!(is_private(ip), expected["isPrivate"], "{ip:?}");
            assert_eq!(is_reserved(ip), expected["isReserved"], "{ip:?}");
            seen += 1;
        }
        assert!(seen > 15);
    }

    // proves hyperdht.72
    #[test]
    fn the_nearest_address_is_matched() {
        for vector in vectors("match-address") {
            let list = |name: &str, port| -> Vec<Addr> {
                let hosts = vector["inputs"][name].as_array().expect("a list");
                hosts.iter().map(|h| Addr::new(ip(h.as_str().expect("text")).expect("ip"), port)).collect()
            };
            let expected = &vector["expected"]["match"]["host"];
            let found = match_address(&list("mine", 1), &list("theirs", 2));
            assert_eq!(found.map(|addr| addr.host().to_string()).as_deref(), expected.as_str());
        }
    }

    /// pitfalls 8.5: a loopback-only host still yields one usable address.
    // proves hyperdht.71
    #[test]
    fn a_host_without_interfaces_has_one_address() {
        let any = Addr::new([0; 4], 7);
        assert_eq!(local_addresses(Some(any), &[]), [Addr::loopback(7)]);
        assert_eq!(local_addresses(Some(any), &[[127, 0, 0, 1]]), [Addr::loopback(7)]);
        assert_eq!(local_addresses(Some(Addr::loopback(9)), &[[10, 0, 0, 1]]), [Addr::loopback(9)]);
        let lan = Addr::new([10, 0, 0, 1], 7);
        assert_eq!(local_addresses(Some(any), &[[127, 0, 0, 1], [10, 0, 0, 1]]), [lan]);
        assert_eq!(local_addresses(None, &[[10, 0, 0, 1]]), []);
    }
}
