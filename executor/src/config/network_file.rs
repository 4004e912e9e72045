//! The user's own files that define networks of pods, as `docker network create` writes them.

use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::time::SystemTime;

use rustix::fs::OFlags;
use serde_json::{Value, json};

use super::network::{KIND, NamedNetwork};
use super::{ConfigDirs, VERSION};
use crate::error::{CommandError, Explain as _};

/// What a file may say that is no more than a network.
const FIELDS: [&str; 6] = ["rktKind", "rktVersion", "name", "subnet", "internal", "type"];

/// A file that defines a network is much smaller.
const LARGEST: u64 = 4 << 10;

/// Defines a network for this user. False if there is a file of its name: of two who define it at once one has that.
///
/// # Errors
///
/// There is no home, or the file cannot be written.
pub(crate) fn define(dirs: &ConfigDirs, name: &str, network: &NamedNetwork) -> Result<bool, CommandError> {
    let path = path(dirs, name)?;
    let folder = path.parent().expect("it is in network.d");
    DirBuilder::new().recursive(true).mode(0o700).create(folder).during(|| format!("create {}", folder.display()))?;
    let mut document = json!({
        "rktKind": KIND, "rktVersion": VERSION, "name": name, "subnet": network.subnet.to_string(),
    });
    if network.internal {
        document["internal"] = true.into();
    }
    // It is there whole or not at all; what a killed one leaves has a name that nobody reads.
    let draft = folder.join(format!(".{name}.{}", std::process::id()));
    fs::write(&draft, format!("{document}\n")).during(|| format!("write {}", draft.display()))?;
    let linked = fs::hard_link(&draft, &path);
    // Nobody reads one that stays.
    let _ = fs::remove_file(&draft);
    match linked {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        linked => linked.map(|()| true).during(|| format!("write {}", path.display())),
    }
}

/// Removes the file that defines a network.
///
/// # Errors
///
/// The network is defined elsewhere, or the file says more.
pub(crate) fn undefine(dirs: &ConfigDirs, name: &str) -> Result<(), CommandError> {
    let path = own(dirs, name)?;
    fs::remove_file(&path).during(|| format!("remove {}", path.display()))
}

/// When the user's own file that defines a network, and no more, was written; `None` if there is none.
pub(crate) fn made(dirs: &ConfigDirs, name: &str) -> Option<SystemTime> {
    let path = own(dirs, name).ok()?;
    fs::symlink_metadata(path).and_then(|file| file.modified()).ok()
}

/// The user's own file that defines a network, and no more.
fn own(dirs: &ConfigDirs, name: &str) -> Result<PathBuf, CommandError> {
    let path = path(dirs, name)?;
    let not_by_it = |why: &str| {
        let shown = path.display();
        CommandError::failed(format!("network {name}: {shown} {why}")).hint("`proa config` shows what is configured")
    };
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = match File::options().read(true).custom_flags(flags).open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(not_by_it("does not define it: it is not there"));
        }
        file => file.during(|| format!("read {}", path.display()))?,
    };
    let mut text = Vec::new();
    file.take(LARGEST).read_to_end(&mut text).during(|| format!("read {}", path.display()))?;
    let document: Value = serde_json::from_slice(&text).unwrap_or_default();
    if document["name"] != name {
        return Err(not_by_it("does not define it"));
    }
    if document.as_object().is_some_and(|fields| fields.keys().any(|field| !FIELDS.contains(&field.as_str()))) {
        return Err(not_by_it("says more than that"));
    }
    Ok(path)
}

fn path(dirs: &ConfigDirs, name: &str) -> Result<PathBuf, CommandError> {
    let user = dirs.of_user().ok_or_else(|| {
        CommandError::failed("there is no place for it: HOME is not set to an absolute path")
            .hint("name a directory with --user-config")
    })?;
    Ok(user.join("network.d").join(format!("{name}.json")))
}
