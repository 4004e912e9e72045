//! Changes to an image's manifest, as they are written on a command line.

use appc::isolator::capabilities::CapabilitySet;
use appc::isolator::seccomp::SeccompSet;
use appc::isolator::{IsolatorError, names, set};
use appc::name::NameError;
use appc::{App, ImageManifest, Isolator, IsolatorValue, MountPoint, ParameterError, Port};
use serde_json::{Map, Value};
use store::Shown;

/// A change that cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PatchError {
    /// A bad name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The image has no app to change, and none is made.
    #[error("no app in the supplied manifest and no exec command provided")]
    NoApp,
    /// A group that is no number.
    #[error("invalid supplementary group {text}: strconv.Atoi: parsing {text}: {why}")]
    Group {
        /// The refused text.
        text: Shown,
        /// In which way.
        why: &'static str,
    },
    /// Capabilities to have and capabilities to lose: only one of them means something.
    #[error("conflicting capabilities isolators provided")]
    ConflictingCapabilities,
    /// No capability set.
    #[error("cannot parse capability {kind} set {text}: {source}")]
    Capabilities {
        /// Which of the two.
        kind: &'static str,
        /// The refused text.
        text: Shown,
        /// Why.
        source: IsolatorError,
    },
    /// No mount point, port or isolator.
    #[error("cannot parse {what} {text}: {source}")]
    Parameters {
        /// Which of them.
        what: &'static str,
        /// The refused text.
        text: Shown,
        /// Why.
        source: ParameterError,
    },
    /// System calls, but not what to do with them.
    #[error("--seccomp-set specified without --seccomp-mode")]
    SeccompSetAlone,
    /// A mode with an unknown option.
    #[error("invalid seccomp-mode optional argument: {}", .0.as_str())]
    SeccompOption(Shown),
    /// A mode with an option that has two values.
    #[error("cannot parse seccomp-mode argument: {}", .0.as_str())]
    SeccompArgument(Shown),
    /// Neither `remove` nor `retain`.
    #[error("cannot parse seccomp isolator: unknown seccomp mode {}", .0.as_str())]
    SeccompMode(Shown),
    /// A set or error name that breaks a rule.
    #[error("cannot parse seccomp isolator: {0}")]
    Seccomp(IsolatorError),
    /// An isolator that is written in another way.
    #[error("isolator {name}: invalid format")]
    IsolatorFormat {
        /// Its name.
        name: String,
    },
    /// An isolator that has its own option, or none.
    #[error("isolator {name} is not supported for patching")]
    IsolatorUnsupported {
        /// Its name.
        name: String,
    },
    /// An isolator whose value breaks a rule.
    #[error("cannot unmarshal isolator {text}: {why}")]
    Isolator {
        /// What was read.
        text: String,
        /// Why.
        why: String,
    },
}

/// What to change; an empty text changes nothing, as in the Go implementation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManifestPatch {
    /// The name.
    pub name: String,
    /// The program and its arguments, with single spaces between them. Makes an app where there is none.
    pub exec: String,
    /// The user.
    pub user: String,
    /// The group.
    pub group: String,
    /// The supplementary groups, in place of those there are: numbers with commas between them.
    pub supplementary_groups: String,
    /// The capabilities the app has, in place of either set: names with commas between them.
    pub capability: String,
    /// The capabilities the app loses, in place of either set.
    pub revoke_capability: String,
    /// More mount points, with colons between them.
    pub mounts: String,
    /// More ports, with colons between them.
    pub ports: String,
    /// More isolators, with colons between them.
    pub isolators: String,
    /// `remove` or `retain`, with `,errno=NAME` after it where a call is to fail with that.
    pub seccomp_mode: String,
    /// System calls with commas between them, in place of either set.
    pub seccomp_set: String,
}

impl ManifestPatch {
    /// Makes the changes.
    ///
    /// # Errors
    /// The first one that cannot be made. Whether the result is a valid manifest shows when it is printed.
    pub fn apply(&self, manifest: &mut ImageManifest) -> Result<(), PatchError> {
        if !self.name.is_empty() {
            manifest.name = self.name.parse()?;
        }
        if !self.exec.is_empty() {
            let app = manifest.app.get_or_insert_default();
            app.exec = self.exec.split(' ').map(str::to_owned).collect();
        }
        match &mut manifest.app {
            Some(app) => self.apply_to_app(app),
            None if self.concerns_app() => Err(PatchError::NoApp),
            None => Ok(()),
        }
    }

    /// Whether there is nothing to change.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn concerns_app(&self) -> bool {
        Self { name: String::new(), ..self.clone() } != Self::default()
    }

    fn apply_to_app(&self, app: &mut App) -> Result<(), PatchError> {
        if !self.user.is_empty() {
            app.user = self.user.clone();
        }
        if !self.group.is_empty() {
            app.group = self.group.clone();
        }
        if !self.supplementary_groups.is_empty() {
            app.supplementary_gids = self.supplementary_groups.split(',').map(group).collect::<Result<_, _>>()?;
        }
        if let Some(isolator) = self.capabilities()? {
            set::replace(&mut app.isolators, isolator, &[names::CAPABILITIES_REMOVE, names::CAPABILITIES_RETAIN]);
        }
        for text in parts(&self.mounts) {
            app.mount_points
                .push(text.parse::<MountPoint>().map_err(|source| parameters("mount point", text, source))?);
        }
        for text in parts(&self.ports) {
            app.ports.push(text.parse::<Port>().map_err(|source| parameters("port", text, source))?);
        }
        if let Some(isolator) = self.seccomp()? {
            set::replace(&mut app.isolators, isolator, &[names::SECCOMP_REMOVE, names::SECCOMP_RETAIN]);
        }
        for text in parts(&self.isolators) {
            app.isolators.push(isolator(text)?);
        }
        Ok(())
    }

    fn capabilities(&self) -> Result<Option<Isolator>, PatchError> {
        let parse = |kind, text: &str| capability_set(kind, text, named(text));
        let value = match (self.capability.is_empty(), self.revoke_capability.is_empty()) {
            (true, true) => return Ok(None),
            (false, false) => return Err(PatchError::ConflictingCapabilities),
            (false, true) => IsolatorValue::CapabilitiesRetain(parse("retain", &self.capability)?),
            (true, false) => IsolatorValue::CapabilitiesRemove(parse("remove", &self.revoke_capability)?),
        };
        Ok(Isolator::new(value))
    }

    fn seccomp(&self) -> Result<Option<Isolator>, PatchError> {
        if self.seccomp_mode.is_empty() {
            return if self.seccomp_set.is_empty() { Ok(None) } else { Err(PatchError::SeccompSetAlone) };
        }
        let (mut mode, mut errno) = ("", "");
        for argument in self.seccomp_mode.split(',') {
            let shown = || Shown::new(argument.as_bytes());
            match argument.split('=').collect::<Vec<_>>()[..] {
                [word] => mode = word,
                ["errno", name] => errno = name,
                [_, _] => return Err(PatchError::SeccompOption(shown())),
                _ => return Err(PatchError::SeccompArgument(shown())),
            }
        }
        let calls = self.seccomp_set.split(',').filter(|_| !self.seccomp_set.is_empty()).map(str::to_owned).collect();
        let set = || SeccompSet::new(calls, Some(errno.to_owned())).map_err(PatchError::Seccomp);
        Ok(Isolator::new(match mode {
            "remove" => IsolatorValue::SeccompRemove(set()?),
            "retain" => IsolatorValue::SeccompRetain(set()?),
            mode => return Err(PatchError::SeccompMode(Shown::new(mode.as_bytes()))),
        }))
    }
}

/// The names between commas. actool takes nothing between two of them for a name.
fn named(text: &str) -> Vec<String> {
    text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The set of these names, which `text` says.
fn capability_set(kind: &'static str, text: &str, names: Vec<String>) -> Result<CapabilitySet, PatchError> {
    let refused = |source| PatchError::Capabilities { kind, text: Shown::new(text.as_bytes()), source };
    CapabilitySet::new(names).map_err(refused)
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(':').filter(|_| !text.is_empty())
}

fn parameters(what: &'static str, text: &str, source: ParameterError) -> PatchError {
    PatchError::Parameters { what, text: Shown::new(text.as_bytes()), source }
}

fn group(text: &str) -> Result<i64, PatchError> {
    text.parse().map_err(|_| {
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        let number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let why = if number { "value out of range" } else { "invalid syntax" };
        PatchError::Group { text: Shown::new(text.as_bytes()), why }
    })
}

/// The isolators whose value is an object of texts: limits on resources.
const OF_RESOURCES: [&str; 5] =
    [names::BLOCK_BANDWIDTH, names::BLOCK_IOPS, names::CPU, names::MEMORY, names::NETWORK_BANDWIDTH];

/// An isolator written `NAME,KEY=VALUE,…`, or `NAME,VALUE` where the value is a single one.
fn isolator(text: &str) -> Result<Isolator, PatchError> {
    let (name, rest) = text.split_once(',').unwrap_or((text, ""));
    let value = match name {
        names::NO_NEW_PRIVILEGES | names::OOM_SCORE_ADJ => {
            let unquoted = || PatchError::IsolatorFormat { name: name.to_owned() };
            if rest.is_empty() || rest.contains(',') {
                return Err(unquoted());
            }
            serde_json::from_str(rest).map_err(|_| unquoted())?
        }
        name if OF_RESOURCES.contains(&name) => {
            let pairs = appc::parameters::pairs(text).map_err(|source| parameters("isolator", text, source))?;
            let members = pairs.into_iter().skip(1).map(|(key, value)| (key, Value::String(value)));
            Value::Object(members.collect::<Map<_, _>>())
        }
        name => {
            let checked: Result<appc::AcIdentifier, _> = name.parse();
            checked.map_err(|error| parameters("isolator", text, error.into()))?;
            return Err(PatchError::IsolatorUnsupported { name: name.to_owned() });
        }
    };
    let document = serde_json::json!({ "name": name, "value": value });
    serde_json::from_value(document.clone())
        .map_err(|error| PatchError::Isolator { text: document.to_string(), why: without_place(&error.to_string()) })
}

/// An error as actool has it: without the path of the value, which is the isolator's.
fn without_place(error: &str) -> String {
    let place = |(place, why): (&str, &str)| place.starts_with("$.").then(|| why.to_owned());
    error.split_once(": ").and_then(place).unwrap_or_else(|| error.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contract A.2, patch-manifest.
    #[test]
    fn capability_sets_have_names() {
        for (text, expected) in [
            ("CAP_PONIES", Ok(())),
            ("a,,b,", Ok(())),
            ("\u{fffd}", Ok(())),
            (",", Err("set must be non-empty")),
            (",,", Err("set must be non-empty")),
        ] {
            for (kind, retain) in [("retain", true), ("remove", false)] {
                let mut patch = ManifestPatch::default();
                *(if retain { &mut patch.capability } else { &mut patch.revoke_capability }) = text.to_owned();
                let said = patch.capabilities().map(drop).map_err(|error| error.to_string());
                let expected = expected.map_err(|why| format!("cannot parse capability {kind} set {text:?}: {why}"));
                assert_eq!(said, expected);
            }
        }
    }
}
