//! `actool validate`: whether images, layouts and manifests are what the specification wants.

use std::fs;
use std::path::Path;

use appc::{Dialect, ImageManifest, Kind, ManifestError, PodManifest};
use executor::aci::{self, FileType, Layout, ManifestFile, ManifestFileError, OpenError, OpenedImage};

use super::flags::{Flag, FlagSet};
use super::{Command, FAILED, Invocation, fail, go, stderr};

pub(super) const COMMAND: Command = Command {
    name: "validate",
    summary: "Check that images, layouts or manifests follow the App Container specification",
    usage: "[--type=TYPE] FILE...",
    description: "Check one or more images, image layouts or manifests. Says nothing if all is well.",
    flags: FlagSet {
        name: "",
        flags: &[Flag::text(
            "type",
            "What the files are: appimage, layout or manifest. If not given, that is found out",
        )],
    },
    run,
};

/// What became of one file.
enum Verdict {
    /// What it is, which only `-debug` wants to know.
    Good(&'static str),
    /// A mistake; the next file is checked all the same.
    Bad(String),
    /// Something that ends the whole.
    Stop(String),
}

fn run(invocation: &Invocation) -> u8 {
    let files = &invocation.given.rest;
    if files.is_empty() {
        return fail("must pass one or more files");
    }
    let mut status = 0;
    for file in files {
        let path = Path::new(file);
        let shown = path.display();
        match judge(path, &invocation.given.text("type")) {
            Verdict::Good(what) if invocation.debug => stderr(&format!("{shown}: valid {what}")),
            Verdict::Good(_) => {}
            Verdict::Bad(why) => {
                stderr(&format!("{shown}: {why}"));
                status = FAILED;
            }
            Verdict::Stop(message) => return fail(&message),
        }
    }
    status
}

fn judge(path: &Path, wanted: &str) -> Verdict {
    let shown = path.display();
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return Verdict::Stop(format!("unable to access {shown}: stat {shown}: {}", go(&error))),
    };
    let undetected = || Verdict::Stop(format!("{shown}: unable to detect filetype (try --type)"));
    if metadata.is_dir() {
        return match wanted {
            "" | "layout" => layout(path),
            "manifest" | "appimage" => Verdict::Stop(format!("{shown} is a directory (wrong --type?)")),
            _ => undetected(),
        };
    }
    match wanted {
        "layout" => layout(path),
        "appimage" => image(path),
        "manifest" => manifest(path),
        "" if path.extension().is_some_and(|it| it == "yaml" || it == "yml") => manifest(path),
        "" => match fetch::AciFile::open(path) {
            Err(error) => Verdict::Stop(format!("{shown}: unable to open: {}", go(&error))),
            Ok(opened) => match aci::type_of(&opened.file) {
                Ok(FileType::Archive(_)) => image(path),
                Ok(FileType::Text) => manifest(path),
                Ok(FileType::Unreadable(why)) => {
                    Verdict::Stop(format!("{shown}: unable to detect filetype (try --type): {why}"))
                }
                Ok(FileType::Unknown) => undetected(),
                Err(error) => {
                    Verdict::Stop(format!("{shown}: error detecting file type: read {shown}: {}", go(&error)))
                }
            },
        },
        _ => undetected(),
    }
}

fn layout(path: &Path) -> Verdict {
    match Layout::open(path, None, Dialect::Actool) {
        Ok(_) => Verdict::Good("image layout"),
        Err(error) => Verdict::Bad(format!("invalid image layout: {}", go(&error))),
    }
}

fn image(path: &Path) -> Verdict {
    let opened = match OpenedImage::open(path) {
        Ok(opened) => opened,
        Err(OpenError::File(error)) => {
            return Verdict::Stop(format!("{}: unable to open: {}", path.display(), go(&error)));
        }
        Err(error) => {
            return Verdict::Stop(format!("{}: error decompressing file: {}", path.display(), of_opening(&error)));
        }
    };
    match aci::validate_archive(opened.file, &aci::limits(), Dialect::Actool) {
        Ok(_) => Verdict::Good("app container image"),
        Err(error) => Verdict::Bad(format!("error validating: {}", go(&error))),
    }
}

/// What actool says of a file that is no image.
pub(super) fn of_opening(error: &OpenError) -> String {
    match error {
        OpenError::Text => "no type returned from DetectFileType?".to_owned(),
        OpenError::Unknown => "error: unknown image filetype".to_owned(),
        error => go(error),
    }
}

fn manifest(path: &Path) -> Verdict {
    let shown = path.display();
    let json = match ManifestFile::read(path) {
        Ok(file) => file.json,
        Err(ManifestFileError::Yaml(error)) => {
            return Verdict::Stop(format!("{shown}: error unmarshaling manifest: {error}"));
        }
        Err(error) => return Verdict::Stop(format!("{shown}: unable to read file {}", go(&error))),
    };
    let kind = match Kind::of(&json, Dialect::Actool) {
        Ok(kind) => kind,
        // Nobody has highlighted the place yet when this comes out of actool.
        Err(ManifestError::Syntax(error)) => {
            return Verdict::Stop(format!("{shown}: error unmarshaling manifest: {}", error.problem));
        }
        Err(error) => return Verdict::Stop(format!("{shown}: error unmarshaling manifest: {error}")),
    };
    let read = match kind {
        Kind::Image => ImageManifest::from_json_in(&json, Dialect::Actool).map(drop),
        Kind::Pod => PodManifest::from_json_in(&json, Dialect::Actool).map(drop),
    };
    match read {
        Ok(()) => Verdict::Good(kind.name()),
        Err(error) => Verdict::Bad(format!("invalid {}: {error}", kind.name())),
    }
}
