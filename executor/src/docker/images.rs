//! `docker images`: the images there are.

use clap::Args;
use serde_json::{Value, json};
use store::{ImageRecord, Store};

use super::image::{self, Name};
use super::template::Template;
use super::{age, columns};
use crate::context::Context;
use crate::error::CommandError;
use crate::escape::printable;
use crate::{images, moment, output};

/// List images
#[derive(Debug, Args)]
pub(crate) struct ImagesArgs {
    /// Show all images, which is always done
    #[arg(long, short)]
    all: bool,

    /// Only show image IDs
    #[arg(long, short)]
    quiet: bool,

    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,

    /// Format output: table, json, or a template of fields such as '{{.ID}} {{.Repository}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,

    /// Show images of this name only
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
}

pub(crate) fn run(context: &Context, args: ImagesArgs) -> Result<u8, CommandError> {
    let store = images::store(context)?;
    let mut listed = store.list()?.images;
    listed.sort_by_key(|image| std::cmp::Reverse(image.imported_ns));
    let now = moment::now();
    let mut rows = Vec::new();
    for image in &listed {
        let mut names: Vec<Option<Name>> = image::names(image).into_iter().map(Some).collect();
        if names.is_empty() {
            names.push(None);
        }
        rows.extend(
            names
                .iter()
                .filter(|name| is_wanted(args.name.as_deref(), name.as_ref()))
                .map(|name| of(&store, image, name.as_ref(), args.no_trunc, now)),
        );
    }
    output::write(&shown(&args, &rows)?)?;
    Ok(0)
}

fn is_wanted(wanted: Option<&str>, name: Option<&Name>) -> bool {
    let Some(wanted) = wanted else { return true };
    let has_tag = wanted.rsplit('/').next().is_some_and(|last| last.contains(':'));
    let wanted = Name::parse(wanted);
    name.is_some_and(|name| name.repository == wanted.repository && (!has_tag || name.tag == wanted.tag))
}

fn shown(args: &ImagesArgs, images: &[Value]) -> Result<String, CommandError> {
    let cell = |image: &Value, field: &str| image[field].as_str().unwrap_or_default().to_owned();
    if args.quiet {
        let mut ids: Vec<String> = images.iter().map(|image| cell(image, "ID") + "\n").collect();
        ids.dedup();
        return Ok(ids.concat());
    }
    match args.format.as_deref() {
        None | Some("table") => {
            let titles = ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"];
            let mut rows = vec![titles.map(str::to_owned).to_vec()];
            let fields = ["Repository", "Tag", "ID", "CreatedSince", "Size"];
            rows.extend(images.iter().map(|image| fields.map(|field| cell(image, field)).to_vec()));
            Ok(columns::aligned(&rows))
        }
        Some("json") => images.iter().map(|image| Ok(serde_json::to_string(image)? + "\n")).collect(),
        Some(template) => Template::parse(template)?.table(images, &TITLES),
    }
}

/// The titles of fields in a table of the user's own.
const TITLES: [(&str, &str); 6] = [
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
];

/// An image's fields, with docker's names.
fn of(store: &Store, image: &ImageRecord, name: Option<&Name>, whole: bool, now: u64) -> Value {
    let none = || "<none>".to_owned();
    let created = created_ns(image);
    let digits = image::digits(image);
    let used = store.last_used(&image.id).ok().flatten().unwrap_or(image.imported_ns);
    json!({
        "ID": if whole { format!("sha256:{digits}") } else { image::short_id(image) },
        "Repository": name.map_or_else(none, |name| printable(&name.repository).into_owned()),
        "Tag": name.map_or_else(none, |name| printable(&name.tag).into_owned()),
        "Digest": "<none>",
        "CreatedAt": moment::rfc3339(created),
        "CreatedSince": format!("{} ago", age::of(now.saturating_sub(created))),
        "LastUsedAt": moment::rfc3339(used),
        "Size": age::size(image.size),
    })
}

/// When the image says that it was made, or else when it was stored.
pub(super) fn created_ns(image: &ImageRecord) -> u64 {
    let said = image.manifest.annotations.get("created").and_then(moment::parse_rfc3339);
    said.unwrap_or(image.imported_ns)
}
