//! Whose kind of image it is: appc's, or docker's.

use appc::ImageManifest;
use fetch::oci;

/// docker2aci's mark on an ACI that it made; rkt gives such images docker's kind of volumes.
const DOCKER2ACI: &str = "appc.io/docker/repository";

/// Whether the image is one of docker's kind: OCI, or converted from that.
pub(super) fn is_dockers(manifest: &ImageManifest) -> bool {
    is_oci(manifest) || manifest.annotations.get(DOCKER2ACI).is_some()
}

/// Whether it is an OCI image as it is stored here.
pub(super) fn is_oci(manifest: &ImageManifest) -> bool {
    [oci::ENTRYPOINT, oci::CMD, oci::USER].iter().any(|name| manifest.annotations.get(name).is_some())
}
