//! What a user or administrator may change about the client.

use std::net::IpAddr;
use std::path::PathBuf;

use reqwest::Url;
use std::time::Duration;

/// How the client connects, and how patient it is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether `http` URLs are permitted (`--insecure-options=http`).
    pub plain_http: bool,
    /// Whether they are where the server is on this machine, by its address or as `localhost`.
    pub plain_http_here: bool,
    /// Whether any certificate is accepted (`--insecure-options=tls`).
    pub any_certificate: bool,
    /// PEM files of certificate authorities to trust beside the host's own.
    pub authorities: Vec<PathBuf>,
    /// The longest that connecting may take, TLS included. Go's and rkt's value.
    pub connect_timeout: Duration,
    /// The longest wait for the head of an answer, and for the next piece of a body.
    pub silence: Duration,
    /// The slowest acceptable average rate of a body over one period of [`Settings::silence`], in bytes per second.
    pub slowest: u64,
    /// The longest that a document (not a layer or an ACI) may take.
    pub document_time: Duration,
    /// How often a request is tried in all.
    pub tries: u32,
    /// The pause before the second try; it grows fourfold with each.
    pub first_pause: Duration,
    /// The longest pause that a server may ask for with `Retry-After`; who asks for more is not waited for.
    pub longest_pause: Duration,
}

impl Settings {
    /// Whether a server may be asked over plain HTTP.
    pub(crate) fn permits_plain_http(&self, url: &Url) -> bool {
        let here = || {
            let name = url.host_str().unwrap_or_default();
            let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
            name == "localhost" || address.is_ok_and(|address| address.is_loopback())
        };
        self.plain_http || (self.plain_http_here && here())
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            plain_http: false,
            plain_http_here: false,
            any_certificate: false,
            authorities: Vec::new(),
            connect_timeout: Duration::from_secs(20),
            silence: Duration::from_secs(30),
            slowest: 1 << 10,
            document_time: Duration::from_secs(60),
            tries: 4,
            first_pause: Duration::from_millis(250),
            longest_pause: Duration::from_secs(30),
        }
    }
}
