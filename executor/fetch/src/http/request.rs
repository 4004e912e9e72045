//! What is asked of a server.

use std::fmt;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, Url};

use super::reach::Reach;

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) authorization: Option<Authorization>,
    pub(super) body: Body,
    pub(super) reach: Reach,
    pub(super) tries: Option<u32>,
}

impl Request {
    /// A request for a URL that the user gave, or that follows from it.
    pub fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: Vec::new(),
            authorization: None,
            body: Body::Empty,
            reach: Reach::Special,
            tries: None,
        }
    }

    /// Asks for what is at a URL.
    pub fn get(url: Url) -> Self {
        Self::new(Method::GET, url)
    }

    /// Asks whether there is something at a URL, and what.
    pub fn head(url: Url) -> Self {
        Self::new(Method::HEAD, url)
    }

    /// What is done there.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Where it goes.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Adds a header. A value with bytes that no header may hold is left out, as none of ours has them.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    /// Sends credentials along, to the origin of the URL only.
    #[must_use]
    pub fn authorization(mut self, authorization: Option<Authorization>) -> Self {
        self.authorization = authorization;
        self
    }

    /// Sends a body along.
    #[must_use]
    pub fn body(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    /// Sends it so many times at most, where another time may help and the client's settings permit it.
    #[must_use]
    pub fn at_most(mut self, tries: u32) -> Self {
        self.tries = Some(tries);
        self
    }

    /// Marks the URL as one that a server gave, which itself was reached at `reach` ([`Response::reach`]). Addresses
    /// further inside are refused.
    ///
    /// [`Response::reach`]: super::Response::reach
    #[must_use]
    pub fn discovered(mut self, reach: Reach) -> Self {
        self.reach = reach;
        self
    }
}

/// What is sent with a request. Every kind can be sent again from the start.
#[derive(Clone, Debug, Default)]
pub enum Body {
    /// Nothing.
    #[default]
    Empty,
    /// These bytes.
    Bytes(Bytes),
    /// A part of a file.
    File {
        /// The file, which is read by position.
        file: Arc<File>,
        /// Where the part begins, in bytes.
        start: u64,
        /// How many bytes are sent. A file that ends earlier makes the request fail.
        length: u64,
        /// Who wants to know how many were.
        sent: Option<Sent>,
    },
}

/// How many bytes of a body have been handed to the connection, told while it is under way.
#[derive(Clone, Debug, Default)]
pub struct Sent(Arc<AtomicU64>);

impl Sent {
    /// The number of bytes. It begins anew when the request is sent again.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, bytes: u64) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}

/// Credentials for one origin. It shows nothing of them.
#[derive(Clone, PartialEq, Eq)]
pub struct Authorization(HeaderValue);

impl Authorization {
    /// User and password (RFC 7617).
    pub fn basic(user: &str, password: &str) -> Self {
        let value = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        Self::sensitive(HeaderValue::from_str(&value).expect("base64 has only letters that headers may hold"))
    }

    /// A token (RFC 6750); `None` if it holds what no header can.
    pub fn bearer(token: &str) -> Option<Self> {
        HeaderValue::from_str(&format!("Bearer {token}")).ok().map(Self::sensitive)
    }

    /// A whole value of the `Authorization` header; `None` if it holds what no header can.
    pub fn raw(value: &str) -> Option<Self> {
        HeaderValue::from_str(value).ok().map(Self::sensitive)
    }

    fn sensitive(mut value: HeaderValue) -> Self {
        value.set_sensitive(true);
        Self(value)
    }

    pub(super) fn value(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorization(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_do_not_show() {
        let request = Request::get(Url::parse("https://a").unwrap());
        let request = request.authorization(Some(Authorization::basic("user", "canary")));
        assert!(!format!("{request:?}").contains("canary"));
        assert_eq!(Authorization::basic("Aladdin", "open sesame").value(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(Authorization::bearer("a\nb"), None);
    }
}
