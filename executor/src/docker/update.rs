//! `docker update`: changes the limits of containers and their restart policies, for now and for their next start.

use std::time::Duration;

use clap::Args;
use pod::{PodEntry, PodError, Pods, State};
use stage1::isolators::choices::PIDS_LIMIT;
use stage1::protocol::{Call, Reply};
use stage1::supervise::Restart;

use super::limit_option::{self, LimitArgs};
use super::targets::each;
use super::{container, run as run_command};
use crate::app_isolators::{self, Given};
use crate::cgroup;
use crate::client::Client;
use crate::commands::update;
use crate::context::Context;
use crate::diagnostics::warn;
use crate::error::CommandError;
use crate::setup::{Life, Setup};

/// Update the limits and the restart policy of one or more containers, which they have when they are started again, too
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    #[command(flatten)]
    limits: LimitArgs,

    /// Limit of processes, for the next start
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pids_limit: Option<String>,

    /// Restart policy
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,

    /// The containers
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

/// What is to change.
struct Change {
    limits: Vec<Given>,
    /// `Some(None)` is as many as usual.
    processes: Option<Option<i64>>,
    /// As it was typed, and what it means.
    policy: Option<(String, Restart)>,
}

pub(crate) fn run(context: &Context, args: UpdateArgs) -> Result<u8, CommandError> {
    let policy = args.restart.filter(|policy| !policy.is_empty());
    let policy = policy.map(|text| run_command::restart(&text).map(|policy| (text, policy))).transpose()?;
    let unheld = args.limits.tell_unheld();
    let processes = args.pids_limit.as_deref().map(limit_option::processes).transpose()?;
    let change = Change { limits: args.limits.of_app()?, processes, policy };
    if change.limits.is_empty() && change.processes.is_none() && change.policy.is_none() && unheld == 0 {
        return Err(CommandError::failed("You must provide one or more flags when using this command.")
            .hint("there are --memory, --cpus, --cpu-shares, --pids-limit and --restart"));
    }
    each(context, &args.containers, |pods, needle| {
        let uuid = container::find(pods, needle)?.uuid;
        let changed = change.make(pods, needle);
        changed.map_err(|error| error.during(format!("Cannot update container {}", container::id(uuid))))?;
        Ok(Some(needle.to_owned()))
    })
}

/// Why it was not made.
enum Failed {
    /// It may be because somebody starts or ends the container.
    Meanwhile(CommandError),
    /// It is not to be.
    Refused(CommandError),
}

impl Change {
    /// Makes it. Whoever starts or ends the container just then is waited for.
    fn make(&self, pods: &Pods, needle: &str) -> Result<(), CommandError> {
        const TRIES: usize = 5;
        const PAUSE: Duration = Duration::from_millis(50);
        let mut result = self.try_to(pods, needle);
        for _ in 1..TRIES {
            match result {
                Err(Failed::Meanwhile(_)) => {
                    std::thread::sleep(PAUSE);
                    result = self.try_to(pods, needle);
                }
                _ => break,
            }
        }
        result.map_err(|(Failed::Meanwhile(error) | Failed::Refused(error))| error)
    }

    fn try_to(&self, pods: &Pods, needle: &str) -> Result<(), Failed> {
        let entry = container::find(pods, needle).map_err(Failed::Refused)?;
        self.check(pods, &entry).map_err(Failed::Refused)?;
        let mut held = None;
        match entry.state {
            // The kernel refuses little: most of what fails here does because the container is not the one any more that it was.
            State::Running => self.apply(pods, &entry).map_err(Failed::Meanwhile)?,
            State::Prepared | State::Exited => {
                // Nobody starts it meanwhile.
                let hold = pods.hold(entry.uuid).and_then(|held| held.seen(entry.uuid));
                held = Some(hold.map_err(|error| Failed::Meanwhile(error.into()))?);
            }
            state => return Err(Failed::Refused(CommandError::failed(format!("it is {state}")))),
        }
        let kept = self.keep(pods, &entry).map_err(Failed::Refused);
        drop(held);
        if let (Some(processes), State::Running, true) = (self.processes, entry.state, kept.is_ok()) {
            let number = processes.unwrap_or(-1);
            warn(&format!(
                "--pids-limit {number} counts when the container is started again: it runs with the one that it has"
            ));
        }
        kept
    }

    /// Refuses what contradicts how it was made.
    fn check(&self, pods: &Pods, entry: &PodEntry) -> Result<(), CommandError> {
        let Some((text, policy)) = &self.policy else { return Ok(()) };
        let setup = pods.open(entry)?.setup()?.map(|json| Setup::from_json(&json)).transpose()?;
        // What is removed at its end is not written down.
        let is_removed = setup.as_ref().is_none_or(|setup| setup.life.as_ref().is_some_and(|life| life.remove));
        if is_removed && *policy != Restart::No {
            let why = "Restart policy cannot be updated because AutoRemove is enabled for the container";
            return Err(CommandError::failed(why));
        }
        if entry.state == State::Running && setup.is_some_and(|setup| setup.life.is_none()) {
            let why = format!("--restart {text}: the policy of a pod that `proa run` has made stays what it is");
            return Err(CommandError::failed(why).hint("run it with --restart, or as a container of `proa docker run`"));
        }
        Ok(())
    }

    /// Changes what counts now, of a container that runs.
    fn apply(&self, pods: &Pods, entry: &PodEntry) -> Result<(), CommandError> {
        self.apply_limits(pods, entry).and_then(|()| self.apply_policy(pods, entry))
    }

    fn apply_limits(&self, pods: &Pods, entry: &PodEntry) -> Result<(), CommandError> {
        let limits = update::limits(self.limits.iter().cloned().map(Given::into_isolator).collect());
        if limits.is_empty() {
            return Ok(());
        }
        let (Reply::Status(report), _) = Client::connect(pods, entry)?.ask(Call::Status, &[])? else {
            return Err(CommandError::failed("its supervisor does not tell its state"));
        };
        if report.cgroup.is_none() {
            // What is for its next start is kept all the same.
            warn(&match cgroup::prospects() {
                Ok(_) => "the limits count when the container is started again: it was started without any, and so \
                          without control groups"
                    .to_owned(),
                Err(why) => format!("the limits are not held, neither now nor at the next start: {why}"),
            });
            return Ok(());
        }
        update::apply(pods, entry, None, &limits)
    }

    fn apply_policy(&self, pods: &Pods, entry: &PodEntry) -> Result<(), CommandError> {
        let Some((_, policy)) = &self.policy else { return Ok(()) };
        Client::connect(pods, entry)?.ask(Call::RestartPolicy { policy: *policy }, &[]).map(drop)
    }

    /// Changes what counts when it is started.
    fn keep(&self, pods: &Pods, entry: &PodEntry) -> Result<(), CommandError> {
        let amendment = match pods.amend(entry.uuid) {
            // With --rm there is no next start.
            Err(PodError::NotFound { .. }) if entry.state == State::Running => return Ok(()),
            amendment => amendment?,
        };
        let Some(json) = amendment.setup()? else { return Ok(()) };
        let mut setup = Setup::from_json(&json)?;
        if entry.state == State::Running && setup.life.is_none() {
            // Its supervisor writes what is known of it: limits of such a pod hold until it ends.
            return Ok(());
        }
        if !self.limits.is_empty() || self.processes.is_some() {
            let mut manifest = amendment.manifest()?;
            for runtime in &mut manifest.apps {
                if let Some(app) = &mut runtime.app {
                    app_isolators::put_later(&mut app.isolators, self.limits.clone(), &mut runtime.annotations)?;
                }
            }
            match self.processes {
                Some(Some(number)) => {
                    let name = PIDS_LIMIT.parse().expect("names of annotations of ours are identifiers");
                    manifest.annotations.set(name, number.to_string());
                }
                Some(None) => drop(manifest.annotations.remove(PIDS_LIMIT)),
                None => {}
            }
            amendment.replace_manifest(&manifest.to_json()?)?;
        }
        if let Some((text, _)) = &self.policy {
            setup.life.get_or_insert_with(Life::default).restart.clone_from(text);
            amendment.replace_setup(&setup.to_json())?;
        }
        Ok(())
    }
}
