//! Profiles: a file for an image makes it a subcommand, `profiles/NAME.toml` in a configuration directory.
//!
//! ```toml
//! image = "docker://docker.io/mikefarah/yq:4"
//! summary = "reads and changes YAML"
//! run = ["--rm", "-i", "-v", "${PWD}:/workdir", "-w", "/workdir"]
//! entrypoint = "/usr/bin/yq"
//! args = ["--prettyPrint"]
//! ```
//!
//! `run` has the options of `proa docker run`, `args` what stands before the words that the user types. `${NAME}` in them
//! is a variable of the caller's. Of files of one name that of the user counts, then the machine's.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use pod::PodName;
use serde::Deserialize;

use crate::context::Context;
use crate::docker;
use crate::error::{CommandError, Explain as _};
use crate::small_file;

/// The directory of profiles in a configuration directory.
const FOLDER: &str = "profiles";

/// The most bytes of a profile.
const LARGEST: u64 = 64 * 1024;

/// What a profile's file says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Profile {
    /// The image.
    image: String,
    /// What it is for, for whoever reads the file.
    #[serde(default, rename = "summary")]
    _summary: String,
    /// Options of `docker run`.
    #[serde(default)]
    run: Vec<String>,
    /// The executable, instead of the image's.
    entrypoint: Option<String>,
    /// What stands before the user's words.
    #[serde(default)]
    args: Vec<String>,
}

/// Runs the image whose profile has this name, if there is one. `--dry-run` as the first of the words prints what would
/// be run.
///
/// # Errors
///
/// The profile cannot be understood; those of `docker run`.
pub(crate) fn run(context: &Context, name: &str, words: &[OsString]) -> Option<Result<u8, CommandError>> {
    let (file, text) = match read(context, name)? {
        Ok(found) => found,
        Err(error) => return Some(Err(error)),
    };
    let line = || -> Result<Vec<OsString>, CommandError> {
        let profile: Profile = toml::from_str(&text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            CommandError::failed(format!("line {line}: {}", error.message())).hint("correct the profile")
        })?;
        profile.line(words, |name| std::env::var(name).ok())
    };
    Some(line().during(|| file.display().to_string()).and_then(|line| docker::run_image(context, line)))
}

impl Profile {
    /// The words after `docker run`.
    fn line(
        self,
        words: &[OsString],
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Vec<OsString>, CommandError> {
        let (dry_run, words) = match words {
            [first, rest @ ..] if first == "--dry-run" => (true, rest),
            words => (false, words),
        };
        let mut line: Vec<OsString> = Vec::new();
        line.extend(dry_run.then(|| "--dry-run".into()));
        for word in self.run {
            line.push(expanded(&word, &variable)?.into());
        }
        if let Some(entrypoint) = self.entrypoint {
            line.push(format!("--entrypoint={entrypoint}").into());
        }
        line.push(expanded(&self.image, &variable)?.into());
        for word in self.args {
            line.push(expanded(&word, &variable)?.into());
        }
        line.extend(words.iter().cloned());
        Ok(line)
    }
}

/// The profile's file and what is in it.
fn read(context: &Context, name: &str) -> Option<Result<(PathBuf, String), CommandError>> {
    // A name without a slash: the file is where it seems to be.
    let name: PodName = name.parse().ok()?;
    let files: Vec<PathBuf> =
        context.config_dirs().all().map(|dir| dir.join(FOLDER).join(format!("{name}.toml"))).collect();
    files.into_iter().rev().find_map(|path| match small_file::read_text(&path, LARGEST) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        read => Some(read.during(|| format!("read {}", path.display())).map(|text| (path, text))),
    })
}

/// A word with its `${NAME}`s replaced.
fn expanded(word: &str, variable: impl Fn(&str) -> Option<String>) -> Result<String, CommandError> {
    let (mut text, mut rest) = (String::new(), word);
    while let Some((before, after)) = rest.split_once("${") {
        let unfinished = || CommandError::failed(format!("{word:?}: ${{ without }}"));
        let (name, after) = after.split_once('}').ok_or_else(unfinished)?;
        let unset = || CommandError::failed(format!("{word:?}: the variable {name} is not set"));
        text.push_str(before);
        text.push_str(&variable(name).ok_or_else(unset)?);
        rest = after;
    }
    Ok(text + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(toml: &str, words: &[&str]) -> String {
        let profile: Profile = toml::from_str(toml).unwrap();
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let variable = |name: &str| (name == "PWD").then(|| "/here".to_owned());
        match profile.line(&words, variable) {
            Ok(line) => line.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" "),
            Err(error) => error.chain(),
        }
    }

    #[test]
    fn options_before_the_image_and_words_after_it() {
        let yq = "image = 'yq:4'\nrun = ['-v', '${PWD}:/w']\nargs = ['-P']\nentrypoint = '/yq'";
        assert_eq!(line(yq, &["x.yml"]), "-v /here:/w --entrypoint=/yq yq:4 -P x.yml");
        assert_eq!(line(yq, &["--dry-run", "x"]), "--dry-run -v /here:/w --entrypoint=/yq yq:4 -P x");
        assert_eq!(line("image = 'a'", &["-x", "--dry-run"]), "a -x --dry-run");
        assert_eq!(line("image = '${NO}'", &[]), "\"${NO}\": the variable NO is not set");
        assert_eq!(line("image = '${NO'", &[]), "\"${NO\": ${ without }");
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for bad in ["", "image = 1", "image = 'a'\nentry = 'x'", "image = 'a'\nargs = 'x'"] {
            assert!(toml::from_str::<Profile>(bad).is_err(), "{bad:?}");
        }
    }
}
