//! What the apps can prove to each other of who they are, and what each makes of the other's proof.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metadata_api::IDENTITY_SOCKET;
use metadata_api::ask::Service;
use metadata_server::identity::verify;
use serde::{Deserialize, Serialize};

/// How long each answer may take; the first one includes the start of the service.
const PATIENCE: Duration = Duration::from_secs(5);

/// An app's proof for one other app: a signed token, or why there is none.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Proof {
    /// As the service signed it.
    Token(String),
    /// This app has no socket to ask at.
    Absent,
    /// What the service answers instead.
    Refused(String),
}

/// What an app makes of the other one's proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Finding {
    /// It verifies, and says this: the subject and in whose name.
    Verified(String, String),
    /// There is nothing to verify.
    Absent,
    /// It proves nothing, because of this.
    Unproven(String),
}

/// Asks for a proof that is meant for `verifier`.
pub(super) fn prove_to(verifier: &str) -> Proof {
    if !Path::new(IDENTITY_SOCKET).exists() {
        return Proof::Absent;
    }
    match ask(&format!("/v1/identity?audience={verifier}")).and_then(text) {
        Ok(token) => Proof::Token(token),
        Err(why) => Proof::Refused(why),
    }
}

/// Checks the proof of the app `other`, which is meant for the app `me`, with the public keys that this app is told.
pub(super) fn check(proof: &Proof, other: &str, me: &str) -> Finding {
    let token = match proof {
        Proof::Token(token) => token,
        Proof::Absent => return Finding::Absent,
        Proof::Refused(why) => return Finding::Unproven(why.clone()),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let verified = ask("/v1/jwks").and_then(|keys| verify(&keys, token, me, now).map_err(|error| error.to_string()));
    match verified {
        Ok(identity) if identity.app == other => Finding::Verified(identity.subject, identity.issuer),
        Ok(identity) => Finding::Unproven(format!("it is of the app {:?}", identity.app)),
        Err(why) => Finding::Unproven(why),
    }
}

fn ask(path: &str) -> Result<Vec<u8>, String> {
    let answer = Service::at_socket(Path::new(IDENTITY_SOCKET), PATIENCE).get_path(path);
    let answer = answer.map_err(|error| {
        let why = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        format!("{error}: {why}")
    })?;
    if answer.status == 200 { Ok(answer.body) } else { Err(format!("status {} for {path}", answer.status)) }
}

fn text(bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|_| "the token is no text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_token_proves_nothing() {
        assert_eq!(check(&Proof::Absent, "a", "b"), Finding::Absent);
        assert_eq!(check(&Proof::Refused("no".into()), "a", "b"), Finding::Unproven("no".into()));
        assert!(matches!(check(&Proof::Token("x".into()), "a", "b"), Finding::Unproven(_)));
    }
}
