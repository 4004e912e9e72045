//! Writes what an app of an image would see to a directory of the user's choice.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use appc::ImageId;
use executor::aci;
use store::ImageRecord;
use store::flatten::{FlattenError, Wrapping, flatten};

use crate::diagnostics::warn;
use crate::error::{CommandError, Explain};
use crate::idmap;
use crate::import::Images;
use crate::umask;

/// Where an image is written to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// The directory to be.
    pub(crate) dir: &'a Path,
    /// Whether what has that name is to be replaced.
    pub(crate) overwrite: bool,
    /// Whether the directory becomes the root file system itself; else it gets `manifest` and `rootfs`.
    pub(crate) rootfs_only: bool,
}

/// Writes the image with its layers and dependencies applied. As root files get the owners they have in the image, else
/// they are the caller's.
///
/// # Errors
///
/// The image cannot be read, or the directory not be made. What had its name is still there then.
pub(crate) fn render(images: &Images, image: &ImageRecord, place: Place<'_>) -> Result<(), CommandError> {
    place.check()?;
    let (stack, _guards) = images.stack(image)?;
    let manifest = image.manifest.to_json()?;
    let (reader, writer) = io::pipe()?;
    // Each of the two processes lets go of the end it does not use: else neither would notice that the other has failed.
    let reader = Cell::new(Some(reader));
    let work = || -> Result<(), FlattenError> {
        drop(reader.take());
        let mut out = BufWriter::with_capacity(64 << 10, writer);
        flatten(&stack, Wrapping::Aci(&manifest), &mut out)?;
        out.flush().map_err(|error| FlattenError::Write(error.into()))
    };
    let unpack = || {
        let reader = reader.take().expect("the other process has a copy of its own");
        place.fill(File::from(OwnedFd::from(reader)), None)
    };
    let (flattened, unpacked) = idmap::run_beside(&images.mapping, work, unpack)?;
    match (flattened, unpacked) {
        (Ok(()), unpacked) => unpacked,
        // Its end of the pipe was closed because this one was.
        (Err(FlattenError::Write(_)), Err(error)) => Err(error),
        (Err(error), _) => Err(error.into()),
    }
}

impl Place<'_> {
    /// Whether the directory may be made, or replaced.
    ///
    /// # Errors
    ///
    /// It may not. The texts are rkt's.
    pub(crate) fn check(&self) -> Result<(), CommandError> {
        self.may_be_made().during(|| self.dir.display().to_string())
    }

    fn may_be_made(&self) -> Result<(), CommandError> {
        let found = match fs::symlink_metadata(self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found?,
        };
        if !self.overwrite {
            return Err(CommandError::failed("output directory exists (try --overwrite)"));
        }
        let real = fs::canonicalize(self.dir)?;
        if real == Path::new("/") {
            return Err(CommandError::failed("this would delete your root filesystem. Refusing."));
        }
        if std::env::current_dir().is_ok_and(|here| here.starts_with(&real)) {
            return Err(CommandError::failed("this would delete the directory you are in. Refusing."));
        }
        if !found.is_dir() {
            return Err(CommandError::failed("it is no directory").hint("--overwrite replaces directories only"));
        }
        Ok(())
    }

    /// Unpacks an ACI there, which must be that of the ID, if one is given.
    ///
    /// # Errors
    ///
    /// It is no image or another one, or something of it cannot be made.
    pub(crate) fn fill(&self, image: File, expected: Option<&ImageId>) -> Result<(), CommandError> {
        let keep_owners = rustix::process::geteuid().is_root();
        self.replace_with(|draft| {
            let unpacked = aci::unpack(image, draft, keep_owners, umask::directory_mode())?;
            if let Some(expected) = expected.filter(|expected| **expected != unpacked.id) {
                // The text is that of appc's renderer.
                let text = format!("image hash does not match expected ({} != {expected})", unpacked.id);
                return Err(CommandError::failed(text).hint("`proa image verify` mends what is damaged"));
            }
            unpacked.warnings.lines().for_each(|line| warn(&line));
            if unpacked.other_owners > 0 {
                warn(&format!("{} files belong to you, but to others in the image", unpacked.other_owners));
            }
            Ok(())
        })
    }

    /// Makes the directory with what `fill` puts into it.
    ///
    /// # Errors
    ///
    /// Those of `fill`; the directory cannot be made.
    pub(crate) fn fill_with(&self, fill: impl FnOnce(&Path) -> Result<(), CommandError>) -> Result<(), CommandError> {
        self.replace_with(|draft| {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(umask::directory_mode());
            let made = fs::create_dir(draft).and_then(|()| fs::set_permissions(draft, mode));
            made.during(|| format!("make {}", draft.display()))?;
            fill(draft)
        })
    }

    /// Lets `make` make a directory under another name, and gives it its own when it is complete: what is replaced
    /// stays until then.
    fn replace_with(&self, make: impl FnOnce(&Path) -> Result<(), CommandError>) -> Result<(), CommandError> {
        let draft = self.draft()?;
        let placed = make(&draft).and_then(|()| self.put(&draft));
        // What is left of it: nothing, its manifest, or all of it where something went wrong.
        let removed = if draft.exists() { fs::remove_dir_all(&draft) } else { Ok(()) };
        placed?;
        removed.during(|| format!("remove {}", draft.display()))
    }

    /// A name beside the directory that nothing has.
    fn draft(&self) -> Result<PathBuf, CommandError> {
        let name = self.dir.components().next_back().map(|name| name.as_os_str().to_owned());
        let name = name.filter(|name| name != ".." && name != "." && name != "/");
        let Some(name) = name else {
            return Err(CommandError::failed(format!("{} has no name of its own", self.dir.display())));
        };
        let mut draft = std::ffi::OsString::from(".");
        draft.push(name);
        draft.push(format!(".{}.proa", std::process::id()));
        Ok(self.dir.parent().unwrap_or(Path::new("")).join(draft))
    }

    /// Moves the finished draft to its place.
    fn put(&self, draft: &Path) -> Result<(), CommandError> {
        let from = if self.rootfs_only { draft.join(aci::ROOTFS) } else { draft.to_owned() };
        if self.overwrite && self.dir.exists() {
            fs::remove_dir_all(self.dir).during(|| format!("remove {}", self.dir.display()))?;
        }
        // A directory that is moved into another one must be writable itself, because its `..` changes.
        let placed = fs::symlink_metadata(&from).and_then(|found| {
            if self.rootfs_only {
                fs::set_permissions(&from, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
            }
            fs::rename(&from, self.dir)?;
            if self.rootfs_only { fs::set_permissions(self.dir, found.permissions()) } else { Ok(()) }
        });
        placed.during(|| format!("rename it to {}", self.dir.display()))
    }
}
