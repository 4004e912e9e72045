//! A registered pod: who may ask, and what is answered.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use appc::PodUuid;
use hyper::body::Bytes;
use metadata_api::Token;
use tokio::task::AbortHandle;

use crate::allowance::Allowance;
use crate::documents::Documents;

/// Wrong tokens that a pod may try at once, and how many more a second. An app that knows its token tries none.
const WRONG_TOKENS: Allowance = Allowance::new(100, 20);

/// A pod, from its registration until its monitor's connection ends.
#[derive(Debug)]
pub(crate) struct Pod {
    pub(crate) uuid: PodUuid,
    /// The UUID as it is answered.
    pub(crate) uuid_text: Bytes,
    pub(crate) token: Token,
    /// What `Host` must say: address and port, and the address alone if the port is HTTP's own.
    host: String,
    documents: RwLock<Arc<Documents>>,
    wrong_tokens: Mutex<Allowance>,
    /// The tasks that end with the pod.
    tasks: Mutex<Vec<AbortHandle>>,
}

impl Pod {
    pub(crate) fn new(uuid: PodUuid, token: Token, host: String, documents: Documents) -> Self {
        Self {
            uuid,
            uuid_text: uuid.to_string().into(),
            token,
            host,
            documents: RwLock::new(Arc::new(documents)),
            wrong_tokens: Mutex::new(WRONG_TOKENS),
            tasks: Mutex::default(),
        }
    }

    /// Whether a request for this `Host` is meant for this pod's listener: anything else comes from a browser or a
    /// proxy that was talked into it.
    pub(crate) fn is_host(&self, host: &[u8]) -> bool {
        host == self.host.as_bytes() || self.host.strip_suffix(":80").is_some_and(|it| host == it.as_bytes())
    }

    /// What is answered now.
    pub(crate) fn documents(&self) -> Arc<Documents> {
        self.documents.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers from these documents from now on.
    pub(crate) fn set_documents(&self, documents: Documents) {
        *self.documents.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(documents);
    }

    /// Counts a wrong token; whether the pod may go on trying.
    pub(crate) fn may_try_again(&self) -> bool {
        self.wrong_tokens.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Ends a task with the pod.
    pub(crate) fn own(&self, task: AbortHandle) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(task);
    }

    /// Closes listeners, and with them their connections: nothing of the pod is held after this, and its token is worth
    /// nothing.
    pub(crate) fn close(&self) {
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }
}
