//! `proa image list`: shows the images in the store.

use std::cmp::Ordering;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::PrettyFormatter;
use store::{ImageKind, ImageRecord, Store};

use crate::context::Context;
use crate::error::{CommandError, FAILURE};
use crate::escape::printable;
use crate::{moment, output, size, table};

/// List the images in the store
///
/// An image has one line, with the name it got last.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  proa image list
  proa image list --fields=id,name --no-legend
  proa image list --sort=size,name --order=desc
  proa image list --format=json")]
pub(crate) struct ListArgs {
    /// Show these columns: any of id, name, size, importtime, lastused
    #[arg(long, value_name = "LIST", default_value = "id,name,size,importtime,lastused")]
    fields: FieldList,

    /// Sort by these columns: any of name, importtime, lastused, size
    #[arg(long, value_name = "LIST", default_value = "importtime", value_parser = sort_fields)]
    sort: FieldList,

    /// Sort from the least or from the greatest
    #[arg(long, value_name = "ORDER", default_value = "asc", ignore_case = true)]
    order: Order,

    /// Print whole IDs, sizes in bytes, and times instead of ages
    #[arg(long)]
    full: bool,

    /// Print no column titles
    #[arg(long)]
    no_legend: bool,

    /// Print JSON for programs: json or json-pretty
    #[arg(long, value_name = "FORMAT", default_value = "", hide_default_value = true)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Id,
    Name,
    Size,
    ImportTime,
    LastUsed,
}

/// Columns, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FieldList(Vec<Field>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Order {
    Asc,
    Desc,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    #[value(name = "", alias = "table")]
    Table,
    Json,
    JsonPretty,
}

/// A list of columns that cannot be understood. The texts are rkt's.
#[derive(Debug, thiserror::Error)]
enum FieldError {
    #[error("unknown option {0:?}")]
    Unknown(String),
    #[error("duplicated option {0:?}")]
    Duplicate(String),
}

/// An image as it is listed. Names and units are those of the JSON form; times are nanoseconds since the epoch.
#[derive(Debug, Serialize)]
struct ListedImage {
    id: String,
    name: String,
    import_time: u64,
    last_used_time: u64,
    size: u64,
}

pub(crate) fn run(context: &Context, args: ListArgs) -> Result<u8, CommandError> {
    let store = context.stored()?;
    let listing = store.list()?;
    let mut listed: Vec<_> =
        listing.images.iter().map(|image| ListedImage::new(&store, image)).collect::<Result<_, _>>()?;
    let damage = listing.bad;
    listed.sort_by(|a, b| args.sort.compare(a, b));
    if args.order == Order::Desc {
        listed.reverse();
    }
    output::write(&match args.format {
        Format::Table => table::aligned(&rows(&listed, &args, moment::now())),
        Format::Json => output::json(&listed)?,
        Format::JsonPretty => pretty(&listed)?,
    })?;
    let damaged = !damage.is_empty();
    for error in damage {
        output::complain(&CommandError::from(error).report(Some("image list")));
    }
    Ok(if damaged { FAILURE } else { 0 })
}

impl ListedImage {
    fn new(store: &Store, image: &ImageRecord) -> Result<Self, CommandError> {
        Ok(Self {
            id: image.id.to_string(),
            name: name(image),
            import_time: image.imported_ns,
            // Without a time it is being removed at this moment.
            last_used_time: store.last_used(&image.id)?.unwrap_or(image.imported_ns),
            size: image.size,
        })
    }
}

/// What an image is called: an ACI as its manifest says, with its version as in rkt; an OCI image by its last name.
pub(crate) fn name(image: &ImageRecord) -> String {
    match (image.kind, image.manifest.labels.get("version")) {
        (ImageKind::Aci, Some(version)) => format!("{}:{version}", image.manifest.name),
        (ImageKind::Aci, None) => image.manifest.name.to_string(),
        // Of names that were given at once the longest is the one with a tag.
        (ImageKind::Oci, _) => {
            let newest = image.names.iter().max_by_key(|claim| (claim.claimed_ns, claim.name.len()));
            newest.map_or_else(|| "<none>".to_owned(), |claim| claim.name.clone())
        }
    }
}

fn pretty(listed: &[ListedImage]) -> Result<String, CommandError> {
    let mut json = Vec::new();
    listed.serialize(&mut Serializer::with_formatter(&mut json, PrettyFormatter::with_indent(b"\t")))?;
    json.push(b'\n');
    Ok(String::from_utf8(json)?)
}

fn rows(listed: &[ListedImage], args: &ListArgs, now: u64) -> Vec<Vec<String>> {
    let titles = args.fields.0.iter().map(|field| field.title().to_owned()).collect();
    let titles = (!args.no_legend).then_some(titles);
    let row = |image| args.fields.0.iter().map(|field| field.cell(image, args.full, now)).collect();
    titles.into_iter().chain(listed.iter().map(row)).collect()
}

impl Field {
    const ALL: [Self; 5] = [Self::Id, Self::Name, Self::Size, Self::ImportTime, Self::LastUsed];

    fn title(self) -> &'static str {
        match self {
            Self::Id => "ID",
            Self::Name => "NAME",
            Self::Size => "SIZE",
            Self::ImportTime => "IMPORT TIME",
            Self::LastUsed => "LAST USED",
        }
    }

    fn cell(self, image: &ListedImage, full: bool, now: u64) -> String {
        let time = |ns| if full { moment::full(ns) } else { moment::ago(ns, now) };
        match self {
            Self::Id if full => image.id.clone(),
            Self::Id => shortened(&image.id).to_owned(),
            Self::Name => printable(&image.name).into_owned(),
            Self::Size if full => image.size.to_string(),
            Self::Size => size::binary(image.size),
            Self::ImportTime => time(image.import_time),
            Self::LastUsed => time(image.last_used_time),
        }
    }

    fn compare(self, a: &ListedImage, b: &ListedImage) -> Ordering {
        match self {
            Self::Id => a.id.cmp(&b.id),
            Self::Name => a.name.cmp(&b.name),
            Self::Size => a.size.cmp(&b.size),
            Self::ImportTime => a.import_time.cmp(&b.import_time),
            Self::LastUsed => a.last_used_time.cmp(&b.last_used_time),
        }
    }
}

/// The hash function and 12 digits.
fn shortened(id: &str) -> &str {
    let digits = id.find(['-', ':']).map_or(0, |separator| separator + 1);
    id.get(..digits + 12).unwrap_or(id)
}

impl FieldList {
    fn compare(&self, a: &ListedImage, b: &ListedImage) -> Ordering {
        self.0.iter().map(|field| field.compare(a, b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }
}

impl FromStr for FieldList {
    type Err = FieldError;

    fn from_str(list: &str) -> Result<Self, FieldError> {
        let mut fields = Vec::new();
        for word in list.split(',') {
            let named = |field: &Field| field.title().replace(' ', "").eq_ignore_ascii_case(word);
            let field = Field::ALL.into_iter().find(named).ok_or_else(|| FieldError::Unknown(word.to_owned()))?;
            if fields.contains(&field) {
                return Err(FieldError::Duplicate(word.to_owned()));
            }
            fields.push(field);
        }
        Ok(Self(fields))
    }
}

/// The columns that rkt sorts by: all but the ID.
fn sort_fields(list: &str) -> Result<FieldList, FieldError> {
    let fields: FieldList = list.parse()?;
    match fields.0.contains(&Field::Id) {
        true => Err(FieldError::Unknown("id".into())),
        false => Ok(fields),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000_000_000;

    fn listed() -> Vec<ListedImage> {
        let image = |id: &str, name: &str, import_time: u64, size| ListedImage {
            id: format!("{id}{}", "ab".repeat(32)),
            name: name.into(),
            import_time: import_time * HOUR,
            last_used_time: (import_time + 1) * HOUR,
            size,
        };
        vec![
            image("sha512-", "example.com/redis:7", 1, 82_854_982),
            image("sha256:", "docker.io/library/debian:12", 2, 9),
            image("sha512-01", "a\nb", 3, 2048),
        ]
    }

    fn args(line: &str) -> ListArgs {
        let argv: Vec<_> = format!("proa image list {line}").split_whitespace().map(Into::into).collect();
        let line = crate::cli::parse(&argv).unwrap();
        crate::cli::typed(line.matches.subcommand().unwrap().1.clone()).unwrap()
    }

    fn shown(line: &str) -> String {
        table::aligned(&rows(&listed(), &args(line), 5 * HOUR)).replace('\t', ">")
    }

    #[test]
    fn rkts_table() {
        assert_eq!(
            shown(""),
            "ID>>>NAME>>>>SIZE>IMPORT TIME>LAST USED\n\
             sha512-abababababab>example.com/redis:7>>79 MiB>4 hours ago>3 hours ago\n\
             sha256:abababababab>docker.io/library/debian:12>9 B>3 hours ago>2 hours ago\n\
             sha512-01ababababab>a\\x0ab>>>>2.0 KiB>2 hours ago>1 hour ago\n"
        );
        assert_eq!(shown("--no-legend --fields=size,Name").lines().next(), Some("79 MiB>example.com/redis:7"));
    }

    #[test]
    fn full_shows_ids_bytes_and_times() {
        let first = shown("--full --no-legend --fields id,size,lastused");
        let expected = format!("sha512-{}>82854982>1970-01-01 02:00:00.000 +0000 UTC", "ab".repeat(32));
        assert_eq!(first.lines().next().unwrap().replace(">>", ">"), expected);
    }

    #[test]
    fn columns_that_are_none_are_refused() {
        for (line, word) in [
            ("--fields=latest", "unknown option \"latest\""),
            ("--fields=id,ID", "duplicated option \"ID\""),
            ("--fields=", "unknown option \"\""),
            ("--sort=id", "unknown option \"id\""),
            ("--order=up", "up"),
            ("--format=xml", "xml"),
        ] {
            let argv: Vec<_> = format!("proa image list {line}").split(' ').map(Into::into).collect();
            let error = crate::cli::parse(&argv).unwrap_err().report(None);
            assert!(error.contains(word), "{line}: {error}");
        }
    }

    #[test]
    fn sorting_by_several_columns() {
        let args = args("--sort=size,name --order=DESC");
        assert_eq!(args.order, Order::Desc);
        let mut images = listed();
        images[2].size = 9;
        images.sort_by(|a, b| args.sort.compare(a, b));
        assert_eq!(
            images.iter().map(|image| &*image.name).collect::<Vec<_>>(),
            ["a\nb", "docker.io/library/debian:12", "example.com/redis:7"]
        );
    }

    #[test]
    fn json_is_stable() {
        crate::golden::check("image-list.json", &pretty(&listed()).unwrap());
    }
}
