//! Data directories that cannot be trusted, read or written, and files that are not what they should be.

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use appc::PodUuid;
use pod::{Place, PodError, Pods, State, Unaided};
use support::{Data, as_user, everything};

fn set_mode(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn data_directories_of_others_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for mode in [0o777, 0o770, 0o1777, 0o702] {
        set_mode(&dir, mode);
        let error = Pods::ensure(dir.path()).unwrap_err();
        assert!(matches!(error, PodError::DataDirWritable { mode: found, .. } if found == mode), "{error}");
    }
    set_mode(&dir, 0o755);
    Pods::ensure(dir.path()).unwrap();
    set_mode(dir.path().join("pods"), 0o777);
    assert!(matches!(Pods::ensure(dir.path()), Err(PodError::DataDirWritable { path, .. }) if path.ends_with("pods")));

    let error = as_user(|| Pods::ensure(Path::new("/usr")).unwrap_err().to_string());
    assert!(error.starts_with("/usr belongs to uid 0, not to uid "), "{error}");
}

#[test]
fn a_data_directory_is_a_directory_and_no_link() {
    let dir = tempfile::tempdir().unwrap();
    let (link, file) = (dir.path().join("link"), dir.path().join("file"));
    fs::create_dir(dir.path().join("real")).unwrap();
    symlink("real", &link).unwrap();
    fs::write(&file, "").unwrap();
    assert!(matches!(Pods::ensure(&link), Err(PodError::DataDirSymlink { .. })));
    assert!(matches!(Pods::ensure(&link.join("")), Err(PodError::DataDirSymlink { .. })));
    assert!(matches!(Pods::ensure(&file), Err(PodError::DataDirKind { .. })));
    assert_eq!(fs::read_dir(dir.path().join("real")).unwrap().count(), 0);

    symlink(dir.path().join("elsewhere"), dir.path().join("real/pods")).unwrap();
    assert!(Pods::ensure(&dir.path().join("real")).is_err());
    assert!(!dir.path().join("elsewhere").exists());
}

#[test]
fn what_is_missing_is_made_private() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("a/b/proa");
    let pods = Pods::ensure(&data).unwrap();
    assert!(!pods.is_read_only() && pods.list().unwrap().is_empty());
    for path in ["", "pods", "pods/run", "pods/names"] {
        assert_eq!(fs::metadata(data.join(path)).unwrap().permissions().mode() & 0o777, 0o700, "{path}");
    }
    // Many at once, the first time.
    let fresh = dir.path().join("fresh");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| Pods::ensure(&fresh).unwrap().create(PodUuid::new_v4(), None).unwrap());
        }
    });
}

#[test]
fn a_lost_place_is_made_again() {
    let data = Data::new();
    for place in Place::ALL {
        fs::remove_dir_all(data.path(place.dir_name())).unwrap();
    }
    fs::remove_dir(data.path("names")).unwrap();
    assert!(data.pods.list().unwrap().is_empty());
    data.running(Some("web")).remove(&Unaided).unwrap();
    assert!(data.left().is_empty());
}

#[test]
fn a_later_format_is_read_and_not_changed() {
    let data = Data::new();
    let exited = data.running(Some("web")).uuid();
    let prepared = data.preparing(None).into_prepared(false).unwrap();
    fs::write(data.path("format"), "7\n").unwrap();
    let before = support::snapshot(data.dir.path());

    let pods = Pods::ensure(data.dir.path()).unwrap();
    assert!(pods.is_read_only());
    assert_eq!(pods.list().unwrap().len(), 2);
    assert_eq!(pods.find("web").unwrap().uuid, exited);
    for error in [
        pods.create(PodUuid::new_v4(), None).unwrap_err(),
        pods.remove(exited, &Unaided).unwrap_err(),
        pods.run_prepared(prepared, None).unwrap_err(),
        pods.gc(&everything(), &Unaided).unwrap_err(),
    ] {
        assert_eq!(error.to_string(), "pods/ has format 7, this version knows up to 1: it can only be read");
    }
    assert_eq!(support::snapshot(data.dir.path()), before);
}

#[test]
fn a_broken_format_is_refused() {
    for broken in ["", "x", "0", "-1", "1 2", "99999999999999999999", &"1".repeat(10_000)] {
        let data = Data::new();
        fs::write(data.path("format"), broken).unwrap();
        let error = Pods::ensure(data.dir.path()).unwrap_err().to_string();
        assert!(error.contains("pods/format"), "{error}");
    }
    let data = Data::new();
    fs::remove_file(data.path("format")).unwrap();
    symlink("/etc/passwd", data.path("format")).unwrap();
    assert!(matches!(Pods::ensure(data.dir.path()), Err(PodError::NotAFile { .. })));
}

#[test]
fn a_directory_that_cannot_be_written_is_named_and_nothing_is_left() {
    as_user(|| {
        let dir = tempfile::tempdir().unwrap();
        set_mode(&dir, 0o500);
        let error = Pods::ensure(dir.path()).unwrap_err();
        assert_eq!(error.errno(), Some(rustix::io::Errno::ACCESS));
        assert!(error.to_string().ends_with("/pods\")"), "{error}");
        set_mode(&dir, 0o700);

        let data = Data::new();
        let exited = data.running(None).uuid();
        let uuid = PodUuid::from_random([0; 16]);
        for place in ["embryo/00", "prepare", "run"] {
            set_mode(data.path(place), 0o500);
            let pod = data.pods.create(uuid, Some(&"web".parse().unwrap()));
            let result = pod.and_then(pod::Pod::prepare).and_then(pod::Pod::into_running);
            assert_eq!(result.unwrap_err().errno(), Some(rustix::io::Errno::ACCESS), "{place}");
            assert_eq!(data.pods.list().unwrap()[0].state, State::Exited);
            set_mode(data.path(place), 0o700);
            assert_eq!(data.left().into_iter().collect::<Vec<_>>(), [format!("run/{exited}")], "{place}");
        }
    });
}

/// A file of a pod, and how it is read.
type Reading<'a> = (&'static str, &'a dyn Fn() -> Option<PodError>);

/// A way to break a file.
type Break<'a> = (&'static str, Box<dyn Fn() + 'a>);

#[test]
fn broken_files_of_a_pod_are_named_and_harm_no_other() {
    let data = Data::new();
    let app = "main".parse().unwrap();
    let broken = data.running(None);
    let _whole = data.running(Some("whole"));
    broken.write_pod_status(0).unwrap();
    broken.write_app_status(&app, 0, &pod::AppStatus::default()).unwrap();
    let path = data.pod_path(Place::Run, broken.uuid());
    let entry = data.pods.find(&broken.uuid().to_string()).unwrap();
    let record = data.pods.open(&entry).unwrap();

    let files: [Reading<'_>; 3] = [
        ("pod", &|| record.manifest().err()),
        ("status", &|| record.pod_status().err()),
        ("app.main.0", &|| record.app_status(&app, 0).err()),
    ];
    for (name, read) in files {
        let file = path.join(name);
        let breaks: [Break<'_>; 7] = [
            ("truncated", Box::new(|| fs::write(&file, "").unwrap())),
            ("nonsense", Box::new(|| fs::write(&file, "{\"a\":\u{1}").unwrap())),
            ("deep", Box::new(|| fs::write(&file, "[".repeat(60_000)).unwrap())),
            ("huge", Box::new(|| fs::write(&file, vec![b' '; (4 << 20) + 1]).unwrap())),
            ("link", Box::new(|| symlink("/etc/passwd", &file).unwrap())),
            ("directory", Box::new(|| fs::create_dir(&file).unwrap())),
            (
                "fifo",
                Box::new(|| {
                    rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
                }),
            ),
        ];
        for (what, destroy) in breaks {
            let _ = fs::remove_file(&file).or_else(|_| fs::remove_dir(&file));
            destroy();
            let error = read().unwrap_or_else(|| panic!("{name} {what} was read")).to_string();
            assert!(error.contains(name) || error.contains("manifest of pod"), "{name} {what}: {error}");
        }
        let _ = fs::remove_file(&file).or_else(|_| fs::remove_dir(&file));
    }
    assert_eq!(data.pods.list().unwrap().len(), 2);
    broken.remove(&Unaided).unwrap();
}

#[test]
fn a_pod_with_a_broken_lock_is_named_and_harms_no_other() {
    let broken: [fn(&Path); 3] = [
        |lock| symlink("/etc/passwd", lock).unwrap(),
        |lock| fs::create_dir(lock).unwrap(),
        |lock| rustix::fs::mknodat(rustix::fs::CWD, lock, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap(),
    ];
    for destroy in broken {
        let data = Data::new();
        let (sick, well) = (data.running(None).uuid(), data.running(None).uuid());
        let lock = data.pod_path(Place::Run, sick).join("lock");
        fs::remove_file(&lock).unwrap();
        destroy(&lock);
        assert_eq!(data.pods.list().unwrap().len(), 2);
        assert!(data.pods.remove(sick, &Unaided).unwrap_err().to_string().contains("lock"));
        let report = data.gc_everything();
        assert_eq!(report.removed, [well]);
        assert_eq!(report.failures.len(), 1);
    }
}

#[test]
fn what_is_no_pod_is_passed_over() {
    let data = Data::new();
    for strange in ["x", "6733C088-A507-4694-AABB-9C8BA3AE7F3A", "6733c088a5074694aabb9c8ba3ae7f3a", ".tmp"] {
        fs::create_dir(data.path("run").join(strange)).unwrap();
    }
    fs::write(data.path("run/6733c088-a507-4694-aabb-9c8ba3ae7f3a"), "a file").unwrap();
    assert!(data.pods.list().unwrap().len() <= 1);
    assert!(data.pods.gc(&everything(), &Unaided).is_ok());
}
