//! `proa image cat-manifest`: prints the manifest of an image.

use clap::{ArgAction, Args};

use crate::context::Context;
use crate::error::CommandError;
use crate::{images, output};

/// Print the manifest of an image
///
/// The App Container manifest of an ACI, or the one that the configuration of an OCI image was turned into.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  proa image cat-manifest example.com/redis:7
  proa image cat-manifest --pretty-print=false sha512-1b2f8e")]
pub(crate) struct CatManifestArgs {
    /// The image: its ID, the beginning of its ID, or a name
    #[arg(value_name = "IMAGE")]
    image: String,

    /// Indent the JSON
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, action = ArgAction::Set,
        default_value = "true", default_missing_value = "true")]
    pretty_print: bool,
}

pub(crate) fn run(context: &Context, args: CatManifestArgs) -> Result<u8, CommandError> {
    let image = images::find(context, &context.stored()?, &args.image)?;
    let json = match args.pretty_print {
        true => with_tabs(&String::from_utf8(image.manifest.to_json_pretty()?)?),
        false => String::from_utf8(image.manifest.to_json()?)?,
    };
    output::write(&format!("{json}\n"))?;
    Ok(0)
}

/// JSON that is indented by four spaces, indented by tabs as rkt does. A string in JSON has no line break.
fn with_tabs(json: &str) -> String {
    let tabbed = json.lines().map(|line| {
        let text = line.trim_start_matches(' ');
        "\t".repeat((line.len() - text.len()) / 4) + text
    });
    tabbed.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_indentation_becomes_tabs() {
        assert_eq!(with_tabs("{\n    \"a\": [\n        \"x    y\"\n    ]\n}"), "{\n\t\"a\": [\n\t\t\"x    y\"\n\t]\n}");
    }
}
