//! `actool cat-manifest`: the manifest of an image.

use std::path::Path;

use appc::{Dialect, ImageManifest};
use executor::aci::{self, OpenError, OpenedImage};

use super::flags::{Flag, FlagSet};
use super::validate::of_opening;
use super::{Command, Invocation, fail, go};
use crate::output;

pub(super) const COMMAND: Command = Command {
    name: "cat-manifest",
    summary: "Print the manifest of an image",
    usage: "[--pretty-print] ACI_FILE",
    description: "Print the manifest of an image as it stands there.",
    flags: FlagSet { name: "", flags: &[Flag::switch("pretty-print", "Check it first, and indent it")] },
    run,
};

fn run(invocation: &Invocation) -> u8 {
    let [file] = &invocation.given.rest[..] else { return fail("cat-manifest: Must provide one file") };
    let path = Path::new(file);
    let shown = path.display();
    let opened = match OpenedImage::open(path) {
        Ok(opened) => opened,
        Err(OpenError::File(error)) => return fail(&format!("cat-manifest: Cannot open {shown}: {}", go(&error))),
        Err(error) => return fail(&format!("cat-manifest: Cannot extract {shown}: {}", of_opening(&error))),
    };
    let unreadable = |why: &str| fail(&format!("cat-manifest: Unable to read {shown}: {why}"));
    let manifest = match aci::manifest_of(opened.file, &aci::limits()) {
        Ok(manifest) => manifest,
        Err(error) => return unreadable(&go(&error)),
    };
    let pretty = invocation.given.switch("pretty-print");
    // As it stands there, also if it is not what it should be: that comes after.
    if !pretty && print(&manifest).is_err() {
        return unreadable("write to stdout");
    }
    let read = ImageManifest::from_json_in(&manifest, Dialect::Actool);
    let printed = read.and_then(|manifest| if pretty { manifest.to_json_pretty() } else { Ok(Vec::new()) });
    match printed {
        Ok(text) if pretty && print(&text).is_err() => unreadable("write to stdout"),
        Ok(_) => 0,
        Err(error) => unreadable(&error.to_string()),
    }
}

fn print(text: &[u8]) -> Result<(), crate::error::CommandError> {
    output::write_bytes(&[text, b"\n"].concat())
}
