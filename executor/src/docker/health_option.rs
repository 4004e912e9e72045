//! `--health-cmd` and its like: the health check of a container.

use clap::Args;
use stage1::health::Healthcheck;

use super::run::said;
use crate::duration;
use crate::error::CommandError;

// The options are flattened into those of `docker run`; a doc comment here would become its help text.
#[derive(Debug, Args)]
pub(super) struct HealthArgs {
    /// Command to run to check health
    #[arg(long, value_name = "COMMAND")]
    health_cmd: Option<String>,

    /// Time between running the check (30s unless the image says otherwise)
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    health_interval: Option<String>,

    /// Maximum time to allow one check to run (30s)
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    health_timeout: Option<String>,

    /// Start period for the container to initialize, in which failures do not count
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    health_start_period: Option<String>,

    /// Time between running the check during the start period (5s)
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    health_start_interval: Option<String>,

    /// Consecutive failures needed to report unhealthy (3)
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    health_retries: Option<String>,

    /// Disable any container-specified HEALTHCHECK
    #[arg(long)]
    no_healthcheck: bool,
}

impl HealthArgs {
    /// What these options say, as the annotation of an app; nothing, where they say nothing.
    ///
    /// # Errors
    ///
    /// One makes no sense, or they contradict each other.
    pub(super) fn annotation(&self) -> Result<Option<String>, CommandError> {
        let wanted = Healthcheck {
            test: self.health_cmd.clone().and_then(said).map(|command| vec!["CMD-SHELL".to_owned(), command]),
            interval: time("--health-interval", self.health_interval.as_deref())?,
            timeout: time("--health-timeout", self.health_timeout.as_deref())?,
            start_period: time("--health-start-period", self.health_start_period.as_deref())?,
            start_interval: time("--health-start-interval", self.health_start_interval.as_deref())?,
            retries: retries(self.health_retries.as_deref())?,
        };
        let said_something = wanted != Healthcheck::default();
        let check = match (self.no_healthcheck, said_something) {
            (true, true) => {
                return Err(CommandError::usage("--no-healthcheck conflicts with --health-* options"));
            }
            (true, false) => Healthcheck { test: Some(vec!["NONE".to_owned()]), ..wanted },
            (false, true) => wanted,
            (false, false) => return Ok(None),
        };
        check.validate().map_err(|error| CommandError::usage(error.to_string()))?;
        Ok(Some(serde_json::to_string(&check)?))
    }
}

/// A time in nanoseconds; 0 is what is not said.
fn time(option: &str, text: Option<&str>) -> Result<u64, CommandError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(0) };
    let time = duration::parse(text).map_err(|error| CommandError::usage(format!("{option} {text}: {error}")))?;
    u64::try_from(time.as_nanos()).map_err(|_| CommandError::usage(format!("{option} {text}: it is too long")))
}

fn retries(text: Option<&str>) -> Result<u32, CommandError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(0) };
    text.parse()
        .map_err(|_| CommandError::usage(format!("--health-retries {text}: wanted a number from 0 to {}", u32::MAX)))
}
