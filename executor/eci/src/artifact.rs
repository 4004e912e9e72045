//! What is to be packed: files and their roles.

use std::path::PathBuf;

use crate::media::DiskType;

/// A virtual machine image's parts, all of them optional.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Artifact {
    /// The kernel.
    pub kernel: Option<PathBuf>,
    /// The initial RAM disk.
    pub initrd: Option<PathBuf>,
    /// The root disk.
    pub root: Option<Disk>,
    /// Further disks, in order.
    pub disks: Vec<Disk>,
    /// A config to be used in place of the one that is generated.
    pub config: Option<PathBuf>,
}

/// A disk's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Where it is.
    pub path: PathBuf,
    /// Its format.
    pub kind: DiskType,
}

/// An argument that names no disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// It has no colon.
    #[error("expected structure <path>:<type>")]
    Structure,
    /// The type after the first colon is none.
    #[error("unknown disk type: {0}")]
    Type(String),
}

impl std::str::FromStr for Disk {
    type Err = DiskError;

    /// Reads `PATH:TYPE`; the path ends at the first colon, as in the original.
    fn from_str(text: &str) -> Result<Self, DiskError> {
        let (path, name) = text.split_once(':').ok_or(DiskError::Structure)?;
        let kind = DiskType::of_name(name).ok_or_else(|| DiskError::Type(name.to_owned()))?;
        Ok(Self { path: path.into(), kind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_paths_and_types() {
        assert_eq!("/a.img:qcow2".parse(), Ok(Disk { path: "/a.img".into(), kind: DiskType::Qcow2 }));
        assert_eq!("a".parse::<Disk>(), Err(DiskError::Structure));
        assert_eq!("a:QCOW2".parse::<Disk>(), Err(DiskError::Type("QCOW2".into())));
        assert_eq!("a:b:raw".parse::<Disk>().unwrap_err().to_string(), "unknown disk type: b:raw");
    }
}
