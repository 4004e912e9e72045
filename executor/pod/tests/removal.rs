//! Removing what images and apps may leave behind.

mod support;

use std::cell::Cell;
use std::error::Error;
use std::fs::{self, File};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use pod::removal::remove_tree;
use pod::{Place, PodError, RemovalError, TreeRemover, Unaided};
use rustix::fs::{CWD, FileType, Mode, OFlags, mkdirat, mknodat, openat};
use support::{Data, as_user, snapshot};

/// A directory with a tree to remove and a canary beside it that must not change.
struct Yard {
    dir: tempfile::TempDir,
    canary: Vec<String>,
}

impl Yard {
    fn new() -> Self {
        Self::in_dir(tempfile::tempdir().unwrap())
    }

    /// In memory where that is possible: for trees that take a disk long to make.
    fn in_memory() -> Self {
        Self::in_dir(tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap())
    }

    fn in_dir(dir: tempfile::TempDir) -> Self {
        fs::create_dir_all(dir.path().join("canary/dir")).unwrap();
        fs::write(dir.path().join("canary/file"), "alive").unwrap();
        fs::create_dir(dir.path().join("tree")).unwrap();
        let canary = snapshot(&dir.path().join("canary"));
        Self { dir, canary }
    }

    fn tree(&self, path: &str) -> PathBuf {
        self.dir.path().join("tree").join(path)
    }

    fn remove(&self) -> Result<(), RemovalError> {
        remove_tree(File::open(self.dir.path()).unwrap().as_fd(), "tree")
    }

    fn assert_gone(&self) {
        let result = self.remove();
        assert!(result.is_ok(), "{result:?}");
        assert!(fs::symlink_metadata(self.tree("")).is_err());
        assert_eq!(snapshot(&self.dir.path().join("canary")), self.canary);
    }
}

fn set_mode(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// `depth` directories in each other, made without long paths; the innermost.
fn nest(top: &Path, depth: usize) -> OwnedFd {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut dir = openat(CWD, top, flags, Mode::empty()).unwrap();
    for _ in 0..depth {
        mkdirat(&dir, "d", Mode::RWXU).unwrap();
        dir = openat(&dir, "d", flags, Mode::empty()).unwrap();
    }
    dir
}

#[test]
fn symbolic_links_are_removed_and_never_followed() {
    let yard = Yard::new();
    fs::create_dir_all(yard.tree("a/b")).unwrap();
    for (target, link) in [
        ("../canary", "to-dir"),
        ("../canary/file", "to-file"),
        ("../../../canary", "a/b/up"),
        ("/", "to-root"),
        (".", "a/self"),
        ("nowhere", "a/dangling"),
    ] {
        symlink(target, yard.tree(link)).unwrap();
    }
    yard.assert_gone();

    symlink("canary", yard.dir.path().join("tree")).unwrap();
    yard.assert_gone();
}

#[test]
fn special_files_and_strange_names_go() {
    let yard = Yard::new();
    mknodat(CWD, yard.tree("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(yard.tree("socket")).unwrap();
    for name in ["\n", " ", "-rf", "*", "ä", "\u{1b}[1m", &"x".repeat(255), "..."] {
        fs::write(yard.tree(name), "").unwrap();
        fs::create_dir(yard.tree("d-").with_file_name(format!("d{}", &name[..name.len().min(200)]))).unwrap();
    }
    let raw: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"\xff\xfe");
    fs::create_dir(yard.dir.path().join("tree").join(raw)).unwrap();
    fs::write(yard.dir.path().join("tree").join(raw).join(raw), "").unwrap();
    yard.assert_gone();
}

#[test]
fn directories_without_permissions_are_opened_up_by_their_owner() {
    as_user(|| {
        for mode in [0o000, 0o500, 0o600, 0o300, 0o111] {
            let yard = Yard::new();
            fs::create_dir_all(yard.tree("work/work/incompat/volatile")).unwrap();
            fs::write(yard.tree("work/work/incompat/volatile/dirty"), "").unwrap();
            for dir in ["work/work/incompat/volatile", "work/work/incompat", "work/work", "work", ""] {
                set_mode(yard.tree(dir), mode);
            }
            yard.assert_gone();
        }
    });
}

#[test]
fn any_depth_is_removed_with_few_descriptors() {
    as_user(|| {
        let yard = Yard::new();
        let innermost = nest(&yard.tree(""), 2000);
        // On every level beside the chain, too deep to be entered where they stand.
        mkdirat(&innermost, "full", Mode::RWXU).unwrap();
        let full = openat(&innermost, "full", OFlags::DIRECTORY, Mode::empty()).unwrap();
        for n in 0..40 {
            mkdirat(&full, format!("x{n}"), Mode::RWXU).unwrap();
            let x = openat(&full, format!("x{n}"), OFlags::DIRECTORY, Mode::empty()).unwrap();
            mkdirat(&x, "y", Mode::empty()).unwrap();
            rustix::fs::fchmod(&x, Mode::RUSR | Mode::XUSR).unwrap();
        }
        drop((innermost, full));
        let most = std::thread::scope(|scope| {
            let (done, is_done) = std::sync::mpsc::channel::<()>();
            let watch = scope.spawn(move || {
                let mut most = 0;
                while is_done.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                    most = most.max(fs::read_dir("/proc/self/fd").unwrap().count());
                }
                most
            });
            yard.assert_gone();
            done.send(()).unwrap();
            watch.join().unwrap()
        });
        assert!(most < 256, "{most} descriptors");
    });
}

#[test]
fn a_hundred_thousand_files_go_quickly() {
    let yard = Yard::in_memory();
    let began = Instant::now();
    for dir in 0..10 {
        fs::create_dir(yard.tree(&format!("d{dir}"))).unwrap();
        let dir = File::open(yard.tree(&format!("d{dir}"))).unwrap();
        for file in 0..10_000 {
            mknodat(&dir, format!("f{file}"), FileType::RegularFile, Mode::RUSR, 0).unwrap();
        }
    }
    let making = began.elapsed();
    let began = Instant::now();
    yard.assert_gone();
    let removing = began.elapsed();
    eprintln!("100,000 files: made in {making:?}, removed in {removing:?}");
    // In comparison, since the machine may be busy; measured alone it takes about as long as the making.
    assert!(removing < making * 4 + Duration::from_secs(1), "{removing:?}, made in {making:?}");
}

#[test]
fn many_directories_with_something_in_each_go() {
    let yard = Yard::new();
    for n in 0..3000 {
        fs::create_dir(yard.tree(&format!("dir-{n}"))).unwrap();
        fs::write(yard.tree(&format!("dir-{n}/file")), "").unwrap();
    }
    yard.assert_gone();
}

#[test]
fn names_that_are_paths_are_refused() {
    let yard = Yard::new();
    let dir = File::open(yard.dir.path()).unwrap();
    for name in ["", ".", "..", "tree/..", "/", "../x", "tree/", "a\0b"] {
        assert!(matches!(remove_tree(dir.as_fd(), name), Err(RemovalError::Name { .. })), "{name:?}");
    }
    remove_tree(dir.as_fd(), "nothing-there").unwrap();
    yard.assert_gone();
}

#[test]
fn two_removers_of_one_tree_do_not_disturb_each_other() {
    for _ in 0..5 {
        let yard = Yard::new();
        for n in 0..300 {
            fs::create_dir_all(yard.tree(&format!("a{n}/b/c"))).unwrap();
            fs::write(yard.tree(&format!("a{n}/b/file")), "").unwrap();
        }
        drop(nest(&yard.tree(""), 200));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| yard.remove().unwrap());
            }
        });
        yard.assert_gone();
    }
}

#[test]
fn a_process_that_dies_a_little_later_is_waited_for() {
    let yard = Yard::new();
    fs::create_dir_all(yard.tree("upper/var")).unwrap();
    let var = yard.tree("upper/var");
    let until = Instant::now() + Duration::from_millis(25);
    let writer = std::thread::spawn(move || {
        let mut n = 0;
        while Instant::now() < until {
            n += 1;
            let _ = fs::write(var.join(format!("f{n}")), "");
        }
    });
    yard.assert_gone();
    writer.join().unwrap();
}

#[test]
fn a_directory_exchanged_for_a_link_does_not_lead_out() {
    let yard = Yard::new();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (tree, stop) = (yard.tree(""), &stop);
        let swapper = scope.spawn(move || {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = fs::rename(tree.join("dir"), tree.join("away"));
                let _ = symlink("../canary", tree.join("dir"));
                let _ = fs::remove_file(tree.join("dir"));
                let _ = fs::rename(tree.join("away"), tree.join("dir"));
            }
        });
        for _ in 0..300 {
            // Made under another name: this test must not follow the link itself.
            let _ = fs::create_dir_all(yard.tree("new/dir"));
            let _ = fs::write(yard.tree("new/file"), "");
            let _ = fs::rename(yard.tree("new"), yard.tree("dir"));
            // It may fail while somebody works against it; it may not touch the canary.
            let _ = yard.remove();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        swapper.join().unwrap();
    });
    yard.assert_gone();
}

/// Counts its calls and removes with the rights of another thread, as the executor does with those of a child.
struct Counted<'a> {
    calls: Cell<u32>,
    remove: &'a dyn Fn(BorrowedFd<'_>, &str) -> Result<(), RemovalError>,
}

impl TreeRemover for Counted<'_> {
    fn remove_tree(&self, parent: BorrowedFd<'_>, name: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.calls.set(self.calls.get() + 1);
        Ok((self.remove)(parent, name)?)
    }
}

/// A running pod of an ordinary user with directories in its upper layer that root has taken away.
fn pod_with_foreign_files() -> (Data, pod::Pod<pod::Running>) {
    let (data, pod) = as_user(|| {
        let data = Data::new();
        let pod = data.running(Some("web"));
        (data, pod)
    });
    let upper = data.pod_path(Place::Run, pod.uuid()).join("upper.main");
    for n in 0..20 {
        fs::create_dir(upper.join(format!("root-{n}"))).unwrap();
        fs::write(upper.join(format!("root-{n}/file")), "").unwrap();
    }
    (data, pod)
}

#[test]
fn files_of_other_ids_take_one_call_of_the_remover() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can make files of other ids");
        return;
    }
    let (data, pod) = pod_with_foreign_files();
    // Threads made from here on are root's; the pod is the user's.
    let (ask, asked) = std::sync::mpsc::channel::<(OwnedFd, String)>();
    let (answer, answered) = std::sync::mpsc::channel();
    let root = std::thread::spawn(move || {
        for (parent, name) in asked {
            answer.send(remove_tree(parent.as_fd(), &name)).unwrap();
        }
    });
    let data = as_user(move || {
        let refused = Counted { calls: Cell::new(0), remove: &|_, _| Ok(()) };
        let uuid = pod.uuid();
        let error = pod.remove(&refused).unwrap_err();
        assert!(matches!(error, PodError::Removal { source: RemovalError::StillThere { .. }, .. }), "{error}");
        let failures = data.gc_everything().failures;
        assert!(
            matches!(&failures[..], [(_, PodError::Removal { source: RemovalError::Remover { .. }, .. })]),
            "{failures:?}"
        );
        let willing = Counted {
            calls: Cell::new(0),
            remove: &|parent, name| {
                ask.send((parent.try_clone_to_owned().unwrap(), name.to_owned())).unwrap();
                answered.recv().unwrap()
            },
        };
        let report = data.pods.gc(&support::everything(), &willing).unwrap();
        assert_eq!((report.removed, willing.calls.get()), (vec![uuid], 1));
        assert!(report.failures.is_empty() && data.left().is_empty());
        data
    });
    root.join().unwrap();
    drop(data);
}

/// Runs a script as root of new user and mount namespaces; `false` if this host has none for us.
fn in_namespaces(script: &str, dir: &Path) -> bool {
    let run = |script: &str| {
        Command::new("unshare")
            .args(["-Urm", "--propagation", "private", "sh", "-ec", script])
            .current_dir(dir)
            .output()
            .ok()
    };
    if !run("true").is_some_and(|output| output.status.success()) {
        eprintln!("skipped: no user namespaces, or no unshare(1)");
        return false;
    }
    let output = run(script).unwrap();
    assert!(output.status.success(), "{output:?}");
    true
}

#[test]
fn what_a_volatile_overlay_leaves_is_removed_by_its_user() {
    as_user(|| {
        for write in ["true", "echo x > m/file; mkdir -p m/a/b; rm -r m/lower"] {
            let data = Data::new();
            let pod = data.running(None);
            let script = format!(
                "cd ..; mkdir l m l/lower; mount -t overlay -o \
                 userxattr,volatile,lowerdir=l,upperdir=upper.main,workdir=work.main overlay m; {write}; \
                 umount m; rmdir m l/lower l; test -d work.main/work/incompat/volatile"
            );
            if !in_namespaces(&script, &data.pod_path(Place::Run, pod.uuid()).join("upper.main")) {
                return;
            }
            pod.remove(&Unaided).unwrap();
            assert!(data.left().is_empty());
        }
    });
}

#[test]
fn mounts_are_not_crossed_and_what_is_mounted_survives() {
    // The removal happens inside the namespace, where the mounts are: by this binary, called again.
    if let Some(dir) = std::env::var_os("POD_TEST_MOUNTED") {
        let error = remove_tree(File::open(dir).unwrap().as_fd(), "tree").unwrap_err();
        assert!(matches!(&error, RemovalError::Mounted { path } if path == "tree/a/mounted"), "{error}");
        return;
    }
    as_user(|| {
        let yard = Yard::new();
        let exe = yard.dir.path().join("exe");
        fs::copy(std::env::current_exe().unwrap(), &exe).unwrap();
        for (kind, on) in [("dir", "a/mounted"), ("file", "a/mounted")] {
            fs::create_dir_all(yard.tree("a")).unwrap();
            if kind == "dir" {
                fs::create_dir(yard.tree(on)).unwrap();
            } else {
                fs::write(yard.tree(on), "").unwrap();
            }
            let script = format!(
                "mount --bind canary/{kind} tree/{on}; POD_TEST_MOUNTED=$PWD ./exe --exact \
                 mounts_are_not_crossed_and_what_is_mounted_survives"
            );
            if !in_namespaces(&script, yard.dir.path()) {
                return;
            }
            assert_eq!(snapshot(&yard.dir.path().join("canary")), yard.canary);
            // Once the mount is gone, so is the obstacle.
            yard.assert_gone();
        }
    });
}
