//! What the ports of a pod manifest come to: numbers of the host, numbers of the pod, and who takes them over.

use std::collections::BTreeSet;
use std::net::IpAddr;

use appc::{AcName, ExposedPort, PodManifest, Port, RuntimeApp};

use crate::error::CommandError;
use crate::net::MOST_PORTS;

/// Ports of the host that lead into the pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Forward {
    /// Where the host listens: at this address, or at all.
    pub(super) ip: Option<IpAddr>,
    /// The first of the host's ports.
    pub(super) host_port: u16,
    /// The first of the pod's ports.
    pub(super) pod_port: u16,
    /// How many there are, at least one. The last one of each is a number, too.
    pub(super) count: u16,
    /// Whether they are for datagrams instead of streams.
    pub(super) udp: bool,
    /// The app that takes the socket over, by its place in the manifest, and under which name.
    pub(super) activates: Option<(usize, String)>,
}

/// What the manifest's ports come to: those of the apps by name, or as they say themselves (appc pods.md, "ports").
///
/// # Errors
///
/// As [`forward`].
pub(super) fn forwards(manifest: &PodManifest) -> Result<BTreeSet<Forward>, CommandError> {
    manifest.ports.iter().map(|exposed| forward(manifest, exposed)).collect()
}

/// What one of the manifest's ports comes to.
///
/// # Errors
///
/// No app has it or several do, its number is none of the host's, or what it carries cannot be forwarded.
pub(super) fn forward(manifest: &PodManifest, exposed: &ExposedPort) -> Result<Forward, CommandError> {
    let ExposedPort { name, host_port, host_ip, pod_port } = exposed;
    let refused = |why: String| CommandError::failed(format!("port {:?}: {why}", name.as_str()));
    if pod_port.is_none() {
        is_one(manifest, name)?;
    }
    let Some(port) = pod_port.as_ref().or_else(|| of_apps(manifest).find(|port| port.name == *name)) else {
        return Err(unknown(manifest, name));
    };
    let count = port.count.max(1);
    if count > MOST_PORTS {
        return Err(refused(format!("{count} ports, at most {MOST_PORTS} can be had"))
            .hint("give the numbers that are wanted, as in 80-89:8080-8089"));
    }
    let first = u16::try_from(*host_port).ok().filter(|first| *first > 0 && first.checked_add(count - 1).is_some());
    let first = first.ok_or_else(|| {
        refused(format!("{host_port} is no port of the host")).hint("ports have the numbers 1 to 65535, also the last")
    })?;
    let udp = match port.protocol.to_ascii_lowercase().as_str() {
        "tcp" => false,
        "udp" => true,
        other => return Err(refused(format!("protocol {other:?} cannot be forwarded")).hint("tcp and udp can")),
    };
    // A port by number is forwarded, whatever an image calls its own.
    let is_taken_over = pod_port.is_none() && port.socket_activated;
    let taker = manifest.apps.iter().position(|app| has(app, name)).filter(|_| is_taken_over);
    if udp && taker.is_some() {
        return Err(refused("a socket for datagrams is not handed over".to_owned())
            .hint("it would be a way to whatever the host reaches; give the port's number to have it forwarded"));
    }
    let activates = taker.map(|app| (app, name.to_string()));
    Ok(Forward { ip: *host_ip, host_port: first, pod_port: port.port, count, udp, activates })
}

/// The ports that the apps have, by their images or by the manifest.
fn of_apps(manifest: &PodManifest) -> impl Iterator<Item = &Port> {
    manifest.apps.iter().filter_map(|app| app.app.as_ref()).flat_map(|app| &app.ports)
}

fn has(app: &RuntimeApp, port: &AcName) -> bool {
    app.app.as_ref().is_some_and(|app| app.ports.iter().any(|it| it.name == *port))
}

/// Names of ports are unique in a pod (appc pods.md, "ports"). Where nobody asks for one by its name, two apps of one
/// image do no harm.
fn is_one(manifest: &PodManifest, name: &AcName) -> Result<(), CommandError> {
    if of_apps(manifest).filter(|port| port.name == *name).count() <= 1 {
        return Ok(());
    }
    let owners: Vec<&str> = manifest.apps.iter().filter(|app| has(app, name)).map(|app| app.name.as_str()).collect();
    let (name, owners) = (name.as_str(), owners.join(", "));
    Err(CommandError::failed(format!("port {name:?}: several ports have this name, of the apps {owners}"))
        .hint("give its number: --port 80:8080, or podPort in a pod manifest"))
}

fn unknown(manifest: &PodManifest, name: &AcName) -> CommandError {
    let mut names: Vec<String> = of_apps(manifest).map(|port| format!("{} ({})", port.name, port.port)).collect();
    names.dedup();
    let hint = match names.as_slice() {
        [] => "no image names its ports: give the number, as in 80:8080".to_owned(),
        names => format!("there are: {}", names.join(", ")),
    };
    CommandError::failed(format!("no app has a port called {:?}", name.as_str())).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_leads_somewhere() {
        let json = r#"{"acKind":"PodManifest","acVersion":"0.8.11","apps":[{"name":"web","image":{"id":"sha512-00"},
            "app":{"exec":["/x"],"user":"0","group":"0","ports":[{"name":"http","protocol":"tcp","port":80},
            {"name":"many","protocol":"udp","port":90,"count":3}]}}],
            "ports":[{"name":"http","hostPort":8080},{"name":"many","hostPort":9090,"hostIP":"127.0.0.1"},
            {"name":"x","hostPort":7,"podPort":{"name":"x","protocol":"tcp","port":8}}]}"#;
        let mut manifest = PodManifest::from_json(json.as_bytes()).unwrap();
        let shown = |it: &Forward| format!("{:?} {} {} {}", it.ip, it.host_port, it.pod_port, it.count);
        let found: Vec<String> = forwards(&manifest).unwrap().iter().map(shown).collect();
        assert_eq!(found, ["None 7 8 1", "None 8080 80 1", "Some(127.0.0.1) 9090 90 3"]);
        manifest.ports[1].host_port = 65_534;
        let error = forwards(&manifest).unwrap_err().chain();
        assert_eq!(error, "port \"many\": 65534 is no port of the host");
        manifest.ports[1].host_port = 9090;
        manifest.ports[0].name = "https".parse().unwrap();
        assert!(forwards(&manifest).unwrap_err().chain().contains("https"));
        manifest.ports[0].name = "http".parse().unwrap();
        let mut twin = manifest.apps[0].clone();
        twin.name = "twin".parse().unwrap();
        manifest.apps.push(twin);
        let error = forwards(&manifest).unwrap_err().chain();
        assert_eq!(error, "port \"http\": several ports have this name, of the apps web, twin");
        // By its number, or not at all, it is no matter.
        manifest.ports.retain(|port| port.pod_port.is_some());
        assert_eq!(forwards(&manifest).unwrap().len(), 1);
    }
}
