//! What a file of public keys holds, and whether its keys could sign anything today.

use openpgp::cert::CertParser;
use openpgp::parse::Parse as _;
use openpgp::policy::Policy;
use openpgp::serialize::SerializeInto as _;
use openpgp::types::RevocationStatus;
use openpgp::{Cert, Error};
use sequoia_openpgp as openpgp;
use serde::{Deserialize, Serialize};

use super::{MAX_KEY_BYTES, day, hex, reason};
use crate::quote::Quoted;

/// The most keys that one file may hold.
const MAX_KEYS: usize = 32;

/// The most user IDs, and subkeys, of a key that are shown.
const MAX_SHOWN: usize = 32;

/// A public key as it is shown to a person, and as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The fingerprint of the primary key, lower-case hexadecimal.
    pub fingerprint: String,
    /// The fingerprints of its subkeys.
    pub subkeys: Vec<String>,
    /// Whom it says it belongs to, control characters escaped. Anybody can write anything there.
    pub user_ids: Vec<String>,
    /// Why no signature of it would be accepted today, if so.
    pub problem: Option<String>,
    /// The key and nothing else, armored.
    pub armored: String,
}

/// Why a file is no file of public keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum KeyError {
    /// It has no bytes.
    #[error("it is empty")]
    Empty,
    /// It is larger than a megabyte.
    #[error("it is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// It is not OpenPGP, or damaged.
    #[error("it is no OpenPGP public key: {why}")]
    Malformed {
        /// The parser's words.
        why: String,
    },
    /// It holds a secret key, which belongs nowhere but with its owner.
    #[error("it holds the secret key of {fingerprint}")]
    Secret {
        /// The primary key.
        fingerprint: String,
    },
    /// It holds more keys than anybody would review.
    #[error("it holds more than {limit} keys")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// It lies in the keystore under the name of another key.
    #[error("fingerprint mismatch: the file is named {named}, the key is {found}")]
    Mismatch {
        /// What the file is named.
        named: String,
        /// What its key is.
        found: String,
    },
}

/// Reads the public keys of a file, armored or binary.
///
/// # Errors
/// [`KeyError`]; a file with one damaged key is refused as a whole.
pub fn inspect(bytes: &[u8]) -> Result<Vec<Certificate>, KeyError> {
    let certs = parse(bytes)?;
    certs.iter().map(|cert| describe(cert, &super::detached::policy())).collect()
}

/// The keys of a file.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Cert>, KeyError> {
    let malformed = |error: &openpgp::anyhow::Error| KeyError::Malformed { why: reason(error) };
    if bytes.is_empty() {
        return Err(KeyError::Empty);
    }
    if bytes.len() > MAX_KEY_BYTES {
        return Err(KeyError::TooLarge { limit: MAX_KEY_BYTES });
    }
    let mut certs = Vec::new();
    for cert in CertParser::from_bytes(bytes).map_err(|error| malformed(&error))? {
        let cert = cert.map_err(|error| malformed(&error))?;
        if cert.is_tsk() {
            return Err(KeyError::Secret { fingerprint: hex(&cert.fingerprint()) });
        }
        if certs.len() == MAX_KEYS {
            return Err(KeyError::TooMany { limit: MAX_KEYS });
        }
        certs.push(cert);
    }
    if certs.is_empty() {
        return Err(KeyError::Malformed { why: "there is none in it".to_owned() });
    }
    Ok(certs)
}

/// Why `cert` is not fit to sign, now.
pub(super) fn problem(cert: &Cert, policy: &dyn Policy) -> Option<String> {
    let valid = match cert.with_policy(policy, None) {
        Ok(valid) => valid,
        Err(error) => return Some(format!("the key is not accepted: {}", reason(&error))),
    };
    if let RevocationStatus::Revoked(_) = valid.revocation_status() {
        return Some("the key is revoked".to_owned());
    }
    if let Err(error) = valid.alive() {
        return Some(not_alive("the key", &error));
    }
    if valid.keys().for_signing().supported().alive().revoked(false).next().is_none() {
        return Some("the key has no part that is valid and may sign".to_owned());
    }
    None
}

/// Says whether something is over or has not begun.
pub(super) fn not_alive(what: &str, error: &openpgp::anyhow::Error) -> String {
    match error.downcast_ref::<Error>() {
        Some(Error::Expired(at)) => format!("{what} expired on {}", day(*at)),
        Some(Error::NotYetLive(at)) => format!("{what} is not valid before {}", day(*at)),
        _ => format!("{what} is not valid: {}", reason(error)),
    }
}

/// Whom a key says it belongs to.
pub(super) fn user_ids(cert: &Cert) -> Vec<String> {
    let shown = |id: &[u8]| Quoted::bare(&String::from_utf8_lossy(id));
    cert.userids().take(MAX_SHOWN).map(|id| shown(id.userid().value())).collect()
}

fn describe(cert: &Cert, policy: &dyn Policy) -> Result<Certificate, KeyError> {
    let malformed = |error: openpgp::anyhow::Error| KeyError::Malformed { why: reason(&error) };
    let armored = cert.armored().to_vec().map_err(malformed)?;
    Ok(Certificate {
        fingerprint: hex(&cert.fingerprint()),
        subkeys: cert.keys().subkeys().take(MAX_SHOWN).map(|key| hex(&key.key().fingerprint())).collect(),
        user_ids: user_ids(cert),
        problem: problem(cert, policy),
        armored: String::from_utf8_lossy(&armored).into_owned(),
    })
}
