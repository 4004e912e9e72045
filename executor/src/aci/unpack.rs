//! Turns an image back into a layout: a directory with its manifest and its `rootfs`, complete or not there at all.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use appc::ImageId;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, fchmod, mkdirat, openat, renameat, renameat_with, statat};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};
use store::extract::{Below, ExtractLimits, Owners, Warnings};
use store::ingest::{self, IngestError, IngestJob, InputFormat};
use store::removal;

use super::target::temporary_name;
use super::{MANIFEST, ROOTFS};

/// An image that cannot be unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// Something has the name of the layout to be.
    #[error("{} exists", .0.display())]
    Exists(PathBuf),
    /// The image is not sound.
    #[error(transparent)]
    Image(#[from] IngestError),
    /// A system call failed.
    #[error("{call} {}", path.display())]
    System {
        /// The call.
        call: &'static str,
        /// The path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// It failed, and what there is of it cannot be removed either.
    #[error("{error}; what there is of it is left in {}: {left}", path.display())]
    Left {
        /// Why it failed.
        error: Box<UnpackError>,
        /// The path of what is left.
        path: PathBuf,
        /// Why it is left.
        left: io::Error,
    },
}

/// An image that was unpacked.
#[derive(Clone, Debug)]
pub struct Unpacked {
    /// Its ID.
    pub id: ImageId,
    /// How many files belong to the caller in the layout, but to somebody else, who is not root, in the image.
    pub other_owners: usize,
    /// What the layout does not have although the image does.
    pub warnings: Warnings,
}

/// Unpacks `image` into the new directory `layout`.
///
/// `keep_owners`: files get the owners they have in the image, which only root may give them; else they are the caller's,
/// without the set-user-id and set-group-id bits that would then mean him. `mode` is that of the directory itself.
///
/// # Errors
/// See [`UnpackError`]. Nothing of it is left then.
pub fn unpack(image: File, layout: &Path, keep_owners: bool, mode: u32) -> Result<Unpacked, UnpackError> {
    let failed = |call, errno: Errno| UnpackError::System { call, path: layout.into(), source: errno.into() };
    let name = layout.file_name().ok_or_else(|| UnpackError::Exists(layout.into()))?;
    let parent = layout.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = openat(CWD, parent, flags, Mode::empty()).map_err(|e| failed("open", e))?;
    match statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => {}
        Ok(_) => return Err(UnpackError::Exists(layout.into())),
        Err(errno) => return Err(failed("stat", errno)),
    }
    // Under its own name it would be half a layout for as long as this takes, and for ever if it were killed.
    let temporary = temporary_name(name).map_err(|e| failed("getrandom", e))?;
    mkdirat(&parent, &temporary, Mode::RWXU).map_err(|e| failed("mkdir", e))?;
    let unpacked = fill(image, &parent, &temporary, keep_owners, mode).and_then(|unpacked| {
        match renameat_with(&parent, &temporary, &parent, name, RenameFlags::NOREPLACE) {
            // Without that flag an empty directory of the name may be replaced, nothing else.
            Err(Errno::INVAL) => renameat(&parent, &temporary, &parent, name),
            other => other,
        }
        .map(|()| unpacked)
        .map_err(|errno| match errno {
            Errno::EXIST | Errno::NOTEMPTY => UnpackError::Exists(layout.into()),
            errno => failed("rename", errno),
        })
    });
    unpacked.map_err(|error| {
        use std::os::unix::ffi::OsStrExt as _;
        match removal::remove(parent.as_fd(), temporary.as_bytes()) {
            Ok(()) => error,
            Err(left) => UnpackError::Left { error: Box::new(error), path: layout.with_file_name(temporary), left },
        }
    })
}

/// Rows of the table that name neither the caller nor root: an image's files are mostly root's, which is no news.
fn others(owners: &Owners) -> usize {
    let own = (geteuid().as_raw(), getegid().as_raw());
    owners.iter().filter(|(_, owner)| (owner.uid, owner.gid) != own).count()
}

/// Makes the layout `name` in `parent`.
fn fill(
    image: File,
    parent: &OwnedFd,
    name: &std::ffi::OsStr,
    keep_owners: bool,
    mode: u32,
) -> Result<Unpacked, UnpackError> {
    let failed = |call, path: &str, source: io::Error| UnpackError::System { call, path: path.into(), source };
    let open = |dir: &OwnedFd, name: &std::ffi::OsStr, what: &'static str| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(dir, name, flags, Mode::empty()).map_err(|e| failed("open", what, e.into()))
    };
    let dir = open(parent, name, ".")?;
    mkdirat(&dir, ROOTFS, Mode::RWXU).map_err(|e| failed("mkdir", ROOTFS, e.into()))?;
    let report = ingest::run(IngestJob {
        input: image,
        length: None,
        format: InputFormat::Aci,
        root: open(&dir, ROOTFS.as_ref(), ROOTFS)?,
        blob: None,
        recipe: None,
        limits: ExtractLimits::default(),
        expect_compressed: None,
        expect_uncompressed: None,
        single_id: !keep_owners,
        below: Below::default(),
        milestones: None,
    })?;
    let manifest = report.extracted.manifest.unwrap_or_default();
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file =
        openat(&dir, MANIFEST, flags, Mode::RUSR | Mode::WUSR).map_err(|e| failed("open", MANIFEST, e.into()))?;
    let mut file = File::from(file);
    file.write_all(manifest.as_bytes()).map_err(|e| failed("write", MANIFEST, e))?;
    fchmod(&file, Mode::from_raw_mode(mode & 0o666)).map_err(|e| failed("chmod", MANIFEST, e.into()))?;
    fchmod(&dir, Mode::from_raw_mode(mode)).map_err(|e| failed("chmod", ".", e.into()))?;
    Ok(Unpacked {
        id: report.uncompressed.into(),
        other_owners: others(&report.extracted.owners),
        warnings: report.extracted.warnings,
    })
}
