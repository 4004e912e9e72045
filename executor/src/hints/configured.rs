//! About what people configure and keep: files of configuration, keys, secrets.

use std::error::Error;

use fetch::keystore::KeystoreError;
use fetch::openpgp::KeyError;
use metadata_api::place::PlaceError;
use metadata_server::secrets::SecretError;

use super::about;
use crate::config::ConfigError;

pub(super) fn of(cause: &(dyn Error + 'static)) -> Option<&'static str> {
    const KEYS: &str = "give a file of public keys, as `gpg --armor --export NAME` writes it";
    about(cause, |error| Some(config(error)))
        .or_else(|| about(cause, |error| Some(keystore(error))))
        .or_else(|| about(cause, |_: &KeyError| Some(KEYS)))
        .or_else(|| about(cause, secret))
        .or_else(|| about(cause, place))
}

fn config(error: &ConfigError) -> &'static str {
    match error {
        ConfigError::Read { .. } => "configuration files and their folders must be readable for you",
        ConfigError::Untrusted { .. } => "make the file yours or root's, and writable for its owner only",
        ConfigError::ForeignKind { .. } => "move the file to the folder of its kind",
        _ => "correct the file, or hide it with an empty one of its name in a later directory",
    }
}

fn keystore(error: &KeystoreError) -> &'static str {
    match error {
        KeystoreError::Untrusted { .. } => "make the key's file yours or root's, and writable for its owner only",
        KeystoreError::Write { .. } => "name a directory you can write to with --user-config (root: --local-config)",
        _ => "`proa trust --list` shows the trusted keys; their files must be readable for you",
    }
}

fn secret(error: &SecretError) -> Option<&'static str> {
    match error {
        SecretError::Exposed { .. } => {
            Some("who could read it can sign as your pods: remove it, and a new one is made")
        }
        SecretError::Damaged { .. } => Some("restore it, or remove it and a new one is made"),
        _ => None,
    }
}

fn place(error: &PlaceError) -> Option<&'static str> {
    match error {
        PlaceError::Unsafe { .. } => Some("give it to its owner alone: chmod 700"),
        PlaceError::Occupied { .. } => Some("one is enough; to replace it, end it first"),
        _ => None,
    }
}
