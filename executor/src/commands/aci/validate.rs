//! `proa aci validate`: whether images, layouts and manifests are what the specification wants.

use std::fs;
use std::path::{Path, PathBuf};

use appc::{Dialect, FieldError, ImageManifest, Kind, ManifestError, PodManifest, Problem};
use clap::Args;
use executor::aci::{self, ArchiveError, FileType, Layout, LayoutError, ManifestFile, ManifestFileError, OpenedImage};
use fetch::AciError;
use tracing::info;

use crate::context::Context;
use crate::diagnostics::{warn, warn_of_version};
use crate::error::{CommandError, Explain, FAILURE};
use crate::output;

/// Check that images, layouts or manifests follow the App Container specification
///
/// Says nothing if all is well. A manifest's mistakes are told with line, column and a caret, or with their JSON path.
/// All files are checked, also after one that is bad; the exit status is 254 then.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  proa aci validate worker.aci ./layout
  proa aci validate image.json pod.yaml
  proa aci validate --type=manifest worker.txt")]
pub(crate) struct ValidateArgs {
    /// Image files, layout directories and manifests, JSON or YAML (.yaml, .yml)
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// What the files are [default: found out by their first bytes]
    #[arg(long = "type", value_name = "TYPE")]
    file_type: Option<Type>,
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Type {
    /// An image file
    Appimage,
    /// A directory with manifest and rootfs
    Layout,
    /// An image or pod manifest
    Manifest,
}

pub(crate) fn run(_: &Context, args: ValidateArgs) -> Result<u8, CommandError> {
    let mut status = 0;
    for file in &args.files {
        match judge(file, args.file_type) {
            Ok(what) => info!("{}: valid {what}", file.display()),
            Err(error) => {
                let error = error.during(file.display().to_string());
                output::complain(&error.report(Some("aci validate")));
                status = FAILURE;
            }
        }
    }
    Ok(status)
}

/// What comes out of a pipe is not looked at twice. One that has a name may be nobody's.
const OF_A_PIPE: &str = "save it to a file first, or name a manifest's pipe as /dev/stdin, with --type=manifest";

/// What a good file is.
fn judge(path: &Path, wanted: Option<Type>) -> Result<&'static str, CommandError> {
    let file_type = match wanted {
        Some(wanted) => wanted,
        None => detect(path)?,
    };
    match file_type {
        Type::Layout => {
            let layout = Layout::open(path, None, Dialect::Proa).map_err(explain_layout);
            layout.during(|| "invalid image layout".into()).map(|_| "image layout")
        }
        Type::Appimage => image(path).map(|()| "app container image"),
        Type::Manifest => manifest(path).map(Kind::name),
    }
}

fn detect(path: &Path) -> Result<Type, CommandError> {
    let metadata = fs::metadata(path).during(|| "unable to access it".into());
    if metadata.hint(|| "is the path right?".into())?.is_dir() {
        return Ok(Type::Layout);
    }
    if path.extension().is_some_and(|it| it == "yaml" || it == "yml") {
        return Ok(Type::Manifest);
    }
    let undetected = |why: &str| {
        CommandError::failed(format!("unable to detect filetype{why}")).hint("--type says what it should be")
    };
    let opened = fetch::AciFile::open(path).map_err(|error| match error {
        AciError::NotRegular { kind: "fifo", .. } => CommandError::from(error).hint(OF_A_PIPE),
        error => error.into(),
    })?;
    match aci::type_of(&opened.file).during(|| "read it".into())? {
        FileType::Archive(_) => Ok(Type::Appimage),
        FileType::Text => Ok(Type::Manifest),
        FileType::Unreadable(error) => Err(error.into()),
        _ => Err(undetected("")),
    }
}

fn image(path: &Path) -> Result<(), CommandError> {
    let opened = OpenedImage::open(path)?;
    let checked = aci::validate_archive(opened.file, &aci::limits(), Dialect::Proa)
        .map_err(|error| match error {
            ArchiveError::Manifest(error) => explain(error).during("image manifest validation failed"),
            error => error.into(),
        })
        .during(|| "error validating".into())?;
    warn_of_version(&path.display().to_string(), &checked.manifest.ac_version);
    if checked.devices > 0 {
        warn(&format!("{}: {} device nodes are skipped when it is unpacked", path.display(), checked.devices));
    }
    if checked.manifest.dependencies.is_empty() {
        for absent in &checked.absent {
            warn(&format!("{}: pathWhitelist names {absent:?}, which is not in the image", path.display()));
        }
    }
    Ok(())
}

fn manifest(path: &Path) -> Result<Kind, CommandError> {
    let json = ManifestFile::read(path).map_err(explain_file)?.json;
    let kind = Kind::of(&json, Dialect::Proa).map_err(explain).during(|| "error unmarshaling manifest".into())?;
    let read = match kind {
        Kind::Image => ImageManifest::from_json(&json).map(|manifest| manifest.ac_version),
        Kind::Pod => PodManifest::from_json(&json).map(|manifest| manifest.ac_version),
    };
    let version = read.map_err(explain).during(|| format!("invalid {}", kind.name()))?;
    warn_of_version(&path.display().to_string(), &version);
    Ok(kind)
}

/// What is wrong with a layout, a manifest's mistake with its place.
pub(super) fn explain_layout(error: LayoutError) -> CommandError {
    match error {
        LayoutError::Manifest(error) => explain(error).during("image manifest validation failed"),
        LayoutError::ManifestFile(error) => explain_file(error),
        error => error.into(),
    }
}

/// A YAML mistake with the lines it is on.
pub(super) fn explain_file(error: ManifestFileError) -> CommandError {
    let picture = match &error {
        ManifestFileError::Yaml(error) => error.picture().map(str::to_owned),
        _ => None,
    };
    let error = CommandError::from(error);
    match picture {
        Some(picture) => error.picture(picture),
        None => error,
    }
}

/// A manifest's mistake with its place: a picture of the line where it is one of syntax, else the JSON path.
pub(super) fn explain(error: ManifestError) -> CommandError {
    match &error {
        ManifestError::Syntax(syntax) => {
            let (line, column) = (syntax.line, syntax.column);
            let text = format!("Error at line {line}, column {column}: {}", syntax.problem);
            CommandError::failed(text).picture(syntax.highlight()).hint("correct it there")
        }
        ManifestError::Invalid { path, problem } => {
            let quote = matches!(
                problem,
                Problem::Field(FieldError::Mismatch { expected: "a string", found: "a number" | "a boolean" })
            );
            let text = CommandError::failed(format!("{error} (at {path})"));
            text.hint(if quote {
                "put it in double quotes"
            } else {
                "docs/formats/appc.md says what a manifest may hold"
            })
        }
        _ => error.into(),
    }
}
