//! X11 forwarding: the cookie into the user's authority file, and a listener where display 10 is looked for.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::Fatal;
use super::listener::{self, Listener};
use super::packet::Setup;
use crate::errno;

/// The original's path; PATH may be the image's.
const XAUTH: &str = "/usr/bin/xauth";
const DISPLAY: u32 = 10;
/// TCP ports of displays begin here.
const FIRST_PORT: u32 = 6000;

/// Tells xauth(1) the cookie and listens for clients of the display.
pub(super) fn listen(setup: &Setup) -> Result<Listener, Fatal> {
    let authority = std::env::var_os("XAUTHORITY").unwrap_or_else(|| ".Xauthority".into());
    // xauth complains where there is none. The original makes it readable for all, with the secret in it.
    let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::CLOEXEC;
    openat(CWD, authority.as_os_str(), flags, Mode::RUSR | Mode::WUSR)
        .map_err(|error| Fatal::X11(format!("open {}: {}", authority.display(), errno::text(error))))?;

    let display = format!(":{DISPLAY}.{}", setup.screen);
    let mut command = Command::new(XAUTH);
    // Our standard streams are the protocol's.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.args(["add", &display, &setup.auth_protocol, &setup.auth_cookie]);
    let output = command.output().map_err(|error| Fatal::X11(format!("{XAUTH}: {}", errno::of(&error))))?;
    if !output.status.success() {
        let how = match (output.status.code(), output.status.signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (None, signal) => format!("signal {}", signal.unwrap_or_default()),
        };
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Fatal::X11(format!("{XAUTH}: {how}: {}", said.trim())));
    }
    listener::listen(&Setup {
        bind_host: "127.0.0.1".to_owned(),
        bind_port: FIRST_PORT + DISPLAY,
        protocol: "tcp".to_owned(),
        single_connection: setup.single_connection,
        ..Setup::default()
    })
}
