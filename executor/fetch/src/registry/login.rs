//! Whether a registry knows a user.

use super::error::RegistryError;
use super::repository::{Access, Repository};
use super::secret::{Credential, Credentials, CredentialsError};
use crate::http::Client;

/// One credential, for the registry that is asked and no other.
#[derive(Debug)]
struct Given<'a>(&'a Credential);

impl Credentials for Given<'_> {
    fn of_registry(&self, _: &str, _: &str) -> Result<Option<Credential>, CredentialsError> {
        Ok(Some(self.0.clone()))
    }
}

/// Shows a credential to a registry, or to its token service; `trusted` are hosts of token services beside its own.
///
/// # Errors
/// [`RegistryError::Unauthorized`] if it does not know the user; what HTTP says.
pub fn log_in(client: &Client, host: &str, credential: &Credential, trusted: &[String]) -> Result<(), RegistryError> {
    let given = Given(credential);
    let registry = Repository::new(client, &given, host, "", trusted, Access::Pull)?;
    client.block_on(registry.knock())
}
