//! `proa app status`: one app of a running pod.

use clap::Args;
use pod::Pods;
use serde::Serialize;
use stage1::protocol::{AppReport, End};

use super::list::connect;
use crate::context::Context;
use crate::error::CommandError;
use crate::{output, pod_argument};

/// Show the state of an app of a running pod
///
/// One `key=value` a line, in rkt's order. Times are nanoseconds since the epoch.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa app status box --app redis\n  proa app status --format=json box --app redis")]
pub(crate) struct StatusArgs {
    /// The app
    #[arg(long, value_name = "NAME")]
    app: String,

    /// Print lines for people or JSON for programs: text, json, json-pretty
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: crate::commands::status::Format,

    /// The pod: a UUID, the unambiguous beginning of one, or a name
    #[arg(value_name = "POD")]
    pod: String,
}

#[derive(Debug, Serialize)]
struct Shown<'a> {
    name: &'a str,
    state: &'static str,
    image_id: String,
    created_at: u64,
    started_at: Option<u64>,
    finished_at: Option<u64>,
    exit_code: Option<i32>,
}

pub(crate) fn run(context: &Context, args: StatusArgs) -> Result<u8, CommandError> {
    use crate::commands::status::Format;
    let (_, apps) = connect(context, &args.pod)?;
    let missing = || CommandError::failed(format!("the pod has no app {:?}", args.app));
    let app: &AppReport = apps.iter().find(|app| app.name == args.app).ok_or_else(missing)?;
    let pods = Pods::ensure(context.create_data_dir()?)?;
    let manifest = pods.open(&pod_argument::find(&pods, &args.pod)?)?.manifest()?;
    let image = manifest.apps.iter().find(|known| known.name.as_str() == app.name).and_then(|app| app.image.id.clone());
    let shown = Shown {
        name: &app.name,
        state: app.state.as_str(),
        image_id: image.map_or_else(String::new, |id| id.to_string()),
        created_at: app.created_ns,
        started_at: app.started_ns,
        finished_at: app.finished_ns,
        exit_code: app.exit.map(End::status),
    };
    output::write(&match args.format {
        Format::Text => lines(&shown),
        Format::Json => serde_json::to_string(&shown)? + "\n",
        Format::JsonPretty => serde_json::to_string_pretty(&shown)? + "\n",
    })?;
    Ok(0)
}

fn lines(app: &Shown<'_>) -> String {
    let mut lines = vec![
        format!("name={}", app.name),
        format!("state={}", app.state),
        format!("image_id={}", app.image_id),
        format!("created_at={}", app.created_at),
    ];
    lines.extend(app.started_at.map(|time| format!("started_at={time}")));
    lines.extend(app.finished_at.map(|time| format!("finished_at={time}")));
    lines.extend(app.exit_code.map(|code| format!("exit_code={code}")));
    lines.join("\n") + "\n"
}
