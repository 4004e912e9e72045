//! Who a user or a group of an image is, and what is refused.

use std::os::fd::AsFd as _;

use super::Numbers::{Ids, NamesOrIds};
use super::*;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n1000:x:7:8::/seven:\nanna:x:1000:1001::/home/anna:/bin/zsh\n\
                      bad:x:4294967296:0::/:\nworse:x:-1:0::/:\nshort:x\n";

#[test]
fn users_are_names_first_then_numbers() {
    let ids = |user| in_passwd(PASSWD, user, NamesOrIds).map(|user| (user.uid, user.gid)).ok();
    for (user, expected) in [
        ("root", Some((0, 0))),
        ("anna", Some((1000, 1001))),
        ("1000", Some((7, 8))),
        ("0", Some((0, 0))),
        ("4711", Some((4711, 0))),
        ("7", Some((7, 8))),
        ("01", None),
        ("+1", None),
        ("-1", None),
        ("1e3", None),
        (" 1", None),
        ("1 ", None),
        ("0x1", None),
        ("", None),
        ("4294967295", None),
        ("4294967296", None),
        ("bad", None),
        ("worse", None),
        ("short", None),
        ("nosuch", None),
    ] {
        assert_eq!(ids(user), expected, "{user:?}");
    }
    assert_eq!(in_passwd("", "root", NamesOrIds).unwrap().uid, 0);
}

#[test]
fn numbers_are_ids_by_dockers_rules() {
    let hostile = "1000:x:0:0::/:\nanna:x:1000:1001::/home/anna:/bin/zsh\n4711:x:0:0::/:\n";
    let ids = |user| in_passwd(hostile, user, Ids).map(|user| (user.uid, user.gid)).ok();
    assert_eq!((ids("1000"), ids("4711"), ids("anna")), (Some((1000, 1001)), Some((4711, 0)), Some((1000, 1001))));
    let group = |group| in_group("50:x:0:\nstaff:x:50:\n", group, Ids).ok();
    assert_eq!((group("50"), group("staff"), group("nosuch")), (Some(50), Some(50), None));
}

#[test]
fn groups_likewise() {
    let groups = "root:x:0:\nstaff:x:50:a,b\n50:x:60:\nbad:x:zz:\n";
    for (group, expected) in [
        ("staff", Some(50)),
        ("50", Some(60)),
        ("51", Some(51)),
        ("0", Some(0)),
        ("bad", None),
        ("nosuch", None),
        ("-1", None),
    ] {
        assert_eq!(in_group(groups, group, NamesOrIds).ok(), expected, "{group:?}");
    }
}

#[test]
fn memberships_are_those_of_the_name() {
    let groups = "root:x:0:anna\nstaff:x:50:bert,anna\nsame:x:50:anna\nother:x:51:annabel\nbad:x:zz:anna\nshort:x:7\n";
    assert_eq!(memberships(groups, "anna"), [0, 50]);
    assert_eq!(memberships(groups, "nobody"), [0; 0]);
    let many: String = (1..70_000).map(|gid| format!("g{gid}:x:{gid}:anna\n")).collect();
    assert_eq!(memberships(&many, "anna").len(), MAX_GROUPS);
}

#[test]
fn ids_that_the_pod_does_not_have_are_refused_with_those_it_has() {
    let ids = IdRanges { uids: vec![(0, 65_536)], gids: vec![(0, 0), (5, 9)] };
    let user = |uid, gid| User { uid, gid, ..User::default() };
    assert_eq!(user(65_536, 9).check(&ids), Ok(()));
    let text = |uid, gid| user(uid, gid).check(&ids).unwrap_err().to_string();
    assert_eq!(text(99_999, 0), "user 99999 is not one of the pod's ids, which are 0 to 65536");
    assert_eq!(text(0, 4), "group 4 is not one of the pod's ids, which are 0, 5 to 9");
}

#[test]
fn environment_follows_the_user() {
    let user = in_passwd(PASSWD, "anna", NamesOrIds).unwrap();
    let env = [("HOME", "/home/anna"), ("USER", "anna"), ("LOGNAME", "anna"), ("SHELL", "/bin/zsh")];
    assert_eq!(user.environment(), env);
    assert_eq!(in_passwd("", "4711", NamesOrIds).unwrap().environment(), [("HOME", "/")]);
}

#[test]
fn hostile_files_are_refused() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("etc")).unwrap();
    let passwd = root.path().join("etc/passwd");
    let dir = File::open(root.path()).unwrap();
    let lookup = || User::lookup(dir.as_fd(), "anna", "0", NamesOrIds);

    std::os::unix::fs::symlink("/proc/self/environ", &passwd).unwrap();
    assert!(lookup().is_err());
    std::fs::remove_file(&passwd).unwrap();

    rustix::fs::mknodat(rustix::fs::CWD, &passwd, FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o644), 0).unwrap();
    assert_eq!(lookup(), Err(UserError::File { file: "/etc/passwd".into(), reason: "not a regular file".into() }));
    std::fs::remove_file(&passwd).unwrap();

    File::create(&passwd).unwrap().set_len(1 << 30).unwrap();
    assert!(lookup().unwrap_err().to_string().contains("1073741824 bytes"));
    std::fs::write(&passwd, PASSWD).unwrap();
    assert_eq!(lookup().unwrap().uid, 1000);
    let owner = User::lookup(dir.as_fd(), "/etc/passwd", "0", NamesOrIds);
    assert_eq!(owner.unwrap().uid, rustix::process::geteuid().as_raw());
}
