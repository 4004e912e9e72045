//! The harness itself: a leak is found, a wrong outcome is told.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use integration_tests::{Env, User, needs, process};
use rustix::process::Signal;

fn fails(assertion: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(assertion)).is_err()
}

fn leaks(env: &Env) -> bool {
    fails(|| env.assert_nothing_left_within(Duration::from_millis(300)))
}

#[test]
fn left_process_is_found() {
    let env = needs!(Env::of(User::WithRange));
    // In a session and with a parent of its own, in new namespaces, with nothing open: as lost as can be.
    let daemon = "setsid unshare --user --net sleep 600 <&- >&- 2>&- & echo $!";
    env.command("sh", vec!["-c".into(), daemon.into()]).outcome().succeeds();
    assert!(leaks(&env));
    let me = rustix::process::getpid().as_raw_nonzero().get();
    for left in process::descendants(me) {
        assert!(process::kill(left.pid, Signal::KILL), "{left:?}");
    }
    env.assert_nothing_left();
}

#[test]
fn left_files_are_found() {
    let env = needs!(Env::of(User::WithRange));
    for file in ["tmp/x", "data/pods/run/x", "data/pods/garbage/x", "data/store/tmp/x"] {
        let path = env.path(file);
        env.make_dir(path.parent().expect("it has one"));
        env.write(file, "");
        assert!(leaks(&env), "{file}");
        std::fs::remove_file(path).expect("it is ours");
        env.assert_nothing_left();
    }
}

#[test]
fn refusals_are_one_line_and_a_hint() {
    let env = needs!(Env::of(User::WithRange));
    let told = |script: &str| env.command("sh", vec!["-c".into(), script.into()]).outcome();
    let good = "echo 'proa: open x.aci: no such file' >&2; echo 'hint: look' >&2; exit 254";
    told(good).refuses("x.aci");
    assert!(fails(|| drop(told(good).refuses("y.aci"))), "another name");
    assert!(fails(|| drop(told(&good.replace("254", "1")).refuses("x.aci"))), "another status");
    assert!(fails(|| drop(told(&good.replace("hint", "note")).refuses("x.aci"))), "no hint");
    assert!(fails(|| drop(told(&format!("echo 'proa: more' >&2; {good}")).refuses("x.aci"))), "two errors");
    assert!(fails(|| drop(told(&format!("printf '\\033[m' >&2; {good}")).refuses("x.aci"))), "control characters");
}
