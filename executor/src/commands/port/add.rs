//! `proa port add`.

use std::os::fd::{AsFd as _, OwnedFd};

use clap::Args;
use stage1::network::CarriedPort;
use stage1::protocol::Call;

use crate::client::Client;
use crate::context::Context;
use crate::error::{CommandError, Explain as _};
use crate::net::NetRequest;
use crate::{forward, net, pod_argument};

/// Have further ports of the host lead into a running pod
///
/// All of them are added, or none. An app sees clients that ask at a loopback address as its own loopback, and connections
/// from elsewhere as they are.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  proa port add web 80:8080\n  proa port add web http:0.0.0.0:8080 53/udp:127.0.0.1:5353"
)]
pub(crate) struct AddArgs {
    /// The pod: a UUID, the unambiguous beginning of one, or a name
    #[arg(value_name = "POD")]
    pod: String,

    /// Ports as in `proa run --port`: NAME:[IP:]PORT or NUMBER[-LAST][/udp]:[IP:]PORT[-LAST]
    ///
    /// Without an IP only this host can connect, by 127.0.0.1 and ::1; 0.0.0.0 and [::] are for everybody.
    #[arg(value_name = "PORT", required = true)]
    ports: Vec<String>,
}

pub(crate) fn run(context: &Context, args: AddArgs) -> Result<u8, CommandError> {
    let exposed: Vec<_> = args
        .ports
        .iter()
        .map(|text| Ok((text, net::port(&format!("port {text:?}"), text)?)))
        .collect::<Result<_, CommandError>>()?;
    let pods = context.pods()?;
    let entry = pod_argument::find(&pods, &args.pod)?;
    let mut client = Client::connect(&pods, &entry)?;
    let manifest = pods.open(&entry)?.manifest()?;
    super::leads_in(&NetRequest::of(&manifest)?)?;
    // All sockets are there before the first of them leads anywhere.
    let mut wanted: Vec<(CarriedPort, Vec<OwnedFd>)> = Vec::new();
    for (text, ports) in &exposed {
        let one: Vec<_> = ports.iter().filter_map(|port| forward::further(&manifest, port).transpose()).collect();
        wanted.extend(one.into_iter().collect::<Result<Vec<_>, _>>().during(|| format!("port {text:?}"))?);
    }
    let mut added: Vec<CarriedPort> = Vec::new();
    for (port, sockets) in wanted {
        let fds: Vec<_> = sockets.iter().map(|socket| socket.as_fd()).collect();
        if let Err(error) = client.ask(Call::AddPort { port: port.clone() }, &fds) {
            for port in added {
                // The first error is the one to tell.
                let _ = client.ask(Call::RemovePort { port }, &[]);
            }
            return Err(error.during(format!("port {:?}", port.name)));
        }
        added.push(port);
    }
    Ok(0)
}
