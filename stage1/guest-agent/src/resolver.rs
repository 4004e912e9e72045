//! Host names without the C library: numeric addresses, `/etc/hosts`, and DNS as `/etc/resolv.conf` says.
//!
//! A static program cannot load an image's NSS modules, and a blocking resolver would hold up every connection. A
//! [`Lookup`] is therefore something to poll. Sizes, counts and times are bounded whatever the files and servers say.

mod address;
mod config;
mod hosts;
mod lookup;
mod message;

pub use address::numeric;
pub use config::Config;
pub use lookup::{Lookup, LookupError};

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Both files are a few lines; what is longer is not read to its end.
const FILE_LIMIT: u64 = 1 << 20;

/// What could be said about a host name without asking anybody.
#[derive(Debug)]
pub enum Found {
    /// Its addresses, at least one.
    Addresses(Vec<IpAddr>),
    /// DNS must be asked.
    Ask(Lookup),
}

/// Begins to resolve a name that is no number.
#[must_use]
pub fn resolve(name: &str) -> Found {
    let addresses = hosts::addresses(&file("/etc/hosts"), name);
    if !addresses.is_empty() {
        return Found::Addresses(addresses);
    }
    // RFC 6761, section 6.3: never a question for DNS.
    let plain = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    if plain == "localhost" || plain.ends_with(".localhost") {
        return Found::Addresses(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    Found::Ask(Lookup::new(name, Config::parse(&file("/etc/resolv.conf"))))
}

/// A missing file is an empty one.
fn file(path: &str) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = std::fs::File::open(path) {
        let _ = file.take(FILE_LIMIT).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
