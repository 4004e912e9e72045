//! An app: what to execute, as whom, with which surroundings.

use std::collections::BTreeMap;

use crate::environment::{Environment, EnvironmentError};
use crate::event_handler::{Event, EventHandler};
use crate::isolator::{self, Isolator, IsolatorError};
use crate::json::Dialect;
use crate::json::decode::{Cx, FromJson, Invalid};
use crate::json::print::{Printer, ToJson};
use crate::json::quote::Quoted;
use crate::json::view::View;
use crate::mount_point::MountPoint;
use crate::port::Port;

/// An app that breaks the schema's rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppError {
    /// No user.
    #[error("user is required")]
    UserMissing,
    /// No group.
    #[error("group is required")]
    GroupMissing,
    /// A working directory that depends on another.
    #[error("workingDirectory must be an absolute path")]
    RelativeWorkingDirectory {
        /// The refused path.
        path: String,
    },
    /// Two handlers of one event.
    #[error("Only one eventHandler of name {} allowed", Quoted(.event.name()))]
    RepeatedHandler {
        /// The event.
        event: Event,
    },
    /// Environment variables that break their rules.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// Isolators that break their rules.
    #[error(transparent)]
    Isolator(#[from] IsolatorError),
}

/// What an image or a pod manifest says about running one app (appc aci.md, app).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct App {
    /// The program and its arguments. May be empty here; something must be given by the time it is run.
    pub exec: Vec<String>,
    /// Programs run before and after.
    pub event_handlers: Vec<EventHandler>,
    /// A name, a number, or the path of a file whose owner is meant. Never empty in a valid app.
    pub user: String,
    /// A name, a number, or the path of a file whose group is meant. Never empty in a valid app.
    pub group: String,
    /// Further groups. The spec wants them unsigned; negative ones are accepted on reading, as in Go.
    pub supplementary_gids: Vec<i64>,
    /// An absolute path; without one the app starts in `/`.
    pub working_directory: Option<String>,
    /// Environment variables.
    pub environment: Environment,
    /// Where volumes belong.
    pub mount_points: Vec<MountPoint>,
    /// Ports the app offers.
    pub ports: Vec<Port>,
    /// Limits and permissions, in the order they were written; see [`isolator`].
    pub isolators: Vec<Isolator>,
    /// Remarks for whoever runs the app, without rules.
    pub user_annotations: BTreeMap<String, String>,
    /// Labels for whoever runs the app, without rules.
    pub user_labels: BTreeMap<String, String>,
    /// Whether `exec` was written as `[]` rather than as null or not at all; only printing looks at it.
    pub exec_written_empty: bool,
}

const FIELDS: [&str; 12] = [
    "exec",
    "eventHandlers",
    "user",
    "group",
    "supplementaryGIDs",
    "workingDirectory",
    "environment",
    "mountPoints",
    "ports",
    "isolators",
    "userAnnotations",
    "userLabels",
];

impl App {
    /// The handler of an event.
    pub fn event_handler(&self, event: Event) -> Option<&EventHandler> {
        self.event_handlers.iter().find(|handler| handler.event == event)
    }

    /// Checks the rules that hold between fields, in the order the Go code does.
    ///
    /// # Errors
    /// See [`AppError`].
    pub fn validate(&self) -> Result<(), AppError> {
        if self.user.is_empty() {
            return Err(AppError::UserMissing);
        }
        if self.group.is_empty() {
            return Err(AppError::GroupMissing);
        }
        if let Some(path) = self.working_directory.as_deref().filter(|path| !path.is_empty() && !path.starts_with('/'))
        {
            return Err(AppError::RelativeWorkingDirectory { path: path.to_owned() });
        }
        for (index, handler) in self.event_handlers.iter().enumerate() {
            if self.event_handlers[..index].iter().any(|earlier| earlier.event == handler.event) {
                return Err(AppError::RepeatedHandler { event: handler.event });
            }
        }
        self.environment.validate()?;
        Ok(isolator::set::validate(&self.isolators)?)
    }

    fn validate_in(&self, dialect: Dialect) -> Result<(), AppError> {
        self.validate()?;
        if dialect == Dialect::Actool && isolator::set::unrecognized(&self.isolators).next().is_some() {
            return Err(IsolatorError::Unrecognized.into());
        }
        Ok(())
    }

    fn read_field(&mut self, cx: &mut Cx, field: &'static str, view: View<'_>) -> Result<(), Invalid> {
        match field {
            "exec" => {
                let exec = cx.complete(|cx| cx.list(view))?;
                self.exec_written_empty = exec.as_ref().is_some_and(Vec::is_empty);
                self.exec = exec.unwrap_or_default();
            }
            "eventHandlers" => self.event_handlers = cx.list(view)?.unwrap_or_default(),
            "user" => cx.string(view, &mut self.user),
            "group" => cx.string(view, &mut self.group),
            "supplementaryGIDs" => self.supplementary_gids = cx.list(view)?.unwrap_or_default(),
            "workingDirectory" => {
                self.working_directory = cx.optional(view)?.filter(|path: &String| !path.is_empty());
            }
            "environment" => self.environment = Environment::from_json(cx, view)?,
            "mountPoints" => self.mount_points = cx.list(view)?.unwrap_or_default(),
            "ports" => self.ports = cx.list(view)?.unwrap_or_default(),
            "isolators" => self.isolators = cx.list(view)?.unwrap_or_default(),
            "userAnnotations" => self.user_annotations = cx.string_map(view),
            _ => self.user_labels = cx.string_map(view),
        }
        Ok(())
    }
}

impl FromJson for App {
    fn from_json(cx: &mut Cx, view: View<'_>) -> Result<Self, Invalid> {
        let dialect = cx.dialect();
        let read = |cx: &mut Cx| {
            let mut app = Self::default();
            cx.fields(view, &FIELDS, |cx, field, view| app.read_field(cx, field, view))?;
            Ok(app)
        };
        cx.typed(read, |app| app.validate_in(dialect))
    }
}

impl ToJson for App {
    fn to_json(&self, printer: &mut Printer) -> Result<(), Invalid> {
        printer.rules(self.validate())?;
        printer.object(|object| {
            object.nullable_list("exec", &self.exec, self.exec_written_empty)?;
            object.list("eventHandlers", &self.event_handlers)?;
            object.field("user", &self.user)?;
            object.field("group", &self.group)?;
            object.list("supplementaryGIDs", &self.supplementary_gids)?;
            object.optional("workingDirectory", self.working_directory.as_ref().filter(|path| !path.is_empty()))?;
            if !self.environment.is_empty() {
                object.field("environment", &self.environment)?;
            }
            object.list("mountPoints", &self.mount_points)?;
            object.list("ports", &self.ports)?;
            object.list("isolators", &self.isolators)?;
            object.map("userAnnotations", &self.user_annotations)?;
            object.map("userLabels", &self.user_labels)
        })
    }
}
