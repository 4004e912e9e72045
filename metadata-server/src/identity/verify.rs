//! What a verifier does: checks a token with the public keys of the user in whose name it was issued.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// What a token says that verifies.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Identity {
    /// `proa:USER@HOST`
    #[serde(rename = "iss")]
    pub issuer: String,
    /// `pod/UUID/app/NAME`
    #[serde(rename = "sub")]
    pub subject: String,
    /// The app's name in the pod.
    pub app: String,
    /// The pod's UUID.
    pub pod: String,
    /// The ID of the app's image.
    pub image: String,
    #[serde(rename = "aud")]
    audience: String,
    nbf: u64,
    exp: u64,
}

/// Why a token proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unverified {
    /// Not three parts, or not what they must hold.
    #[error("not a token of this service")]
    Malformed,
    /// The set has no key of that name.
    #[error("signed with a key that is not in the set")]
    UnknownKey,
    /// Somebody else has signed it, or it was changed.
    #[error("the signature is wrong")]
    Signature,
    /// Meant for somebody else.
    #[error("meant for another verifier")]
    Audience,
    /// Not good any more, or not yet.
    #[error("not good at this time")]
    Time,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Key>,
}

#[derive(Deserialize)]
struct Key {
    kid: String,
    x: String,
    y: String,
}

/// Checks `token` with a JWK set, as the verifier `audience`, at a time in seconds since the epoch.
///
/// # Errors
/// [`Unverified`].
pub fn verify(jwks: &[u8], token: &str, audience: &str, now: u64) -> Result<Identity, Unverified> {
    let keys: KeySet = serde_json::from_slice(jwks).map_err(|_| Unverified::UnknownKey)?;
    let (message, signature) = token.rsplit_once('.').ok_or(Unverified::Malformed)?;
    let (header, claims) = message.split_once('.').ok_or(Unverified::Malformed)?;
    let header: Header = part(header)?;
    if header.alg != "ES256" {
        return Err(Unverified::Malformed);
    }
    let key = keys.keys.iter().find(|key| key.kid == header.kid).ok_or(Unverified::UnknownKey)?;
    // The uncompressed form of a point (SEC 1, section 2.3.3).
    let point = [vec![4], bytes(&key.x)?, bytes(&key.y)?].concat();
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    public.verify(message.as_bytes(), &bytes(signature)?).map_err(|_| Unverified::Signature)?;
    let identity: Identity = part(claims)?;
    if identity.audience != audience {
        return Err(Unverified::Audience);
    }
    if !(identity.nbf..identity.exp).contains(&now) {
        return Err(Unverified::Time);
    }
    Ok(identity)
}

fn bytes(text: &str) -> Result<Vec<u8>, Unverified> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Unverified::Malformed)
}

fn part<T: DeserializeOwned>(text: &str) -> Result<T, Unverified> {
    serde_json::from_slice(&bytes(text)?).map_err(|_| Unverified::Malformed)
}
