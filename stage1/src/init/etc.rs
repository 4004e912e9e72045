//! Files of /etc that pid 1 makes for each app: who the hosts are, who resolves names.

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;

use rustix::fs::{AtFlags, CWD, Dir, Gid, Mode, OFlags, Uid, chownat, mkdirat, openat, unlinkat};
use rustix::io::Errno;
use sys::mount::{MountAttr, mount_setattr};

use crate::apply::{Named as _, Refusal, clone_tree};
use crate::network::{EtcFile, HOSTS};
use crate::node::Edits;

/// Makes the files of the app with this index in a directory of its own in the sandbox, for `owner`. Returns a mount of each, in their order.
pub(super) fn make(app: usize, files: &[EtcFile], (uid, gid): (u32, u32)) -> Result<Vec<OwnedFd>, Refusal> {
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let dir = directory(app);
    mkdirat(CWD, dir.as_str(), Mode::from_raw_mode(0o755)).named(|| format!("mkdirat({dir:?})"))?;
    let make = |file: &EtcFile| {
        let path = format!("{dir}/{}", file.name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let new = openat(CWD, path.as_str(), flags, Mode::from_raw_mode(0o644)).named(|| format!("open({path:?})"))?;
        let written = rustix::io::write(&new, file.content.as_bytes()).named(|| format!("write({path:?})"))?;
        if written < file.content.len() {
            return Err(Refusal::because(format!("write({path:?})"), Errno::NOSPC, "the file is too long"));
        }
        if (uid, gid) != (0, 0) {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            chownat(CWD, path.as_str(), uid, gid, AtFlags::empty()).named(|| format!("chown({path:?})"))?;
        }
        let mount = clone_tree(CWD, &path).named(|| format!("open_tree({path:?}, OPEN_TREE_CLONE)"))?;
        // An app that could write there could fill what the whole pod is built in (CVE-2020-8557).
        let attr = MountAttr::INERT.with(MountAttr::RDONLY);
        let set = mount_setattr(mount.as_fd(), c"", false, attr);
        set.named(|| format!("mount_setattr({path:?}, {:#x})", attr.bits()))?;
        Ok(mount)
    };
    files.iter().map(make).collect()
}

/// Changes /etc/hosts of these apps, of those of them that have one of pid 1's.
pub(super) fn edit_hosts(apps: impl Iterator<Item = usize>, edits: &Edits) -> rustix::io::Result<()> {
    for app in apps {
        let path = format!("{}/{HOSTS}", directory(app));
        let file = match openat(CWD, path, OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
            Err(Errno::NOENT) => continue,
            file => std::fs::File::from(file?),
        };
        // What is written anew is shorter than before.
        for (at, text) in &edits.writes {
            file.write_all_at(text.as_bytes(), *at).map_err(as_errno)?;
        }
        file.set_len(edits.length).map_err(as_errno)?;
    }
    Ok(())
}

/// Removes what was made for an app that is no more: apps come and go in a sandbox for as long as it runs. What cannot be
/// removed goes with it.
pub(super) fn remove(app: usize) {
    let path = directory(app);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(dir) = openat(CWD, path.as_str(), flags, Mode::empty()) else { return };
    for entry in Dir::read_from(&dir).into_iter().flatten().flatten() {
        let _ = unlinkat(&dir, entry.file_name(), AtFlags::empty());
    }
    let _ = unlinkat(CWD, path, AtFlags::REMOVEDIR);
}

/// Where the files of the app with this index are made.
fn directory(app: usize) -> String {
    format!("/etc/{app}")
}

fn as_errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
