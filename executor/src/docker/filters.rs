//! `docker ps --filter`: which containers are wanted.

use std::path::{Path, PathBuf};

use appc::{ImageId, PodUuid};
use pod::PodError;
use store::Store;

use super::container::Container;
use super::network::named_by;
use super::{image, manual_stop};
use crate::context::Context;
use crate::error::CommandError;
use crate::named_volumes::NamedVolumes;
use crate::ports;

/// The states there are of docker's containers.
const STATES: [&str; 7] = ["created", "restarting", "running", "removing", "paused", "exited", "dead"];

/// What docker knows of the health of containers.
const HEALTH: [&str; 4] = ["starting", "healthy", "unhealthy", "none"];

/// What was asked for. Of several filters of one key a container has to satisfy one, but of labels all.
#[derive(Debug)]
pub(super) struct Filters(Vec<Filter>);

#[derive(Debug)]
struct Filter {
    key: String,
    wanted: Wanted,
}

#[derive(Debug)]
enum Wanted {
    /// The beginning of an id.
    Id(String),
    /// A part of a name; the marks say whether it is its beginning or its end.
    Name {
        part: String,
        first: bool,
        last: bool,
    },
    State(String),
    ExitCode(i32),
    /// A label, with a value or whatever value it has.
    Label(String, Option<String>),
    /// What was typed when the container was made, and what the word means now.
    Ancestor(String, Option<ImageId>),
    /// Made before this time.
    Before(u64),
    /// Made after this time.
    Since(u64),
    /// Where the volume of that name is, and the path where one may be mounted.
    Volume(Option<PathBuf>, String),
    Network(String),
    /// What its health checks come to; `none` for a container without.
    Health(String),
    /// A port of the container's, `80/tcp`, that leads out, or that could.
    Port(String, bool),
    /// One of these containers.
    Among(Vec<PodUuid>),
    /// There are no swarms, whose tasks containers may be.
    Task(bool),
}

/// Key and value of `KEY=VALUE`, as `--filter` of `ps` and of `images` takes it.
///
/// # Errors
///
/// There is no value; the text is docker's.
pub(crate) fn key_and_value(text: &str) -> Result<(String, &str), CommandError> {
    let (key, value) = text.split_once('=').ok_or_else(|| {
        let why = "bad format of filter (expected name=value)";
        CommandError::usage(format!("invalid argument {text:?} for \"-f, --filter\" flag: {why}"))
    })?;
    Ok((key.trim().to_lowercase(), value.trim()))
}

impl Filters {
    /// Understands each `KEY=VALUE`.
    ///
    /// # Errors
    ///
    /// One makes no sense, or names a container that is not there; the texts are docker's.
    pub(super) fn parse(
        texts: &[String],
        context: &Context,
        store: &Store,
        containers: &[Container],
    ) -> Result<Self, CommandError> {
        let parsed = texts.iter().map(|text| {
            let (key, value) = key_and_value(text)?;
            let wanted = wanted(&key, value, context, store, containers)?;
            Ok(Filter { key, wanted })
        });
        parsed.collect::<Result<_, CommandError>>().map(Self)
    }

    /// Whether it is about states, so that it is not about those alone that run.
    pub(super) fn name_states(&self) -> bool {
        self.0.iter().any(|filter| matches!(filter.wanted, Wanted::State(_) | Wanted::ExitCode(_)))
    }

    /// Whether the container, whose image is called `image`, is wanted.
    pub(super) fn admit(&self, container: &Container, image: &str) -> bool {
        self.0.iter().all(|filter| {
            let mut of_key = self.0.iter().filter(|other| other.key == filter.key);
            match filter.wanted {
                Wanted::Label(..) => filter.wanted.admits(container, image),
                _ => of_key.any(|filter| filter.wanted.admits(container, image)),
            }
        })
    }
}

fn wanted(
    key: &str,
    value: &str,
    context: &Context,
    store: &Store,
    containers: &[Container],
) -> Result<Wanted, CommandError> {
    let invalid = || CommandError::failed(format!("invalid filter '{key}={value}'"));
    let made = |value: &str| {
        let meant = |container: &&Container| container.name() == value || container.id().starts_with(value);
        let found = containers.iter().find(meant).ok_or_else(|| super::container::not_found(value))?;
        Ok::<_, CommandError>(found.entry.created_ns.unwrap_or_default())
    };
    Ok(match key {
        "id" => Wanted::Id(value.replace('-', "")),
        "name" => {
            let (first, last) = (value.starts_with('^'), value.ends_with('$'));
            let part = value.trim_start_matches(['^', '/']).trim_end_matches('$').to_owned();
            Wanted::Name { part, first, last }
        }
        "status" if STATES.contains(&value) => Wanted::State(value.to_owned()),
        "exited" => Wanted::ExitCode(value.parse().map_err(|_| invalid())?),
        "label" => match value.split_once('=') {
            Some((name, value)) => Wanted::Label(name.to_owned(), Some(value.to_owned())),
            None => Wanted::Label(value.to_owned(), None),
        },
        "ancestor" => {
            let found = image::stored(context, store, value)?;
            Wanted::Ancestor(value.to_owned(), found.map(|image| image.id))
        }
        "before" => Wanted::Before(made(value)?),
        "since" => Wanted::Since(made(value)?),
        "volume" => {
            let volume = NamedVolumes::open(context)?.find(value)?;
            Wanted::Volume(volume.map(|volume| volume.path), value.to_owned())
        }
        // One that is not there any more may still be a container's.
        "network" => Wanted::Network(named_by(context, value).unwrap_or_else(|_| value.to_owned())),
        "health" if HEALTH.contains(&value) => Wanted::Health(value.to_owned()),
        "publish" | "expose" => {
            let protocol = if value.contains('/') { "" } else { "/tcp" };
            Wanted::Port(format!("{value}{protocol}"), key == "publish")
        }
        "restart-policy" => {
            let pods = context.pods()?;
            among(containers, |container| Ok(without_number(&manual_stop::policy(&pods, &container.entry)?) == value))?
        }
        "should-start-on-boot" => {
            let wanted = truth(value).ok_or_else(invalid)?;
            let pods = context.pods()?;
            among(containers, |container| Ok(manual_stop::starts_on_boot(&pods, container)? == wanted))?
        }
        "is-task" => Wanted::Task(matches!(value, "true" | "1")),
        "status" | "health" => return Err(invalid()),
        _ => return Err(CommandError::failed(format!("invalid filter '{key}'"))),
    })
}

/// Those of the containers that are so. One that goes meanwhile is not.
fn among(
    containers: &[Container],
    is_one: impl Fn(&Container) -> Result<bool, CommandError>,
) -> Result<Wanted, CommandError> {
    let mut found = Vec::new();
    for container in containers {
        match is_one(container) {
            Ok(true) => found.push(container.entry.uuid),
            Ok(false) => {}
            Err(error) if matches!(error.cause(), Some(PodError::NotFound { .. })) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Wanted::Among(found))
}

/// `on-failure` of `on-failure:3`.
fn without_number(policy: &str) -> &str {
    policy.split_once(':').map_or(policy, |(policy, _)| policy)
}

fn truth(value: &str) -> Option<bool> {
    match value {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

impl Wanted {
    fn admits(&self, container: &Container, image: &str) -> bool {
        let made = container.entry.created_ns.unwrap_or_default();
        match self {
            Self::Id(beginning) => container.id().starts_with(beginning),
            Self::Name { part, first, last } => contains(&container.name(), part, (*first, *last)),
            Self::State(state) => container.state() == state,
            Self::ExitCode(code) => container.state() == "exited" && container.exit_code() == *code,
            Self::Label(name, value) => {
                container.labels().get(name).is_some_and(|known| value.as_ref().is_none_or(|value| known == value))
            }
            Self::Ancestor(word, id) => {
                (id.is_some() && container.image_id() == *id)
                    || image == word
                    || image.split(':').next() == Some(word.as_str())
            }
            Self::Before(time) => made < *time,
            Self::Since(time) => made > *time,
            Self::Volume(volume, target) => container.mounts().any(|(source, path)| {
                path == target || volume.as_ref().is_some_and(|volume| source.map(Path::new) == Some(volume))
            }),
            Self::Network(network) => container.networks().contains(network),
            Self::Health(health) => *health == container.health().map_or("none", |it| it.status.as_str()),
            Self::Port(port, published) => {
                let leads = || container.manifest.iter().flat_map(ports::of).any(|leading| leading.inside() == *port);
                leads() || (!published && container.exposed().contains(port))
            }
            Self::Among(containers) => containers.contains(&container.entry.uuid),
            Self::Task(wanted) => !wanted,
        }
    }
}

/// Whether the name has the part, at its beginning, at its end, or anywhere.
fn contains(name: &str, part: &str, (first, last): (bool, bool)) -> bool {
    match (first, last) {
        (true, true) => name == part,
        (true, false) => name.starts_with(part),
        (false, true) => name.ends_with(part),
        (false, false) => name.contains(part),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_beginnings_and_ends() {
        for (part, ends, admitted) in [
            ("eb", (false, false), true),
            ("web", (true, false), true),
            ("eb", (true, false), false),
            ("eb", (false, true), true),
            ("we", (true, true), false),
        ] {
            assert_eq!(contains("web", part, ends), admitted, "{part} {ends:?}");
        }
    }
}
