//! `docker ps`: the containers there are.

use clap::Args;
use pod::State;
use serde_json::{Value, json};

use super::complain_of;
use super::container::{Container, Size};
use super::filters::Filters;
use super::listing::{self, Listing};
use crate::context::Context;
use crate::error::CommandError;
use crate::{idmap, moment, named_volumes, output};

/// List containers
#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// Show all containers (default shows just running)
    #[arg(long, short)]
    all: bool,

    /// Only display container IDs
    #[arg(long, short)]
    quiet: bool,

    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,

    /// Show n last created containers (includes all states)
    #[arg(long, short = 'n', value_name = "NUMBER")]
    last: Option<usize>,

    /// Show the latest created container (includes all states)
    #[arg(long, short)]
    latest: bool,

    /// Filter output: id=, name=, label=, status=, exited=, ancestor=, before=, since=, volume=, network=, publish=, expose=, health=, restart-policy=, should-start-on-boot=
    #[arg(long, short, value_name = "FILTER")]
    filter: Vec<String>,

    /// Display total file sizes: what the container has written, and that with its image
    #[arg(long, short)]
    size: bool,

    /// Format output: table, json, or a template of fields such as '{{.ID}} {{.Names}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

/// The longest mount that is shown whole.
const MOUNT_WIDTH: usize = 15;

pub(crate) fn run(context: &Context, args: PsArgs) -> Result<u8, CommandError> {
    let pods = context.pods()?;
    let store = context.stored()?;
    let (containers, sick) = Container::all(&pods)?;
    let filters = Filters::parse(&args.filter, context, &store, &containers)?;
    let any_state = args.all || args.latest || args.last.is_some() || filters.name_states();
    let last = if args.latest { Some(1) } else { args.last };
    let now = moment::now();
    // Reading all that containers have written takes its time: it is done for who asks.
    let asked = args.size || args.format.as_deref().is_some_and(|format| format.contains(".Size"));
    let sizes = asked && !args.quiet;
    let mapping = idmap::detect(context.data_dir()?)?;
    let mut fields = Vec::new();
    for container in containers.iter().filter(|container| any_state || container.entry.state == State::Running) {
        let image = container.image(&store);
        if filters.admit(container, &image) {
            // Their supervisors are not asked for nothing.
            let ports = if args.quiet { String::new() } else { container.ports(&pods) };
            let mut row = of(container, &image, &ports, args.no_trunc, now);
            if sizes {
                row["Size"] = Size::of(container, &pods, &store, &mapping).to_string().into();
            }
            fields.push(row);
        }
    }
    fields.truncate(last.unwrap_or(usize::MAX));
    output::write(&shown(&args, &fields)?)?;
    Ok(sick.iter().map(complain_of).max().unwrap_or(0))
}

fn shown(args: &PsArgs, containers: &[Value]) -> Result<String, CommandError> {
    if args.quiet {
        return Ok(listing::lines(containers, "ID"));
    }
    let columns = ["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names", "Size"];
    let columns = &columns[..columns.len() - usize::from(!args.size)];
    Listing::parse(args.format.as_deref())?.show(containers, columns, &TITLES)
}

const TITLES: [(&str, &str); 3] = [("ID", "CONTAINER ID"), ("RunningFor", "CREATED"), ("CreatedAt", "CREATED AT")];

/// A container's fields, with docker's names.
fn of(container: &Container, image: &str, ports: &str, whole: bool, now: u64) -> Value {
    let labels = container.labels().into_iter().map(|(name, value)| format!("{name}={value}"));
    let mounts: Vec<String> = container.mounts().map(|(source, path)| mount(source, path, whole)).collect();
    json!({
        "ID": if whole { container.id() } else { container.short_id() },
        "Image": image,
        "Command": container.command(whole),
        "CreatedAt": super::age::moment(container.entry.created_ns.unwrap_or_default()),
        "RunningFor": container.created(now),
        "Status": container.status(now),
        "State": container.state(),
        "Ports": ports,
        "Names": container.name(),
        "Labels": labels.collect::<Vec<_>>().join(","),
        "Networks": container.networks().join(","),
        "Mounts": mounts.join(","),
        "LocalVolumes": container.local_volumes().to_string(),
        "Size": "0B",
    })
}

/// A mount: the name of its volume, or what of the host it is.
fn mount(source: Option<&str>, path: &str, whole: bool) -> String {
    let shown = source.and_then(named_volumes::name_of).or(source).unwrap_or(path);
    if whole { shown.to_owned() } else { ellipsis(shown, MOUNT_WIDTH) }
}

/// The beginning of a text that is too long, with the mark for it.
pub(super) fn ellipsis(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_commands_are_cut() {
        assert_eq!(ellipsis("sh -c 'echo hello'", 20), "sh -c 'echo hello'");
        assert_eq!(ellipsis("/docker-entrypoint.sh nginx", 20), "/docker-entrypoint.…");
    }
}
