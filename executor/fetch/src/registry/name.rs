//! Names of images in registries, as Docker writes them.

use std::fmt;
use std::str::FromStr;

use crate::digest::{Digest, DigestError};
use crate::quote::Quoted;

/// Docker's registry: the one that names without a host mean.
pub(crate) const DOCKER: &str = "docker.io";

/// The repository of Docker's registry that names of one component are in.
const OFFICIAL: &str = "library";

/// The most bytes of host and repository together (distribution's reference package).
const LONGEST_NAME: usize = 255;

/// The most bytes of a tag (distribution-spec, Pull).
const LONGEST_TAG: usize = 128;

/// `[HOST[:PORT]/]REPOSITORY[:TAG][@DIGEST]`, complete: with its host, `library/` and a tag where they were left out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistryRef {
    host: String,
    repository: String,
    version: Version,
}

/// Which image of a repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// The one that a tag points to.
    Tag(String),
    /// The one with this digest. A tag before it is for people.
    Digest {
        /// The tag, if one was written.
        tag: Option<String>,
        /// The digest of its manifest or index.
        digest: Digest,
    },
}

/// Why a string names no image of a registry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryRefError {
    /// The host is none.
    #[error("registry host {0} is not HOST or HOST:PORT")]
    Host(Quoted),
    /// The repository holds what repositories cannot.
    #[error("repository {0} is not of lower-case letters, digits, and single . _ - / between them")]
    Repository(Quoted),
    /// Host and repository are too long.
    #[error("image name has {0} bytes, the limit is {LONGEST_NAME}")]
    TooLong(usize),
    /// The tag holds what tags cannot.
    #[error("tag {0} is not of letters, digits, . _ - (at most {LONGEST_TAG}, and neither . nor - first)")]
    Tag(Quoted),
    /// The digest is none.
    #[error("image name {text}")]
    Digest {
        /// The name.
        text: Quoted,
        /// What is wrong with the digest.
        source: DigestError,
    },
    /// `user:password@host`. The text is not repeated.
    #[error("image names hold no user name or password; credentials belong in the credentials file")]
    Credentials,
}

impl RegistryRef {
    /// Reads a name; where it has no host, `default_host` is meant.
    ///
    /// # Errors
    /// [`RegistryRefError`].
    pub fn parse(text: &str, default_host: &str) -> Result<Self, RegistryRefError> {
        let (name, digest) = match text.rsplit_once('@') {
            Some((name, digest)) => (name, Some(parse_digest(text, name, digest)?)),
            None => (text, None),
        };
        let (path, tag) = match name.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
            _ => (name, None),
        };
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return Err(RegistryRefError::Tag(Quoted::new(tag)));
        }
        let (host, repository) = match path.split_once('/') {
            Some((first, rest)) if is_host(first) => (first, rest),
            _ => (default_host, path),
        };
        let host = canonical_host(host).ok_or_else(|| RegistryRefError::Host(Quoted::new(host)))?;
        if !repository.split('/').all(is_component) {
            return Err(RegistryRefError::Repository(Quoted::new(repository)));
        }
        let official = host == DOCKER && !repository.contains('/');
        let repository = if official { format!("{OFFICIAL}/{repository}") } else { repository.to_owned() };
        if host.len() + 1 + repository.len() > LONGEST_NAME {
            return Err(RegistryRefError::TooLong(host.len() + 1 + repository.len()));
        }
        let tag = tag.map(str::to_owned);
        let version = match digest {
            Some(digest) => Version::Digest { tag, digest },
            None => Version::Tag(tag.unwrap_or_else(|| "latest".to_owned())),
        };
        Ok(Self { host, repository, version })
    }

    /// The host, with a port where one was written.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository, without the host.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Which of its images is meant.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// Host and repository: what images of this repository are called, whichever it is.
    pub fn name(&self) -> String {
        format!("{}/{}", self.host, self.repository)
    }

    /// The tag, if one was written or implied.
    pub fn tag(&self) -> Option<&str> {
        match &self.version {
            Version::Tag(tag) => Some(tag),
            Version::Digest { tag, .. } => tag.as_deref(),
        }
    }

    /// The digest, if one was written.
    pub fn digest(&self) -> Option<&Digest> {
        match &self.version {
            Version::Tag(_) => None,
            Version::Digest { digest, .. } => Some(digest),
        }
    }
}

impl FromStr for RegistryRef {
    type Err = RegistryRefError;

    fn from_str(text: &str) -> Result<Self, RegistryRefError> {
        Self::parse(text, DOCKER)
    }
}

impl fmt::Display for RegistryRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        match &self.version {
            Version::Tag(tag) => write!(f, ":{tag}"),
            Version::Digest { tag: None, digest } => write!(f, "@{digest}"),
            Version::Digest { tag: Some(tag), digest } => write!(f, ":{tag}@{digest}"),
        }
    }
}

fn parse_digest(text: &str, name: &str, digest: &str) -> Result<Digest, RegistryRefError> {
    // A colon before an @ that no digest follows is USER:PASSWORD@HOST.
    if !digest.starts_with("sha256:") && !digest.starts_with("sha512:") && name.contains(':') {
        return Err(RegistryRefError::Credentials);
    }
    digest.parse().map_err(|source| RegistryRefError::Digest { text: Quoted::new(text), source })
}

/// Docker's rule: the first component is a host if it looks like one.
fn is_host(component: &str) -> bool {
    component.contains(['.', ':']) || component == "localhost"
}

/// The host in lower case, if it is one: a name, an IPv4 address, or an IPv6 address in brackets, and a port.
pub(crate) fn canonical_host(text: &str) -> Option<String> {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (text, None),
    };
    let is_port = |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|p| p != 0);
    if !port.is_none_or(is_port) {
        return None;
    }
    let is_name = match name.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?.parse::<std::net::Ipv6Addr>().is_ok(),
        None => name.split('.').all(is_label),
    };
    let lower = text.to_ascii_lowercase();
    is_name.then(|| {
        if matches!(lower.as_str(), "index.docker.io" | "registry-1.docker.io") { DOCKER.into() } else { lower }
    })
}

/// A part of a host name between dots. (Underscores stand in the names of containers and of internal hosts.)
fn is_label(label: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    edge(label.bytes().next())
        && edge(label.bytes().last())
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` (distribution-spec, Pull).
fn is_component(component: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let mut separators = component.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let edges = [component.bytes().next(), component.bytes().last()];
    edges.into_iter().all(|b| b.is_some_and(is_word))
        && separators.all(|it| matches!(it, "" | "." | "_" | "__") || it.bytes().all(|b| b == b'-'))
}

/// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}` (distribution-spec, Pull).
fn is_tag(tag: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= LONGEST_TAG
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|b| is_word(b) || matches!(b, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DIGEST: &str = "sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a";

    #[test]
    fn names_are_made_complete() {
        for (text, complete) in [
            ("debian", "docker.io/library/debian:latest"),
            ("debian:12", "docker.io/library/debian:12"),
            ("user/app", "docker.io/user/app:latest"),
            ("index.docker.io/debian", "docker.io/library/debian:latest"),
            ("quay.io/a/b/c:v1.0", "quay.io/a/b/c:v1.0"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/app:x", "localhost:5000/app:x"),
            ("Example.COM/app", "example.com/app:latest"),
            ("[::1]:5000/app", "[::1]:5000/app:latest"),
            ("[fd00::1]/app", "[fd00::1]/app:latest"),
            ("a_b.internal/x__y/z--w", "a_b.internal/x__y/z--w:latest"),
            ("myhost:80/x", "myhost:80/x:latest"),
        ] {
            let parsed: RegistryRef = text.parse().unwrap();
            assert_eq!(parsed.to_string(), complete, "{text}");
            assert_eq!(complete.parse(), Ok(parsed), "{text}");
        }
        let with_digest: RegistryRef = format!("debian:12@{DIGEST}").parse().unwrap();
        assert_eq!(with_digest.to_string(), format!("docker.io/library/debian:12@{DIGEST}"));
        assert_eq!((with_digest.tag(), with_digest.digest().is_some()), (Some("12"), true));
        let digest_only: RegistryRef = format!("quay.io/a@{DIGEST}").parse().unwrap();
        assert_eq!((digest_only.tag(), digest_only.name().as_str()), (None, "quay.io/a"));
    }

    #[test]
    fn another_default_has_no_official_images() {
        assert_eq!(RegistryRef::parse("app", "example.com:5000").unwrap().to_string(), "example.com:5000/app:latest");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = "a".repeat(256);
        let tag = format!("a:{}", "b".repeat(129));
        for text in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "A",
            "UPPER/app",
            "a b",
            "a.",
            ".a",
            "-a",
            "a..b",
            "a___b",
            "a._b",
            "aé",
            "a:",
            "a:-x",
            "a:.x",
            "a:b/c:d/e:f",
            "a:é",
            "host:0/a",
            "host:99999/a",
            "host:x/a",
            "[::1/a",
            "[x]:5/a",
            "-h.x/a",
            "a@",
            "a@sha256:00",
            "a@md5:0",
            "http://a/b",
            "../a",
            "a/../b",
            &long,
            &tag,
        ] {
            assert!(text.parse::<RegistryRef>().is_err(), "{text:?}");
        }
        assert_eq!("user:secret@host/a".parse::<RegistryRef>(), Err(RegistryRefError::Credentials));
    }

    proptest! {
        #[test]
        fn no_name_leaves_its_place_in_a_url(text in "\\PC{0,40}") {
            if let Ok(name) = text.parse::<RegistryRef>() {
                prop_assert!(!name.repository().contains(['?', '#', '%', '\\', '@', ':']));
                prop_assert!(name.repository().split('/').all(|it| !it.is_empty() && it != "." && it != ".."));
                prop_assert!(name.tag().is_none_or(|tag| !tag.contains(['/', '?', '#', '%'])));
            }
        }
    }
}
