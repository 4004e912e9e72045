//! Where configuration is: the distribution's, the machine's, the user's.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What the operating system's packages say.
const SYSTEM: &str = "/usr/lib/proa";

/// What the administrator of the machine says.
const LOCAL: &str = "/etc/proa";

/// The configuration directories, each of which need not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigDirs {
    system: PathBuf,
    local: PathBuf,
    user: Option<PathBuf>,
    root: bool,
}

/// Directories given on the command line.
#[derive(Clone, Debug, Default)]
pub(crate) struct GivenDirs {
    pub(crate) system: Option<PathBuf>,
    pub(crate) local: Option<PathBuf>,
    pub(crate) user: Option<PathBuf>,
}

impl ConfigDirs {
    /// The directories of a command line. A relative `XDG_CONFIG_HOME` is ignored, as its specification demands.
    pub(crate) fn new(given: GivenDirs, root: bool, xdg_config_home: Option<OsString>, home: Option<OsString>) -> Self {
        let absolute = |path: Option<OsString>| path.map(PathBuf::from).filter(|path| path.is_absolute());
        let of_user = || {
            let config = absolute(xdg_config_home).or_else(|| absolute(home).map(|home| home.join(".config")));
            config.map(|config| config.join("proa"))
        };
        Self {
            system: given.system.unwrap_or_else(|| SYSTEM.into()),
            local: given.local.unwrap_or_else(|| LOCAL.into()),
            user: given.user.or_else(of_user),
            root,
        }
    }

    /// All of them; what a later one says counts more.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Path> {
        [Some(&self.system), Some(&self.local), self.user.as_ref()].into_iter().flatten().map(PathBuf::as_path)
    }

    /// The user's, who may be root; `None` without a home.
    pub(crate) fn of_user(&self) -> Option<&Path> {
        self.user.as_deref()
    }

    /// The one this process writes to: root decides for the machine, everybody else for himself. `None` for a user
    /// without a home.
    pub(crate) fn own(&self) -> Option<&Path> {
        if self.root { Some(&self.local) } else { self.user.as_deref() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(dirs: &ConfigDirs) -> Vec<&str> {
        dirs.all().map(|dir| dir.to_str().unwrap()).collect()
    }

    #[test]
    fn the_users_directory_comes_last() {
        let dirs = |xdg: Option<&str>, home: Option<&str>| {
            ConfigDirs::new(GivenDirs::default(), false, xdg.map(Into::into), home.map(Into::into))
        };
        assert_eq!(shown(&dirs(Some("/x"), Some("/h"))), [SYSTEM, LOCAL, "/x/proa"]);
        assert_eq!(shown(&dirs(Some("x"), Some("/h"))), [SYSTEM, LOCAL, "/h/.config/proa"]);
        assert_eq!(shown(&dirs(None, Some("h"))), [SYSTEM, LOCAL]);
    }

    #[test]
    fn flags_replace_each() {
        let given = GivenDirs { system: Some("/s".into()), local: Some("l".into()), user: Some("/u".into()) };
        let dirs = |root| ConfigDirs::new(given.clone(), root, None, Some("/root".into()));
        assert_eq!(shown(&dirs(true)), ["/s", "l", "/u"]);
        assert_eq!(dirs(true).own(), Some(Path::new("l")), "root writes for the machine");
        assert_eq!(dirs(false).own(), Some(Path::new("/u")));
    }
}
