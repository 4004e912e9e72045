//! ContainerSSH's agent in pods whose images do not have it.
//!
//! This program is that agent when it is started under its name. What apps get to see is a copy of it, `DATA/guest-agent/
//! containerssh-agent`, as a volume of the host that is read-only: nothing an app does reaches the program itself
//! (docs/decisions/0011-guest-agent-is-a-copy.md).

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use appc::{AcName, ImageManifest, Mount, PodManifest, Volume, VolumeKind};
use rustix::fs::{
    AtFlags, CWD, FlockOperation, Mode, OFlags, Stat, Timestamps, fchmod, flock, fstat, ftruncate, futimens, mkdirat,
    openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;

use crate::error::{CommandError, Explain as _};

/// The name under which this program is the agent.
pub(crate) const PROGRAM: &str = "containerssh-agent";

/// Its folder in the data directory.
pub(crate) const DIR: &str = "guest-agent";

/// A copy that is being made, which its maker has locked.
const UNFINISHED: &str = ".containerssh-agent.new";

/// Where ContainerSSH looks for it in a container, unless it is told otherwise.
const PATH: &str = "/usr/bin/containerssh-agent";

/// The volume's name in a pod.
const VOLUME: &str = "proa-guest-agent";

/// An image whose apps want it says `true`: an annotation of an ACI, a label of an OCI image.
const ANNOTATION: &str = "proa.local/guest-agent";

/// Everybody in a pod may execute it, and nobody write to it.
const MODE: Mode = Mode::from_raw_mode(0o555);

/// Gives it to the apps of a pod: all, none, or those whose images ask for it. `images` are those of the apps.
///
/// # Errors
///
/// The copy cannot be made.
pub(crate) fn give(
    manifest: &mut PodManifest,
    images: &[&ImageManifest],
    all: Option<bool>,
    data_dir: &Path,
) -> Result<(), CommandError> {
    let volume: AcName = VOLUME.parse().expect("it is a name");
    let mut given = false;
    for (app, image) in manifest.apps.iter_mut().zip(images) {
        // A manifest that says so already, or a file of the user's own in that place.
        let is_there = app.mounts.iter().any(|mount| mount.path == PATH);
        if all.unwrap_or_else(|| asks(image)) && !is_there {
            app.mounts.push(Mount { volume: volume.clone(), path: PATH.to_owned(), app_volume: None });
            given = true;
        }
    }
    if given && !manifest.volumes.iter().any(|known| known.name == volume) {
        let source = ensure(data_dir).during(|| format!("make a copy of proa in {}/{DIR}", data_dir.display()))?;
        let kind = VolumeKind::Host { source, recursive: Some(false) };
        manifest.volumes.push(Volume { name: volume, kind, read_only: Some(true) });
    }
    Ok(())
}

/// Makes sure that a pod which has it finds it: as the running program is, whatever it was when the pod was prepared.
///
/// # Errors
///
/// As [`give`].
pub(crate) fn renew(manifest: &PodManifest, data_dir: &Path) -> Result<(), CommandError> {
    if manifest.volumes.iter().any(|volume| volume.name.as_str() == VOLUME) {
        ensure(data_dir).during(|| format!("make a copy of proa in {}/{DIR}", data_dir.display()))?;
    }
    Ok(())
}

fn asks(image: &ImageManifest) -> bool {
    let label = || image.app.as_ref().and_then(|app| app.user_labels.get(ANNOTATION)).map(String::as_str);
    image.annotations.get(ANNOTATION).or_else(label) == Some("true")
}

/// The path of the copy, without symbolic links. It has the size and the time of the program: another program is copied
/// anew, under another name first.
fn ensure(data_dir: &Path) -> io::Result<String> {
    let program = File::open("/proc/self/exe")?;
    let wanted = fstat(&program)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let data = openat(CWD, data_dir, flags, Mode::empty())?;
    match mkdirat(&data, DIR, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let dir = openat(&data, DIR, flags | OFlags::NOFOLLOW, Mode::empty())?;
    let found = statat(&dir, PROGRAM, AtFlags::SYMLINK_NOFOLLOW);
    if !found.is_ok_and(|found| is_copy(&found, &wanted)) {
        copy(&dir, program, &wanted)?;
    }
    let path = fs::canonicalize(data_dir)?.join(DIR).join(PROGRAM);
    path.into_os_string().into_string().map_err(|path| io::Error::other(format!("{} is not UTF-8", path.display())))
}

fn is_copy(found: &Stat, wanted: &Stat) -> bool {
    let facts = |stat: &Stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
    facts(found) == facts(wanted) && found.st_mode & 0o7777 == MODE.as_raw_mode()
}

/// Makes the copy in a file that whoever makes one uses, one after the other: what a killed process has left of it is
/// written over, and there is never more than one. The mode, which comes last, makes it good.
fn copy(dir: &OwnedFd, mut program: File, wanted: &Stat) -> io::Result<()> {
    let Some(file) = claim(dir, wanted)? else { return Ok(()) };
    let mut file = File::from(file);
    let mut make = || -> io::Result<()> {
        ftruncate(&file, 0)?;
        io::copy(&mut program, &mut file)?;
        let time = rustix::fs::Timespec { tv_sec: wanted.st_mtime, tv_nsec: wanted.st_mtime_nsec as _ };
        futimens(&file, &Timestamps { last_access: time, last_modification: time })?;
        renameat(dir, UNFINISHED, dir, PROGRAM)?;
        Ok(fchmod(&file, MODE)?)
    };
    let made = make();
    if made.is_err() {
        // The first error is the one to report; what stays is written over, or swept by gc.
        let _ = unlinkat(dir, UNFINISHED, AtFlags::empty());
    }
    made
}

/// The unfinished file, locked; `None` if another process has made the copy while this one waited for it.
fn claim(dir: &OwnedFd, wanted: &Stat) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    loop {
        let file = openat(dir, UNFINISHED, flags, Mode::RUSR | Mode::WUSR)?;
        flock(&file, FlockOperation::LockExclusive)?;
        let opened = fstat(&file)?;
        match statat(dir, UNFINISHED, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(named) if (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino) => return Ok(Some(file)),
            Ok(_) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        if statat(dir, PROGRAM, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|found| is_copy(&found, wanted)) {
            return Ok(None);
        }
    }
}

/// Removes what a killed process has left of a copy, for `proa gc`.
///
/// # Errors
///
/// It cannot be removed.
pub(crate) fn sweep(data_dir: &Path) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = match openat(CWD, data_dir.join(DIR), flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        dir => dir?,
    };
    let file = match openat(&dir, UNFINISHED, OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        file => file?,
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        // It is being made.
        Err(Errno::WOULDBLOCK) => return Ok(()),
        locked => locked?,
    }
    match unlinkat(&dir, UNFINISHED, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        removed => Ok(removed?),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use appc::{App, RuntimeApp};

    use super::*;

    fn image(annotation: Option<&str>, label: Option<&str>) -> ImageManifest {
        let mut image = ImageManifest::new("example.com/a".parse().unwrap());
        if let Some(value) = annotation {
            image.annotations.set(ANNOTATION.parse().unwrap(), value);
        }
        let user_labels = label.map(|value| (ANNOTATION.to_owned(), value.to_owned())).into_iter().collect();
        image.app = Some(App { user_labels, ..App::default() });
        image
    }

    #[test]
    fn images_ask_and_the_user_decides() {
        let data = tempfile::tempdir().unwrap();
        for (image, all, given) in [
            (image(None, None), None, false),
            (image(Some("true"), None), None, true),
            (image(None, Some("true")), None, true),
            (image(None, Some("1")), None, false),
            (image(Some("false"), Some("true")), None, false),
            (image(Some("true"), None), Some(false), false),
            (image(None, None), Some(true), true),
        ] {
            let mut pod = PodManifest { apps: vec![RuntimeApp::default()], ..PodManifest::blank() };
            give(&mut pod, &[&image], all, data.path()).unwrap();
            assert_eq!(
                (pod.apps[0].mounts.len(), pod.volumes.len()),
                (given.into(), given.into()),
                "{image:?} {all:?}"
            );
            // What was reified stays as it is.
            let before = pod.clone();
            give(&mut pod, &[&image], all, data.path()).unwrap();
            assert_eq!(pod, before);
        }
    }

    #[test]
    fn the_copy_is_made_once_for_each_program() {
        let data = tempfile::tempdir().unwrap();
        let path = ensure(data.path()).unwrap();
        let meta = fs::metadata(&path).unwrap();
        assert_eq!(meta.permissions().mode() & 0o7777, 0o555);
        assert!(fs::read(&path).unwrap() == fs::read("/proc/self/exe").unwrap());
        assert_eq!(fs::metadata(ensure(data.path()).unwrap()).unwrap().ino(), meta.ino());
        // Another program was there.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(&path, "old").unwrap();
        ensure(data.path()).unwrap();
        assert!(fs::read(&path).unwrap() == fs::read("/proc/self/exe").unwrap());
        assert_eq!(fs::read_dir(data.path().join(DIR)).unwrap().count(), 1);
    }

    #[test]
    fn what_a_killed_copy_left_is_taken_over_or_swept() {
        let data = tempfile::tempdir().unwrap();
        sweep(data.path()).unwrap();
        let dir = data.path().join(DIR);
        fs::create_dir(&dir).unwrap();
        let names = || fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
        fs::write(dir.join(UNFINISHED), vec![7; 100 << 20]).unwrap();
        let path = ensure(data.path()).unwrap();
        assert!(fs::read(&path).unwrap() == fs::read("/proc/self/exe").unwrap());
        assert_eq!(names(), [PROGRAM]);
        // One that is being made stays.
        let unfinished = File::create(dir.join(UNFINISHED)).unwrap();
        flock(&unfinished, FlockOperation::LockExclusive).unwrap();
        sweep(data.path()).unwrap();
        assert_eq!(names().len(), 2);
        drop(unfinished);
        sweep(data.path()).unwrap();
        assert_eq!(names(), [PROGRAM]);
    }

    #[test]
    fn many_at_once_make_one_copy() {
        let data = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let path = ensure(data.path()).unwrap();
                    assert_eq!(fs::metadata(path).unwrap().len(), fs::metadata("/proc/self/exe").unwrap().len());
                });
            }
        });
        assert_eq!(fs::read_dir(data.path().join(DIR)).unwrap().count(), 1);
    }
}
