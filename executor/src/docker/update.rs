//! `docker update`: changes the limits of containers, of those that run by their control groups.

use clap::Args;
use pod::{PodEntry, Pods, State};
use stage1::isolators::choices::PIDS_LIMIT;
use stage1::supervise::Restart;

use super::limit_option::{self, LimitArgs};
use super::targets::each;
use super::{container, run as run_command};
use crate::app_isolators::{self, Given};
use crate::commands::update;
use crate::context::Context;
use crate::diagnostics::warn;
use crate::error::CommandError;
use crate::setup::Setup;

/// Update the limits of one or more containers; of those that run, if they were made with a limit
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    #[command(flatten)]
    limits: LimitArgs,

    /// Limit of processes, for the next start
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pids_limit: Option<String>,

    /// Restart policy, for the next start
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
    /// As it was typed.
    policy: Option<String>,
}

pub(crate) fn run(context: &Context, args: UpdateArgs) -> Result<u8, CommandError> {
    let policy = args.restart.filter(|policy| !policy.is_empty());
    policy.as_deref().map_or(Ok(Restart::No), run_command::restart)?;
    let unheld = args.limits.tell_unheld();
    let processes = args.pids_limit.as_deref().map(limit_option::processes).transpose()?;
    let change = Change { limits: args.limits.of_app()?, processes, policy };
    if change.limits.is_empty() && change.processes.is_none() && change.policy.is_none() && unheld == 0 {
        return Err(CommandError::failed("You must provide one or more flags when using this command.")
            .hint("there are --memory, --cpus, --cpu-shares, --pids-limit and --restart"));
    }
    each(context, &args.containers, |pods, needle| {
        let entry = container::find(pods, needle)?;
        let changed = match entry.state {
            State::Running => change.of_running(pods, &entry),
            State::Prepared | State::Exited => change.of_stopped(pods, &entry),
            state => Err(CommandError::failed(format!("it is {state}"))),
        };
        changed.map_err(|error| error.during(format!("Cannot update container {}", container::id(entry.uuid))))?;
        Ok(Some(needle.to_owned()))
    })
}

impl Change {
    /// Changes what counts now.
    fn of_running(&self, pods: &Pods, entry: &PodEntry) -> Result<(), CommandError> {
        if let Some(policy) = &self.policy {
            let setup = pods.open(entry)?.setup()?.map(|json| Setup::from_json(&json)).transpose()?;
            let known = setup.and_then(|setup| setup.life).map_or_else(String::new, |life| life.restart);
            if run_command::restart(&known)? != run_command::restart(policy)? {
                let why = format!("--restart {policy}: the policy of a container that runs stays what it is");
                return Err(CommandError::failed(why).hint("stop it first, and start it afterwards"));
            }
        }
        if let Some(processes) = self.processes {
            let number = processes.unwrap_or(-1);
            warn(&format!(
                "--pids-limit {number} is not held: the container runs, and has the one that it was started with"
            ));
        }
        let limits = update::limits(self.limits.iter().cloned().map(Given::into_isolator).collect());
        if limits.is_empty() { Ok(()) } else { update::apply(pods, entry, None, &limits) }
    }

    /// Changes what counts when it is started.
    fn of_stopped(&self, pods: &Pods, entry: &PodEntry) -> Result<(), CommandError> {
        // Nobody starts it meanwhile.
        let held = pods.hold(entry.uuid)?.seen(entry.uuid)?;
        let pod = pods.open(entry)?;
        let mut new_setup = None;
        if let Some(policy) = &self.policy {
            let json = pod.setup()?.ok_or_else(|| CommandError::failed("nothing is known of how it is to be run"))?;
            let mut setup = Setup::from_json(&json)?;
            let life = setup.life.get_or_insert_default();
            if life.remove && run_command::restart(policy)? != Restart::No {
                let why = "Restart policy cannot be updated because AutoRemove is enabled for the container";
                return Err(CommandError::failed(why));
            }
            life.restart.clone_from(policy);
            new_setup = Some(setup.to_json());
        }
        let mut manifest = pod.manifest()?;
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
        let new_manifest = manifest.to_json()?;
        if !self.limits.is_empty() || self.processes.is_some() {
            held.replace_manifest(&new_manifest)?;
        }
        Ok(new_setup.map_or(Ok(()), |setup| held.replace_setup(&setup))?)
    }
}
