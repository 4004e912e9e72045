//! What App Container discovery finds for a name, and how that is printed.

use appc::{AcIdentifier, ImageString};
use fetch::discovery::{Attempt, AttemptError, Discovery, DiscoveryError, Endpoint, Found, KeyLocation};
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::PrettyFormatter;

use crate::escape::printable;
use crate::manifest;

/// All that is found.
#[derive(Debug)]
pub(crate) struct Discovered {
    /// Pages that did not have it, a line each.
    pub(crate) walk: String,
    endpoints: Vec<Endpoint>,
    keys: Vec<KeyLocation>,
}

/// Why nothing is found.
#[derive(Debug)]
pub(crate) enum Failure {
    /// There is no image.
    Endpoints { walk: String, error: DiscoveryError },
    /// There are no keys.
    Keys(DiscoveryError),
}

/// The JSON form, with the names of the Go code's fields.
#[derive(Debug, Serialize)]
struct Json<'a> {
    #[serde(rename = "ACIEndpoints")]
    endpoints: Vec<JsonEndpoint<'a>>,
    #[serde(rename = "PublicKeys")]
    keys: Vec<&'a str>,
}

#[derive(Debug, Serialize)]
struct JsonEndpoint<'a> {
    #[serde(rename = "ACI")]
    aci: &'a str,
    #[serde(rename = "ASC")]
    asc: &'a str,
}

/// Adds the labels `os` and `arch` of this machine where the name has none, in appc's words.
pub(crate) fn complete(mut image: ImageString) -> ImageString {
    for (label, value) in [("os", "linux"), ("arch", manifest::HOST_ARCH)] {
        if image.labels.get(label).is_none() {
            let name: AcIdentifier = label.parse().expect("it is an identifier");
            image.labels.set(name, value);
        }
    }
    image
}

/// Discovers images and keys of one name.
pub(crate) fn discover(discovery: &Discovery<'_>, image: &ImageString) -> Result<Discovered, Failure> {
    let Found { found: endpoints, attempts } = match discovery.endpoints(image) {
        Ok(found) => found,
        Err(error) => return Err(Failure::Endpoints { walk: walk("endpoints", &error.attempts), error }),
    };
    let keys = discovery.public_keys(&image.name).map_err(Failure::Keys)?;
    let walk = walk("endpoints", &attempts) + &walk("public keys", &keys.attempts);
    Ok(Discovered { walk, endpoints, keys: keys.found })
}

/// A line for each page that could not be had.
fn walk(what: &str, attempts: &[Attempt]) -> String {
    let had = |attempt: &&Attempt| !matches!(attempt.error, AttemptError::NoTags);
    let line = |Attempt { prefix, error }: &Attempt| format!("discover {what} walk: prefix: {prefix} error: {error}\n");
    attempts.iter().filter(had).map(line).collect()
}

impl Discovered {
    /// The lines actool prints.
    pub(crate) fn lines(&self) -> String {
        // Anybody can write anything into a page.
        let endpoint = |it: &Endpoint| format!("ACI: {}, ASC: {}\n", printable(&it.aci), printable(&it.asc));
        let keys: Vec<_> = self.keys.iter().map(|key| printable(&key.url)).collect();
        self.endpoints.iter().map(endpoint).collect::<String>() + &format!("PublicKeys: {}\n", keys.join(","))
    }

    /// JSON as Go prints it: four blanks, and no character that would mean something in HTML.
    pub(crate) fn json(&self) -> Result<String, serde_json::Error> {
        let endpoints = self.endpoints.iter().map(|it| JsonEndpoint { aci: &it.aci, asc: &it.asc }).collect();
        let document = Json { endpoints, keys: self.keys.iter().map(|key| key.url.as_str()).collect() };
        let mut json = Vec::new();
        document.serialize(&mut Serializer::with_formatter(&mut json, PrettyFormatter::with_indent(b"    ")))?;
        let json = String::from_utf8_lossy(&json).into_owned();
        Ok(json.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e") + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fetch::http::Reach;

    #[test]
    fn output_forms() {
        let endpoint =
            Endpoint { aci: "https://x/a.aci?b&c".into(), asc: "https://x/a.aci.asc".into(), reach: Reach::Public };
        let key = |url: &str| KeyLocation { url: url.into(), reach: Reach::Public };
        let found = Discovered {
            walk: String::new(),
            endpoints: vec![endpoint],
            keys: vec![key("https://x/1"), key("https://x/2")],
        };
        assert_eq!(
            found.lines(),
            "ACI: https://x/a.aci?b&c, ASC: https://x/a.aci.asc\nPublicKeys: https://x/1,https://x/2\n"
        );
        assert_eq!(
            found.json().unwrap(),
            "{\n    \"ACIEndpoints\": [\n        {\n            \"ACI\": \"https://x/a.aci?b\\u0026c\",\n            \
             \"ASC\": \"https://x/a.aci.asc\"\n        }\n    ],\n    \"PublicKeys\": [\n        \"https://x/1\",\n        \
             \"https://x/2\"\n    ]\n}\n"
        );
    }

    #[test]
    fn labels_of_this_machine_are_appcs() {
        let image = complete("example.com/a:1".parse().unwrap());
        let arch = if cfg!(target_arch = "x86_64") { "amd64" } else { "aarch64" };
        assert_eq!(image.to_string(), format!("example.com/a:1,os=linux,arch={arch}"));
        let given = complete("example.com/a,os=freebsd,arch=i386".parse().unwrap());
        assert_eq!(given.to_string(), "example.com/a,os=freebsd,arch=i386");
    }
}
