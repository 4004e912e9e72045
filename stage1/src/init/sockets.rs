//! The sockets of the metadata service inside a pod: made by pid 1 before any app starts, and handed to the monitor.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{AtFlags, CWD, Mode, mkdirat, unlinkat};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use sys::mount::{MountAttr, mount_setattr};

use crate::apply::{Named as _, Refusal, clone_tree};

/// Connections that wait while the service starts.
pub(crate) const BACKLOG: i32 = 128;

/// The name that apps know.
const SOCKET: &str = "identity.sock";

/// A socket at which one app asks who it is, and the mount that brings it into that app's root.
pub(super) struct IdentitySocket {
    pub(super) listener: OwnedFd,
    pub(super) mount: OwnedFd,
}

/// Makes the socket of the app with this index, in a directory of its own in the sandbox, where no app can look.
pub(super) fn make(app: usize) -> Result<IdentitySocket, Refusal> {
    let dir = directory(app);
    mkdirat(CWD, dir.as_str(), Mode::from_raw_mode(0o755)).named(|| format!("mkdirat({dir:?})"))?;
    let path = format!("{dir}/{SOCKET}");
    let listen_there = || {
        let listener = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        bind(&listener, &SocketAddrUnix::new(path.as_str())?)?;
        listen(&listener, BACKLOG)?;
        rustix::io::Result::Ok(listener)
    };
    let listener = listen_there().named(|| format!("listen({path:?})"))?;
    let mount = clone_tree(CWD, &dir).named(|| format!("open_tree({dir:?}, OPEN_TREE_CLONE)"))?;
    let attr = MountAttr::INERT.with(MountAttr::RDONLY);
    mount_setattr(mount.as_fd(), c"", false, attr).named(|| format!("mount_setattr({dir:?}, {:#x})", attr.bits()))?;
    Ok(IdentitySocket { listener, mount })
}

/// Removes what was made for an app that is no more. What cannot be removed goes with the sandbox.
pub(super) fn remove(app: usize) {
    let dir = directory(app);
    let _ = unlinkat(CWD, format!("{dir}/{SOCKET}"), AtFlags::empty());
    let _ = unlinkat(CWD, dir, AtFlags::REMOVEDIR);
}

fn directory(app: usize) -> String {
    format!("/identity/{app}")
}
