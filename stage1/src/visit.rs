//! Work on an app's files from outside, in a child process that sees what the app sees: for `cp`.
//!
//! The child's root directory is the app's, so that no path and no link of the app leads out of it, whatever the app does
//! meanwhile. What it may do is what root may do in the app's user namespace, or in one with the pod's ids where the app
//! does not run. Nobody in the pod sees the child or can touch it: it is in none of the pod's process namespaces, and its
//! memory belongs to the user namespace in which proa was started.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::process::{DumpableBehavior, chdir, chroot, fchdir, set_dumpable_behavior};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sys::fork::Namespaces;

use crate::apply::overlay;
use crate::apply::{Fds, Named as _, Refusal};
use crate::idmap::{IdMapping, Tier};
use crate::init::reopen;
use crate::op::Slot;
use crate::userns::{self, Parent, Running, UsernsError, become_container_root, become_root_of};

/// An app whose files are worked on.
#[derive(Debug)]
pub enum Visited {
    /// It has been created: its namespaces, as [`crate::protocol::Reply::Room`] brings them. Its volumes are there.
    Running {
        /// Its user namespace.
        user: OwnedFd,
        /// Its mount namespace.
        mount: OwnedFd,
    },
    /// It does not run, and nobody starts it meanwhile: the trees of its image, lowest first, and its own directories. Its
    /// volumes are not there.
    Still {
        /// The trees.
        layers: Vec<OwnedFd>,
        /// What it has changed.
        upper: OwnedFd,
        /// The overlay's working directory; without it the files can only be read.
        work: Option<OwnedFd>,
    },
}

/// Starts `work` at the app's root, as its root; `mapping` is the one that its image's trees were extracted under. What
/// `work` holds is let go of here. The answer is an error if the child did not come as far as to the work.
///
/// # Errors
/// [`UsernsError`].
pub fn start<T, F>(app: Visited, mapping: &IdMapping, work: F) -> Result<Running<Result<T, String>>, UsernsError>
where
    T: Serialize + DeserializeOwned,
    F: FnOnce() -> T,
{
    match app {
        Visited::Running { user, mount } => {
            let visit = move |parent: Parent| {
                let entered = enter(&user, &mount, mapping.tier());
                parent.die_with_it()?;
                Ok(entered.map(|()| work()).map_err(|refusal| refusal.to_string()))
            };
            userns::start(Namespaces::NONE, |_| Ok(()), visit)
        }
        Visited::Still { layers, upper, work: work_dir } => {
            let visit = move |parent: Parent| {
                // Before the ids change: the directories above may be the caller's alone.
                let entered = reopened(layers, upper, work_dir).and_then(|fds| view(fds, mapping));
                parent.die_with_it()?;
                Ok(entered.map(|()| work()).map_err(|refusal| refusal.to_string()))
            };
            userns::start(Namespaces::USER.with(Namespaces::MOUNT), |pid| Ok(mapping.write(pid)?), visit)
        }
    }
}

/// Joins an app that runs.
fn enter(user: &OwnedFd, mount: &OwnedFd, tier: Tier) -> Result<(), Refusal> {
    // Before the app's user namespace counts for anything: with it, somebody there could look into this process.
    let not_dumpable =
        || set_dumpable_behavior(DumpableBehavior::NotDumpable).named(|| "prctl(PR_SET_DUMPABLE)".into());
    not_dumpable()?;
    // The user namespace first: it gives the right to enter the mount namespace, which it owns.
    for (namespace, kind, name) in
        [(user, LinkNameSpaceType::User, "CLONE_NEWUSER"), (mount, LinkNameSpaceType::Mount, "CLONE_NEWNS")]
    {
        move_into_link_name_space(namespace.as_fd(), Some(kind)).named(|| format!("setns(<app>, {name})"))?;
    }
    // A single id is the app's user's, who need not be root; the capabilities are there whoever it is.
    if tier != Tier::Single {
        become_root_of(tier).named(|| "setresuid(0, 0, 0)".into())?;
    }
    not_dumpable()?;
    chdir("/").named(|| "chdir(\"/\")".into())
}

fn reopened(layers: Vec<OwnedFd>, upper: OwnedFd, work: Option<OwnedFd>) -> Result<(Fds, usize), Refusal> {
    let mut fds = Fds::default();
    let mut layers = reopen::all(layers)?;
    let upper = reopen::directory(upper)?;
    match work {
        Some(work) => {
            fds.put(Slot::Work, reopen::directory(work)?);
            fds.put(Slot::Upper, upper);
        }
        // What only lies there is one more layer to look through.
        None => layers.push(upper),
    }
    let count = layers.len();
    for (index, layer) in layers.into_iter().enumerate() {
        fds.put(Slot::Layer(index), layer);
    }
    Ok((fds, count))
}

/// Has the trees of an app that does not run as root directory.
fn view((mut fds, layers): (Fds, usize), mapping: &IdMapping) -> Result<(), Refusal> {
    become_container_root(mapping).named(|| "setresuid(0, 0, 0)".into())?;
    // One tree alone is no overlay: an image without layers that is looked at.
    if layers == 1 && fds.find(Slot::Upper).is_none() {
        let only = fds.take(Slot::Layer(0)).expect("it was just put there");
        fds.put(Slot::Root, only);
    } else {
        overlay::still(&mut fds, layers)?;
    }
    let root = rustix::fs::openat(fds.get(Slot::Root)?, ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let root = root.named(|| "openat(<root>, O_PATH)".into())?;
    fchdir(&root).named(|| "fchdir(<root>)".into())?;
    chroot(".").named(|| "chroot(\".\")".into())
}
