//! Operations, places and slots as error messages name them.

use std::fmt;

use super::{At, Op, Slot};

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
