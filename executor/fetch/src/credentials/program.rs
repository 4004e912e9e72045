//! Helper programs: `docker-credential-NAME get` reads a server's name and prints what it has for it.

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Deserialize;

use crate::json;
use crate::quote::Quoted;
use crate::registry::{Credential, Secret};

/// The longest a helper may take: some ask a person.
const PATIENCE: Duration = Duration::from_secs(60);

/// The most bytes of an answer.
const LARGEST: usize = 64 << 10;

/// What a helper sees of the environment: where its own store is, and how to reach a running key ring. Nothing else,
/// so that a program found by the name in a file cannot learn what was not meant for it.
const ENVIRONMENT: [&str; 15] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "TERM",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "DBUS_SESSION_BUS_ADDRESS",
    "GNUPGHOME",
    "GPG_TTY",
    "PASSWORD_STORE_DIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "KUBECONFIG",
];

/// The beginnings of the names of further variables: those of the desktop and of clouds' tools.
const PREFIXES: [&str; 6] = ["XDG_", "AWS_", "GOOGLE_", "CLOUDSDK_", "AZURE_", "ACR_"];

/// Why a helper gave nothing. Its own words are not repeated: they may hold a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HelperError {
    /// Its name would lead elsewhere.
    #[error("credential helper {0} is not a name of letters, digits, . _ -")]
    Name(Quoted),
    /// It cannot be run.
    #[error("run {program}")]
    Run {
        /// The program.
        program: String,
        /// What the system says.
        source: io::Error,
    },
    /// It took too long, or said too much.
    #[error("{program} gave no answer of at most {LARGEST} bytes within {} s", PATIENCE.as_secs())]
    Endless {
        /// The program.
        program: String,
    },
    /// It failed.
    #[error("{program} failed ({status})")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// Its answer is none.
    #[error("the answer of {program} holds no user and secret")]
    Answer {
        /// The program.
        program: String,
    },
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username", default)]
    user: String,
    #[serde(rename = "Secret", default)]
    secret: String,
}

/// What the helper `name` has for `server`; `None` if it says that it has nothing.
///
/// # Errors
/// [`HelperError`].
pub(super) fn ask(name: &str, server: &str) -> Result<Option<Credential>, HelperError> {
    let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if name.is_empty() || !name.bytes().all(is_name) {
        return Err(HelperError::Name(Quoted::new(name)));
    }
    ask_program(format!("docker-credential-{name}"), server, PATIENCE)
}

fn ask_program(program: String, server: &str, patience: Duration) -> Result<Option<Credential>, HelperError> {
    let failed = |source| HelperError::Run { program: program.clone(), source };
    let kept = |name: &str| ENVIRONMENT.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    let environment = std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(kept));
    let mut child = Command::new(&program)
        .arg("get")
        .env_clear()
        .envs(environment)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let answer = converse(&mut child, server, patience);
    if !matches!(answer, Ok(Some(_))) {
        // It may still be running.
        let _ = child.kill();
    }
    let status = child.wait().map_err(failed)?;
    let Some(answer) = answer.map_err(failed)? else { return Err(HelperError::Endless { program }) };
    if !status.success() {
        // What docker-credential-helpers print where there is nothing to be had; it is part of their protocol.
        let text = String::from_utf8_lossy(&answer);
        let nothing = ["credentials not found in native keychain", "credentials not found"];
        return if nothing.contains(&text.trim()) { Ok(None) } else { Err(HelperError::Failed { program, status }) };
    }
    let answer: Answer = json::parse(&answer).map_err(|_| HelperError::Answer { program: program.clone() })?;
    match (answer.user.as_str(), answer.secret.as_str()) {
        (_, "") | ("", _) => Err(HelperError::Answer { program }),
        ("<token>", token) => Ok(Some(Credential::Identity(Secret::new(token)))),
        (user, secret) => Ok(Some(Credential::Basic { user: user.to_owned(), password: Secret::new(secret) })),
    }
}

/// Tells the helper the server and reads its answer; `None` if that takes too long or does not end.
fn converse(child: &mut Child, server: &str, patience: Duration) -> io::Result<Option<Vec<u8>>> {
    let deadline = Instant::now() + patience;
    let mut stdin = child.stdin.take().expect("it is piped");
    // A pipe holds far more than a host name, so this does not wait; and a helper need not read it.
    match stdin.write_all(server.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
        _ => drop(stdin),
    }
    let mut stdout = child.stdout.take().expect("it is piped");
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: i64::from(left.subsec_nanos()) };
        let ready = poll(&mut [PollFd::from_borrowed_fd(stdout.as_fd(), PollFlags::IN)], Some(&left));
        match ready {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
        match stdout.read(&mut buffer)? {
            0 => return Ok(Some(answer)),
            length => answer.extend_from_slice(&buffer[..length]),
        }
        if answer.len() > LARGEST {
            return Ok(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn helper(script: &str) -> Result<Option<Credential>, HelperError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("docker-credential-test");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        ask_program(path.to_str().unwrap().to_owned(), "registry.example:5000", Duration::from_millis(700))
    }

    #[test]
    fn an_answer_is_for_the_server_that_was_asked_for() {
        let script = r#"[ "$1" = get ] && printf '{"ServerURL":"x","Username":"me","Secret":"%s"}' "$(cat)""#;
        let expected = Credential::Basic { user: "me".into(), password: Secret::new("registry.example:5000") };
        assert_eq!(helper(script).unwrap(), Some(expected));
        let token = r#"echo '{"Username":"<token>","Secret":"t"}'"#;
        assert_eq!(helper(token).unwrap(), Some(Credential::Identity(Secret::new("t"))));
    }

    #[test]
    fn nothing_to_be_had_is_no_error_and_everything_else_is() {
        assert_eq!(helper("echo 'credentials not found in native keychain'; exit 1").unwrap(), None);
        for (script, expected) in [
            ("echo canary; exit 3", "failed (exit status: 3)"),
            ("echo garbage-canary", "holds no user and secret"),
            ("echo '{\"Username\":\"u\",\"Secret\":\"\"}'", "holds no user and secret"),
            ("sleep 20", "gave no answer"),
            ("exec yes", "gave no answer"),
        ] {
            let error = helper(script).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("canary"), "{script}: {error}");
        }
        for name in ["", "../x", "a/b", "a b", "é"] {
            assert!(matches!(ask(name, "x"), Err(HelperError::Name(_))), "{name:?}");
        }
        assert!(matches!(ask("proa-test-is-not-there", "x"), Err(HelperError::Run { .. })));
    }

    #[test]
    fn the_environment_is_bare() {
        // Cargo's variables are in this process's environment.
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        let script =
            r#"[ -n "$PATH" ] || exit 1; printf '{"Username":"u","Secret":"%s"}' "${CARGO_MANIFEST_DIR-none}""#;
        let expected = Credential::Basic { user: "u".into(), password: Secret::new("none") };
        assert_eq!(helper(script).unwrap(), Some(expected));
    }
}
