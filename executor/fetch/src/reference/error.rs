//! Why a text names no image.

use appc::image_string::ImageStringError;

use super::reading::MAX_LEN;
use crate::digest::DigestError;
use crate::quote::Quoted;
use crate::registry::RegistryRefError;

/// Why a string is no image reference. Messages repeat the string only where it cannot hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefError {
    /// The string is empty.
    #[error("image reference is empty")]
    Empty,
    /// The string is longer than 4096 bytes.
    #[error("image reference has {0} bytes, the limit is {MAX_LEN}")]
    TooLong(usize),
    /// A space or control character, which no reference holds.
    #[error("image reference {0} holds a blank or control character")]
    Blank(Quoted),
    /// A transport this program does not have.
    #[error(
        "transport {0} is not supported; docker://NAME, appc://NAME, https://URL.aci, a file (PATH.aci), oci:DIR[:REF], oci-archive:FILE[:REF], docker-archive:FILE[:REF], a stored image or hello is"
    )]
    Transport(Quoted),
    /// A part that may not be empty is.
    #[error("image reference {text} has an empty {part}")]
    EmptyPart {
        /// The reference.
        text: Quoted,
        /// What is empty: `directory`, `reference`, `path` or `path component`.
        part: &'static str,
    },
    /// `file://` with a host or a broken escape.
    #[error("file URL {0} must be file:///PATH, percent-encoded")]
    FileUrl(Quoted),
    /// The ID is no prefix of an image ID.
    #[error("image ID {0} must be sha512- or sha256: and 2 to 128 or 64 lower-case hexadecimal digits")]
    Id(Quoted),
    /// The ID has fewer than two digits; the text is rkt's.
    #[error("image ID too short: {0}")]
    ShortId(Quoted),
    /// A digest of an algorithm that names no image here.
    #[error("image ID {0} uses an unsupported algorithm (supported: sha256, sha512)")]
    Algorithm(Quoted),
    /// `NAME@DIGEST` with a malformed digest.
    #[error("image name {text}")]
    Digest {
        /// The reference.
        text: Quoted,
        /// What is wrong with the digest.
        source: DigestError,
    },
    /// `docker://` and what names no image of a registry.
    #[error("image reference {text}")]
    Registry {
        /// The reference.
        text: Quoted,
        /// What is wrong with it.
        source: RegistryRefError,
    },
    /// `https://` and what is no URL.
    #[error("image URL {text}: {reason}")]
    Url {
        /// What follows a password, if there is one.
        text: Quoted,
        /// What is wrong with it.
        reason: String,
    },
    /// `appc://` and what names no image.
    #[error("image name {text}")]
    Appc {
        /// The name.
        text: Quoted,
        /// What is wrong with it.
        source: ImageStringError,
    },
    /// A name with a `.` or `..` component.
    #[error("image name {0} holds a . or .. component (a file is written ./PATH)")]
    Dots(Quoted),
    /// `user:password@host`. The text is not repeated.
    #[error("image names hold no user name or password; credentials belong in the credentials file")]
    Credentials,
}
