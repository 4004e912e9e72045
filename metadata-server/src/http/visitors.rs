//! Who is connected to a pod's listeners: not too many, and all of them gone with the pod.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::AbortHandle;

use super::watch::Watch;

/// Connections of one pod at a time. One more takes the place of one that is idle, or is refused.
pub(crate) const MOST: usize = 32;

/// The connections of one pod.
#[derive(Debug, Default)]
pub(crate) struct Visitors(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// In the order in which they came.
    present: Vec<Visitor>,
    last_id: u64,
    closed: bool,
}

#[derive(Debug)]
struct Visitor {
    id: u64,
    watch: Arc<Watch>,
    /// Missing until the task has been started.
    task: Option<AbortHandle>,
}

impl Visitors {
    /// Takes a place; `None` if there is none left.
    pub(crate) fn enter(&self, watch: Arc<Watch>) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return None;
        }
        if state.present.len() >= MOST {
            let idle = state.present.iter().position(|it| it.task.is_some() && it.watch.is_idle())?;
            if let Some(task) = state.present.remove(idle).task {
                task.abort();
            }
        }
        state.last_id += 1;
        let id = state.last_id;
        state.present.push(Visitor { id, watch, task: None });
        Some(id)
    }

    /// Says which task serves the visitor, so that it can be ended.
    pub(crate) fn served_by(&self, id: u64, task: AbortHandle) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match state.present.iter_mut().find(|it| it.id == id) {
            Some(visitor) => visitor.task = Some(task),
            // It has left already, or the pod has been closed.
            None => task.abort(),
        }
    }

    /// Gives the place back.
    pub(crate) fn leave(&self, id: u64) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.present.retain(|it| it.id != id);
    }

    /// Ends all connections, and lets nobody in any more.
    pub(crate) fn close(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.closed = true;
        for task in state.present.drain(..).filter_map(|it| it.task) {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A visitor whose task runs until it is aborted.
    fn visit(visitors: &Visitors, idle: bool) -> Option<(u64, tokio::task::JoinHandle<()>)> {
        let watch = Arc::new(Watch::default());
        watch.read(0, !idle);
        let id = visitors.enter(watch)?;
        let task = tokio::spawn(std::future::pending());
        visitors.served_by(id, task.abort_handle());
        Some((id, task))
    }

    #[tokio::test]
    async fn one_too_many_takes_the_place_of_an_idle_one() {
        let visitors = Visitors::default();
        let mut busy: Vec<_> = (1..MOST).map(|_| visit(&visitors, false).unwrap()).collect();
        let (_, idle) = visit(&visitors, true).unwrap();
        busy.push(visit(&visitors, false).unwrap());
        assert!(idle.await.unwrap_err().is_cancelled());
        assert!(visit(&visitors, false).is_none(), "all are busy");
        visitors.leave(busy[0].0);
        assert!(visit(&visitors, false).is_some());
    }

    #[tokio::test]
    async fn all_are_gone_with_the_pod() {
        let visitors = Visitors::default();
        let (_, before) = visit(&visitors, false).unwrap();
        let id = visitors.enter(Arc::default()).unwrap();
        visitors.close();
        assert!(before.await.unwrap_err().is_cancelled());
        let late = tokio::spawn(std::future::pending::<()>());
        visitors.served_by(id, late.abort_handle());
        assert!(late.await.unwrap_err().is_cancelled(), "its task came after the end");
        assert!(visit(&visitors, true).is_none());
    }
}
