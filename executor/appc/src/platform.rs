//! Operating systems and architectures: which pairs labels may name, and what Go and OCI call them.

use crate::json::quote::Quoted;

/// The architectures of each operating system, both in the order messages list them (appc aci.md, Image Manifest).
const SUPPORTED: &[(&str, &[&str])] = &[
    ("darwin", &["x86_64", "i386"]),
    ("freebsd", &["amd64", "i386", "arm"]),
    ("linux", &["amd64", "i386", "aarch64", "aarch64_be", "armv6l", "armv7l", "armv7b", "ppc64", "ppc64le", "s390x"]),
];

/// appc operating system and architecture, then Go's (and OCI's) architecture and variant. Where two rows have the
/// same appc pair the first one is what it translates to.
const TRANSLATIONS: &[(&str, &str, &str, &str)] = &[
    ("linux", "amd64", "amd64", ""),
    ("linux", "i386", "386", ""),
    ("linux", "aarch64", "arm64", ""),
    ("linux", "armv6l", "arm", "6"),
    ("linux", "armv6l", "arm", ""),
    ("linux", "armv7l", "arm", "7"),
    ("linux", "ppc64", "ppc64", ""),
    ("linux", "ppc64le", "ppc64le", ""),
    ("linux", "s390x", "s390x", ""),
    ("freebsd", "amd64", "amd64", ""),
    ("freebsd", "i386", "386", ""),
    ("freebsd", "arm", "arm", "6"),
    ("freebsd", "arm", "arm", ""),
    ("freebsd", "arm", "arm", "5"),
    ("freebsd", "arm", "arm", "7"),
    ("darwin", "x86_64", "amd64", ""),
    ("darwin", "i386", "386", ""),
];

/// A pair of operating system and architecture that appc has no name for, or Go has none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlatformError {
    /// An operating system images cannot be labelled with.
    #[error("bad os {} (must be one of: [{}])", Quoted(.os), supported_systems())]
    BadOs {
        /// The label's value.
        os: String,
    },
    /// An architecture the operating system is not labelled with.
    #[error("bad arch {} for {os} (must be one of: [{}])", Quoted(.arch), supported_architectures(.os))]
    BadArch {
        /// The operating system.
        os: String,
        /// The label's value.
        arch: String,
    },
    /// A Go platform without an appc name.
    #[error("unknown arch tuple: {} - {} - {}", Quoted(.os), Quoted(.arch), Quoted(.variant))]
    UnknownGo {
        /// Go's operating system.
        os: String,
        /// Go's architecture.
        arch: String,
        /// Its variant, such as `7` of `arm`.
        variant: String,
    },
    /// An appc platform without a Go name.
    #[error("unknown arch tuple: {} - {}", Quoted(.os), Quoted(.arch))]
    UnknownAppc {
        /// The operating system.
        os: String,
        /// The architecture.
        arch: String,
    },
}

/// A platform in Go's words, which OCI image configurations use too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GoPlatform {
    /// `GOOS`.
    pub os: &'static str,
    /// `GOARCH`.
    pub arch: &'static str,
    /// The variant without OCI's leading `v`, or empty.
    pub variant: &'static str,
}

/// Checks the values of the labels `os` and `arch`. An architecture without an operating system is not checked.
///
/// # Errors
/// [`PlatformError::BadOs`], [`PlatformError::BadArch`].
pub fn check(os: Option<&str>, arch: Option<&str>) -> Result<(), PlatformError> {
    let Some(os) = os else { return Ok(()) };
    let Some((_, architectures)) = SUPPORTED.iter().find(|(name, _)| *name == os) else {
        return Err(PlatformError::BadOs { os: os.to_owned() });
    };
    match arch {
        Some(arch) if !architectures.contains(&arch) => {
            Err(PlatformError::BadArch { os: os.to_owned(), arch: arch.to_owned() })
        }
        _ => Ok(()),
    }
}

/// Translates a Go or OCI platform into the values of the labels `os` and `arch`. OCI's `v8` of `arm64` is its only
/// variant and therefore taken for none.
///
/// # Errors
/// [`PlatformError::UnknownGo`].
pub fn from_go(os: &str, arch: &str, variant: &str) -> Result<(&'static str, &'static str), PlatformError> {
    let plain = variant.strip_prefix('v').unwrap_or(variant);
    let plain = if arch == "arm64" && plain == "8" { "" } else { plain };
    let found = TRANSLATIONS.iter().find(|row| row.0 == os && row.2 == arch && row.3 == plain);
    found.map(|row| (row.0, row.1)).ok_or_else(|| PlatformError::UnknownGo {
        os: os.to_owned(),
        arch: arch.to_owned(),
        variant: variant.to_owned(),
    })
}

/// Translates the values of the labels `os` and `arch` into Go's words.
///
/// The Go code has its rows for freebsd and darwin on 386 keyed the wrong way round; here they translate.
///
/// # Errors
/// [`PlatformError::UnknownAppc`]; also for `aarch64_be` and `armv7b`, which Go does not build for.
pub fn to_go(os: &str, arch: &str) -> Result<GoPlatform, PlatformError> {
    let found = TRANSLATIONS.iter().find(|row| row.0 == os && row.1 == arch);
    found
        .map(|row| GoPlatform { os: row.0, arch: row.2, variant: row.3 })
        .ok_or_else(|| PlatformError::UnknownAppc { os: os.to_owned(), arch: arch.to_owned() })
}

fn supported_systems() -> String {
    SUPPORTED.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
}

fn supported_architectures(os: &str) -> String {
    SUPPORTED.iter().find(|(name, _)| *name == os).map(|(_, list)| list.join(" ")).unwrap_or_default()
}
