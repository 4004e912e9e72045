//! How a URL is shown: without what may be secret.

use std::fmt;

use reqwest::Url;

use crate::quote::Quoted;

/// A URL for messages: user, password, query and fragment are left out. The query of a blob's URL is often a signature
/// that anybody could use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownUrl(String);

impl ShownUrl {
    /// What may be shown of `url`.
    pub fn new(url: &Url) -> Self {
        let mut plain = url.clone();
        // These fail for URLs that have no host, and those have no user either.
        let _ = plain.set_username("");
        let _ = plain.set_password(None);
        let query = if plain.query().is_some() { "?…" } else { "" };
        plain.set_query(None);
        plain.set_fragment(None);
        Self(Quoted::bare(plain.as_str()) + query)
    }
}

impl fmt::Display for ShownUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_left_out() {
        for (url, shown) in [
            ("https://u:p@example.com:8443/v2/x?sig=secret#f", "https://example.com:8443/v2/x?…"),
            ("https://example.com", "https://example.com/"),
            ("file:///etc/passwd", "file:///etc/passwd"),
            ("data:text/plain,x", "data:text/plain,x"),
        ] {
            assert_eq!(ShownUrl::new(&Url::parse(url).unwrap()).to_string(), shown);
        }
    }
}
