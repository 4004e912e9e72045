//! Users and groups of an app, looked up inside its own root file system.
//!
//! The image's files are hostile (docs/security/corpus.md UNP-12, USR-03): they are opened without magic links or other mounts,
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
/// id 0 would make whoever meant a number root (CVE-2024-40635, docs/security/corpus.md EXEC-08).
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
mod tests;
