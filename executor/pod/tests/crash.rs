//! Processes that are killed while they work on a pod, and what the next command makes of what they leave.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use appc::PodUuid;
use pod::{AppStatus, Place, Pod, PodError, PodName, Pods, State, Unaided};
use support::Data;

/// Where the helper stops and waits to be killed, what it looks like then and afterwards, and whether its name is
/// still its own.
const STEPS: [(&str, State, State, bool); 8] = [
    ("created", State::Embryo, State::Embryo, false),
    ("preparing", State::Preparing, State::AbortedPrepare, false),
    ("manifest", State::Preparing, State::AbortedPrepare, false),
    ("app", State::Preparing, State::AbortedPrepare, false),
    ("prepared", State::Prepared, State::Prepared, true),
    ("running", State::Running, State::Exited, true),
    ("started", State::Running, State::Exited, true),
    ("statuses", State::Running, State::Exited, true),
];

/// The helper: goes on until `step`, says so in the file `reached`, and waits for its end.
fn work_until(step: &str, data_dir: &Path) -> ! {
    let reached = |this: &str| {
        if this == step {
            fs::write(data_dir.join("reached"), "").unwrap();
            std::thread::sleep(Duration::from_secs(60));
            std::process::exit(1);
        }
    };
    let pods = Pods::ensure(data_dir).unwrap();
    let pod = pods.create(PodUuid::new_v4(), Some(&name())).unwrap();
    reached("created");
    let pod = pod.prepare().unwrap();
    reached("preparing");
    pod.write_manifest(b"{}").unwrap();
    reached("manifest");
    let app = "main".parse().unwrap();
    pod.add_app(&app, None).unwrap();
    reached("app");
    let pod = if step == "prepared" {
        let uuid = pod.into_prepared(true).unwrap();
        reached("prepared");
        pods.run_prepared(uuid, None).unwrap()
    } else {
        pod.into_running().unwrap()
    };
    reached("running");
    pod.mark_started().unwrap();
    reached("started");
    pod.write_app_status(&app, 0, &AppStatus::default()).unwrap();
    pod.write_pod_status(0).unwrap();
    reached("statuses");
    panic!("no step {step}");
}

fn name() -> PodName {
    "web".parse().unwrap()
}

#[test]
fn killed_at_each_step() {
    if let (Ok(step), Some(dir)) = (std::env::var("POD_TEST_STEP"), std::env::var_os("POD_TEST_DATA")) {
        work_until(&step, Path::new(&dir));
    }
    for (step, alive, dead, keeps_name) in STEPS {
        let data = Data::new();
        let mut helper = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed_at_each_step"])
            .env("POD_TEST_STEP", step)
            .env("POD_TEST_DATA", data.dir.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while !data.dir.path().join("reached").exists() {
            assert!(Instant::now() < deadline && helper.try_wait().unwrap().is_none(), "{step} was not reached");
            std::thread::sleep(Duration::from_millis(1));
        }
        let state = || data.pods.list().unwrap()[0].state;
        assert_eq!(state(), alive, "{step}");
        assert!(
            matches!(data.pods.create(PodUuid::new_v4(), Some(&name())), Err(PodError::NameInUse { .. })),
            "{step}"
        );
        helper.kill().unwrap();
        helper.wait().unwrap();
        assert_eq!(state(), dead, "{step}");

        match data.pods.create(PodUuid::new_v4(), Some(&name())).and_then(Pod::prepare) {
            Ok(pod) => {
                assert!(!keeps_name, "{step}");
                pod.remove(&Unaided).unwrap();
            }
            Err(PodError::NameInUse { state, .. }) => assert!(keeps_name && state == dead, "{step}"),
            Err(e) => panic!("{step}: {e}"),
        }
        let report = data.gc_everything();
        assert!(report.failures.is_empty(), "{step}: {report:?}");
        assert!(data.left().is_empty(), "{step}: {:?}", data.left());
    }
}

#[test]
fn the_lock_lives_as_long_as_any_copy_of_it() {
    let data = Data::new();
    let pod = data.running(None);
    let copy = pod.lock_fd().try_clone_to_owned().unwrap();
    drop(pod);
    assert_eq!(data.pods.list().unwrap()[0].state, State::Running);
    drop(copy);
    assert_eq!(data.pods.list().unwrap()[0].state, State::Exited);
}

/// Something that is left in a data directory, and how it comes to be there.
type Leftover<'a> = (&'static str, &'a dyn Fn(&Data));

/// States between two calls of one operation, where no helper can be made to stop.
#[test]
fn leftovers_of_half_an_operation_are_collected() {
    let uuid = PodUuid::new_v4();
    let leftovers: [Leftover<'_>; 9] = [
        ("embryo without lock", &|data| fs::create_dir(data.pod_path(Place::Embryo, uuid)).unwrap()),
        ("embryo with a free lock", &|data| drop(data.pods.create(uuid, None).unwrap())),
        ("garbage without lock", &|data| fs::create_dir(data.pod_path(Place::Garbage, uuid)).unwrap()),
        ("half removed", &|data| {
            let pod = data.pods.create(uuid, None).unwrap().prepare().unwrap();
            pod.add_app(&"main".parse().unwrap(), None).unwrap();
            fs::rename(data.pod_path(Place::Prepare, uuid), data.pod_path(Place::Garbage, uuid)).unwrap();
        }),
        ("run without lock", &|data| fs::create_dir_all(data.pod_path(Place::Run, uuid).join("apps")).unwrap()),
        ("prepare without lock", &|data| fs::create_dir(data.pod_path(Place::Prepare, uuid)).unwrap()),
        ("marked without lock", &|data| fs::create_dir(data.pod_path(Place::ExitedGarbage, uuid)).unwrap()),
        ("half a status", &|data| {
            let pod = data.running(None);
            fs::write(data.pod_path(Place::Run, pod.uuid()).join(".app.main"), "{").unwrap();
            fs::write(data.pod_path(Place::Run, pod.uuid()).join(".status"), "{").unwrap();
            pod.write_app_status(&"main".parse().unwrap(), 0, &AppStatus::default()).unwrap();
            pod.write_pod_status(1).unwrap();
        }),
        ("half a format", &|data| fs::write(data.pod_path(Place::Garbage, uuid), "").unwrap()),
    ];
    for (what, leave) in leftovers {
        let data = Data::new();
        leave(&data);
        assert_eq!(data.pods.list().unwrap().len(), 1, "{what}");
        let report = data.gc_everything();
        assert!(report.failures.is_empty(), "{what}: {report:?}");
        assert!(data.left().is_empty(), "{what}: {:?}", data.left());
    }
}

/// Before there were cradles, pods were born in `embryo` itself.
#[test]
fn embryos_of_earlier_versions_are_collected() {
    let data = Data::new();
    let embryo = |of: &str| data.path(&format!("embryo/{of}"));
    let [bare, dead, alive] = [PodUuid::new_v4(), PodUuid::new_v4(), PodUuid::new_v4()].map(|uuid| uuid.to_string());
    for uuid in [&bare, &dead, &alive] {
        fs::create_dir(embryo(uuid)).unwrap();
    }
    fs::write(embryo(&dead).join("lock"), "").unwrap();
    let lock = fs::File::create(embryo(&alive).join("lock")).unwrap();
    lock.lock().unwrap();
    assert_eq!(data.gc_everything().removed.len(), 2);
    assert_eq!([&bare, &dead, &alive].map(|uuid| embryo(uuid).exists()), [false, false, true]);
    drop(lock);
    assert_eq!(data.gc_everything().removed.len(), 1);
    assert!(!embryo(&alive).exists() && embryo("00").exists() && embryo("63").exists());
}

#[test]
fn the_clock_does_not_decide_over_the_living() {
    let data = Data::new();
    let (running, embryo) = (data.running(None), data.pods.create(PodUuid::new_v4(), None).unwrap());
    let ancient = fs::FileTimes::new().set_modified(std::time::SystemTime::UNIX_EPOCH);
    for path in [data.pod_path(Place::Run, running.uuid()), data.pod_path(Place::Embryo, embryo.uuid())] {
        for path in [path.join("lock"), path] {
            fs::File::open(path).unwrap().set_times(ancient).unwrap();
        }
    }
    let report = data.gc_everything();
    assert!(report.removed.is_empty() && report.marked.is_empty(), "{report:?}");
    embryo.prepare().unwrap().remove(&Unaided).unwrap();
    running.remove(&Unaided).unwrap();
}
