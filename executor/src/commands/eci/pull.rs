//! `proa eci pull`: puts all files of an image into a folder.

use std::ffi::OsString;
use std::num::{IntErrorKind, ParseIntError};
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser as _};
use eci::unpack::{Folder, everything, unpack};
use eci::{Contents, Image, Item, Kind, Place, Role, Source, Title};

use super::image;
use super::push::platform;
use crate::context::Context;
use crate::diagnostics::warn;
use crate::error::{CommandError, Explain};
use crate::vm_images::{At, Remote, Told};
use crate::{output, umask};

/// Pull an image and put its files into a folder
///
/// The files are called kernel, initrd, disk-root-NAME and disk-N-NAME, whatever kind of image it is. Files that are
/// there are replaced. A pull that was interrupted is gone on with by the next one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  proa eci pull registry.example.com/team/vm:1
  proa eci pull --remote /srv/images vm:1
  proa eci pull --dir vm --remote /srv/images vm:1")]
pub(crate) struct PullArgs {
    /// The folder, made if it is not there [default: the working directory]
    #[arg(long, value_name = "DIR", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    dir: Option<PathBuf>,

    #[command(flatten)]
    pub(super) which: WhichArgs,
}

// Options of all commands that read images. (A doc comment would become help text.)
#[derive(Debug, Args)]
pub(crate) struct WhichArgs {
    /// Of an index, the image for this operating system [default: this machine's]
    #[arg(long = "OS", value_name = "NAME")]
    os: Option<String>,

    /// Of an index, the image for this processor, as Go calls it [default: this machine's]
    #[arg(long, value_name = "NAME")]
    arch: Option<String>,

    // It has no meaning where decompression is not done in blocks; accepted because scripts give it.
    #[arg(long, value_name = "BYTES", default_value = "32768", value_parser = number, hide = true)]
    blocksize: i64,

    /// Print a line for each file that came
    #[arg(long)]
    pub(super) verbose: bool,

    /// The image's name
    #[arg(value_name = "IMAGE")]
    pub(super) images: Vec<String>,
}

/// An image that was found, with what it holds.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) image: Image,
    pub(super) contents: Contents,
}

impl WhichArgs {
    /// The image's name, which must be the only one.
    pub(super) fn name(&self) -> Result<&str, CommandError> {
        image(&self.images, "must be exactly one arg, the name of the image to download")
    }

    /// Reads what an image holds.
    pub(super) fn open(&self, source: &dyn Source) -> Result<Opened, CommandError> {
        let image = Image::read(source, &platform(self.os.as_deref(), self.arch.as_deref()))?;
        let contents = Contents::of(&image)?;
        for layer in &contents.left_out {
            warn(&format!("left out, because it is no part of a virtual machine that is known: layer {layer}"));
        }
        Ok(Opened { image, contents })
    }
}

impl Opened {
    /// Refuses an image that has no files for a virtual machine.
    pub(super) fn check(&self, name: &str) -> Result<(), CommandError> {
        match self.contents.kind {
            Kind::Regular => Err(CommandError::failed(format!(
                "{name} is a regular OCI image: nothing in it is marked as a part of a virtual machine"
            ))
            .hint("an image for containers is run with `proa run`")),
            _ => Ok(()),
        }
    }

    /// The config as a file, called `title`.
    pub(super) fn config(&self, title: Title) -> Item {
        Item { role: Role::Other, disk: None, title, place: Place::Blob(self.image.config.clone()) }
    }
}

pub(crate) fn run(context: &Context, args: &PullArgs, place: &Remote) -> Result<u8, CommandError> {
    let name = args.which.name()?;
    let argv: Vec<OsString> = std::env::args_os().collect();
    let given = args.dir.clone().filter(|it| !it.as_os_str().is_empty() && is_given_behind(&argv, "pull"));
    let dir = given.map_or_else(std::env::current_dir, Ok).during(|| "the working directory".into())?;
    let opened = At::new(context, place, name)
        .and_then(|at| pull(args, &at, name, &dir))
        .during(|| "error pulling from registry".into())?;
    let contents = &opened.contents;
    let path = |item: &Item| joined(&dir, item.title.as_str());
    let single = |role| contents.single(role).map(path).unwrap_or_default();
    let typed = |item: &Item| format!("{} {}", path(item), item.disk.map(|it| it.to_string()).unwrap_or_default());
    let mut text = format!("Pulled image {name} with digest {} to directory {}\n", opened.image.named, dir.display());
    text += "file locations and types:\n";
    text += &format!("\tkernel: {}\n\tinitrd: {}\n", single(Role::Kernel), single(Role::Initrd));
    text += &format!("\troot: {}\n", contents.single(Role::Root).map(typed).unwrap_or_default());
    for (number, disk) in contents.disks().enumerate() {
        text += &format!("\tadditional disk {number}: {}\n", typed(disk));
    }
    output::write(&text)?;
    Ok(0)
}

fn pull(args: &PullArgs, at: &At, name: &str, dir: &Path) -> Result<Opened, CommandError> {
    let source = at.source()?;
    let opened = args.which.open(&*source)?;
    opened.check(name)?;
    let folder = ensured(dir)?;
    let mut wanted = everything(&opened.contents, &folder);
    // Images that we and the original make have their config called config.json.
    let title = opened.image.config.annotation("org.opencontainers.image.title");
    let config = title.map(Title::new).transpose()?.map(|it| opened.config(it));
    if let Some(config) = &config {
        if wanted.iter().any(|it| it.title == config.title) {
            return Err(CommandError::failed(format!("a layer and the config have the title {}", config.title)));
        }
        wanted.push(eci::unpack::Wanted { item: config, folder: &folder, title: config.title.clone() });
    }
    unpack(&*source, &opened.image, &wanted, umask::file_mode(), &mut Told::new(args.which.verbose))?;
    Ok(opened)
}

/// A number, or what the original says of other text.
fn number(text: &str) -> Result<i64, String> {
    text.parse().map_err(|error: ParseIntError| {
        let reason = match error.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("strconv.ParseInt: parsing {text:?}: {reason}")
    })
}

/// Opens a folder for files, which is made if it is not there.
pub(super) fn ensured(dir: &Path) -> Result<Folder, CommandError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let shown = || format!("folder {}", dir.display());
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(dir).during(shown)?;
    let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let fd = rustix::fs::open(dir, flags, rustix::fs::Mode::empty()).during(shown)?;
    Ok(Folder::new(fd))
}

/// Whether `--dir` stands behind the subcommand. Before it, it is proa's own option for the place of data, and clap
/// hands the values of options of one name up and down.
fn is_given_behind(argv: &[OsString], subcommand: &str) -> bool {
    let behind = argv.iter().skip_while(|word| *word != subcommand).skip(1);
    let mut options = behind.take_while(|word| *word != "--");
    options.any(|word| word == "--dir" || word.as_encoded_bytes().starts_with(b"--dir="))
}

/// A file of a folder as Go's `path.Join` shows it.
fn joined(dir: &Path, file: &str) -> String {
    let text = format!("{}/{file}", dir.display());
    let (root, mut parts) = (text.starts_with('/'), Vec::new());
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|it| *it != "..") => drop(parts.pop()),
            ".." if root => {}
            part => parts.push(part),
        }
    }
    format!("{}{}", if root { "/" } else { "" }, parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_shown_as_go_joins_them() {
        for (dir, shown) in [("out", "out/f"), ("./out/", "out/f"), ("/a/../b", "/b/f"), ("../x", "../x/f"), (".", "f")]
        {
            assert_eq!(joined(Path::new(dir), "f"), shown);
        }
    }

    #[test]
    fn the_folder_is_given_behind_the_subcommand() {
        let given = |line: &str| is_given_behind(&line.split(' ').map(OsString::from).collect::<Vec<_>>(), "pull");
        assert!(given("proa --dir data eci pull --dir out x") && given("eci pull x --dir=out"));
        assert!(!given("proa --dir data eci pull x") && !given("eci pull x -- --dir"));
    }
}
