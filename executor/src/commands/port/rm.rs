//! `proa port rm`.

use std::net::IpAddr;

use clap::Args;
use stage1::protocol::Call;

use crate::client::Client;
use crate::context::Context;
use crate::error::CommandError;
use crate::net::NetRequest;
use crate::ports::{self, LeadingPort};
use crate::{net, pod_argument};

/// Have ports of the host no longer lead into a running pod
///
/// Nobody new can connect; who is connected stays so. Ports that pasta carries (for datagrams, on another address than the
/// loopback's, that the pod was started with) and sockets that apps have taken over cannot be removed while the pod runs.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  proa port rm web 8080\n  proa port rm web 0.0.0.0:8080 127.0.0.1:5353/udp")]
pub(crate) struct RmArgs {
    /// The pod: a UUID, the unambiguous beginning of one, or a name
    #[arg(value_name = "POD")]
    pod: String,

    /// Ports of the host: [IP:]PORT[-LAST][/udp]; without an IP, at every address
    #[arg(value_name = "PORT", required = true)]
    ports: Vec<String>,
}

/// Ports of the host that are meant.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    ip: Option<IpAddr>,
    first: u16,
    count: u16,
    protocol: &'static str,
}

pub(crate) fn run(context: &Context, args: RmArgs) -> Result<u8, CommandError> {
    let wanted: Vec<Wanted> = args.ports.iter().map(|text| Wanted::parse(text)).collect::<Result<_, _>>()?;
    let pods = context.pods()?;
    let entry = pod_argument::find(&pods, &args.pod)?;
    let mut client = Client::connect(&pods, &entry)?;
    let manifest = pods.open(&entry)?.manifest()?;
    super::leads_in(&NetRequest::of(&manifest)?)?;
    for (wanted, text) in wanted.iter().zip(&args.ports) {
        let there = ports::now(&pods, &entry, &manifest);
        let meant: Vec<&LeadingPort> = there.iter().filter(|port| wanted.means(port)).collect();
        if meant.is_empty() {
            let known: Vec<String> = there.iter().map(LeadingPort::as_argument).collect();
            let hint = match known.as_slice() {
                [] => "none does".to_owned(),
                known => format!("those that do: {}", known.join(", ")),
            };
            return Err(CommandError::failed(format!("port {text:?} does not lead into the pod")).hint(hint));
        }
        for port in meant {
            let Some(carried) = port.carried() else {
                return Err(CommandError::failed(format!("port {text:?}: an app has taken its socket over"))
                    .hint("it listens until the pod ends"));
            };
            let asked = client.ask(Call::RemovePort { port: carried }, &[]);
            asked.map_err(|error| error.during(format!("port {}", port.as_argument())))?;
        }
    }
    Ok(0)
}

impl Wanted {
    fn parse(text: &str) -> Result<Self, CommandError> {
        let refused = |why: String| {
            CommandError::usage(format!("port {text:?}: {why}"))
                .hint("give ports of the host: [IP:]PORT[-LAST][/udp], as in 8080, [::1]:8080, 127.0.0.1:5353/udp")
        };
        let (address, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = ["tcp", "udp"].into_iter().find(|known| *known == protocol);
        let protocol = protocol.ok_or_else(|| refused("its protocol is neither tcp nor udp".to_owned()))?;
        let (ip, ports) = match address.rsplit_once(':') {
            None => (None, address),
            Some((ip, ports)) => {
                let bare = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
                (Some(bare.parse().map_err(|_| refused(format!("{ip:?} is no IP address")))?), ports)
            }
        };
        let (first, count) = net::range(ports).map_err(refused)?;
        Ok(Self { ip, first, count, protocol })
    }

    fn means(&self, port: &LeadingPort) -> bool {
        port.begins_at(self.ip, self.first, self.count, self.protocol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_the_host_are_read() {
        let wanted = |ip: Option<&str>, first, count, protocol| Wanted {
            ip: ip.map(|ip| ip.parse().unwrap()),
            first,
            count,
            protocol,
        };
        for (text, expected) in [
            ("8080", wanted(None, 8080, 1, "tcp")),
            ("[::1]:8080", wanted(Some("::1"), 8080, 1, "tcp")),
            ("0.0.0.0:90-99/udp", wanted(Some("0.0.0.0"), 90, 10, "udp")),
        ] {
            assert_eq!(Wanted::parse(text).unwrap(), expected);
        }
        for wrong in ["", "http", "80:x", "x:80", "80/sctp", "0", "90-80"] {
            assert!(Wanted::parse(wrong).is_err(), "{wrong}");
        }
    }
}
