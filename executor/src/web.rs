//! What leads out of this machine: the HTTP client as the command line and the configuration have it, and who the user is.

use std::cell::OnceCell;
use std::env;

use fetch::HostCredentials;
use fetch::credentials::{Places, StoredCredentials};
use fetch::discovery::Discovery;
use fetch::http::{Client, Settings};
use fetch::registry::{Credential, Credentials, CredentialsError, Secret};

use crate::config::{self, ConfigDirs, Policies, Registries};
use crate::error::CommandError;
use crate::insecure::Insecure;

/// The client and what is configured about it. Making one costs reading the configuration, no more.
#[derive(Debug)]
pub(crate) struct Web {
    pub(crate) client: Client,
    pub(crate) registries: Registries,
    /// What images of registries have to be.
    pub(crate) policies: Policies,
    pub(crate) credentials: UserCredentials,
    hosts: OnceCell<HostCredentials>,
}

impl Web {
    /// The web as the configuration has it, without the checks that are switched off.
    ///
    /// # Errors
    ///
    /// Configuration that cannot be understood.
    pub(crate) fn new(dirs: &ConfigDirs, insecure: Insecure) -> Result<Self, CommandError> {
        let registries = Registries::read(dirs)?;
        let policies = Policies::read(dirs)?;
        let settings = Settings {
            plain_http: insecure.http(),
            plain_http_here: insecure.http_here(),
            any_certificate: insecure.tls(),
            authorities: registries.authorities.clone(),
            ..Settings::default()
        };
        let credentials = UserCredentials {
            dirs: dirs.clone(),
            stored: StoredCredentials::new(Places::of_environment(|name| env::var_os(name))),
        };
        Ok(Self { client: Client::new(settings), registries, policies, credentials, hosts: OnceCell::new() })
    }
}

impl Web {
    /// What hosts that are no registries are shown.
    ///
    /// # Errors
    ///
    /// Configuration that cannot be understood.
    pub(crate) fn hosts(&self) -> Result<&HostCredentials, CommandError> {
        match self.hosts.get() {
            Some(hosts) => Ok(hosts),
            None => {
                let read = config::of_hosts(&self.credentials.dirs)?;
                Ok(self.hosts.get_or_init(|| read))
            }
        }
    }

    /// App Container discovery, with these credentials.
    ///
    /// # Errors
    ///
    /// As [`Web::hosts`].
    pub(crate) fn discovery(&self) -> Result<Discovery<'_>, CommandError> {
        Ok(Discovery::new(&self.client, self.hosts()?))
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
