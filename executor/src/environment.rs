//! The variables that a command line gives to apps, and which of two that share a name counts.
//!
//! Lowest first, as in rkt: what `--inherit-env` takes from the caller, the image's own, files, `--set-env`,
//! `--environment`. Files are read by docker's rules: a line is `NAME=VALUE`, everything after the first `=` counts as
//! it stands, quotes and trailing blanks included; a bare `NAME` takes the caller's value, if there is one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use appc::Environment;

use crate::error::{CommandError, Explain as _};
use crate::small_file;

/// Variables beginning so are what proa tells the app about its pod (appc ace.md, Execution Environment).
const RESERVED_PREFIX: &str = "AC_";

/// What a process is told about its user and place; the caller's would be wrong in every app (rkt issue 2569).
const CALLERS_OWN: [&str; 8] = ["HOME", "USER", "LOGNAME", "SHELL", "MAIL", "PWD", "OLDPWD", "_"];

/// As much as the kernel takes for arguments and environment in one execve(2), about.
const MAX_FILE: u64 = 1 << 20;

/// Variables for every app of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodEnvironment {
    /// Taken from the caller; what an image sets counts more.
    pub(crate) inherited: Vec<(String, String)>,
    /// Set for the pod; what a single app is given counts more.
    pub(crate) given: Vec<(String, String)>,
}

impl PodEnvironment {
    /// What `--inherit-env`, `--set-env-file` and `--set-env` come to.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or a variable makes no sense.
    pub(crate) fn gather(inherit: bool, files: &[PathBuf], given: &[String]) -> Result<Self, CommandError> {
        let mut environment = Self::default();
        if inherit {
            environment.inherited = std::env::vars_os().filter_map(inheritable).collect();
        }
        for file in files {
            environment.given.extend(read_file("--set-env-file", file, Names::Identifiers)?);
        }
        environment.given.extend(parse("--set-env", given)?);
        Ok(environment)
    }

    /// What docker's `--env-file` and `-e` come to; names may be any.
    ///
    /// # Errors
    ///
    /// As [`PodEnvironment::gather`].
    pub(crate) fn gather_as_docker(files: &[PathBuf], given: &[String]) -> Result<Self, CommandError> {
        let mut environment = Self::default();
        for file in files {
            environment.given.extend(read_file("--env-file", file, Names::Any)?);
        }
        environment.given.extend(parse_as("-e", given, Names::Any)?);
        Ok(environment)
    }

    /// Takes out the variables that no manifest has a place for, because their names are no identifiers: `NAME=VALUE`.
    pub(crate) fn take_odd(&mut self) -> Vec<String> {
        let odd = self.given.extract_if(.., |(name, _)| !is_identifier(name));
        odd.map(|(name, value)| format!("{name}={value}")).collect()
    }

    /// Whether it is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.inherited.is_empty() && self.given.is_empty()
    }

    /// The image's variables with these, and with the app's own on top.
    pub(crate) fn around<'a>(&'a self, image: &'a Environment, own: &'a [(String, String)]) -> Environment {
        let given = |(name, value): &'a (String, String)| (name.as_str(), value.as_str());
        let image = image.iter().map(|variable| (variable.name.as_str(), variable.value.as_str()));
        let all = self.inherited.iter().map(given).chain(image).chain(self.given.iter().chain(own).map(given));
        // An image may bring a hundred thousand variables: each is found in one step, and keeps its first place.
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut variables: Vec<(&str, &str)> = Vec::new();
        for (name, value) in all {
            match places.entry(name) {
                Entry::Occupied(place) => variables[*place.get()].1 = value,
                Entry::Vacant(place) => {
                    place.insert(variables.len());
                    variables.push((name, value));
                }
            }
        }
        variables.into_iter().collect()
    }
}

/// Which names variables may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    /// Those of appc.
    Identifiers,
    /// Whatever has no blank.
    Any,
}

/// Splits each `NAME=VALUE` of an option.
///
/// # Errors
///
/// A name is missing, not an identifier, given twice, or proa's own to set.
pub(crate) fn parse(option: &str, variables: &[String]) -> Result<Vec<(String, String)>, CommandError> {
    parse_as(option, variables, Names::Identifiers)
}

fn parse_as(option: &str, variables: &[String], names: Names) -> Result<Vec<(String, String)>, CommandError> {
    let mut environment: Vec<(String, String)> = Vec::with_capacity(variables.len());
    for variable in variables {
        let refused = |why: &str| CommandError::usage(format!("{option}={variable:?}: {why}"));
        let (name, value) = variable.split_once('=').ok_or_else(|| refused("not of the form NAME=VALUE"))?;
        check(name, value, names).map_err(|why| refused(&why))?;
        if environment.iter().any(|(other, _)| other == name) {
            return Err(refused("this variable is given twice"));
        }
        environment.push((name.to_owned(), value.to_owned()));
    }
    Ok(environment)
}

/// The variables of a file.
fn read_file(option: &str, path: &Path, names: Names) -> Result<Vec<(String, String)>, CommandError> {
    let shown = path.display();
    let bytes = small_file::read(path, MAX_FILE).during(|| format!("{option}={shown}"))?;
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    parse_lines(text, names, |name| std::env::var_os(name)).map_err(|(line, why)| {
        CommandError::failed(format!("{option}={shown}: line {line}: {why}"))
            .hint("a line is NAME=VALUE, or NAME for the caller's value, or begins with #")
    })
}

/// The variables of a file's text, or the number of the line that is none. A later line counts more than an earlier one.
fn parse_lines(
    text: &[u8],
    names: Names,
    caller: impl Fn(&str) -> Option<OsString>,
) -> Result<Vec<(String, String)>, (usize, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let refused = |why: String| (index + 1, why);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = std::str::from_utf8(line).map_err(|_| refused("not UTF-8".to_owned()))?.trim_start();
        // rkt's files have comments that begin with a semicolon too; no name can.
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let (name, value) = line.split_once('=').map_or((line, None), |(name, value)| (name, Some(value)));
        let value = match value {
            Some(value) => value.to_owned(),
            None => match caller(name.trim_end()).map(OsString::into_string) {
                Some(Ok(value)) => value,
                Some(Err(_)) => return Err(refused(format!("the caller's value of {name:?} is not UTF-8"))),
                None => continue,
            },
        };
        let name = if line.contains('=') { name } else { name.trim_end() };
        check(name, &value, names).map_err(|why| refused(format!("{name:?}: {why}")))?;
        found.retain(|(known, _)| known != name);
        found.push((name.to_owned(), value));
    }
    Ok(found)
}

fn check(name: &str, value: &str, names: Names) -> Result<(), String> {
    if name.is_empty() {
        return Err("the name is missing".to_owned());
    }
    if name.contains(char::is_whitespace) {
        return Err("the name holds a blank".to_owned());
    }
    if names == Names::Identifiers && !is_identifier(name) {
        return Err("the name must be letters, digits and any of `_.-`, and not begin with a digit".to_owned());
    }
    if name.starts_with(RESERVED_PREFIX) {
        return Err("variables beginning AC_ are set by proa and cannot be overridden".to_owned());
    }
    if value.contains('\0') {
        return Err("the value holds a NUL".to_owned());
    }
    Ok(())
}

/// Whether an environment variable may have this name (appc types, EnvironmentVariable: `^[A-Za-z_][A-Za-z_0-9.-]*$`).
fn is_identifier(name: &str) -> bool {
    let letter = |b: &u8| b.is_ascii_alphabetic() || *b == b'_';
    name.as_bytes().split_first().is_some_and(|(first, rest)| {
        letter(first) && rest.iter().all(|b| letter(b) || b.is_ascii_digit() || matches!(b, b'.' | b'-'))
    })
}

/// A variable of the caller's for apps, unless it cannot be one or is about the caller.
fn inheritable((name, value): (OsString, OsString)) -> Option<(String, String)> {
    let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
    (check(&name, &value, Names::Identifiers).is_ok() && !CALLERS_OWN.contains(&name.as_str())).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn options_keep_order_and_split_at_the_first_equals_sign() {
        let given = ["B=1", "a.b-c=x=y", "_=", "A= "].map(str::to_owned);
        assert_eq!(parse("--set-env", &given).unwrap(), owned(&[("B", "1"), ("a.b-c", "x=y"), ("_", ""), ("A", " ")]));
    }

    #[test]
    fn refusals_name_option_and_variable() {
        for (given, why) in [
            (vec!["A"], "--environment=\"A\": not of the form NAME=VALUE"),
            (vec!["=x"], "--environment=\"=x\": the name is missing"),
            (vec!["0A=x"], "--environment=\"0A=x\": the name must be letters"),
            (vec!["A B=x"], "--environment=\"A B=x\": the name holds a blank"),
            (vec!["AC_APP_NAME=x"], "--environment=\"AC_APP_NAME=x\": variables beginning AC_ are set by proa"),
            (vec!["A=1", "A=2"], "--environment=\"A=2\": this variable is given twice"),
        ] {
            let given: Vec<String> = given.into_iter().map(str::to_owned).collect();
            let report = parse("--environment", &given).unwrap_err().report(None);
            assert!(report.starts_with(&format!("proa: {why}")), "{report}");
        }
    }

    #[test]
    fn files_are_read_as_docker_reads_them() {
        let text = b"\n# comment\n  # another\n;rkt's\nconf.mod=gateway\nconf.pxy=\"http://u:p@h:1/?a=b\"\n  lead=x\n\
                     trail=x  \nempty=\nhost\nabsent\nlist=a,b:c {{x}} # no comment\r\nagain=1\nagain=2\nlast=no newline";
        let caller = |name: &str| (name == "host").then(|| "the caller's".into());
        let expected = [
            ("conf.mod", "gateway"),
            ("conf.pxy", "\"http://u:p@h:1/?a=b\""),
            ("lead", "x"),
            ("trail", "x  "),
            ("empty", ""),
            ("host", "the caller's"),
            ("list", "a,b:c {{x}} # no comment"),
            ("again", "2"),
            ("last", "no newline"),
        ];
        assert_eq!(parse_lines(text, Names::Identifiers, caller).unwrap(), owned(&expected));
    }

    #[test]
    fn bad_lines_are_told_with_their_number() {
        for (text, line, why) in [
            (&b"A=1\n=x"[..], 2, "\"\": the name is missing"),
            (b"export A=1", 1, "\"export A\": the name holds a blank"),
            (b"A =1", 1, "\"A \": the name holds a blank"),
            (b"\n\n0A=1", 3, "\"0A\": the name must be letters"),
            (b"AC_APP_NAME=x", 1, "\"AC_APP_NAME\": variables beginning AC_"),
            (b"A=\xff", 1, "not UTF-8"),
            (b"A=\0", 1, "\"A\": the value holds a NUL"),
        ] {
            let (found, reason) = parse_lines(text, Names::Identifiers, |_| None).unwrap_err();
            assert!(found == line && reason.starts_with(why), "{found}: {reason}");
        }
    }

    #[test]
    fn what_is_nearer_to_the_app_counts_more() {
        let pod = PodEnvironment {
            inherited: owned(&[("A", "host"), ("B", "host"), ("C", "host"), ("D", "host")]),
            given: owned(&[("C", "file"), ("D", "file"), ("D", "set")]),
        };
        let image: Environment = [("B", "image"), ("C", "image"), ("D", "image"), ("E", "image")].into_iter().collect();
        let merged = pod.around(&image, &owned(&[("E", "own"), ("F", "own")]));
        let merged: Vec<(&str, &str)> = merged.iter().map(|v| (v.name.as_str(), v.value.as_str())).collect();
        let expected = [("A", "host"), ("B", "image"), ("C", "file"), ("D", "set"), ("E", "own"), ("F", "own")];
        assert_eq!(merged, expected);
    }

    #[test]
    fn the_callers_account_is_not_inherited() {
        let inherited = |name: &str| inheritable((name.into(), "x".into())).is_some();
        assert!(inherited("LANG") && inherited("PATH") && inherited("TERM"));
        assert!(!inherited("HOME") && !inherited("AC_METADATA_URL") && !inherited("BASH_FUNC_f%%"));
    }
}
