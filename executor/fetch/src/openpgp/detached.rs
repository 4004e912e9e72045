//! Verifying a detached signature over a stream.

use std::io::{self, Read};

use openpgp::cert::Cert;
use openpgp::cert::amalgamation::key::ValidErasedKeyAmalgamation;
use openpgp::cert::amalgamation::{ValidAmalgamation as _, ValidateAmalgamation as _};
use openpgp::packet::Signature;
use openpgp::packet::key::PublicParts;
use openpgp::parse::stream::{
    DetachedVerifierBuilder, GoodChecksum, MessageLayer, MessageStructure, VerificationError, VerificationHelper,
};
use openpgp::parse::{PacketParser, PacketParserResult, Parse as _};
use openpgp::policy::StandardPolicy;
use openpgp::types::{RevocationStatus, SignatureType};
use openpgp::{Error, KeyHandle, Packet};
use sequoia_openpgp as openpgp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::certificate::{self, KeyError, not_alive};
use super::{Key, MAX_SIGNATURE_BYTES, hex, reason};

/// The most signatures in one file: a few parties, or one with an old and a new key.
const MAX_SIGNATURES: usize = 16;

/// Data that a trusted key has signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// Who signed it: one or more, in the order of the signatures.
    pub by: Vec<Signer>,
    /// The SHA-256 of the data that was verified, lower-case hexadecimal. What is used later must have it too.
    pub sha256: String,
}

/// A key that made a good signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signer {
    /// The fingerprint of the primary key, by which it is trusted.
    pub fingerprint: String,
    /// Whom the key says it belongs to.
    pub user_ids: Vec<String>,
}

/// Why a signature does not count. A key is named by the fingerprint of its primary key, or by what the signature says
/// about it if it is unknown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Refusal {
    /// The file has no bytes.
    #[error("the signature file is empty")]
    Empty,
    /// The file is larger than a signature can be.
    #[error("the signature file is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// The file is not OpenPGP, or damaged.
    #[error("the signature file is no OpenPGP signature: {why}")]
    Malformed {
        /// The parser's words.
        why: String,
    },
    /// The file is a signed message or a key, not a signature over another file.
    #[error("the signature file is {found}, not a detached signature")]
    NotDetached {
        /// What it is.
        found: String,
    },
    /// More signatures than anybody makes.
    #[error("the signature file holds more than {limit} signatures")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// No key is trusted for anything.
    #[error("no key is trusted")]
    NoKeys,
    /// A trusted key is not what its file name says, or damaged.
    #[error("trusted key {fingerprint}")]
    Key {
        /// What its file is named.
        fingerprint: String,
        /// What is wrong with it.
        source: KeyError,
    },
    /// Made by keys that are not trusted.
    #[error("signed by {}, which is not trusted", .issuers.join(" and "))]
    Untrusted {
        /// What the signatures say about their keys.
        issuers: Vec<String>,
    },
    /// The data is not what was signed.
    #[error("bad signature of key {key}: the data is not what was signed")]
    Tampered {
        /// The key that is said to have signed it.
        key: String,
    },
    /// A trusted key, but not in a way that counts.
    #[error("signature of key {key} does not count: {why}")]
    Void {
        /// The key.
        key: String,
        /// The reason: expired, revoked, too weak, for something else.
        why: String,
    },
    /// The data could not be read.
    #[error("read the signed data: {why}")]
    Read {
        /// The system's words.
        why: String,
    },
}

/// What is accepted: the library's policy, which refuses MD5 and SHA-1, short keys and critical extensions it does not
/// know.
pub(super) fn policy() -> StandardPolicy<'static> {
    StandardPolicy::new()
}

/// Verifies that one of `keys` has signed `data`, to its end, with a signature of the file `signature`.
///
/// Signatures of unknown keys are passed over. Of a known key one that is not good spoils the file, even beside a good
/// one: whoever made it wanted something else to be signed.
///
/// # Errors
/// [`Refusal`].
pub fn verify(keys: &[Key], signature: &[u8], data: impl Read + Send + Sync) -> Result<Signed, Refusal> {
    check_form(signature)?;
    if keys.is_empty() {
        return Err(Refusal::NoKeys);
    }
    let certs = keys.iter().map(certificate).collect::<Result<Vec<_>, _>>()?;
    let policy = policy();
    let malformed = |error: openpgp::anyhow::Error| Refusal::Malformed { why: reason(&error) };
    let judge = Judge { certs, policy: &policy, found: Vec::new() };
    let mut verifier = DetachedVerifierBuilder::from_bytes(signature)
        .and_then(|builder| builder.with_policy(&policy, None, judge))
        .map_err(malformed)?;
    let mut data = Hashing { data, hash: Sha256::new(), failed: None };
    let verified = verifier.verify_reader(&mut data);
    if let Some(why) = data.failed {
        return Err(Refusal::Read { why });
    }
    verified.map_err(malformed)?;
    let found = verifier.into_helper().found;
    let sha256 = hex::encode(data.hash.finalize());
    judge_all(found).map(|by| Signed { by, sha256 })
}

/// Refuses everything but a sequence of signatures.
fn check_form(file: &[u8]) -> Result<(), Refusal> {
    if file.is_empty() {
        return Err(Refusal::Empty);
    }
    if file.len() > MAX_SIGNATURE_BYTES {
        return Err(Refusal::TooLarge { limit: MAX_SIGNATURE_BYTES });
    }
    let cleartext = b"-----BEGIN PGP SIGNED MESSAGE-----";
    if file.windows(cleartext.len()).any(|window| window == cleartext) {
        return Err(Refusal::NotDetached { found: "a text with a signature in it".to_owned() });
    }
    let malformed = |error: openpgp::anyhow::Error| Refusal::Malformed { why: reason(&error) };
    let mut signatures = 0;
    let mut parser = PacketParser::from_bytes(file).map_err(malformed)?;
    while let PacketParserResult::Some(packet) = parser {
        match &packet.packet {
            Packet::Signature(signature) if signature.typ() == SignatureType::Binary => signatures += 1,
            Packet::Signature(signature) => {
                return Err(Refusal::NotDetached { found: format!("a signature of type {}", signature.typ()) });
            }
            Packet::Marker(_) => {}
            Packet::Unknown(unknown) if unknown.tag() == openpgp::packet::Tag::Signature => {
                return Err(Refusal::Malformed { why: reason(unknown.error()) });
            }
            Packet::OnePassSig(_) | Packet::Literal(_) | Packet::CompressedData(_) => {
                return Err(Refusal::NotDetached { found: "a signed message".to_owned() });
            }
            Packet::PublicKey(_) | Packet::SecretKey(_) => {
                return Err(Refusal::NotDetached { found: "a key".to_owned() });
            }
            other => return Err(Refusal::NotDetached { found: format!("OpenPGP data ({})", other.tag()) }),
        }
        if signatures > MAX_SIGNATURES {
            return Err(Refusal::TooMany { limit: MAX_SIGNATURES });
        }
        parser = packet.next().map_err(malformed)?.1;
    }
    match signatures {
        0 => Err(Refusal::Malformed { why: "there is none in it".to_owned() }),
        _ => Ok(()),
    }
}

/// The certificate of a key of the keystore: exactly the one its file is named after.
fn certificate(key: &Key) -> Result<Cert, Refusal> {
    let refused = |source| Refusal::Key { fingerprint: key.fingerprint.clone(), source };
    let mut certs = certificate::parse(&key.bytes).map_err(refused)?;
    let found = hex(&certs[0].fingerprint());
    if found != key.fingerprint {
        return Err(refused(KeyError::Mismatch { named: key.fingerprint.clone(), found }));
    }
    Ok(certs.swap_remove(0))
}

/// What became of one signature.
enum Found {
    Good(Signer),
    Unknown(String),
    Refused(Refusal),
}

/// The good signatures, if there are any and no other one of a known key.
fn judge_all(found: Vec<Found>) -> Result<Vec<Signer>, Refusal> {
    let (mut good, mut issuers) = (Vec::new(), Vec::new());
    for found in found {
        match found {
            Found::Good(signer) if good.contains(&signer) => {}
            Found::Good(signer) => good.push(signer),
            Found::Unknown(issuer) => issuers.push(issuer),
            Found::Refused(refusal) => return Err(refusal),
        }
    }
    if good.is_empty() { Err(Refusal::Untrusted { issuers }) } else { Ok(good) }
}

/// Knows the trusted keys and notes what the library says of each signature.
struct Judge<'a> {
    certs: Vec<Cert>,
    policy: &'a StandardPolicy<'static>,
    found: Vec<Found>,
}

impl VerificationHelper for Judge<'_> {
    fn get_certs(&mut self, _: &[KeyHandle]) -> openpgp::Result<Vec<Cert>> {
        Ok(self.certs.clone())
    }

    fn check(&mut self, structure: MessageStructure<'_>) -> openpgp::Result<()> {
        for layer in structure {
            let MessageLayer::SignatureGroup { results } = layer else { continue };
            let found = results.into_iter().map(|result| match result {
                Ok(good) => self.good(&good),
                Err(bad) => bad_signature(bad),
            });
            let found: Vec<Found> = found.collect();
            self.found.extend(found);
        }
        Ok(())
    }
}

impl Judge<'_> {
    /// The library asks whether the key was valid when the signature says it was made, which its maker chose. Here it
    /// must be valid now as well.
    fn good(&self, good: &GoodChecksum<'_>) -> Found {
        let cert = good.ka.cert();
        let key = hex(&cert.fingerprint());
        let void = |why| Found::Refused(Refusal::Void { key: key.clone(), why });
        if let Some(why) = certificate::problem(cert, self.policy) {
            return void(why);
        }
        let now = match good.ka.amalgamation().clone().with_policy(self.policy, None) {
            Ok(now) => now,
            Err(error) => return void(format!("the signing key is not accepted: {}", reason(&error))),
        };
        if let RevocationStatus::Revoked(_) = now.revocation_status() {
            return void("the signing key is revoked".to_owned());
        }
        if let Err(error) = now.alive() {
            return void(not_alive("the signing key", &error));
        }
        Found::Good(Signer { fingerprint: key.clone(), user_ids: certificate::user_ids(cert) })
    }
}

fn bad_signature(error: VerificationError<'_>) -> Found {
    let void = |cert: &Cert, why| Found::Refused(Refusal::Void { key: hex(&cert.fingerprint()), why });
    match error {
        VerificationError::MissingKey { sig } => Found::Unknown(issuer(sig)),
        VerificationError::UnboundKey { cert, error, .. } => void(cert, unbound(cert, &error)),
        VerificationError::BadKey { ka, error, .. } => void(ka.cert(), bad_key(&ka, &error)),
        VerificationError::BadSignature { ka, error, .. } => match error.downcast_ref::<Error>() {
            // An error of another kind is the algorithm's own: the numbers do not fit.
            None | Some(Error::BadSignature(_) | Error::ManipulatedMessage) => {
                Found::Refused(Refusal::Tampered { key: hex(&ka.cert().fingerprint()) })
            }
            Some(Error::Expired(_) | Error::NotYetLive(_)) => void(ka.cert(), not_alive("the signature", &error)),
            Some(Error::PolicyViolation(..)) => void(ka.cert(), format!("it is too weak: {}", reason(&error))),
            _ => void(ka.cert(), reason(&error)),
        },
        VerificationError::MalformedSignature { error, .. } => {
            Found::Refused(Refusal::Malformed { why: reason(&error) })
        }
        VerificationError::UnknownSignature { sig } => Found::Refused(Refusal::Malformed { why: reason(sig.error()) }),
        other => Found::Refused(Refusal::Malformed { why: crate::quote::Quoted::bare(&other.to_string()) }),
    }
}

/// What a signature says about the key that made it.
fn issuer(signature: &Signature) -> String {
    let mut handles = signature.get_issuers();
    // The fingerprint first: a key ID is easily forged.
    handles.sort_by_key(|handle| matches!(handle, KeyHandle::KeyID(_)));
    match handles.first() {
        Some(KeyHandle::Fingerprint(fingerprint)) => format!("key {}", hex(fingerprint)),
        Some(KeyHandle::KeyID(id)) => format!("key {}", id.to_hex().to_ascii_lowercase()),
        None => "an unnamed key".to_owned(),
    }
}

fn unbound(cert: &Cert, error: &openpgp::anyhow::Error) -> String {
    certificate::problem(cert, &policy())
        .unwrap_or_else(|| format!("the signing key is not accepted: {}", reason(error)))
}

fn bad_key(ka: &ValidErasedKeyAmalgamation<'_, PublicParts>, error: &openpgp::anyhow::Error) -> String {
    if let RevocationStatus::Revoked(_) = ka.valid_cert().revocation_status() {
        return "the key is revoked".to_owned();
    }
    if let RevocationStatus::Revoked(_) = ka.revocation_status() {
        return "the signing key is revoked".to_owned();
    }
    if ka.valid_cert().alive().is_err() {
        return not_alive("the key", error);
    }
    match ka.alive() {
        Err(error) => not_alive("the signing key", &error),
        Ok(()) => reason(error),
    }
}

/// Passes data on and hashes it.
struct Hashing<R> {
    data: R,
    hash: Sha256,
    failed: Option<String>,
}

impl<R: Read> Read for &mut Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.data.read(buffer) {
            Ok(count) => {
                self.hash.update(&buffer[..count]);
                Ok(count)
            }
            Err(error) => {
                self.failed.get_or_insert_with(|| error.to_string());
                Err(error)
            }
        }
    }
}
