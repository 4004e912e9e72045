//! The apps of a pod as they are listed, whether it runs or not.

use pod::{Place, PodEntry, Pods, State};
use stage1::protocol::{AppReport, AppStateName, Call, End, Reply};

use crate::client::Client;
use crate::error::{CommandError, Explain as _};

/// What is known of an app.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) name: String,
    pub(super) state: &'static str,
    pub(super) created_ns: Option<u64>,
    pub(super) started_ns: Option<u64>,
    pub(super) finished_ns: Option<u64>,
    pub(super) exit_code: Option<i32>,
}

/// The apps of a pod: what its supervisor says, or what was written down.
///
/// # Errors
///
/// The pod is still being prepared, or what was written down cannot be read.
pub(super) fn apps(pods: &Pods, entry: &PodEntry) -> Result<Vec<Seen>, CommandError> {
    if entry.state == State::Running
        && let Some(mut client) = Client::reach(pods, entry)?
    {
        return match client.ask(Call::Status, &[])?.0 {
            Reply::Status(report) => Ok(report.apps.into_iter().map(said).collect()),
            _ => Err(client.gone()),
        };
    }
    // It has ended meanwhile, if it ran.
    let entry = pods.find(&entry.uuid.to_string())?;
    if entry.place == Place::Prepare {
        return Err(CommandError::failed(format!("pod \"{}\" is not prepared yet", entry.uuid)));
    }
    recorded(pods, &entry).during(|| format!("pod {}", entry.uuid))
}

fn said(app: AppReport) -> Seen {
    Seen {
        state: app.state.as_str(),
        created_ns: Some(app.created_ns),
        started_ns: app.started_ns,
        finished_ns: app.finished_ns,
        exit_code: (app.state == AppStateName::Exited).then(|| app.exit.map(End::status)).flatten(),
        name: app.name,
    }
}

fn recorded(pods: &Pods, entry: &PodEntry) -> Result<Vec<Seen>, CommandError> {
    let pod = pods.open(entry)?;
    let mut statuses: std::collections::BTreeMap<_, _> = pod.statuses()?.into_iter().collect();
    // As rkt: whatever it has left behind, nothing of a pod runs that has ended.
    let state = if entry.state == State::Prepared { "created" } else { "exited" };
    let seen = |name: appc::AcName| {
        let status = statuses.remove(&name).flatten();
        Seen {
            name: name.to_string(),
            state,
            created_ns: status.as_ref().map(|status| status.created_ns),
            started_ns: status.as_ref().and_then(|status| status.started_ns),
            finished_ns: status.as_ref().and_then(|status| status.finished_ns),
            exit_code: status.and_then(|status| status.exit).map(pod::AppExit::status),
        }
    };
    Ok(pod.manifest()?.apps.into_iter().map(|app| app.name).map(seen).collect())
}
