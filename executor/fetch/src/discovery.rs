//! App Container discovery: from an image's name to the URLs of its archive, its signature and its maker's keys (appc
//! discovery.md).
//!
//! The name is asked for as `https://NAME?ac-discovery=1`, then each of its parents down to the host. `<meta>` elements
//! of the first page that has fitting ones hold templates of URLs. Endpoints and keys are looked for independently.
//!
//! Departures from the Go code: a prefix fits at a slash only; a host that cannot be reached fails once and not at every
//! level of the name; a page is asked for once.

mod page;
mod template;
mod walk;

use appc::{AcIdentifier, ImageString};

use crate::authorize::HostCredentials;
use crate::http::{Client, HttpError, Reach};

pub use page::MAX_PAGE;

/// Where an image may be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The URL of the archive.
    pub aci: String,
    /// The URL of its signature.
    pub asc: String,
    /// How far inside the network the page was that named them; see [`Request::discovered`](crate::http::Request).
    pub reach: Reach,
}

/// Where a key may be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyLocation {
    /// The URL.
    pub url: String,
    /// How far inside the network the page was that named it.
    pub reach: Reach,
}

/// A page that did not help.
#[derive(Debug)]
pub struct Attempt {
    /// The name that was asked for, or a parent of it.
    pub prefix: String,
    /// Why not.
    pub error: AttemptError,
}

/// Why a page did not help.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttemptError {
    /// The server answers something else than success.
    #[error("expected a 200 OK got {0}")]
    Status(u16),
    /// There is no answer.
    #[error("{0}")]
    Http(String),
    /// The page says nothing about this name, or nothing that its labels complete to a URL.
    #[error("no fitting meta tags")]
    NoTags,
}

/// What was found, and which pages did not have it.
#[derive(Debug)]
pub struct Found<T> {
    /// What was found; not empty.
    pub found: Vec<T>,
    /// The pages before.
    pub attempts: Vec<Attempt>,
}

/// Nothing was found.
#[derive(Debug)]
pub struct DiscoveryError {
    /// All pages that were asked for.
    pub attempts: Vec<Attempt>,
}

impl std::fmt::Display for DiscoveryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("discovery failed")?;
        // What a user can do something about counts most, then what the name itself gave.
        let denied = self.attempts.iter().find(|attempt| matches!(attempt.error, AttemptError::Status(401)));
        let telling = denied.or_else(|| self.attempts.iter().find(|it| matches!(it.error, AttemptError::Http(_))));
        match telling.or(self.attempts.first()) {
            Some(Attempt { error: error @ AttemptError::Http(_), .. }) => write!(f, ": {error}"),
            Some(Attempt { prefix, error }) => write!(f, ": {prefix}: {error}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for DiscoveryError {}

impl DiscoveryError {
    /// Whether a server wants to know who asks.
    pub fn needs_credentials(&self) -> bool {
        self.attempts.iter().any(|attempt| matches!(attempt.error, AttemptError::Status(401)))
    }
}

/// Discovery with one client. Pages are kept for as long as it lives.
#[derive(Debug)]
pub struct Discovery<'a> {
    client: &'a Client,
    credentials: &'a HostCredentials,
    port: Option<u16>,
    pages: walk::Pages,
}

impl<'a> Discovery<'a> {
    /// Discovery as the client's settings permit: without HTTPS if they permit plain HTTP.
    pub fn new(client: &'a Client, credentials: &'a HostCredentials) -> Self {
        Self { client, credentials, port: None, pages: walk::Pages::default() }
    }

    /// Asks hosts at this port.
    #[must_use]
    pub fn port(self, port: Option<u16>) -> Self {
        Self { port, ..self }
    }

    /// Where the image may be had, in the order of the page. Its version is `latest` if it names none; operating system
    /// and architecture are not made up.
    ///
    /// # Errors
    /// [`DiscoveryError`].
    pub fn endpoints(&self, image: &ImageString) -> Result<Found<Endpoint>, DiscoveryError> {
        let variables = template::Variables::new(image);
        self.walk(&image.name, |page| {
            let templates = page.discovery.iter().filter(|tag| tag.covers(&image.name));
            templates
                .filter_map(|tag| variables.render(&tag.uri))
                .map(|(aci, asc)| Endpoint { aci, asc, reach: page.reach })
                .collect()
        })
    }

    /// Where the keys are that sign images below `prefix`, in the order of the page.
    ///
    /// # Errors
    /// [`DiscoveryError`].
    pub fn public_keys(&self, prefix: &AcIdentifier) -> Result<Found<KeyLocation>, DiscoveryError> {
        self.walk(prefix, |page| {
            let tags = page.public_keys.iter().filter(|tag| tag.covers(prefix));
            tags.map(|tag| KeyLocation { url: tag.uri.clone(), reach: page.reach }).collect()
        })
    }
}

impl AttemptError {
    fn of_http(error: &HttpError) -> Self {
        Self::Http(error.to_string())
    }
}
