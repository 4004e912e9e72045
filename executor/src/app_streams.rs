//! Where one app's standard streams go, where that is said of the app: rkt's `--stdin`, `--stdout` and `--stderr`.
//!
//! As rkt has it, what was said is an annotation of the app in the pod manifest; so it holds for a prepared pod, too. Those of images are not passed on.

use std::fmt;

use appc::{Annotations, PodManifest, RuntimeApp};
use clap::{Args, ValueEnum};
use stage1::TerminalSize;
use stage1::protocol::StdioKind;
use stage1::run::AppStdio;

use crate::error::CommandError;

/// The annotations, of each stream in the order of their descriptors.
const NAMES: [&str; 3] =
    ["coreos.com/rkt/stage2/stdin", "coreos.com/rkt/stage2/stdout", "coreos.com/rkt/stage2/stderr"];

/// The options that they come from.
const OPTIONS: [&str; 3] = ["--stdin", "--stdout", "--stderr"];

/// A terminal that nobody sits at has this size until somebody does.
const SIZE: TerminalSize = TerminalSize { rows: 24, columns: 80 };

// What may stand after an image.
#[derive(Debug, Default, Args)]
pub(crate) struct StreamArgs {
    /// Give the app no input, a terminal, or a stream that `attach` writes to
    #[arg(long, value_name = "null|tty|stream", hide_possible_values = true)]
    stdin: Option<Mode>,

    /// Have the app's output thrown away, logged, on a terminal, or in a stream that `attach` reads
    #[arg(long, value_name = "null|log|tty|stream", hide_possible_values = true)]
    stdout: Option<Mode>,

    /// The same for its errors
    #[arg(long, value_name = "null|log|tty|stream", hide_possible_values = true)]
    stderr: Option<Mode>,
}

/// Where a stream goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Nowhere.
    Null,
    /// Where it goes without this: into the log of a pod in the background, and to the caller of one in the foreground.
    Log,
    /// To a terminal of the app's, for all three streams.
    Tty,
    /// To whoever attaches.
    Stream,
}

impl StreamArgs {
    /// Writes down what was said.
    ///
    /// # Errors
    ///
    /// It contradicts itself.
    pub(crate) fn annotate(&self, annotations: &mut Annotations) -> Result<(), CommandError> {
        let chosen = [self.stdin, self.stdout, self.stderr];
        check(chosen).map_err(|why| {
            CommandError::usage(why.to_string())
                .hint("--stdin is null, tty or stream, and a terminal is all three streams: leave out what differs")
        })?;
        for (name, mode) in NAMES.into_iter().zip(chosen) {
            if let Some(mode) = mode {
                annotations.set(name.parse().expect("it is an identifier"), mode.to_string());
            }
        }
        Ok(())
    }
}

/// Where the app's streams go, in a pod whose apps have `usual` ones.
///
/// # Errors
///
/// What was written down makes no sense.
pub(crate) fn of_app(app: &RuntimeApp, usual: AppStdio) -> Result<AppStdio, CommandError> {
    let mut chosen = [None; 3];
    for (chosen, name) in chosen.iter_mut().zip(NAMES) {
        let Some(text) = app.annotations.get(name) else { continue };
        let mode = Mode::from_str(text, false).ok();
        *chosen = Some(mode.ok_or_else(|| wrong(app, format_args!("annotation {name}: {text:?} is no mode")))?);
    }
    check(chosen).map_err(|why| wrong(app, format_args!("{why}")))?;
    Ok(stdio(chosen, usual))
}

/// Whether an app has a terminal because that was said of it.
pub(crate) fn has_terminal(manifest: &PodManifest) -> bool {
    let is_one = |app: &RuntimeApp| NAMES.iter().any(|name| app.annotations.get(name) == Some("tty"));
    manifest.apps.iter().any(is_one)
}

fn wrong(app: &RuntimeApp, what: fmt::Arguments<'_>) -> CommandError {
    CommandError::failed(format!("app {:?}: {what}", app.name.as_str()))
        .hint("input can be null, tty or stream, output and errors null, log, tty or stream; a terminal is all three")
}

/// That the input is not logged, and a terminal is all three streams.
fn check(chosen: [Option<Mode>; 3]) -> Result<(), Contradiction> {
    let at = |wanted: fn(Mode) -> bool| {
        let found = chosen.into_iter().enumerate().find_map(|(at, mode)| Some((at, mode.filter(|it| wanted(*it))?)));
        found.map(|(at, mode)| (OPTIONS[at], mode))
    };
    if chosen[0] == Some(Mode::Log) {
        return Err(Contradiction::Logged);
    }
    match (at(|it| it == Mode::Tty), at(|it| it != Mode::Tty)) {
        (Some(terminal), Some(other)) => Err(Contradiction::HalfATerminal { terminal, other }),
        _ => Ok(()),
    }
}

#[derive(Debug, thiserror::Error)]
enum Contradiction {
    #[error("--stdin=log: input is not logged")]
    Logged,
    #[error("{}={} and {}={} exclude each other", .terminal.0, .terminal.1, .other.0, .other.1)]
    HalfATerminal { terminal: (&'static str, Mode), other: (&'static str, Mode) },
}

fn stdio(chosen: [Option<Mode>; 3], usual: AppStdio) -> AppStdio {
    let is = |at: usize, mode: Mode| chosen[at] == Some(mode);
    let any = |mode: Mode| chosen.contains(&Some(mode));
    let [_, no_stdout, no_stderr] = [0, 1, 2].map(|at| is(at, Mode::Null));
    match usual {
        _ if chosen == [None; 3] => usual,
        _ if any(Mode::Tty) => AppStdio::Kept(StdioKind { stdin: true, terminal: Some(SIZE), ..StdioKind::default() }),
        AppStdio::Inherited | AppStdio::Muted(_) if !any(Mode::Stream) => {
            AppStdio::Muted([is(0, Mode::Null), no_stdout, no_stderr])
        }
        _ => AppStdio::Kept(StdioKind { stdin: is(0, Mode::Stream), no_stdout, no_stderr, terminal: None }),
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Log => "log",
            Self::Tty => "tty",
            Self::Stream => "stream",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_chosen_one_by_one() {
        use Mode::{Log, Null, Stream, Tty};
        let usual = [AppStdio::Inherited, AppStdio::Kept(StdioKind::default())];
        let kept = |stdin, no_stdout| AppStdio::Kept(StdioKind { stdin, no_stdout, no_stderr: false, terminal: None });
        let terminal = AppStdio::Kept(StdioKind { stdin: true, terminal: Some(SIZE), ..StdioKind::default() });
        for (chosen, expected) in [
            ([None, None, None], usual),
            ([Some(Tty), None, None], [terminal; 2]),
            ([Some(Tty), Some(Tty), Some(Tty)], [terminal; 2]),
            ([Some(Stream), Some(Stream), Some(Stream)], [kept(true, false); 2]),
            ([None, Some(Stream), None], [kept(false, false); 2]),
            ([None, Some(Null), Some(Log)], [AppStdio::Muted([false, true, false]), kept(false, true)]),
            ([Some(Null), None, None], [AppStdio::Muted([true, false, false]), kept(false, false)]),
        ] {
            assert_eq!(usual.map(|usual| stdio(chosen, usual)), expected, "{chosen:?}");
        }
        assert!(check([Some(Tty), Some(Tty), None]).is_ok());
        let why = check([Some(Tty), None, Some(Null)]).unwrap_err();
        assert_eq!(why.to_string(), "--stdin=tty and --stderr=null exclude each other");
        assert_eq!(check([Some(Log), None, None]).unwrap_err().to_string(), "--stdin=log: input is not logged");
    }
}
