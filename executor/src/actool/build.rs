//! `actool build`: an image of a layout.

use std::path::{Component, Path, PathBuf};

use appc::Dialect;
use executor::aci::{self, BuildError, BuildOptions, Layout, Target, TargetError, WalkError};
use store::archive::Compression;

use super::flags::{Flag, FlagSet};
use super::{Command, Invocation, fail, go, stderr};
use crate::{moment, umask};

pub(super) const COMMAND: Command = Command {
    name: "build",
    summary: "Build an image from an image layout",
    usage: "[--overwrite] [--no-compression] [--owner-root] [--reproducible] DIRECTORY OUTPUT_FILE",
    description: "Build an image from a directory with a manifest and a rootfs, which are checked first.\n\
                  The image is compressed with gzip if not told otherwise.",
    flags: FlagSet {
        name: "",
        flags: &[
            Flag::switch("no-compression", "Leave the image a plain tar archive"),
            Flag::switch("overwrite", "Replace the output file if there is one"),
            Flag::switch("owner-root", "Let everything in the image belong to root:root"),
            Flag::switch("reproducible", "Let no time be later than SOURCE_DATE_EPOCH, or than 1970"),
        ],
    },
    run,
};

fn run(invocation: &Invocation) -> u8 {
    let given = &invocation.given;
    let [directory, output] = &given.rest[..] else { return fail("build: Must provide directory and output file") };
    let output = Path::new(output);
    if let Err(given) = aci::check_extension(output) {
        return fail(&format!("build: Extension must be .aci (given {given})"));
    }
    let layout = match Layout::open(Path::new(directory), None, Dialect::Actool) {
        Ok(layout) => layout,
        Err(error) => return fail(&format!("build: Layout failed validation: {}", go(&error))),
    };
    let target = match Target::create(output, given.switch("overwrite"), umask::file_mode()) {
        Ok(target) => target,
        Err(TargetError::Exists(_)) => return fail("build: Target file exists (try --overwrite)"),
        Err(error) => return fail(&format!("build: Unable to open target {}: {}", output.display(), go(&error))),
    };
    let file = match target.file() {
        Ok(file) => file,
        Err(error) => return fail(&format!("build: Unable to open target {}: {}", output.display(), go(&error))),
    };
    let newest = match given.switch("reproducible").then(moment::source_date_epoch).transpose() {
        Ok(newest) => newest,
        Err(error) => return fail(&format!("build: {}", error.chain())),
    };
    let options = BuildOptions {
        compression: if given.switch("no-compression") { Compression::None } else { Compression::Gzip },
        owner_root: given.switch("owner-root"),
        newest: newest.map(|it| it.unwrap_or(0)),
    };
    match aci::build(&layout, &options, file) {
        Ok(built) => {
            // actool passes sockets over without a word.
            let told = built.warnings.lines().filter(|line| !line.starts_with(aci::SOCKETS_LEFT_OUT));
            told.for_each(|line| stderr(&format!("build: Warning: {line}")));
        }
        Err(error) => {
            return fail(&format!("build: Error walking rootfs: {}", go(&below(Path::new(directory), error))));
        }
    }
    match target.publish() {
        Ok(()) => 0,
        Err(TargetError::Exists(_)) => fail("build: Target file exists (try --overwrite)"),
        Err(error) => fail(&format!("build: Unable to close image {}: {}", output.display(), go(&error))),
    }
}

/// The error with the path that the file has for the caller: actool names it with the layout in front.
fn below(layout: &Path, error: BuildError) -> BuildError {
    match error {
        BuildError::Walk(WalkError::System { call, path, source }) => {
            WalkError::System { call, path: cleaned(&layout.join(path)), source }.into()
        }
        error => error,
    }
}

/// The path as Go's filepath.Clean writes it.
fn cleaned(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match (component, clean.components().next_back()) {
            (Component::CurDir, _) | (Component::ParentDir, Some(Component::RootDir)) => {}
            (Component::ParentDir, Some(Component::Normal(_))) => drop(clean.pop()),
            _ => clean.push(component),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_written_as_in_go() {
        for (path, clean) in [
            ("x/rootfs/f", "x/rootfs/f"),
            ("./x//rootfs/./f", "x/rootfs/f"),
            ("../x/./y/../rootfs", "../x/rootfs"),
            ("../../rootfs", "../../rootfs"),
            ("/../x/rootfs", "/x/rootfs"),
            ("./rootfs", "rootfs"),
        ] {
            assert_eq!(cleaned(Path::new(path)), Path::new(clean), "{path}");
        }
    }
}
