//! The grammar of flags of Go's package `flag`: one dash or two, up to the first word that is no flag.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::num::IntErrorKind;
use std::os::unix::ffi::OsStrExt as _;

/// A flag that is known.
#[derive(Debug)]
pub(super) struct Flag {
    pub(super) name: &'static str,
    pub(super) kind: FlagKind,
    pub(super) help: &'static str,
}

/// What may follow a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FlagKind {
    /// No word of its own: `-x`, `-x=true`, but not `-x true`.
    Switch,
    /// Any word.
    Text,
    /// A number from 0 up.
    Number,
}

/// The flags that may stand in one place.
#[derive(Debug)]
pub(super) struct FlagSet {
    /// What they belong to, for the usage text; nothing for a subcommand.
    pub(super) name: &'static str,
    /// In the order of their names.
    pub(super) flags: &'static [Flag],
}

/// What was given.
#[derive(Debug, Default)]
pub(super) struct Given {
    values: BTreeMap<&'static str, OsString>,
    /// The words from the first one on that is no flag.
    pub(super) rest: Vec<OsString>,
}

/// Words that are no flags of the set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FlagError {
    /// `-h` or `-help` where that is no flag.
    Help,
    /// Anything else.
    Message(String),
}

impl Flag {
    pub(super) const fn switch(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: FlagKind::Switch, help }
    }

    pub(super) const fn text(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: FlagKind::Text, help }
    }

    pub(super) const fn number(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: FlagKind::Number, help }
    }
}

impl Given {
    /// Whether a switch is on.
    pub(super) fn switch(&self, name: &str) -> bool {
        self.values.get(name).is_some_and(|value| value == "true")
    }

    /// The value of a flag; empty where it was not given.
    pub(super) fn os_text(&self, name: &str) -> &OsStr {
        self.values.get(name).map_or(OsStr::new(""), OsString::as_os_str)
    }

    /// The value of a flag as text; what is not UTF-8 in it is replaced.
    pub(super) fn text(&self, name: &str) -> String {
        self.os_text(name).to_string_lossy().into_owned()
    }
}

impl fmt::Display for FlagError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Help => f.write_str("flag: help requested"),
            Self::Message(message) => f.write_str(message),
        }
    }
}

impl FlagError {
    /// What Go's package writes to stderr about it: the mistake, and the flags there are.
    pub(super) fn complaint(&self, flags: &FlagSet) -> String {
        match self {
            Self::Help => flags.usage(),
            Self::Message(message) => format!("{}\n{}", crate::escape::printable(message), flags.usage()),
        }
    }
}

impl FlagSet {
    /// Takes the flags off the front of `words`.
    ///
    /// # Errors
    /// The first word that begins like a flag and is none.
    pub(super) fn parse(&self, words: &[OsString]) -> Result<Given, FlagError> {
        let mut given = Given::default();
        let mut words = words.iter();
        while let Some(word) = words.as_slice().first() {
            let bytes = word.as_bytes();
            let Some(body) = bytes.strip_prefix(b"-").filter(|body| !body.is_empty()) else { break };
            words.next();
            let body = body.strip_prefix(b"-").unwrap_or(body);
            if body.is_empty() {
                // "--" ends the flags and is none of the words that follow.
                break;
            }
            let (name, value) = match body.iter().position(|&b| b == b'=') {
                Some(at) => (&body[..at], Some(OsStr::from_bytes(&body[at + 1..]))),
                None => (body, None),
            };
            let shown = String::from_utf8_lossy(name);
            if name.is_empty() || name[0] == b'-' {
                return Err(FlagError::Message(format!("bad flag syntax: {}", word.to_string_lossy())));
            }
            let Some(flag) = self.flags.iter().find(|flag| flag.name.as_bytes() == name) else {
                return Err(match name {
                    b"h" | b"help" => FlagError::Help,
                    _ => FlagError::Message(format!("flag provided but not defined: -{shown}")),
                });
            };
            let value = match (flag.kind, value) {
                (FlagKind::Switch, None) => OsString::from("true"),
                (FlagKind::Switch, Some(value)) => boolean(&shown, value)?,
                (_, Some(value)) => value.to_owned(),
                (_, None) => {
                    words.next().ok_or_else(|| FlagError::Message(format!("flag needs an argument: -{shown}")))?.clone()
                }
            };
            if flag.kind == FlagKind::Number {
                check_number(&shown, &value)?;
            }
            given.values.insert(flag.name, value);
        }
        given.rest = words.cloned().collect();
        Ok(given)
    }

    /// The flags there are, as Go's package lists them.
    fn usage(&self) -> String {
        let mut text = match self.name {
            "" => "Usage:\n".to_owned(),
            name => format!("Usage of {name}:\n"),
        };
        for flag in self.flags {
            let kind = match flag.kind {
                FlagKind::Switch => "",
                FlagKind::Text => " string",
                FlagKind::Number => " uint",
            };
            text.push_str(&format!("  -{}{kind}\n    \t{}\n", flag.name, flag.help));
        }
        text
    }
}

fn boolean(name: &str, value: &OsStr) -> Result<OsString, FlagError> {
    match value.as_bytes() {
        b"1" | b"t" | b"T" | b"TRUE" | b"true" | b"True" => Ok("true".into()),
        b"0" | b"f" | b"F" | b"FALSE" | b"false" | b"False" => Ok("false".into()),
        _ => {
            let value = super::quoted(&value.to_string_lossy());
            Err(FlagError::Message(format!("invalid boolean value {value} for -{name}: parse error")))
        }
    }
}

fn check_number(name: &str, value: &OsStr) -> Result<(), FlagError> {
    let value = value.to_string_lossy();
    let why = match value.parse::<u64>() {
        // Go takes no sign.
        Ok(_) if !value.starts_with('+') => return Ok(()),
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => "value out of range",
        _ => "parse error",
    };
    Err(FlagError::Message(format!("invalid value {} for flag -{name}: {why}", super::quoted(&value))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: FlagSet = FlagSet { name: "", flags: &[Flag::switch("on", "Be on"), Flag::text("to", "Where to")] };

    fn parse(line: &str) -> Result<(bool, String, String), String> {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let given = SET.parse(&words).map_err(|error| error.to_string())?;
        let rest: Vec<_> = given.rest.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        Ok((given.switch("on"), given.text("to"), rest.join(" ")))
    }

    #[test]
    fn one_dash_or_two_up_to_the_first_other_word() {
        let ok = |on, to: &str, rest: &str| Ok((on, to.to_owned(), rest.to_owned()));
        assert_eq!(parse(""), ok(false, "", ""));
        assert_eq!(parse("-on --to x y -on"), ok(true, "x", "y -on"));
        assert_eq!(parse("--on=false -to=a=b"), ok(false, "a=b", ""));
        assert_eq!(parse("-on true"), ok(true, "", "true"));
        assert_eq!(parse("-to -on"), ok(false, "-on", ""));
        assert_eq!(parse("-on -- -to"), ok(true, "", "-to"));
        assert_eq!(parse("- -on"), ok(false, "", "- -on"));
        assert_eq!(parse("-on -on=0"), ok(false, "", ""));
        assert_eq!(parse("-to="), ok(false, "", ""));
    }

    #[test]
    fn mistakes_have_gos_words() {
        let error = |line| parse(line).unwrap_err();
        assert_eq!(error("-x"), "flag provided but not defined: -x");
        assert_eq!(error("--x=1"), "flag provided but not defined: -x");
        assert_eq!(error("---on"), "bad flag syntax: ---on");
        assert_eq!(error("-=x"), "bad flag syntax: -=x");
        assert_eq!(error("-to"), "flag needs an argument: -to");
        assert_eq!(error("-on=maybe"), "invalid boolean value \"maybe\" for -on: parse error");
        assert_eq!(error("-h"), "flag: help requested");
        assert_eq!(error("--help"), "flag: help requested");
        let complaint = FlagError::Message("no".to_owned()).complaint(&SET);
        assert_eq!(complaint, "no\nUsage:\n  -on\n    \tBe on\n  -to string\n    \tWhere to\n");
    }
}
