//! Ranges of IPv4 addresses.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A range of private addresses, as `10.1.2.0/24`. The first address is the network's own, the second is left free, the
/// last is for broadcasts: a pod has one of those between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    network: Ipv4Addr,
    length: u8,
}

/// Why a text is no range for pods.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a range of private IPv4 addresses, as 10.1.2.0/24, whose prefix is 16 to 29 bits long")]
pub struct NotASubnet(String);

/// Lengths of prefixes: of more pods than fit the shortest nobody wants to keep track, and the longest has five.
const LENGTHS: std::ops::RangeInclusive<u8> = 16..=29;

impl Subnet {
    /// The range of a network for which none was chosen. The same name always gives the same one of 16,384 between
    /// 10.128.0.0 and 10.191.255.255, so that it rarely is that of another network.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        // FNV-1a: what matters is that it never changes.
        let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        let [high, low, ..] = (hash ^ (hash >> 16)).to_le_bytes();
        Self { network: Ipv4Addr::new(10, 128 + (high & 63), low, 0), length: 24 }
    }

    /// Length of the prefix in bits.
    #[must_use]
    pub fn length(self) -> u8 {
        self.length
    }

    /// The addresses that pods can have, lowest first.
    pub fn addresses(self) -> impl Iterator<Item = Ipv4Addr> {
        let first = self.network.to_bits();
        (first + 2..first | self.host_bits()).map(Ipv4Addr::from_bits)
    }

    /// Whether a pod can have this address.
    #[must_use]
    pub fn has(self, address: Ipv4Addr) -> bool {
        let (first, bits) = (self.network.to_bits(), address.to_bits());
        bits >= first + 2 && bits < first | self.host_bits()
    }

    /// Whether an address can be in both.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        let mask = !(self.host_bits() | other.host_bits());
        self.network.to_bits() & mask == other.network.to_bits() & mask
    }

    fn host_bits(self) -> u32 {
        u32::MAX >> self.length
    }
}

impl FromStr for Subnet {
    type Err = NotASubnet;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (network, length) = text.split_once('/')?;
            let (network, length): (Ipv4Addr, u8) = (network.parse().ok()?, length.parse().ok()?);
            let subnet = Self { network, length };
            let is_its_first = LENGTHS.contains(&length) && network.to_bits() & subnet.host_bits() == 0;
            (is_its_first && network.is_private()).then_some(subnet)
        };
        parse().ok_or_else(|| NotASubnet(text.to_owned()))
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.length)
    }
}

impl TryFrom<String> for Subnet {
    type Error = NotASubnet;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_private_and_of_a_sensible_size() {
        let subnet: Subnet = "10.1.2.0/29".parse().unwrap();
        let all: Vec<String> = subnet.addresses().map(|ip| ip.to_string()).collect();
        assert_eq!(all, ["10.1.2.2", "10.1.2.3", "10.1.2.4", "10.1.2.5", "10.1.2.6"]);
        for (address, has) in [("10.1.2.1", false), ("10.1.2.2", true), ("10.1.2.6", true), ("10.1.2.7", false)] {
            assert_eq!(subnet.has(address.parse().unwrap()), has, "{address}");
        }
        assert_eq!("172.16.0.0/16".parse::<Subnet>().unwrap().addresses().count(), 65_533);
        for wrong in [
            "",
            "10.1.2.0",
            "10.1.2.1/24",
            "10.1.2.0/30",
            "10.0.0.0/8",
            "8.8.8.0/24",
            "169.254.0.0/16",
            "fd00::/64",
            "10.1.2.0/33",
        ] {
            assert!(wrong.parse::<Subnet>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn ranges_overlap() {
        let overlap = |one: &str, other: &str| one.parse::<Subnet>().unwrap().overlaps(other.parse().unwrap());
        assert!(overlap("10.1.2.0/24", "10.1.2.0/24") && overlap("10.1.0.0/16", "10.1.2.0/24"));
        assert!(overlap("10.1.2.0/24", "10.1.0.0/16") && !overlap("10.1.2.0/24", "10.1.3.0/24"));
    }

    #[test]
    fn a_name_has_its_range() {
        let subnet = Subnet::of_name("backend");
        assert_eq!(subnet, Subnet::of_name("backend"));
        assert_ne!(subnet, Subnet::of_name("frontend"));
        assert_eq!(subnet.to_string().parse(), Ok(subnet));
        assert!(subnet.network.octets()[0] == 10 && (128..192).contains(&subnet.network.octets()[1]));
    }
}
