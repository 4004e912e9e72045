//! Signatures that a pod makes and every pod of the user can check (appc ace.md, Pod Identity).

use appc::PodUuid;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rustix::rand::{GetRandomFlags, getrandom};
use sha2::Sha512;

use crate::secrets::{SecretError, Secrets};

const FILE: &str = "hmac.key";

/// As long as a signature; a longer key adds nothing (RFC 2104, section 3).
const KEY_BYTES: usize = 64;

/// Signs content in the name of a pod.
///
/// The code is over the sixteen bytes of the UUID and then the content: since the UUID's length is fixed, no two pairs
/// of UUID and content make the same message.
#[derive(Clone)]
pub(crate) struct Signer(Hmac<Sha512>);

impl Signer {
    /// The signer with the user's key, which is made if there is none.
    pub(crate) fn of(secrets: &Secrets) -> Result<Self, SecretError> {
        let key = secrets.ensure_file(FILE, || {
            let mut key = vec![0; KEY_BYTES];
            getrandom(&mut key, GetRandomFlags::empty()).map(|_| key)
        })?;
        let key: [u8; KEY_BYTES] = key
            .try_into()
            .map_err(|_| SecretError::Damaged { path: secrets.path(FILE), problem: "not a key of 64 bytes" })?;
        Ok(Self::new(&key))
    }

    fn new(key: &[u8; KEY_BYTES]) -> Self {
        Self(Hmac::new_from_slice(key).expect("a key of any length will do"))
    }

    /// The signature, in base64.
    pub(crate) fn sign(&self, pod: PodUuid, content: &[u8]) -> String {
        let code = self.0.clone().chain_update(pod.as_bytes()).chain_update(content);
        STANDARD.encode(code.finalize().into_bytes())
    }

    /// Whether `signature` is that pod's for this content; `None` if it is no base64. The time taken does not depend on
    /// where it differs.
    pub(crate) fn verify(&self, pod: PodUuid, content: &[u8], signature: &[u8]) -> Option<bool> {
        let signature = STANDARD.decode(signature).ok()?;
        let code = self.0.clone().chain_update(pod.as_bytes()).chain_update(content);
        Some(code.verify_slice(&signature).is_ok())
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(text: &str) -> PodUuid {
        text.parse().unwrap()
    }

    const A: &str = "6733c088-a507-4694-aabf-edbe4fc5266f";
    const B: &str = "6733c088-a507-4694-aabf-edbe4fc52670";

    #[test]
    fn a_signature_is_hmac_sha512_of_uuid_and_content() {
        // Made with Python: base64(hmac.new(bytes(range(64)), uuid.bytes + b"Old MacDonald Had A Farm", "sha512"))
        let key: [u8; KEY_BYTES] = std::array::from_fn(|n| u8::try_from(n).unwrap());
        let signer = Signer::new(&key);
        let signature = signer.sign(pod(A), b"Old MacDonald Had A Farm");
        assert_eq!(signature, include_str!("../tests/golden/signature.txt").trim_end());
        assert_eq!(signer.verify(pod(A), b"Old MacDonald Had A Farm", signature.as_bytes()), Some(true));
    }

    #[test]
    fn anything_else_does_not_verify() {
        let signer = Signer::new(&[7; KEY_BYTES]);
        let good = signer.sign(pod(A), b"content");
        assert_eq!(signer.verify(pod(B), b"content", good.as_bytes()), Some(false), "another pod");
        assert_eq!(signer.verify(pod(A), b"contenu", good.as_bytes()), Some(false), "another content");
        assert_eq!(Signer::new(&[8; KEY_BYTES]).verify(pod(A), b"content", good.as_bytes()), Some(false));
        let raw = STANDARD.decode(&good).unwrap();
        for bit in 0..raw.len() * 8 {
            let mut wrong = raw.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(signer.verify(pod(A), b"content", STANDARD.encode(wrong).as_bytes()), Some(false), "bit {bit}");
        }
        for length in [0, 1, 32, 63] {
            let cut = STANDARD.encode(&raw[..length]);
            assert_eq!(signer.verify(pod(A), b"content", cut.as_bytes()), Some(false), "{length} bytes");
        }
        let longer = STANDARD.encode([raw.as_slice(), &[0]].concat());
        assert_eq!(signer.verify(pod(A), b"content", longer.as_bytes()), Some(false));
        let url_safe = base64::engine::general_purpose::URL_SAFE.encode([0xfb; 64]);
        for text in ["not base64!", &good[1..], &good.replace('=', ""), &format!("{good}\n"), &url_safe] {
            assert_eq!(signer.verify(pod(A), b"content", text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn uuid_and_content_cannot_be_shifted_into_each_other() {
        let signer = Signer::new(&[7; KEY_BYTES]);
        let (a, b) = (pod(A), pod(B));
        let joined = [a.as_bytes().as_slice(), b"x"].concat();
        assert_ne!(signer.sign(a, b"x"), signer.sign(b, b"x"));
        assert_ne!(signer.sign(a, &joined), signer.sign(a, b"x"));
    }

    #[test]
    fn the_key_is_kept_and_a_damaged_one_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = Secrets::ensure(dir.path()).unwrap();
        let signature = Signer::of(&secrets).unwrap().sign(pod(A), b"x");
        assert_eq!(Signer::of(&secrets).unwrap().sign(pod(A), b"x"), signature);
        let lock = secrets.lock().unwrap();
        secrets.replace(FILE, b"short", &lock).unwrap();
        let error = Signer::of(&secrets).unwrap_err();
        assert!(matches!(error, SecretError::Damaged { .. }), "{error}");
        assert_eq!(format!("{:?}", Signer::new(&[7; KEY_BYTES])), "Signer(…)");
    }
}
