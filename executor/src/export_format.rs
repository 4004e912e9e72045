//! The formats that images and pods are exported in, and the file or directory that they become.

use std::fs::File;
use std::path::Path;

use clap::ValueEnum;
use executor::aci::{Target, TargetError};

use crate::error::CommandError;
use crate::exporting::Saved;
use crate::layer_writer::Packing;
use crate::oci_form::OciForm;
use crate::rendering::Place;
use crate::{exporting, output, umask};

/// Formats of exported images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// An App Container Image, uncompressed
    Aci,
    /// An OCI layout: a directory
    Oci,
    /// An OCI layout in a tar archive
    OciArchive,
    /// What `docker load` reads
    DockerArchive,
}

/// What is exported, and where to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Export<'a> {
    pub(crate) format: Format,
    /// What it is called in formats that have names.
    pub(crate) name: Option<&'a str>,
    pub(crate) output: &'a Path,
    /// Whether what is there is replaced.
    pub(crate) overwrite: bool,
}

impl Export<'_> {
    /// Writes the format; the output appears when it is complete. `-` is stdout.
    ///
    /// # Errors
    ///
    /// Those of `aci` and `oci`, which make the image in one form or the other; the output is there already, or cannot be
    /// written, or is stdout and that a terminal.
    pub(crate) fn write(
        &self,
        aci: impl FnOnce(&File) -> Result<(), CommandError>,
        oci: impl FnOnce(Packing) -> Result<OciForm, CommandError>,
    ) -> Result<(), CommandError> {
        let Self { format, name, output, overwrite } = *self;
        let stdout = output::is_stdout(output);
        if format == Format::Oci {
            if stdout {
                return Err(CommandError::usage("--format=oci: a layout is a directory, and standard output is none")
                    .hint("--format=oci-archive is a layout in a tar archive"));
            }
            let place = Place { dir: output, overwrite, rootfs_only: false };
            place.check()?;
            return exporting::layout(&oci(Packing::Gzip)?, name, place);
        }
        let write = |file: File| match format {
            Format::Aci => aci(&file),
            Format::OciArchive => exporting::oci_archive(&oci(Packing::Gzip)?, name, file),
            Format::DockerArchive => {
                let names = name.map(str::to_owned).into_iter().collect();
                exporting::docker_archive(&[Saved { form: oci(Packing::Plain)?, names }], file)
            }
            Format::Oci => unreachable!("a layout is no file"),
        };
        if stdout {
            return output::archive(write);
        }
        let target = Target::create(output, overwrite, umask::file_mode()).map_err(explain)?;
        write(target.file()?)?;
        target.publish().map_err(explain)
    }
}

/// In rkt's words.
fn explain(error: TargetError) -> CommandError {
    match error {
        TargetError::Exists(path) => {
            CommandError::failed("output ACI file exists (try --overwrite)").during(path.display().to_string())
        }
        error => error.into(),
    }
}
