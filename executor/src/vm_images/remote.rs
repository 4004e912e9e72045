//! Places that images are pushed to and pulled from: `--remote`.

use std::path::PathBuf;

use clap::Args;
use eci::{ArchiveDestination, ArchiveSource, Destination, LayoutDestination, LayoutSource, Source};
use fetch::registry::RegistryRef;

use super::registry::InRegistry;
use crate::context::Context;
use crate::error::CommandError;

// Options of all commands about virtual machine images. (A doc comment would become help text.)
#[derive(Debug, Args)]
pub(crate) struct RemoteArgs {
    /// Where the image is: /PATH or file:///PATH for an OCI layout directory,
    /// oci-archive:FILE for one in a tar file [default: the registry that its name tells]
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

/// An image in a place.
#[derive(Debug)]
pub(crate) struct At {
    place: Place,
    image: String,
    /// Whether a signature is wanted.
    signed: bool,
}

#[derive(Debug)]
enum Place {
    Registry(Box<InRegistry>),
    Layout(PathBuf),
    Archive(PathBuf),
}

impl At {
    /// Gets ready to talk to the place; nothing is opened or sent yet.
    ///
    /// # Errors
    ///
    /// There is no name, it is none of a registry, or the configuration cannot be understood.
    pub(crate) fn new(context: &Context, remote: &Remote, image: &str) -> Result<Self, CommandError> {
        if image.is_empty() {
            return Err(CommandError::usage("must have valid image ref"));
        }
        let place = match remote {
            Remote::Registry => {
                let there = InRegistry::new(context, image);
                Place::Registry(Box::new(there.map_err(|error| misplaced(error, image))?))
            }
            Remote::Layout(path) => Place::Layout(path.clone()),
            Remote::Archive(path) => Place::Archive(path.clone()),
        };
        Ok(Self { place, image: image.to_owned(), signed: context.require_signature })
    }

    /// The image there, to be read.
    ///
    /// # Errors
    ///
    /// It is not there; a signature is wanted, and nobody can have given one.
    pub(crate) fn source(&self) -> Result<Box<dyn Source + '_>, CommandError> {
        match &self.place {
            Place::Registry(image) => image.source(self.signed),
            _ if self.signed => Err(CommandError::failed("images in layouts and archives have no signatures")
                .hint("pull it from a registry, or leave --require-signature out")),
            Place::Layout(path) => Ok(Box::new(LayoutSource::open(path, &names(&self.image))?)),
            Place::Archive(path) => Ok(Box::new(ArchiveSource::open(path, &names(&self.image))?)),
        }
    }

    /// The place, to be written to.
    ///
    /// # Errors
    ///
    /// It cannot be.
    pub(crate) fn destination(&self) -> Result<Box<dyn Destination + '_>, CommandError> {
        match &self.place {
            Place::Registry(image) => image.destination(),
            Place::Layout(path) => Ok(Box::new(LayoutDestination::open(path, &self.image)?)),
            Place::Archive(path) => Ok(Box::new(ArchiveDestination::create(path, &self.image)?)),
        }
    }
}

/// Who names an image as `proa run` would have it names a place as well, which here is an option.
fn misplaced(error: CommandError, image: &str) -> CommandError {
    if image.starts_with("oci:") || image.starts_with("oci-archive:") {
        return error
            .hint("the place is an option: --remote=/PATH of a layout, or --remote=oci-archive:FILE, then a name");
    }
    error
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
