//! What follows from what happens to a pod's apps: a table of states and events. Pure.
//!
//! An app goes from *created* through its pre-start handler to *running*, and through its post-stop handler to *exited*;
//! from there a restart policy or a client may start it again. The pod's policy says when the pod itself is over
//! (appc aci.md, "eventHandlers").

mod policy;

use std::time::Duration;

pub use policy::{AppPolicy, ExitPolicy, Restart};

/// How long a process may take to follow its stop signal, unless the caller says otherwise.
pub const GRACE: Duration = Duration::from_secs(10);

/// First and longest pause before an app is started again; it doubles from the one to the other.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));

/// Signal numbers are the same on every architecture that proa runs on (signal(7)).
pub(crate) const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

/// Shells add the number of the signal that ended a process to this.
const SIGNALLED: i32 = 128;

/// What a process of an app is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// The event handler of that name.
    PreStart,
    /// The app's program.
    Main,
    /// The event handler of that name.
    PostStop,
}

/// Where an app is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It can be started.
    Created,
    /// A process of this role runs.
    Active(Role),
    /// It has ended and will be started again after a pause.
    Waiting,
    /// It has ended.
    Exited,
    /// It is no longer of the pod.
    Removed,
}

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// An app is to run.
    Start(usize),
    /// The active process of an app ended, with this status as shells count it.
    Ended { app: usize, status: i32 },
    /// A signal for the main process of each app.
    Signal(i32),
    /// The same, of a signal that asks programs to end: if no app runs that could follow it, the pod does.
    Interrupt(i32),
    /// An app is to end; `None` for the whole pod. Without a signal, each app's own.
    Stop { app: Option<usize>, signal: Option<i32>, grace: Duration },
    /// A timer has run out.
    Timer(Timer),
}

/// Something to wait for. Setting it again replaces the earlier time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// The app had its time to stop.
    Kill(usize),
    /// The pause before the app's next start is over.
    Restart(usize),
    /// Nobody has come whom the apps were to wait for.
    Held,
}

/// Something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Execute the app's process of this role.
    Execute(usize, Role),
    /// Send this signal to the app's active process.
    Signal(usize, i32),
    /// Send [`Event::Timer`] after this time.
    Set(Timer, Duration),
    /// Forget the timer.
    Cancel(Timer),
    /// The app's program will not run any more, or not in this attempt: take note of its end.
    Finished(usize),
    /// End the pod.
    Shutdown,
}

/// An app of the pod.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AppState {
    pub(crate) policy: AppPolicy,
    pub(crate) phase: Phase,
    /// The status of its last run, once it has ended.
    pub(crate) status: Option<i32>,
    /// Number of the run, from 0.
    pub(crate) attempt: u32,
    /// Set from a stop until the end.
    stopping: Option<Duration>,
    /// Restarts since it last ran for long.
    restarts: u32,
}

impl AppState {
    /// Whether it was asked to end.
    pub(crate) fn is_to_end(&self) -> bool {
        self.stopping.is_some()
    }
}

/// The state of a pod's apps.
#[derive(Debug)]
pub(crate) struct Supervisor {
    policy: ExitPolicy,
    apps: Vec<AppState>,
    failure: Option<i32>,
    /// Whether an app's end has ended the pod.
    decided: bool,
    /// Whether the pod as a whole is being stopped.
    stopping: bool,
    over: bool,
}

impl Supervisor {
    /// A pod without apps.
    pub(crate) fn new(policy: ExitPolicy) -> Self {
        Self { policy, apps: Vec::new(), failure: None, decided: false, stopping: false, over: false }
    }

    /// Takes in an app, which is then created, and returns its index.
    pub(crate) fn add(&mut self, policy: AppPolicy) -> usize {
        self.apps.push(AppState {
            policy,
            phase: Phase::Created,
            status: None,
            attempt: 0,
            stopping: None,
            restarts: 0,
        });
        self.apps.len() - 1
    }

    /// Lets go of an app that does not run. Its index is not given again.
    pub(crate) fn remove(&mut self, app: usize) {
        self.apps[app].phase = Phase::Removed;
    }

    /// The apps, by index.
    pub(crate) fn apps(&self) -> &[AppState] {
        &self.apps
    }

    /// Whether the app was never started.
    pub(crate) fn is_created(&self, app: usize) -> bool {
        self.phase(app) == Some(Phase::Created)
    }

    /// Whether a stop of the whole pod has begun.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Whether the pod is over as soon as the program of this app has ended, whatever happens until then.
    pub(crate) fn ends_with(&self, app: usize) -> bool {
        let AppPolicy { post_stop, restart, .. } = self.apps[app].policy;
        self.apps.len() == 1 && self.policy != ExitPolicy::Never && restart == Restart::No && !post_stop
    }

    /// From its next end on, every app is started again in these cases. One that already waits for its next start is started.
    pub(crate) fn set_restart(&mut self, restart: Restart) {
        self.apps.iter_mut().for_each(|app| app.policy.restart = restart);
    }

    /// The pod's status so far: the first failing app's, or 0.
    pub(crate) fn status(&self) -> i32 {
        self.failure.unwrap_or(0)
    }

    /// Takes note of an event and says what to do, in order.
    pub(crate) fn handle(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Start(app) => self.start(app, &mut actions),
            Event::Ended { app, status } => self.ended(app, status, &mut actions),
            Event::Signal(signal) => {
                let active = self.indices(|phase| matches!(phase, Phase::Active(_)));
                actions.extend(active.map(|app| Action::Signal(app, signal)));
            }
            Event::Interrupt(signal) if self.indices(|phase| matches!(phase, Phase::Active(_))).next().is_some() => {
                return self.handle(Event::Signal(signal));
            }
            Event::Interrupt(signal) => {
                self.failure = self.failure.or(Some(SIGNALLED + signal));
                return self.handle(Event::Stop { app: None, signal: None, grace: GRACE });
            }
            Event::Stop { app: Some(app), signal, grace } => self.stop(app, signal, grace, &mut actions),
            Event::Stop { app: None, signal, grace } => {
                self.stopping = true;
                (0..self.apps.len()).for_each(|app| self.stop(app, signal, grace, &mut actions));
                self.end_if_over(&mut actions);
            }
            Event::Timer(Timer::Kill(app)) => {
                if let Some(Phase::Active(_)) = self.phase(app) {
                    actions.push(Action::Signal(app, SIGKILL));
                }
            }
            Event::Timer(Timer::Held) => {
                self.stopping = true;
                self.end_if_over(&mut actions);
            }
            Event::Timer(Timer::Restart(app)) => {
                if self.phase(app) == Some(Phase::Waiting) {
                    self.apps[app].phase = Phase::Exited;
                    self.start(app, &mut actions);
                }
            }
        }
        actions
    }

    fn phase(&self, app: usize) -> Option<Phase> {
        self.apps.get(app).map(|app| app.phase)
    }

    fn indices(&self, wanted: impl Fn(Phase) -> bool) -> impl Iterator<Item = usize> {
        self.apps.iter().enumerate().filter(move |(_, app)| wanted(app.phase)).map(|(index, _)| index)
    }

    fn start(&mut self, app: usize, actions: &mut Vec<Action>) {
        let Some(state) = self.apps.get_mut(app) else { return };
        match state.phase {
            Phase::Created => {}
            Phase::Exited => state.attempt += 1,
            Phase::Waiting => {
                actions.push(Action::Cancel(Timer::Restart(app)));
                state.attempt += 1;
            }
            Phase::Active(_) | Phase::Removed => return,
        }
        (state.status, state.stopping) = (None, None);
        let role = if state.policy.pre_start { Role::PreStart } else { Role::Main };
        state.phase = Phase::Active(role);
        actions.push(Action::Execute(app, role));
    }

    fn ended(&mut self, app: usize, status: i32, actions: &mut Vec<Action>) {
        let Some(state) = self.apps.get_mut(app) else { return };
        let Phase::Active(role) = state.phase else { return };
        if state.stopping.is_some() {
            actions.push(Action::Cancel(Timer::Kill(app)));
        }
        match role {
            Role::PreStart if status == 0 && state.stopping.is_none() => {
                state.phase = Phase::Active(Role::Main);
                actions.push(Action::Execute(app, Role::Main));
            }
            Role::Main if state.policy.post_stop => {
                state.status = Some(status);
                state.phase = Phase::Active(Role::PostStop);
                actions.push(Action::Execute(app, Role::PostStop));
                if let Some(grace) = state.stopping {
                    actions.push(Action::Set(Timer::Kill(app), grace));
                }
            }
            // The program's status is the app's, whatever the handler made of its own.
            Role::PostStop => self.finish(app, state_status(self.apps[app].status), actions),
            Role::PreStart | Role::Main => self.finish(app, status, actions),
        }
    }

    /// The app has ended: another attempt, or what its end means for the pod.
    fn finish(&mut self, app: usize, status: i32, actions: &mut Vec<Action>) {
        let pod_stops = self.stopping;
        let state = &mut self.apps[app];
        state.status = Some(status);
        state.phase = Phase::Exited;
        actions.push(Action::Finished(app));
        let again = match state.policy.restart {
            _ if pod_stops || state.stopping.is_some() => false,
            Restart::No => false,
            Restart::OnFailure(limit) => status != 0 && limit.is_none_or(|limit| state.restarts < limit),
            Restart::Always => true,
        };
        if again {
            let pause = BACK_OFF.0.saturating_mul(1 << state.restarts.min(16)).min(BACK_OFF.1);
            state.restarts += 1;
            state.phase = Phase::Waiting;
            actions.push(Action::Set(Timer::Restart(app), pause));
            return;
        }
        // What is stopped because another app ended does not fail by that.
        let counts = self.policy != ExitPolicy::Never && !self.decided;
        let first_failure = status != 0 && self.failure.is_none() && counts;
        if first_failure {
            self.failure = Some(status);
        }
        let ends_the_pod = match self.policy {
            ExitPolicy::Failure => first_failure,
            ExitPolicy::Any => true,
            ExitPolicy::All | ExitPolicy::Never => false,
        };
        if ends_the_pod && !self.stopping {
            self.stopping = true;
            self.decided = true;
            (0..self.apps.len()).for_each(|other| self.stop(other, None, GRACE, actions));
        }
        self.end_if_over(actions);
    }

    fn stop(&mut self, app: usize, signal: Option<i32>, grace: Duration, actions: &mut Vec<Action>) {
        let Some(state) = self.apps.get_mut(app) else { return };
        match state.phase {
            Phase::Active(_) => {
                state.stopping = Some(grace);
                let signal = signal.unwrap_or(state.policy.stop_signal);
                actions.push(Action::Signal(app, signal));
                if signal != SIGKILL {
                    actions.push(Action::Set(Timer::Kill(app), grace));
                }
            }
            Phase::Waiting => {
                state.phase = Phase::Exited;
                actions.push(Action::Cancel(Timer::Restart(app)));
                // Its last run counts now that no other follows.
                let counts = self.policy != ExitPolicy::Never && !self.decided;
                self.failure = self.failure.or(state.status.filter(|status| *status != 0 && counts));
            }
            Phase::Created | Phase::Exited | Phase::Removed => {}
        }
    }

    /// The app has run for long enough that its next failure is a new one.
    pub(crate) fn ran_well(&mut self, app: usize) {
        self.apps[app].restarts = 0;
    }

    fn end_if_over(&mut self, actions: &mut Vec<Action>) {
        let idle = self.apps.iter().all(|app| match app.phase {
            Phase::Active(_) | Phase::Waiting => false,
            // An app that was never started keeps no pod alive that is being stopped.
            Phase::Created => self.stopping,
            Phase::Exited | Phase::Removed => true,
        });
        let may_end = self.stopping || (self.policy != ExitPolicy::Never && !self.apps.is_empty());
        if idle && may_end && !self.over {
            self.over = true;
            actions.push(Action::Shutdown);
        }
    }
}

fn state_status(status: Option<i32>) -> i32 {
    status.unwrap_or(0)
}

#[cfg(test)]
mod tests;
