//! Programs run around the life of an app.

use std::fmt;

use crate::json::decode::{Cx, FromJson, Invalid};
use crate::json::print::{Printer, ToJson};
use crate::json::quote::Quoted;
use crate::json::view::View;

/// An event handler that breaks the schema's rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventHandlerError {
    /// A handler without a name.
    #[error("eventHandler \"name\" cannot be empty")]
    NameEmpty,
    /// A handler for an event that does not exist.
    #[error("bad eventHandler \"name\": {}", Quoted(.name))]
    BadName {
        /// The refused name.
        name: String,
    },
}

/// When an event handler runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// Before the app starts; its failure keeps the app from starting.
    PreStart,
    /// After the app has ended, however it ended.
    PostStop,
}

impl Event {
    /// The name in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::PreStart => "pre-start",
            Self::PostStop => "post-stop",
        }
    }

    fn from_name(name: &str) -> Result<Self, EventHandlerError> {
        match name {
            "pre-start" => Ok(Self::PreStart),
            "post-stop" => Ok(Self::PostStop),
            "" => Err(EventHandlerError::NameEmpty),
            name => Err(EventHandlerError::BadName { name: name.to_owned() }),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A program to run at an event of an app's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventHandler {
    /// When to run it.
    pub event: Event,
    /// The program and its arguments; may be empty, as far as the schema goes.
    pub exec: Vec<String>,
    /// Whether `exec` was written as `[]` rather than as null or not at all; only printing looks at it.
    pub exec_written_empty: bool,
}

impl FromJson for EventHandler {
    fn from_json(cx: &mut Cx, view: View<'_>) -> Result<Self, Invalid> {
        let read = |cx: &mut Cx| {
            let mut name = String::new();
            let mut exec: Option<Vec<String>> = None;
            cx.fields(view, &["name", "exec"], |cx, field, view| {
                match field {
                    "name" => cx.string(view, &mut name),
                    _ => exec = cx.complete(|cx| cx.list(view))?,
                }
                Ok(())
            })?;
            Ok((name, exec))
        };
        cx.built(read, |(name, exec)| {
            let exec_written_empty = exec.as_ref().is_some_and(Vec::is_empty);
            let event = Event::from_name(&name)?;
            Ok::<_, EventHandlerError>(Self { event, exec: exec.unwrap_or_default(), exec_written_empty })
        })
    }
}

impl ToJson for EventHandler {
    fn to_json(&self, printer: &mut Printer) -> Result<(), Invalid> {
        printer.object(|object| {
            object.field("name", self.event.name())?;
            object.nullable_list("exec", &self.exec, self.exec_written_empty)
        })
    }
}
