//! Options of rkt's that ask for what every pod has anyway: a command line with them means the same without.
//!
//! They are no options of clap's, which would read them at each launch. A line that clap refuses because of one is read again
//! without it.

use std::ffi::{OsStr, OsString};

use crate::pod_line::unknown_option;
use crate::{go_flags, output};

/// The commands that know them.
const COMMANDS: [&str; 4] = ["run", "prepare", "run-prepared", "sandbox"];

/// The line without the option that clap did not know, if a pod is as that option wants it.
pub(crate) fn granted(error: &clap::Error, argv: &[OsString]) -> Option<Vec<OsString>> {
    let option = unknown_option(error)?;
    let is_it = |word: &OsString| split(word).0 == option.as_bytes();
    let index = argv.iter().position(is_it)?;
    if !argv[..index].iter().any(|word| COMMANDS.iter().any(|command| word == command)) {
        return None;
    }
    let given = split(&argv[index]).1;
    let switch = || go_flags::truth(given.map_or(Some("true"), |value| value.to_str())?).ok();
    let words = match option.as_str() {
        // Every pod is served, when one of its apps asks; whoever does not ask is not known.
        "--mds-register" => switch().map(|_| 1)?,
        "--private-users" => switch()?.then_some(1)?,
        "--no-overlay" => {
            if switch()? {
                output::complain(NO_COPY);
            }
            1
        }
        "--ipc" => {
            let (mode, words) =
                given.map_or_else(|| (argv.get(index + 1).map(OsString::as_os_str), 2), |it| (Some(it), 1));
            let own = ["", "auto", "private"].into_iter().any(|own| mode == Some(OsStr::new(own)));
            own.then_some(words)?
        }
        _ => return None,
    };
    Some(argv[..index].iter().chain(&argv[index + words..]).cloned().collect())
}

const NO_COPY: &str =
    "proa: warning: --no-overlay is not held: an app's root is an overlay wherever the kernel has one\n";

/// An option, and the value behind its `=`.
fn split(word: &OsStr) -> (&[u8], Option<&OsStr>) {
    let bytes = word.as_encoded_bytes();
    let Some(at) = bytes.iter().position(|byte| *byte == b'=') else { return (bytes, None) };
    // The character is ASCII, so that it ends what is before it and begins what is behind.
    let value = word.to_str().map(|word| OsStr::new(&word[at + 1..]));
    (&bytes[..at], Some(value.unwrap_or(OsStr::new("?"))))
}

#[cfg(test)]
mod tests {
    use crate::cli;
    use crate::error::CommandError;

    fn parsed(line: &str) -> Result<String, CommandError> {
        let argv: Vec<_> = format!("proa {line}").split(' ').map(Into::into).collect();
        cli::parse(&argv).map(|line| line.name())
    }

    #[test]
    fn what_a_pod_has_anyway_may_be_asked_for() {
        for line in [
            "run --mds-register=false hello",
            "run --mds-register --ipc=auto --private-users=true --net=none hello",
            "run --ipc private hello --name x",
            "--debug run --ipc= --no-overlay=false hello",
            "prepare --private-users --mds-register=0 hello",
            "run-prepared --mds-register --ipc=private x",
            "app sandbox --no-overlay=F",
        ] {
            parsed(line).unwrap_or_else(|error| panic!("{line}: {}", error.report(None)));
        }
    }

    #[test]
    fn what_no_pod_has_is_refused() {
        for (line, named) in [
            ("run --ipc=parent hello", "--ipc can only be auto or private"),
            ("run --ipc parent hello", "--ipc can only be auto or private"),
            ("run --ipc", "--ipc can only be auto or private"),
            ("run --private-users=false hello", "--private-users can only be true"),
            ("run --mds-register=perhaps hello", "--mds-register is true or false"),
            ("run --stage1-name=x hello", "there is no option --stage1-name"),
            ("list --private-users", "--private-users"),
        ] {
            let report = parsed(line).unwrap_err().report(None);
            assert!(report.contains(named), "{line}: {report}");
        }
    }
}
