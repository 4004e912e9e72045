//! What an ACI depends on and the store does not have is fetched with it.

use std::collections::BTreeSet;

use appc::ImageString;
use store::{DependencyError, ImageRecord};
use tracing::info;

use super::Images;
use crate::error::CommandError;
use crate::pull_policy::PullPolicy;

impl Images {
    /// Fetches by discovery what an image needs and the store does not have, and what that needs. Rendering only ever looks
    /// into the store.
    ///
    /// # Errors
    ///
    /// Something cannot be had, or the images depend on one another in a way that cannot be.
    pub(super) fn with_dependencies(&self, image: ImageRecord) -> Result<ImageRecord, CommandError> {
        if self.policy == PullPolicy::Never || image.manifest.dependencies.is_empty() {
            return Ok(image);
        }
        let mut fetched = BTreeSet::new();
        loop {
            let missing = match self.store.parts(&image) {
                Ok(_) => return Ok(image),
                Err(missing) => missing,
            };
            let DependencyError::Missing { image: ref depending, ref wanted, ref dependency } = missing else {
                return Err(missing.into());
            };
            // What was fetched is not what the dependency's ID says.
            if !fetched.insert(wanted.clone()) {
                return Err(missing.into());
            }
            info!("fetching {wanted}, which {depending} depends on");
            let name = ImageString { name: dependency.image_name.clone(), labels: dependency.labels.clone() };
            if let Err(error) = self.fetch_name(&name, None, false) {
                return Err(error
                    .during(missing.to_string())
                    .hint("images in files are fetched before those that need them"));
            }
        }
    }
}
