//! Why an archive was not extracted.

use serde::{Deserialize, Serialize};

use crate::os_error::OsError;
use crate::shown::Shown;

/// What stopped an extraction. The tree is then partial and must be removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum ExtractError {
    /// The first block is no tar header.
    #[error("not a tar archive: it begins with {0}")]
    NotTar(Shown),
    /// A header block or a record is malformed, or two of them contradict each other.
    #[error("malformed header at byte {offset}: {reason}")]
    Header {
        /// Where in the uncompressed archive.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The archive ends inside a header or a file, or without its two closing zero blocks.
    #[error("truncated at byte {offset}: {missing}")]
    Truncated {
        /// Where in the uncompressed archive.
        offset: u64,
        /// What should have followed.
        missing: String,
    },
    /// Reading the archive failed.
    #[error("read the archive: {0}")]
    Read(String),
    /// An entry breaks a rule.
    #[error("entry {entry}: {fault}")]
    Entry {
        /// Its name, as in the archive.
        entry: Shown,
        /// The rule.
        fault: Fault,
    },
    /// A system call on behalf of an entry failed.
    #[error("entry {entry}: {call}: {errno}")]
    System {
        /// Its name, as in the archive.
        entry: Shown,
        /// The call.
        call: String,
        /// Its error.
        errno: OsError,
    },
    /// The archive is larger than a limit.
    #[error("limit exceeded: {what} ({limit})")]
    Limit {
        /// What there is too much of.
        what: String,
        /// The limit.
        limit: u64,
    },
    /// An ACI without `manifest`.
    #[error("no file \"manifest\" in the ACI")]
    NoManifest,
    /// An ACI without `rootfs`.
    #[error("no directory \"rootfs\" in the ACI")]
    NoRootfs,
}

/// The rule an entry breaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// An absolute name.
    #[error("the name is absolute")]
    Absolute,
    /// A `..` component.
    #[error("the name contains \"..\"")]
    DotDot,
    /// An empty name.
    #[error("the name is empty")]
    EmptyName,
    /// A NUL byte in the name.
    #[error("the name contains a NUL byte")]
    Nul,
    /// A trailing slash where there is no directory.
    #[error("the name of something that is no directory ends in \"/\"")]
    TrailingSlash,
    /// A name beyond the limit.
    #[error("the name is longer than {0} bytes")]
    LongPath(u64),
    /// A component beyond the limit.
    #[error("a component of the name is longer than {0} bytes")]
    LongComponent(u64),
    /// Too many components.
    #[error("the name is deeper than {0} directories")]
    TooDeep(u64),
    /// The root of the tree as something else than a directory.
    #[error("the root of the tree must stay a directory")]
    Root,
    /// A parent that is a symbolic link. Following it is how archives escape.
    #[error("a parent directory is a symbolic link")]
    ParentSymlink,
    /// A parent that is a file.
    #[error("a parent is not a directory")]
    ParentNotDirectory,
    /// A type of entry that is not extracted.
    #[error("unknown type of entry 0x{0:02x}")]
    UnknownType(u8),
    /// A link or directory that carries data.
    #[error("an entry of this type cannot have {0} bytes of data")]
    Data(u64),
    /// A symbolic link without a target, or with an unusable one.
    #[error("unusable target of the symbolic link")]
    LinkTarget,
    /// A hard link to what is not there (yet).
    #[error("hard link to {0}, which does not exist in this archive")]
    HardLinkMissing(Shown),
    /// A hard link to itself or to what it replaces.
    #[error("hard link to itself")]
    HardLinkSelf,
    /// A hard link to something that must not have two names.
    #[error("hard link to {0}, which is a directory or a whiteout")]
    HardLinkKind(Shown),
    /// The target of a hard link breaks a rule.
    #[error("target of the hard link: {0}")]
    HardLinkName(Box<Fault>),
    /// An owner outside 0 to 4294967294.
    #[error("owner {uid}:{gid} is not a valid id")]
    OwnerRange {
        /// User id.
        uid: u64,
        /// Group id.
        gid: u64,
    },
    /// An owner that the user namespace does not map.
    #[error("owner {uid}:{gid} is not in the range of ids of this user")]
    OwnerUnmapped {
        /// User id.
        uid: u64,
        /// Group id.
        gid: u64,
    },
    /// A whiteout of nothing that can be hidden.
    #[error("whiteout of {0}")]
    Whiteout(Shown),
    /// A parent whose name is a whiteout's.
    #[error("a parent's name begins with \".wh.\"")]
    WhiteoutParent,
    /// A sparse map that does not fit the file.
    #[error("the map of the sparse file is not in order or does not fit its size")]
    SparseMap,
    /// Something in an ACI beside `manifest` and `rootfs`.
    #[error("an ACI holds only \"manifest\" and \"rootfs\"")]
    OutsideRootfs,
    /// A second manifest.
    #[error("the ACI has more than one manifest")]
    SecondManifest,
    /// A manifest that is not a regular file.
    #[error("the manifest is not a regular file")]
    ManifestKind,
    /// A manifest beyond the limit.
    #[error("the manifest is larger than {0} bytes")]
    ManifestSize(u64),
    /// A manifest that is not text.
    #[error("the manifest is not UTF-8")]
    ManifestText,
    /// Extended attributes beyond the limit.
    #[error("extended attributes of more than {0} bytes")]
    Xattrs(u64),
    /// A file system that cannot hold what overlays need.
    #[error("the file system of the store does not support user extended attributes")]
    NoUserXattrs,
}

impl ExtractError {
    /// Whether the archive itself is at fault, so that its digest tells more than this error would.
    pub fn is_format(&self) -> bool {
        !matches!(self, Self::System { .. } | Self::Read(_))
    }
}
