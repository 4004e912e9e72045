//! Web addresses, as far as annotations need them: http or https and nothing that no address can hold.

use std::fmt;
use std::str::FromStr;

use crate::json::quote::Quoted;

/// A text that is no web address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// Not a URL at all.
    #[error("bad URL: {}: {reason}", Quoted(.text))]
    Syntax {
        /// The refused text.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A URL of another scheme, or of none.
    #[error("bad URL scheme, must be http/https")]
    Scheme {
        /// The refused text.
        text: String,
    },
}

/// An http or https address, kept as it was written. It need not name a host: the Go code takes `http:` too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url(String);

impl Url {
    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let syntax = |reason| UrlError::Syntax { text: text.chars().take(200).collect(), reason };
        if text.chars().any(|c| c.is_ascii_control()) {
            return Err(syntax("invalid control character in URL"));
        }
        if text.starts_with(':') {
            return Err(syntax("missing protocol scheme"));
        }
        let (scheme, rest) = split_scheme(text).ok_or_else(|| UrlError::Scheme { text: text.to_owned() })?;
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return Err(UrlError::Scheme { text: text.to_owned() });
        }
        let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (rest, _query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = match rest.strip_prefix("//") {
            Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
            None => ("", rest),
        };
        if !escapes_are_whole(path) || !escapes_are_whole(authority) || !escapes_are_whole(fragment) {
            return Err(syntax("invalid URL escape"));
        }
        if authority.contains([' ', '<', '>', '"', '\\', '^', '`', '{', '|', '}']) {
            return Err(syntax("invalid character in host name"));
        }
        if !port_is_numeric(authority) {
            return Err(syntax("invalid port after host"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The scheme and what follows its colon; none if the text has no scheme.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let valid = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    valid.then_some((scheme, rest))
}

/// Whether every `%` is followed by two hexadecimal digits.
fn escapes_are_whole(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| rest.len() >= 2 && rest.bytes().take(2).all(|b| b.is_ascii_hexdigit()))
}

fn port_is_numeric(authority: &str) -> bool {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let after_brackets = host.rsplit_once(']').map_or(host, |(_, rest)| rest);
    match after_brackets.rsplit_once(':') {
        Some((_, port)) => port.bytes().all(|b| b.is_ascii_digit()),
        None => true,
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
