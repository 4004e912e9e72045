//! `proa run hello`: an image like any other, and what its report says is so.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use integration_tests::needs::{Place, place};
use integration_tests::{Env, User, each_user, needs, process};
use rustix::process::Signal;

each_user! {
    report_is_good,
    image_is_in_the_store,
}

fn report_is_good(env: &Env) {
    let outcome = env.proa(["run", "hello"]).outcome().succeeds().quietly();
    assert!(outcome.stdout.lines().filter(|it| it.trim().starts_with("ok ")).count() >= 10, "{outcome}");
    assert!(!outcome.stdout.contains("WRONG"), "{outcome}");
    // Without a network, a file, a configuration or an environment.
    let bare = ["PATH", "HOME", "LANG", "TMPDIR", "XDG_RUNTIME_DIR", "USER"];
    let run = bare.iter().fold(env.proa(["run", "hello"]), |run, name| run.without_var(name));
    let outcome = run.outcome();
    // With no PATH there is no newuidmap to be found, which may cost the range and a word about it.
    assert!(outcome.status.success(), "{outcome}");
}

fn image_is_in_the_store(env: &Env) {
    let id = env.proa(["fetch", "hello"]).outcome().succeeds().line().to_owned();
    let stored = || std::fs::read_dir(env.data().join("store/images")).expect("the store has images").count();
    assert_eq!(stored(), 1);
    env.proa(["run", "hello"]).outcome().succeeds();
    assert_eq!(stored(), 1, "the built-in image is stored once");
    env.proa(["run", &id]).outcome().succeeds();
}

/// Seen from outside, by root: the apps' namespaces are not the host's, and each has a user namespace of its own.
#[test]
fn namespaces_are_what_the_report_says() {
    needs!(place(Place::Host));
    needs!(User::Root.account());
    let env = needs!(Env::of(User::WithRange));
    env.proa(["run", "hello"]).outcome().succeeds();
    // The pod lives for some milliseconds: a few tries may be needed to see it.
    let apps = (0..100).find_map(|_| namespaces_of_apps(&env)).expect("both apps are seen in one of a hundred runs");
    let hosts = process::namespaces(rustix::process::getpid().as_raw_nonzero().get());
    let [greeter, responder] = &apps;
    // What two processes share, as kinds of namespace.
    let shared = |one: &BTreeSet<String>, other: &BTreeSet<String>| -> Vec<String> {
        one.intersection(other).filter_map(|it| Some(it.split_once(':')?.0.to_owned())).collect()
    };
    assert_eq!(shared(greeter, &hosts), [""; 0], "with the host");
    let with_each_other = shared(greeter, responder);
    for kind in ["ipc", "net", "pid", "uts"] {
        assert!(with_each_other.contains(&kind.to_owned()), "{kind} is the pod's: {with_each_other:?}");
    }
    for kind in ["user", "mnt"] {
        assert!(!with_each_other.contains(&kind.to_owned()), "{kind} is each app's own: {with_each_other:?}");
    }
}

/// Runs hello and stops the first app that is seen: the other one waits for it, so that both can be looked at.
fn namespaces_of_apps(env: &Env) -> Option<[BTreeSet<String>; 2]> {
    let running = env.proa(["run", "hello"]).start();
    let apps = || -> Vec<i32> {
        let all = process::descendants(running.pid());
        all.into_iter().filter(|it| it.name == "hello").map(|it| it.pid).collect()
    };
    let mut stopped = None;
    let found = loop {
        match (<[i32; 2]>::try_from(apps()), stopped) {
            (Ok([one, other]), Some(_)) => break Some([one, other].map(process::namespaces)),
            (_, Some((_, since))) if Instant::elapsed(&since) > Duration::from_secs(2) => break None,
            (_, None) if process::read(running.pid()).is_none_or(|it| it.state == 'Z') => break None,
            (_, None) => {
                stopped =
                    apps().first().filter(|app| process::kill(**app, Signal::STOP)).map(|it| (*it, Instant::now()));
            }
            _ => {}
        }
    };
    if let Some((app, _)) = stopped {
        process::kill(app, Signal::CONT);
    }
    running.wait();
    found
}
