//! That somebody has stopped a container, with `stop` or `kill`: what starts containers after a reboot leaves it alone then, if
//! its policy is `unless-stopped`.

use pod::{PodEntry, PodError, Pods, State};
use stage1::plan;
use stage1::protocol::Call;
use stage1::supervise::Restart;

use super::container::Container;
use crate::client::Client;
use crate::diagnostics::warn;
use crate::error::CommandError;
use crate::setup::Setup;

/// The policy with which it counts.
const UNLESS_STOPPED: &str = "unless-stopped";

/// The restart policy of a container, as it was typed; `no` of one that is not kept.
pub(super) fn policy(pods: &Pods, entry: &PodEntry) -> Result<String, CommandError> {
    let setup = pods.open(entry)?.setup()?.map(|json| Setup::from_json(&json)).transpose()?;
    let policy = setup.and_then(|setup| setup.life).map(|life| life.restart).filter(|policy| !policy.is_empty());
    Ok(policy.unwrap_or_else(|| "no".to_owned()))
}

/// Remembers it until the container is started again. That it cannot be written down keeps nobody from stopping it.
pub(super) fn note(pods: &Pods, entry: &PodEntry) {
    let noted = || match pods.open(entry)?.setup()?.map(|json| Setup::from_json(&json)).transpose()? {
        // What goes with its end is not started again.
        None => Ok(()),
        Some(setup) if setup.life.as_ref().is_some_and(|life| life.remove) => Ok(()),
        Some(setup) => {
            let counts = setup.life.is_some_and(|life| life.restart == UNLESS_STOPPED);
            Ok::<_, CommandError>(pods.amend(entry.uuid)?.mark_stopped(counts)?)
        }
    };
    match noted() {
        Err(error) if !matches!(error.cause(), Some(PodError::NotFound { .. })) => {
            let why = error.during("it is not remembered that somebody has stopped the container").chain();
            warn(&format!("{why}: after a reboot it is started as if nobody had"));
        }
        _ => {}
    }
}

/// Whether a container is to be started after a reboot.
///
/// # Errors
///
/// It cannot be read.
pub(super) fn starts_on_boot(pods: &Pods, container: &Container) -> Result<bool, CommandError> {
    let entry = &container.entry;
    if !matches!(entry.state, State::Prepared | State::Exited | State::Running) {
        return Ok(false);
    }
    Ok(match policy(pods, entry)?.as_str() {
        "always" => true,
        UNLESS_STOPPED => !pods.open(entry)?.was_stopped()?,
        _ => false,
    })
}

/// Whether the signal is the one that the container is stopped with.
pub(super) fn is_stop_signal(pods: &Pods, entry: &PodEntry, signal: i32) -> Result<bool, CommandError> {
    Ok(pods.open(entry)?.manifest()?.apps.first().is_some_and(|app| plan::stop_signal(app) == signal))
}

/// Has its command not be started again when it ends, whatever its policy is, until the container is started the next time.
/// What cannot be told that will be told the signal all the same.
pub(super) fn let_end(pods: &Pods, entry: &PodEntry) {
    let told = Client::connect(pods, entry);
    drop(told.and_then(|mut client| client.ask(Call::RestartPolicy { policy: Restart::No }, &[])));
}
