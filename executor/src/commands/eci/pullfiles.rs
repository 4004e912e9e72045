//! `proa eci pullfiles`: puts single files of an image where they are wanted.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

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
    let targets = targets(args)?;
    let opened = At::new(context, place, name)
        .and_then(|at| pull(args, &at, name, &targets))
        .during(|| "error pulling from registry".into())?;
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

/// A file that is to be written.
struct Target {
    /// The option's name.
    option: &'static str,
    folder: Folder,
    name: Title,
    /// Where that is, without links.
    real: PathBuf,
}

/// The files that are asked for.
///
/// # Errors
///
/// One cannot be written, or two are the same.
fn targets(args: &PullFilesArgs) -> Result<Vec<Target>, CommandError> {
    let mut targets: Vec<Target> = Vec::new();
    for (option, path) in
        [("kernel", &args.kernel), ("initrd", &args.initrd), ("root", &args.root), ("config", &args.config)]
    {
        let Some(path) = path.as_ref().filter(|it| !it.is_empty()).map(Path::new) else { continue };
        let what = if option == "root" { "root disk" } else { option };
        let target = target(option, path)
            .map_err(|error| error.during(format!("failed to open {what} file {} for writing", path.display())))?;
        if let Some(same) = targets.iter().find(|it| it.real == target.real) {
            let message = format!("--{} and --{option} name the same file {}", same.option, path.display());
            return Err(CommandError::usage(message));
        }
        targets.push(target);
    }
    Ok(targets)
}

fn pull(args: &PullFilesArgs, at: &At, name: &str, targets: &[Target]) -> Result<Opened, CommandError> {
    let source = at.source()?;
    let opened = args.which.open(&*source)?;
    opened.check(name)?;
    let config = opened.config(Title::new("config.json")?);
    let item_of = |option| match option {
        "kernel" => opened.contents.single(Role::Kernel),
        "initrd" => opened.contents.single(Role::Initrd),
        "root" => opened.contents.single(Role::Root),
        _ => Some(&config),
    };
    // A role that the image does not have is no error; its line is empty.
    let wanted = targets
        .iter()
        .filter_map(|it| Some(Wanted { item: item_of(it.option)?, folder: &it.folder, title: it.name.clone() }));
    let wanted: Vec<_> = wanted.collect();
    unpack(&*source, &opened.image, &wanted, umask::file_mode(), &mut Told::new(args.which.verbose))?;
    Ok(opened)
}

/// Whether a file is asked for; as with the original, an empty value is none.
fn is_given(path: &Option<OsString>) -> bool {
    path.as_ref().is_some_and(|it| !it.is_empty())
}

/// The folder and the name of a file that is to be written. A device or a pipe would be replaced, not written to.
fn target(option: &'static str, path: &Path) -> Result<Target, CommandError> {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if real.exists() && !real.is_file() {
        return Err(CommandError::failed("it is not a regular file"));
    }
    let name = real.file_name().and_then(|it| it.to_str());
    let name = Title::new(name.ok_or_else(|| CommandError::usage("it is no name of a file"))?)?;
    let parent = real.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !parent.is_dir() {
        return Err(CommandError::failed(format!("there is no folder {}", parent.display())));
    }
    // Of a file that is not there yet, its folder's name may have links.
    let real = parent.canonicalize()?.join(name.as_str());
    Ok(Target { option, folder: ensured(parent)?, name, real })
}
