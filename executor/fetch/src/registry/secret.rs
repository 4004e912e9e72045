//! What is shown to a registry, and where it comes from.

use std::fmt;

/// A password or token. It shows nothing of itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What a user has for one registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// User and password.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// An OAuth refresh token, which Docker calls an identity token: only for the token service.
    Identity(Secret),
    /// A bearer token for the registry itself.
    Bearer(Secret),
}

/// Who has credentials.
pub trait Credentials: fmt::Debug {
    /// What there is for `host` (with its port where the image's name has one) and `repository`, if anything.
    ///
    /// # Errors
    /// [`CredentialsError`] if there is something that cannot be used: asking without it instead could hide a mistake, and
    /// asking with those of another host would tell them to the wrong one.
    fn of_registry(&self, host: &str, repository: &str) -> Result<Option<Credential>, CredentialsError>;
}

/// Credentials that cannot be used. The text names the file or the helper program, and no secret.
#[derive(Debug, thiserror::Error)]
#[error("credentials for {host}")]
pub struct CredentialsError {
    /// Whom they are for.
    pub host: String,
    /// What is wrong with them.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// No credentials for anybody.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCredentials;

impl Credentials for NoCredentials {
    fn of_registry(&self, _: &str, _: &str) -> Result<Option<Credential>, CredentialsError> {
        Ok(None)
    }
}
