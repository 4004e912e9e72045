//! The form in which volumes, mount points, ports and images are written on a command line: `NAME,KEY=VALUE,…`.
//!
//! A value may hold anything but a comma. The Go code turns the text into a URL query and parses that; keys were not
//! escaped on the way, with strange results for keys that hold `&`, `;`, `%` or `+`, which here are simply unknown.

use std::str::FromStr;

use crate::json::quote::Quoted;
use crate::mount_point::{MountPoint, MountPointError};
use crate::name::NameError;
use crate::port::{Port, PortError, PortParts};
use crate::volume::{Volume, VolumeError, VolumeParts};

/// A command-line text that does not say what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParameterError {
    /// A part without `=`.
    #[error("malformed string {} - has a label without a value: {label}", Quoted(.text))]
    Malformed {
        /// The whole text, with `name=` put before it.
        text: String,
        /// The part.
        label: String,
    },
    /// A key that stands there twice.
    #[error("label {label} with multiple values [{}]", quoted_list(.values))]
    Repeated {
        /// The key.
        label: String,
        /// Its values.
        values: Vec<String>,
    },
    /// A key that means nothing.
    #[error("unknown {what} parameter {}", Quoted(.key))]
    Unknown {
        /// What was described: `volume`, `mountpoint` or `port`.
        what: &'static str,
        /// The key.
        key: String,
    },
    /// A value that is no boolean.
    #[error("strconv.ParseBool: parsing {}: invalid syntax", Quoted(.text))]
    Boolean {
        /// The refused text.
        text: String,
    },
    /// A value that is no number, or too large.
    #[error("strconv.{function}: parsing {}: {}", Quoted(.text), if *.out_of_range { "value out of range" } else { "invalid syntax" })]
    Number {
        /// The Go function that would have refused it.
        function: &'static str,
        /// The refused text.
        text: String,
        /// Whether it is a number after all.
        out_of_range: bool,
    },
    /// A name that is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A volume that breaks its rules.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// A mount point that breaks its rules.
    #[error(transparent)]
    MountPoint(#[from] MountPointError),
    /// A port that breaks its rules.
    #[error(transparent)]
    Port(#[from] PortError),
}

fn quoted_list(values: &[String]) -> String {
    values.iter().map(|value| Quoted(value).to_string()).collect::<Vec<_>>().join(" ")
}

/// Splits `NAME,KEY=VALUE,…` into pairs of which the first has the key `name`; no key stands there twice.
///
/// # Errors
/// A part has no `=`, or a key stands there twice.
pub fn pairs(text: &str) -> Result<Vec<(String, String)>, ParameterError> {
    let text = format!("name={text}");
    let mut all: Vec<(String, Vec<String>)> = Vec::new();
    let mut index_of = std::collections::HashMap::new();
    for part in text.split(',') {
        let malformed = || ParameterError::Malformed { text: text.clone(), label: part.to_owned() };
        let (key, value) = part.split_once('=').ok_or_else(malformed)?;
        let index = *index_of.entry(key).or_insert(all.len());
        match all.get_mut(index) {
            Some((_, values)) => values.push(value.to_owned()),
            None => all.push((key.to_owned(), vec![value.to_owned()])),
        }
    }
    let single = |(label, mut values): (String, Vec<String>)| match values.pop() {
        Some(value) if values.is_empty() => Ok((label, value)),
        last => Err(ParameterError::Repeated { label, values: values.into_iter().chain(last).collect() }),
    };
    all.into_iter().map(single).collect()
}

/// The spellings of a boolean that Go's `strconv.ParseBool` takes.
fn boolean(text: &str) -> Result<bool, ParameterError> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(ParameterError::Boolean { text: text.to_owned() }),
    }
}

fn integer(text: &str) -> Result<i64, ParameterError> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    text.parse().map_err(|_| not_a_number("Atoi", text, digits))
}

fn unsigned_16_bit(text: &str) -> Result<u64, ParameterError> {
    let not_a_number = || not_a_number("ParseUint", text, text);
    if text.starts_with('+') {
        return Err(not_a_number());
    }
    text.parse::<u16>().map(u64::from).map_err(|_| not_a_number())
}

fn not_a_number(function: &'static str, text: &str, digits: &str) -> ParameterError {
    let out_of_range = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    ParameterError::Number { function, text: text.to_owned(), out_of_range }
}

fn unknown(what: &'static str, key: &str) -> ParameterError {
    ParameterError::Unknown { what, key: key.to_owned() }
}

impl FromStr for Volume {
    type Err = ParameterError;

    /// Parses `database,kind=host,source=/tmp,readOnly=true,recursive=true` or
    /// `scratch,kind=empty,mode=0777,uid=1000,gid=1000`.
    fn from_str(text: &str) -> Result<Self, ParameterError> {
        let mut parts = VolumeParts::default();
        for (key, value) in pairs(text)? {
            match key.as_str() {
                "name" => parts.name = value.parse()?,
                "kind" => parts.kind = value,
                "source" => parts.source = value,
                "readOnly" => parts.read_only = Some(boolean(&value)?),
                "recursive" => parts.recursive = Some(boolean(&value)?),
                "mode" => parts.mode = Some(value),
                "uid" => parts.uid = Some(integer(&value)?),
                "gid" => parts.gid = Some(integer(&value)?),
                key => return Err(unknown("volume", key)),
            }
        }
        Ok(parts.build()?)
    }
}

impl FromStr for MountPoint {
    type Err = ParameterError;

    /// Parses `work,path=/opt,readOnly=true`. Unlike in a manifest, name and path must be there.
    fn from_str(text: &str) -> Result<Self, ParameterError> {
        let mut mount_point = Self::default();
        for (key, value) in pairs(text)? {
            match key.as_str() {
                "name" => mount_point.name = value.parse()?,
                "path" => mount_point.path = value,
                "readOnly" => mount_point.read_only = boolean(&value)?,
                key => return Err(unknown("mountpoint", key)),
            }
        }
        mount_point.validate()?;
        Ok(mount_point)
    }
}

impl FromStr for Port {
    type Err = ParameterError;

    /// Parses `query,protocol=tcp,port=8080,count=1,socketActivated=true`. Unlike in a manifest, a count that is not
    /// given stays 0.
    fn from_str(text: &str) -> Result<Self, ParameterError> {
        let mut parts = PortParts::default();
        for (key, value) in pairs(text)? {
            match key.as_str() {
                "name" => parts.name = value.parse()?,
                "protocol" => parts.protocol = value,
                "port" => parts.port = unsigned_16_bit(&value)?,
                "count" => parts.count = unsigned_16_bit(&value)?,
                "socketActivated" => parts.socket_activated = boolean(&value)?,
                key => return Err(unknown("port", key)),
            }
        }
        Ok(parts.build()?)
    }
}
