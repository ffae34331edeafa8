//! Which addresses are one party? What is counted per address is counted per party.

use std::net::{IpAddr, Ipv6Addr};

/// An IPv6 subscriber owns a whole /64 (RFC 6177 §2): all its addresses are one party. IPv4 in IPv6 is IPv4.
pub fn party(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}
