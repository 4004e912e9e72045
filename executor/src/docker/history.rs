//! `docker history`: how an image came to be, by what its configuration says and the layers that are stored.

use clap::Args;
use serde_json::{Value, json};
use store::{BlobRole, ImageRecord, Store};

use super::listing::{self, Listing};
use super::ps::ellipsis;
use super::{age, image, images};
use crate::context::Context;
use crate::error::CommandError;
use crate::{moment, output};

/// Show the history of an image
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Print sizes and dates for people
    #[arg(long, short = 'H', value_name = "BOOL", default_value_t = true, num_args = 0..=1, require_equals = true,
          default_missing_value = "true", action = clap::ArgAction::Set)]
    human: bool,

    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,

    /// Only show image IDs
    #[arg(long, short)]
    quiet: bool,

    /// Format output: table, json, or a template of fields such as '{{.CreatedBy}} {{.Size}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,

    /// The image
    #[arg(value_name = "IMAGE")]
    image: String,
}

/// What is shown in the place of the ID of a layer that is no image of its own.
const MISSING: &str = "<missing>";

/// How much of a command is shown, in characters.
const SHOWN: usize = 45;

const TITLES: [(&str, &str); 3] = [("ID", "IMAGE"), ("CreatedSince", "CREATED"), ("CreatedBy", "CREATED BY")];

pub(crate) fn run(context: &Context, args: HistoryArgs) -> Result<u8, CommandError> {
    let store = context.stored()?;
    let record = image::stored(context, &store, &args.image)?.ok_or_else(|| image::not_found(&args.image))?;
    let steps = steps(&store, &record, &args)?;
    output::write(&shown(&steps, &args)?)?;
    Ok(0)
}

/// The steps, the last one first.
fn steps(store: &Store, record: &ImageRecord, args: &HistoryArgs) -> Result<Vec<Value>, CommandError> {
    let configuration = image::document(store, record, BlobRole::Config).unwrap_or(Value::Null);
    let told = configuration["history"].as_array().cloned().unwrap_or_default();
    let makes_layer = |step: &Value| !step["empty_layer"].as_bool().unwrap_or(false);
    // An ACI has no history, and that of another image need not have all layers.
    let untold = record.layers.len().saturating_sub(told.iter().filter(|step| makes_layer(step)).count());
    let mut layers = record.layers.iter().zip(&record.blobs);
    let mut steps = Vec::new();
    for step in std::iter::repeat_n(Value::Null, untold).chain(told) {
        let bytes = match makes_layer(&step).then(|| layers.next()).flatten() {
            Some((layer, packed)) => match store.trees_of(layer)?.into_iter().next() {
                Some((_, tree)) => tree.record()?.content,
                None => packed.size,
            },
            None => 0,
        };
        let created = step["created"].as_str().and_then(moment::parse_rfc3339);
        let created = created.unwrap_or_else(|| images::created_ns(store, record));
        let text = |name: &str| step[name].as_str().unwrap_or_default().to_owned();
        let command = text("created_by").replace('\t', " ");
        let ago = age::of(moment::now().saturating_sub(created)) + " ago";
        let at = moment::rfc3339(created);
        steps.push(json!({
            "ID": MISSING,
            "CreatedSince": if args.human { ago } else { at.clone() },
            "CreatedAt": at,
            "CreatedBy": if args.no_trunc { command } else { ellipsis(&command, SHOWN) },
            "Size": if args.human { age::size(bytes) } else { bytes.to_string() },
            "Comment": text("comment"),
        }));
    }
    if let Some(last) = steps.last_mut() {
        last["ID"] = if args.no_trunc { record.id.to_string() } else { image::short_id(record) }.into();
    }
    steps.reverse();
    Ok(steps)
}

fn shown(steps: &[Value], args: &HistoryArgs) -> Result<String, CommandError> {
    if args.quiet {
        return Ok(listing::lines(steps, "ID"));
    }
    let columns = ["ID", "CreatedSince", "CreatedBy", "Size", "Comment"];
    Listing::parse(args.format.as_deref())?.show(steps, &columns, &TITLES)
}
