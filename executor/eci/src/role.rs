//! What a file is for.

use std::fmt;

/// Roles of files in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The kernel.
    Kernel,
    /// The initial RAM disk.
    Initrd,
    /// The root disk.
    Root,
    /// A further disk.
    Disk,
    /// Something else.
    Other,
}

impl Role {
    /// The annotation's value.
    #[must_use]
    pub fn annotation(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Initrd => "initrd",
            Self::Root => "disk-root",
            Self::Disk => "disk-additional",
            Self::Other => "",
        }
    }

    /// The role of an annotation's value.
    pub(crate) fn of_annotation(value: &str) -> Option<Self> {
        [Self::Kernel, Self::Initrd, Self::Root, Self::Disk, Self::Other]
            .into_iter()
            .find(|it| it.annotation() == value)
    }

    /// Whether an image has at most one of it.
    pub(crate) fn is_single(self) -> bool {
        matches!(self, Self::Kernel | Self::Initrd | Self::Root)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "kernel",
            Self::Initrd => "initrd",
            Self::Root => "root disk",
            Self::Disk => "additional disk",
            Self::Other => "other file",
        })
    }
}
