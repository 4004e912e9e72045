//! A store that several use at once, that somebody breaks, or whose user is interrupted.

use std::fs;
use std::time::{Duration, Instant};

use integration_tests::images::{Aci, Layout, Tree, busybox};
use integration_tests::registry::Setup;
use integration_tests::{limit, needs};
use rustix::process::Signal;

use crate::somebody;

/// Eight at once store one copy, and none of them fails (table 61).
#[test]
fn table_61_eight_fetches_of_the_same_image() {
    let env = needs!(somebody());
    let registry = needs!(Setup::plain().start(&env, "registry"));
    let layout = Layout::new("app").layer(busybox()).layer(Tree::new().file("f", vec![1; 300_000], 0o644)).build(&env);
    needs!(registry.push(&layout, "app:v1", &[]));
    let image = format!("docker://{}", registry.name("app:v1"));
    let all: Vec<_> = (0..8).map(|_| env.proa(["--insecure-options=http", "fetch", &image]).start()).collect();
    let ids: Vec<_> = all.into_iter().map(|running| running.wait().succeeds().line().to_owned()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let count = |dir: &str| fs::read_dir(env.data().join("store").join(dir)).expect("there").count();
    assert_eq!((count("images"), count("trees"), count("blobs/sha256"), count("tmp")), (1, 2, 2, 0));
    env.proa(["image", "verify", "--all"]).outcome().succeeds();
}

/// What an interrupted fetch leaves is only what gc takes away, and the next one succeeds.
#[test]
fn table_68_an_interrupted_fetch() {
    let env = needs!(somebody());
    let many = (0..300).fold(busybox(), |tree, n| tree.file(format!("f{n}"), vec![7; 50_000], 0o644));
    let image = Aci::new("many", many).build(&env);
    let fetch = || env.proa(["--insecure-options=image".as_ref(), "fetch".as_ref(), image.as_os_str()]);
    for signal in [Signal::INT, Signal::TERM] {
        let running = fetch().start();
        let deadline = Instant::now() + limit();
        while fs::read_dir(env.data().join("store/tmp")).map_or(0, Iterator::count) == 0 {
            assert!(Instant::now() < deadline, "it does not begin");
            std::thread::sleep(Duration::from_millis(1));
        }
        running.kill(signal);
        let outcome = running.wait();
        assert_eq!(outcome.signal(), Some(signal.as_raw()), "{outcome}");
        // Its extractor dies with it, but a moment later.
        let left = || fs::read_dir(env.data().join("store/tmp")).expect("there").count();
        let deadline = Instant::now() + limit();
        while left() > 0 {
            assert!(Instant::now() < deadline, "something is left after {signal:?}");
            env.proa(["gc"]).outcome().succeeds();
        }
    }
    fetch().outcome().succeeds();
}

/// There is no index beside the images, but somebody may remove their records.
#[test]
fn table_73_the_records_are_gone() {
    let env = needs!(somebody());
    let layout = Layout::new("app").layer(busybox()).sh("echo it runs").build(&env);
    let fetch = format!("oci:{}", layout.display());
    let id = env.proa(["fetch", &fetch]).outcome().succeeds().line().to_owned();
    for whole in [false, true] {
        let images = env.data().join("store/images");
        fs::remove_dir_all(&images).expect("root or its owner may");
        if !whole {
            env.make_dir(&images);
        }
        // Without its record an image is not there; what it was made of is neither used nor trusted by its place alone.
        let run = env.proa(["run", "--net=none", &id]).outcome().exits(254);
        assert!(!run.stdout.contains("it runs"), "{run}");
        env.proa(["fetch", &fetch]).outcome().succeeds().prints(&format!("{id}\n"));
        env.proa(["run", "--net=none", &id]).outcome().succeeds().prints("it runs\n");
    }
}

/// Who needs the index waits for whoever holds it, and no longer.
#[test]
fn table_78_the_lock_of_the_index_is_waited_for() {
    let env = needs!(somebody());
    let layout = Layout::new("app").layer(busybox()).build(&env);
    let id = env.proa(["fetch", &format!("oci:{}", layout.display())]).outcome().succeeds().line().to_owned();
    let lock = fs::File::open(env.data().join("store/locks/index")).expect("it is there");
    lock.lock().expect("nobody holds it");
    let running = env.proa(["image", "rm", &id]).start();
    let holds = || fs::read_dir(format!("/proc/{}/fd", running.pid())).into_iter().flatten().flatten();
    let deadline = Instant::now() + limit();
    while !holds().any(|fd| fs::read_link(fd.path()).is_ok_and(|it| it.ends_with("locks/index"))) {
        assert!(Instant::now() < deadline, "it does not come to the lock");
    }
    assert!(env.data().join("store/images").join(format!("{}.json", id.replace(':', "-"))).exists());
    drop(lock);
    running.wait().succeeds();
}
