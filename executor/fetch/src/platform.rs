//! Operating system and architecture of images and of this machine, in Go's names as OCI documents use them.

use std::fmt;

use crate::quote::Quoted;

/// What an image is built for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// `GOOS`, for instance `linux`.
    pub os: String,
    /// `GOARCH`, for instance `amd64`.
    pub architecture: String,
    /// A variant of the architecture, for instance `v8`.
    pub variant: Option<String>,
}

impl Platform {
    /// The platform this program was built for. It has no variant: only the baseline can be assumed.
    pub fn host() -> Self {
        Self::new(std::env::consts::OS, std::env::consts::ARCH, None)
    }

    /// A platform from the names in a document. Names that are not Go's but widely written are translated.
    pub(crate) fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let architecture = match architecture {
            "x86_64" | "x86-64" => "amd64",
            "x86" | "i386" => "386",
            "aarch64" => "arm64",
            "powerpc64" => "ppc64",
            other => other,
        };
        let variant = variant.filter(|variant| !variant.is_empty()).map(str::to_owned);
        Self { os: os.to_owned(), architecture: architecture.to_owned(), variant }
    }

    /// Whether an image for `self` runs on `host`: same system and architecture, and no variant above the baseline
    /// (amd64 `v1`, arm64 `v8`), for which the processor would have to be asked.
    pub fn runs_on(&self, host: &Self) -> bool {
        let baseline = match (self.architecture.as_str(), self.variant.as_deref()) {
            (_, None) => true,
            ("amd64", Some(variant)) => variant == "v1",
            ("arm64", Some(variant)) => variant == "v8",
            _ => self.variant == host.variant,
        };
        self.os == host.os && self.architecture == host.architecture && baseline
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variant = self.variant.as_deref().map(|variant| format!("/{variant}")).unwrap_or_default();
        f.write_str(&Quoted::bare(&format!("{}/{}{variant}", self.os, self.architecture)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_above_the_baseline_do_not_run() {
        let amd64 = Platform::new("linux", "amd64", None);
        let arm64 = Platform::new("linux", "aarch64", None);
        let cases = [
            ("linux", "amd64", None, &amd64, true),
            ("linux", "x86_64", Some(""), &amd64, true),
            ("linux", "amd64", Some("v1"), &amd64, true),
            ("linux", "amd64", Some("v3"), &amd64, false),
            ("linux", "386", None, &amd64, false),
            ("windows", "amd64", None, &amd64, false),
            ("", "", None, &amd64, false),
            ("unknown", "unknown", None, &amd64, false),
            ("linux", "arm64", Some("v8"), &arm64, true),
            ("linux", "arm64", Some("v9"), &arm64, false),
            ("linux", "amd64", None, &arm64, false),
        ];
        for (os, architecture, variant, host, expected) in cases {
            let platform = Platform::new(os, architecture, variant);
            assert_eq!(platform.runs_on(host), expected, "{platform} on {host}");
        }
    }

    #[test]
    fn foreign_text_is_escaped() {
        assert_eq!(Platform::new("li\nnux", "amd64", Some("v1")).to_string(), r"li\nnux/amd64/v1");
    }
}
