//! `docker images`: the images there are.

use clap::Args;
use serde_json::{Value, json};
use store::{BlobRole, ImageRecord, Store};

use super::age;
use super::image::{self, Name};
use super::image_filters::{self, ImageFilters};
use super::listing::{self, Listing};
use crate::context::Context;
use crate::error::CommandError;
use crate::{moment, output};

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

    /// Show digests
    #[arg(long)]
    digests: bool,

    /// Filter output: dangling=, reference=, label=, before=, since=
    #[arg(long, short, value_name = "FILTER")]
    filter: Vec<String>,

    /// Format output: table, json, or a template of fields such as '{{.ID}} {{.Repository}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,

    /// Show images of this name only; `*`, `?` and `[a-z]` stand for others
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
}

pub(crate) fn run(context: &Context, args: ImagesArgs) -> Result<u8, CommandError> {
    let store = context.stored()?;
    let filters = ImageFilters::parse(&args.filter, context, &store)?;
    let mut listed: Vec<(u64, ImageRecord)> =
        store.list()?.images.into_iter().map(|image| (created_ns(&store, &image), image)).collect();
    listed.sort_by_key(|(created, image)| (std::cmp::Reverse(*created), std::cmp::Reverse(image.imported_ns)));
    let now = moment::now();
    let mut rows = Vec::new();
    for (created, image) in &listed {
        let mut names: Vec<Option<Name>> = image::names(image).into_iter().map(Some).collect();
        if names.is_empty() {
            names.push(None);
        }
        let is_wanted = |name: &&Option<Name>| {
            let asked = args.name.as_deref();
            asked.is_none_or(|asked| name.as_ref().is_some_and(|name| image_filters::is_called(name, asked)))
                && filters.admit(image, *created, name.as_ref())
        };
        let row = |name: &Option<Name>| of(&store, image, name.as_ref(), args.no_trunc, *created, now);
        rows.extend(names.iter().filter(is_wanted).map(row));
    }
    output::write(&shown(&args, rows)?)?;
    Ok(0)
}

fn shown(args: &ImagesArgs, mut images: Vec<Value>) -> Result<String, CommandError> {
    if args.quiet {
        // An image of several names has a row for each.
        images.dedup_by(|one, other| one["ID"] == other["ID"]);
        return Ok(listing::lines(&images, "ID"));
    }
    let columns = ["Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"];
    let columns: Vec<&str> = columns.into_iter().filter(|field| args.digests || *field != "Digest").collect();
    Listing::parse(args.format.as_deref())?.show(&images, &columns, &TITLES)
}

const TITLES: [(&str, &str); 3] = [("ID", "IMAGE ID"), ("CreatedSince", "CREATED"), ("CreatedAt", "CREATED AT")];

/// An image's fields, with docker's names.
fn of(store: &Store, image: &ImageRecord, name: Option<&Name>, whole: bool, created: u64, now: u64) -> Value {
    let none = || "<none>".to_owned();
    let source = image.source.as_deref().and_then(|source| source.strip_prefix("docker://"));
    let digest = source.and_then(|source| source.split_once('@')).map(|(_, digest)| digest.to_owned());
    let digits = image::digits(image);
    let used = store.last_used(&image.id).ok().flatten().unwrap_or(image.imported_ns);
    json!({
        "ID": if whole { format!("sha256:{digits}") } else { image::short_id(image) },
        "Repository": name.map_or_else(none, |name| name.repository.clone()),
        "Tag": name.map_or_else(none, |name| name.tag.clone()),
        "Digest": digest.unwrap_or_else(none),
        "CreatedAt": super::age::moment(created),
        "CreatedSince": format!("{} ago", age::of(now.saturating_sub(created))),
        "LastUsedAt": super::age::moment(used),
        "Containers": "N/A",
        "SharedSize": "N/A",
        "UniqueSize": "N/A",
        "VirtualSize": age::size(image.size),
        "Size": age::size(image.size),
    })
}

/// When the image says that it was made, or else when it was stored.
pub(crate) fn created_ns(store: &Store, image: &ImageRecord) -> u64 {
    let configuration = || image::document(store, image, BlobRole::Config)?["created"].as_str().map(str::to_owned);
    let said = image.manifest.annotations.get("created").map(str::to_owned).or_else(configuration);
    said.as_deref().and_then(moment::parse_rfc3339).unwrap_or(image.imported_ns)
}
