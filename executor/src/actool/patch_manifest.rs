//! `actool patch-manifest`: a copy of an image with a changed manifest.

use std::path::Path;

use appc::{Dialect, ImageManifest, ManifestError};
use executor::aci::{
    self, ManifestFile, ManifestFileError, ManifestPatch, OpenError, OpenedImage, PatchError, RewriteError, Target,
    TargetError,
};
use store::archive::Compression;

use super::flags::{Flag, FlagSet, Given};
use super::validate::of_opening;
use super::{Command, Invocation, fail, go};
use crate::umask;

pub(super) const COMMAND: Command = Command {
    name: "patch-manifest",
    summary: "Copy an image and change its manifest",
    usage: "[--overwrite | --replace] [--no-compression] [OPTIONS] INPUT_ACI_FILE [OUTPUT_ACI_FILE]",
    description: "Copy an image and change its manifest. Everything else in it stays as it is.\n\
                  --mounts NAME,path=PATH[,readOnly=true][:NAME2,...]\n\
                  --ports NAME,protocol=tcp,port=N[,count=N][,socketActivated=true][:NAME2,...]\n\
                  --isolators resource/cpu,request=50m,limit=100m[:os/linux/no-new-privileges,true:...]\n\
                  --seccomp-mode remove|retain[,errno=EPERM] --seccomp-set CALL[,CALL...]",
    flags: FlagSet {
        name: "",
        flags: &[
            Flag::text("capability", "Set the capabilities to retain, in place of either set"),
            Flag::text("exec", "Set the command line, words separated by single spaces"),
            Flag::text("group", "Set the group"),
            Flag::text("isolators", "Add isolators"),
            Flag::text("manifest", "Take the manifest from this file, as it is"),
            Flag::text("mounts", "Add mount points"),
            Flag::text("name", "Set the name"),
            Flag::switch("no-compression", "Leave the image a plain tar archive"),
            Flag::switch("overwrite", "Replace the output file if there is one"),
            Flag::text("ports", "Add ports"),
            Flag::switch("replace", "Replace the input file"),
            Flag::text("revoke-capability", "Set the capabilities to remove, in place of either set"),
            Flag::text("seccomp-mode", "Say what seccomp does with the set, in place of either isolator"),
            Flag::text("seccomp-set", "Set the system calls that seccomp-mode is about"),
            Flag::text("supplementary-groups", "Set the supplementary groups, separated by commas"),
            Flag::text("user", "Set the user"),
        ],
    },
    run,
};

fn run(invocation: &Invocation) -> u8 {
    match work(&invocation.given) {
        Ok(()) => 0,
        Err(message) => fail(&format!("patch-manifest: {message}")),
    }
}

fn work(given: &Given) -> Result<(), String> {
    let (replace, overwrite) = (given.switch("replace"), given.switch("overwrite"));
    let (input, output) = match &given.rest[..] {
        _ if replace && overwrite => return Err("Cannot use both --replace and --overwrite".to_owned()),
        [input, output] if !replace => (Path::new(input), Path::new(output)),
        _ if !replace => return Err("Must provide input and output files (or use --replace)".to_owned()),
        [input] => (Path::new(input), Path::new(input)),
        _ => return Err("Must provide one file".to_owned()),
    };
    let patch = patch(given);
    let new = Path::new(given.os_text("manifest"));
    let new = (!new.as_os_str().is_empty()).then_some(new);
    // The others have no effect then, as in actool.
    let looked_for = ManifestPatch {
        supplementary_groups: String::new(),
        revoke_capability: String::new(),
        ports: String::new(),
        isolators: String::new(),
        seccomp_mode: String::new(),
        seccomp_set: String::new(),
        ..patch.clone()
    };
    if new.is_some() && !looked_for.is_empty() {
        return Err("--manifest is incompatible with other manifest editing options".to_owned());
    }
    if !replace && let Err(given) = aci::check_extension(output) {
        return Err(format!("Extension must be .aci (given {given})"));
    }
    let unopened = |error: &(dyn std::error::Error + 'static)| match replace {
        true => format!("Cannot create temporary file: {}", go(error)),
        false => format!("Unable to open output {}: {}", output.display(), go(error)),
    };
    let exists = || "Output file exists (try --overwrite)".to_owned();
    let target = Target::create(output, replace || overwrite, umask::file_mode()).map_err(|error| match error {
        TargetError::Exists(_) => exists(),
        error => unopened(&error),
    })?;
    let file = target.file().map_err(|error| unopened(&error))?;
    let shown = input.display();
    let opened = OpenedImage::open(input).map_err(|error| match error {
        OpenError::File(error) => format!("Cannot open {shown}: {}", go(&error)),
        error => format!("Cannot extract {shown}: {}", of_opening(&error)),
    })?;
    // An empty file is as good as none, as in actool.
    let new = new.map(manifest_file).transpose()?.filter(|text| !text.is_empty());
    let compression = if given.switch("no-compression") { Compression::None } else { Compression::Gzip };
    let change = |old: &[u8]| match new {
        Some(new) => Ok(new),
        None => patched(&patch, old),
    };
    aci::rewrite(opened.file, file, compression, &aci::limits(), change)
        .map_err(|error: RewriteError<ChangeError>| format!("Unable to read {shown}: {}", go(&error)))?;
    target.publish().map_err(|error| match error {
        TargetError::Exists(_) => exists(),
        error => format!("Cannot rename to {}: {}", super::quoted(&output.to_string_lossy()), go(&error)),
    })
}

/// Why there is no changed manifest.
#[derive(Debug, thiserror::Error)]
enum ChangeError {
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    Patch(#[from] PatchError),
    /// What was good before is not any more, and all that is changed without being looked at is in the app.
    #[error("json: error calling MarshalJSON for type *types.App: {0}")]
    App(ManifestError),
}

fn patched(patch: &ManifestPatch, old: &[u8]) -> Result<Vec<u8>, ChangeError> {
    let mut manifest = ImageManifest::from_json_in(old, Dialect::Actool)?;
    patch.apply(&mut manifest)?;
    manifest.to_json().map_err(ChangeError::App)
}

/// The new manifest; its rules are not looked at, as in actool, so that it can be given an unfinished one.
fn manifest_file(path: &Path) -> Result<Vec<u8>, String> {
    ManifestFile::read(path).map(|file| file.json).map_err(|error| {
        let what = if matches!(error, ManifestFileError::Open { .. }) { "open" } else { "read" };
        format!("Cannot {what} {}: {}", path.display(), go(&error))
    })
}

fn patch(given: &Given) -> ManifestPatch {
    ManifestPatch {
        name: given.text("name"),
        exec: given.text("exec"),
        user: given.text("user"),
        group: given.text("group"),
        supplementary_groups: given.text("supplementary-groups"),
        capability: given.text("capability"),
        revoke_capability: given.text("revoke-capability"),
        mounts: given.text("mounts"),
        ports: given.text("ports"),
        isolators: given.text("isolators"),
        seccomp_mode: given.text("seccomp-mode"),
        seccomp_set: given.text("seccomp-set"),
    }
}
