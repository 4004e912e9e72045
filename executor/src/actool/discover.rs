//! `actool discover`: where images and the keys of their makers are.

use appc::ImageString;
use fetch::HostCredentials;
use fetch::discovery::Discovery;
use fetch::http::{Client, Settings};

use super::flags::{Flag, FlagSet};
use super::{Command, FAILED, Invocation, fail, stderr};
use crate::discover::{self, Failure};
use crate::output;

pub(super) const COMMAND: Command = Command {
    name: "discover",
    summary: "Discover the download URLs of images and the keys they are signed with",
    usage: "[--json] [--port=PORT] [--insecure] APP...",
    description: "Ask the hosts of image names for the URLs of images, signatures and public keys.\n\
                  Operating system and architecture are this machine's if the name has none.",
    flags: FlagSet {
        name: "",
        flags: &[
            Flag::switch("insecure", "Accept any certificate, and plain HTTP where HTTPS does not work"),
            Flag::switch("json", "Print JSON"),
            Flag::number("port", "Ask hosts at this port"),
        ],
    },
    run,
};

fn run(invocation: &Invocation) -> u8 {
    let given = &invocation.given;
    if given.rest.is_empty() {
        // actool's exit status here is 0.
        stderr("discover: at least one name required");
        return 0;
    }
    let port = given.text("port");
    let port = match port.parse::<u16>() {
        _ if port.is_empty() => None,
        // Zero is actool's word for the scheme's own port.
        Ok(port) => Some(port).filter(|port| *port != 0),
        Err(_) => return fail(&format!("discover: there is no port {port}")),
    };
    let insecure = given.switch("insecure");
    let client = Client::new(Settings { plain_http: insecure, any_certificate: insecure, ..Settings::default() });
    let nobody = HostCredentials::default();
    let discovery = Discovery::new(&client, &nobody).port(port);
    for name in &given.rest {
        let name = name.to_string_lossy();
        let image = match name.parse::<ImageString>() {
            Ok(image) => discover::complete(image),
            Err(error) => return fail(&format!("{name}: {error}")),
        };
        let found = match discover::discover(&discovery, &image) {
            Ok(found) => found,
            Err(failure) => return report(&name, failure),
        };
        let printed = match given.switch("json") {
            true => found.json().unwrap_or_default(),
            false => found.walk.clone() + &found.lines(),
        };
        if output::write(&printed).is_err() {
            return FAILED;
        }
    }
    0
}

fn report(name: &str, failure: Failure) -> u8 {
    match failure {
        Failure::Endpoints { walk, .. } => {
            if output::write(&walk).is_err() {
                return FAILED;
            }
            fail(&format!("error fetching endpoints for {name}: discovery failed"))
        }
        Failure::Keys(_) => fail(&format!("error fetching public keys for {name}: discovery failed")),
    }
}
