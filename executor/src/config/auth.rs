//! `auth.d`: who the user is, to the servers images come from.

use std::collections::BTreeMap;
use std::fmt;

use fetch::registry::Secret;
use fetch::{AwsKey, HostCredential, HostCredentials};
use serde::{Deserialize, Serialize};

use crate::config::file::{self, ConfigError, Document};
use crate::config::{ConfigDirs, Invalid, merge};

/// Credentials of HTTP servers, by domain.
pub(crate) const KIND: &str = "auth";

/// Credentials of registries.
pub(crate) const DOCKER_KIND: &str = "dockerAuth";

/// What is shown to a server. Its `Debug` form keeps the secrets.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Credentials {
    /// A user and a password.
    Basic { user: String, password: String },
    /// A bearer token.
    Oauth { token: String },
    /// A key to sign requests with (AWS signature version 4).
    Aws {
        #[serde(rename = "accessKeyID")]
        access_key_id: String,
        #[serde(rename = "secretAccessKey")]
        secret_access_key: String,
        #[serde(rename = "awsRegion", skip_serializing_if = "String::is_empty")]
        region: String,
    },
}

impl Credentials {
    /// What a file of kind `auth` calls them.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Basic { .. } => "basic",
            Self::Oauth { .. } => "oauth",
            Self::Aws { .. } => "aws",
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.type_name())
    }
}

#[derive(Deserialize)]
struct AuthFile {
    #[serde(default)]
    domains: Vec<String>,
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    credentials: Fields,
}

#[derive(Deserialize)]
struct DockerAuthFile {
    #[serde(default)]
    registries: Vec<String>,
    #[serde(default)]
    credentials: Fields,
}

/// All that credentials of any type may hold.
#[derive(Default, Deserialize)]
struct Fields {
    #[serde(default)]
    user: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    token: String,
    #[serde(rename = "accessKeyID", default)]
    access_key_id: String,
    #[serde(rename = "secretAccessKey", default)]
    secret_access_key: String,
    #[serde(rename = "awsRegion", default)]
    region: String,
}

/// Reads the credentials of domains.
///
/// # Errors
///
/// [`ConfigError`].
pub(crate) fn of_domains(dirs: &ConfigDirs) -> Result<BTreeMap<String, Credentials>, ConfigError> {
    merge(of_kind(dirs, KIND)?, auth)
}

/// Reads the credentials of registries, which are always [`Credentials::Basic`].
///
/// # Errors
///
/// [`ConfigError`].
pub(crate) fn of_registries(dirs: &ConfigDirs) -> Result<BTreeMap<String, Credentials>, ConfigError> {
    merge(of_kind(dirs, DOCKER_KIND)?, docker_auth)
}

/// User and password for one registry.
///
/// # Errors
///
/// [`ConfigError`].
pub(crate) fn of_registry(dirs: &ConfigDirs, host: &str) -> Result<Option<(String, String)>, ConfigError> {
    // Docker's registry goes by three names.
    let names: &[&str] =
        if host == "docker.io" { &["docker.io", "index.docker.io", "registry-1.docker.io"] } else { &[host] };
    let mut all = of_registries(dirs)?;
    Ok(names.iter().find_map(|name| match all.remove(*name)? {
        Credentials::Basic { user, password } => Some((user, password)),
        _ => None,
    }))
}

/// The credentials of domains, for the fetcher.
///
/// # Errors
///
/// [`ConfigError`].
pub(crate) fn of_hosts(dirs: &ConfigDirs) -> Result<HostCredentials, ConfigError> {
    let entry = |(domain, credentials)| {
        let credential = match credentials {
            Credentials::Basic { user, password } => HostCredential::Basic { user, password: Secret::new(password) },
            Credentials::Oauth { token } => HostCredential::Bearer(Secret::new(token)),
            Credentials::Aws { access_key_id, secret_access_key, region } => {
                HostCredential::Aws(AwsKey { id: access_key_id, secret: Secret::new(secret_access_key), region })
            }
        };
        (domain, credential)
    };
    Ok(of_domains(dirs)?.into_iter().map(entry).collect())
}

fn of_kind(dirs: &ConfigDirs, kind: &str) -> Result<Vec<Vec<Document>>, ConfigError> {
    let mut folders = file::documents(dirs, "auth.d", &[KIND, DOCKER_KIND])?;
    folders.iter_mut().for_each(|folder| folder.retain(|document| document.kind == kind));
    Ok(folders)
}

fn auth(document: &Document) -> Result<Vec<(String, Credentials)>, Invalid> {
    let AuthFile { domains, r#type, credentials } = document.content()?;
    if domains.is_empty() {
        return Err(Invalid::Missing("domains"));
    }
    let credentials = match r#type.as_str() {
        "" => return Err(Invalid::Missing("auth type")),
        "basic" => credentials.basic()?,
        "oauth" => Credentials::Oauth { token: filled(credentials.token, "oauth bearer token")? },
        "aws" => Credentials::Aws {
            access_key_id: filled(credentials.access_key_id, "AWS Access Key ID")?,
            secret_access_key: filled(credentials.secret_access_key, "AWS Secret Access Key")?,
            region: credentials.region,
        },
        _ => return Err(Invalid::AuthType(r#type)),
    };
    domains.into_iter().map(|domain| Ok((host(domain)?, credentials.clone()))).collect()
}

fn docker_auth(document: &Document) -> Result<Vec<(String, Credentials)>, Invalid> {
    let DockerAuthFile { registries, credentials } = document.content()?;
    if registries.is_empty() {
        return Err(Invalid::Missing("registries"));
    }
    let credentials = credentials.basic()?;
    registries.into_iter().map(|registry| Ok((host(registry)?, credentials.clone()))).collect()
}

impl Fields {
    fn basic(self) -> Result<Credentials, Invalid> {
        Ok(Credentials::Basic { user: filled(self.user, "user")?, password: filled(self.password, "password")? })
    }
}

fn filled(value: String, what: &'static str) -> Result<String, Invalid> {
    if value.is_empty() { Err(Invalid::Empty(what)) } else { Ok(value) }
}

/// A host as it stands in a URL. Something else would silently match nothing.
fn host(text: String) -> Result<String, Invalid> {
    let foreign = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']'));
    if text.is_empty() || text.contains(foreign) { Err(Invalid::Host(text)) } else { Ok(text.to_ascii_lowercase()) }
}
