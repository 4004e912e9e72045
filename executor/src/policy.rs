//! Whether an image of a registry is what the configured policy wants.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use fetch::Digest;
use fetch::registry::{Puller, RegistryRef, Version};
use fetch::sigstore::{self, PublicKey, SigstoreError};
use rustix::fs::{CWD, Mode, OFlags, openat};
use tracing::info;

use crate::config::{Policies, Policy};
use crate::error::{CommandError, Explain};

/// A file of a key is smaller than this many bytes.
const MAX_KEY: u64 = 64 << 10;

/// Checks what can be checked of a name, before anybody is asked.
///
/// # Errors
///
/// The policy wants a digest and the name has none.
pub(crate) fn check_name(policies: &Policies, reference: &RegistryRef) -> Result<(), CommandError> {
    let name = reference.name();
    match policies.of(&name) {
        Some((prefix, policy)) if policy.require_digest && matches!(reference.version(), Version::Tag(_)) => {
            Err(CommandError::failed(format!("the policy for {prefix} wants images named by digest"))
                .hint(format!("write docker://{name}@sha256:…; `skopeo inspect` shows the digest of a tag")))
        }
        _ => Ok(()),
    }
}

/// Checks the signatures of an image, which may be of any of these digests. Returns the fingerprint of the key by which
/// one of them is, if the policy wants one.
///
/// # Errors
///
/// The policy wants one, and there is none that is good; or one is `required`, and no policy says by whom.
pub(crate) fn check_signatures(
    policies: &Policies,
    puller: &Puller<'_>,
    signable: &[Digest],
    required: bool,
) -> Result<Option<String>, CommandError> {
    let reference = puller.reference();
    let name = reference.name();
    let (prefix, policy) = match policies.of(&name).filter(|(_, policy)| !policy.sigstore_keys.is_empty()) {
        Some(found) => found,
        None if required => {
            return Err(CommandError::failed(format!("no policy says whose signature {name} needs"))
                .hint("name keys for it in policy.d (docs/configuration.md), or leave --require-signature out"));
        }
        None => return Ok(None),
    };
    let keys = keys(policy)?;
    let claims = puller.claims(signable)?;
    let verify = |keys: &[PublicKey]| sigstore::verify(keys, &claims, signable, reference);
    if let Some(key) = keys.iter().find(|key| verify(std::slice::from_ref(key)).is_ok()) {
        info!("signature verified: {reference} by a key of the policy for {prefix}");
        return Ok(Some(key.fingerprint()));
    }
    match verify(&keys) {
        Ok(()) => Ok(None),
        Err(error) => {
            let hint = match &error {
                SigstoreError::None(_) => "have it signed: `cosign sign --key KEY IMAGE`",
                _ => "do not use it before you know why; the policy is in policy.d (docs/configuration.md)",
            };
            Err(CommandError::from(error).during(format!("the policy for {prefix}")).hint(hint))
        }
    }
}

/// The fingerprints of the keys one of which must have signed the images of this name, and the prefix whose policy says
/// so; `None` if none must.
///
/// # Errors
///
/// A key of the policy cannot be read.
pub(crate) fn wanted_keys<'p>(
    policies: &'p Policies,
    name: &str,
) -> Result<Option<(&'p str, Vec<String>)>, CommandError> {
    match policies.of(name).filter(|(_, policy)| !policy.sigstore_keys.is_empty()) {
        None => Ok(None),
        Some((prefix, policy)) => Ok(Some((prefix, keys(policy)?.iter().map(PublicKey::fingerprint).collect()))),
    }
}

fn keys(policy: &Policy) -> Result<Vec<PublicKey>, CommandError> {
    let key = |path: &std::path::PathBuf| {
        let pem = read(path).during(|| format!("key {} of the policy", path.display()));
        let pem = pem.hint(|| "correct policy.d, or put the key there".into())?;
        let key = PublicKey::from_pem(&pem).during(|| format!("key {} of the policy", path.display()));
        key.hint(|| "put a key there as `cosign generate-key-pair` makes it (cosign.pub)".into())
    };
    policy.sigstore_keys.iter().map(key).collect()
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(openat(CWD, path, flags, Mode::empty())?);
    let mut bytes = Vec::new();
    match file.take(MAX_KEY + 1).read_to_end(&mut bytes)? as u64 {
        read if read > MAX_KEY => Err(io::Error::other(format!("it has more than {MAX_KEY} bytes"))),
        _ => Ok(bytes),
    }
}
