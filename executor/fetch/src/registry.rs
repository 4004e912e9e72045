//! Registries: the OCI distribution protocol, version 2, as OCI's and Docker's registries speak it.
//!
//! ```text
//! docker://NAME:TAG ─► GET /v2/NAME/manifests/TAG          an index or a manifest, at most 4 MiB
//!                      GET /v2/NAME/manifests/DIGEST       the manifest for this machine, if it was an index
//!                      GET /v2/NAME/blobs/DIGEST           the config, then the layers side by side
//! ```
//!
//! Everything is addressed by digest but the first document, whose digest is computed here: what a server says about
//! digests in its headers is compared and never believed. Documents are checked in this crate; whoever streams a layer
//! checks its digest.
//!
//! Questions go out without credentials; a server that wants to know who asks answers 401, and gets what
//! [`Credentials`] has for it: a token from its token service, or user and password.

mod artifact;
mod challenge;
mod claims;
mod download;
mod error;
mod login;
mod name;
mod pull;
mod push;
mod repository;
mod secret;
mod token;

pub use self::artifact::Named;
pub use self::download::Download;
pub use self::error::RegistryError;
pub use self::login::log_in;
pub use self::name::{RegistryRef, RegistryRefError, Version};
pub use self::pull::{Found, Puller, Registries};
pub use self::push::{Content, Pusher};
pub use self::repository::Repository;
pub use self::secret::{Credential, Credentials, CredentialsError, NoCredentials, Secret};
