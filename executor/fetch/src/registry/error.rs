//! What can go wrong between here and a registry.

use crate::digest::Digest;
use crate::http::{HttpError, ShownUrl};
use crate::oci::OciError;
use crate::quote::Quoted;

use super::secret::CredentialsError;

/// Why a registry gave nothing, or took nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// No answer, or one that says why not.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The registry has no such image.
    #[error("{registry} has no image {image}")]
    NotFound {
        /// The registry's host.
        registry: String,
        /// Repository with tag or digest.
        image: String,
    },
    /// The registry wants to know who asks, and there are no credentials for it, or none that it accepts.
    #[error("{registry} wants credentials{}{}", of(repository), if *shown { ", and refuses those that were given" } else { "" })]
    Unauthorized {
        /// The registry's host.
        registry: String,
        /// The repository; empty for the registry as a whole.
        repository: String,
        /// Whether credentials were shown to it.
        shown: bool,
    },
    /// The registry knows who asks and refuses.
    #[error("{registry} permits no access to {repository}{}", detail.as_ref().map(|text| format!(": {text}")).unwrap_or_default())]
    Denied {
        /// The registry's host.
        registry: String,
        /// The repository.
        repository: String,
        /// What it says about it.
        detail: Option<Quoted>,
    },
    /// The registry asks for an authentication that is not known.
    #[error("{registry} asks for an authentication that is not supported (supported: Basic, Bearer)")]
    Challenge {
        /// The registry's host.
        registry: String,
    },
    /// The token service is one that this registry's credentials are not for.
    #[error("{registry} sends us for a token to {realm}: {reason}")]
    Realm {
        /// The registry's host.
        registry: String,
        /// The token service.
        realm: Quoted,
        /// Why it is not asked.
        reason: &'static str,
    },
    /// The token service's answer is none.
    #[error("{0}: the answer holds no token")]
    Token(ShownUrl),
    /// Credentials that cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The answer to a request for a manifest does not say what it is.
    #[error("{0}: the answer does not say what kind of document it is")]
    NoMediaType(ShownUrl),
    /// An answer is not what was asked for by digest.
    #[error("{url}: the content has the digest {computed}, asked was for {expected}")]
    Digest {
        /// What was asked for.
        url: ShownUrl,
        /// The digest that was asked for.
        expected: Digest,
        /// The digest of what came.
        computed: Digest,
    },
    /// A blob of another size than its descriptor says.
    #[error("{url}: blob {digest} has {found} bytes, its descriptor says {expected}")]
    Size {
        /// What was asked for.
        url: ShownUrl,
        /// The blob.
        digest: Digest,
        /// Bytes according to the descriptor.
        expected: u64,
        /// Bytes according to the server, or as far as they were read.
        found: u64,
    },
    /// An answer that the protocol does not provide for.
    #[error("{url}: {reason}")]
    Protocol {
        /// What was asked for.
        url: ShownUrl,
        /// What is wrong with it.
        reason: String,
    },
    /// A document cannot be used.
    #[error(transparent)]
    Document(#[from] OciError),
    /// What was downloaded could not be stored.
    #[error("write what was downloaded")]
    Write(#[source] std::io::Error),
}

/// What credentials are wanted for, if it is not the registry as a whole.
fn of(repository: &str) -> String {
    if repository.is_empty() { String::new() } else { format!(" for {repository}") }
}
