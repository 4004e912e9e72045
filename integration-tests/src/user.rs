//! The three kinds of user every promise is tested for.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::turn::Turn;

/// Who runs `proa`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// Host uid 0.
    Root,
    /// An ordinary user with a range in /etc/subuid and /etc/subgid.
    WithRange,
    /// An ordinary user without one.
    NoRange,
}

/// The account that plays a [`User`] on this machine.
#[derive(Debug, Clone)]
pub struct Account {
    /// Login name.
    pub name: String,
    /// User id on the host.
    pub uid: u32,
    /// Primary group id on the host.
    pub gid: u32,
    /// Home directory of the password file; the tests set another `HOME`.
    pub home: PathBuf,
}

impl User {
    /// The account for this role: as root the accounts `run` makes (`proa-test`, `proa-nosub`), else the invoking user
    /// where it fits the role.
    ///
    /// # Errors
    /// Says which account is missing.
    pub fn account(self) -> Result<Account, String> {
        // It starts a process, which a test beside this one would take for its own.
        let _turn = Turn::take();
        let me = account_of(&rustix::process::geteuid().as_raw().to_string())?;
        if me.uid != 0 {
            return match (self, has_range(&me)) {
                (Self::WithRange, true) | (Self::NoRange, false) => Ok(me),
                (Self::Root, _) => Err(format!("needs root, and this is {}", me.name)),
                (Self::WithRange, false) => Err(format!("needs subordinate ids, and {} has none", me.name)),
                (Self::NoRange, true) => Err(format!("needs a user without subordinate ids, and {} has some", me.name)),
            };
        }
        match self {
            Self::Root => Ok(me),
            Self::WithRange => account_of("proa-test").and_then(|it| match has_range(&it) {
                true => Ok(it),
                false => Err("proa-test has no entry in /etc/subuid".to_owned()),
            }),
            Self::NoRange => account_of("proa-nosub").and_then(|it| match has_range(&it) {
                false => Ok(it),
                true => Err("proa-nosub has an entry in /etc/subuid".to_owned()),
            }),
        }
    }
}

/// Looks an account up by name or number; `getent` knows users that /etc/passwd does not.
fn account_of(who: &str) -> Result<Account, String> {
    let found = Command::new("getent").args(["passwd", who]).output().map_err(|e| format!("getent passwd: {e}"))?;
    let line = String::from_utf8_lossy(&found.stdout).into_owned();
    let fields: Vec<&str> = line.trim_end().split(':').collect();
    match fields[..] {
        [name, _, uid, gid, _, home, _] => Ok(Account {
            name: name.to_owned(),
            uid: uid.parse().map_err(|_| format!("bad uid {uid:?} of {who}"))?,
            gid: gid.parse().map_err(|_| format!("bad gid {gid:?} of {who}"))?,
            home: home.into(),
        }),
        _ => Err(format!("there is no user {who:?} (integration-tests/run makes the test users when it is root)")),
    }
}

/// Whether newuidmap would give this account anything.
fn has_range(account: &Account) -> bool {
    let table = fs::read_to_string("/etc/subuid").unwrap_or_default();
    table
        .lines()
        .filter_map(|line| line.split(':').next())
        .any(|it| it == account.name || it == account.uid.to_string())
}
