//! What a person types to name an image, and which kind of name it is.

mod error;
mod reading;

use std::fmt;
use std::path::{Path, PathBuf};

use appc::ImageString;

use crate::http::Url;

pub use error::RefError;

/// The name of an image, sorted by where it leads. The heuristics are rkt's (`guessAppcOrPath`): a path is what
/// begins with `/`, `./` or `../` or ends in `.aci`; everything without another mark is a name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageRef {
    /// `hello`, the image built into the program. (A file of that name is `./hello`.)
    Hello,
    /// A local ACI file: a path, or `file:///PATH`.
    Aci(PathBuf),
    /// `oci:DIR[:REF]`, an OCI layout directory. `DIR` ends at the first colon, as with other tools.
    OciLayout {
        /// The layout directory.
        dir: PathBuf,
        /// A value of the annotation `org.opencontainers.image.ref.name`, or a digest.
        reference: Option<String>,
    },
    /// `oci-archive:FILE[:REF]`, a tar archive of an OCI layout.
    OciArchive {
        /// The archive.
        file: PathBuf,
        /// As with a layout directory.
        reference: Option<String>,
    },
    /// `docker-archive:FILE[:REF]`, what `docker save` writes.
    DockerArchive {
        /// The archive.
        file: PathBuf,
        /// The name of one of its images, or `@N`: its place, from 0 on.
        reference: Option<String>,
    },
    /// `http://…` or `https://…`, an ACI of a server. Its signature is at that URL with `.asc` behind the path.
    Url(Url),
    /// `appc://NAME[:VERSION][,LABEL=VALUE…]`, an image to be found by App Container discovery.
    Appc(ImageString),
    /// `docker://NAME[:TAG][@DIGEST]`, an image of a registry, as it was typed after the two slashes. It is known to be
    /// well-formed; which registry a name without a host means is configured.
    Registry(String),
    /// The ID of a stored image or the beginning of one, normalised to `sha512-HEX` (ACI) or `sha256:HEX` (OCI).
    Id(String),
    /// Anything else: a name, to be looked up in the store.
    Name(String),
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello => f.write_str("hello"),
            Self::Aci(path) => write!(f, "{}", path.display()),
            Self::OciLayout { dir, reference } => write_place(f, "oci", dir, reference.as_deref()),
            Self::OciArchive { file, reference } => write_place(f, "oci-archive", file, reference.as_deref()),
            Self::DockerArchive { file, reference } => write_place(f, "docker-archive", file, reference.as_deref()),
            Self::Url(url) => write!(f, "{url}"),
            Self::Appc(image) => write!(f, "appc://{image}"),
            Self::Registry(name) => write!(f, "docker://{name}"),
            Self::Id(text) | Self::Name(text) => f.write_str(text),
        }
    }
}

fn write_place(f: &mut fmt::Formatter<'_>, kind: &str, path: &Path, reference: Option<&str>) -> fmt::Result {
    write!(f, "{kind}:{}", path.display())?;
    reference.map_or(Ok(()), |reference| write!(f, ":{reference}"))
}

#[cfg(test)]
mod tests;
