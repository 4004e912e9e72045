//! OpenPGP keys and detached signatures, in memory: no file, no network, no key but those that are handed in.
//!
//! This parses what strangers wrote. The program therefore calls it in a process of its own that can do nothing else
//! (docs/signatures.md); everything here is plain data, so that it can cross that border.

use std::time::SystemTime;

use sequoia_openpgp as openpgp;
use serde::{Deserialize, Serialize};

mod certificate;
mod detached;

pub use certificate::{Certificate, KeyError, inspect};
pub use detached::{Refusal, Signed, Signer, verify};

/// A signature file larger than this many bytes is none: one signature has a few hundred.
pub const MAX_SIGNATURE_BYTES: usize = 64 << 10;

/// A file of keys larger than this many bytes is refused; a key with a thousand certifications has 300 kB.
pub const MAX_KEY_BYTES: usize = 1 << 20;

/// A public key that is trusted, as it lies in the keystore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The fingerprint of its primary key: 40 or 64 lower-case hexadecimal digits.
    pub fingerprint: String,
    /// The certificate, armored or binary.
    pub bytes: Vec<u8>,
}

/// Does what happens once in a process, on first use, and opens files: finding a source of random numbers where the C
/// library is linked statically, and the time zone. A process that will be able to open none does it before.
pub fn prepare() {
    // Without random numbers the library fails where it needs them.
    let _ = openpgp::crypto::random(&mut [0; 16]);
    // The library prints moments with strftime(3).
    let _ = openpgp::Error::PolicyViolation(String::new(), Some(SystemTime::now())).to_string();
}

/// A fingerprint as the keystore writes it.
fn hex(fingerprint: &openpgp::Fingerprint) -> String {
    fingerprint.to_hex().to_ascii_lowercase()
}

/// The day of a moment, in UTC.
fn day(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time)
        .map_or_else(|_| "an unknown day".to_owned(), |at| at.strftime("%Y-%m-%d").to_string())
}

/// An error of the library with its causes on one line, without what it cannot know: control characters are escaped.
fn reason(error: &openpgp::anyhow::Error) -> String {
    crate::quote::Quoted::bare(&format!("{error:#}"))
}
