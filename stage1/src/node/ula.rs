//! IPv6 addresses of pods on a network: unique local ones (RFC 4193), each of them told by the pod's IPv4 address.
//!
//! So an IPv6 address needs no lease of its own, and whoever knows a pod's port knows both.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Length of a network's prefix in bits.
pub(super) const LENGTH: u8 = 64;

/// The address of the pod with this IPv4 address on the network of this name. The prefix is the name's: 40 bits for the
/// global ID, 16 for the subnet, which two names have in common once in 10^16. The last 32 bits are the IPv4 address.
pub(super) fn address(network: &str, pod: Ipv4Addr) -> Ipv6Addr {
    // FNV-1a with 64 bits: what matters is that it never changes.
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = network.bytes().fold(0xcbf2_9ce4_8422_2325, mix);
    let prefix = (0xfd << 56) | (hash >> 8);
    Ipv6Addr::from_bits((u128::from(prefix) << 64) | u128::from(pod.to_bits()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_that_of_the_network_and_of_the_pod() {
        let one = address("backend", Ipv4Addr::new(10, 1, 2, 3));
        assert_eq!(one.segments()[0] >> 8, 0xfd);
        assert_eq!(one.segments()[4..], [0, 0, 0x0a01, 0x0203]);
        assert_eq!(one.segments()[..4], address("backend", Ipv4Addr::new(10, 1, 2, 4)).segments()[..4]);
        assert_ne!(one.segments()[..4], address("frontend", Ipv4Addr::new(10, 1, 2, 3)).segments()[..4]);
    }
}
