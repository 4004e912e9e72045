//! In whose name this user's apps are identified.

use metadata_server::identity::{Identities, Issuer};
use metadata_server::secrets::Secrets;
use rustix::process::geteuid;
use rustix::system::uname;

use crate::context::Context;
use crate::error::CommandError;

/// The user and the host. A user without a name is called by the number.
pub(crate) fn issuer() -> Issuer {
    let uid = geteuid().as_raw();
    let user = std::fs::read_to_string("/etc/passwd").ok().and_then(|passwd| name(&passwd, uid));
    let host = uname().nodename().to_string_lossy().into_owned();
    Issuer { user: user.unwrap_or_else(|| uid.to_string()), uid, host }
}

/// The identities of this user's apps, for the commands that are no service.
///
/// # Errors
///
/// The directory of the user's secrets is open to others, or cannot be made.
pub(crate) fn identities(context: &Context) -> Result<Identities, CommandError> {
    Ok(Identities::new(Secrets::ensure(context.create_data_dir()?)?, issuer()))
}

/// The first name that /etc/passwd has for a user id (passwd(5)).
fn name(passwd: &str, uid: u32) -> Option<String> {
    let is_uid = |line: &&str| line.split(':').nth(2).is_some_and(|field| field.parse() == Ok(uid));
    passwd.lines().find(is_uid)?.split(':').next().map(str::to_owned).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_users() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\nbad\n:x:7:7:::\n";
        assert_eq!(name(passwd, 0).as_deref(), Some("root"));
        assert_eq!(name(passwd, 1000).as_deref(), Some("alice"));
        assert_eq!((name(passwd, 7), name(passwd, 1)), (None, None));
    }
}
