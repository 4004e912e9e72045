//! A user, an empty data directory, a cleared environment, and runs of `proa` in them.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::needs::{self, Place, Why};
use crate::turn::Turn;
use crate::{Account, Proa, Snapshot, User, binaries, process, slowed};

/// One test's world. Dropping it asserts that all is as before.
#[derive(Debug)]
pub struct Env {
    user: User,
    account: Account,
    root: Option<TempDir>,
    before: Snapshot,
    _turn: Turn,
}

impl Env {
    /// An environment for a role.
    ///
    /// # Errors
    /// Says which account is missing; the guest has one user at a time, so that there it is no lack.
    pub fn of(user: User) -> Result<Self, Why> {
        // First, because finding the account starts a process, which another test would take for its own.
        let turn = Turn::take();
        let account = user.account().map_err(|why| match needs::here() {
            Place::Host => Why::Missing(why),
            Place::Vm => Why::Elsewhere(Place::Host),
        })?;
        process::adopt_orphans();
        let root =
            tempfile::Builder::new().prefix("t").tempdir_in(binaries::work_dir()).expect("the work folder is ours");
        let before = Snapshot::take(root.path(), &[]);
        let env = Self { user, account, root: Some(root), before, _turn: turn };
        for dir in ["home", "run", "tmp", "images"] {
            env.make_dir(&env.path(dir));
        }
        env.own(env.root());
        env.configure_network(Some("none"));
        Ok(env)
    }

    /// Configures which network a pod has for which none is chosen; without a name that is proa's own choice.
    ///
    /// An environment begins with `none`: only tests of networks need one, and pasta takes longer to start than a pod.
    pub fn configure_network(&self, name: Option<&str>) {
        let folder = self.path("home/.config/proa/network.d");
        let mut dir = self.path("home");
        for part in [".config", "proa", "network.d"] {
            dir.push(part);
            self.make_dir(&dir);
        }
        let json = name.map(|name| format!(r#"{{"rktKind":"network","rktVersion":"v1","default":"{name}"}}"#));
        self.write(folder.join("harness.json"), json.unwrap_or_default());
    }

    /// The role the runs are made in.
    pub fn user(&self) -> User {
        self.user
    }

    /// The account that plays it.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The folder that holds everything of this test; the user owns it.
    pub fn root(&self) -> &Path {
        self.root.as_ref().expect("it is taken only by drop").path()
    }

    /// A path below [`Env::root`].
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root().join(name)
    }

    /// The data directory; `proa` makes it.
    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Makes a folder the user owns.
    pub fn make_dir(&self, path: &Path) {
        fs::create_dir_all(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        self.own(path);
    }

    /// Writes a file the user owns, below [`Env::root`].
    pub fn write(&self, name: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        self.own(&path);
        path
    }

    /// Gives a path to the user.
    pub fn own(&self, path: &Path) {
        chown(path, Some(self.account.uid), Some(self.account.gid))
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }

    /// A copy of `proa` the user can write to: what an attacker in a container would like to overwrite.
    pub fn own_proa(&self) -> PathBuf {
        let copy = self.path("proa");
        fs::copy(binaries::proa(), &copy).expect("the test's folder is ours");
        self.own(&copy);
        copy
    }

    /// A run of `proa` with these arguments after `--dir`; nothing starts yet.
    pub fn proa<I: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = I>) -> Proa<'_> {
        let dir = [OsString::from("--dir"), self.data().into()];
        let args = dir.into_iter().chain(args.into_iter().map(|it| it.as_ref().to_owned())).collect();
        self.command(binaries::proa(), args)
    }

    /// `proa run` of one unsigned image with more arguments.
    pub fn run(&self, image: &Path, more: &[&str]) -> Proa<'_> {
        let fixed = ["--insecure-options=image", "run", "--net=none"].map(OsStr::new);
        self.proa(fixed.into_iter().chain([image.as_os_str()]).chain(more.iter().map(OsStr::new)))
    }

    /// Stores an image, unsigned if it is an ACI, and gives its ID.
    ///
    /// # Panics
    /// When it cannot be stored.
    #[track_caller]
    pub fn store(&self, image: impl AsRef<OsStr>) -> String {
        let words = [OsStr::new("--insecure-options=image"), OsStr::new("fetch"), image.as_ref()];
        self.proa(words).outcome().succeeds().line().to_owned()
    }

    /// Any program as this user in this environment.
    pub fn command(&self, program: impl Into<OsString>, args: Vec<OsString>) -> Proa<'_> {
        Proa::new(self, program.into(), args)
    }

    /// Folders other than the data directory in which nothing may be left.
    fn temporary(&self) -> Vec<PathBuf> {
        vec![self.path("tmp")]
    }

    /// Asserts now what drop asserts later.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        self.assert_nothing_left_within(slowed(Duration::from_secs(5)));
    }

    /// The same with another time for the kernel to take a pod apart.
    #[track_caller]
    pub fn assert_nothing_left_within(&self, time: Duration) {
        self.end_metadata_service();
        self.before.assert_as_before(&self.data(), &self.temporary(), time);
    }
}

impl Env {
    /// The process of the metadata service that a pod of this environment has started, while it is there.
    pub fn metadata_service(&self) -> Option<i32> {
        let data = self.data();
        let is_its = |pid: &i32| {
            let line = process::command_line(*pid);
            line.contains(" metadata-service ") && line.contains(&*data.to_string_lossy())
        };
        process::all().into_iter().filter(|it| it.state != 'Z').map(|it| it.pid).find(is_its)
    }

    /// Ends what a failed test has left running: with its monitor a pod ends too.
    fn end_pods(&self) {
        let data = self.data();
        let is_its = |pid: &i32| process::command_line(*pid).contains(&*data.to_string_lossy());
        for pid in process::all().into_iter().map(|it| it.pid).filter(is_its) {
            process::kill(pid, rustix::process::Signal::KILL);
        }
    }

    /// Ends the metadata service: it is meant to outlive the pods, for a while.
    pub fn end_metadata_service(&self) {
        while let Some(pid) = self.metadata_service() {
            process::kill(pid, rustix::process::Signal::KILL);
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Env {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.end_pods();
        } else {
            self.assert_nothing_left();
        }
        let root = self.root.take().expect("drop runs once").keep();
        if fs::remove_dir_all(&root).is_err() {
            // Trees hold files of subordinate ids, which only root of a namespace with the range can remove.
            let remove = ["--user", "--map-root-user", "--map-auto", "rm", "-rf", "--"];
            let _ = Command::new("unshare").args(remove).arg(&root).status();
        }
    }
}
