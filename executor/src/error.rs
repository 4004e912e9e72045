//! What went wrong, in the one form that reaches the user.

use std::error::Error;
use std::fmt;

use crate::escape::printable;
use crate::hints;

/// Exit status of every failure of ours, usage errors included (rkt's number: an application rarely uses it).
pub(crate) const FAILURE: u8 = 254;

/// The classes of failure that differ in their exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The command line makes no sense.
    Usage,
    /// The work could not be done.
    Failed,
    /// The app's user or group is not there.
    NoUser,
    /// The app's working directory is not there.
    NoDirectory,
    /// The app's executable is there and cannot be executed.
    NotExecutable,
    /// The app's executable is not there.
    NotFound,
}

impl Kind {
    /// The exit status of the process.
    pub(crate) fn exit_status(self) -> u8 {
        match self {
            Kind::Usage | Kind::Failed | Kind::NoUser | Kind::NoDirectory => FAILURE,
            Kind::NotExecutable => 126,
            Kind::NotFound => 127,
        }
    }
}

/// What the user can do, and what whoever says so knew.
#[derive(Debug)]
pub(crate) enum Hint {
    /// Of this error: it takes the place of what the message suggests.
    Error(String),
    /// Of the step that failed, whatever it failed on: shown where nothing else is.
    Step(String),
    /// What is to be done besides: shown with whatever else is.
    Besides(String),
}

/// A failed subcommand: the chain of causes and what the user can do about it.
///
/// It is not a [`std::error::Error`] itself, so that `?` can turn every error into one.
#[derive(Debug)]
pub(crate) struct CommandError {
    pub(crate) kind: Kind,
    pub(crate) source: Box<dyn Error + Send + Sync>,
    pub(crate) hints: Vec<Hint>,
    /// Lines of the input with a mark at the mistake, to be shown between the message and the hints.
    pub(crate) picture: Option<String>,
}

impl CommandError {
    /// A failure with a message of our own and no further cause.
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, source: Box::new(Message(message.into())), hints: Vec::new(), picture: None }
    }

    /// A command line that makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Work that could not be done.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// Work that could not be done, for a reason whose type is not known.
    pub(crate) fn of(source: Box<dyn Error + Send + Sync>) -> Self {
        Self { kind: Kind::Failed, source, hints: Vec::new(), picture: None }
    }

    /// Adds one line that says how to mend it.
    #[must_use]
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        self.with(Hint::Error(hint.into()))
    }

    /// Adds a hint.
    #[must_use]
    pub(crate) fn with(mut self, hint: Hint) -> Self {
        self.hints.push(hint);
        self
    }

    /// Adds lines of the input with a mark at the mistake.
    #[must_use]
    pub(crate) fn picture(mut self, picture: impl Into<String>) -> Self {
        self.picture = Some(picture.into());
        self
    }

    /// Puts the step that failed in front of the chain.
    #[must_use]
    pub(crate) fn during(mut self, step: impl Into<String>) -> Self {
        self.source = Box::new(Step { step: step.into(), source: self.source });
        self
    }

    /// The first cause of the given type, from the outside in.
    pub(crate) fn cause<E: Error + 'static>(&self) -> Option<&E> {
        causes(self.source.as_ref()).find_map(|cause| cause.downcast_ref())
    }

    /// The message as it is printed: `proa: COMMAND: chain: innermost`, then a `hint:` line each.
    pub(crate) fn report(&self, command: Option<&str>) -> String {
        let mut text = String::from("proa: ");
        if let Some(command) = command {
            text.push_str(command);
            text.push_str(": ");
        }
        let chain = self.chain();
        text.push_str(&printable(&chain));
        text.push('\n');
        for line in self.picture.iter().flat_map(|picture| picture.lines()) {
            text.push_str(&printable(line));
            text.push('\n');
        }
        for hint in &self.all_hints(command) {
            text.push_str("hint: ");
            text.push_str(&printable(hint));
            text.push('\n');
        }
        text
    }

    /// The hints that were given on the way, and the limit that was reached; or else what the message suggests.
    pub(crate) fn all_hints(&self, command: Option<&str>) -> Vec<String> {
        let chain = self.chain();
        let (mut of_error, mut of_step, mut besides) = (Vec::new(), Vec::new(), Vec::new());
        for hint in &self.hints {
            match hint {
                Hint::Error(text) => of_error.push(text.clone()),
                Hint::Step(text) => of_step.push(text.clone()),
                Hint::Besides(text) => besides.push(text.clone()),
            }
        }
        // A supervisor that failed may have told of the limit.
        let limit = hints::of_limit(&chain).map(str::to_owned).filter(|limit| !of_error.contains(limit));
        let mut all = of_error;
        all.extend(limit);
        if all.is_empty() {
            all = of_step;
        }
        if all.is_empty() {
            all.extend(hints::of(self.kind, causes(self.source.as_ref()), &chain, command));
        }
        all.extend(besides);
        all
    }

    /// The message and its causes on one line.
    pub(crate) fn chain(&self) -> String {
        chain(self.source.as_ref())
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for CommandError {
    fn from(error: E) -> Self {
        Self { kind: Kind::Failed, source: Box::new(error), hints: Vec::new(), picture: None }
    }
}

/// Adds steps and hints to a result on its way out.
pub(crate) trait Explain<T> {
    /// Puts the step that failed in front of the chain.
    fn during(self, step: impl FnOnce() -> String) -> Result<T, CommandError>;

    /// Adds one line that says how to mend the step, whatever it failed on ([`Hint::Step`]).
    fn hint(self, hint: impl FnOnce() -> String) -> Result<T, CommandError>;
}

impl<T, E: Into<CommandError>> Explain<T> for Result<T, E> {
    fn during(self, step: impl FnOnce() -> String) -> Result<T, CommandError> {
        self.map_err(|error| error.into().during(step()))
    }

    fn hint(self, hint: impl FnOnce() -> String) -> Result<T, CommandError> {
        self.map_err(|error| error.into().with(Hint::Step(hint())))
    }
}

/// An error with its causes on one line, from the outside in.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for level in causes(error).map(|cause| without_number(cause.to_string())) {
        // Some types print their source as well.
        if text.is_empty() {
            text = level;
        } else if !text.ends_with(&level) {
            text.push_str(": ");
            text.push_str(&level);
        }
    }
    text
}

/// The standard library ends the text of a system error with its number, which tells a reader nothing more.
fn without_number(mut text: String) -> String {
    if let Some(start) = text.rfind(" (os error ")
        && text.ends_with(')')
    {
        text.truncate(start);
    }
    text
}

/// An error and all its sources, from the outside in. Bounded, because an error type may name itself as its source.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source()).take(32)
}

#[derive(Debug)]
struct Message(String);

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Message {}

#[derive(Debug)]
struct Step {
    step: String,
    source: Box<dyn Error + Send + Sync>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.step)
    }
}

impl Error for Step {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.source.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn no_space() -> Result<(), io::Error> {
        Err(io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error()))
    }

    #[test]
    fn the_chain_is_printed_once_and_hints_follow() {
        let error = no_space()
            .during(|| "write blob sha256:4e67ea".into())
            .during(|| "example.com/redis:7".into())
            .hint(|| "try another disk".into())
            .hint(|| "or a larger one".into())
            .expect_err("the write failed");
        assert_eq!(
            error.report(Some("fetch")),
            "proa: fetch: example.com/redis:7: write blob sha256:4e67ea: No space left on device\n\
             hint: try another disk\n\
             hint: or a larger one\n"
        );
    }

    #[test]
    fn a_cause_that_was_printed_already_is_not_printed_twice() {
        #[derive(Debug, thiserror::Error)]
        #[error("create a namespace: {0}")]
        struct Repeats(#[source] fmt::Error);
        let text = fmt::Error.to_string();
        assert_eq!(chain(&Repeats(fmt::Error)), format!("create a namespace: {text}"));
    }

    #[test]
    fn without_a_command_the_program_speaks_for_itself() {
        let error = CommandError::failed("HOME is not set").hint("set it");
        assert_eq!(error.report(None), "proa: HOME is not set\nhint: set it\n");
    }

    #[test]
    fn an_image_cannot_forge_a_line() {
        let error = CommandError::failed("image \"x\nhint: run this\"").hint("see \x1b[31mred");
        assert_eq!(error.report(Some("run")), "proa: run: image \"x\\x0ahint: run this\"\nhint: see \\x1b[31mred\n");
    }

    #[test]
    fn hints_are_those_that_know_most() {
        let of = |errno: rustix::io::Errno| CommandError::from(io::Error::from(errno));
        let [full, many] = [rustix::io::Errno::NOSPC, rustix::io::Errno::MFILE];
        let limit = "raise the limit of open files: ulimit -n";
        assert_eq!(of(many).hint("close some").all_hints(None), ["close some", limit]);
        assert_eq!(of(many).with(Hint::Step("elsewhere".into())).all_hints(None), [limit]);
        assert_eq!(of(full).with(Hint::Step("elsewhere".into())).all_hints(None), ["elsewhere"]);
        let both = of(many).with(Hint::Besides("sweep".into())).with(Hint::Step("elsewhere".into()));
        assert_eq!(both.all_hints(None), [limit, "sweep"]);
        let besides = of(full).with(Hint::Besides("sweep".into())).all_hints(None);
        assert!(besides[0].starts_with("free space") && besides[1..] == ["sweep"], "{besides:?}");
    }

    #[test]
    fn exit_statuses() {
        let statuses = [Kind::Usage, Kind::Failed, Kind::NotExecutable, Kind::NotFound].map(Kind::exit_status);
        assert_eq!(statuses, [254, 254, 126, 127]);
    }

    #[test]
    fn causes_are_found_behind_steps() {
        let error = no_space().during(|| "copy".into()).expect_err("the write failed");
        assert_eq!(error.cause::<io::Error>().and_then(io::Error::raw_os_error), Some(28));
        assert!(error.cause::<fmt::Error>().is_none());
    }
}
