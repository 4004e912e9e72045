//! Trees with files of ids that are not the user's, as they are after an extraction in an id-mapped namespace.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use store::extract::Form;
use store::{AsUser, Store, TreeRemover, removal};

use crate::archive::{Archive, Entry, aci};
use crate::bed::{Bed, can_chown, refusal};
use crate::imports::{import_aci, names, nobody};

const VARIABLE: &str = "PROA_STORE_TEST_OTHER_IDS";
const USER: u32 = 65_534;

/// Asks the parent process, which may remove everything, and waits until it has.
struct Parent;

impl TreeRemover for Parent {
    fn empty(&self, dir: BorrowedFd<'_>) -> io::Result<()> {
        let path = fs::read_link(format!("/proc/self/fd/{}", dir.as_raw_fd()))?;
        let mut out = File::from(rustix::io::dup(rustix::stdio::stdout())?);
        writeln!(out, "empty {}", path.display())?;
        io::stdin().read_line(&mut String::new()).map(drop)
    }
}

fn child(data: &Path, step: &str) {
    if step == "extract" {
        return extract_a_range();
    }
    let store = Store::ensure(data).unwrap();
    if step == "import" {
        import_aci(&store, &aci(|archive| archive.file("rootfs/home/file", "x")), &["image"]).unwrap();
        return;
    }
    store.remove(&store.find("image").unwrap().id).unwrap();
    // Without help the garbage stays, is reported, and is found again.
    for _ in 0..2 {
        let report = store.gc(&AsUser, &nobody).unwrap();
        let [failure] = report.failures.as_slice() else { panic!("{report:?}") };
        assert!(failure.to_string().ends_with(": Permission denied"), "{failure}");
        assert_eq!(names(data, "tmp").len(), 1);
    }
    let report = store.gc(&Parent, &nobody).unwrap();
    assert!(report.failures.is_empty(), "{report:?}");
    assert_eq!(names(data, "tmp").len() + names(data, "trees").len(), 0);
}

/// As container root of 65,536 ids, on descriptors of a directory that was made for it.
fn extract_a_range() {
    let bed = Bed::new();
    let archive = Archive::new()
        .entry(Entry::new("home", b'5').owner(1000, 1001).mode(0o2750))
        .entry(Entry::new("home/su", b'0').owner(1000, 7).mode(0o6711).data("x"))
        .entry(Entry::new("home/link", b'2').owner(65_535, 65_535).link("su"))
        .file(".wh.gone", "");
    bed.extract_with(Form::OciLayer, false, &archive.clone().end()).unwrap();
    let facts = |path: &str| (bed.metadata(path).uid(), bed.metadata(path).gid(), bed.mode(path));
    assert_eq!([facts("home"), facts("home/su")], [(1000, 1001, 0o2750), (1000, 7, 0o6711)]);
    assert_eq!((facts("home/link").0, facts("home/link").1), (65_535, 65_535));
    assert!(bed.metadata("gone").file_type().is_char_device());
    removal::empty(File::open(bed.tree()).unwrap().as_fd()).unwrap();
    for (uid, gid, kind) in [(65_536, 0, b'0'), (0, 70_000, b'5'), (4_000_000_000, 0, b'2'), (65_536, 0, b'6')] {
        let entry = Entry::new("foreign", kind).owner(uid, gid).link("target");
        let text = refusal(Bed::new().extract_with(Form::OciLayer, false, &Archive::new().entry(entry).end()));
        assert_eq!(text, format!("entry \"foreign\": owner {uid}:{gid} is not in the range of ids of this user"));
    }
}

#[test]
fn tar_24_owners_of_a_range_of_ids() {
    if !can_chown() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (program, data) = (dir.path().join("tests"), dir.path().join("data"));
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::create_dir(&data).unwrap();
    chown(&data, Some(100_000), Some(100_000)).unwrap();
    let mut command = Command::new("unshare");
    // It waits for its maps, and then becomes root in them.
    let script = "read go; exec setpriv --reuid 0 --regid 0 --clear-groups \"$@\"";
    command.args(["--user", "--keep-caps", "sh", "-c", script, "sh"]).arg(&program);
    command.args(["--exact", "other_ids::a_tree_of_other_ids_is_removed_with_help", "-q"]).current_dir(dir.path());
    command.env(VARIABLE, &data).env("PROA_STORE_TEST_STEP", "extract").env("TMPDIR", &data);
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut child) = spawned else {
        eprintln!("skipped: no unshare");
        return;
    };
    let process = format!("/proc/{}", child.id());
    let own = fs::read_link("/proc/self/ns/user").unwrap();
    let mut turns = 0;
    while fs::read_link(format!("{process}/ns/user")).is_ok_and(|theirs| theirs == own) && turns < 500 {
        std::thread::sleep(std::time::Duration::from_millis(10));
        turns += 1;
    }
    for map in ["uid_map", "gid_map"] {
        fs::write(format!("{process}/{map}"), "0 100000 65536\n").unwrap();
    }
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_tree_of_other_ids_is_removed_with_help() {
    if let (Some(data), Ok(step)) = (std::env::var_os(VARIABLE), std::env::var("PROA_STORE_TEST_STEP")) {
        return child(data.as_ref(), &step);
    }
    if !can_chown() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (program, data) = (dir.path().join("tests"), dir.path().join("data"));
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
    chown(&data, Some(USER), Some(USER)).unwrap();
    let start = |step: &str| {
        let mut command = Command::new(&program);
        command.args(["--exact", "other_ids::a_tree_of_other_ids_is_removed_with_help", "--nocapture", "-q"]);
        command.env(VARIABLE, &data).env("PROA_STORE_TEST_STEP", step).env("TMPDIR", &data).current_dir(dir.path());
        command.uid(USER).gid(USER).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    };
    assert!(start("import").wait().unwrap().success());

    let rootfs = data.join("store/trees").join(&names(&data, "trees")[0]).join("rootfs");
    fs::create_dir_all(rootfs.join("home/alice/deep/er")).unwrap();
    fs::write(rootfs.join("home/alice/deep/er/file"), "").unwrap();
    for path in ["home/alice", "home/alice/deep", "home/alice/deep/er", "home/alice/deep/er/file"] {
        chown(rootfs.join(path), Some(101_000), Some(101_000)).unwrap();
    }
    fs::set_permissions(rootfs.join("home/alice"), fs::Permissions::from_mode(0o700)).unwrap();

    let mut collector = start("collect");
    let mut answer = collector.stdin.take().unwrap();
    let mut asked = 0;
    for line in BufReader::new(collector.stdout.take().unwrap()).lines() {
        if let Some(path) = line.unwrap().strip_prefix("empty ") {
            assert!(Path::new(path).starts_with(data.join("store/tmp")), "{path}");
            removal::empty(File::open(path).unwrap().as_fd()).unwrap();
            answer.write_all(b"done\n").unwrap();
            asked += 1;
        }
    }
    assert!(collector.wait().unwrap().success());
    assert!(asked > 0);
}
