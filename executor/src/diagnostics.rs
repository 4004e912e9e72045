//! Whether and how proa tells what it is doing: tracing output on stderr, and the warnings that are always shown.

use std::io::{self, Write as _};
use std::sync::{Mutex, PoisonError};

use appc::{Compatibility, SemVer};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::prelude::*;

use crate::cli::{GlobalArgs, LogFormat};
use crate::error::CommandError;
use crate::escape::printable;

/// The variable that holds tracing's filter directives, such as `debug` or `proa=debug,warn`.
const FILTER_VARIABLE: &str = "PROA_LOG";

/// Sets tracing up if it was asked for; else nothing is allocated and every span costs one load.
///
/// Each span (`fetch`, `render`, `launch`) is written once, when it closes, with the time it took.
///
/// # Errors
///
/// The filter in `PROA_LOG` cannot be parsed.
pub(crate) fn start(global: &GlobalArgs) -> Result<(), CommandError> {
    let variable = std::env::var(FILTER_VARIABLE).ok().filter(|filter| !filter.is_empty());
    if !global.debug && global.log_format.is_none() && variable.is_none() {
        return Ok(());
    }
    let directives = variable.as_deref().unwrap_or(if global.debug { "debug" } else { "info" });
    let filter: Targets = directives.parse().map_err(|error| {
        CommandError::usage(format!("{FILTER_VARIABLE}={directives:?}: {error}"))
            .hint(format!("try {FILTER_VARIABLE}=debug, or {FILTER_VARIABLE}=proa=debug,warn"))
    })?;
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_span_events(FmtSpan::CLOSE);
    let registry = tracing_subscriber::registry().with(filter);
    match global.log_format.unwrap_or(LogFormat::Text) {
        LogFormat::Text => registry.with(layer.with_ansi(false)).init(),
        LogFormat::Json => registry.with(layer.json()).init(),
    }
    Ok(())
}

/// Sees to it that the warnings of a long-running command are shown, if nothing else was asked for.
pub(crate) fn show_warnings() {
    // Whoever asked for more has been obeyed already, and the second attempt fails.
    let warnings = tracing_subscriber::fmt().with_max_level(tracing::Level::WARN);
    let _ = warnings.with_writer(io::stderr).with_ansi(false).try_init();
}

/// Runs `f`, in a process that was forked, without diagnostics: two processes must not write into one another's lines,
/// and a span that the parent opened is not the child's to close.
pub(crate) fn silenced<T>(f: impl FnOnce() -> T) -> T {
    tracing::subscriber::with_default(tracing::subscriber::NoSubscriber::default(), f)
}

/// Warns of a document that was written for a newer specification than this program knows: what it adds is not heeded
/// (appc types.md, "AC Version").
pub(crate) fn warn_of_version(what: &str, version: &SemVer) {
    if version.compatibility() == Compatibility::Newer {
        let known = SemVer::current();
        warn(&format!("{what}: acVersion {version} is newer than {known}: what was added since is ignored"));
    }
}

type Teller = Box<dyn Fn(&str) + Send>;

/// Who tells the user of something odd, in a process whose stderr leads nowhere.
static TELLER: Mutex<Option<Teller>> = Mutex::new(None);

/// Has warnings told by `teller` from now on.
pub(crate) fn warn_by(teller: impl Fn(&str) + Send + 'static) {
    *TELLER.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(teller));
}

/// Has warnings written to stderr again.
pub(crate) fn warn_on_stderr() {
    *TELLER.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

/// Tells the user of something odd that does not stop the work. A stderr that cannot be written to is no reason to
/// stop either.
pub(crate) fn warn(message: &str) {
    if let Some(tell) = &*TELLER.lock().unwrap_or_else(PoisonError::into_inner) {
        return tell(message);
    }
    let line = format!("proa: warning: {}\n", printable(message));
    let _ = io::stderr().write_all(line.as_bytes());
}
