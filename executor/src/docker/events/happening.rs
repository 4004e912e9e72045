//! Something that happened to a container, in docker's form, and whether it is wanted.

use std::collections::BTreeMap;

use appc::PodUuid;
use serde_json::{Value, json};

use crate::docker::filters::key_and_value;
use crate::docker::{Template, id};
use crate::error::CommandError;
use crate::escape::printable;
use crate::moment;

/// It.
#[derive(Clone, Debug)]
pub(super) struct Happening {
    pub(super) time_ns: u64,
    /// The container's pod.
    pub(super) uuid: PodUuid,
    pub(super) action: &'static str,
    /// The image's name, the container's, its labels, and what belongs to the action.
    pub(super) attributes: BTreeMap<String, String>,
}

impl Happening {
    fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

/// How it is printed.
#[derive(Debug)]
pub(super) enum Form {
    /// A line for people.
    Text,
    Json,
    Template(Template),
}

impl Form {
    /// What `--format` says.
    ///
    /// # Errors
    ///
    /// It is no template.
    pub(super) fn parse(text: Option<&str>) -> Result<Self, CommandError> {
        Ok(match text {
            None | Some("") => Self::Text,
            Some("json" | "{{json .}}" | "{{ json . }}") => Self::Json,
            Some(template) => Self::Template(Template::parse(template)?),
        })
    }

    /// Its line.
    ///
    /// # Errors
    ///
    /// The template has what there is not.
    pub(super) fn line(&self, it: &Happening) -> Result<String, CommandError> {
        let (id, from) = (id(it.uuid), it.attribute("image"));
        let (seconds, time) = (it.time_ns / 1_000_000_000, it.time_ns);
        Ok(match self {
            Self::Text => {
                let shown =
                    it.attributes.iter().map(|(name, value)| format!("{}={}", printable(name), printable(value)));
                let shown = shown.collect::<Vec<_>>().join(", ");
                format!("{} container {} {id} ({shown})\n", moment::rfc3339(time), it.action)
            }
            Self::Json => {
                let json = json!({
                    "status": it.action, "id": id, "from": from, "Type": "container", "Action": it.action,
                    "Actor": { "ID": id, "Attributes": it.attributes },
                    "scope": "local", "time": seconds, "timeNano": time,
                });
                serde_json::to_string(&json)? + "\n"
            }
            Self::Template(template) => {
                let fields: Value = json!({
                    "Status": it.action, "ID": id, "From": from, "Type": "container", "Action": it.action,
                    "Actor": { "ID": id, "Attributes": it.attributes },
                    "Scope": "local", "Time": seconds, "TimeNano": time,
                });
                template.render(&fields)? + "\n"
            }
        })
    }
}

/// What is wanted: of several filters of one key one has to be satisfied, but of labels all.
#[derive(Debug)]
pub(super) struct Filters(Vec<(String, String)>);

/// The kinds of things that docker has events of; here those of containers alone.
const TYPES: [&str; 11] =
    ["builder", "config", "container", "daemon", "image", "network", "node", "plugin", "secret", "service", "volume"];

impl Filters {
    /// Understands each `KEY=VALUE`.
    ///
    /// # Errors
    ///
    /// One makes no sense; the text is docker's.
    pub(super) fn parse(texts: &[String]) -> Result<Self, CommandError> {
        let parsed = texts.iter().map(|text| {
            let (key, value) = key_and_value(text)?;
            match key.as_str() {
                "container" | "event" | "image" | "label" => Ok((key, value.to_owned())),
                "type" if TYPES.contains(&value) => Ok((key, value.to_owned())),
                "type" => Err(CommandError::failed(format!("invalid filter 'type={value}'"))
                    .hint("events are of containers: type=container")),
                _ => Err(CommandError::failed(format!("invalid filter '{key}'"))
                    .hint("there are container=, event=, image=, label= and type=")),
            }
        });
        parsed.collect::<Result<_, _>>().map(Self)
    }

    /// Whether it is wanted.
    pub(super) fn admit(&self, it: &Happening) -> bool {
        self.0.iter().all(|(key, value)| match key.as_str() {
            "label" => admits(it, key, value),
            _ => self.0.iter().filter(|(other, _)| other == key).any(|(_, value)| admits(it, key, value)),
        })
    }
}

fn admits(it: &Happening, key: &str, value: &str) -> bool {
    match key {
        "container" => {
            it.attribute("name") == value || (!value.is_empty() && id(it.uuid).starts_with(&value.replace('-', "")))
        }
        // One with a word behind it is meant without that word too.
        "event" => it.action == value || it.action.split(':').next() == Some(value),
        "image" => {
            let image = it.attribute("image");
            image == value || image.rsplit_once(':').is_some_and(|(name, _)| name == value)
        }
        "label" => match value.split_once('=') {
            Some((name, value)) => it.attributes.get(name).is_some_and(|known| known == value),
            None => it.attributes.contains_key(value),
        },
        _ => value == "container",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_dockers() {
        let attributes = [("image", "shell:latest"), ("name", "web"), ("role", "front")];
        let it = Happening {
            time_ns: 1_700_000_000_000_000_007,
            uuid: "01234567-89ab-4def-8123-456789abcdef".parse().unwrap(),
            action: "die",
            attributes: attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        };
        for (filters, admitted) in [
            (&[][..], true),
            (&["container=web"], true),
            (&["container=0123"], true),
            (&["container=we"], false),
            (&["container="], false),
            (&["event=start"], false),
            (&["event=start", "event=die"], true),
            (&["image=shell"], true),
            (&["image=shell:latest"], true),
            (&["image=latest"], false),
            (&["label=role", "label=role=front"], true),
            (&["label=role", "label=role=back"], false),
            (&["type=container"], true),
            (&["type=volume"], false),
        ] {
            let texts: Vec<String> = filters.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(Filters::parse(&texts).unwrap().admit(&it), admitted, "{filters:?}");
        }
        for wrong in ["size=1", "type=thing", "event"] {
            assert!(Filters::parse(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
        let line = Form::Text.line(&it).unwrap();
        let attributes = "(image=shell:latest, name=web, role=front)";
        let expected = "2023-11-14T22:13:20.000000007Z container die 0123456789ab4def8123456789abcdef";
        assert_eq!(line, format!("{expected} {attributes}\n"));
    }
}
