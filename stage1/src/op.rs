//! The operations that build a pod's file systems, as data: what [`crate::plan`] decides and [`crate::apply`] performs.

mod shown;

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
