//! What leaves this machine: the HTTP client as the command line and the configuration have it, and who the user is.

use std::env;

use fetch::credentials::{Places, StoredCredentials};
use fetch::http::{Client, Settings};
use fetch::registry::{Credential, Credentials, CredentialsError, Secret};

use crate::config::{self, ConfigDirs, Registries};
use crate::error::CommandError;
use crate::insecure::Insecure;

/// The client and what is configured about it. Making one costs reading the configuration, no more.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) client: Client,
    pub(crate) registries: Registries,
    pub(crate) credentials: UserCredentials,
}

impl Network {
    /// The network as the configuration has it, without the checks that are switched off.
    ///
    /// # Errors
    ///
    /// Configuration that cannot be understood.
    pub(crate) fn new(dirs: &ConfigDirs, insecure: Insecure) -> Result<Self, CommandError> {
        let registries = Registries::read(dirs)?;
        let settings = Settings {
            plain_http: insecure.http(),
            any_certificate: insecure.tls(),
            authorities: registries.authorities.clone(),
            ..Settings::default()
        };
        let credentials = UserCredentials {
            dirs: dirs.clone(),
            stored: StoredCredentials::new(Places::of_environment(|name| env::var_os(name))),
        };
        Ok(Self { client: Client::new(settings), registries, credentials })
    }
}

/// The credentials of `auth.d`, then those that other tools have stored.
#[derive(Debug)]
pub(crate) struct UserCredentials {
    dirs: ConfigDirs,
    stored: StoredCredentials,
}

impl Credentials for UserCredentials {
    fn of_registry(&self, host: &str, repository: &str) -> Result<Option<Credential>, CredentialsError> {
        let configured = config::of_registry(&self.dirs, host);
        let configured =
            configured.map_err(|error| CredentialsError { host: host.to_owned(), source: error.into() })?;
        match configured {
            Some((user, password)) => Ok(Some(Credential::Basic { user, password: Secret::new(password) })),
            None => self.stored.of_registry(host, repository),
        }
    }
}
