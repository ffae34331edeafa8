//! Which addresses are one party? What is counted per address is counted per party.

use std::{
    io::Write as _,
    net::{IpAddr, Ipv6Addr},
};

/// Appends what `Display` writes, faster: every record and every request to an API names an address.
pub fn push(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(address) => {
            for (index, part) in address.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                out.extend_from_slice(itoa::Buffer::new().format(part).as_bytes());
            }
        }
        // Writing into memory does not fail.
        IpAddr::V6(address) => drop(write!(out, "{address}")),
    }
}

/// An IPv6 subscriber owns a whole /64 (RFC 6177 §2): all its addresses are one party. IPv4 in IPv6 is IPv4.
pub fn party(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}
