//! `registries.d`: where else a registry's images are, and whom its credentials are for.

use std::path::{Path, PathBuf};

use fetch::registry::{RegistryRef, RegistryRefError};
use serde::{Deserialize, Serialize};

use crate::config::file::{self, ConfigError, Document};
use crate::config::{ConfigDirs, Invalid, merge};

/// What is said about single registries.
pub(crate) const KIND: &str = "registry";

/// What is said about all of them.
pub(crate) const ALL_KIND: &str = "registries";

const FOLDER: &str = "registries.d";

/// The registry that names without a host mean, if nothing else is configured.
const DEFAULT: &str = "docker.io";

/// What is configured about registries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registries {
    /// The registry of names without a host; `None` for Docker's.
    default: Option<String>,
    /// Files with certificates of authorities that are trusted beside the host's.
    pub(crate) authorities: Vec<PathBuf>,
    /// Mirrors and token services, for the fetcher.
    pub(crate) single: fetch::registry::Registries,
}

/// What is configured about one registry, as `proa config` prints it.
#[derive(Debug, Serialize)]
pub(crate) struct Registry<'a> {
    registries: [&'a str; 1],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    mirrors: &'a [String],
    #[serde(rename = "tokenServices", skip_serializing_if = "<[_]>::is_empty")]
    token_services: &'a [String],
}

/// What is configured about all of them, as `proa config` prints it.
#[derive(Debug, Serialize)]
pub(crate) struct AllRegistries<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    authorities: &'a [PathBuf],
}

#[derive(Clone, Deserialize)]
struct RegistryFile {
    #[serde(default)]
    registries: Vec<String>,
    #[serde(default)]
    mirrors: Vec<String>,
    #[serde(rename = "tokenServices", default)]
    token_services: Vec<String>,
}

#[derive(Deserialize)]
struct AllFile {
    default: Option<String>,
    authorities: Option<Vec<String>>,
}

impl Registries {
    /// Reads what is configured.
    ///
    /// # Errors
    ///
    /// [`ConfigError`].
    pub(crate) fn read(dirs: &ConfigDirs) -> Result<Self, ConfigError> {
        let mut found = Self::default();
        for (host, file) in merge(of_kind(dirs, KIND)?, single)? {
            found.single.mirrors.insert(host.clone(), file.mirrors);
            found.single.token_services.insert(host, file.token_services);
        }
        let mut defaults = merge(of_kind(dirs, ALL_KIND)?, |document| {
            let AllFile { default, .. } = document.content()?;
            default.map(|host| Ok(("default".to_owned(), host_of(host)?))).into_iter().collect()
        })?;
        found.default = defaults.remove("default");
        let mut authorities = merge(of_kind(dirs, ALL_KIND)?, |document| {
            let AllFile { authorities, .. } = document.content()?;
            let Some(authorities) = authorities else { return Ok(Vec::new()) };
            let absolute = |path: String| match Path::new(&path).is_absolute() {
                true => Ok(PathBuf::from(path)),
                false => Err(Invalid::Relative(path)),
            };
            Ok(vec![("authorities".to_owned(), authorities.into_iter().map(absolute).collect::<Result<Vec<_>, _>>()?)])
        })?;
        found.authorities = authorities.remove("authorities").unwrap_or_default();
        Ok(found)
    }

    /// The image that a name means.
    ///
    /// # Errors
    ///
    /// It names no image of a registry.
    pub(crate) fn reference(&self, name: &str) -> Result<RegistryRef, RegistryRefError> {
        RegistryRef::parse(name, self.default.as_deref().unwrap_or(DEFAULT))
    }

    /// The entries about single registries.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Registry<'_>> {
        self.single.mirrors.iter().map(|(host, mirrors)| Registry {
            registries: [host],
            mirrors,
            token_services: self.single.token_services.get(host).map_or(&[], Vec::as_slice),
        })
    }

    /// The entry about all of them, if there is one.
    pub(crate) fn all(&self) -> Option<AllRegistries<'_>> {
        let said = self.default.is_some() || !self.authorities.is_empty();
        said.then_some(AllRegistries { default: self.default.as_deref(), authorities: &self.authorities })
    }
}

fn of_kind(dirs: &ConfigDirs, kind: &str) -> Result<Vec<Vec<Document>>, ConfigError> {
    let mut folders = file::documents(dirs, FOLDER, &[KIND, ALL_KIND])?;
    folders.iter_mut().for_each(|folder| folder.retain(|document| document.kind == kind));
    Ok(folders)
}

fn single(document: &Document) -> Result<Vec<(String, RegistryFile)>, Invalid> {
    let mut file: RegistryFile = document.content()?;
    let hosts = std::mem::take(&mut file.registries);
    if hosts.is_empty() {
        return Err(Invalid::Missing("registries"));
    }
    let checked = |hosts: Vec<String>| hosts.into_iter().map(host_of).collect::<Result<Vec<_>, _>>();
    file.mirrors = checked(file.mirrors)?;
    file.token_services = checked(file.token_services)?;
    checked(hosts)?.into_iter().map(|host| Ok((host, file.clone()))).collect()
}

/// A host as it stands in names of images.
fn host_of(host: String) -> Result<String, Invalid> {
    match RegistryRef::parse("x", &host) {
        Ok(reference) => Ok(reference.host().to_owned()),
        Err(_) => Err(Invalid::Host(host)),
    }
}
