//! Telling which kind of name it is.

use std::path::PathBuf;
use std::str::FromStr;

use appc::ImageString;

use super::{ImageRef, RefError};
use crate::digest::{Digest, is_lower_hex};
use crate::http::Url;
use crate::quote::Quoted;
use crate::registry::{RegistryRef, RegistryRefError};

/// A reference longer than this many bytes is a mistake or an attack (`PATH_MAX` is the longest that can mean
/// anything).
pub(super) const MAX_LEN: usize = 4096;

/// A stored ID needs this many hexadecimal digits at least, as in rkt (`image ID too short`).
const MIN_ID_HEX: usize = 2;

impl FromStr for ImageRef {
    type Err = RefError;

    fn from_str(text: &str) -> Result<Self, RefError> {
        if text.is_empty() {
            return Err(RefError::Empty);
        }
        if text.len() > MAX_LEN {
            return Err(RefError::TooLong(text.len()));
        }
        if text.contains('\0') {
            return Err(RefError::Blank(Quoted::new(text)));
        }
        if text == "hello" {
            return Ok(Self::Hello);
        }
        if let Some(rest) = text.strip_prefix("oci:") {
            return place(text, rest).map(|(dir, reference)| Self::OciLayout { dir, reference });
        }
        if let Some(rest) = text.strip_prefix("oci-archive:") {
            return place(text, rest).map(|(file, reference)| Self::OciArchive { file, reference });
        }
        if let Some(rest) = text.strip_prefix("docker-archive:") {
            return place(text, rest).map(|(file, reference)| Self::DockerArchive { file, reference });
        }
        if let Some(rest) = text.strip_prefix("file://") {
            return file_url(rest).map(Self::Aci).ok_or_else(|| RefError::FileUrl(Quoted::new(text)));
        }
        if let Some(rest) = text.strip_prefix("docker://") {
            return match rest.parse::<RegistryRef>() {
                Ok(_) => Ok(Self::Registry(rest.to_owned())),
                Err(RegistryRefError::Credentials) => Err(RefError::Credentials),
                Err(source) => Err(RefError::Registry { text: Quoted::new(text), source }),
            };
        }
        if ["https://", "http://"].iter().any(|scheme| text.starts_with(scheme)) {
            return url(text).map(Self::Url);
        }
        if let Some(rest) = text.strip_prefix("appc://") {
            let parsed = rest.parse::<ImageString>();
            return parsed.map(Self::Appc).map_err(|source| RefError::Appc { text: Quoted::new(rest), source });
        }
        if let Some(transport) = foreign_transport(text) {
            return Err(RefError::Transport(Quoted::new(transport)));
        }
        if ["/", "./", "../"].iter().any(|start| text.starts_with(start)) || text.ends_with(".aci") {
            return Ok(Self::Aci(PathBuf::from(text)));
        }
        match id(text)? {
            Some(id) => Ok(Self::Id(id)),
            None => name(text).map(Self::Name),
        }
    }
}

/// `PATH[:REF]`. The path ends at the first colon, as with other tools.
fn place(text: &str, rest: &str) -> Result<(PathBuf, Option<String>), RefError> {
    let empty = |part| RefError::EmptyPart { text: Quoted::new(text), part };
    let (dir, reference) = match rest.split_once(':') {
        Some((dir, reference)) => (dir, Some(reference)),
        None => (rest, None),
    };
    if dir.is_empty() {
        return Err(empty("path"));
    }
    if reference == Some("") {
        return Err(empty("reference"));
    }
    if reference.is_some_and(has_blank) {
        return Err(RefError::Blank(Quoted::new(text)));
    }
    Ok((PathBuf::from(dir), reference.map(str::to_owned)))
}

/// The path of `file:///PATH` after `file://`, percent-decoded; `None` for a host, a broken escape or a NUL.
fn file_url(rest: &str) -> Option<PathBuf> {
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    if !path.starts_with('/') {
        return None;
    }
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            decoded.push(u8::try_from(high * 16 + low).expect("two hexadecimal digits make one byte"));
        } else {
            decoded.push(byte);
        }
    }
    if decoded.contains(&0) {
        return None;
    }
    Some(PathBuf::from(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(decoded)))
}

/// A URL without user and password: those belong in configuration, and would be repeated in messages.
fn url(text: &str) -> Result<Url, RefError> {
    let bad = |reason: &str| {
        let text = Quoted::new(text.rsplit('@').next().unwrap_or_default());
        RefError::Url { text, reason: reason.to_owned() }
    };
    // Browsers take what comes behind more slashes for the host.
    if text.split_once("://").is_some_and(|(_, rest)| rest.starts_with(['/', '\\'])) {
        return Err(bad("empty host"));
    }
    let mut url = Url::parse(text).map_err(|error| bad(&error.to_string()))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(RefError::Credentials);
    }
    // Never sent to a server.
    url.set_fragment(None);
    Ok(url)
}

/// The transport of a reference that asks for one we do not have: any `SCHEME://`, and the archive forms that other
/// tools write with a single colon. Only the scheme is returned, since what follows may hold a password.
fn foreign_transport(text: &str) -> Option<&str> {
    if let Some(colon) = text.find("://") {
        return Some(&text[..colon + 3]);
    }
    ["docker-daemon:", "containers-storage:", "dir:"].into_iter().find(|transport| text.starts_with(transport))
}

/// Recognises an image ID or a prefix of one and normalises its separator: an ACI's is a dash, an OCI image's a colon.
fn id(text: &str) -> Result<Option<String>, RefError> {
    let Some((algorithm, hex)) = text.split_once([':', '-']) else { return Ok(None) };
    let (separator, full) = match algorithm {
        "sha512" => ('-', 128),
        "sha256" => (':', 64),
        _ => {
            let is_digest = text.as_bytes()[algorithm.len()] == b':'
                && algorithm.bytes().all(|b| b.is_ascii_alphanumeric())
                && hex.len() >= 32
                && is_lower_hex(hex);
            return if is_digest { Err(RefError::Algorithm(Quoted::new(text))) } else { Ok(None) };
        }
    };
    if hex.len() < MIN_ID_HEX && is_lower_hex(hex) {
        return Err(RefError::ShortId(Quoted::new(text)));
    }
    if !(MIN_ID_HEX..=full).contains(&hex.len()) || !is_lower_hex(hex) {
        return Err(RefError::Id(Quoted::new(text)));
    }
    Ok(Some(format!("{algorithm}{separator}{hex}")))
}

/// Checks what every kind of name has in common; which kind it is decides the one who looks it up.
fn name(text: &str) -> Result<String, RefError> {
    // Label values (appc discovery: NAME[:VERSION][,LABEL=VALUE]…) may hold anything, so only the name is looked at.
    let path = text.split(',').next().unwrap_or(text);
    // NAME@DIGEST is the only meaning of @. A colon before an @ that no digest follows is USER:PASSWORD@HOST.
    if let Some((before, after)) = path.rsplit_once('@') {
        let is_digest = after.starts_with("sha256:") || after.starts_with("sha512:");
        if !is_digest && before.contains(':') {
            return Err(RefError::Credentials);
        }
        after.parse::<Digest>().map_err(|source| RefError::Digest { text: Quoted::new(text), source })?;
    }
    if has_blank(text) {
        return Err(RefError::Blank(Quoted::new(text)));
    }
    for component in path.split('/') {
        match component {
            "" => return Err(RefError::EmptyPart { text: Quoted::new(text), part: "path component" }),
            "." | ".." => return Err(RefError::Dots(Quoted::new(text))),
            _ => {}
        }
    }
    Ok(text.to_owned())
}

fn has_blank(text: &str) -> bool {
    text.chars().any(|c| c.is_control() || c.is_whitespace())
}
