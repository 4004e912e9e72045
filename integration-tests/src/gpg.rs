//! Keys and signatures by gpg itself, in a keyring of the test's own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::needs::{self, Why};
use crate::{Env, binaries, process, slowed};

/// A keyring; dropping it ends its agent and removes it.
#[derive(Debug)]
pub struct Gpg {
    home: tempfile::TempDir,
}

impl Gpg {
    /// An empty keyring.
    ///
    /// # Errors
    /// Says that gpg is not there.
    pub fn new() -> Result<Self, Why> {
        needs::tool("gpg")?;
        needs::tool("gpg-agent")?;
        let home = tempfile::Builder::new().prefix("g").tempdir_in(binaries::work_dir()).expect("the folder is ours");
        Ok(Self { home })
    }

    /// Where it is: `GNUPGHOME` for who runs gpg himself.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Makes a key without a passphrase that may sign (`ed25519`, `rsa2048`, …) and expires after `expire` (`never`,
    /// `1d`, `20300101T000000`).
    pub fn key(&self, user: &str, algorithm: &str, expire: &str) {
        self.run(["--passphrase", "", "--quick-generate-key", user, algorithm, "sign", expire]);
    }

    /// Adds a subkey that may sign.
    pub fn subkey(&self, user: &str, algorithm: &str, expire: &str) {
        let fingerprint = self.fingerprints(user).remove(0);
        self.run(["--passphrase", "", "--quick-add-key", &fingerprint, algorithm, "sign", expire]);
    }

    /// The fingerprints of a key and its subkeys, as proa writes them.
    pub fn fingerprints(&self, user: &str) -> Vec<String> {
        let listed = self.run(["--with-colons", "--with-subkey-fingerprint", "--list-keys", user]);
        let listed = String::from_utf8(listed).expect("UTF-8");
        listed
            .lines()
            .filter(|it| it.starts_with("fpr:"))
            .map(|it| it.replace(['f', 'p', 'r', ':'], "").to_lowercase())
            .collect()
    }

    /// Writes the armored public key to a file of the test.
    pub fn export(&self, env: &Env, user: &str, file: &str) -> PathBuf {
        env.write(file, self.run(["--armor", "--export", user]))
    }

    /// Writes `FILE.asc`, an armored detached signature of a key.
    pub fn sign(&self, env: &Env, user: &str, file: &Path) -> PathBuf {
        self.sign_with(env, file, &["--armor", "--local-user", user])
    }

    /// Writes `FILE.asc`, a detached signature with options of gpg.
    pub fn sign_with(&self, env: &Env, file: &Path, options: &[&str]) -> PathBuf {
        let args = options.iter().map(OsStr::new).chain(["--output", "-", "--detach-sign"].map(OsStr::new));
        let signature = self.run(args.chain([file.as_os_str()]));
        let mut path = file.as_os_str().to_owned();
        path.push(".asc");
        env.write(PathBuf::from(path), signature)
    }

    /// Runs gpg with these arguments and returns what it prints.
    ///
    /// # Panics
    /// When it fails.
    pub fn run<I: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = I>) -> Vec<u8> {
        let fixed = ["--batch", "--quiet", "--no-tty", "--yes", "--pinentry-mode", "loopback", "--homedir"];
        let mut command = Command::new("gpg");
        command.args(fixed).arg(self.home.path()).args(args).env("LANG", "C.UTF-8");
        let output = command.output().expect("gpg starts");
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Runs gpg with these arguments and this input.
    pub fn run_with_input(&self, args: &[&str], input: &str) -> Vec<u8> {
        let file = self.home.path().join("input");
        std::fs::write(&file, input).expect("the folder is ours");
        let fixed = ["--quiet", "--no-tty", "--yes", "--pinentry-mode", "loopback", "--command-fd=0", "--homedir"];
        let mut command = Command::new("gpg");
        command.args(fixed).arg(self.home.path()).args(args).env("LANG", "C.UTF-8");
        command.stdin(std::fs::File::open(&file).expect("it was just written"));
        let output = command.output().expect("gpg starts");
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }
}

impl Drop for Gpg {
    /// Ends the agent and waits until it is gone: it is in the process table that tests compare.
    fn drop(&mut self) {
        let home = self.home.path().to_string_lossy().into_owned();
        let deadline = Instant::now() + slowed(Duration::from_secs(5));
        loop {
            let agents: Vec<i32> = process::all()
                .into_iter()
                .map(|it| it.pid)
                .filter(|pid| process::command_line(*pid).contains(&home))
                .collect();
            let agents = agents.into_iter().filter_map(Pid::from_raw);
            let left = agents.filter(|pid| {
                let _ = kill_process(*pid, Signal::KILL);
                // It may be a child of this process, which adopts orphans.
                !matches!(waitpid(Some(*pid), WaitOptions::NOHANG), Ok(Some(_)))
            });
            if left.count() == 0 || Instant::now() > deadline {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
