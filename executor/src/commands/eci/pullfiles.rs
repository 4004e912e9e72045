//! `proa eci pullfiles`: puts single files of an image where they are wanted.

use std::ffi::OsString;
use std::path::Path;

use clap::Args;
use eci::unpack::{Folder, Wanted, unpack};
use eci::{Role, Title};

use super::pull::{Opened, WhichArgs, ensured};
use crate::context::Context;
use crate::error::{CommandError, Explain};
use crate::vm_images::{At, Remote, Told};
use crate::{output, umask};

/// Pull single files of an image
///
/// Only what is asked for is pulled. Files that are there are replaced.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  proa eci pullfiles --root disk.qcow2 registry.example.com/team/vm:1
  proa eci pullfiles --kernel vmlinuz --initrd initrd.img --remote /srv/images vm:1
  proa eci pullfiles --root disk.qcow2 --config config.json --remote /srv/images vm:1")]
pub(crate) struct PullFilesArgs {
    /// Where the kernel is to be
    #[arg(long, value_name = "FILE")]
    kernel: Option<OsString>,

    /// Where the initial RAM disk is to be
    #[arg(long, value_name = "FILE")]
    initrd: Option<OsString>,

    /// Where the root disk is to be
    #[arg(long, value_name = "FILE")]
    root: Option<OsString>,

    /// Where the image's config is to be
    #[arg(long, value_name = "FILE")]
    config: Option<OsString>,

    #[command(flatten)]
    which: WhichArgs,
}

pub(crate) fn run(context: &Context, args: &PullFilesArgs, place: &Remote) -> Result<u8, CommandError> {
    let name = args.which.name()?;
    let at = At::new(context, place, name)?;
    let opened = pull(args, &at, name).during(|| "error pulling from registry".into())?;
    let mut text = format!("Pulled image {name} with digest {}\nfile locations and types:\n", opened.image.named);
    for (what, path, role) in [
        ("kernel", &args.kernel, Role::Kernel),
        ("initrd", &args.initrd, Role::Initrd),
        ("root", &args.root, Role::Root),
    ] {
        if is_given(path) {
            let item = opened.contents.single(role);
            let kind = item.and_then(|it| it.disk).map(|it| format!(" {it}")).unwrap_or_default();
            let title = item.map(|it| it.title.to_string()).unwrap_or_default();
            text += &format!("\t{what}: {title}{kind}\n");
        }
    }
    output::write(&text)?;
    Ok(0)
}

fn pull(args: &PullFilesArgs, at: &At, name: &str) -> Result<Opened, CommandError> {
    let source = at.source()?;
    let opened = args.which.open(&*source)?;
    opened.check(name)?;
    let config = opened.config(Title::new("config.json")?);
    let items = [
        (&args.kernel, opened.contents.single(Role::Kernel)),
        (&args.initrd, opened.contents.single(Role::Initrd)),
        (&args.root, opened.contents.single(Role::Root)),
        (&args.config, Some(&config)),
    ];
    let mut places = Vec::new();
    for (path, item) in items {
        // A role that the image does not have is no error; its line is empty.
        if let Some((item, path)) = item.zip(path.as_deref().filter(|it| !it.is_empty())) {
            places.push((item, target(Path::new(path))?));
        }
    }
    let mut wanted = Vec::new();
    for (item, (folder, title)) in &places {
        wanted.push(Wanted { item, folder, title: title.clone() });
    }
    unpack(&*source, &opened.image, &wanted, umask::file_mode(), &mut Told::new(args.which.verbose))?;
    Ok(opened)
}

/// Whether a file is asked for; as with the original, an empty value is none.
fn is_given(path: &Option<OsString>) -> bool {
    path.as_ref().is_some_and(|it| !it.is_empty())
}

/// The folder and the name of a file that is to be written. A device or a pipe would be replaced, not written to.
fn target(path: &Path) -> Result<(Folder, Title), CommandError> {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if real.exists() && !real.is_file() {
        return Err(CommandError::failed(format!("{} is not a regular file", path.display())));
    }
    let name = real.file_name().and_then(|it| it.to_str());
    let name = name.ok_or_else(|| CommandError::usage(format!("{} is no name of a file", path.display())))?;
    let parent = real.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !parent.is_dir() {
        return Err(CommandError::failed(format!("{}: there is no such folder", parent.display())));
    }
    Ok((ensured(parent)?, Title::new(name)?))
}
