//! May this address be called? Only addresses that everybody on the Internet reaches, unless the configuration names
//! the network.
//!
//! Judges the address that will be connected to, never the text of a host: `0x7f.1`, `2130706433`, `localhost.` and a
//! name that resolves inward all arrive here as 127.0.0.1.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4 networks that are not of the public Internet. // IANA IPv4 special-purpose registry, RFC 6890
const INWARD_V4: [(Ipv4Net, &str); 15] = [
    (net4([0, 0, 0, 0], 8), "unspecified"),
    (net4([10, 0, 0, 0], 8), "private"),
    (net4([100, 64, 0, 0], 10), "shared (carrier NAT)"),
    (net4([127, 0, 0, 0], 8), "loopback"),
    (net4([169, 254, 0, 0], 16), "link-local"),
    (net4([172, 16, 0, 0], 12), "private"),
    (net4([192, 0, 0, 0], 24), "reserved"),
    (net4([192, 0, 2, 0], 24), "documentation"),
    (net4([192, 88, 99, 0], 24), "6to4 relay"),
    (net4([192, 168, 0, 0], 16), "private"),
    (net4([198, 18, 0, 0], 15), "benchmarking"),
    (net4([198, 51, 100, 0], 24), "documentation"),
    (net4([203, 0, 113, 0], 24), "documentation"),
    (net4([224, 0, 0, 0], 4), "multicast"),
    (net4([240, 0, 0, 0], 4), "reserved or broadcast"),
];

/// Exceptions inside the global IPv6 unicast range 2000::/3; all outside of it is inward.
/// // IANA IPv6 special-purpose registry
const INWARD_V6: [(Ipv6Net, &str); 4] = [
    // Teredo, ORCHID, benchmarking: nothing in here is a server of the Internet.
    (net6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), "protocol assignments"),
    (net6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), "documentation"),
    // 6to4 carries any IPv4 address inside.
    (net6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), "6to4"),
    (net6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), "documentation"),
];

const GLOBAL_V6: Ipv6Net = net6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

const fn net4(address: [u8; 4], prefix: u8) -> Ipv4Net {
    let [a, b, c, d] = address;
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn net6(address: [u16; 8], prefix: u8) -> Ipv6Net {
    let [a, b, c, d, e, f, g, h] = address;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix)
}

/// # Errors
/// What kind of address it is, when it may not be called.
pub fn check(address: IpAddr, allowed: &[IpNet]) -> Result<(), &'static str> {
    // An IPv4-mapped address is connected to as IPv4 by the kernel: it is that address. // RFC 4291 §2.5.5.2
    let address = address.to_canonical();
    if allowed.iter().any(|net| net.contains(&address)) {
        return Ok(());
    }
    match address {
        IpAddr::V4(address) => check_v4(address),
        IpAddr::V6(address) => check_v6(address),
    }
}

fn check_v4(address: Ipv4Addr) -> Result<(), &'static str> {
    INWARD_V4.iter().find(|(net, _)| net.contains(&address)).map_or(Ok(()), |(_, kind)| Err(*kind))
}

/// Loopback, link-local, unique local, multicast, NAT64 (64:ff9b::/96, which leads to any IPv4 address: RFC 6052) and
/// IPv4-compatible addresses are all outside the global range.
fn check_v6(address: Ipv6Addr) -> Result<(), &'static str> {
    if !GLOBAL_V6.contains(&address) {
        return Err("not a global address");
    }
    INWARD_V6.iter().find(|(net, _)| net.contains(&address)).map_or(Ok(()), |(_, kind)| Err(*kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a12_inward_addresses_are_refused() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "4000::1",
        ] {
            assert!(check(text.parse().unwrap(), &[]).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_of_the_internet_pass() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "2606:4700:4700::1111",
            "2a00:1450::1",
            "::ffff:8.8.8.8",
        ] {
            assert_eq!(check(text.parse().unwrap(), &[]), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_is_allowed_is_that_network_and_no_more() {
        let allowed = ["10.1.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()];
        for (text, passes) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("fd00::1", true),
            ("10.2.0.1", false),
            ("127.0.0.1", false),
            ("::1", false),
        ] {
            assert_eq!(check(text.parse().unwrap(), &allowed).is_ok(), passes, "{text}");
        }
    }
}
