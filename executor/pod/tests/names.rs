//! Names: claimed by one, kept while their pod is of use, free afterwards without any repair.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;

use appc::PodUuid;
use pod::{Place, Pod, PodError, PodName, Preparing, State, Unaided};
use support::Data;

fn name() -> PodName {
    "web".parse().unwrap()
}

fn create(data: &Data) -> Result<Pod<Preparing>, PodError> {
    data.pods.create(PodUuid::new_v4(), Some(&name())).and_then(Pod::prepare)
}

#[test]
fn of_many_creators_one_gets_the_name_and_the_others_learn_who() {
    for _ in 0..20 {
        let data = Data::new();
        let results: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| create(&data))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let winner = results.iter().find_map(|result| result.as_ref().ok()).unwrap().uuid();
        let mut losers = 0;
        for error in results.iter().filter_map(|result| result.as_ref().err()) {
            let PodError::NameInUse { holder, .. } = error else { panic!("{error}") };
            assert_eq!(*holder, winner);
            losers += 1;
        }
        assert_eq!(losers, 7);
        // Losing leaves nothing behind.
        assert_eq!(data.left(), BTreeSet::from([format!("prepare/{winner}"), "names/web".to_owned()]));
    }
}

#[test]
fn the_refusal_names_holder_and_state() {
    let data = Data::new();
    let first = data.running(Some("web"));
    let text = create(&data).unwrap_err().to_string();
    assert_eq!(text, format!("pod name \"web\" is in use by pod {} (running)", first.uuid()));
}

#[test]
fn a_name_is_kept_as_long_as_its_pod_is_of_use() {
    let data = Data::new();
    let in_state = |expected: State| match create(&data) {
        Err(PodError::NameInUse { state, .. }) => assert_eq!(state, expected),
        other => panic!("{other:?}"),
    };
    let embryo = data.pods.create(PodUuid::new_v4(), Some(&name())).unwrap();
    in_state(State::Embryo);
    let pod = embryo.prepare().unwrap();
    in_state(State::Preparing);
    let uuid = pod.into_prepared(false).unwrap();
    in_state(State::Prepared);
    let pod = data.pods.run_prepared(uuid, None).unwrap();
    in_state(State::Running);
    drop(pod);
    in_state(State::Exited);
    let mark = pod::GcOptions { mark_only: true, ..pod::GcOptions::default() };
    data.pods.gc(&mark, &Unaided).unwrap();
    in_state(State::ExitedGarbage);
    assert_eq!(data.pods.find("web").unwrap().uuid, uuid);
    data.pods.remove(uuid, &Unaided).unwrap();
    create(&data).unwrap().remove(&Unaided).unwrap();
    assert_eq!(data.left(), BTreeSet::new());
}

/// Something that is left in a data directory, and how it comes to be there.
type Leftover = (&'static str, fn(&Data));

#[test]
fn a_name_whose_pod_is_gone_is_free() {
    let stale: [Leftover; 6] = [
        ("aborted prepare", |data| drop(data.preparing(Some("web")))),
        ("dead embryo", |data| drop(data.pods.create(PodUuid::new_v4(), Some(&name())).unwrap())),
        ("no such pod", |data| symlink(PodUuid::new_v4().to_string(), data.path("names/web")).unwrap()),
        ("no UUID", |data| symlink("../../../etc/passwd", data.path("names/web")).unwrap()),
        ("no link", |data| fs::write(data.path("names/web"), "x").unwrap()),
        ("garbage", |data| {
            let uuid = data.running(Some("web")).uuid();
            fs::rename(data.pod_path(Place::Run, uuid), data.pod_path(Place::Garbage, uuid)).unwrap();
        }),
    ];
    for (what, leave) in stale {
        let data = Data::new();
        leave(&data);
        let pod = create(&data).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(data.pods.find("web").unwrap().uuid, pod.uuid(), "{what}");
        // What becomes of the earlier holder does not touch the new one.
        data.gc_everything();
        assert_eq!(data.pods.find("web").unwrap().uuid, pod.uuid(), "{what}");
        pod.remove(&Unaided).unwrap();
        assert_eq!(data.left(), BTreeSet::new(), "{what}");
    }
}

#[test]
fn gc_frees_stale_names_only() {
    let data = Data::new();
    let _live = data.running(Some("live"));
    symlink(PodUuid::new_v4().to_string(), data.path("names/stale")).unwrap();
    data.gc_everything();
    let names: Vec<_> = fs::read_dir(data.path("names")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["live"]);
}

#[test]
fn a_pod_shows_a_name_only_while_it_holds_it() {
    let data = Data::new();
    let first = data.preparing(Some("web")).uuid();
    let second = data.running(Some("web"));
    for entry in data.pods.list().unwrap() {
        assert_eq!(entry.name.is_some(), entry.uuid == second.uuid());
    }
    assert_eq!(data.pods.find(&first.to_string()).unwrap().name, None);
    data.pods.remove(first, &Unaided).unwrap();
    assert_eq!(data.pods.find("web").unwrap().uuid, second.uuid());
}
