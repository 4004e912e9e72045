//! Options of rkt's that ask for what every pod has anyway: a command line with them means the same without.
//!
//! They are no options of clap's, which would read them at each launch. A line that clap refuses because of one is read again
//! without it.

use std::ffi::{OsStr, OsString};

use crate::diagnostics::warn;
use crate::pod_line::unknown_option;
use crate::{cli, go_flags};

/// The commands that know them: each in a subcommand's place, and the member of a group behind it.
const COMMANDS: [(&str, Option<&str>); 4] =
    [("run", None), ("prepare", None), ("run-prepared", None), ("app", Some("sandbox"))];

/// The line without the option that clap did not know, if a pod is as that option wants it.
pub(crate) fn granted(error: &clap::Error, argv: &[OsString]) -> Option<Vec<OsString>> {
    let option = unknown_option(error)?;
    let is_it = |word: &OsString| split(word).0 == option.as_bytes();
    let index = argv.iter().position(is_it)?;
    let stands_before = |(command, member): (&str, Option<&str>)| {
        let place = cli::before_subcommand(argv, command).map(|(_, place)| place).filter(|place| *place < index);
        let behind = place.map(|place| argv[place + 1..index].iter().find(|word| !is_option(word)));
        behind.is_some_and(|next| member.is_none_or(|member| next.is_some_and(|next| next == member)))
    };
    if !COMMANDS.into_iter().any(stands_before) {
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
                warn(NO_COPY);
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

fn is_option(word: &OsStr) -> bool {
    word.as_encoded_bytes().starts_with(b"-")
}

const NO_COPY: &str = "--no-overlay is not held: an app's root is an overlay wherever the kernel has one";

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
            "--dir list --debug=true run --ipc=auto hello",
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
            // Words that are no commands there.
            ("rm run --ipc=auto", "'--ipc'"),
            ("app list sandbox --ipc=auto", "--ipc"),
            ("--dir=run status --ipc=auto x", "'--ipc'"),
        ] {
            let report = parsed(line).unwrap_err().report(None);
            assert!(report.contains(named), "{line}: {report}");
        }
    }
}
