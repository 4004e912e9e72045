//! Users and groups of an app, looked up inside its own root file system.
//!
//! The image's files are hostile (security.md UNP-12, USR-03): they are opened without magic links or other mounts,
//! must be regular, and are read up to a bound. Names come first, even all-digit ones; then numbers; a path means the
//! owner of that file (appc aci.md, "user", "group"). Under docker's rules a number is an id.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{FileType, OFlags, ResolveFlags, fstat};
use rustix::io::Errno;

use crate::in_root;
use crate::plan::{self, IdRanges};

/// Larger than any real passwd file.
const MAX_FILE: u64 = 1 << 20;

/// What a number means where a user or a group is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// Who has it as a name, and else the id (appc aci.md).
    NamesOrIds,
    /// The id: an image with an account that is called `1000` and has the id 0 makes nobody root (CVE-2016-3697).
    Ids,
}

/// An app's user and group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    /// User id inside.
    pub uid: u32,
    /// Group id inside.
    pub gid: u32,
    /// Name of the user, where the image has one.
    pub name: Option<String>,
    /// Home directory, where the image has one.
    pub home: Option<String>,
    /// Shell, where the image has one.
    pub shell: Option<String>,
    /// Further groups: those of the image's /etc/group that the user is a member of, if no group was asked for.
    pub groups: Vec<u32>,
}

/// Why there is no such user or group.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum UserError {
    /// Neither a name in the file nor a number.
    #[error("no {kind} {name:?} in the image's {file}")]
    Unknown {
        /// `user` or `group`.
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// The file that was looked at.
        file: &'static str,
    },
    /// The pod has no such id.
    #[error("{kind} {id} is not one of the pod's ids, which are {ids}")]
    Unmapped {
        /// `user` or `group`.
        kind: &'static str,
        /// The id.
        id: u32,
        /// The ranges there are.
        ids: String,
    },
    /// A file of the image cannot be used.
    #[error("the image's {file}: {reason}")]
    File {
        /// Path in the image.
        file: String,
        /// Why not.
        reason: String,
    },
}

impl User {
    /// Looks up `user` and `group` below `root`. An empty group means the user's primary one.
    ///
    /// # Errors
    /// [`UserError`]; an id is never guessed.
    pub fn lookup(root: BorrowedFd<'_>, user: &str, group: &str, numbers: Numbers) -> Result<Self, UserError> {
        Self::lookup_in_layers(&[root], user, group, numbers)
    }

    /// The same in the trees of an image, lowest first: of a file the topmost counts.
    ///
    /// # Errors
    /// [`UserError`]; an id is never guessed.
    pub fn lookup_in_layers(
        layers: &[BorrowedFd<'_>],
        user: &str,
        group: &str,
        numbers: Numbers,
    ) -> Result<Self, UserError> {
        let read = |path, optional| {
            let found = layers.iter().rev().find_map(|root| read_if_there(*root, path, optional).transpose());
            found.unwrap_or_else(|| Ok(String::new()))
        };
        let owner_of = |path| owner_of(*layers.last().unwrap_or(&rustix::fs::CWD), path);
        let mut found = if user.starts_with('/') {
            let (uid, gid) = owner_of(user)?;
            Self { uid, gid, ..Self::default() }
        } else {
            // Root by its number needs no file at all; by name it may lack one (rkt does the same).
            in_passwd(&read("etc/passwd", matches!(user, "0" | "root"))?, user, numbers)?
        };
        if group.starts_with('/') {
            found.gid = owner_of(group)?.1;
        } else if !group.is_empty() {
            found.gid = in_group(&read("etc/group", matches!(group, "0" | "root"))?, group, numbers)?;
        } else if let Some(name) = &found.name {
            found.groups = memberships(&read("etc/group", true)?, name);
        }
        Ok(found)
    }

    /// Adds groups by their names or numbers.
    ///
    /// # Errors
    /// [`UserError::Unknown`] for one that is neither in the /etc/group below `root` nor a number.
    pub fn join(&mut self, root: BorrowedFd<'_>, names: &[String], numbers: Numbers) -> Result<(), UserError> {
        if names.is_empty() {
            return Ok(());
        }
        let groups = read(root, "etc/group")?;
        for name in names {
            self.groups.push(in_group(&groups, name, numbers)?);
        }
        Ok(())
    }

    /// Gives up groups that the pod does not have.
    pub(crate) fn leave_foreign_groups(&mut self, ids: &IdRanges) {
        self.groups.retain(|&gid| plan::is_in(&ids.gids, gid));
    }

    /// Refuses ids that the pod does not have.
    ///
    /// # Errors
    /// [`UserError::Unmapped`] names the ids there are.
    pub fn check(&self, ids: &IdRanges) -> Result<(), UserError> {
        let groups = self.groups.iter().map(|&gid| ("group", gid, &ids.gids));
        for (kind, id, ranges) in
            [("user", self.uid, &ids.uids), ("group", self.gid, &ids.gids)].into_iter().chain(groups)
        {
            if !plan::is_in(ranges, id) {
                return Err(UserError::Unmapped { kind, id, ids: plan::shown(ranges) });
            }
        }
        Ok(())
    }

    /// Variables that depend on the user, for those that the app does not set itself.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, &str)> {
        let root = self.uid == 0;
        let mut env = vec![("HOME", self.home.as_deref().unwrap_or(if root { "/root" } else { "/" }))];
        if let Some(name) = self.name.as_deref().or(root.then_some("root")) {
            env.extend([("USER", name), ("LOGNAME", name)]);
        }
        env.extend(self.shell.as_deref().map(|shell| ("SHELL", shell)));
        env
    }
}

fn in_passwd(passwd: &str, user: &str, numbers: Numbers) -> Result<User, UserError> {
    let unknown = || UserError::Unknown { kind: "user", name: user.to_owned(), file: "/etc/passwd" };
    let number = id(user);
    let entry = |by: &dyn Fn(&[&str]) -> bool| {
        passwd.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let sound = fields.len() >= 4 && id(fields[2]).is_some() && id(fields[3]).is_some();
            (sound && by(&fields)).then_some(fields)
        })
    };
    let is_name = numbers == Numbers::NamesOrIds || number.is_none();
    let by_name = is_name.then(|| entry(&|fields| fields[0] == user)).flatten();
    if let Some(fields) = by_name.or_else(|| number.and_then(|uid| entry(&|fields| id(fields[2]) == Some(uid)))) {
        let text = |index: usize| fields.get(index).copied().filter(|text| !text.is_empty()).map(str::to_owned);
        let (uid, gid) = (id(fields[2]).unwrap_or(u32::MAX), id(fields[3]).unwrap_or(u32::MAX));
        if uid == 0 && is_no_id(user) {
            return Err(unknown());
        }
        return Ok(User { uid, gid, name: text(0), home: text(5), shell: text(6), groups: Vec::new() });
    }
    match number.or((user == "root").then_some(0)) {
        Some(uid) => Ok(User { uid, ..User::default() }),
        None => Err(unknown()),
    }
}

/// The most groups that an image can give to a user: those that the kernel takes (`NGROUPS_MAX`, setgroups(2)).
const MAX_GROUPS: usize = 65_536;

/// The groups that list a user among their members.
fn memberships(groups: &str, user: &str) -> Vec<u32> {
    let of_user = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let member = fields.get(3).is_some_and(|members| members.split(',').any(|member| member.trim() == user));
        member.then(|| id(fields[2])).flatten()
    };
    let mut seen = HashSet::new();
    groups.lines().filter_map(of_user).filter(|gid| seen.insert(*gid)).take(MAX_GROUPS).collect()
}

fn in_group(groups: &str, group: &str, numbers: Numbers) -> Result<u32, UserError> {
    if let (Numbers::Ids, Some(gid)) = (numbers, id(group)) {
        return Ok(gid);
    }
    let named = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(group)).then(|| fields.nth(1).and_then(id)).flatten()
    });
    let named = named.filter(|&gid| gid != 0 || !is_no_id(group));
    named.or_else(|| id(group)).or((group == "root").then_some(0)).ok_or_else(|| UserError::Unknown {
        kind: "group",
        name: group.to_owned(),
        file: "/etc/group",
    })
}

/// Whether it is a number that no id can be. It may be a name, but not root's: an image with an account of that name and the
/// id 0 would make whoever meant a number root (CVE-2024-40635, security.md EXEC-08).
fn is_no_id(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number && (digits.len() < text.len() || text.parse().map_or(true, |id: u32| id > i32::MAX.unsigned_abs()))
}

/// A decimal id as a person writes it: no sign, no leading zero, and not the id that means "none".
fn id(text: &str) -> Option<u32> {
    let canonical = text == "0" || !text.starts_with(['0', '+']);
    text.parse().ok().filter(|&id| canonical && id != u32::MAX)
}

/// The text of a file of the image; empty where there is none: names do not exist then, numbers still do.
pub(crate) fn read(root: BorrowedFd<'_>, path: &'static str) -> Result<String, UserError> {
    read_if_there(root, path, false).map(Option::unwrap_or_default)
}

fn read_if_there(root: BorrowedFd<'_>, path: &'static str, optional: bool) -> Result<Option<String>, UserError> {
    let refuse = |reason: String| UserError::File { file: format!("/{path}"), reason };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = match open(root, path, flags) {
        // A volume lies there (`-v /etc/passwd:/etc/passwd:ro`), or around it. No link of the image leads into one.
        Err(Errno::XDEV) => in_root::open(root, path, flags, ResolveFlags::NO_SYMLINKS),
        opened => opened,
    };
    let file = match opened {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(_) if optional => return Ok(None),
        Err(errno) => return Err(refuse(std::io::Error::from(errno).to_string())),
    };
    let stat = fstat(&file).map_err(|errno| refuse(std::io::Error::from(errno).to_string()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(refuse("not a regular file".to_owned()));
    }
    if stat.st_size as u64 > MAX_FILE {
        return Err(refuse(format!("{} bytes, more than {MAX_FILE}", stat.st_size)));
    }
    let mut bytes = Vec::new();
    File::from(file).take(MAX_FILE).read_to_end(&mut bytes).map_err(|error| refuse(error.to_string()))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn owner_of(root: BorrowedFd<'_>, path: &str) -> Result<(u32, u32), UserError> {
    let refuse =
        |errno: Errno| UserError::File { file: path.to_owned(), reason: std::io::Error::from(errno).to_string() };
    let file = open(root, path.trim_start_matches('/'), OFlags::PATH).map_err(refuse)?;
    let stat = fstat(&file).map_err(refuse)?;
    Ok((stat.st_uid, stat.st_gid))
}

fn open(root: BorrowedFd<'_>, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    in_root::open(root, path, flags, ResolveFlags::NO_XDEV)
}

#[cfg(test)]
mod tests {
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
        let groups =
            "root:x:0:anna\nstaff:x:50:bert,anna\nsame:x:50:anna\nother:x:51:annabel\nbad:x:zz:anna\nshort:x:7\n";
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

        rustix::fs::mknodat(rustix::fs::CWD, &passwd, FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o644), 0)
            .unwrap();
        assert_eq!(lookup(), Err(UserError::File { file: "/etc/passwd".into(), reason: "not a regular file".into() }));
        std::fs::remove_file(&passwd).unwrap();

        File::create(&passwd).unwrap().set_len(1 << 30).unwrap();
        assert!(lookup().unwrap_err().to_string().contains("1073741824 bytes"));
        std::fs::write(&passwd, PASSWD).unwrap();
        assert_eq!(lookup().unwrap().uid, 1000);
        let owner = User::lookup(dir.as_fd(), "/etc/passwd", "0", NamesOrIds);
        assert_eq!(owner.unwrap().uid, rustix::process::geteuid().as_raw());
    }
}
