//! The kind of machine that this is, and that images are for.

use appc::ImageManifest;

use super::ReifyError;

/// This machine as image labels name it (appc aci.md, label os and arch).
pub(super) const HOST_OS: &str = "linux";
pub(crate) const HOST_ARCH: &str = if cfg!(target_arch = "x86_64") { "amd64" } else { std::env::consts::ARCH };

/// Refuses an image whose labels do not say that it is for this kind of machine.
pub(super) fn check_platform(manifest: &ImageManifest) -> Result<(), ReifyError> {
    for (label, own) in [("os", HOST_OS), ("arch", HOST_ARCH)] {
        let image = || manifest.name.to_string();
        match manifest.labels.get(label) {
            None => return Err(ReifyError::NoPlatform { image: image(), label }),
            Some(value) if value != own => {
                return Err(ReifyError::ForeignPlatform { image: image(), label, value: value.to_owned() });
            }
            Some(_) => {}
        }
    }
    Ok(())
}
