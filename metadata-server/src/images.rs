//! Image manifests, each kept once however many pods run the image.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use hyper::body::Bytes;

/// An image manifest, byte for byte as it was registered.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) manifest: Bytes,
}

/// Every image manifest that some pod holds.
#[derive(Debug, Default)]
pub(crate) struct Images {
    /// By hash. Two manifests of one hash are told apart, and only the first is shared: that costs memory and nothing
    /// else.
    known: Mutex<HashMap<u64, Weak<Image>>>,
    hasher: RandomState,
}

impl Images {
    /// The manifest with this content.
    pub(crate) fn intern(&self, manifest: Vec<u8>) -> Arc<Image> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.entry(self.hasher.hash_one(&manifest)) {
            Entry::Occupied(mut place) => match place.get().upgrade() {
                Some(image) if image.manifest == manifest => image,
                Some(_) => Arc::new(Image { manifest: manifest.into() }),
                None => {
                    let image = Arc::new(Image { manifest: manifest.into() });
                    place.insert(Arc::downgrade(&image));
                    image
                }
            },
            Entry::Vacant(place) => {
                let image = Arc::new(Image { manifest: manifest.into() });
                place.insert(Arc::downgrade(&image));
                image
            }
        }
    }

    /// Forgets the manifests that no pod holds any more.
    pub(crate) fn sweep(&self) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, image| image.strong_count() > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_copy_for_all_and_none_for_nobody() {
        let images = Images::default();
        let (one, other) = (images.intern(vec![1; 9]), images.intern(vec![1; 9]));
        assert!(Arc::ptr_eq(&one, &other));
        assert!(!Arc::ptr_eq(&one, &images.intern(vec![2; 9])));
        drop((one, other));
        images.sweep();
        assert!(images.known.lock().unwrap().is_empty());
    }
}
