//! `docker container prune` and `docker image prune`: what is not used goes.

use super::size;
use crate::error::CommandError;
use crate::output;

pub(super) mod containers {
    //! Containers that have ended.

    use clap::Args;

    use super::told;
    use crate::commands::system::prune::remove_pods;
    use crate::consent;
    use crate::context::Context;
    use crate::docker::PruneFilters;
    use crate::error::CommandError;

    /// Remove all stopped containers
    #[derive(Debug, Args)]
    pub(in crate::docker) struct PruneArgs {
        /// Provide filter values: until=TIME, label=, label!=
        #[arg(long, value_name = "FILTER")]
        filter: Vec<String>,

        /// Do not prompt for confirmation
        #[arg(long, short)]
        force: bool,
    }

    pub(in crate::docker) fn run(context: &Context, args: PruneArgs) -> Result<u8, CommandError> {
        let filters = PruneFilters::parse(&args.filter)?;
        if !args.force && !consent::given("WARNING! This will remove all stopped containers.")? {
            return Ok(0);
        }
        let (removed, bytes, status) = remove_pods(context, &filters)?;
        told("Containers", &removed, bytes)?;
        Ok(status)
    }
}

pub(super) mod images {
    //! Images that no container was made of.

    use clap::Args;

    use super::told;
    use crate::commands::system::prune::remove_images;
    use crate::consent;
    use crate::context::Context;
    use crate::docker::PruneFilters;
    use crate::error::CommandError;

    /// Remove unused images
    #[derive(Debug, Args)]
    pub(in crate::docker) struct PruneArgs {
        /// Remove all unused images, not just dangling ones
        #[arg(long, short)]
        all: bool,

        /// Provide filter values: until=TIME, label=, label!=
        #[arg(long, value_name = "FILTER")]
        filter: Vec<String>,

        /// Do not prompt for confirmation
        #[arg(long, short)]
        force: bool,
    }

    pub(in crate::docker) fn run(context: &Context, args: PruneArgs) -> Result<u8, CommandError> {
        let filters = PruneFilters::parse(&args.filter)?;
        let what =
            if args.all { "images without at least one container associated to them" } else { "dangling images" };
        if !args.force && !consent::given(&format!("WARNING! This will remove all {what}."))? {
            return Ok(0);
        }
        let (removed, bytes, status) = remove_images(context, args.all, &filters)?;
        told("Images", &removed, bytes)?;
        Ok(status)
    }
}

fn told(what: &str, removed: &[String], bytes: u64) -> Result<(), CommandError> {
    let lines: String = removed.iter().map(|line| format!("{line}\n")).collect();
    let head = if removed.is_empty() { String::new() } else { format!("Deleted {what}:\n{lines}\n") };
    output::write(&format!("{head}Total reclaimed space: {}\n", size(bytes)))
}
