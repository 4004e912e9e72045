//! The apps of a pod as they are listed, whether it runs or not.

use pod::{Place, PodEntry, Pods, State};
use stage1::protocol::{Call, Reply};

use crate::client::Client;
use crate::commands::status::{AppShown, of_report, recorded};
use crate::error::{CommandError, Explain as _};

/// The apps of a pod: what its supervisor says, or what was written down.
///
/// # Errors
///
/// The pod is still being prepared, or was not prepared to the end; what was written down cannot be read.
pub(super) fn apps(pods: &Pods, entry: &PodEntry) -> Result<Vec<AppShown>, CommandError> {
    if entry.state == State::Running
        && let Some(mut client) = Client::reach(pods, entry)?
    {
        return match client.ask(Call::Status, &[])?.0 {
            Reply::Status(report) => Ok(report.apps.iter().map(of_report).collect()),
            _ => Err(client.gone()),
        };
    }
    // It has ended meanwhile, if it ran.
    let entry = pods.find(&entry.uuid.to_string())?;
    if entry.place == Place::Prepare {
        return Err(CommandError::failed(match entry.state {
            State::Preparing => format!("pod \"{}\" is not prepared yet", entry.uuid),
            _ => format!("pod \"{}\" was not prepared to the end, and never will be", entry.uuid),
        }));
    }
    let mut apps = recorded(&pods.open(&entry)?).during(|| format!("pod {}", entry.uuid))?;
    for app in &mut apps {
        // As rkt: whatever it has left behind, nothing of a pod runs that has ended.
        app.state = if entry.state == State::Prepared { "created" } else { "exited" };
    }
    Ok(apps)
}
