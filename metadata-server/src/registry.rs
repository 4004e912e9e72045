//! The pods that are registered now.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use appc::PodUuid;
use tokio::sync::Notify;

use crate::images::Images;
use crate::pod::Pod;

/// Every registered pod, by its UUID. There is no other way to one than its own listener: this table only sees to it
/// that a UUID is registered once.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    pods: Mutex<HashMap<PodUuid, Arc<Pod>>>,
    pub(crate) images: Images,
    /// A pod has been registered, or is no longer.
    pub(crate) changed: Notify,
}

impl Registry {
    /// Registers a pod. Another one of the UUID is closed: its monitor has come back, or is another program of the same
    /// user.
    pub(crate) fn insert(&self, pod: Arc<Pod>) {
        let old = self.lock().insert(pod.uuid, pod);
        self.changed.notify_one();
        if let Some(old) = old {
            old.close();
        }
    }

    /// Closes a pod. What was registered in its place stays.
    pub(crate) fn remove(&self, pod: &Arc<Pod>) {
        pod.close();
        let mut pods = self.lock();
        if let Entry::Occupied(place) = pods.entry(pod.uuid)
            && Arc::ptr_eq(place.get(), pod)
        {
            place.remove();
        }
        // After a burst of pods, their places are given back.
        if pods.len() * 4 < pods.capacity() {
            pods.shrink_to_fit();
        }
        self.changed.notify_one();
    }

    /// Whether no pod is registered.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<PodUuid, Arc<Pod>>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
