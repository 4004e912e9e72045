//! `docker network inspect`.

use clap::Args;
use pod::Pods;
use serde_json::{Map, Value, json};

use super::known::{Kind, Network};
use crate::context::Context;
use crate::docker::container::Container;
use crate::docker::inspect::rendered;
use crate::docker::{Template, complain_of};
use crate::error::CommandError;
use crate::net::NetRequest;
use crate::{addresses, client, output};

/// Display detailed information on one or more networks
#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// Format output: json, or a template of fields such as '{{.Driver}}'
    #[arg(long, short, value_name = "FORMAT")]
    format: Option<String>,

    /// Verbose output for diagnostics: there is no more
    #[arg(long, short)]
    verbose: bool,

    /// The networks
    #[arg(value_name = "NETWORK", required = true)]
    names: Vec<String>,
}

/// Nobody writes down when a network was defined.
pub(super) const NO_TIME: &str = "0001-01-01T00:00:00Z";

pub(super) fn run(context: &Context, args: InspectArgs) -> Result<u8, CommandError> {
    let InspectArgs { format, verbose: _, names } = args;
    let template = format.as_deref().filter(|format| *format != "json").map(Template::parse).transpose()?;
    let known = Inspected::read(context)?;
    let mut status = 0;
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for name in &names {
        match known.find(name) {
            Ok(value) => found.push(value),
            Err(error) => missing.push(error),
        }
    }
    output::write(&rendered(template.as_ref(), &found)?)?;
    for error in &missing {
        status = complain_of(error);
    }
    Ok(status)
}

/// The networks there are, and who may be on them.
pub(in crate::docker) struct Inspected {
    pods: Pods,
    all: Vec<Network>,
    containers: Vec<Container>,
}

impl Inspected {
    /// Reads what there is.
    ///
    /// # Errors
    ///
    /// What is configured cannot be read, or the pods.
    pub(in crate::docker) fn read(context: &Context) -> Result<Self, CommandError> {
        let pods = context.pods()?;
        let (containers, _) = Container::all(&pods)?;
        Ok(Self { pods, all: Network::all(context)?, containers })
    }

    /// What is known of the network of this name or beginning of an id.
    ///
    /// # Errors
    ///
    /// There is none.
    pub(in crate::docker) fn find(&self, name: &str) -> Result<Value, CommandError> {
        Network::find(&self.all, name).map(|network| shown(&self.pods, &self.containers, network))
    }
}

fn shown(pods: &Pods, containers: &[Container], network: &Network) -> Value {
    let ranges = match &network.kind {
        Kind::OfPods { subnet, .. } => vec![json!({ "Subnet": subnet.to_string() })],
        Kind::Predefined(_) => Vec::new(),
    };
    let on_it = network.running(containers).map(|container| (container.id(), endpoint(pods, container, network)));
    json!({
        "Name": network.name,
        "Id": network.id(),
        "Created": NO_TIME,
        "Scope": network.scope(),
        "Driver": network.driver(),
        "EnableIPv4": true,
        "EnableIPv6": network.has_ipv6(),
        "IPAM": { "Driver": "default", "Options": null, "Config": ranges },
        "Internal": network.is_internal(),
        "Attachable": false,
        "Ingress": false,
        "ConfigFrom": { "Network": "" },
        "ConfigOnly": false,
        "Containers": on_it.collect::<Map<_, _>>(),
        "Options": {},
        "Labels": {},
    })
}

/// A container's place on the network, with its addresses and the length of their prefixes.
fn endpoint(pods: &Pods, container: &Container, network: &Network) -> Value {
    let report = client::report(pods, &container.entry);
    let net = container.manifest.as_ref().and_then(|manifest| NetRequest::of(manifest).ok());
    let (mut four, mut six) = (String::new(), String::new());
    if let (Kind::OfPods { subnet, .. }, Some(report)) = (&network.kind, &report) {
        let joined = report.network.joined.iter().find(|joined| joined.name == network.name);
        let older = joined.and_then(|joined| joined.address);
        let newer = joined.and_then(|joined| joined.newer_address);
        four = older.map(|ip| format!("{ip}/{}", subnet.length())).unwrap_or_default();
        six = newer.map(|ip| format!("{ip}/64")).unwrap_or_default();
    } else if let (Some(net), Some(report)) = (net, &report) {
        let all = addresses::of_pod(&net, report);
        let first = |is_four: bool| all.iter().find(|ip| ip.is_ipv4() == is_four).map(ToString::to_string);
        (four, six) = (first(true).unwrap_or_default(), first(false).unwrap_or_default());
    }
    json!({ "Name": container.name(), "EndpointID": "", "MacAddress": "", "IPv4Address": four, "IPv6Address": six })
}
