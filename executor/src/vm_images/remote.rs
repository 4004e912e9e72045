//! Places that images are pushed to and pulled from: `--remote`.

use std::path::PathBuf;

use clap::Args;
use eci::{ArchiveDestination, ArchiveSource, Destination, LayoutDestination, LayoutSource, Source};
use fetch::registry::RegistryRef;

use crate::error::CommandError;

// Options of all commands about virtual machine images. (A doc comment would become help text.)
#[derive(Debug, Args)]
pub(crate) struct RemoteArgs {
    /// Where the image is: /PATH or file:///PATH for an OCI layout directory,
    /// oci-archive:FILE for one in a tar file
    #[arg(long, value_name = "REMOTE", default_value = "", hide_default_value = true, global = true)]
    remote: String,

    // For containerd, which is no remote here; accepted because scripts give it.
    #[arg(long, value_name = "NAME", default_value = "default", hide = true, global = true)]
    namespace: String,
}

impl RemoteArgs {
    /// The option as it was given.
    pub(crate) fn text(&self) -> &str {
        &self.remote
    }
}

/// A place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Remote {
    /// The registry that the image's name tells.
    Registry,
    /// An OCI layout directory.
    Layout(PathBuf),
    /// An OCI layout in a tar file.
    Archive(PathBuf),
}

/// An option that names no place; the original's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RemoteError {
    /// Nothing that we know.
    #[error("unknown remote: {0}")]
    Unknown(String),
    /// The original can do that.
    #[error("unsupported remote: {0}: containerd is not a remote of this program")]
    Containerd(String),
}

impl std::str::FromStr for Remote {
    type Err = RemoteError;

    fn from_str(text: &str) -> Result<Self, RemoteError> {
        let after = |prefix: &str| text.strip_prefix(prefix).filter(|it| !it.is_empty()).map(PathBuf::from);
        if text.is_empty() {
            return Ok(Self::Registry);
        }
        if text.starts_with("containerd:") {
            return Err(RemoteError::Containerd(text.to_owned()));
        }
        if let Some(path) = after("oci-archive:") {
            return Ok(Self::Archive(path));
        }
        let path = after("file://").or_else(|| text.starts_with('/').then(|| text.into()));
        path.map(Self::Layout).ok_or_else(|| RemoteError::Unknown(text.to_owned()))
    }
}

impl Remote {
    /// The image there, to be read.
    pub(crate) fn source(&self, image: &str) -> Result<Box<dyn Source>, CommandError> {
        match self {
            Self::Registry => Err(unsupported()),
            Self::Layout(path) => Ok(Box::new(LayoutSource::open(path, &names(image))?)),
            Self::Archive(path) => Ok(Box::new(ArchiveSource::open(path, &names(image))?)),
        }
    }

    /// The place, to be written to.
    pub(crate) fn destination(&self, image: &str) -> Result<Box<dyn Destination>, CommandError> {
        match self {
            Self::Registry => Err(unsupported()),
            Self::Layout(path) => Ok(Box::new(LayoutDestination::open(path, image)?)),
            Self::Archive(path) => Ok(Box::new(ArchiveDestination::create(path, image)?)),
        }
    }
}

fn unsupported() -> CommandError {
    CommandError::usage("a remote must be given: registries cannot be reached yet")
}

/// What an image may be called in a layout: as it was typed, complete as registries have it, or by its tag alone, as
/// other tools do.
fn names(image: &str) -> Vec<String> {
    let mut names = vec![image.to_owned()];
    if let Ok(reference) = image.parse::<RegistryRef>() {
        let whole = reference.to_string();
        let short = whole.strip_prefix("docker.io/").map(str::to_owned);
        names.extend(short.iter().filter_map(|it| it.strip_prefix("library/").map(str::to_owned)));
        names.extend(short);
        names.push(whole);
        names.extend(reference.tag().map(str::to_owned));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remotes_are_the_originals() {
        assert_eq!("".parse(), Ok(Remote::Registry));
        assert_eq!("/p".parse(), Ok(Remote::Layout("/p".into())));
        assert_eq!("file:///p".parse(), Ok(Remote::Layout("/p".into())));
        assert_eq!("file://p".parse(), Ok(Remote::Layout("p".into())));
        assert_eq!("oci-archive:p.tar".parse(), Ok(Remote::Archive("p.tar".into())));
        for unknown in ["p", "file://", "oci-archive:", "http://x"] {
            let error = unknown.parse::<Remote>().unwrap_err().to_string();
            assert_eq!(error, format!("unknown remote: {unknown}"));
        }
        assert!(matches!("containerd:/run/x.sock".parse::<Remote>(), Err(RemoteError::Containerd(_))));
    }

    #[test]
    fn names_are_as_typed_then_complete() {
        let complete = "docker.io/lfedge/eci-nginx:1";
        assert_eq!(names("lfedge/eci-nginx:1"), ["lfedge/eci-nginx:1", "lfedge/eci-nginx:1", complete, "1"]);
        assert_eq!(names(complete), [complete, "lfedge/eci-nginx:1", complete, "1"]);
        assert_eq!(names("Any Thing"), ["Any Thing"]);
    }
}
