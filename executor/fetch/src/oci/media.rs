//! Media types: which documents and layers are understood, in OCI's and in Docker's names.

/// How a layer is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LayerMediaType {
    /// A plain tar archive.
    Tar,
    /// A tar archive compressed with gzip.
    TarGzip,
    /// A tar archive compressed with zstd.
    TarZstd,
}

impl LayerMediaType {
    /// The layer type that `media_type` names. `None` for everything else: foreign (non-distributable) layers, whose
    /// content a layout need not hold, encrypted layers, artifacts.
    pub fn from_media_type(media_type: &str) -> Option<Self> {
        Some(match media_type {
            "application/vnd.oci.image.layer.v1.tar" | "application/vnd.docker.image.rootfs.diff.tar" => Self::Tar,
            "application/vnd.oci.image.layer.v1.tar+gzip" | "application/vnd.docker.image.rootfs.diff.tar.gzip" => {
                Self::TarGzip
            }
            "application/vnd.oci.image.layer.v1.tar+zstd" | "application/vnd.docker.image.rootfs.diff.tar.zstd" => {
                Self::TarZstd
            }
            _ => return None,
        })
    }
}

/// What an entry of an index leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Document {
    /// An image manifest.
    Manifest,
    /// An index (Docker: manifest list).
    Index,
}

impl Document {
    /// The document that `media_type` names, if it is one of OCI's or of Docker's schema 2.
    pub(crate) fn from_media_type(media_type: &str) -> Option<Self> {
        Some(match media_type {
            "application/vnd.oci.image.manifest.v1+json" | "application/vnd.docker.distribution.manifest.v2+json" => {
                Self::Manifest
            }
            "application/vnd.oci.image.index.v1+json" | "application/vnd.docker.distribution.manifest.list.v2+json" => {
                Self::Index
            }
            _ => return None,
        })
    }
}

/// Whether `media_type` names an image configuration.
pub(crate) fn is_config(media_type: &str) -> bool {
    matches!(media_type, "application/vnd.oci.image.config.v1+json" | "application/vnd.docker.container.image.v1+json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_encrypted_and_unknown_layers_are_not_understood() {
        for media_type in [
            "",
            "application/octet-stream",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
            "application/vnd.oci.image.layer.v1.tar+xz",
            "application/vnd.oci.empty.v1+json",
            "Application/Vnd.oci.image.layer.v1.tar",
        ] {
            assert_eq!(LayerMediaType::from_media_type(media_type), None, "{media_type}");
        }
    }

    #[test]
    fn docker_schema_1_is_no_document() {
        for media_type in [
            "application/vnd.docker.distribution.manifest.v1+json",
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            "application/vnd.oci.image.config.v1+json",
        ] {
            assert_eq!(Document::from_media_type(media_type), None);
        }
    }
}
