//! The policy of `run`: what follows from an app's end, a signal, or a grace period running out. Pure.
//!
//! The first failing app's status is the pod's, and its siblings are stopped; when all succeed the status is 0
//! (design.md section 5).

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// An app ended, with this status as shells count it.
    Ended {
        /// Index of the app.
        app: usize,
        /// Its status.
        status: i32,
    },
    /// A signal for the pod.
    Signal(i32),
    /// The time for siblings to stop is over.
    GraceOver,
}

/// Something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Send this signal to all running apps.
    Forward(i32),
    /// Send [`Event::GraceOver`] after the grace period.
    StartGrace,
    /// End the pod.
    Shutdown,
}

/// Signal numbers are the same on every architecture that proa runs on (signal(7)).
const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

/// The state of a pod's apps.
#[derive(Debug)]
pub(crate) struct Supervisor {
    ends: Vec<Option<i32>>,
    failure: Option<i32>,
}

impl Supervisor {
    /// A pod of this many apps, all running.
    pub(crate) fn new(apps: usize) -> Self {
        Self { ends: vec![None; apps], failure: None }
    }

    /// Takes note of an event and says what to do, in order.
    pub(crate) fn handle(&mut self, event: Event) -> Vec<Action> {
        match event {
            Event::Signal(signal) => vec![Action::Forward(signal)],
            Event::GraceOver => vec![Action::Forward(SIGKILL)],
            Event::Ended { app, status } => self.ended(app, status),
        }
    }

    fn ended(&mut self, app: usize, status: i32) -> Vec<Action> {
        let Some(end @ None) = self.ends.get_mut(app) else { return vec![] };
        *end = Some(status);
        let first_failure = status != 0 && self.failure.is_none();
        if first_failure {
            self.failure = Some(status);
        }
        if self.ends.iter().all(Option::is_some) {
            vec![Action::Shutdown]
        } else if first_failure {
            vec![Action::Forward(SIGTERM), Action::StartGrace]
        } else {
            vec![]
        }
    }

    /// The pod's status so far.
    pub(crate) fn status(&self) -> i32 {
        self.failure.unwrap_or(0)
    }

    /// The status of each app that has ended.
    pub(crate) fn ends(&self) -> &[Option<i32>] {
        &self.ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ended(app: usize, status: i32) -> Event {
        Event::Ended { app, status }
    }

    #[test]
    fn table() {
        use Action::{Forward, Shutdown, StartGrace};
        type Story = (usize, &'static [(Event, &'static [Action])], i32);
        const STORIES: &[Story] = &[
            (1, &[(ended(0, 0), &[Shutdown])], 0),
            (1, &[(ended(0, 7), &[Shutdown])], 7),
            (2, &[(ended(0, 0), &[]), (ended(1, 0), &[Shutdown])], 0),
            (2, &[(ended(1, 3), &[Forward(SIGTERM), StartGrace]), (ended(0, 143), &[Shutdown])], 3),
            (2, &[(ended(0, 0), &[]), (ended(1, 9), &[Shutdown])], 9),
            (
                3,
                &[
                    (ended(0, 1), &[Forward(SIGTERM), StartGrace]),
                    (ended(1, 2), &[]),
                    (Event::GraceOver, &[Forward(SIGKILL)]),
                ],
                1,
            ),
            (1, &[(Event::Signal(2), &[Forward(2)]), (ended(0, 130), &[Shutdown])], 130),
            // An app ends once, and one that does not exist never.
            (2, &[(ended(0, 0), &[]), (ended(0, 5), &[]), (ended(7, 5), &[])], 0),
        ];
        for (apps, story, status) in STORIES {
            let mut supervisor = Supervisor::new(*apps);
            for (event, actions) in *story {
                assert_eq!(supervisor.handle(*event), *actions, "{event:?} in {story:?}");
            }
            assert_eq!(supervisor.status(), *status, "{story:?}");
        }
    }
}
