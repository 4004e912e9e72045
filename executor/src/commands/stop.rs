//! `proa stop`: ends pods in order.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use pod::{PodEntry, Pods, State};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, kill_process};
use stage1::protocol::{Call, Reply};

use crate::annotations::STOP_TIMEOUT;
use crate::cgroup;
use crate::client::{self, Client};
use crate::context::Context;
use crate::error::{CommandError, FAILURE};
use crate::{output, pod_argument, signal_argument};

/// Stop running pods and wait for their end
///
/// Each app is sent its stop signal (TERM, unless its image says otherwise) and is killed if it has not ended in time.
/// Then its post-stop handler runs. Prints the UUID of each pod that has ended; a pod that has ended already is a
/// success.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa stop web\n  proa stop --timeout 60 5c8f2f6e\n  proa stop --force web logs")]
pub(crate) struct StopArgs {
    /// Kill at once
    #[arg(long, conflicts_with_all = ["timeout", "signal"])]
    force: bool,

    /// Give each app this many seconds [default: what `docker run --stop-timeout` said, or 10]
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u32>,

    /// Begin with this signal instead of each app's own
    #[arg(long, value_name = "SIGNAL")]
    signal: Option<String>,

    /// Stop the pod whose UUID is in FILE
    #[arg(long, value_name = "FILE")]
    uuid_file: Option<PathBuf>,

    /// The pods: UUIDs, unambiguous beginnings of UUIDs, or names
    #[arg(value_name = "POD")]
    pods: Vec<String>,
}

/// How long a supervisor may take to answer a forced stop before it is killed itself.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) fn run(context: &Context, args: StopArgs) -> Result<u8, CommandError> {
    let pods = context.pods()?;
    let needles = match pod_argument::needles(&args.pods, args.uuid_file.as_ref()) {
        Err(error) if pod_argument::is_unreadable(&error) => {
            output::complain(&error.report(Some("stop")));
            return Ok(pod_argument::UNREADABLE);
        }
        needles => needles?,
    };
    let signal = match (&args.signal, args.force) {
        (_, true) => Some(Signal::KILL.as_raw()),
        (Some(signal), false) => Some(signal_argument::parse(signal)?),
        (None, false) => None,
    };
    // All are told before the first is waited for.
    let told: Vec<_> = needles.iter().map(|needle| tell(&pods, needle, signal, args.timeout)).collect();
    let mut status = 0;
    for (needle, told) in needles.iter().zip(told) {
        match told.and_then(|(entry, client)| wait(&pods, &entry, client, args.force)) {
            Ok(uuid) => output::write(&format!("\"{uuid}\"\n"))?,
            Err(error) => {
                output::complain(&error.during(needle.as_str()).report(Some("stop")));
                status = FAILURE;
            }
        }
    }
    Ok(status)
}

/// Tells the supervisor; `None` when there is nothing to stop any more.
fn tell(
    pods: &Pods,
    needle: &str,
    signal: Option<i32>,
    timeout: Option<u32>,
) -> Result<(PodEntry, Option<Client>), CommandError> {
    let entry = pod_argument::find(pods, needle)?;
    match entry.state {
        State::Running => {}
        State::Exited | State::ExitedGarbage | State::ExitedDeleting => {
            output::complain(&format!("proa: stop: pod \"{}\" is already stopped\n", entry.uuid));
            return Ok((entry, None));
        }
        _ => return Err(CommandError::failed(format!("pod \"{}\" is not running", entry.uuid))),
    }
    let seconds = timeout.unwrap_or_else(|| grace(pods, &entry));
    let client = begin(pods, &entry, signal, seconds)?;
    Ok((entry, client))
}

/// How many seconds the apps of a pod have to stop where nobody says so. A pod that cannot be read can be stopped.
pub(crate) fn grace(pods: &Pods, entry: &PodEntry) -> u32 {
    let manifest = pods.open(entry).and_then(|pod| pod.manifest()).ok();
    let made_with = manifest.and_then(|manifest| manifest.annotations.get(STOP_TIMEOUT)?.parse::<i64>().ok());
    // A negative number is docker's for ever.
    u32::try_from(made_with.unwrap_or(GRACE)).unwrap_or(u32::MAX)
}

/// The seconds that most have.
const GRACE: i64 = 10;

/// Tells the supervisor of a running pod to stop it; `None` when it has ended by itself meanwhile.
fn begin(pods: &Pods, entry: &PodEntry, signal: Option<i32>, seconds: u32) -> Result<Option<Client>, CommandError> {
    cgroup::thaw(pods, entry);
    let Some(client) = Client::reach(pods, entry)? else { return Ok(None) };
    match client.say(Call::Stop { app: None, signal, grace_ms: Some(u64::from(seconds) * 1000) }, &[]) {
        // It was about to go: what is to be waited for is the same.
        Err(error) if matches!(error.cause(), Some(&(Errno::PIPE | Errno::CONNRESET))) => {}
        said => said?,
    }
    Ok(Some(client))
}

/// Stops a running pod and waits for its end: its apps get `signal`, or each its own, and after so many seconds KILL.
///
/// # Errors
///
/// Its supervisor cannot be reached, or its processes do not end.
pub(crate) fn stop(pods: &Pods, entry: &PodEntry, signal: Option<i32>, seconds: u32) -> Result<(), CommandError> {
    let client = begin(pods, entry, signal, seconds)?;
    wait(pods, entry, client, signal == Some(Signal::KILL.as_raw())).map(drop)
}

/// Waits until nothing of the pod is left.
fn wait(pods: &Pods, entry: &PodEntry, client: Option<Client>, force: bool) -> Result<appc::PodUuid, CommandError> {
    let Some(mut client) = client else { return Ok(entry.uuid) };
    if force && !answers(&client) {
        // A supervisor that does not even answer: its end is the pod's.
        if let Some(supervisor) = client.supervisor() {
            let _ = kill_process(supervisor, Signal::KILL);
        }
    }
    if let Some((Reply::Done, _)) = client.hear()? {
        client.wait_for_end()?;
    }
    // The lock is held until pid 1 is gone as well.
    let deadline = Instant::now() + client::LAST_MOMENTS;
    while pods.find(&entry.uuid.to_string()).is_ok_and(|entry| entry.state == State::Running) {
        if Instant::now() > deadline {
            return Err(CommandError::failed("its supervisor has ended, but its processes have not"));
        }
        std::thread::sleep(client::PAUSE);
    }
    Ok(entry.uuid)
}

fn answers(client: &Client) -> bool {
    let timeout = Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
    poll(&mut [PollFd::new(client, PollFlags::IN)], Some(&timeout)).is_ok_and(|ready| ready > 0)
}
