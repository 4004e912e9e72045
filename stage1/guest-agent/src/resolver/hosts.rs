//! The format of `/etc/hosts`, hosts(5).

use std::net::IpAddr;

/// All addresses of a name, in the file's order.
pub(super) fn addresses(text: &str, name: &str) -> Vec<IpAddr> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let of_line = |line: &str| {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        let address: IpAddr = words.next()?.parse().ok()?;
        words.any(|it| it.eq_ignore_ascii_case(name)).then_some(address)
    };
    text.lines().filter_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_aliases_are_found() {
        let text = "127.0.0.1 localhost\n::1\tlocalhost ip6-localhost # comment\n#10.0.0.9 db\n\
                    10.0.0.1 db.example.com DB\nnonsense db\n10.0.0.2 db";
        let found = |name| addresses(text, name).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(found("localhost"), ["127.0.0.1", "::1"]);
        assert_eq!(found("db"), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(found("DB.example.com."), ["10.0.0.1"]);
        assert!(found("comment").is_empty() && found("10.0.0.1").is_empty());
    }
}
