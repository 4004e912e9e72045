//! Media types, annotations and labels.

use std::fmt;

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const OCI_TAR_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

pub(crate) const CONFIG: &str = "application/vnd.lfedge.eci.config.v1+json";
pub(crate) const KERNEL: &str = "application/vnd.lfedge.eci.kernel.layer.v1+kernel";
pub(crate) const INITRD: &str = "application/vnd.lfedge.eci.initrd.layer.v1+cpio";
pub(crate) const OTHER: &str = "application/vnd.lfedge.eci.layer.v1";
const DISK: &str = "application/vnd.lfedge.disk.layer.v1+";
/// What all special types begin with.
const SPECIAL: &str = "application/vnd.lfedge.";

pub(crate) const ANNOTATION_TYPE: &str = "org.lfedge.eci.mediaType";
pub(crate) const ANNOTATION_ROLE: &str = "org.lfedge.eci.role";
pub(crate) const ANNOTATION_TITLE: &str = "org.opencontainers.image.title";
pub(crate) const ANNOTATION_REF: &str = "org.opencontainers.image.ref.name";

pub(crate) const LABEL_KERNEL: &str = "org.lfedge.eci.artifact.kernel";
pub(crate) const LABEL_INITRD: &str = "org.lfedge.eci.artifact.initrd";
pub(crate) const LABEL_ROOT: &str = "org.lfedge.eci.artifact.root";
/// The disk's number follows.
pub(crate) const LABEL_DISK: &str = "org.lfedge.eci.artifact.disk-";
pub(crate) const LABEL_OTHER: &str = "org.lfedge.eci.other";

/// Formats of disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskType {
    /// The disk's bytes.
    Raw,
    /// VMware.
    Vmdk,
    /// Virtual PC.
    Vhd,
    /// ISO 9660.
    Iso,
    /// QEMU, the first version.
    Qcow,
    /// QEMU.
    Qcow2,
    /// A virtual appliance's archive.
    Ova,
    /// Hyper-V.
    Vhdx,
}

impl DiskType {
    const ALL: [(Self, &'static str, &'static str); 8] = [
        (Self::Raw, "raw", "Raw"),
        (Self::Vmdk, "vmdk", "Vmdk"),
        (Self::Vhd, "vhd", "Vhd"),
        (Self::Iso, "iso", "ISO"),
        (Self::Qcow, "qcow", "Qcow"),
        (Self::Qcow2, "qcow2", "Qcow2"),
        (Self::Ova, "ova", "Ova"),
        (Self::Vhdx, "vhdx", "Vhdx"),
    ];

    /// The type of this name, in lower case as on the command line.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.1 == name).map(|it| it.0)
    }

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|it| it.0 == self).expect("all are there").1
    }

    /// Its layers' media type.
    #[must_use]
    pub fn media_type(self) -> String {
        format!("{DISK}{}", self.name())
    }

    /// The type a file's name ends in; what has no known end is the disk's bytes.
    pub(crate) fn of_file(name: &str) -> Self {
        let end = name.rsplit_once('.').map(|it| it.1.to_ascii_lowercase());
        end.and_then(|it| Self::of_name(&it)).unwrap_or(Self::Raw)
    }
}

/// As the original prints it.
impl fmt::Display for DiskType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.into_iter().find(|it| it.0 == *self).expect("all are there").2)
    }
}

/// What a special media type says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Special {
    Kernel,
    Initrd,
    Disk(DiskType),
    Other,
}

/// Reads a special media type: `None` if it is none, `Some(None)` if it is one that nobody knows.
pub(crate) fn special(media_type: &str) -> Option<Option<Special>> {
    let rest = media_type.starts_with(SPECIAL);
    rest.then(|| match media_type {
        KERNEL => Some(Special::Kernel),
        INITRD => Some(Special::Initrd),
        OTHER => Some(Special::Other),
        other => other.strip_prefix(DISK).and_then(DiskType::of_name).map(Special::Disk),
    })
}

pub(crate) fn is_manifest(media_type: &str) -> bool {
    [OCI_MANIFEST, DOCKER_MANIFEST].contains(&media_type)
}

pub(crate) fn is_index(media_type: &str) -> bool {
    [OCI_INDEX, DOCKER_INDEX].contains(&media_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_types_have_the_originals_names() {
        let shown = DiskType::ALL.map(|it| it.0.to_string()).join(" ");
        assert_eq!(shown, "Raw Vmdk Vhd ISO Qcow Qcow2 Ova Vhdx");
        for (kind, name, _) in DiskType::ALL {
            assert_eq!(DiskType::of_name(name), Some(kind));
            let media_type = format!("application/vnd.lfedge.disk.layer.v1+{name}");
            assert_eq!(
                (kind.media_type(), special(&media_type)),
                (media_type.clone(), Some(Some(Special::Disk(kind))))
            );
        }
        assert_eq!(DiskType::of_name("Raw"), None);
    }

    #[test]
    fn ends_of_names_tell_types() {
        for (name, kind) in
            [("a.iso", DiskType::Iso), ("a.QCOW2", DiskType::Qcow2), ("a.img", DiskType::Raw), ("a", DiskType::Raw)]
        {
            assert_eq!(DiskType::of_file(name), kind);
        }
    }

    #[test]
    fn special_types_are_known_or_not() {
        assert_eq!(special(OCI_TAR_GZIP), None);
        assert_eq!(special("application/vnd.lfedge.disk.layer.v1+floppy"), Some(None));
        assert_eq!(special(KERNEL), Some(Some(Special::Kernel)));
    }
}
