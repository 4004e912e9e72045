use super::*;
use Action::{Cancel, Execute, Finished, Set, Shutdown, Signal};
use Role::{Main, PostStop, PreStart};

const PLAIN: AppPolicy = AppPolicy { pre_start: false, post_stop: false, stop_signal: 15, restart: Restart::No };
const HANDLERS: AppPolicy = AppPolicy { pre_start: true, post_stop: true, ..PLAIN };

const fn ended(app: usize, status: i32) -> Event {
    Event::Ended { app, status }
}

const fn stop(app: Option<usize>) -> Event {
    Event::Stop { app, signal: None, grace: GRACE }
}

/// Plays a story on started apps and compares every event's actions, then the pod's status.
fn play(name: &str, policy: ExitPolicy, apps: &[AppPolicy], story: &[(Event, &[Action])], status: i32) {
    let mut supervisor = Supervisor::new(policy);
    for app in apps {
        let app = supervisor.add(*app);
        let role = if apps[app].pre_start { PreStart } else { Main };
        assert_eq!(supervisor.handle(Event::Start(app)), [Execute(app, role)], "{name}");
    }
    for (event, actions) in story {
        // What pid 1 relies on.
        let is_last = |app: usize| supervisor.phase(app) == Some(Phase::Active(Main)) && supervisor.ends_with(app);
        let is_end = matches!(event, Event::Ended { app, .. } if is_last(*app));
        assert_eq!(supervisor.handle(*event), *actions, "{name}: {event:?}");
        assert!(!is_end || actions.contains(&Shutdown), "{name}: {event:?} is not the pod's end");
    }
    assert_eq!(supervisor.status(), status, "{name}");
}

#[test]
fn the_policy_of_run() {
    let play = |name, apps: usize, story: &[(Event, &[Action])], status| {
        play(name, ExitPolicy::Failure, &vec![PLAIN; apps], story, status);
    };
    play("success", 1, &[(ended(0, 0), &[Finished(0), Shutdown])], 0);
    play("failure", 1, &[(ended(0, 7), &[Finished(0), Shutdown])], 7);
    play("both succeed", 2, &[(ended(0, 0), &[Finished(0)]), (ended(1, 0), &[Finished(1), Shutdown])], 0);
    let stopped = [Finished(1), Signal(0, 15), Set(Timer::Kill(0), GRACE)];
    let end = [Cancel(Timer::Kill(0)), Finished(0), Shutdown];
    play("the first failure stops the others", 2, &[(ended(1, 3), &stopped), (ended(0, 143), &end)], 3);
    play(
        "an app that does not follow is killed",
        2,
        &[(ended(1, 1), &stopped), (Event::Timer(Timer::Kill(0)), &[Signal(0, SIGKILL)]), (ended(0, 137), &end)],
        1,
    );
    play("a signal", 1, &[(Event::Signal(2), &[Signal(0, 2)]), (ended(0, 130), &[Finished(0), Shutdown])], 130);
    play(
        "an app ends once, and an unknown one never",
        2,
        &[(ended(0, 0), &[Finished(0)]), (ended(0, 5), &[]), (ended(7, 5), &[])],
        0,
    );
}

#[test]
fn a_stop_signal_that_no_app_can_take_ends_the_pod() {
    let always = AppPolicy { restart: Restart::Always, ..PLAIN };
    let again = [Finished(0), Set(Timer::Restart(0), Duration::from_millis(100))];
    let over = [Cancel(Timer::Restart(0)), Shutdown];
    play("in the pause", ExitPolicy::Failure, &[always], &[(ended(0, 3), &again), (Event::Interrupt(2), &over)], 130);
    play(
        "while another runs",
        ExitPolicy::Failure,
        &[always, PLAIN],
        &[(ended(0, 0), &again), (Event::Interrupt(15), &[Signal(1, 15)])],
        0,
    );
}

#[test]
fn only_the_end_of_the_only_app_that_nothing_follows_is_known_before() {
    let ends = |policy, apps: &[AppPolicy]| {
        let mut supervisor = Supervisor::new(policy);
        let indices: Vec<usize> = apps.iter().map(|app| supervisor.add(*app)).collect();
        supervisor.ends_with(indices[0])
    };
    for policy in [ExitPolicy::Failure, ExitPolicy::Any, ExitPolicy::All] {
        assert!(ends(policy, &[PLAIN]) && ends(policy, &[AppPolicy { pre_start: true, ..PLAIN }]));
    }
    let again = AppPolicy { restart: Restart::OnFailure(Some(1)), ..PLAIN };
    for other in [&[HANDLERS][..], &[again], &[PLAIN, PLAIN]] {
        assert!(!ends(ExitPolicy::Failure, other), "{other:?}");
    }
    assert!(!ends(ExitPolicy::Never, &[PLAIN]));
}

#[test]
fn other_policies() {
    let two = [PLAIN, PLAIN];
    let stopped = [Finished(1), Signal(0, 15), Set(Timer::Kill(0), GRACE)];
    play("any", ExitPolicy::Any, &two, &[(ended(1, 0), &stopped)], 0);
    let gone = [Action::Cancel(Timer::Kill(0)), Finished(0), Shutdown];
    play("any, whose others are stopped", ExitPolicy::Any, &two, &[(ended(1, 0), &stopped), (ended(0, 143), &gone)], 0);
    play("all", ExitPolicy::All, &two, &[(ended(1, 3), &[Finished(1)]), (ended(0, 0), &[Finished(0), Shutdown])], 3);
    play(
        "never",
        ExitPolicy::Never,
        &two,
        &[(ended(1, 3), &[Finished(1)]), (ended(0, 0), &[Finished(0)]), (stop(None), &[Shutdown])],
        0,
    );
}

#[test]
fn handlers_run_before_and_after() {
    let execute_main: &[Action] = &[Execute(0, Main)];
    play(
        "all three",
        ExitPolicy::Failure,
        &[HANDLERS],
        &[(ended(0, 0), execute_main), (ended(0, 4), &[Execute(0, PostStop)]), (ended(0, 0), &[Finished(0), Shutdown])],
        4,
    );
    play(
        "a failed pre-start is the app's end",
        ExitPolicy::Failure,
        &[HANDLERS],
        &[(ended(0, 9), &[Finished(0), Shutdown])],
        9,
    );
    play(
        "post-stop runs after a stop, and has its own time",
        ExitPolicy::Failure,
        &[HANDLERS],
        &[
            (ended(0, 0), execute_main),
            (stop(None), &[Signal(0, 15), Set(Timer::Kill(0), GRACE)]),
            (ended(0, 143), &[Cancel(Timer::Kill(0)), Execute(0, PostStop), Set(Timer::Kill(0), GRACE)]),
            (ended(0, 1), &[Cancel(Timer::Kill(0)), Finished(0), Shutdown]),
        ],
        143,
    );
    play(
        "a stop during pre-start keeps the program from starting",
        ExitPolicy::Failure,
        &[HANDLERS],
        &[
            (stop(None), &[Signal(0, 15), Set(Timer::Kill(0), GRACE)]),
            (ended(0, 0), &[Cancel(Timer::Kill(0)), Finished(0), Shutdown]),
        ],
        0,
    );
}

#[test]
fn restarts_wait_longer_each_time_and_end_with_a_stop() {
    let always = AppPolicy { restart: Restart::Always, ..PLAIN };
    let pause = |n: u32| Set(Timer::Restart(0), BACK_OFF.0 * n);
    let again: &[Action] = &[Execute(0, Main)];
    let timer = Event::Timer(Timer::Restart(0));
    play(
        "always",
        ExitPolicy::Failure,
        &[always],
        &[
            (ended(0, 0), &[Finished(0), pause(1)]),
            (timer, again),
            (ended(0, 1), &[Finished(0), pause(2)]),
            (stop(None), &[Cancel(Timer::Restart(0)), Shutdown]),
            (timer, &[]),
        ],
        1,
    );
    let once = AppPolicy { restart: Restart::OnFailure(Some(1)), ..PLAIN };
    play(
        "once",
        ExitPolicy::Failure,
        &[once],
        &[(ended(0, 3), &[Finished(0), pause(1)]), (timer, again), (ended(0, 4), &[Finished(0), Shutdown])],
        4,
    );
    play("not after success", ExitPolicy::Failure, &[once], &[(ended(0, 0), &[Finished(0), Shutdown])], 0);
}

#[test]
fn another_policy_counts_from_the_next_end_on() {
    let mut supervisor = Supervisor::new(ExitPolicy::Failure);
    let app = supervisor.add(PLAIN);
    supervisor.handle(Event::Start(app));
    assert!(supervisor.ends_with(app));
    supervisor.set_restart(Restart::Always);
    assert!(!supervisor.ends_with(app));
    let pause = Set(Timer::Restart(app), BACK_OFF.0);
    assert_eq!(supervisor.handle(ended(app, 0)), [Finished(app), pause]);
    supervisor.set_restart(Restart::No);
    assert_eq!(supervisor.handle(Event::Timer(Timer::Restart(app))), [Execute(app, Main)], "its pause has begun");
    assert_eq!(supervisor.handle(ended(app, 0)), [Finished(app), Shutdown]);
}

#[test]
fn a_single_app_is_stopped_started_again_and_removed() {
    let mut supervisor = Supervisor::new(ExitPolicy::Never);
    let app = supervisor.add(PLAIN);
    assert_eq!(supervisor.handle(stop(Some(app))), []);
    supervisor.handle(Event::Start(app));
    assert_eq!(supervisor.handle(Event::Start(app)), [], "it runs");
    let kill = Event::Stop { app: Some(app), signal: Some(SIGKILL), grace: GRACE };
    assert_eq!(supervisor.handle(kill), [Signal(app, SIGKILL)]);
    assert_eq!(supervisor.handle(ended(app, 137)), [Cancel(Timer::Kill(app)), Finished(app)]);
    assert_eq!((supervisor.apps()[app].phase, supervisor.apps()[app].status), (Phase::Exited, Some(137)));
    assert_eq!(supervisor.handle(Event::Start(app)), [Execute(app, Main)]);
    assert_eq!(supervisor.apps()[app].attempt, 1);
    supervisor.handle(ended(app, 0));
    supervisor.remove(app);
    assert_eq!(supervisor.handle(Event::Start(app)), []);
    assert_eq!(supervisor.handle(stop(None)), [Shutdown]);
}

#[test]
fn a_pod_whose_client_never_comes_ends() {
    let mut supervisor = Supervisor::new(ExitPolicy::Failure);
    supervisor.add(PLAIN);
    assert_eq!(supervisor.handle(Event::Timer(Timer::Held)), [Shutdown]);
}
