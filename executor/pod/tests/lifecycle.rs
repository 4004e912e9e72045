//! What a pod goes through when nothing goes wrong, and what can be asked of it meanwhile.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::time::Duration;

use appc::{AcName, PodUuid};
use pod::{AppExit, AppStatus, FindError, GcOptions, Place, PodError, PodStatus, State, Unaided, now_ns};
use support::Data;

fn state_of(data: &Data, uuid: PodUuid) -> Option<State> {
    data.pods.list().unwrap().into_iter().find(|entry| entry.uuid == uuid).map(|entry| entry.state)
}

fn app(name: &str) -> AcName {
    name.parse().unwrap()
}

#[test]
fn a_pod_is_seen_in_every_state_of_its_life() {
    let data = Data::new();
    let uuid = PodUuid::new_v4();
    let before = now_ns();

    let pod = data.pods.create(uuid, None).unwrap();
    assert_eq!(state_of(&data, uuid), Some(State::Embryo));
    let pod = pod.prepare().unwrap();
    assert_eq!(state_of(&data, uuid), Some(State::Preparing));
    pod.write_manifest(b"{}").unwrap();
    assert_eq!(pod.into_prepared(true).unwrap(), uuid);
    assert_eq!(state_of(&data, uuid), Some(State::Prepared));
    let pod = data.pods.run_prepared(uuid, None).unwrap();
    assert_eq!(state_of(&data, uuid), Some(State::Running));
    pod.mark_started().unwrap();

    let entry = data.pods.find(&uuid.to_string()).unwrap();
    let (created, started) = (entry.created_ns.unwrap(), entry.started_ns.unwrap());
    // The kernel stamps files with the time of its last tick.
    let tick = 20_000_000;
    assert!(before - tick <= created && created <= started && started <= now_ns(), "{before} {created} {started}");

    drop(pod);
    assert_eq!(state_of(&data, uuid), Some(State::Exited));
    let mark = GcOptions { mark_only: true, ..GcOptions::default() };
    assert_eq!(data.pods.gc(&mark, &Unaided).unwrap().marked, [uuid]);
    assert_eq!(state_of(&data, uuid), Some(State::ExitedGarbage));
    assert_eq!(data.pods.gc(&GcOptions::default(), &Unaided).unwrap().within_grace[0].0, uuid);
    assert_eq!(state_of(&data, uuid), Some(State::ExitedGarbage));
    assert_eq!(data.gc_everything().removed, [uuid]);
    assert_eq!(state_of(&data, uuid), None);
    assert_eq!(data.left(), BTreeSet::new());
}

#[test]
fn a_run_pod_is_removed_without_a_trace() {
    let data = Data::new();
    let pod = data.running(Some("web"));
    pod.add_volume(&app("cache"), 0o1777, None).unwrap();
    pod.write_app_status(&app("main"), 0, &AppStatus::default()).unwrap();
    pod.write_app_status(&app("main"), 0, &AppStatus { finished_ns: Some(1), ..AppStatus::default() }).unwrap();
    pod.write_app_status(&app("main"), 1, &AppStatus::default()).unwrap();
    pod.write_pod_status(3).unwrap();
    pod.remove(&Unaided).unwrap();
    assert_eq!(data.left(), BTreeSet::new());
}

#[test]
fn what_apps_and_executor_have_left_behind_goes_too() {
    let data = Data::new();
    let pod = data.running(None);
    let path = data.pod_path(Place::Run, pod.uuid());
    fs::create_dir_all(path.join("upper.main/var/lib")).unwrap();
    fs::write(path.join("upper.main/var/lib/db"), "x").unwrap();
    fs::write(path.join("hosts"), "127.0.0.1").unwrap();
    pod.remove(&Unaided).unwrap();
    assert_eq!(data.left(), BTreeSet::new());
}

#[test]
fn statuses_and_manifest_are_read_back() {
    let data = Data::new();
    let pod = data.running(None);
    pod.add_app(&app("idle"), None).unwrap();
    let first = AppStatus { created_ns: 1, started_ns: Some(2), finished_ns: Some(3), ..AppStatus::default() };
    let second = AppStatus { exit: Some(AppExit::Signal(9)), oom_killed: true, ..first.clone() };
    pod.write_app_status(&app("main"), 9, &first).unwrap();
    pod.write_app_status(&app("main"), 10, &second).unwrap();
    pod.write_pod_status(137).unwrap();
    let entry = data.pods.find(&pod.uuid().to_string()).unwrap();
    drop(pod);

    data.pods.gc(&GcOptions { mark_only: true, ..GcOptions::default() }, &Unaided).unwrap();
    let record = data.pods.open(&entry).unwrap();
    assert_eq!(record.manifest_bytes().unwrap(), b"{}");
    assert_eq!(record.attempts(&app("main")).unwrap(), [9, 10]);
    assert_eq!(record.app_status(&app("main"), 9).unwrap(), Some(first));
    assert_eq!(record.statuses().unwrap(), [(app("idle"), None), (app("main"), Some(second))]);
    assert!(matches!(record.pod_status().unwrap(), Some(PodStatus { status: 137, .. })));

    data.pods.remove(entry.uuid, &Unaided).unwrap();
    assert!(matches!(data.pods.open(&entry), Err(PodError::NotFound { .. })));
}

#[test]
fn status_files_are_as_the_golden_ones() {
    let data = Data::new();
    let pod = data.running(None);
    let full = AppStatus {
        created_ns: 1_700_000_000_000_000_001,
        started_ns: Some(1_700_000_000_000_000_002),
        finished_ns: Some(1_700_000_000_000_000_003),
        exit: Some(AppExit::Signal(9)),
        reason: Some("killed for want of memory".to_owned()),
        oom_killed: true,
        restarting: true,
        not_executed: true,
        logs_lost: 4096,
        health: Some(serde_json::json!({ "status": "healthy" })),
    };
    let plain = AppStatus { created_ns: 1, finished_ns: Some(3), exit: Some(AppExit::Code(0)), ..AppStatus::default() };
    pod.write_app_status(&app("main"), 0, &full).unwrap();
    pod.write_app_status(&app("main"), 1, &plain).unwrap();
    let path = data.pod_path(Place::Run, pod.uuid());
    let read = |name: &str| fs::read_to_string(path.join(name)).unwrap();
    assert_eq!(read("app.main.0"), include_str!("golden/app-status-full.json"));
    assert_eq!(read("app.main.1"), include_str!("golden/app-status-plain.json"));
    pod.write_pod_status(3).unwrap();
    let status: PodStatus = serde_json::from_str(&read("status")).unwrap();
    let golden = include_str!("golden/pod-status.json").replace("FINISHED", &status.finished_ns.to_string());
    assert_eq!(read("status"), golden);
}

#[test]
fn what_is_made_is_private_and_umask_proof() {
    let data = Data::new();
    let pod = data.running(None);
    let volume = pod.add_volume(&app("shared"), 0o1777, None).unwrap();
    assert_eq!(rustix::fs::fstat(&volume).unwrap().st_mode & 0o7777, 0o1777);
    pod.write_pod_status(0).unwrap();
    let path = data.pod_path(Place::Run, pod.uuid());
    for (name, mode) in [
        ("", 0o700),
        ("pod", 0o400),
        ("lock", 0o600),
        ("started", 0o600),
        ("status", 0o600),
        ("upper.main", 0o755),
        ("work.main", 0o700),
        ("volumes/shared", 0o1777),
    ] {
        let found = fs::metadata(path.join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(found, mode, "{name}: {found:o}");
    }
}

#[test]
fn directories_are_given_to_the_container_root() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can give a directory away");
        return;
    }
    let data = Data::new();
    let pod = data.preparing(None);
    pod.add_app(&app("main"), Some((70_000, 70_001))).unwrap();
    pod.add_volume(&app("v"), 0o755, Some((70_002, 70_003))).unwrap();
    let path = data.pod_path(Place::Prepare, pod.uuid());
    let owner = |name: &str| fs::metadata(path.join(name)).map(|meta| (meta.uid(), meta.gid())).unwrap();
    assert_eq!(owner("upper.main"), (70_000, 70_001));
    assert_eq!(owner("work.main"), (70_000, 70_001));
    assert_eq!(owner("volumes/v"), (70_002, 70_003));
}

#[test]
fn only_one_of_many_runs_a_prepared_pod() {
    let data = Data::new();
    let uuid = data.preparing(Some("once")).into_prepared(false).unwrap();
    let all: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| data.pods.run_prepared(uuid, None))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (winners, losers): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
    // Who waits for the lock of one that runs by now is told so, and not when his patience is at an end.
    assert!(losers.iter().all(|lost| matches!(lost, Err(PodError::NotFound { .. }))), "{losers:?}");
    let winners: Vec<_> = winners.into_iter().flatten().collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(winners[0].name().unwrap().as_str(), "once");
    assert_eq!(state_of(&data, uuid), Some(State::Running));
}

#[test]
fn what_is_alive_is_neither_removed_nor_collected() {
    let data = Data::new();
    let (preparing, running) = (data.preparing(None), data.running(None));
    for uuid in [preparing.uuid(), running.uuid()] {
        assert!(matches!(data.pods.remove(uuid, &Unaided), Err(PodError::WrongState { .. })));
    }
    let report = data.gc_everything();
    assert!(report.removed.is_empty() && report.marked.is_empty() && report.failures.is_empty(), "{report:?}");
    assert_eq!(state_of(&data, preparing.uuid()), Some(State::Preparing));
    assert_eq!(state_of(&data, running.uuid()), Some(State::Running));
}

#[test]
fn rm_removes_what_has_ended_and_what_never_began() {
    let data = Data::new();
    let exited = data.running(Some("a")).uuid();
    let aborted = data.preparing(Some("b")).uuid();
    let prepared = data.preparing(Some("c")).into_prepared(false).unwrap();
    for uuid in [exited, aborted, prepared] {
        data.pods.remove(uuid, &Unaided).unwrap();
        assert!(matches!(data.pods.remove(uuid, &Unaided), Err(PodError::NotFound { .. })));
    }
    assert_eq!(data.left(), BTreeSet::new());
}

#[test]
fn prepared_pods_expire_only_in_time() {
    let data = Data::new();
    let uuid = data.preparing(None).into_prepared(false).unwrap();
    assert!(data.pods.gc(&GcOptions::default(), &Unaided).unwrap().expired.is_empty());
    let soon = GcOptions { expire_prepared: Duration::from_millis(30), ..GcOptions::default() };
    std::thread::sleep(Duration::from_millis(60));
    let report = data.pods.gc(&soon, &Unaided).unwrap();
    assert_eq!((report.expired, report.removed), (vec![uuid], vec![uuid]));
}

#[test]
fn pods_are_found_by_name_uuid_and_prefix_with_rkts_texts() {
    let data = Data::new();
    let keep: Vec<_> = ["6733c088-a507-4694-aabb-9c8ba3ae7f3a", "6733c088-a507-4694-aabb-9c8ba3ae7f3b"]
        .map(|uuid| data.pods.create(uuid.parse().unwrap(), None).unwrap().prepare().unwrap())
        .into();
    let named = data.running(Some("web"));
    let found = |needle: &str| data.pods.find(needle).map(|entry| entry.uuid).map_err(|e| e.to_string());

    assert_eq!(found("web"), Ok(named.uuid()));
    assert_eq!(data.pods.find("web").unwrap().name.unwrap().as_str(), "web");
    assert_eq!(found("6733C088A5074694AABB9C8BA3AE7F3A"), Ok(keep[0].uuid()));
    assert_eq!(found("6733c088-a507-4694-aabb-9c8ba3ae7f3b"), Ok(keep[1].uuid()));
    assert_eq!(found(&named.uuid().to_string()[..13]), Ok(named.uuid()));
    assert_eq!(found("6733"), Err("\"6733\": ambiguous uuid, 2 matches".to_owned()));
    assert_eq!(found(""), Err("UUID cannot be empty".to_owned()));
    assert_eq!(found("6733c088-b"), Err("no matches found for \"6733c088-b\"".to_owned()));
    for strange in ["%", "_", "-", "..", "../run", "*", "6733c088-a507-4694-aabb-9c8ba3ae7f3a0", "\u{1b}[1m"] {
        assert!(matches!(data.pods.find(strange), Err(FindError::NoMatch { .. })), "{strange}");
    }
    assert!(matches!(data.pods.find(&"6".repeat(1 << 20)), Err(FindError::NoMatch { needle }) if needle.len() == 80));
}

#[test]
fn embryos_and_garbage_are_listed_but_not_found() {
    let data = Data::new();
    let embryo = data.pods.create(PodUuid::new_v4(), None).unwrap();
    let garbage = PodUuid::new_v4();
    fs::create_dir(data.pod_path(Place::Garbage, garbage)).unwrap();
    assert_eq!(state_of(&data, garbage), Some(State::Garbage));
    for uuid in [embryo.uuid(), garbage] {
        assert!(matches!(data.pods.find(&uuid.to_string()), Err(FindError::NoMatch { .. })));
        assert!(matches!(data.pods.find(&uuid.to_string()[..8]), Err(FindError::NoMatch { .. })));
    }
}

#[test]
fn a_thousand_exited_pods_are_listed_in_no_time() {
    let data = Data::in_memory();
    for _ in 0..1000 {
        data.running(None);
    }
    let began = std::time::Instant::now();
    let listed = data.pods.list().unwrap();
    let took = began.elapsed();
    eprintln!("list of 1,000 exited pods: {took:?}");
    assert!(listed.len() == 1000 && listed.iter().all(|entry| entry.state == State::Exited));
    // The budget is 50 ms for an optimized build on a quiet machine.
    assert!(took < Duration::from_secs(1), "{took:?}");
    let report = data.gc_everything();
    assert_eq!((report.marked.len(), report.removed.len(), report.failures.len()), (1000, 1000, 0));
}

#[test]
fn a_second_pod_of_the_same_uuid_is_refused_and_the_first_is_unharmed() {
    let data = Data::new();
    let first = data.running(None);
    let again = data.pods.create(first.uuid(), None).unwrap().prepare().unwrap();
    assert!(matches!(data.pods.create(first.uuid(), None).unwrap().prepare(), Err(PodError::UuidInUse { .. })));
    assert!(matches!(again.into_running(), Err(PodError::UuidInUse { .. })));
    assert_eq!(state_of(&data, first.uuid()), Some(State::Running));
    first.remove(&Unaided).unwrap();
    assert_eq!(data.left(), BTreeSet::new());
}

#[test]
fn what_others_change_of_a_pod_counts_for_its_next_run() {
    let data = Data::new();
    let pod = data.running(None);
    let uuid = pod.uuid();
    let read = || data.pods.open(&data.pods.find(&uuid.to_string()).unwrap()).unwrap();
    let amendment = data.pods.amend(uuid).unwrap();
    amendment.replace_setup(b"{}").unwrap();
    amendment.mark_stopped(true).unwrap();
    amendment.mark_stopped(false).unwrap();
    assert_eq!((amendment.setup().unwrap(), read().setup().unwrap()), (Some(b"{}".to_vec()), Some(b"{}".to_vec())));
    assert!(read().was_stopped().unwrap());
    assert_eq!(state_of(&data, uuid), Some(State::Running), "that it is amended is not its life");
    // One at a time.
    let second = std::thread::scope(|scope| {
        let second = scope.spawn(|| data.pods.amend(uuid).map(|_| ()));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!second.is_finished());
        drop(amendment);
        second.join().unwrap()
    });
    second.unwrap();

    // It was started for nothing, then not.
    let status = |not_executed| AppStatus { not_executed, ..AppStatus::default() };
    pod.write_app_status(&app("main"), 0, &status(true)).unwrap();
    drop(pod);
    let pod = data.pods.run_again(uuid, None).unwrap();
    assert_eq!((read().was_stopped().unwrap(), read().has_run_before().unwrap()), (false, false));
    pod.write_app_status(&app("main"), 0, &status(false)).unwrap();
    drop(pod);
    let pod = data.pods.run_again(uuid, None).unwrap();
    pod.write_app_status(&app("main"), 0, &status(true)).unwrap();
    assert!(read().has_run_before().unwrap());
    drop(pod);
    drop(data.pods.run_again(uuid, None).unwrap());
    assert!(read().has_run_before().unwrap());
    data.gc_everything();
    assert!(matches!(data.pods.amend(uuid), Err(PodError::NotFound { .. })));
    assert_eq!(data.left(), BTreeSet::new());
}
