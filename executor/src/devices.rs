//! Devices of the host for apps: `HOST[:PATH[:rwm]]`, as docker writes them.
//!
//! A device is a volume whose source is the node, and the same checks hold for it. Nothing is made with mknod(2): an app
//! gets a second mount of the host's node, which it may open if its user may.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;

use appc::{AcName, Mount, Volume};

use crate::error::CommandError;

/// A device that an app asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    source: String,
    target: String,
}

/// Devices as they were typed.
///
/// # Errors
///
/// One is malformed, or asks for less than reading, writing and mknod, which only a cgroup of devices could see to.
pub(crate) fn parse(texts: &[String]) -> Result<Vec<Device>, CommandError> {
    texts.iter().map(|text| device(text)).collect()
}

fn device(text: &str) -> Result<Device, CommandError> {
    let refused = |why: &str| {
        CommandError::usage(format!("--device={text:?}: {why}")).hint("a device is written /dev/NAME[:/dev/NAME]")
    };
    let mut parts = text.split(':');
    let source = parts.next().unwrap_or_default();
    let (target, rights) = match (parts.next(), parts.next(), parts.next()) {
        (None, _, _) => (source, "rwm"),
        (Some(rights), None, _) if rights.bytes().all(|letter| b"rwm".contains(&letter)) => (source, rights),
        (Some(target), rights, None) => (target, rights.unwrap_or("rwm")),
        _ => return Err(refused("too many colons")),
    };
    if !source.starts_with('/') || !target.starts_with('/') {
        return Err(refused("not an absolute path"));
    }
    if !matches!(rights, "rwm" | "rw") {
        return Err(refused("the permissions of a device cannot be narrowed without a device cgroup"));
    }
    // What cannot be looked at is told of when it is opened.
    if let Ok(found) = fs::metadata(source)
        && !(found.file_type().is_char_device() || found.file_type().is_block_device())
    {
        return Err(refused("not a device").hint("--volume and --mount are for files and directories"));
    }
    Ok(Device { source: source.to_owned(), target: target.to_owned() })
}

/// Begins the names of the volumes that devices are.
const NAMES: &str = "device";

/// Whether a volume of this name is a device that was asked for.
pub(crate) fn is_one(volume: &AcName) -> bool {
    volume.as_str().strip_prefix(NAMES).is_some_and(|rest| rest.starts_with('-'))
}

/// Declares the volume that the device is, unless that was done for another app, and returns the mount of it.
///
/// # Errors
///
/// No name for the volume can be made of the device's.
pub(crate) fn mount(device: &Device, volumes: &mut Vec<Volume>) -> Result<Mount, CommandError> {
    let volume = AcName::sanitize(&format!("{NAMES}{}", device.source))
        .map_err(|error| CommandError::usage(format!("--device={:?}: {error}", device.source)))?;
    if !volumes.iter().any(|known| known.name == volume) {
        volumes.push(Volume::host(volume.clone(), &device.source));
    }
    Ok(Mount { volume, path: device.target.clone(), app_volume: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_written_as_in_docker() {
        let shown = |text: &str| device(text).map(|device| format!("{} {}", device.source, device.target));
        assert_eq!(shown("/dev/fuse").unwrap(), "/dev/fuse /dev/fuse");
        assert_eq!(shown("/dev/fuse:rwm").unwrap(), "/dev/fuse /dev/fuse");
        assert_eq!(shown("/dev/null:/dev/x").unwrap(), "/dev/null /dev/x");
        assert_eq!(shown("/dev/null:/data/x:rw").unwrap(), "/dev/null /data/x");
        for (text, why) in [
            ("", "not an absolute path"),
            ("fuse", "not an absolute path"),
            ("/dev/a:/dev/b:rwm:x", "too many colons"),
            ("/dev/a:/dev/b:r", "cannot be narrowed"),
            ("/dev/a:", "cannot be narrowed"),
            ("/dev/a:b", "not an absolute path"),
            ("/etc", "not a device"),
            ("/etc/passwd:/dev/x", "not a device"),
        ] {
            let report = shown(text).unwrap_err().report(None);
            assert!(report.contains(why), "{report}");
        }
    }

    #[test]
    fn a_device_is_one_volume_for_all_apps() {
        let mut volumes = Vec::new();
        for target in ["/dev/net/tun", "/dev/x"] {
            let device = Device { source: "/dev/net/tun".into(), target: target.into() };
            let mount = mount(&device, &mut volumes).unwrap();
            assert_eq!((mount.volume.as_str(), mount.path.as_str()), ("device-dev-net-tun", target));
        }
        assert_eq!(volumes.len(), 1);
        assert_eq!(volumes[0].to_string(), "device-dev-net-tun,kind=host,source=/dev/net/tun");
    }
}
