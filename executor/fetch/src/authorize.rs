//! Who the user is, to hosts that are not registries: credentials by host, as `auth.d` has them.

mod aws;

use std::collections::BTreeMap;
use std::fmt;

use reqwest::Url;

use crate::http::{Authorization, Request};
use crate::registry::Secret;

pub use aws::AwsKey;

/// What is shown to a host.
#[derive(Clone, Debug)]
pub enum HostCredential {
    /// A user and a password.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A bearer token.
    Bearer(Secret),
    /// A key to sign each request with.
    Aws(AwsKey),
}

/// Credentials by `HOST` or `HOST:PORT`, as hosts stand in URLs.
#[derive(Clone, Default)]
pub struct HostCredentials(BTreeMap<String, HostCredential>);

impl fmt::Debug for HostCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl FromIterator<(String, HostCredential)> for HostCredentials {
    fn from_iter<I: IntoIterator<Item = (String, HostCredential)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

impl HostCredentials {
    /// The request with what the host of its URL is to be shown, if there is something.
    pub fn authorize(&self, request: Request) -> Request {
        match self.of(request.url()) {
            Some(HostCredential::Basic { user, password }) => {
                request.authorization(Some(Authorization::basic(user, password.expose())))
            }
            Some(HostCredential::Bearer(token)) => request.authorization(Authorization::bearer(token.expose())),
            Some(HostCredential::Aws(key)) => key.sign(request, jiff::Timestamp::now()),
            None => request,
        }
    }

    /// A port that is the scheme's own may be written or not.
    fn of(&self, url: &Url) -> Option<&HostCredential> {
        let host = url.host_str()?;
        let with_port = url.port_or_known_default().and_then(|port| self.0.get(&format!("{host}:{port}")));
        with_port.or_else(|| if url.port().is_none() { self.0.get(host) } else { None })
    }
}
