//! `proa eci inspect`: shows what an image holds, without pulling it.

use clap::Args;
use eci::{Item, Place};
use serde::Serialize;

use super::pull::{Opened, WhichArgs};
use crate::context::Context;
use crate::error::{CommandError, Explain};
use crate::escape::printable;
use crate::vm_images::{At, Remote};
use crate::{output, table};

/// Show what an image holds
///
/// Nothing but the image's description is read.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  proa eci inspect registry.example.com/team/vm:1
  proa eci inspect --remote /srv/images vm:1
  proa eci inspect --format=json --remote /srv/images vm:1")]
pub(crate) struct InspectArgs {
    /// Print JSON for programs, or a table
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,

    #[command(flatten)]
    which: WhichArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

#[derive(Debug, Serialize)]
struct Inspected {
    name: String,
    /// Of what the name means, which may be an index.
    digest: String,
    manifest: String,
    config: String,
    /// Which of the kinds of images it is.
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    os: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    architecture: Option<String>,
    files: Vec<File>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct File {
    role: String,
    title: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_type: Option<&'static str>,
    /// The layer that is the file, or has it alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    layer: Option<String>,
    /// Bytes of that layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    /// Where in the image's file system it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

pub(crate) fn run(context: &Context, args: &InspectArgs, place: &Remote) -> Result<u8, CommandError> {
    let name = args.which.name()?;
    let opened = At::new(context, place, name)
        .and_then(|at| at.source().and_then(|source| args.which.open(&*source)))
        .during(|| "error reading from registry".into())?;
    let inspected = inspected(name, &opened);
    output::write(&match args.format {
        Format::Json => output::pretty_json(&inspected)?,
        Format::Table => shown(&inspected),
    })?;
    Ok(0)
}

fn inspected(name: &str, opened: &Opened) -> Inspected {
    let image = &opened.image;
    let platform = image.platform.clone();
    Inspected {
        name: name.to_owned(),
        digest: image.named.to_string(),
        manifest: image.manifest.digest.to_string(),
        config: image.config.digest.to_string(),
        kind: opened.contents.kind.to_string(),
        os: platform.as_ref().map(|it| it.os.clone()),
        architecture: platform.map(|it| it.architecture),
        files: opened.contents.items.iter().map(file).collect(),
    }
}

fn file(item: &Item) -> File {
    let (layer, path) = match &item.place {
        Place::Blob(layer) | Place::Layer(layer) => (Some(layer), None),
        Place::Path(path) => (None, Some(format!("/{path}"))),
    };
    File {
        role: item.role.annotation().to_owned(),
        title: item.title.to_string(),
        disk_type: item.disk.map(eci::DiskType::name),
        layer: layer.map(|it| it.digest.to_string()),
        size: layer.map(|it| it.size),
        path,
    }
}

fn shown(image: &Inspected) -> String {
    let mut text = format!("image: {}\ndigest: {}\nkind: {}\n", printable(&image.name), image.digest, image.kind);
    if let (Some(os), Some(architecture)) = (&image.os, &image.architecture) {
        text += &format!("platform: {}/{}\n", printable(os), printable(architecture));
    }
    if !image.files.is_empty() {
        let mut rows = vec![["ROLE", "TYPE", "SIZE", "TITLE", "FROM"].map(str::to_owned).to_vec()];
        let dash = || "-".to_owned();
        for file in &image.files {
            let role = if file.role.is_empty() { "other" } else { &file.role };
            let size = file.size.map_or_else(dash, |it| it.to_string());
            let from = file.layer.as_deref().map(|it| it[..19].to_owned()).or_else(|| file.path.clone());
            rows.push(vec![
                role.to_owned(),
                file.disk_type.map_or_else(dash, str::to_owned),
                size,
                printable(&file.title).into_owned(),
                printable(&from.unwrap_or_default()).into_owned(),
            ]);
        }
        text += &table::aligned(&rows);
    }
    text
}
