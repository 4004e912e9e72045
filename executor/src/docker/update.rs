//! `docker update`: changes the limits of containers that run and have control groups.

use clap::Args;
use pod::State;

use super::container;
use super::protection_option::ProtectionArgs;
use super::targets::each;
use crate::app_isolators::Given;
use crate::commands::update;
use crate::context::Context;
use crate::diagnostics::warn;
use crate::error::CommandError;

/// Update the limits of one or more running containers: those that were made with a limit
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// Memory limit: a number with b, k, m or g
    #[arg(long, short, value_name = "BYTES")]
    memory: Option<String>,

    /// Number of CPUs
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<String>,

    /// CPU shares (relative weight)
    #[arg(long, short, value_name = "NUMBER")]
    cpu_shares: Option<i64>,

    /// Restart policy, which is chosen when a container is made
    #[arg(long, value_name = "POLICY", hide = true)]
    restart: Option<String>,

    /// Swap limit equal to memory plus swap
    #[arg(long, value_name = "BYTES", hide = true, allow_hyphen_values = true)]
    memory_swap: Option<String>,

    /// Memory soft limit
    #[arg(long, value_name = "BYTES", hide = true)]
    memory_reservation: Option<String>,

    /// Tune container pids limit
    #[arg(long, value_name = "NUMBER", hide = true, allow_hyphen_values = true)]
    pids_limit: Option<String>,

    /// Limit CPU CFS (Completely Fair Scheduler) period
    #[arg(long, value_name = "MICROSECONDS", hide = true)]
    cpu_period: Option<String>,

    /// Limit CPU CFS (Completely Fair Scheduler) quota
    #[arg(long, value_name = "MICROSECONDS", hide = true, allow_hyphen_values = true)]
    cpu_quota: Option<String>,

    /// CPUs in which to allow execution
    #[arg(long, value_name = "CPUS", hide = true)]
    cpuset_cpus: Option<String>,

    /// Memory nodes in which to allow execution
    #[arg(long, value_name = "NODES", hide = true)]
    cpuset_mems: Option<String>,

    /// Block IO weight
    #[arg(long, value_name = "WEIGHT", hide = true)]
    blkio_weight: Option<String>,

    /// The containers
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

pub(crate) fn run(context: &Context, args: UpdateArgs) -> Result<u8, CommandError> {
    if let Some(policy) = &args.restart {
        return Err(CommandError::failed(format!("--restart {policy}: the policy is chosen when a container is made"))
            .hint("make it anew with `docker run --restart`"));
    }
    let others = args.not_held();
    let limits = ProtectionArgs::of_limits(args.memory, args.cpus, args.cpu_shares).of_app()?;
    let limits = update::limits(limits.into_iter().map(Given::into_isolator).collect());
    if limits.is_empty() && others == 0 {
        return Err(CommandError::failed("You must provide one or more flags when using this command.")
            .hint("there are --memory, --cpus and --cpu-shares"));
    }
    each(context, &args.containers, |pods, needle| {
        let entry = container::find(pods, needle)?;
        let id = container::id(entry.uuid);
        if entry.state != State::Running {
            let why = "its limits are chosen when it is made, and changed while it runs";
            return Err(CommandError::failed(format!("Cannot update container {id}: {why}")));
        }
        let updated = if limits.is_empty() { Ok(()) } else { update::apply(pods, &entry, None, &limits) };
        updated.map_err(|error| error.during(format!("Cannot update container {id}")))?;
        Ok(Some(needle.to_owned()))
    })
}

impl UpdateArgs {
    /// Says what is not held; returns how much that is.
    fn not_held(&self) -> usize {
        let all = [
            ("--memory-swap", &self.memory_swap),
            ("--memory-reservation", &self.memory_reservation),
            ("--pids-limit", &self.pids_limit),
            ("--cpu-period", &self.cpu_period),
            ("--cpu-quota", &self.cpu_quota),
            ("--cpuset-cpus", &self.cpuset_cpus),
            ("--cpuset-mems", &self.cpuset_mems),
            ("--blkio-weight", &self.blkio_weight),
        ];
        let given = all.iter().filter_map(|(option, value)| Some((option, value.as_ref()?)));
        given.inspect(|(option, value)| warn(&format!("{option} {value} is not held"))).count()
    }
}
