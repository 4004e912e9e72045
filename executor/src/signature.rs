//! Whether an ACI may be used: who has signed it, and whether that key is trusted for its name.
//!
//! The signature is checked before anything is unpacked, against every key of the keystore. Whether the key is trusted
//! for this image is decided as soon as its manifest has told its name, before it becomes visible.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::path::Path;

use appc::AcIdentifier;
use fetch::keystore::{Keystore, Trust};
use fetch::openpgp::{MAX_SIGNATURE_BYTES, Refusal, Signed};
use rustix::fs::{CWD, Mode, OFlags, openat};
use store::Digest;

use crate::config::ConfigDirs;
use crate::error::{CommandError, Explain};
use crate::escape::printable;
use crate::output;
use crate::verifier;

/// Who answers for an image.
#[derive(Debug)]
pub(crate) enum Voucher {
    /// Nobody; the operator wants it nevertheless, or it is part of this program.
    Nobody,
    /// Keys that have signed it, and what they are trusted for.
    Keys { signed: Signed, trust: Trust },
}

impl Voucher {
    /// The digest of the bytes that were signed, which must be that of the bytes that are unpacked.
    pub(crate) fn archive(&self) -> Option<Digest> {
        match self {
            Self::Nobody => None,
            Self::Keys { signed, .. } => {
                Some(format!("sha256:{}", signed.sha256).parse().expect("the verifier writes SHA-256 in hexadecimal"))
            }
        }
    }

    /// Accepts the name of the image.
    ///
    /// # Errors
    ///
    /// None of the keys is trusted for it.
    pub(crate) fn check_name(&self, name: &AcIdentifier) -> Result<(), CommandError> {
        let Self::Keys { signed, trust } = self else { return Ok(()) };
        let Some(signer) = signed.by.iter().find(|signer| trust.trusts(&signer.fingerprint, name)) else {
            let signer = &signed.by[0];
            let scopes = trust.scopes(&signer.fingerprint);
            let scopes = scopes.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let key = &signer.fingerprint;
            return Err(CommandError::failed(format!(
                "signed by key {key}, which is trusted for {scopes}, not for {name}"
            ))
            .hint(format!("if it should be: proa trust --prefix={name} KEYFILE")));
        };
        // rkt's lines.
        let ids: String = signer.user_ids.iter().map(|id| format!("  {}\n", printable(id))).collect();
        output::complain(&format!("proa: signature verified:\n{ids}"));
        Ok(())
    }
}

/// Checks the signature of an ACI. Leaves the file at its start.
///
/// # Errors
///
/// No trusted key has signed these bytes; the error says why not.
pub(crate) fn vouch(dirs: &ConfigDirs, aci: &mut File, signature: Vec<u8>) -> Result<Voucher, CommandError> {
    let trust = Keystore::new(dirs.all()).read()?;
    let keys = trust.keys()?;
    let signed = verifier::verify(aci, signature, keys).map_err(explain)?;
    aci.rewind().during(|| "read the image again".into())?;
    Ok(Voucher::Keys { signed, trust })
}

/// Checks whether a signature is one of a trusted key, before the image is there.
///
/// # Errors
///
/// It will not count, whatever it is over.
pub(crate) fn check_signer(dirs: &ConfigDirs, signature: Vec<u8>) -> Result<(), CommandError> {
    let keys = Keystore::new(dirs.all()).read()?.keys()?;
    let nothing = File::open("/dev/null").during(|| "open /dev/null".into())?;
    match verifier::verify(&nothing, signature, keys) {
        Err(error) if matches!(error.cause::<Refusal>(), Some(Refusal::Tampered { .. })) => Ok(()),
        outcome => outcome.map(drop).map_err(explain),
    }
}

/// Reads a signature file.
///
/// # Errors
///
/// It cannot be read, or is too large to be one.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, CommandError> {
    let read = || -> io::Result<Vec<u8>> {
        // A fifo without a writer must not hold us up.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::from(openat(CWD, path, flags, Mode::empty())?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let mut bytes = Vec::new();
        file.take(MAX_SIGNATURE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read()
        .during(|| format!("read the signature {}", path.display()))
        .hint(|| "a detached OpenPGP signature is wanted, as `gpg --armor --detach-sign IMAGE` makes it".into())
}

/// Says what can be done about a signature that does not count.
fn explain(error: CommandError) -> CommandError {
    let hint = match error.cause::<Refusal>() {
        Some(Refusal::NoKeys) => "trust the key of whoever makes the image: `proa trust --prefix=NAME KEYFILE`",
        Some(Refusal::Untrusted { .. }) => "if you know whose key that is: `proa trust --prefix=NAME KEYFILE`",
        Some(Refusal::Tampered { .. }) => "image or signature was changed or damaged on its way: do not use it",
        Some(Refusal::Void { .. }) => "ask whoever makes the image for a new signature",
        Some(Refusal::Key { .. }) => {
            "replace or remove that file of the keystore; `proa trust --list` shows where it is"
        }
        Some(_) => "a detached OpenPGP signature is wanted, as `gpg --armor --detach-sign IMAGE` makes it",
        None => return error,
    };
    error.hint(hint)
}
