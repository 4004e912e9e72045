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
        let Some((scheme, rest)) = split_scheme(text) else {
            let first_segment = text.split(['/', '?', '#']).next().unwrap_or_default();
            if first_segment.contains(':') {
                return Err(syntax("first path segment in URL cannot contain colon"));
            }
            return Err(UrlError::Scheme { text: text.to_owned() });
        };
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return Err(UrlError::Scheme { text: text.to_owned() });
        }
        // Without a slash there is nothing that has a form.
        if rest.starts_with('/') {
            check_parts(rest).map_err(syntax)?;
        }
        Ok(Self(text.to_owned()))
    }
}

/// Checks what follows the scheme; the error says what is wrong with it.
fn check_parts(rest: &str) -> Result<(), &'static str> {
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, _query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = match rest.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => ("", rest),
    };
    if ![authority, path, fragment].into_iter().all(escapes_are_whole) {
        Err("invalid URL escape")
    } else if authority.contains([' ', '<', '>', '"', '\\', '^', '`', '{', '|', '}']) {
        Err("invalid character in host name")
    } else {
        check_host(authority.rsplit_once('@').map_or(authority, |(_, host)| host))
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

fn check_host(host: &str) -> Result<(), &'static str> {
    let after_host = match host.strip_prefix('[') {
        Some(address) => address.split_once(']').ok_or("missing ']' in host")?.1,
        None => &host[host.rfind(':').unwrap_or(host.len())..],
    };
    match after_host.strip_prefix(':') {
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => Ok(()),
        None if after_host.is_empty() => Ok(()),
        _ => Err("invalid port after host"),
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
