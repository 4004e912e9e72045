//! Options that stand where they do not belong.

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::CONFLICT;
use super::apps::app_command;
use crate::error::CommandError;
use crate::{cli, habits};

/// A better error for an option that was not expected before the images: of an app, or docker's.
pub(crate) fn misplaced_before(error: &clap::Error) -> Option<CommandError> {
    let option = unknown_option(error)?;
    if has_option(&app_command(), &option) {
        return Some(
            CommandError::usage(format!("{option} stands before the image"))
                .hint(format!("options of an app stand after its image: proa run IMAGE {option} ...")),
        );
    }
    if option == "--hostname" {
        return Some(
            CommandError::usage("--hostname is not of a pod that is prepared").hint("give it to run-prepared"),
        );
    }
    habits::of_rkt(&option).or_else(|| habits::of_docker(&option))
}

/// A better error for an option that was not expected after an image: of the pod, or docker's.
pub(super) fn misplaced_after(error: &clap::Error) -> Option<CommandError> {
    let option = unknown_option(error)?;
    if option == "--pod-manifest" {
        return Some(CommandError::usage(CONFLICT).hint("a pod manifest takes the place of images"));
    }
    let runs = cli::whole_tree();
    if runs.find_subcommand("run").is_some_and(|run| has_option(run, &option)) {
        return Some(
            CommandError::usage(format!("{option} stands after an image"))
                .hint("options of the pod stand before the first image; arguments of an app after `--`"),
        );
    }
    Some(habits::of_rkt(&option).or_else(|| habits::of_docker(&option)).unwrap_or_else(|| {
        CommandError::usage(format!("no option of an app is called {option}"))
            .hint("arguments of an app stand after `--`: proa run IMAGE -- ARGS; options are in `proa run --help`")
    }))
}

fn has_option(command: &Command, option: &str) -> bool {
    option.strip_prefix("--").is_some_and(|long| command.get_arguments().any(|arg| arg.get_long() == Some(long)))
}

/// The option that clap did not know, without a value.
pub(crate) fn unknown_option(error: &clap::Error) -> Option<String> {
    match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(option))) => {
            Some(option.split_once('=').map_or(option.as_str(), |(name, _)| name).to_owned())
        }
        _ => None,
    }
}
