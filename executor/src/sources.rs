//! The sources of host volumes: opened once, before anything of the pod is made, and refused where they would be more
//! than a directory or file to share.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use appc::{AcName, Volume, VolumeKind};
use rustix::fs::{Access, CWD, FileType, Mode, OFlags, ResolveFlags, access, fstat, fstatfs, openat2, stat};
use rustix::io::Errno;

use crate::diagnostics::warn;
use crate::{guest_agent, named_volumes};

/// Why the source of a volume cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SourceError {
    /// It is not there, or not for this user.
    #[error("volume {volume}: failed to stat {source_path}")]
    Stat { volume: AcName, source_path: String, source: io::Error },
    /// A symbolic link, which appc wants refused (ace.md, "Volume Setup").
    #[error("volume {volume}: {link} in the source {source_path} is a symbolic link")]
    Symlink { volume: AcName, source_path: String, link: String, real: Option<String> },
    /// proa's own files.
    #[error("volume {volume}: the source {source_path} is in the data directory of proa, {data_dir}")]
    DataDir { volume: AcName, source_path: String, data_dir: String },
    /// Whether that is so cannot be told.
    #[error("find the data directory of proa, {}", data_dir.display())]
    FindDataDir { data_dir: PathBuf, source: io::Error },
    /// A window to the host's processes or kernel.
    #[error("volume {volume}: {path} is a {kind} file system of the host")]
    KernelInterface { volume: AcName, path: String, kind: String, may_be_read: bool },
    /// A device node that apps could not open.
    #[error("volume {volume}: you may not open the device {source_path}")]
    Device { volume: AcName, source_path: String, source: io::Error },
    /// The list of mounts cannot be read.
    #[error("read {MOUNTS}")]
    Mounts(#[source] io::Error),
}

/// The mounts of this process (proc_pid_mountinfo(5)).
const MOUNTS: &str = "/proc/self/mountinfo";

/// Through the host's procfs an app would reach the memory and files of the user's other processes.
const PROCESSES: &str = "proc";

/// File systems through which the kernel is looked at and changed. They may be shared to be read only.
const KERNEL: [&str; 14] = [
    "sysfs",
    "cgroup",
    "cgroup2",
    "debugfs",
    "tracefs",
    "securityfs",
    "configfs",
    "bpf",
    "pstore",
    "efivarfs",
    "selinuxfs",
    "binfmt_misc",
    "fusectl",
    "resctrl",
];

/// Opens the sources of these volumes, in their order; `None` for an empty volume.
///
/// # Errors
///
/// [`SourceError`] for the first that is refused.
pub(crate) fn open(volumes: &[Volume], data_dir: &Path) -> Result<Vec<Option<OwnedFd>>, SourceError> {
    volumes.iter().map(|volume| open_one(volume, data_dir)).collect()
}

/// Writes in place of sources that have symbolic links what they lead to.
///
/// # Errors
///
/// [`SourceError::Stat`].
pub(crate) fn resolve_links(volumes: &mut [Volume]) -> Result<(), SourceError> {
    for volume in volumes {
        if let VolumeKind::Host { source, .. } = &mut volume.kind {
            let real = fs::canonicalize(&*source).and_then(|real| {
                real.into_os_string()
                    .into_string()
                    .map_err(|_| io::Error::other("it leads to a path that is not UTF-8"))
            });
            *source = real.map_err(|error| {
                let (volume, source_path) = (volume.name.clone(), source.clone());
                SourceError::Stat { volume, source_path, source: error }
            })?;
        }
    }
    Ok(())
}

fn open_one(volume: &Volume, data_dir: &Path) -> Result<Option<OwnedFd>, SourceError> {
    let VolumeKind::Host { source, recursive } = &volume.kind else { return Ok(None) };
    let candidate = Candidate { volume, source };
    let fd = candidate.open()?;
    let real = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).map_err(|error| candidate.stat(error))?;
    candidate.check_data_dir(&fd, &real, data_dir)?;
    candidate.check_kernel_interfaces(&fd, &real, *recursive != Some(false))?;
    candidate.check_device(&fd)?;
    Ok(Some(fd))
}

struct Candidate<'a> {
    volume: &'a Volume,
    source: &'a str,
}

impl Candidate<'_> {
    fn open(&self) -> Result<OwnedFd, SourceError> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        match openat2(CWD, self.source, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
            Ok(fd) => Ok(fd),
            Err(Errno::LOOP) => Err(SourceError::Symlink {
                volume: self.volume.name.clone(),
                source_path: self.source.to_owned(),
                link: first_link(Path::new(self.source)).display().to_string(),
                real: fs::canonicalize(self.source).ok().map(|real| real.display().to_string()),
            }),
            Err(errno) => Err(self.stat(errno.into())),
        }
    }

    fn stat(&self, source: io::Error) -> SourceError {
        SourceError::Stat { volume: self.volume.name.clone(), source_path: self.source.to_owned(), source }
    }

    /// An app that writes to the data directory writes to other pods' images and to what proa itself believes. A parent
    /// of it, such as a home directory, is what people do share: they are told.
    fn check_data_dir(&self, fd: &OwnedFd, real: &Path, data_dir: &Path) -> Result<(), SourceError> {
        let found = fs::canonicalize(data_dir).and_then(|real| Ok((stat(&real)?, real)));
        let (there, data_dir) = match found {
            // Nothing of it can be given away that is not there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found.map_err(|source| SourceError::FindDataDir { data_dir: data_dir.into(), source })?,
        };
        let here = fstat(fd).map_err(|errno| self.stat(errno.into()))?;
        let identity = |stat: rustix::fs::Stat| (stat.st_dev, stat.st_ino);
        // Named volumes are there for apps.
        let is_named = real.strip_prefix(data_dir.join(named_volumes::DIR)).is_ok_and(|below| below != Path::new(""));
        // As is the agent, which nobody may change.
        let is_agent =
            self.volume.read_only == Some(true) && real == data_dir.join(guest_agent::DIR).join(guest_agent::PROGRAM);
        if identity(there) == identity(here) || (real.starts_with(&data_dir) && !is_named && !is_agent) {
            return Err(SourceError::DataDir {
                volume: self.volume.name.clone(),
                source_path: self.source.to_owned(),
                data_dir: data_dir.display().to_string(),
            });
        }
        if data_dir.starts_with(real) && self.volume.read_only != Some(true) {
            let (volume, data_dir) = (&self.volume.name, data_dir.display());
            warn(&format!("volume {volume} holds {data_dir}: apps that may write there can change images and pods"));
        }
        Ok(())
    }

    /// An app opens a device node as its user does: what is given to the user's groups is not given to apps that have
    /// ids of a range, because they do not keep the groups.
    fn check_device(&self, fd: &OwnedFd) -> Result<(), SourceError> {
        let stat = fstat(fd).map_err(|errno| self.stat(errno.into()))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if !matches!(kind, FileType::CharacterDevice | FileType::BlockDevice) {
            return Ok(());
        }
        // The link leads to the node that is open, whatever has its name now.
        let node = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let may = |rights| access(node.as_str(), rights);
        // Root may open everything, root's pods what is everyone's.
        let refused = match (rustix::process::geteuid().is_root(), stat.st_mode & 0o006) {
            (true, 0) => Err(Errno::ACCESS),
            (true, _) => Ok(()),
            (false, _) => may(Access::READ_OK).or_else(|_| may(Access::WRITE_OK)),
        };
        refused.map_err(|errno| {
            let (volume, source_path) = (self.volume.name.clone(), self.source.to_owned());
            SourceError::Device { volume, source_path, source: errno.into() }
        })?;
        let own = stat.st_uid == rustix::process::geteuid().as_raw();
        let by_group = rustix::process::getgroups().is_ok_and(|own| own.iter().any(|gid| gid.as_raw() == stat.st_gid));
        if !own && by_group && stat.st_mode & 0o006 == 0 {
            let (device, group) = (self.source, stat.st_gid);
            warn(&format!(
                "{device} is open to you by group {group}: apps with a range of ids do not keep your groups"
            ));
        }
        Ok(())
    }

    fn check_kernel_interfaces(&self, fd: &OwnedFd, real: &Path, recursive: bool) -> Result<(), SourceError> {
        let is_dir = fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
        let mounts = fs::read_to_string(MOUNTS).map_err(SourceError::Mounts)?;
        let own = fstatfs(fd).ok().and_then(|stat| named_by_magic(stat.f_type as u64));
        let own = own.map(|kind| (real.to_owned(), kind.to_owned()));
        let below = mounts.lines().filter_map(mount).filter(|(path, _)| path != real && path.starts_with(real));
        for (path, kind) in own.into_iter().chain(below.filter(|_| is_dir && recursive)) {
            let may_be_read = KERNEL.contains(&kind.as_str());
            let refused = kind == PROCESSES || (may_be_read && self.volume.read_only != Some(true));
            if refused {
                let (volume, path) = (self.volume.name.clone(), path.display().to_string());
                return Err(SourceError::KernelInterface { volume, path, kind, may_be_read });
            }
        }
        Ok(())
    }
}

/// The names of the file systems above that a source could lie on, by `f_type` (statfs(2), linux/magic.h).
fn named_by_magic(magic: u64) -> Option<&'static str> {
    Some(match magic {
        0x9fa0 => PROCESSES,
        0x6265_6572 => "sysfs",
        0x0027_e0eb => "cgroup",
        0x6367_7270 => "cgroup2",
        0x6462_6720 => "debugfs",
        0x7472_6163 => "tracefs",
        0x7363_6673 => "securityfs",
        0x6265_6570 => "configfs",
        0xcafe_4a11 => "bpf",
        0x6165_676c => "pstore",
        0xde5e_81e4 => "efivarfs",
        0xf97c_ff8c => "selinuxfs",
        0x4249_4e4d => "binfmt_misc",
        0x6573_5543 => "fusectl",
        0x0765_5821 => "resctrl",
        _ => return None,
    })
}

/// Mount point and file system type of a line of mountinfo.
fn mount(line: &str) -> Option<(PathBuf, String)> {
    let (before, after) = line.split_once(" - ")?;
    let path = before.split(' ').nth(4)?;
    Some((PathBuf::from(unescape(path)), after.split(' ').next()?.to_owned()))
}

/// Undoes the kernel's octal escapes of blanks and backslashes.
fn unescape(path: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .into_iter()
        .fold(path.to_owned(), |path, (escape, plain)| path.replace(escape, plain))
}

/// The first component of a path that is a symbolic link, with what leads to it.
fn first_link(path: &Path) -> PathBuf {
    let mut prefixes: Vec<&Path> = path.ancestors().collect();
    prefixes.reverse();
    let is_link = |path: &&&Path| fs::symlink_metadata(path).is_ok_and(|data| data.file_type().is_symlink());
    prefixes.iter().find(is_link).map_or(path, |link| *link).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(source: &Path, more: &str) -> Volume {
        format!("v,kind=host,source={}{more}", source.display()).parse().unwrap()
    }

    fn refusal(volume: Volume, data_dir: &Path) -> String {
        let error = open(&[volume], data_dir).expect_err("refused");
        crate::error::chain(&error)
    }

    #[test]
    fn sources_are_opened_and_empty_volumes_have_none() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let volumes =
            [Volume::empty("e".parse().unwrap()), volume(dir.path(), ""), volume(&dir.path().join("file"), "")];
        let opened: Vec<bool> = open(&volumes, Path::new("/nowhere")).unwrap().iter().map(Option::is_some).collect();
        assert_eq!(opened, [false, true, true]);
    }

    #[test]
    fn a_missing_source_is_named_and_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("a/b");
        let text = refusal(volume(&missing, ""), Path::new("/nowhere"));
        assert_eq!(text, format!("volume v: failed to stat {}: No such file or directory", missing.display()));
        assert!(!dir.path().join("a").exists());
    }

    #[test]
    fn a_data_directory_that_cannot_be_found_gives_nothing_away() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let data_dir = dir.path().join("file/data");
        let text = refusal(volume(dir.path(), ""), &data_dir);
        assert_eq!(text, format!("find the data directory of proa, {}: Not a directory", data_dir.display()));
    }

    #[test]
    fn links_are_refused_wherever_they_stand_unless_they_were_resolved() {
        let dir = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir_all(real.join("deep/er")).unwrap();
        std::os::unix::fs::symlink("deep", real.join("link")).unwrap();
        for source in ["link", "link/er"] {
            let mut volumes = [volume(&real.join(source), "")];
            let text = refusal(volumes[0].clone(), Path::new("/nowhere"));
            assert!(text.contains(&format!("{}/link in the source", real.display())), "{text}");
            resolve_links(&mut volumes).unwrap();
            assert!(open(&volumes, Path::new("/nowhere")).is_ok());
            let VolumeKind::Host { source: resolved, .. } = &volumes[0].kind else { panic!("a host volume") };
            assert_eq!(resolved, &format!("{}/{}", real.display(), source.replace("link", "deep")));
        }
    }

    #[test]
    fn the_data_directory_is_nobodys_volume() {
        let dir = tempfile::tempdir().unwrap();
        let data = fs::canonicalize(dir.path()).unwrap().join("data");
        fs::create_dir_all(data.join("pods")).unwrap();
        for source in [data.clone(), data.join("pods")] {
            assert!(refusal(volume(&source, ""), &data).contains("is in the data directory of proa"));
        }
        assert!(open(&[volume(dir.path(), "")], &data).is_ok(), "a parent is only warned of");
    }

    #[test]
    fn windows_to_the_kernel_stay_shut() {
        let nowhere = Path::new("/nowhere");
        for source in ["/proc", "/proc/1", "/proc/sys/kernel", "/"] {
            for more in ["", ",readOnly=true"] {
                let text = refusal(volume(Path::new(source), more), nowhere);
                assert!(text.contains("file system of the host"), "{source}: {text}");
            }
        }
        assert!(refusal(volume(Path::new("/sys/class"), ""), nowhere).contains("/sys/class is a sysfs file system"));
        assert!(open(&[volume(Path::new("/sys/class"), ",readOnly=true")], nowhere).is_ok());
    }

    #[test]
    fn lines_of_mountinfo() {
        let line = "36 35 98:0 /mnt1 /mnt\\040two rw,noatime master:1 - ext3 /dev/root rw,errors=continue";
        assert_eq!(mount(line), Some((PathBuf::from("/mnt two"), "ext3".to_owned())));
        assert_eq!(mount("garbage"), None);
    }
}
