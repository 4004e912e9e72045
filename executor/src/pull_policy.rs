//! When an image is asked for where it comes from, and when what is stored is good enough.

use clap::Args;

use crate::error::CommandError;
use crate::progress::ProgressForm;

/// `--pull-policy`, with rkt's names. Files and layouts on this machine are read each time, whatever it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum PullPolicy {
    /// Take only what is stored
    Never,
    /// Ask for what is not stored
    #[default]
    New,
    /// Ask whether there is something newer than what is stored
    Update,
}

/// How images are pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pulling {
    pub(crate) policy: PullPolicy,
    pub(crate) progress: ProgressForm,
}

impl From<PullPolicy> for Pulling {
    fn from(policy: PullPolicy) -> Self {
        Self { policy, progress: ProgressForm::default() }
    }
}

// The options of commands that need images. (A doc comment would become help text.)
#[derive(Debug, Default, Args)]
pub(crate) struct PullArgs {
    /// When to ask a registry: `never` takes what is stored, `new` asks for what is not stored, `update` asks whether
    /// there is something newer [default: update for fetch, else new]
    #[arg(long, value_name = "POLICY", hide_possible_values = true)]
    pull_policy: Option<PullPolicy>,

    /// How to tell on stderr how far downloads are: `bar`, `plain` (a line for each layer), `json` (an object for each
    /// event) or `none` [default: bar on a terminal, else plain]
    #[arg(long, value_name = "FORM", default_value = "auto", hide_default_value = true, hide_possible_values = true)]
    progress: ProgressForm,

    // rkt's older options, which scripts still have.
    #[arg(long, hide = true)]
    store_only: bool,
    #[arg(long, hide = true)]
    no_store: bool,
}

impl PullArgs {
    /// Whether any of them was given.
    pub(crate) fn is_given(&self) -> bool {
        self.pull_policy.is_some() || self.store_only || self.no_store
    }

    /// What was asked for, or else `default`.
    ///
    /// # Errors
    ///
    /// Two options contradict each other; the text is rkt's.
    pub(crate) fn pulling(&self, default: PullPolicy) -> Result<Pulling, CommandError> {
        let policy = self.policy(default)?;
        Ok(Pulling { policy, progress: self.progress })
    }

    fn policy(&self, default: PullPolicy) -> Result<PullPolicy, CommandError> {
        match (self.pull_policy, self.store_only, self.no_store) {
            (_, true, true) => Err(CommandError::usage("both --store-only and --no-store specified")),
            (None, true, false) => Ok(PullPolicy::Never),
            (None, false, true) => Ok(PullPolicy::Update),
            (Some(_), true, _) | (Some(_), _, true) => Err(CommandError::usage(
                "--store-only and --no-store are older forms of --pull-policy: give one of them",
            )),
            (policy, false, false) => Ok(policy.unwrap_or(default)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_their_older_forms() {
        let policy = |pull_policy, store_only, no_store| {
            PullArgs { pull_policy, store_only, no_store, ..PullArgs::default() }.policy(PullPolicy::New).ok()
        };
        assert_eq!(policy(None, false, false), Some(PullPolicy::New));
        assert_eq!(policy(Some(PullPolicy::Update), false, false), Some(PullPolicy::Update));
        assert_eq!(policy(None, true, false), Some(PullPolicy::Never));
        assert_eq!(policy(None, false, true), Some(PullPolicy::Update));
        assert_eq!(policy(None, true, true), None);
        assert_eq!(policy(Some(PullPolicy::Never), false, true), None);
    }
}
