//! An account for the app's user in its own copy of the image's files, where the image has none.
//!
//! The files are the image's and hostile: they are read as [`crate::user`] reads them, and never written to, but replaced
//! by new ones.

use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::fs::{Mode, OFlags, openat, renameat};

use super::place::{self, Kind};
use super::{Fds, Named as _, Refusal};
use crate::op::Slot;
use crate::user;

/// The home directory of a user that is made has this mode.
const HOME_MODE: Mode = Mode::from_raw_mode(0o700);

/// Makes sure that passwd has the user and group the group, and that a user that is made has a home.
pub(super) fn ensure(fds: &Fds, (uid, gid): (u32, u32), name: &str, owner: (u32, u32)) -> Result<(), Refusal> {
    let root = fds.get(Slot::Root)?;
    let passwd = read(root, "etc/passwd")?;
    let groups = read(root, "etc/group")?;
    if !has_id(&groups, gid) {
        let name = free_name(&groups, name);
        replace(fds, "group", &with_line(&groups, &format!("{name}:x:{gid}:")))?;
    }
    if has_id(&passwd, uid) {
        return Ok(());
    }
    let name = free_name(&passwd, name);
    let home = format!("/home/{name}");
    let line = format!("{name}:x:{uid}:{gid}:{name}:{home}:/bin/sh");
    replace(fds, "passwd", &with_line(&passwd, &line))?;
    let place = place::ensure(root, &home, Kind::Dir, fds.root_ids(), &[])?;
    if place.made {
        let dir = openat(&place.fd, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .named(|| format!("openat(<rootfs>, {home:?})"))?;
        place::give_to(dir.as_fd(), owner).named(|| format!("fchown(<rootfs>, {home:?})"))?;
        rustix::fs::fchmod(&dir, HOME_MODE).named(|| format!("fchmod(<rootfs>, {home:?})"))?;
    }
    Ok(())
}

fn read(root: BorrowedFd<'_>, path: &'static str) -> Result<String, Refusal> {
    user::read(root, path).map_err(|error| {
        let call = format!("read(<rootfs>/{path}): {error}");
        Refusal::because(call, rustix::io::Errno::INVAL, "the file cannot get an account for the app's user")
    })
}

/// Whether a line of passwd or group has this number.
fn has_id(file: &str, id: u32) -> bool {
    file.lines().any(|line| line.split(':').nth(2).is_some_and(|field| field.parse() == Ok(id)))
}

/// The name, or the first of its kind that nobody has.
fn free_name(file: &str, name: &str) -> String {
    let taken = |name: &str| file.lines().any(|line| line.split(':').next() == Some(name));
    let numbered = (1..).map(|n| format!("{name}-{n}"));
    std::iter::once(name.to_owned()).chain(numbered).find(|name| !taken(name)).unwrap_or_default()
}

fn with_line(file: &str, line: &str) -> String {
    let newline = if file.is_empty() || file.ends_with('\n') { "" } else { "\n" };
    format!("{file}{newline}{line}\n")
}

/// Puts a new file in the place of `etc/NAME`, whatever that is.
fn replace(fds: &Fds, name: &str, text: &str) -> Result<(), Refusal> {
    let etc = place::ensure(fds.get(Slot::Root)?, "/etc", Kind::Dir, fds.root_ids(), &[])?.fd;
    let draft = format!(".{name}.proa");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let call = |call: &str| format!("{call}(<rootfs>, \"/etc/{name}\")");
    let file = openat(&etc, draft.as_str(), flags, Mode::from_raw_mode(0o644)).named(|| call("openat"))?;
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest).named(|| call("write"))?;
        rest = &rest[written..];
    }
    place::give_to(file.as_fd(), fds.root_ids()).named(|| call("fchown"))?;
    renameat(&etc, draft.as_str(), &etc, name).named(|| call("renameat"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nanna:x:1000:1000::/home/anna:/bin/zsh";

    /// The image's passwd and group after `ensure` for this id and name.
    fn ensured(passwd: &str, id: u32, name: &str) -> (String, String, bool) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        fs::write(dir.path().join("etc/passwd"), passwd).unwrap();
        let mut fds = Fds::default();
        fds.put(Slot::Root, fs::File::open(dir.path()).unwrap().into());
        let me = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        fds.set_root_ids(me);
        ensure(&fds, (id, id), name, me).unwrap();
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap_or_default();
        (read("etc/passwd"), read("etc/group"), dir.path().join("home").exists())
    }

    #[test]
    fn a_user_without_an_account_gets_one_and_a_home() {
        let (passwd, group, home) = ensured(PASSWD, 4711, "max");
        assert_eq!(passwd, format!("{PASSWD}\nmax:x:4711:4711:max:/home/max:/bin/sh\n"));
        assert_eq!((group.as_str(), home), ("max:x:4711:\n", true));
        let (passwd, _, _) = ensured(PASSWD, 4711, "anna");
        assert!(passwd.ends_with("\nanna-1:x:4711:4711:anna-1:/home/anna-1:/bin/sh\n"));
    }

    #[test]
    fn an_account_of_the_image_stays_as_it_is() {
        let (passwd, group, home) = ensured(PASSWD, 1000, "max");
        assert_eq!((passwd.as_str(), group.as_str(), home), (PASSWD, "max:x:1000:\n", false));
    }
}
