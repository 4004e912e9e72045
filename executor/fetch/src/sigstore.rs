//! Signatures of images in registries, as cosign makes them with a key ("simple signing").
//!
//! A signature is a small document that names the digest of a manifest and the repository it is for, and an ECDSA signature
//! over the bytes of that document. Both are kept in the image's own repository, under the tag `sha256-HEX.sig`.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::json;
use crate::quote::Quoted;
use crate::registry::RegistryRef;

/// The layers of a signature image that count.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// Where such a layer's signature is.
pub(crate) const ANNOTATION: &str = "dev.cosignproject.cosign/signature";

/// What a claim says it is.
const CLAIM_TYPE: &str = "cosign container image signature";

/// The longest PEM file of a key.
const MAX_PEM: usize = 16 << 10;

/// A key that signatures are verified with.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(Vec<u8>);

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PublicKey(ECDSA P-256)")
    }
}

/// Why a file is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no ECDSA P-256 public key in PEM form, as `cosign generate-key-pair` makes them")]
pub struct PublicKeyError;

impl PublicKey {
    /// Reads `-----BEGIN PUBLIC KEY-----`.
    ///
    /// # Errors
    /// [`PublicKeyError`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, PublicKeyError> {
        let text = std::str::from_utf8(pem).ok().filter(|text| text.len() <= MAX_PEM).ok_or(PublicKeyError)?;
        let (_, body) = text.split_once("-----BEGIN PUBLIC KEY-----").ok_or(PublicKeyError)?;
        let (body, _) = body.split_once("-----END PUBLIC KEY-----").ok_or(PublicKeyError)?;
        let body: String = body.chars().filter(|c| !c.is_whitespace()).collect();
        let der = STANDARD.decode(body).map_err(|_| PublicKeyError)?;
        // The library refuses what is no point of this curve.
        match aws_lc_rs::signature::ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &der) {
            Ok(_) => Ok(Self(der)),
            Err(_) => Err(PublicKeyError),
        }
    }

    /// What tells this key from others: SHA-256 over its DER form, in hex.
    pub fn fingerprint(&self) -> String {
        hex::encode(Sha256::digest(&self.0))
    }
}

/// A claim about an image, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The document.
    pub payload: Vec<u8>,
    /// The signature over it, in base64.
    pub signature: String,
}

/// Why the signatures of an image do not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SigstoreError {
    /// There are none.
    #[error("{0} has no signature in its repository")]
    None(Digest),
    /// None is by one of the keys.
    #[error("{digest} has {count} signatures, none of them by a key of the policy")]
    Untrusted {
        /// The image's manifest or index.
        digest: Digest,
        /// How many there are.
        count: usize,
    },
    /// One is by a key, and over something else.
    #[error("a signature by a key of the policy is for {found}, not for {wanted}")]
    Other {
        /// What was signed: a digest or a repository.
        found: Quoted,
        /// What should have been.
        wanted: String,
    },
    /// One is by a key, over something that cannot be understood.
    #[error("a signature by a key of the policy is over something that is no claim: {0}")]
    Malformed(String),
}

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    identity: Identity,
    image: Image,
    r#type: String,
}

#[derive(Deserialize)]
struct Identity {
    #[serde(rename = "docker-reference")]
    reference: String,
}

#[derive(Deserialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

/// Finds a claim by one of `keys` that the image of `reference` has one of `digests`: that of its manifest, or of the index
/// its tag stands for.
///
/// # Errors
/// [`SigstoreError`]: of claims by a key the first that is for something else, else that there is none.
pub fn verify(
    keys: &[PublicKey],
    claims: &[Claim],
    digests: &[Digest],
    reference: &RegistryRef,
) -> Result<(), SigstoreError> {
    let digest = || digests[0].clone();
    if claims.is_empty() {
        return Err(SigstoreError::None(digest()));
    }
    let mut refused = None;
    for claim in claims.iter().filter(|claim| keys.iter().any(|key| is_signed(key, claim))) {
        match check(&claim.payload, digests, reference) {
            Ok(()) => return Ok(()),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    Err(refused.unwrap_or_else(|| SigstoreError::Untrusted { digest: digest(), count: claims.len() }))
}

fn is_signed(key: &PublicKey, claim: &Claim) -> bool {
    let Ok(signature) = STANDARD.decode(&claim.signature) else { return false };
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &key.0).verify(&claim.payload, &signature).is_ok()
}

/// Whether a signed document is about this image. It is looked at only after its signature was verified.
fn check(payload: &[u8], digests: &[Digest], reference: &RegistryRef) -> Result<(), SigstoreError> {
    let malformed = |why: String| SigstoreError::Malformed(why);
    let Payload { critical } = json::parse(payload).map_err(|error| malformed(error.to_string()))?;
    if critical.r#type != CLAIM_TYPE {
        return Err(malformed(format!("its type is {}", Quoted::new(&critical.r#type))));
    }
    if !digests.iter().any(|digest| digest.to_string() == critical.image.digest) {
        return Err(SigstoreError::Other {
            found: Quoted::new(&critical.image.digest),
            wanted: digests.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or "),
        });
    }
    // The same key may sign many repositories: what it said of one is not said of another.
    let identity = critical.identity.reference.parse::<RegistryRef>().ok();
    if identity.is_none_or(|identity| identity.name() != reference.name()) {
        return Err(SigstoreError::Other {
            found: Quoted::new(&critical.identity.reference),
            wanted: reference.name(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::encoding::AsDer as _;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

    struct Maker(EcdsaKeyPair);

    impl Maker {
        fn new() -> Self {
            Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
        }

        fn pem(&self) -> String {
            let der = self.0.public_key().as_der().unwrap();
            let body = STANDARD.encode(der.as_ref());
            let lines: Vec<&str> = body.as_bytes().chunks(64).map(|it| std::str::from_utf8(it).unwrap()).collect();
            format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
        }

        fn key(&self) -> PublicKey {
            PublicKey::from_pem(self.pem().as_bytes()).unwrap()
        }

        fn sign(&self, payload: &str) -> Claim {
            let signature = self.0.sign(&SystemRandom::new(), payload.as_bytes()).unwrap();
            Claim { payload: payload.as_bytes().to_vec(), signature: STANDARD.encode(signature.as_ref()) }
        }
    }

    fn payload(reference: &str, digest: &str) -> String {
        format!(
            r#"{{"critical":{{"identity":{{"docker-reference":"{reference}"}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"{CLAIM_TYPE}"}},"optional":null}}"#
        )
    }

    #[test]
    fn claims_are_for_one_image_of_one_repository() {
        let (maker, stranger) = (Maker::new(), Maker::new());
        let digest: Digest = format!("sha256:{}", "0a".repeat(32)).parse().unwrap();
        let other: Digest = format!("sha256:{}", "0b".repeat(32)).parse().unwrap();
        let reference: RegistryRef = "registry.example.com/team/app:1".parse().unwrap();
        let good = maker.sign(&payload("registry.example.com/team/app", &digest.to_string()));
        let judge = |claims: &[Claim]| verify(&[maker.key()], claims, std::slice::from_ref(&digest), &reference);

        assert_eq!(judge(std::slice::from_ref(&good)), Ok(()));
        assert_eq!(judge(&[]), Err(SigstoreError::None(digest.clone())));
        let untrusted = stranger.sign(&payload("registry.example.com/team/app", &digest.to_string()));
        assert!(matches!(judge(std::slice::from_ref(&untrusted)), Err(SigstoreError::Untrusted { count: 1, .. })));
        assert_eq!(judge(&[untrusted, good.clone()]), Ok(()), "another one beside it does no harm");
        assert_eq!(
            verify(
                &[stranger.key(), maker.key()],
                std::slice::from_ref(&good),
                &[other.clone(), digest.clone()],
                &reference
            ),
            Ok(())
        );

        for (name, of) in [
            ("registry.example.com/team/app", &other),
            ("registry.example.com/team/other", &digest),
            ("registry.example.com/team/app/below", &digest),
            ("not a reference", &digest),
        ] {
            let claim = maker.sign(&payload(name, &of.to_string()));
            assert!(matches!(judge(&[claim]), Err(SigstoreError::Other { .. })), "{name} {of}");
        }
        for text in ["{}", "", "[]", &payload("a", "b").replace(CLAIM_TYPE, "atomic container signature")] {
            assert!(matches!(judge(&[maker.sign(text)]), Err(SigstoreError::Malformed(_))), "{text}");
        }
        let mut tampered = good.clone();
        tampered.payload.push(b' ');
        assert!(matches!(judge(&[tampered]), Err(SigstoreError::Untrusted { .. })));
        let broken = Claim { signature: "!".to_owned(), ..good };
        assert!(matches!(judge(&[broken]), Err(SigstoreError::Untrusted { .. })));
    }

    #[test]
    fn docker_hub_has_one_name() {
        let maker = Maker::new();
        let digest: Digest = format!("sha256:{}", "0a".repeat(32)).parse().unwrap();
        let reference: RegistryRef = "debian".parse().unwrap();
        let claim = maker.sign(&payload("index.docker.io/library/debian", &digest.to_string()));
        assert_eq!(verify(&[maker.key()], &[claim], &[digest], &reference), Ok(()));
    }

    #[test]
    fn only_keys_are_keys() {
        let pem = Maker::new().pem();
        assert!(PublicKey::from_pem(pem.as_bytes()).is_ok());
        for bad in [String::new(), pem.replace("PUBLIC", "PRIVATE"), pem.replace('A', "B"), "x".repeat(MAX_PEM + 1)] {
            assert_eq!(PublicKey::from_pem(bad.as_bytes()), Err(PublicKeyError), "{bad}");
        }
    }
}
