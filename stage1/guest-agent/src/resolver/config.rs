//! The format of `/etc/resolv.conf`, resolv.conf(5).

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::address::numeric;

/// As many as the C library uses; a name costs at most this times [`Config::attempts`] times [`Config::timeout`].
const MAX_SERVERS: usize = 3;
const MAX_SEARCH: usize = 8;
const PORT: u16 = 53;

/// Whom to ask, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// At least one.
    pub servers: Vec<SocketAddr>,
    /// Appended to names with fewer dots than `ndots` before the name itself is tried, to others after it.
    pub search: Vec<String>,
    /// See `search`.
    pub ndots: usize,
    /// For one answer of one server.
    pub timeout: Duration,
    /// Rounds over all servers.
    pub attempts: u32,
}

impl Config {
    /// Reads the file's text. What is wrong in it is passed over, as by the C library.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut config =
            Self { servers: Vec::new(), search: Vec::new(), ndots: 1, timeout: Duration::from_secs(5), attempts: 2 };
        for line in text.lines().filter(|it| !it.starts_with(['#', ';'])) {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") if config.servers.len() < MAX_SERVERS => {
                    config.servers.extend(words.next().and_then(|it| numeric(it, PORT)));
                }
                Some("search" | "domain") => {
                    let names = words.map(|it| it.trim_end_matches('.')).filter(|it| !it.is_empty());
                    config.search = names.take(MAX_SEARCH).map(str::to_owned).collect();
                }
                Some("options") => words.for_each(|it| config.option(it)),
                _ => {}
            }
        }
        if config.servers.is_empty() {
            config.servers.push((Ipv4Addr::LOCALHOST, PORT).into());
        }
        config
    }

    fn option(&mut self, option: &str) {
        let Some((name, value)) = option.split_once(':') else { return };
        let Ok(value) = value.parse::<u32>() else { return };
        // The bounds are resolv.conf(5)'s.
        match name {
            "ndots" => self.ndots = value.min(15) as usize,
            "timeout" => self.timeout = Duration::from_secs(value.clamp(1, 30).into()),
            "attempts" => self.attempts = value.clamp(1, 5),
            _ => {}
        }
    }

    /// The full names to ask for, in order.
    pub(super) fn names(&self, name: &str) -> Vec<String> {
        if let Some(full) = name.strip_suffix('.') {
            return vec![full.to_owned()];
        }
        let searched = self.search.iter().map(|it| format!("{name}.{it}"));
        let itself = std::iter::once(name.to_owned());
        let dots = name.bytes().filter(|it| *it == b'.').count();
        if dots >= self.ndots { itself.chain(searched).collect() } else { searched.chain(itself).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read() {
        let config = Config::parse(
            "# c\nnameserver 10.0.0.1\nnameserver fe80::1%1\nnameserver bad\nnameserver 10.0.0.3\nnameserver 10.0.0.4\n\
             domain old\nsearch a.example. b.example\noptions ndots:2 timeout:99 attempts:0 rotate edns0\n",
        );
        let servers: Vec<_> = config.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.0.0.1:53", "[fe80::1%1]:53", "10.0.0.3:53"]);
        assert_eq!(config.names("db.x"), ["db.x.a.example", "db.x.b.example", "db.x"]);
        assert_eq!(config.names("x.y.z"), ["x.y.z", "x.y.z.a.example", "x.y.z.b.example"]);
        assert_eq!(config.names("db."), ["db"]);
        assert_eq!((config.timeout, config.attempts), (Duration::from_secs(30), 1));
    }

    #[test]
    fn without_a_file_the_local_server_is_asked() {
        assert_eq!(Config::parse("").servers, [SocketAddr::from((Ipv4Addr::LOCALHOST, 53))]);
    }
}
