//! What an app does in its own mount namespace, before it is only itself.

use appc::RuntimeApp;
use sys::mount::MountAttr;

use super::app::working_directory;
use super::keep_id::KeepId;
use super::mounts::{self, Mount};
use super::{PodOptions, at, paths};
use crate::idmap::Tier;
use crate::network::EtcFile;
use crate::op::{Op, Slot};

/// The directory of [`metadata_api::IDENTITY_SOCKET`] in an app's root.
const IDENTITY_DIR: &str = "/run/proa";

/// The list in the app's own mount namespace: what apps share is moved in, what each has alone is made, then pivot.
pub(super) fn enter(
    mounts: &[Mount],
    runtime: &RuntimeApp,
    options: &PodOptions<'_>,
    etc: &[EtcFile],
    keep_id: Option<&KeepId>,
) -> Vec<Op> {
    let root = keep_id.map_or((0, 0), |keep| keep.in_pod(options.mapping.tier(), (0, 0)));
    let mut ops = Vec::new();
    if root != (0, 0) {
        ops.push(Op::RootIs { uid: root.0, gid: root.1 });
    }
    ops.extend([
        Op::Attach { slot: Slot::Root, at: at(Slot::Sandbox, "root") },
        Op::MoveIntoRoot { from: "proc", path: "proc" },
        Op::MoveIntoRoot { from: "sys", path: "sys" },
    ]);
    if options.cgroup {
        // Its root is the group of whoever makes it: the app, which is in its own by now.
        let attr = MountAttr::INERT.with(MountAttr::RDONLY);
        ops.push(Op::NewFs { fs: "cgroup2", options: vec![], attr, slot: Slot::Scratch });
        ops.push(Op::Attach { slot: Slot::Scratch, at: at(Slot::Root, "sys/fs/cgroup") });
    }
    ops.extend(devices(options, root));
    if let Some(keep) = keep_id {
        let (uid, gid, name) = (keep.uid, keep.gid, keep.name.clone());
        let owner = keep.in_pod(options.mapping.tier(), (uid, gid));
        ops.push(Op::Account { uid, gid, name, owner });
    }
    ops.extend(mounts.iter().enumerate().map(|(index, mount)| mount.enter(index)));
    ops.extend(etc.iter().enumerate().map(|(file, EtcFile { name, replaces, .. })| Op::AttachEtc {
        file,
        name: name.clone(),
        replaces: *replaces,
    }));
    if options.metadata_url.is_some() {
        ops.push(Op::AttachIdentity { path: IDENTITY_DIR });
    }
    let directory = runtime.app.as_ref().map_or("/", working_directory);
    if mounts::are_dockers(runtime) && directory != "/" {
        ops.push(Op::WorkingDirectory { path: directory.to_owned() });
    }
    if runtime.read_only_root_fs {
        ops.push(Op::RootAttr { attr: MountAttr::RDONLY });
    }
    ops.push(Op::Pivot { slot: Slot::Root });
    ops
}

/// The app's /dev, which belongs to its root.
fn devices(options: &PodOptions<'_>, root: (u32, u32)) -> Vec<Op> {
    let mut pts = vec![("newinstance", String::new()), ("ptmxmode", "0666".to_owned()), ("mode", "0620".to_owned())];
    if options.mapping.tier() != Tier::Single {
        // The group tty; a single-id map has no such group and the kernel would refuse it.
        pts.push(("gid", "5".to_owned()));
    }
    let mut dev = vec![("size", "64k".to_owned()), ("nr_inodes", "256".to_owned()), ("mode", "755".to_owned())];
    if root != (0, 0) {
        dev.extend([("uid", root.0.to_string()), ("gid", root.1.to_string())]);
    }
    let attr = MountAttr::NOSUID.with(MountAttr::NOEXEC);
    let mut ops = vec![Op::NewFs { fs: "tmpfs", options: dev, attr, slot: Slot::Dev }, Op::AttachDev];
    ops.extend(["pts", "shm", "mqueue"].map(|name| Op::MakeDir { at: at(Slot::Dev, name) }));
    ops.extend(paths::DEVICES.iter().map(|&(name, _)| Op::Device { name, from: name }));
    // OS-SPEC.md wants a console; without a terminal it is one that nobody looks at.
    ops.push(Op::Device { name: "console", from: "null" });
    ops.extend(paths::DEV_LINKS.iter().map(|&(name, target)| Op::Symlink { target, at: at(Slot::Dev, name) }));
    ops.extend([
        Op::NewFs { fs: "devpts", options: pts, attr, slot: Slot::Pts },
        Op::Attach { slot: Slot::Pts, at: at(Slot::Dev, "pts") },
        Op::MoveIntoRoot { from: "shm", path: "dev/shm" },
        Op::MoveIntoRoot { from: "mqueue", path: "dev/mqueue" },
    ]);
    ops
}
