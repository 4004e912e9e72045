//! Identities of apps: short-lived signed statements that anybody can check with the user's public keys.
//!
//! A token is a JWT (RFC 7519) signed with ES256, which the verifiers of the common clouds and libraries take. Its keys
//! are the user's ([`keys`]), of which the public halves are given out as a JWK set (RFC 7517).

mod keys;
mod schedule;
mod verify;

use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use appc::PodUuid;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::rand::{GetRandomFlags, getrandom};
use serde::Serialize;

use crate::secrets::{SecretError, Secrets};
use keys::Keys;
pub use verify::{Identity, Unverified, verify};

const FILE: &str = "identity.json";

/// How long a token is good, in seconds. Whoever needs another asks again; a stolen one is soon worth nothing.
const LIFE: u64 = 300;

/// Who asks, and for whom the answer is meant.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) pod: PodUuid,
    pub(crate) app: &'a str,
    /// The ID of the app's image.
    pub(crate) image: &'a str,
    /// The IDs of all images in the pod: the apps share its network and can reach each other.
    pub(crate) images: Vec<&'a str>,
    pub(crate) audience: &'a str,
}

/// What a token says. Times are seconds since the epoch (RFC 7519, section 2).
#[derive(Debug, Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: String,
    aud: &'a str,
    iat: u64,
    nbf: u64,
    exp: u64,
    jti: String,
    user: &'a str,
    uid: u32,
    pod: String,
    app: &'a str,
    image: &'a str,
    images: Vec<&'a str>,
}

/// The user in whose name tokens are issued.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// The user's name; the number, if there is none.
    pub user: String,
    /// The user's id on the host.
    pub uid: u32,
    /// The host's name.
    pub host: String,
}

/// Signs tokens.
#[derive(Debug)]
pub struct Identities {
    secrets: Secrets,
    issuer: Issuer,
    /// `proa:USER@HOST`
    name: String,
    /// The keys as they were last read, and the bytes they were read from.
    known: Mutex<Option<(Vec<u8>, Keys)>>,
}

impl Identities {
    /// Identities of this user's apps, with the keys in `secrets`. They are made when they are first needed.
    #[must_use]
    pub fn new(secrets: Secrets, issuer: Issuer) -> Self {
        let name = format!("proa:{}@{}", issuer.user, issuer.host);
        Self { secrets, issuer, name, known: Mutex::new(None) }
    }

    /// The public keys, as a JWK set: those that tokens in circulation are signed with, and the next one.
    ///
    /// # Errors
    /// The keys cannot be read, made or replaced.
    pub fn jwks(&self) -> Result<String, SecretError> {
        self.with_keys(|keys, _| keys.jwks())
    }

    /// Signs with the next key from now on. Tokens signed before stay valid, and whoever has fetched the public keys
    /// since the next key was made, which is long before it is used, can check the new ones.
    ///
    /// # Errors
    /// The keys cannot be read, made or replaced.
    pub fn rotate(&self) -> Result<(), SecretError> {
        self.change(now(), Keys::rotate)
    }

    /// A token for the app that asks.
    pub(crate) fn token(&self, subject: &Subject<'_>) -> Result<String, SecretError> {
        let Subject { pod, app, image, images, audience } = subject;
        let mut random = [0; 16];
        getrandom(&mut random, GetRandomFlags::empty()).map_err(|errno| self.failed("make a token for", errno))?;
        self.with_keys(|keys, now| {
            let claims = Claims {
                iss: &self.name,
                sub: format!("pod/{pod}/app/{app}"),
                aud: audience,
                iat: now,
                nbf: now,
                exp: now + LIFE,
                jti: hex::encode(random),
                user: &self.issuer.user,
                uid: self.issuer.uid,
                pod: pod.to_string(),
                app,
                image,
                images: images.clone(),
            };
            let claims = serde_json::to_vec(&claims).expect("texts and numbers");
            keys.signed(now, &URL_SAFE_NO_PAD.encode(claims))
        })
    }

    /// Hands the keys over as they must be now. Another service of the user, or `proa identity rotate`, may have changed
    /// them: the file is read each time, and parsed when it is not what it was.
    fn with_keys<T>(&self, f: impl FnOnce(&Keys, u64) -> T) -> Result<T, SecretError> {
        let now = now();
        let mut f = Some(f);
        for _ in 0..2 {
            if let Some(bytes) = self.secrets.read(FILE)? {
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                if known.as_ref().is_none_or(|(before, _)| *before != bytes) {
                    let keys = self.parse(&bytes)?;
                    *known = Some((bytes, keys));
                }
                if let Some((_, keys)) = known.as_ref().filter(|(_, keys)| keys.are_good_at(now))
                    && let Some(f) = f.take()
                {
                    return Ok(f(keys, now));
                }
            }
            self.change(now, |_, _| ())?;
        }
        Err(SecretError::Damaged { path: self.secrets.path(FILE), problem: "has no key for now" })
    }

    /// Changes the keys, and makes those that are due.
    fn change(&self, now: u64, change: impl FnOnce(&mut Keys, u64)) -> Result<(), SecretError> {
        let lock = self.secrets.lock()?;
        let mut keys = match self.secrets.read(FILE)? {
            Some(bytes) => self.parse(&bytes)?,
            None => Keys::default(),
        };
        let unmade = |errno| self.failed("make keys for", errno);
        keys.make_due(now).map_err(unmade)?;
        change(&mut keys, now);
        keys.make_due(now).map_err(unmade)?;
        self.secrets.replace(FILE, &keys.to_bytes(), &lock)
    }

    fn parse(&self, bytes: &[u8]) -> Result<Keys, SecretError> {
        let damaged = SecretError::Damaged { path: self.secrets.path(FILE), problem: "not a list of keys" };
        Keys::parse(bytes).ok_or(damaged)
    }

    fn failed(&self, step: &'static str, source: impl Into<std::io::Error>) -> SecretError {
        SecretError::System { step, path: self.secrets.path(FILE), source: source.into() }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::Value;

    use super::*;

    fn identities(data_dir: &Path) -> Identities {
        let issuer = Issuer { user: "alice".into(), uid: 1000, host: "box".into() };
        Identities::new(Secrets::ensure(data_dir).unwrap(), issuer)
    }

    fn token(identities: &Identities) -> String {
        let pod = "6733c088-a507-4694-aabf-edbe4fc5266f".parse().unwrap();
        let subject =
            Subject { pod, app: "web", image: "sha512-a", images: vec!["sha512-a", "sha512-b"], audience: "https://x" };
        identities.token(&subject).unwrap()
    }

    fn decode(part: &str) -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    /// The claims of a token that verifies with these keys.
    fn verify(token: &str, jwks: &str) -> Option<Value> {
        super::verify(jwks.as_bytes(), token, "https://x", now()).ok()?;
        token.split('.').nth(1).map(decode)
    }

    #[test]
    fn a_verifier_refuses_what_is_not_for_it_and_not_for_now() {
        let dir = tempfile::tempdir().unwrap();
        let identities = identities(dir.path());
        let (token, jwks) = (token(&identities), identities.jwks().unwrap());
        let check = |token: &str, audience, now| super::verify(jwks.as_bytes(), token, audience, now);
        let identity = check(&token, "https://x", now()).unwrap();
        assert_eq!((identity.app.as_str(), identity.issuer.as_str()), ("web", "proa:alice@box"));
        assert_eq!(check(&token, "https://y", now()), Err(Unverified::Audience));
        assert_eq!(check(&token, "https://x", now() + LIFE + 60), Err(Unverified::Time));
        assert_eq!(check(&token, "https://x", now() - 60), Err(Unverified::Time));
        assert_eq!(super::verify(br#"{"keys":[]}"#, &token, "https://x", now()), Err(Unverified::UnknownKey));
        let [header, claims, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","kid":""}"#);
        for (token, why) in [
            (format!("{none}.{claims}."), Unverified::Malformed),
            (format!("{header}.{header}.{signature}"), Unverified::Signature),
            (format!("{header}.{claims}.{}", &signature[2..]), Unverified::Signature),
            (String::new(), Unverified::Malformed),
            ("a.b".into(), Unverified::Malformed),
        ] {
            assert_eq!(check(&token, "https://x", now()), Err(why), "{token}");
        }
    }

    #[test]
    fn a_token_says_who_asked_and_verifies() {
        let dir = tempfile::tempdir().unwrap();
        let identities = identities(dir.path());
        let token = token(&identities);
        assert_eq!(decode(token.split('.').next().unwrap())["alg"], "ES256");
        let claims = verify(&token, &identities.jwks().unwrap()).unwrap();
        for (name, value) in [
            ("iss", "proa:alice@box"),
            ("sub", "pod/6733c088-a507-4694-aabf-edbe4fc5266f/app/web"),
            ("aud", "https://x"),
            ("user", "alice"),
            ("pod", "6733c088-a507-4694-aabf-edbe4fc5266f"),
            ("app", "web"),
            ("image", "sha512-a"),
        ] {
            assert_eq!(claims[name], value, "{name}");
        }
        assert_eq!(claims["uid"], 1000);
        assert_eq!(claims["images"], serde_json::json!(["sha512-a", "sha512-b"]));
        let time = |name: &str| claims[name].as_u64().unwrap();
        assert_eq!((time("exp") - time("iat"), time("nbf")), (LIFE, time("iat")));
        assert!(time("iat").abs_diff(now()) < 60);
    }

    #[test]
    fn tokens_differ_and_anything_else_does_not_verify() {
        let dir = tempfile::tempdir().unwrap();
        let identities = identities(dir.path());
        let (one, other) = (token(&identities), token(&identities));
        let jwks = identities.jwks().unwrap();
        assert_ne!(verify(&one, &jwks).unwrap()["jti"], verify(&other, &jwks).unwrap()["jti"]);
        let swapped = format!("{}.{}", one.rsplit_once('.').unwrap().0, other.rsplit_once('.').unwrap().1);
        assert_eq!(verify(&swapped, &jwks), None);
        let elsewhere = tempfile::tempdir().unwrap();
        assert_eq!(verify(&one, &self::identities(elsewhere.path()).jwks().unwrap()), None);
    }

    #[test]
    fn no_rotation_makes_a_verification_fail() {
        let dir = tempfile::tempdir().unwrap();
        let identities = identities(dir.path());
        let old = token(&identities);
        let fetched_before = identities.jwks().unwrap();
        self::identities(dir.path()).rotate().unwrap();
        let new = token(&identities);
        let kid = |token: &str| decode(token.split('.').next().unwrap())["kid"].clone();
        assert_ne!(kid(&old), kid(&new), "the running service has seen the rotation");
        assert!(verify(&new, &fetched_before).is_some(), "by who fetched the keys before");
        let fetched_after = identities.jwks().unwrap();
        assert!(verify(&old, &fetched_after).is_some(), "by who fetches them after");
        assert!(verify(&new, &fetched_after).is_some());
    }

    #[test]
    fn the_public_keys_tell_no_secret_and_the_file_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let identities = identities(dir.path());
        let jwks: Value = serde_json::from_str(&identities.jwks().unwrap()).unwrap();
        let keys = jwks["keys"].as_array().unwrap();
        assert_eq!(keys.len(), 2, "the present and the next");
        for key in keys {
            let mut members: Vec<_> = key.as_object().unwrap().keys().map(String::as_str).collect();
            members.sort_unstable();
            assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
        }
        assert_eq!(self::identities(dir.path()).jwks().unwrap(), identities.jwks().unwrap());
        let lock = identities.secrets.lock().unwrap();
        identities.secrets.replace(FILE, b"{}", &lock).unwrap();
        drop(lock);
        assert!(matches!(identities.jwks(), Err(SecretError::Damaged { .. })));
    }
}
