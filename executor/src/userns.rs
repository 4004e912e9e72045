//! `--userns`: who of the host an app's users are.

use std::os::fd::{AsFd as _, OwnedFd};

use appc::{AcIdentifier, App, PodManifest, RuntimeApp};
use stage1::idmap::{self, IdMapping, Tier};
use stage1::plan::keep_id::{self, KeepId};
use stage1::plan::{PRIMARY_GROUP, keep_id::is_name, numbers_of};
use stage1::user::User;
use store::{ImageRecord, Tree};

use crate::error::{CommandError, Explain as _};
use crate::import::Images;

/// Annotation of a pod: how its ids are mapped, if not as ever. The value is an option's.
pub(crate) const ANNOTATION: &str = "proa.local/userns";

/// How the ids of a pod are mapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Userns {
    /// As well as this machine allows: container root is you, the rest a range of yours
    #[default]
    Auto,
    /// So that each app's own user is you
    KeepId,
    /// A single id, yours
    Single,
}

impl Userns {
    /// What a manifest says.
    ///
    /// # Errors
    ///
    /// It says something else than this program writes.
    pub(crate) fn of(manifest: &PodManifest) -> Result<Self, CommandError> {
        match manifest.annotations.get(ANNOTATION) {
            None => Ok(Self::Auto),
            Some("keep-id") => Ok(Self::KeepId),
            Some("single") => Ok(Self::Single),
            Some(other) => Err(CommandError::failed(format!("annotation {ANNOTATION}: {other:?} is not known"))),
        }
    }

    /// Says so in a manifest.
    pub(crate) fn note_in(self, manifest: &mut PodManifest) {
        let value = match self {
            Self::Auto => return,
            Self::KeepId => "keep-id",
            Self::Single => "single",
        };
        manifest.annotations.set(identifier(ANNOTATION), value);
    }

    /// The map of the pod's ids, given the one this machine would have.
    ///
    /// # Errors
    ///
    /// The caller is root, whose id no pod has.
    pub(crate) fn mapping(self, detected: IdMapping) -> Result<IdMapping, CommandError> {
        let refused = |option: &str| {
            CommandError::usage(format!("--userns={option}: you are root, and no pod has root's id"))
                .hint("run it as an ordinary user, or leave --userns out")
        };
        match (self, detected.tier()) {
            (Self::Auto, _) => Ok(detected),
            (Self::KeepId, Tier::Root) => Err(refused("keep-id")),
            (Self::Single, Tier::Root) => Err(refused("single")),
            (Self::KeepId, _) => Ok(detected),
            (Self::Single, _) => {
                let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
                Ok(IdMapping::single(uid, gid))
            }
        }
    }
}

/// An app with its image and the trees of that, lowest first.
pub(crate) struct Rooted<'a> {
    pub(crate) app: &'a mut RuntimeApp,
    pub(crate) image: &'a ImageRecord,
    pub(crate) layers: &'a mut Vec<OwnedFd>,
}

/// Lets the app's user be the caller: notes who that is, and takes trees in which that user's files are the caller's.
/// They are made on first use. Returns what keeps these from being removed.
///
/// # Errors
///
/// The user is not in the image, or has no id in the pod; the trees cannot be made.
pub(crate) fn keep_id(images: &mut Images, rooted: Rooted<'_>) -> Result<Vec<OwnedFd>, CommandError> {
    let Rooted { app, image, layers } = rooted;
    let name = app.name.to_string();
    let keep = match keep_id_of(app)? {
        // A manifest that was reified before.
        Some(keep) => keep,
        None => who(app, layers).during(|| format!("--userns=keep-id: app {name:?}"))?,
    };
    app.annotations.set(identifier(keep_id::ANNOTATION), keep.to_string());
    let missing = || {
        let why = format!("--userns=keep-id: app {name:?}: the pod has no ids {}:{}", keep.uid, keep.gid);
        CommandError::failed(why).hint("choose another user with --user and --group")
    };
    let mapping = keep.tree_mapping(&images.mapping).ok_or_else(missing)?;
    if mapping == images.mapping {
        return Ok(Vec::new());
    }
    let trees = images.under(mapping, |images| images.trees(image))?;
    let (dirs, guards) = trees.into_iter().map(Tree::into_parts).unzip();
    *layers = dirs;
    Ok(guards)
}

/// Who of an app was said to be the caller.
pub(crate) fn keep_id_of(app: &RuntimeApp) -> Result<Option<KeepId>, CommandError> {
    let text = app.annotations.get(keep_id::ANNOTATION);
    text.map(str::parse).transpose().during(|| format!("app {:?}: {}", app.name.as_str(), keep_id::ANNOTATION))
}

/// The app's user and group as the image's files have them.
fn who(app: &RuntimeApp, layers: &[OwnedFd]) -> Result<KeepId, CommandError> {
    let Some(App { user, group, .. }) = &app.app else { return Err(CommandError::failed("it has no app section")) };
    let group = if app.annotations.get(PRIMARY_GROUP).is_some() { "" } else { group.as_str() };
    if let Some(path) = [user.as_str(), group].into_iter().find(|name| name.starts_with('/')) {
        return Err(CommandError::failed(format!("the owner of {path:?} is not known before the pod runs"))
            .hint("give the user by name or number"));
    }
    let layers: Vec<_> = layers.iter().map(|layer| layer.as_fd()).collect();
    let User { uid, gid, .. } = User::lookup_in_layers(&layers, user, group, numbers_of(app))
        .map_err(|error| CommandError::from(error).hint("choose another user with --user and --group"))?;
    let caller = idmap::user_name(rustix::process::geteuid().as_raw()).or_else(|| std::env::var("USER").ok());
    let name = caller.filter(|name| is_name(name)).unwrap_or_else(|| "user".to_owned());
    Ok(KeepId { uid, gid, name })
}

fn identifier(name: &str) -> AcIdentifier {
    name.parse().expect("names of annotations of ours are identifiers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_remembers() {
        for userns in [Userns::Auto, Userns::KeepId, Userns::Single] {
            let mut manifest = PodManifest::blank();
            userns.note_in(&mut manifest);
            assert_eq!(Userns::of(&manifest).unwrap(), userns);
        }
        let mut manifest = PodManifest::blank();
        manifest.annotations.set(identifier(ANNOTATION), "other");
        assert!(Userns::of(&manifest).is_err());
    }

    #[test]
    fn roots_id_is_nobodys() {
        let root = || IdMapping::root(1 << 20);
        assert!(Userns::Auto.mapping(root()).is_ok());
        assert!(Userns::KeepId.mapping(root()).is_err() && Userns::Single.mapping(root()).is_err());
        let range = IdMapping::range(1000, 1000, (100_000, 10), (100_000, 10));
        assert_eq!(Userns::KeepId.mapping(range.clone()).unwrap(), range);
        assert_eq!(Userns::Single.mapping(range).unwrap().tier(), Tier::Single);
    }
}
