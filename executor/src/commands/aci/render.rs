//! `proa aci render`: writes what an app of an image file sees to a directory.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use executor::aci::OpenedImage;
use rustix::fs::{CWD, Mode, OFlags, openat};
use store::{DependencyError, ImageRecord, TreeRemover as _, removal};

use crate::context::Context;
use crate::diagnostics::warn;
use crate::error::{CommandError, Explain, chain};
use crate::idmap::Remover;
use crate::import::{Images, Origin};
use crate::pull_policy::PullPolicy;
use crate::rendering::{self, Place};
use crate::signature::Voucher;

/// Unpack an image file into a directory, with all its dependencies
///
/// DIR gets the image's `manifest` and a `rootfs` that is what the app would see: the files of its dependencies below its
/// own, and only those that its pathWhitelist has. Dependencies are the images given with --with, else those in the store,
/// to which nothing is added. As root files get the owners they have in the image, else they are yours. DIR appears when it
/// is complete.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  proa aci render worker.aci ./worker
  proa aci render --with=base.aci --with=tools.aci --rootfs-only worker.aci ./rootfs")]
pub(crate) struct RenderArgs {
    /// The image file
    #[arg(value_name = "ACI")]
    image: PathBuf,

    /// The directory to be
    #[arg(value_name = "DIR")]
    output: PathBuf,

    /// An image file that the image may depend on; may be given several times
    #[arg(long, value_name = "ACI")]
    with: Vec<PathBuf>,

    /// Make DIR the root file system itself, and leave the manifest out
    #[arg(long)]
    rootfs_only: bool,

    /// Replace DIR if it exists
    #[arg(long)]
    overwrite: bool,
}

pub(crate) fn run(context: &Context, args: RenderArgs) -> Result<u8, CommandError> {
    let place = Place { dir: &args.output, overwrite: args.overwrite, rootfs_only: args.rootfs_only };
    place.check()?;
    let workshop = workshop(&args.output)?;
    let rendered = Images::open(&context.with_data_in(&workshop), PullPolicy::Never).and_then(|images| {
        let rendered = render(&images, &args, place);
        if let Err(error) = discard(&images, &workshop) {
            warn(&format!("{} is left: {}", workshop.display(), chain(&error)));
        }
        rendered
    });
    if workshop.exists() && rendered.is_err() {
        // Nothing of it belongs to mapped ids yet.
        let _ = fs::remove_dir_all(&workshop);
    }
    rendered.map(|()| 0)
}

fn render(images: &Images, args: &RenderArgs, place: Place<'_>) -> Result<(), CommandError> {
    for dependency in &args.with {
        import(images, dependency)?;
    }
    let image = import(images, &args.image)?;
    rendering::render(images, &image, place).map_err(|error| match error.cause::<DependencyError>() {
        Some(DependencyError::Missing { .. }) => error.hint("--with=FILE.aci gives the image that it needs"),
        _ => error,
    })
}

fn import(images: &Images, path: &Path) -> Result<ImageRecord, CommandError> {
    let during = || path.display().to_string();
    let opened = OpenedImage::open(path).during(during)?;
    // Whose file it is is the caller's business, as with the other commands of this group.
    let origin = Origin { voucher: &Voucher::Nobody, source: None, wanted: None };
    images.import_aci(opened.file, origin).during(during)
}

/// Makes a directory beside the one to be, on the same disk, for the store that the images are unpacked into.
fn workshop(output: &Path) -> Result<PathBuf, CommandError> {
    let named = output.file_name().ok_or_else(|| {
        CommandError::failed(format!("{} has no name of its own", output.display()))
            .hint("give the name of a directory to be")
    })?;
    let mut name = OsString::from(".");
    name.push(named);
    name.push(format!(".{}.proa-work", std::process::id()));
    let parent = output.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let workshop = std::path::absolute(parent)?.join(name);
    DirBuilder::new().mode(0o700).create(&workshop).during(|| format!("make {}", workshop.display()))?;
    Ok(workshop)
}

/// Removes the store again, some of whose files may belong to mapped ids.
fn discard(images: &Images, workshop: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = openat(CWD, workshop, flags, Mode::empty())?;
    // As the caller: root of the machine may do all. Else as root of the id map, to whom everything here belongs.
    if removal::empty(dir.as_fd()).is_err() {
        Remover::new(&images.mapping).empty(dir.as_fd())?;
    }
    fs::remove_dir(workshop)
}
