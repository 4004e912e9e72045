//! The pipes between apps and their supervisor.

use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::stdio::{stderr, stdin, stdout};

use crate::channel::TerminalSize;
use crate::idmap::{IdMapping, Tier};
use crate::output::{Outputs, Stream};
use crate::protocol::StdioKind;
use crate::run::{AppOptions, AppStdio};
use crate::terminal::give_pipes;

/// The streams of an app's first process.
#[derive(Debug)]
pub(crate) enum AppStreams {
    Inherited,
    Given([OwnedFd; 3]),
    /// Pipes of the supervisor.
    Kept([OwnedFd; 3]),
    Terminal(TerminalSize),
}

impl AppStreams {
    /// The three streams, or none.
    pub(crate) fn fds(&self) -> &[OwnedFd] {
        match self {
            Self::Given(fds) | Self::Kept(fds) => fds,
            Self::Inherited | Self::Terminal(_) => &[],
        }
    }

    /// Their numbers.
    pub(crate) fn numbers(&self) -> Vec<RawFd> {
        self.fds().iter().map(|fd| fd.as_raw_fd()).collect()
    }
}

/// The supervisor's ends of one app's pipes.
#[derive(Debug, Default)]
pub(crate) struct AppPipes {
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

impl AppPipes {
    /// Makes the pipes of apps, and says what each app's end of them is.
    ///
    /// # Errors
    /// Those of pipe2(2): EMFILE, ENFILE.
    pub(crate) fn for_apps(apps: &[AppOptions], mapping: &IdMapping) -> std::io::Result<(Vec<Self>, Vec<AppStreams>)> {
        // Nothing is kept: what every foreground pod has, and it costs nothing.
        if apps.iter().all(|app| app.stdio == AppStdio::Inherited) {
            return Ok((Vec::new(), Vec::new()));
        }
        let made: Result<Vec<_>, Errno> = apps.iter().map(|app| Self::new(app.stdio, mapping)).collect();
        Ok(made?.into_iter().unzip())
    }

    /// Makes the pipes of one app. Those of root, whom no app is, belong to root of the pod, who may give them to the app's
    /// user.
    pub(crate) fn new(stdio: AppStdio, mapping: &IdMapping) -> rustix::io::Result<(Self, AppStreams)> {
        let StdioKind { stdin, terminal, no_stdout, no_stderr } = match stdio {
            AppStdio::Inherited => return Ok((Self::default(), AppStreams::Inherited)),
            AppStdio::Muted(muted) => return Ok((Self::default(), muted_streams(muted)?)),
            AppStdio::Kept(kind) => kind,
        };
        if let Some(size) = terminal {
            return Ok((Self::default(), AppStreams::Terminal(size)));
        }
        let pipe = || pipe_with(PipeFlags::CLOEXEC);
        let (input, ours) = if stdin {
            let (read, write) = pipe()?;
            (read, Some(write))
        } else {
            (nothing()?, None)
        };
        let kept = |thrown_away: bool| {
            if thrown_away { nothing().map(|fd| (None, fd)) } else { pipe().map(|(read, write)| (Some(read), write)) }
        };
        let (stdout, output) = kept(no_stdout)?;
        let (stderr, errors) = kept(no_stderr)?;
        let streams = [input, output, errors];
        if mapping.tier() == Tier::Root {
            give_pipes(&streams, mapping.container_root());
        }
        Ok((Self { stdin: ours, stdout, stderr }, AppStreams::Kept(streams)))
    }

    /// Has the outputs read them; the input is the app's.
    pub(crate) fn keep(mut self, app: usize, outputs: &mut Outputs) {
        outputs.set_input(app, self.stdin.take());
        self.keep_output(app, outputs);
    }

    /// Has the outputs read them, and leaves the app's input alone.
    pub(crate) fn keep_output(self, app: usize, outputs: &mut Outputs) {
        for (fd, stream) in [(self.stdout, Stream::Stdout), (self.stderr, Stream::Stderr)] {
            if let Some(fd) = fd {
                outputs.add_source(app, stream, fd);
            }
        }
    }
}

/// This process's own streams, but for those that are nobody's.
fn muted_streams(muted: [bool; 3]) -> rustix::io::Result<AppStreams> {
    let of = |muted: bool, own: BorrowedFd<'_>| if muted { nothing() } else { fcntl_dupfd_cloexec(own, 3) };
    let [input, output, errors] = muted;
    Ok(AppStreams::Given([of(input, stdin())?, of(output, stdout())?, of(errors, stderr())?]))
}

/// What is empty to readers and takes everything from writers (null(4)).
fn nothing() -> rustix::io::Result<OwnedFd> {
    open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}

/// Has the outputs keep a terminal: all that is written to it is output, and it is the app's input.
pub(crate) fn keep_terminal(app: usize, terminal: OwnedFd, outputs: &mut Outputs) {
    outputs.set_input(app, terminal.try_clone().ok());
    outputs.add_source(app, Stream::Stdout, terminal);
}
