//! The operations that build a pod's file systems, as data: what [`crate::plan`] decides and [`crate::apply`] performs.

use std::fmt;
use std::net::{IpAddr, SocketAddrV4};

use sys::mount::MountAttr;

/// A descriptor that one operation makes or is given, and a later one uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// The root file system of pid 1, where the apps' file systems are prepared: a small tmpfs.
    Sandbox,
    /// A mount on its way to its place.
    Scratch,
    /// A mask for a file that did not go where it was meant to, for the next one.
    SpareFileMask,
    /// A mask for a directory, likewise.
    SpareDirMask,
    /// The pod's procfs, attached in the sandbox.
    Proc,
    /// The pod's sysfs, attached in the sandbox.
    Sys,
    /// `/proc/sys` below the read-only bind that the apps see: sysctls are written through it.
    Sysctls,
    /// A read-only tree of the app's image; 0 is the lowest.
    Layer(usize),
    /// The listening socket of the metadata service.
    Metadata,
    /// The directory with the app's own socket.
    Identity,
    /// A listening socket of the host that the app takes over.
    Socket(usize),
    /// A file that pid 1 made for the app's /etc.
    Etc(usize),
    /// The user namespace that the pod's network belongs to, if it has one of its own.
    NetOwner,
    /// What puts a process into the app's control group when `0` is written to it.
    Cgroup,
    /// The app's writable overlay layer.
    Upper,
    /// The overlay's work directory.
    Work,
    /// The app's root file system.
    Root,
    /// The app's `/dev`.
    Dev,
    /// The app's `/dev/pts`.
    Pts,
    /// A volume's own directory, or the file or directory of the host that it is, in the order of the pod manifest.
    VolumeDir(usize),
    /// The mount of a volume for one mount of the app, in the order of the app's mounts.
    Volume(usize),
}

/// A place: a path below a descriptor. The path is ours, or is resolved with care where the operation says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At {
    /// The directory.
    pub slot: Slot,
    /// Relative path; empty for the directory itself.
    pub path: String,
}

/// One step of building file systems. The order of a list matters: a step uses what earlier ones made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Cuts this mount namespace off from the host's mount events.
    PrivateMounts,
    /// Brings up `lo`.
    LoopbackUp,
    /// Gives `lo` one more address.
    LoopbackAddress(IpAddr),
    /// Moves this process into a new network namespace that belongs to a new user namespace with these id maps, and keeps
    /// the latter as [`Slot::NetOwner`].
    OwnNetwork {
        /// Users.
        uids: String,
        /// Groups.
        gids: String,
        /// Most processes of the pod's user namespace, if fewer than usual.
        processes: Option<u64>,
    },
    /// Takes a copy of the host's mounts at a path.
    HostTree {
        /// The path.
        path: &'static str,
        /// Attributes of every mount in it.
        attr: MountAttr,
        /// Where its descriptor goes.
        slot: Slot,
    },
    /// Listens on an address of `lo`.
    Listen {
        /// Address and port.
        address: SocketAddrV4,
        /// Where the socket's descriptor goes.
        slot: Slot,
    },
    /// Sets the host name of the uts namespace.
    Hostname(String),
    /// Makes a file system that is not attached anywhere yet.
    NewFs {
        /// Its type, as in /proc/filesystems.
        fs: &'static str,
        /// Mount options; a flag has an empty value.
        options: Vec<(&'static str, String)>,
        /// Mount attributes.
        attr: MountAttr,
        /// Where its descriptor goes.
        slot: Slot,
    },
    /// Gives the app's writable layer, and with it the root directory of its file system, to root as the app counts.
    OwnUpper {
        /// User id in the pod.
        uid: u32,
        /// Group id in the pod.
        gid: u32,
    },
    /// From here on what is made in the app's root belongs to these ids of the pod, which are root as the app counts.
    RootIs {
        /// User id in the pod.
        uid: u32,
        /// Group id in the pod.
        gid: u32,
    },
    /// Makes sure that the app's user has an account in its root.
    Account {
        /// User id as the app counts.
        uid: u32,
        /// Group id as the app counts.
        gid: u32,
        /// The name of an account that is made.
        name: String,
        /// Whose its home directory is, in the ids of the pod.
        owner: (u32, u32),
    },
    /// Makes an overlay of the slots [`Slot::Layer`], [`Slot::Upper`] and [`Slot::Work`].
    Overlay {
        /// Number of layers.
        layers: usize,
        /// Mount attributes.
        attr: MountAttr,
    },
    /// Gives an empty volume's directory to an owner within the pod.
    OwnVolume {
        /// Index of [`Slot::VolumeDir`].
        volume: usize,
        /// User id inside.
        uid: u32,
        /// Group id inside.
        gid: u32,
    },
    /// Copies what the image has at a path into a volume that is empty.
    FillVolume {
        /// Index of [`Slot::VolumeDir`].
        volume: usize,
        /// The path in the slot [`Slot::Root`].
        path: String,
    },
    /// Makes a second mount of a volume.
    BindVolume {
        /// Index of [`Slot::VolumeDir`].
        volume: usize,
        /// Whether what is mounted below it comes along.
        recursive: bool,
        /// Mount attributes.
        attr: MountAttr,
        /// Index of [`Slot::Volume`], where it goes.
        mount: usize,
    },
    /// Attaches the sandbox on top of this process's root, so that it can be worked on.
    AttachSandbox,
    /// Attaches a slot's mount at a place in a file system of ours.
    Attach {
        /// The mount.
        slot: Slot,
        /// The place.
        at: At,
    },
    /// Makes a directory in a file system of ours.
    MakeDir {
        /// The place.
        at: At,
    },
    /// Makes a symbolic link in a file system of ours.
    Symlink {
        /// What it says.
        target: &'static str,
        /// The place.
        at: At,
    },
    /// Binds a device node of the host to a new file in the sandbox, after a look at its numbers.
    HostDevice {
        /// Name below the host's /dev.
        name: &'static str,
        /// Major and minor number (Documentation/admin-guide/devices.txt).
        device: (u32, u32),
    },
    /// Binds a device node of the sandbox to a new file in the app's /dev.
    Device {
        /// Name below /dev.
        name: &'static str,
        /// The sandbox's node.
        from: &'static str,
    },
    /// Puts the null device over a file of procfs or sysfs; one that does not exist needs no mask.
    MaskFile {
        /// The place.
        at: At,
    },
    /// Puts an empty read-only directory over one of procfs or sysfs; one that does not exist needs no mask.
    MaskDir {
        /// The place.
        at: At,
    },
    /// Makes a directory of procfs read-only by a bind over itself; one that does not exist is passed over.
    ReadOnly {
        /// The place.
        at: At,
    },
    /// Opens a place for later.
    Open {
        /// The place.
        at: At,
        /// Where its descriptor goes.
        slot: Slot,
    },
    /// Writes a sysctl through [`Slot::Sysctls`]; one that this kernel lacks is passed over.
    Sysctl {
        /// Path below /proc/sys.
        key: &'static str,
        /// Its value.
        value: String,
    },
    /// Writes a sysctl that the operator asked for, and makes sure that it has the value then.
    OperatorSysctl {
        /// Path below /proc/sys.
        path: String,
        /// Its value.
        value: String,
    },
    /// Moves a mount prepared in the sandbox, with all below it, into the app's root.
    MoveIntoRoot {
        /// Path in the sandbox.
        from: &'static str,
        /// Path in the app's root; made if missing, refused if it is a symbolic link.
        path: &'static str,
    },
    /// Attaches the app's /dev in its root.
    AttachDev,
    /// Attaches a volume's mount in the app's root at a path that the image controls: symbolic links are followed inside
    /// the root only, what is missing is made, and a place on another file system is refused, unless that is a volume
    /// of this app's and it is said that it may be.
    AttachVolume {
        /// Index of [`Slot::Volume`].
        mount: usize,
        /// The volume's name, for messages.
        name: String,
        /// Path in the app's root.
        path: String,
        /// Whether it may lie in a mount that was attached before.
        nested: bool,
        /// Whether the volume is one of the pod's own directories.
        own: bool,
    },
    /// Attaches a device node of the host in the app's /dev.
    AttachDevice {
        /// Index of [`Slot::Volume`].
        mount: usize,
        /// Path below /dev.
        path: String,
    },
    /// Attaches a file of pid 1's at its place in the app's /etc, unless the image has one that is to stay.
    AttachEtc {
        /// Which of the app's files.
        file: usize,
        /// Its name in /etc.
        name: String,
        /// Whether it takes the place of the image's.
        replaces: bool,
    },
    /// Attaches the directory with the app's own socket in the app's root, as [`Op::AttachVolume`] does. Where there is no
    /// place for it the app goes without, and that is remarked.
    AttachIdentity {
        /// Path in the app's root.
        path: &'static str,
    },
    /// Makes a mount of what the image has at a path over itself: a volume that begins as a copy of the image's content,
    /// for the price of nothing, since the app's root is a copy already.
    KeepContent {
        /// Index of [`Slot::Volume`], where the mount goes.
        mount: usize,
        /// Path in the app's root; a directory there is made if missing.
        path: String,
        /// Mount attributes.
        attr: MountAttr,
    },
    /// Makes the app's working directory if it is missing, in the image or in a volume of the app.
    WorkingDirectory {
        /// Path in the app's root.
        path: String,
    },
    /// Changes attributes of the app's root mount alone.
    RootAttr {
        /// Attributes to set.
        attr: MountAttr,
    },
    /// Makes the slot's mount this process's root and lets go of the old one.
    Pivot {
        /// The new root.
        slot: Slot,
    },
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}", self.slot)?;
        if !self.path.is_empty() {
            write!(f, "/{}", self.path.escape_default())?;
        }
        f.write_str(">")
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sandbox => f.write_str("sandbox"),
            Self::Scratch => f.write_str("new mount"),
            Self::SpareFileMask | Self::SpareDirMask => f.write_str("mask"),
            Self::Proc => f.write_str("proc"),
            Self::Sys => f.write_str("sys"),
            Self::Cgroup => f.write_str("app's cgroup"),
            Self::Sysctls => f.write_str("proc/sys"),
            Self::Layer(index) => write!(f, "layer {index}"),
            Self::Metadata => f.write_str("metadata socket"),
            Self::NetOwner => f.write_str("network's owner"),
            Self::Identity => f.write_str("identity"),
            Self::Socket(index) => write!(f, "socket {index}"),
            Self::Etc(file) => write!(f, "etc {file}"),
            Self::Upper => f.write_str("upper"),
            Self::Work => f.write_str("work"),
            Self::Root => f.write_str("rootfs"),
            Self::Dev => f.write_str("rootfs/dev"),
            Self::Pts => f.write_str("rootfs/dev/pts"),
            Self::VolumeDir(index) => write!(f, "volume {index}"),
            Self::Volume(index) => write!(f, "mount {index}"),
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PrivateMounts => f.write_str("make mounts private"),
            Self::LoopbackUp => f.write_str("bring up lo"),
            Self::LoopbackAddress(address) => write!(f, "give {address} to lo"),
            Self::OwnNetwork { .. } => write!(f, "make a network with a user namespace of its own"),
            Self::HostTree { path, slot, .. } => write!(f, "copy the host's {path} for <{slot}>"),
            Self::Listen { address, slot } => write!(f, "listen on {address} for <{slot}>"),
            Self::Hostname(name) => write!(f, "set host name {name:?}"),
            Self::NewFs { fs, options, slot, .. } => {
                write!(f, "make {fs} for <{slot}>")?;
                for (index, (key, value)) in options.iter().enumerate() {
                    let separator = if index == 0 { " with " } else { "," };
                    let equals = if value.is_empty() { "" } else { "=" };
                    write!(f, "{separator}{key}{equals}{value}")?;
                }
                Ok(())
            }
            Self::OwnUpper { uid, gid } => write!(f, "give <upper> to {uid}:{gid}"),
            Self::RootIs { uid, gid } => write!(f, "let root be {uid}:{gid}"),
            Self::Account { uid, gid, name, .. } => write!(f, "make sure of an account {name:?} for {uid}:{gid}"),
            Self::Overlay { layers, .. } => write!(f, "make overlay of {layers} layers for <rootfs>"),
            Self::OwnVolume { volume, uid, gid } => write!(f, "give volume {volume} to {uid}:{gid}"),
            Self::FillVolume { volume, path } => {
                write!(f, "fill volume {volume} from <rootfs>{}", path.escape_default())
            }
            Self::BindVolume { volume, recursive, mount, .. } => {
                let how = if *recursive { " recursively" } else { "" };
                write!(f, "bind volume {volume}{how} for mount {mount}")
            }
            Self::AttachSandbox => f.write_str("attach <sandbox>"),
            Self::Attach { slot, at } => write!(f, "attach <{slot}> at {at}"),
            Self::MakeDir { at } => write!(f, "make directory {at}"),
            Self::Symlink { target, at } => write!(f, "make link {at} to {target}"),
            Self::HostDevice { name, .. } => write!(f, "bind the host's /dev/{name} to <sandbox/dev/{name}>"),
            Self::Device { name, from } => write!(f, "bind <sandbox/dev/{from}> to <rootfs/dev/{name}>"),
            Self::MaskFile { at } | Self::MaskDir { at } => write!(f, "mask {at}"),
            Self::ReadOnly { at } => write!(f, "make {at} read-only"),
            Self::Open { at, .. } => write!(f, "open {at}"),
            Self::Sysctl { key, value } => write!(f, "set sysctl {key} to {value:?}"),
            Self::OperatorSysctl { path, value } => write!(f, "set sysctl {path} to {value:?}"),
            Self::MoveIntoRoot { from, path } => write!(f, "move <sandbox/{from}> to <rootfs/{path}>"),
            Self::AttachDev => write!(f, "attach <{}> at <rootfs>/dev", Slot::Dev),
            Self::AttachVolume { mount, name, path, .. } => {
                write!(f, "attach volume {name:?}, mount {mount}, at <rootfs>{}", path.escape_default())
            }
            Self::AttachDevice { mount, path } => write!(f, "attach mount {mount} at <rootfs/dev/{path}>"),
            Self::AttachEtc { name, replaces: true, .. } => write!(f, "attach /etc/{name}"),
            Self::AttachEtc { name, .. } => write!(f, "attach /etc/{name}, unless the image has one"),
            Self::AttachIdentity { path } => write!(f, "attach <{}> at <rootfs>{path}", Slot::Identity),
            Self::KeepContent { path, .. } => write!(f, "make <rootfs>{} a volume", path.escape_default()),
            Self::WorkingDirectory { path } => write!(f, "make sure of <rootfs>{}", path.escape_default()),
            Self::RootAttr { .. } => f.write_str("change attributes of <rootfs>"),
            Self::Pivot { slot } => write!(f, "pivot into <{slot}>"),
        }
    }
}
