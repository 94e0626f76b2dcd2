//! The scheme `ip`: an address, or the network that its first bits name (Apache `IPAuthenticationProvider`).

use std::net::{IpAddr, Ipv6Addr};

/// Whether `subject` is an address or address/bits.
pub(super) fn is_valid(subject: &str) -> bool {
    parse(subject).is_some()
}

/// Whether `address` is in the network `subject`, and of its family.
pub(super) fn matches(subject: &str, address: &str) -> bool {
    let (Some((network, bits)), Some(address)) = (parse(subject), address_of(address)) else {
        return false;
    };
    match (network, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            (a.to_bits() ^ b.to_bits()).checked_shr(32 - bits).unwrap_or(0) == 0
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            (a.to_bits() ^ b.to_bits()).checked_shr(128 - bits).unwrap_or(0) == 0
        }
        _ => false,
    }
}

fn parse(subject: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = match subject.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (subject, None),
    };
    let address = address_of(address)?;
    let max = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        None => max,
        Some(bits) => bits.parse().ok().filter(|bits| *bits <= max)?,
    };
    Some((address, bits))
}

/// IPv6 in groups of hex digits only: a dotted tail and a zone are not accepted, as in Apache.
fn address_of(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        let v6 = text.parse::<Ipv6Addr>().ok().filter(|_| !text.contains('.'))?;
        return Some(IpAddr::V6(v6));
    }
    text.parse().ok().map(IpAddr::V4)
}
