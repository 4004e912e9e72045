//! `docker inspect`: all that is known of containers, images, networks and volumes, in docker's form.

use std::path::PathBuf;

use appc::App;
use clap::Args;
use pod::Pods;
use serde_json::{Map, Value, json};
use store::Store;

use super::complain_of;
use super::container::{Container, Size, find_any};
use super::image;
use super::network::Inspected as Networks;
use super::template::Template;
use crate::commands::volume;
use crate::context::Context;
use crate::error::CommandError;
use crate::named_volumes::{self, NamedVolumes};
use crate::{idmap, output};

mod of_container;
mod of_image;
mod protections;

/// Return low-level information on containers, images, networks and volumes
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Format output: json, or a template of fields such as '{{.State.Status}}'
    #[arg(long, short, value_name = "FORMAT")]
    format: Option<String>,

    /// Only inspect things of this type: container, image, network, volume
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,

    /// Display total file sizes of containers
    #[arg(long, short)]
    size: bool,

    /// The names
    #[arg(value_name = "NAME|ID", required = true)]
    names: Vec<String>,
}

/// What can be inspected, in the order in which docker looks for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thing {
    Container,
    Image,
    Network,
    Volume,
}

/// What docker writes for a time that there is none of.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// What docker has besides, in clusters of machines.
const OF_CLUSTERS: [&str; 6] = ["config", "node", "plugin", "secret", "service", "task"];

pub(crate) fn run(context: &Context, args: InspectArgs) -> Result<u8, CommandError> {
    let things = things(args.kind.as_deref())?;
    let template =
        args.format.as_deref().filter(|format| !["", "json"].contains(format)).map(Template::parse).transpose()?;
    let known = Known::of(context, args.size)?;
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for name in &args.names {
        let values = things.iter().map(|thing| known.find(*thing, name));
        match values.filter_map(Result::transpose).next().transpose()? {
            Some(value) => found.push(value),
            None => missing.push(name),
        }
    }
    let mut refused = Vec::new();
    let shown = match &template {
        None => pretty(&found)?,
        // What has not what the template wants keeps nobody from what the others have.
        Some(template) => {
            let lines = found.iter().map(|value| template.render(value).map(|line| line + "\n"));
            lines.filter_map(|line| line.map_err(|error| refused.push(error)).ok()).collect()
        }
    };
    output::write(&shown)?;
    for error in &refused {
        complain_of(error);
    }
    let what = args.kind.as_deref().filter(|kind| !kind.is_empty()).unwrap_or("object");
    for name in &missing {
        output::complain(&format!("Error: No such {what}: {name}\n"));
    }
    Ok(u8::from(!missing.is_empty() || !refused.is_empty()))
}

/// The kinds of things that are meant.
fn things(kind: Option<&str>) -> Result<Vec<Thing>, CommandError> {
    use Thing::{Container, Image, Network, Volume};
    Ok(match kind {
        None | Some("") => vec![Container, Image, Network, Volume],
        Some("container") => vec![Container],
        Some("image") => vec![Image],
        Some("network") => vec![Network],
        Some("volume") => vec![Volume],
        Some(kind) if OF_CLUSTERS.contains(&kind) => {
            return Err(CommandError::failed(format!("--type={kind}: there is none without a swarm"))
                .hint("give container, image, network or volume"));
        }
        Some(kind) => {
            return Err(CommandError::failed(format!("{kind:?} is not a valid value for --type"))
                .hint("give container, image, network or volume"));
        }
    })
}

/// Where things are looked for.
struct Known<'a> {
    context: &'a Context,
    pods: Pods,
    store: Store,
    /// The directory of named volumes.
    volumes: PathBuf,
    /// Whether the sizes of containers are wanted.
    sizes: bool,
}

impl<'a> Known<'a> {
    fn of(context: &'a Context, sizes: bool) -> Result<Self, CommandError> {
        let data_dir = context.data_dir()?;
        let volumes = std::fs::canonicalize(data_dir).unwrap_or_else(|_| data_dir.to_owned()).join(named_volumes::DIR);
        Ok(Self { context, pods: context.pods()?, store: context.stored()?, volumes, sizes })
    }

    /// What is known of a thing of that kind and name, if there is one.
    fn find(&self, thing: Thing, name: &str) -> Result<Option<Value>, CommandError> {
        let Self { context, pods, store, volumes, sizes } = self;
        Ok(match thing {
            Thing::Container => {
                let container = find_any(pods, name)?.map(|entry| Container::read(pods, entry)).transpose()?;
                let Some(container) = container else { return Ok(None) };
                let mut value = of_container::of_container(pods, store, volumes, &container);
                if *sizes {
                    let size = Size::of(&container, pods, store, &idmap::detect(context.data_dir()?)?);
                    (value["SizeRw"], value["SizeRootFs"]) = (size.written.into(), size.whole.into());
                }
                Some(value)
            }
            Thing::Image => image::stored(context, store, name)?.map(|image| of_image::of_image(store, &image)),
            Thing::Network => Networks::read(context)?.find(name).ok(),
            Thing::Volume => {
                let volumes = NamedVolumes::open(context)?;
                volumes.find(name)?.map(|volume| volume::inspected(&volumes, &volume)).transpose()?
            }
        })
    }
}

/// What is printed of values: a line of the template for each, or all in JSON.
pub(super) fn rendered(template: Option<&Template>, values: &[Value]) -> Result<String, CommandError> {
    let Some(template) = template else { return pretty(values) };
    values.iter().map(|value| Ok(template.render(value)? + "\n")).collect()
}

/// Values in JSON, as docker lays it out.
fn pretty(values: &[Value]) -> Result<String, CommandError> {
    use serde::Serialize as _;
    let mut json = Vec::new();
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    values.serialize(&mut serde_json::Serializer::with_formatter(&mut json, indent))?;
    json.push(b'\n');
    Ok(String::from_utf8(json)?)
}

/// What a manifest says of an app, in docker's words.
fn of_app(app: &App) -> Map<String, Value> {
    let environment = app.environment.iter().map(|variable| format!("{}={}", variable.name, variable.value));
    let user = if app.group.is_empty() { app.user.clone() } else { format!("{}:{}", app.user, app.group) };
    let config = json!({
        "User": user,
        "Env": environment.collect::<Vec<_>>(),
        "Cmd": app.exec,
        "WorkingDir": app.working_directory.clone().unwrap_or_default(),
        "Entrypoint": Value::Null,
    });
    match config {
        Value::Object(config) => config,
        _ => Map::new(),
    }
}
