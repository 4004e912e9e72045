//! Where this process keeps its data, and on whose behalf it runs.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::cli::GlobalArgs;
use crate::config::{ConfigDirs, GivenDirs, Paths};
use crate::error::{CommandError, Explain};
use crate::insecure::Insecure;
use pod::Pods;
use store::{Store, StoreError};

/// Where root keeps its pods and images.
const ROOT_DATA_DIR: &str = "/var/lib/proa";

/// What every subcommand is told.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// `--dir`, the configured place, or the user's place for data; `None` where there is no such place.
    data_dir: Option<PathBuf>,
    /// `--store-ro`, and what is configured beside it.
    stores: Vec<PathBuf>,
    /// Where configuration is read from.
    config_dirs: ConfigDirs,
    /// Where sockets are, unless they are in the data directory.
    runtime_dir: Option<PathBuf>,
    /// Checks that are switched off.
    pub(crate) insecure: Insecure,
    /// Whether images of registries must be signed even where no policy says so.
    pub(crate) require_signature: bool,
    /// Whether a host's word is enough to trust its keys.
    pub(crate) trust_keys_from_https: bool,
}

/// The parts of the environment that decide where data is kept.
#[derive(Debug, Default)]
struct Surroundings {
    root: bool,
    xdg_data_home: Option<OsString>,
    home: Option<OsString>,
}

impl Context {
    /// The context of a command line.
    ///
    /// # Errors
    ///
    /// An unknown name in `--insecure-options`, or configured paths that cannot be understood.
    pub(crate) fn new(global: &GlobalArgs) -> Result<Self, CommandError> {
        // Root of a namespace of the user's own is that user.
        let all_ids = || fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| maps_all_ids(&map));
        let surroundings = Surroundings {
            root: rustix::process::geteuid().is_root() && all_ids(),
            xdg_data_home: std::env::var_os("XDG_DATA_HOME"),
            home: std::env::var_os("HOME"),
        };
        let insecure = match &global.insecure_options {
            Some(list) => list.parse::<Insecure>().map_err(|error| CommandError::usage(error.to_string()))?,
            None => Insecure::default(),
        };
        let insecure = if global.require_signature { insecure.with_signatures() } else { insecure };
        let given = GivenDirs {
            system: global.system_config.clone(),
            local: global.local_config.clone(),
            user: global.user_config.clone(),
        };
        let xdg_config_home = std::env::var_os("XDG_CONFIG_HOME");
        let config_dirs = ConfigDirs::new(given, surroundings.root, xdg_config_home, surroundings.home.clone());
        let paths = Paths::read(&config_dirs)?;
        let dir = global.dir.clone().or(paths.data);
        let stores = global.store_ro.iter().cloned().chain(paths.stores).collect();
        let xdg_runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let runtime_dir = xdg_runtime_dir.filter(|path| path.is_absolute() && global.dir.is_none());
        Ok(Self {
            data_dir: data_dir(dir, surroundings),
            stores,
            config_dirs,
            runtime_dir: runtime_dir.map(|path| path.join("proa")),
            insecure,
            require_signature: global.require_signature,
            trust_keys_from_https: global.trust_keys_from_https,
        })
    }

    /// Where configuration is read from.
    pub(crate) fn config_dirs(&self) -> &ConfigDirs {
        &self.config_dirs
    }

    /// The data directory, whether it exists or not.
    ///
    /// # Errors
    ///
    /// There is no place for it: neither `--dir` nor `XDG_DATA_HOME` nor `HOME` names one.
    pub(crate) fn data_dir(&self) -> Result<&Path, CommandError> {
        self.data_dir.as_deref().ok_or_else(|| {
            CommandError::failed("no data directory: HOME is not set to an absolute path")
                .hint("give one with --dir, or set HOME or XDG_DATA_HOME")
        })
    }

    /// The directory of the metadata service's socket, whether it exists or not. Pods and service of one data directory
    /// meet there: without `--dir` that is one place for each user, `$XDG_RUNTIME_DIR/proa`.
    ///
    /// # Errors
    ///
    /// There is no place for it.
    pub(crate) fn socket_dir(&self) -> Result<PathBuf, CommandError> {
        match &self.runtime_dir {
            Some(dir) => Ok(dir.clone()),
            None => Ok(self.data_dir()?.join("run")),
        }
    }

    /// The pods of the data directory as they are; where there is no such directory there are none. To look is no reason to
    /// make a place for pods.
    ///
    /// # Errors
    ///
    /// There is no place for data, or what is there cannot be trusted.
    pub(crate) fn pods(&self) -> Result<Pods, CommandError> {
        Ok(Pods::existing(self.data_dir()?)?)
    }

    /// The store of the data directory, made where there is none, with the read-only ones behind it.
    ///
    /// # Errors
    ///
    /// There is no data directory, or one of the stores cannot be trusted.
    pub(crate) fn store(&self) -> Result<Store, CommandError> {
        self.with_stores(Store::ensure(self.data_dir()?))
    }

    /// The store as it is, with the read-only ones behind it; where there is none nothing is found in it.
    ///
    /// # Errors
    ///
    /// As [`Context::store`].
    pub(crate) fn stored(&self) -> Result<Store, CommandError> {
        self.with_stores(Store::open(self.data_dir()?))
    }

    fn with_stores(&self, own: Result<Store, StoreError>) -> Result<Store, CommandError> {
        let mut store = own.hint(|| "--dir chooses another data directory".into())?;
        for path in &self.stores {
            store
                .put_behind(path)
                .during(|| format!("--store-ro={}", path.display()))
                .hint(|| "give the data directory of a proa that filled it, readable for you".into())?;
        }
        Ok(store)
    }

    /// The same with data in `dir`, and what was stored so far behind it, to be read only.
    pub(crate) fn with_data_in(&self, dir: &Path) -> Self {
        let own = self.data_dir.iter().filter(|path| path.join("store").is_dir());
        Self {
            data_dir: Some(dir.to_owned()),
            stores: own.chain(&self.stores).cloned().collect(),
            config_dirs: self.config_dirs.clone(),
            runtime_dir: None,
            ..*self
        }
    }

    /// Creates the data directory, and what leads to it, for this user alone.
    ///
    /// # Errors
    ///
    /// The directory cannot be made; the error names it.
    pub(crate) fn create_data_dir(&self) -> Result<&Path, CommandError> {
        let dir = self.data_dir()?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .during(|| format!("create the data directory {}", dir.display()))
            .hint(|| "give a directory of yours with --dir, or set XDG_DATA_HOME".into())?;
        Ok(dir)
    }
}

/// The place for data. A relative `XDG_DATA_HOME` is ignored, as the XDG base directory specification demands; a
/// relative `HOME` would move the store with the working directory.
fn data_dir(dir: Option<PathBuf>, surroundings: Surroundings) -> Option<PathBuf> {
    let absolute = |path: Option<OsString>| path.map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(dir) = dir {
        return Some(dir);
    }
    if surroundings.root {
        return Some(PathBuf::from(ROOT_DATA_DIR));
    }
    absolute(surroundings.xdg_data_home)
        .or_else(|| absolute(surroundings.home).map(|home| home.join(".local/share")))
        .map(|data| data.join("proa"))
}

/// Whether this map (user_namespaces(7)) is that of a machine's own root: every id stands for itself.
fn maps_all_ids(uid_map: &str) -> bool {
    uid_map.split_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(dir: Option<&str>, root: bool, xdg: Option<&str>, home: Option<&str>) -> Option<String> {
        let surroundings = Surroundings { root, xdg_data_home: xdg.map(Into::into), home: home.map(Into::into) };
        data_dir(dir.map(PathBuf::from), surroundings).map(|path| path.to_str().unwrap().to_owned())
    }

    #[test]
    fn precedence() {
        let found = |path: &str| Some(path.to_owned());
        assert_eq!(place(Some("d"), true, Some("/x"), Some("/h")), found("d"));
        assert_eq!(place(None, true, Some("/x"), Some("/h")), found("/var/lib/proa"));
        assert_eq!(place(None, false, Some("/x"), Some("/h")), found("/x/proa"));
        assert_eq!(place(None, false, Some("x"), Some("/h")), found("/h/.local/share/proa"));
        assert_eq!(place(None, false, Some(""), Some("/h")), found("/h/.local/share/proa"));
        assert_eq!(place(None, false, None, Some("")), None);
        assert_eq!(place(None, false, None, None), None);
    }

    #[test]
    fn only_the_machines_own_root_is_root() {
        assert!(maps_all_ids("         0          0 4294967295\n"));
        for map in ["         0       1000          1\n", "0 1000 1\n1 100000 65536\n", "0 0 65536\n", ""] {
            assert!(!maps_all_ids(map), "{map:?}");
        }
    }

    fn context(data_dir: Option<PathBuf>) -> Context {
        let config_dirs = ConfigDirs::new(GivenDirs::default(), false, None, None);
        Context {
            data_dir,
            stores: Vec::new(),
            config_dirs,
            runtime_dir: None,
            insecure: Insecure::default(),
            require_signature: false,
            trust_keys_from_https: false,
        }
    }

    #[test]
    fn without_a_place_the_error_says_what_to_set() {
        let context = context(None);
        let report = context.data_dir().unwrap_err().report(Some("list"));
        assert_eq!(
            report,
            "proa: list: no data directory: HOME is not set to an absolute path\n\
             hint: give one with --dir, or set HOME or XDG_DATA_HOME\n"
        );
    }

    #[test]
    fn a_data_directory_that_cannot_be_made_is_named() {
        let file = std::env::current_exe().unwrap();
        let context = context(Some(file.join("data")));
        let report = context.create_data_dir().unwrap_err().report(None);
        assert!(report.contains(&format!("create the data directory {}/data: ", file.display())), "{report}");
        assert!(report.contains("\nhint: give a directory of yours with --dir"), "{report}");
    }
}
