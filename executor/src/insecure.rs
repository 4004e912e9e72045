//! Which checks the user has switched off.

use std::str::FromStr;

/// The checks named by `--insecure-options`, with rkt's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Insecure(u16);

/// Every single check: its name and bit.
const CHECKS: &[(&str, u16)] = &[
    ("image", 1 << 0),
    ("tls", 1 << 1),
    ("ondisk", 1 << 2),
    ("http", 1 << 3),
    ("pubkey", 1 << 4),
    ("capabilities", 1 << 5),
    ("paths", 1 << 6),
    ("seccomp", 1 << 7),
];

/// The groups: `image,tls,http,pubkey`, `capabilities,paths,seccomp` and both with `ondisk`.
const GROUPS: &[(&str, u16)] =
    &[("none", 0), ("all-fetch", 0b0001_1011), ("all-run", 0b1110_0000), ("all", 0b1111_1111)];

/// Plain HTTP to this machine, where docker and others make an exception. It has no name: who speaks docker's language gets it.
const HTTP_HERE: u16 = 1 << 15;

/// A name that `--insecure-options` does not know.
#[derive(Debug, thiserror::Error)]
#[error(
    "unknown insecure option {0:?}, expected a list of none, image, tls, ondisk, http, pubkey, capabilities, paths, seccomp, all-fetch, all-run, all"
)]
pub(crate) struct UnknownCheck(String);

impl Insecure {
    /// Whether images may come without a trusted signature.
    pub(crate) fn image(self) -> bool {
        self.0 & CHECKS[0].1 != 0
    }

    /// Whether any TLS certificate is accepted.
    pub(crate) fn tls(self) -> bool {
        self.0 & CHECKS[1].1 != 0
    }

    /// Whether plain HTTP is permitted.
    pub(crate) fn http(self) -> bool {
        self.0 & CHECKS[3].1 != 0
    }

    /// Whether plain HTTP is permitted to servers on this machine.
    pub(crate) fn http_here(self) -> bool {
        self.http() || self.0 & HTTP_HERE != 0
    }

    /// The same with plain HTTP to servers on this machine.
    pub(crate) fn with_http_here(self) -> Self {
        Self(self.0 | HTTP_HERE)
    }

    /// Whether public keys may come over connections that are not secure.
    pub(crate) fn pubkey(self) -> bool {
        self.0 & CHECKS[4].1 != 0
    }

    /// The same with signatures of images.
    pub(crate) fn with_signatures(self) -> Self {
        Self(self.0 & !CHECKS[0].1)
    }

    /// The same without HTTPS where it does not work, and with any certificate.
    pub(crate) fn with_http_and_tls(self) -> Self {
        Self(self.0 | CHECKS[1].1 | CHECKS[3].1)
    }

    /// What holds where keys are fetched: certificates may be any if that was said, HTTP is permitted only by `http`.
    pub(crate) fn for_keys(self, http: bool) -> Self {
        Self((self.0 & CHECKS[1].1) | if http { CHECKS[3].1 } else { 0 })
    }

    /// The named protections of running apps that are to be off.
    pub(crate) fn protections_of_apps(self) -> Vec<&'static str> {
        CHECKS[5..].iter().filter(|(_, bit)| self.0 & bit != 0).map(|(name, _)| *name).collect()
    }
}

impl FromStr for Insecure {
    type Err = UnknownCheck;

    fn from_str(list: &str) -> Result<Self, UnknownCheck> {
        let mut set = 0;
        for name in list.split(',').map(str::trim) {
            let known = CHECKS.iter().chain(GROUPS).find(|(known, _)| *known == name);
            set |= known.ok_or_else(|| UnknownCheck(name.to_owned()))?.1;
        }
        Ok(Self(set))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_the_sums_of_their_members() {
        for (group, members) in [
            ("all-fetch", "image,tls,http,pubkey"),
            ("all-run", "capabilities,paths,seccomp"),
            ("all", "all-fetch,all-run,ondisk"),
        ] {
            assert_eq!(group.parse::<Insecure>().unwrap(), members.parse().unwrap(), "{group}");
        }
        assert_eq!("none".parse::<Insecure>().unwrap(), Insecure::default());
    }

    #[test]
    fn only_image_allows_unsigned_images() {
        assert!("tls, image".parse::<Insecure>().unwrap().image());
        assert!(!"tls,http,pubkey,ondisk,all-run".parse::<Insecure>().unwrap().image());
    }

    #[test]
    fn unknown_names_are_named() {
        for (list, name) in [("images", "\"images\""), ("image,,tls", "\"\""), ("", "\"\""), ("ALL", "\"ALL\"")] {
            let error = list.parse::<Insecure>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("unknown insecure option {name},")), "{list}: {error}");
        }
    }

    #[test]
    fn protections_of_apps_are_listed_by_name() {
        assert_eq!("image,seccomp,paths".parse::<Insecure>().unwrap().protections_of_apps(), ["paths", "seccomp"]);
    }
}
