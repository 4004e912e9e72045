//! `proa app list`: the apps of a pod.

use clap::Args;
use stage1::protocol::{AppReport, Call, Reply};

use super::seen;
use crate::client::Client;
use crate::commands::status::AppShown;
use crate::context::Context;
use crate::error::CommandError;
use crate::{app_argument, output, pod_argument, table};

/// List the apps of a pod with their states
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa app list box\n  proa app list --no-legend 5c8f2f6e")]
pub(crate) struct ListArgs {
    /// Print no column titles
    #[arg(long)]
    no_legend: bool,

    /// The pod: a UUID, the unambiguous beginning of one, or a name
    #[arg(value_name = "POD")]
    pod: String,
}

pub(crate) fn run(context: &Context, args: ListArgs) -> Result<u8, CommandError> {
    let pods = context.pods()?;
    let apps = seen::apps(&pods, &pod_argument::find(&pods, &args.pod)?)?;
    let titles = (!args.no_legend).then(|| vec!["NAME".to_owned(), "STATE".to_owned()]);
    let app = |app: AppShown| vec![app.name, app.state.to_owned()];
    let rows: Vec<Vec<String>> = titles.into_iter().chain(apps.into_iter().map(app)).collect();
    output::write(&table::aligned(&rows))?;
    Ok(0)
}

/// An app of a running pod.
#[derive(Debug, Args)]
pub(super) struct Target {
    /// The app [default: the only one]
    #[arg(long, value_name = "NAME")]
    app: Option<String>,

    /// The pod: a UUID, the unambiguous beginning of one, or a name
    #[arg(value_name = "POD")]
    pod: String,
}

impl Target {
    /// Connects to the pod's supervisor, and says which app is meant.
    ///
    /// # Errors
    ///
    /// The pod is not running, or has not one app and none was named.
    pub(super) fn reach(&self, context: &Context) -> Result<(Client, String), CommandError> {
        let (client, apps) = connect(context, &self.pod)?;
        let only = || app_argument::only(&apps, |app| &app.name).map(|app| app.name.clone());
        Ok((client, self.app.clone().map_or_else(only, Ok)?))
    }
}

/// Connects to a pod's supervisor and asks for its apps.
fn connect(context: &Context, pod: &str) -> Result<(Client, Vec<AppReport>), CommandError> {
    let pods = context.pods()?;
    let mut client = Client::connect(&pods, &pod_argument::find(&pods, pod)?)?;
    match client.ask(Call::Status, &[])?.0 {
        Reply::Status(report) => Ok((client, report.apps)),
        _ => Err(client.gone()),
    }
}
