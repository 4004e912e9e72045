//! The keys that identities are signed with.
//!
//! ```text
//! metadata/identity.json   {"keys":[{"from":S,"until":S,"pkcs8":"base64"},…]}   S: seconds since the epoch
//! ```

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::schedule::{self, Span};

/// Bytes of each coordinate of a P-256 point (RFC 7518, section 6.2.1).
const COORDINATE: usize = 32;

#[derive(Serialize, Deserialize)]
struct File {
    keys: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    from: u64,
    until: u64,
    pkcs8: String,
}

/// A key and its turn.
struct Key {
    span: Span,
    pkcs8: Vec<u8>,
    pair: EcdsaKeyPair,
    /// The thumbprint (RFC 7638), by which verifiers find the public half.
    id: String,
    /// The public half as a JWK.
    public: serde_json::Value,
}

/// The user's keys.
#[derive(Default)]
pub(crate) struct Keys(Vec<Key>);

impl Keys {
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let file: File = serde_json::from_slice(bytes).ok()?;
        let key =
            |entry: Entry| Key::new(Span { from: entry.from, until: entry.until }, STANDARD.decode(entry.pkcs8).ok()?);
        file.keys.into_iter().map(key).collect::<Option<_>>().map(Self)
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let entry =
            |key: &Key| Entry { from: key.span.from, until: key.span.until, pkcs8: STANDARD.encode(&key.pkcs8) };
        serde_json::to_vec(&File { keys: self.0.iter().map(entry).collect() }).expect("numbers and texts")
    }

    /// Whether nothing has to be made or removed.
    pub(crate) fn are_good_at(&self, now: u64) -> bool {
        schedule::due(&self.spans(), now).is_empty()
    }

    /// Removes the keys that are of no use any more, and makes those that are due.
    pub(crate) fn make_due(&mut self, now: u64) -> std::io::Result<()> {
        self.0.retain(|key| key.span.is_of_use(now));
        for span in schedule::due(&self.spans(), now) {
            let failed = || std::io::Error::other("the generator of keys failed");
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
            let pkcs8 = pkcs8.map_err(|_| failed())?.as_ref().to_vec();
            self.0.push(Key::new(span, pkcs8).ok_or_else(failed)?);
        }
        self.0.sort_by_key(|key| key.span.from);
        Ok(())
    }

    /// Lets the next key sign from now on.
    pub(crate) fn rotate(&mut self, now: u64) {
        let mut spans = self.spans();
        schedule::rotated(&mut spans, now);
        for (key, span) in self.0.iter_mut().zip(spans) {
            key.span = span;
        }
    }

    /// A JWS with these claims, signed by the key whose turn it is.
    pub(crate) fn signed(&self, now: u64, claims: &str) -> String {
        let key = self.0.iter().find(|key| key.span.covers(now)).expect("asked for only if the keys are good");
        let header = format!(r#"{{"alg":"ES256","typ":"JWT","kid":"{}"}}"#, key.id);
        let message = format!("{}.{claims}", URL_SAFE_NO_PAD.encode(header));
        let signature = key.pair.sign(&SystemRandom::new(), message.as_bytes());
        let signature = signature.expect("signing with a sound key fails only without randomness");
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The public halves (RFC 7517, section 5).
    pub(crate) fn jwks(&self) -> String {
        let keys: Vec<_> = self.0.iter().map(|key| &key.public).collect();
        serde_json::json!({ "keys": keys }).to_string()
    }

    fn spans(&self) -> Vec<Span> {
        self.0.iter().map(|key| key.span).collect()
    }
}

impl Key {
    fn new(span: Span, pkcs8: Vec<u8>) -> Option<Self> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8).ok()?;
        // 4, x, y: the uncompressed form (SEC 1, section 2.3.3).
        let point: &[u8; 1 + 2 * COORDINATE] = pair.public_key().as_ref().try_into().ok()?;
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..=COORDINATE]), URL_SAFE_NO_PAD.encode(&point[1 + COORDINATE..]));
        let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let id = URL_SAFE_NO_PAD.encode(Sha256::digest(canonical));
        let public = serde_json::json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": id, "x": x, "y": y,
        });
        Some(Self { span, pkcs8, pair, id, public })
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}
