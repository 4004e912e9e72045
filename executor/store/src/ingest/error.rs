//! Why an archive was not taken in.

use serde::{Deserialize, Serialize};

use super::compression::Compression;
use crate::digest::Digest;
use crate::extract::ExtractError;
use crate::os_error::OsError;
use crate::shown::Shown;

/// What stopped an ingest. Tree and blob are then partial and must be removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum IngestError {
    /// Nothing to read.
    #[error("the archive is empty")]
    Empty,
    /// A known format that is not read.
    #[error("compression {name} is not supported (supported: plain tar, gzip, bzip2, xz, zstd)")]
    UnsupportedCompression {
        /// Its name.
        name: String,
    },
    /// An encrypted file.
    #[error("the image is encrypted ({name})")]
    Encrypted {
        /// With what.
        name: String,
    },
    /// Another format than the media type declares.
    #[error("declared as {declared}, but it begins with {found}")]
    WrongCompression {
        /// What the media type says.
        declared: Compression,
        /// The first bytes.
        found: Shown,
    },
    /// The compressed stream ends too early.
    #[error("truncated {compression} stream after {size} bytes")]
    Truncated {
        /// The format.
        compression: Compression,
        /// Compressed bytes there were.
        size: u64,
    },
    /// The compressed stream is damaged, or asks for more memory than is granted.
    #[error("corrupt {compression} stream near byte {offset}: {reason}")]
    Corrupt {
        /// The format.
        compression: Compression,
        /// Compressed bytes read so far.
        offset: u64,
        /// What the decoder says.
        reason: String,
    },
    /// Bytes that belong to no member or frame.
    #[error("garbage after the end of the {compression} stream at byte {offset}")]
    Trailing {
        /// The format.
        compression: Compression,
        /// Compressed bytes before them.
        offset: u64,
    },
    /// More than the limit after decompression.
    #[error("expands to more than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// A compression ratio that only bombs have.
    #[error("expands to more than {ratio} times its size ({compressed} bytes became {expanded} so far)")]
    Bomb {
        /// The limit.
        ratio: u64,
        /// Compressed bytes read.
        compressed: u64,
        /// Bytes they became.
        expanded: u64,
    },
    /// The bytes are not the ones asked for.
    #[error("digest mismatch of the {what} archive: expected {expected}, found {actual}")]
    DigestMismatch {
        /// Which bytes: `compressed` or `uncompressed`.
        what: String,
        /// The digest asked for.
        expected: Box<Digest>,
        /// The digest found.
        actual: Box<Digest>,
    },
    /// Reading the input failed.
    #[error("read the archive: {0}")]
    Read(OsError),
    /// Writing or syncing the blob failed.
    #[error("write the blob: {0}")]
    WriteBlob(OsError),
    /// Writing what gives the archive back failed.
    #[error("write the recipe: {0}")]
    WriteRecipe(OsError),
    /// The tar archive inside was not extracted.
    #[error(transparent)]
    Extract(#[from] ExtractError),
}

impl IngestError {
    /// Whether damaged or exchanged bytes may be behind this, so that a wrong digest explains it better.
    pub(super) fn may_be_damage(&self) -> bool {
        match self {
            Self::Truncated { .. } | Self::Corrupt { .. } | Self::Trailing { .. } | Self::WrongCompression { .. } => {
                true
            }
            Self::Extract(error) => error.is_format(),
            _ => false,
        }
    }
}
