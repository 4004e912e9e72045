//! Performs operations in order, and names the one that fails.

mod account;
mod attach;
mod fill;
mod mask;
mod network;
pub(crate) mod overlay;
mod place;
mod sysctl;
mod volume;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fmt;
use std::net::SocketAddrV4;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree, unmount,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};
use sys::mount::{MountAttr, mount_setattr};

use crate::channel::FailureKind;
use crate::init::BACKLOG;
use crate::op::{At, Op, Slot};

/// The descriptors that operations work on.
#[derive(Debug, Default)]
pub struct Fds {
    open: BTreeMap<Slot, OwnedFd>,
    remarks: Vec<String>,
    /// Who is root as the app counts, in the ids of the pod.
    root_ids: (u32, u32),
    /// Where volumes were attached.
    attached: Vec<Attached>,
}

/// A volume that was attached in the app's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attached {
    /// Names of the directories that lead there from the root, none of which is a link.
    path: Vec<String>,
    /// Its mount.
    slot: Slot,
    /// Whether it is one of the pod's own directories.
    own: bool,
}

impl Fds {
    /// Who is root as the app counts, in the ids of the pod.
    pub(crate) fn root_ids(&self) -> (u32, u32) {
        self.root_ids
    }

    /// Sets who is root as the app counts.
    pub(crate) fn set_root_ids(&mut self, ids: (u32, u32)) {
        self.root_ids = ids;
    }

    /// Notes something that the user should know of, though nothing failed.
    pub(crate) fn remark(&mut self, text: String) {
        self.remarks.push(text);
    }

    /// Takes the remarks out.
    pub(crate) fn take_remarks(&mut self) -> Vec<String> {
        std::mem::take(&mut self.remarks)
    }

    /// Puts a descriptor into a slot; the one that was there is closed.
    pub fn put(&mut self, slot: Slot, fd: OwnedFd) {
        self.open.insert(slot, fd);
    }

    /// The numbers of all descriptors.
    pub fn numbers(&self) -> impl Iterator<Item = RawFd> + '_ {
        self.open.values().map(AsRawFd::as_raw_fd)
    }

    /// A slot's descriptor, if there is one.
    pub(crate) fn find(&self, slot: Slot) -> Option<&OwnedFd> {
        self.open.get(&slot)
    }

    /// A second set of descriptors for the same files.
    ///
    /// # Errors
    /// [`Refusal`] when the process may not have more descriptors.
    pub fn try_clone(&self) -> Result<Self, Refusal> {
        let clone = |(slot, fd): (&Slot, &OwnedFd)| fd.try_clone().map(|fd| (*slot, fd));
        let open = self.open.iter().map(clone).collect::<std::io::Result<_>>();
        Ok(Self {
            open: open.named(|| "fcntl(F_DUPFD_CLOEXEC)".into())?,
            remarks: Vec::new(),
            root_ids: self.root_ids,
            attached: self.attached.clone(),
        })
    }

    /// Takes a slot's descriptor out, if there is one.
    pub fn take(&mut self, slot: Slot) -> Option<OwnedFd> {
        self.open.remove(&slot)
    }

    /// Takes out what the build list of an app made: its root, and the mounts of its volumes.
    pub(crate) fn take_app_mounts(&mut self) -> Vec<(Slot, OwnedFd)> {
        self.open.extract_if(.., |slot, _| matches!(slot, Slot::Root | Slot::Volume(_))).collect()
    }

    /// The slot's descriptor.
    ///
    /// # Errors
    /// An [`Refusal`] that names the slot, when the list of operations uses it before making it.
    pub fn get(&self, slot: Slot) -> Result<BorrowedFd<'_>, Refusal> {
        self.open.get(&slot).map(OwnedFd::as_fd).ok_or_else(|| Refusal::new(format!("use <{slot}>"), Errno::BADF))
    }
}

/// A system call that failed, printed as strace would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The call with its arguments.
    pub call: String,
    /// Why it failed.
    pub errno: Errno,
    /// What a person would say about it, where that is not the errno's text.
    pub reason: Option<&'static str>,
}

impl Refusal {
    /// A failed call.
    #[must_use]
    pub fn new(call: String, errno: Errno) -> Self {
        Self { call, errno, reason: None }
    }

    /// A call that was not made, or whose result is refused.
    #[must_use]
    pub fn because(call: String, errno: Errno, reason: &'static str) -> Self {
        Self { call, errno, reason: Some(reason) }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.call)?;
        match self.reason {
            Some(reason) => f.write_str(reason),
            None => write!(f, "{}", std::io::Error::from(self.errno)),
        }
    }
}

impl std::error::Error for Refusal {}

/// An operation that failed.
#[derive(Debug)]
pub struct OpError {
    /// The operation, in words.
    pub op: String,
    /// The call in it that failed.
    pub refusal: Refusal,
    /// Which kind of failure that is, for the hint.
    pub kind: FailureKind,
}

impl fmt::Display for OpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.op, self.refusal)
    }
}

impl std::error::Error for OpError {}

/// Names a failed call; the text is only made when it is needed.
pub(crate) trait Named<T> {
    fn named(self, call: impl FnOnce() -> String) -> Result<T, Refusal>;
}

impl<T> Named<T> for rustix::io::Result<T> {
    fn named(self, call: impl FnOnce() -> String) -> Result<T, Refusal> {
        self.map_err(|errno| Refusal::new(call(), errno))
    }
}

impl<T> Named<T> for std::io::Result<T> {
    fn named(self, call: impl FnOnce() -> String) -> Result<T, Refusal> {
        self.map_err(|error| Refusal::new(call(), Errno::from_io_error(&error).unwrap_or(Errno::IO)))
    }
}

/// Performs the operations in order.
///
/// # Errors
/// [`OpError`] for the first that fails; what earlier ones did stays, and goes with the namespace.
pub fn apply(ops: &[Op], fds: &mut Fds) -> Result<(), OpError> {
    for op in ops {
        perform(op, fds).map_err(|refusal| OpError { op: op.to_string(), refusal, kind: kind(op) })?;
    }
    Ok(())
}

fn kind(op: &Op) -> FailureKind {
    match op {
        Op::Overlay { .. } => FailureKind::Overlay,
        Op::OwnVolume { .. }
        | Op::FillVolume { .. }
        | Op::BindVolume { .. }
        | Op::AttachVolume { .. }
        | Op::AttachDevice { .. }
        | Op::KeepContent { .. } => FailureKind::Volume,
        _ => FailureKind::Setup,
    }
}

fn perform(op: &Op, fds: &mut Fds) -> Result<(), Refusal> {
    match op {
        Op::PrivateMounts => sys::mount::make_private(CWD, c"/").named(|| "mount_setattr(\"/\", MS_PRIVATE)".into()),
        Op::LoopbackUp => sys::loopback::up().named(|| "ioctl(SIOCSIFFLAGS, lo, IFF_UP)".into()),
        Op::LoopbackAddress(address) => {
            match sys::loopback::add_address(*address) {
                // Without IPv6 nobody can be reached there either.
                Err(error) if address.is_ipv6() && is_unsupported(&error) => Ok(()),
                added => added.named(|| format!("sendto(RTM_NEWADDR, lo, {address})")),
            }
        }
        Op::OwnNetwork { uids, gids, processes } => network::own([uids, gids], *processes, fds),
        Op::HostTree { path, attr, slot } => host_tree(fds, path, *attr, *slot),
        Op::Listen { address, slot } => listen_on(fds, *address, *slot),
        Op::Hostname(name) => rustix::system::sethostname(name.as_bytes()).named(|| format!("sethostname({name:?})")),
        Op::NewFs { fs, options, attr, slot } => new_fs(fds, fs, options, *attr, *slot),
        Op::OwnUpper { uid, gid } => volume::give(fds, Slot::Upper, *uid, *gid),
        Op::RootIs { uid, gid } => {
            fds.set_root_ids((*uid, *gid));
            Ok(())
        }
        Op::Account { uid, gid, name, owner } => account::ensure(fds, (*uid, *gid), name, *owner),
        Op::Overlay { layers, attr } => overlay::overlay(fds, *layers, *attr),
        Op::OwnVolume { volume, uid, gid } => volume::give(fds, Slot::VolumeDir(*volume), *uid, *gid),
        Op::FillVolume { volume, path } => fill::fill(fds, *volume, path),
        Op::BindVolume { volume, recursive, attr, mount } => volume::bind(fds, *volume, *recursive, *attr, *mount),
        Op::AttachSandbox => move_to(fds.get(Slot::Sandbox)?, CWD, c"/", || "move_mount(<sandbox>, \"/\")".into()),
        Op::Attach { slot, at } => attach::at_own_place(fds, *slot, at),
        Op::MakeDir { at } => make_dir(fds, at),
        Op::Symlink { target, at } => rustix::fs::symlinkat(*target, fds.get(at.slot)?, at.path.as_str())
            .named(|| format!("symlinkat({target:?}, {at})")),
        Op::HostDevice { name, device } => mask::host_device(fds, name, *device),
        Op::Device { name, from } => mask::device(fds, name, from),
        Op::MaskFile { at } => mask::file(fds, at),
        Op::MaskDir { at } => mask::dir(fds, at),
        Op::ReadOnly { at } => mask::read_only(fds, at),
        Op::Open { at, slot } => open_slot(fds, at, *slot),
        Op::Sysctl { key, value } => sysctl::set(fds, key, value),
        Op::OperatorSysctl { path, value } => sysctl::set_for_operator(fds, path, value),
        Op::MoveIntoRoot { from, path } => attach::move_into_root(fds, from, path),
        Op::AttachDev => attach::dev(fds),
        Op::AttachVolume { mount, name, path, nested, own } => volume::attach(fds, *mount, name, path, *nested, *own),
        Op::AttachDevice { mount, path } => volume::attach_device(fds, *mount, path),
        Op::AttachEtc { file, name, replaces } => volume::attach_etc(fds, *file, name, *replaces),
        Op::AttachIdentity { path } => volume::attach_identity(fds, path),
        Op::KeepContent { mount, path, attr } => volume::keep_content(fds, *mount, path, *attr),
        Op::WorkingDirectory { path } => volume::make_working_directory(fds, path),
        Op::RootAttr { attr } => mount_setattr(fds.get(Slot::Root)?, c"", false, *attr)
            .named(|| format!("mount_setattr(<rootfs>, {:#x})", attr.bits())),
        Op::Pivot { slot } => pivot(fds, *slot),
    }
}

fn host_tree(fds: &mut Fds, path: &str, attr: MountAttr, slot: Slot) -> Result<(), Refusal> {
    let call = || format!("open_tree({path:?}, OPEN_TREE_CLONE|AT_RECURSIVE)");
    let tree = clone_with(CWD, path, OpenTreeFlags::AT_RECURSIVE).named(call)?;
    let set = mount_setattr(tree.as_fd(), c"", true, attr);
    set.named(|| format!("mount_setattr({path:?}, AT_RECURSIVE, {:#x})", attr.bits()))?;
    fds.put(slot, tree);
    Ok(())
}

fn listen_on(fds: &mut Fds, address: SocketAddrV4, slot: Slot) -> Result<(), Refusal> {
    let listen_there = || {
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        bind(&socket, &address)?;
        listen(&socket, BACKLOG)?;
        rustix::io::Result::Ok(socket)
    };
    fds.put(slot, listen_there().named(|| format!("listen({address})"))?);
    Ok(())
}

fn new_fs(
    fds: &mut Fds,
    fs: &str,
    options: &[(&'static str, String)],
    attr: MountAttr,
    slot: Slot,
) -> Result<(), Refusal> {
    let context = fsopen(fs, FsOpenFlags::FSOPEN_CLOEXEC).named(|| format!("fsopen({fs:?})"))?;
    // What /proc/mounts shows in its first column; without it, "none".
    for (key, value) in [&("source", fs.to_owned())].into_iter().chain(options) {
        let result = if value.is_empty() {
            fsconfig_set_flag(context.as_fd(), *key)
        } else {
            fsconfig_set_string(context.as_fd(), *key, value.as_str())
        };
        result.named(|| format!("fsconfig({fs}, {key:?}, {value:?})"))?;
    }
    fds.put(slot, finish_fs(context, fs, attr)?);
    Ok(())
}

fn finish_fs(context: OwnedFd, fs: &str, attr: MountAttr) -> Result<OwnedFd, Refusal> {
    fsconfig_create(context.as_fd())
        .named(|| format!("fsconfig({fs}, FSCONFIG_CMD_CREATE){}", kernels_reason(context.as_fd())))?;
    let attr = MountAttrFlags::from_bits_retain(attr.bits() as u32);
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attr).named(|| format!("fsmount({fs}, {attr:?})"))
}

/// What the kernel has to say about a refused file system: the context's message queue (fsopen(2)), which some file
/// systems fill.
fn kernels_reason(context: BorrowedFd<'_>) -> String {
    let mut buffer = [0; 256];
    let len = rustix::io::read(context, &mut buffer).unwrap_or(0);
    let text = String::from_utf8_lossy(&buffer[..len]);
    let text = text.trim_end().trim_start_matches("e ");
    if text.is_empty() { String::new() } else { format!(" [{}]", text.escape_debug()) }
}

fn path_of(fds: &Fds, slot: Slot) -> Result<String, Refusal> {
    Ok(format!("/proc/self/fd/{}", fds.get(slot)?.as_raw_fd()))
}

/// A detached second mount of what is at `path` below `dir`, without what is mounted below that.
pub(crate) fn clone_tree(dir: BorrowedFd<'_>, path: &str) -> rustix::io::Result<OwnedFd> {
    clone_with(dir, path, OpenTreeFlags::empty())
}

fn clone_with(dir: BorrowedFd<'_>, path: &str, more: OpenTreeFlags) -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(dir, path, flags | OpenTreeFlags::AT_SYMLINK_NOFOLLOW | more)
}

/// Attaches a detached mount; an empty path is `dir` itself.
pub(crate) fn move_to(
    mount: BorrowedFd<'_>,
    dir: BorrowedFd<'_>,
    path: &std::ffi::CStr,
    call: impl FnOnce() -> String,
) -> Result<(), Refusal> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, c"", dir, path, flags).named(call)
}

/// An operation's path as a C string; paths with a NUL are nobody's.
pub(crate) fn c_path(path: &str) -> Result<CString, Refusal> {
    CString::new(path).map_err(|_| Refusal::new(format!("use path {path:?}"), Errno::INVAL))
}

fn make_dir(fds: &Fds, at: &At) -> Result<(), Refusal> {
    rustix::fs::mkdirat(fds.get(at.slot)?, at.path.as_str(), Mode::from_raw_mode(0o755))
        .named(|| format!("mkdirat({at})"))
}

fn open_slot(fds: &mut Fds, at: &At, slot: Slot) -> Result<(), Refusal> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(fds.get(at.slot)?, at.path.as_str(), flags, Mode::empty())
        .named(|| format!("openat({at}, O_PATH)"))?;
    fds.put(slot, fd);
    Ok(())
}

/// Whether the kernel has no such kind of address.
pub(crate) fn is_unsupported(error: &std::io::Error) -> bool {
    [Errno::OPNOTSUPP, Errno::AFNOSUPPORT].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// pivot_root(2), "pivot_root(\".\", \".\")": the old root ends on top of the new one and is let go of there, so that
/// no directory for it is needed in a file system that may be the image's.
fn pivot(fds: &mut Fds, slot: Slot) -> Result<(), Refusal> {
    rustix::process::fchdir(fds.get(slot)?).named(|| format!("fchdir(<{slot}>)"))?;
    rustix::process::pivot_root(".", ".").named(|| format!("pivot_root(<{slot}>, <{slot}>)"))?;
    unmount(".", UnmountFlags::DETACH).named(|| "umount2(\".\", MNT_DETACH)".into())?;
    rustix::process::chdir("/").named(|| "chdir(\"/\")".into())?;
    fds.take(slot);
    Ok(())
}
