//! `docker load`: stores the images of an archive that `docker save` wrote.

use std::fs::File;
use std::io::{self, IsTerminal as _, Seek as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use fetch::ImageRef;
use rustix::fs::{Mode, OFlags, open};
use rustix::stdio::dup2_stdin;

use super::image;
use crate::context::Context;
use crate::error::{CommandError, Explain as _};
use crate::import::Images;
use crate::output;
use crate::pull_policy::PullPolicy;

/// Load images from a tar archive or STDIN
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// Read from a tar archive file, which may be compressed, instead of STDIN
    #[arg(long, short, value_name = "FILE")]
    input: Option<PathBuf>,

    /// Suppress the load output; what was loaded is told all the same, as docker does
    #[arg(long, short)]
    quiet: bool,
}

pub(crate) fn run(context: &Context, args: LoadArgs) -> Result<u8, CommandError> {
    let file = archive(context, args.input)?;
    let images = Images::open(context, PullPolicy::New)?;
    let references: Vec<ImageRef> = match images.names_in_archive(&file)? {
        Some(entries) => {
            let numbered = entries.into_iter().enumerate();
            let of_entry = |(number, names): (usize, Vec<String>)| {
                if names.is_empty() { vec![format!("@{number}")] } else { names }
            };
            let reference = |reference| ImageRef::DockerArchive { file: file.clone(), reference: Some(reference) };
            numbered.flat_map(of_entry).map(reference).collect()
        }
        // What other programs call docker's archive nowadays.
        None => vec![ImageRef::OciArchive { file, reference: None }],
    };
    for reference in references {
        let record = images.resolve(&reference, None)?;
        images.trees(&record)?;
        let name = match &reference {
            ImageRef::DockerArchive { reference: Some(name), .. } if !name.starts_with('@') => {
                Some(image::Name::parse(name))
            }
            ImageRef::DockerArchive { .. } => None,
            _ => image::names(&record).into_iter().next(),
        };
        output::write(&match name {
            Some(name) => format!("Loaded image: {name}\n"),
            None => format!("Loaded image ID: sha256:{}\n", image::digits(&record)),
        })?;
    }
    Ok(0)
}

/// The archive as a file that is read in any order: the one that is named, or what a pipe brings (`-i <(gunzip -c FILE)`).
fn archive(context: &Context, input: Option<PathBuf>) -> Result<PathBuf, CommandError> {
    if let Some(path) = input {
        let file = File::open(&path).during(|| format!("open {}", path.display()))?;
        if !file.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo()) {
            return Ok(path);
        }
        dup2_stdin(&file)?;
    }
    dup2_stdin(&spool(context.create_data_dir()?, "load")?)?;
    Ok("/dev/stdin".into())
}

/// Standard input as a file without a name: an archive is read in any order.
///
/// # Errors
///
/// It is a terminal, it is empty, or there is no room.
pub(super) fn spool(dir: &Path, what: &str) -> Result<File, CommandError> {
    let nothing = || CommandError::failed(format!("requested {what} from stdin, but stdin is empty"));
    if io::stdin().is_terminal() {
        return Err(nothing());
    }
    let mut stdin = io::stdin().lock();
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = open(dir, flags, Mode::RUSR | Mode::WUSR).during(|| format!("make a file in {}", dir.display()))?;
    let mut file = File::from(file);
    io::copy(&mut stdin, &mut file).during(|| "read standard input".into())?;
    if file.metadata()?.len() == 0 {
        return Err(nothing());
    }
    // It is read from its beginning.
    file.rewind()?;
    Ok(file)
}
