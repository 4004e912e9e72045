//! What a person types to name an image, and which kind of name it is.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use appc::ImageString;
use appc::image_string::ImageStringError;

use crate::digest::{Digest, DigestError, is_lower_hex};
use crate::http::Url;
use crate::quote::Quoted;
use crate::registry::{RegistryRef, RegistryRefError};

/// A reference longer than this many bytes is a mistake or an attack (`PATH_MAX` is the longest that can mean
/// anything).
const MAX_LEN: usize = 4096;

/// A stored ID needs this many hexadecimal digits at least, as in rkt (`image ID too short`).
const MIN_ID_HEX: usize = 2;

/// The name of an image, sorted by where it leads. The heuristics are rkt's (`guessAppcOrPath`): a path is what
/// begins with `/`, `./` or `../` or ends in `.aci`; everything without another mark is a name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageRef {
    /// `hello`, the image built into the program. (A file of that name is `./hello`.)
    Hello,
    /// A local ACI file: a path, or `file:///PATH`.
    Aci(PathBuf),
    /// `oci:DIR[:REF]`, an OCI layout directory. `DIR` ends at the first colon, as with other tools.
    OciLayout {
        /// The layout directory.
        dir: PathBuf,
        /// A value of the annotation `org.opencontainers.image.ref.name`, or a digest.
        reference: Option<String>,
    },
    /// `oci-archive:FILE[:REF]`, a tar archive of an OCI layout.
    OciArchive {
        /// The archive.
        file: PathBuf,
        /// As with a layout directory.
        reference: Option<String>,
    },
    /// `docker-archive:FILE[:REF]`, what `docker save` writes.
    DockerArchive {
        /// The archive.
        file: PathBuf,
        /// The name of one of its images, or `@N`: its place, from 0 on.
        reference: Option<String>,
    },
    /// `http://…` or `https://…`, an ACI of a server. Its signature is at that URL with `.asc` behind the path.
    Url(Url),
    /// `appc://NAME[:VERSION][,LABEL=VALUE…]`, an image to be found by App Container discovery.
    Appc(ImageString),
    /// `docker://NAME[:TAG][@DIGEST]`, an image of a registry, as it was typed after the two slashes. It is known to be
    /// well-formed; which registry a name without a host means is configured.
    Registry(String),
    /// The ID of a stored image or the beginning of one, normalised to `sha512-HEX` (ACI) or `sha256:HEX` (OCI).
    Id(String),
    /// Anything else: a name, to be looked up in the store.
    Name(String),
}

/// Why a string is no image reference. Messages repeat the string only where it cannot hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefError {
    /// The string is empty.
    #[error("image reference is empty")]
    Empty,
    /// The string is longer than 4096 bytes.
    #[error("image reference has {0} bytes, the limit is {MAX_LEN}")]
    TooLong(usize),
    /// A space or control character, which no reference holds.
    #[error("image reference {0} holds a blank or control character")]
    Blank(Quoted),
    /// A transport this program does not have.
    #[error(
        "transport {0} is not supported; docker://NAME, appc://NAME, https://URL.aci, a file (PATH.aci), oci:DIR[:REF], oci-archive:FILE[:REF], docker-archive:FILE[:REF], a stored image or hello is"
    )]
    Transport(Quoted),
    /// A part that may not be empty is.
    #[error("image reference {text} has an empty {part}")]
    EmptyPart {
        /// The reference.
        text: Quoted,
        /// What is empty: `directory`, `reference`, `path` or `path component`.
        part: &'static str,
    },
    /// `file://` with a host or a broken escape.
    #[error("file URL {0} must be file:///PATH, percent-encoded")]
    FileUrl(Quoted),
    /// The ID is no prefix of an image ID.
    #[error("image ID {0} must be sha512- or sha256: and 2 to 128 or 64 lower-case hexadecimal digits")]
    Id(Quoted),
    /// The ID has fewer than two digits; the text is rkt's.
    #[error("image ID too short: {0}")]
    ShortId(Quoted),
    /// A digest of an algorithm that names no image here.
    #[error("image ID {0} uses an unsupported algorithm (supported: sha256, sha512)")]
    Algorithm(Quoted),
    /// `NAME@DIGEST` with a malformed digest.
    #[error("image name {text}")]
    Digest {
        /// The reference.
        text: Quoted,
        /// What is wrong with the digest.
        source: DigestError,
    },
    /// `docker://` and what names no image of a registry.
    #[error("image reference {text}")]
    Registry {
        /// The reference.
        text: Quoted,
        /// What is wrong with it.
        source: RegistryRefError,
    },
    /// `https://` and what is no URL.
    #[error("image URL: {0}")]
    Url(String),
    /// `appc://` and what names no image.
    #[error("image name {text}")]
    Appc {
        /// The name.
        text: Quoted,
        /// What is wrong with it.
        source: ImageStringError,
    },
    /// A name with a `.` or `..` component.
    #[error("image name {0} holds a . or .. component (a file is written ./PATH)")]
    Dots(Quoted),
    /// `user:password@host`. The text is not repeated.
    #[error("image names hold no user name or password; credentials belong in the credentials file")]
    Credentials,
}

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

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello => f.write_str("hello"),
            Self::Aci(path) => write!(f, "{}", path.display()),
            Self::OciLayout { dir, reference } => write_place(f, "oci", dir, reference.as_deref()),
            Self::OciArchive { file, reference } => write_place(f, "oci-archive", file, reference.as_deref()),
            Self::DockerArchive { file, reference } => write_place(f, "docker-archive", file, reference.as_deref()),
            Self::Url(url) => write!(f, "{url}"),
            Self::Appc(image) => write!(f, "appc://{image}"),
            Self::Registry(name) => write!(f, "docker://{name}"),
            Self::Id(text) | Self::Name(text) => f.write_str(text),
        }
    }
}

fn write_place(f: &mut fmt::Formatter<'_>, kind: &str, path: &Path, reference: Option<&str>) -> fmt::Result {
    write!(f, "{kind}:{}", path.display())?;
    reference.map_or(Ok(()), |reference| write!(f, ":{reference}"))
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
    let mut url = Url::parse(text).map_err(|error| RefError::Url(error.to_string()))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn aci(path: &str) -> ImageRef {
        ImageRef::Aci(path.into())
    }

    fn oci(dir: &str, reference: Option<&str>) -> ImageRef {
        ImageRef::OciLayout { dir: dir.into(), reference: reference.map(str::to_owned) }
    }

    #[test]
    fn each_form_is_recognised() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let at_digest = format!("docker.io/library/debian@{digest}");
        let cases = [
            ("hello", ImageRef::Hello),
            ("hello:1", ImageRef::Name("hello:1".into())),
            ("docker://debian", ImageRef::Registry("debian".into())),
            ("docker://localhost:5000/a/b:c", ImageRef::Registry("localhost:5000/a/b:c".into())),
            ("./hello", aci("./hello")),
            ("busybox.aci", aci("busybox.aci")),
            ("dir/busybox.aci", aci("dir/busybox.aci")),
            ("a file.aci", aci("a file.aci")),
            ("/tmp/x", aci("/tmp/x")),
            ("../x", aci("../x")),
            ("file:///tmp/a%20b.aci", aci("/tmp/a b.aci")),
            ("file://localhost/x", aci("/x")),
            ("oci:dir", oci("dir", None)),
            ("oci:/a/b:latest", oci("/a/b", Some("latest"))),
            ("oci:a b:v1", oci("a b", Some("v1"))),
            ("oci:dir:docker.io/library/debian:12", oci("dir", Some("docker.io/library/debian:12"))),
            (&format!("oci:d:{digest}"), oci("d", Some(&digest))),
            ("sha512-ab", ImageRef::Id("sha512-ab".into())),
            ("sha512:ab", ImageRef::Id("sha512-ab".into())),
            ("sha256-0a1b", ImageRef::Id("sha256:0a1b".into())),
            (&digest, ImageRef::Id(digest.clone())),
            ("debian", ImageRef::Name("debian".into())),
            ("debian:12", ImageRef::Name("debian:12".into())),
            ("localhost:5000/debian:12", ImageRef::Name("localhost:5000/debian:12".into())),
            (&at_digest, ImageRef::Name(at_digest.clone())),
            ("example.com/app,os=linux,x=a@b:c", ImageRef::Name("example.com/app,os=linux,x=a@b:c".into())),
            ("sha1-beef", ImageRef::Name("sha1-beef".into())),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<ImageRef>(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_displayed_parses_back() {
        for text in ["hello", "./a.aci", "oci:d", "oci:d:latest", "sha512-abcd", "sha256:ab", "debian:12"] {
            assert_eq!(text.parse::<ImageRef>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn bad_references_are_refused_by_reason() {
        let hex63 = "a".repeat(63);
        let long = "x".repeat(10 << 10);
        let md5 = format!("md5:{}", "a".repeat(32));
        let upper = format!("sha256:{}", "A".repeat(64));
        let too_long_id = format!("sha256:{hex63}bb");
        let cases: [(&str, &str); 35] = [
            ("", "is empty"),
            (&long, "10240 bytes"),
            ("a\0b.aci", "control character"),
            ("a b", "blank"),
            ("a\nb", r#""a\nb""#),
            ("oci:", "empty path"),
            ("oci::latest", "empty path"),
            ("oci:dir:", "empty reference"),
            ("oci:dir:a b", "blank"),
            ("oci:dir:\u{1b}[0m", "blank or control"),
            ("file://host/x", "file:///PATH"),
            ("file://", "file:///PATH"),
            ("file:///a%0", "file:///PATH"),
            ("file:///a%00", "file:///PATH"),
            ("file:///a%zz", "file:///PATH"),
            ("docker-daemon:debian", "transport \"docker-daemon:\""),
            ("docker://", "image reference \"docker://\""),
            ("docker://A", "image reference \"docker://A\""),
            ("docker://a:b:c", "image reference \"docker://a:b:c\""),
            ("https://user:secret@h/x.aci", "credentials"),
            ("oci-archive:", "empty path"),
            ("sha512-", "image ID"),
            ("sha512-a", "image ID too short: \"sha512-a\""),
            ("sha256:../../x", "image ID"),
            ("sha256:AB", "image ID"),
            (&upper, "image ID"),
            (&too_long_id, "image ID"),
            (&md5, "unsupported algorithm"),
            ("a/../b", ".. component"),
            ("a/./b", ". component"),
            ("a//b", "empty path component"),
            ("user:secret@host/image", "credentials"),
            ("a/", "empty path component"),
            ("debian@sha256:ab", "debian@sha256:ab"),
            ("debian@12", "debian@12"),
        ];
        for (text, expected) in cases {
            let error = text.parse::<ImageRef>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
            assert!(!error.contains("secret") && error.len() < 600 && !error.contains(char::is_control), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_reference_or_an_error_fit_for_a_terminal(text in any_reference()) {
            match text.parse::<ImageRef>() {
                Ok(reference) => {
                    let again = reference.to_string().parse::<ImageRef>();
                    // Only a decoded file URL may come back as another kind of text.
                    prop_assert!(again.as_ref() == Ok(&reference) || text.starts_with("file://"), "{text:?}: {again:?}");
                }
                Err(error) => prop_assert!(!error.to_string().contains(char::is_control)),
            }
        }
    }

    /// Text that looks enough like a reference to reach every branch.
    fn any_reference() -> impl Strategy<Value = String> {
        let start = "(|hello|oci:|file://|docker://|sha256[:-]|sha512[:-]|md5:|/|\\./|[a-z]{0,5}@sha256:)";
        let rest = proptest::string::string_regex("[a-f0-9]{0,70}([/:@,=%. a-zA-Z\\PC]|\u{1b}|\0){0,12}(|\\.aci)");
        (proptest::string::string_regex(start).expect("a valid pattern"), rest.expect("a valid pattern"))
            .prop_map(|(start, rest)| start + &rest)
    }
}
