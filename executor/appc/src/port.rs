//! Ports: those an app offers inside the pod, and those of the host that lead to them.

use std::fmt;
use std::net::IpAddr;

use crate::json::decode::{Cx, FromJson, Invalid};
use crate::json::print::{Printer, ToJson};
use crate::json::view::View;
use crate::name::AcName;

/// A port that breaks the schema's rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PortError {
    /// No port has this number.
    #[error("port must be in 1-65535 range")]
    OutOfRange {
        /// The refused number.
        port: u64,
    },
    /// The range of ports goes beyond the last one.
    #[error("end of port range must be in 1-65535 range")]
    EndOutOfRange {
        /// The first port.
        port: u16,
        /// How many ports were asked for.
        count: u64,
    },
    /// Not the address of a host.
    #[error("invalid IP address: {text}")]
    BadAddress {
        /// The refused text.
        text: String,
    },
}

/// A port, or a range of ports, that an app offers inside the pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Port {
    /// What the port is called; may be absent.
    pub name: AcName,
    /// `tcp` or `udp`, but any text is accepted.
    pub protocol: String,
    /// The first port of the range.
    pub port: u16,
    /// How many ports there are. A manifest that does not tell means 1.
    pub count: u16,
    /// Whether the app takes over a socket that already listens instead of opening one (appc ace.md, Ports).
    pub socket_activated: bool,
}

/// A port of the host that leads to one of the pod.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExposedPort {
    /// The app's port it leads to.
    pub name: AcName,
    /// The number on the host. Not checked on reading, as in Go: whoever listens must check.
    pub host_port: u64,
    /// The address on the host; without one, all of them.
    pub host_ip: Option<IpAddr>,
    /// The port inside the pod; without one, the app's port of the same name.
    pub pod_port: Option<Port>,
}

/// The numbers of a port before they are known to be good.
#[derive(Debug, Default)]
pub(crate) struct PortParts {
    pub(crate) name: AcName,
    pub(crate) protocol: String,
    pub(crate) port: u64,
    pub(crate) count: u64,
    pub(crate) socket_activated: bool,
}

impl PortParts {
    pub(crate) fn build(self) -> Result<Port, PortError> {
        let out_of_range = PortError::OutOfRange { port: self.port };
        let port = u16::try_from(self.port).ok().filter(|&port| port > 0).ok_or(out_of_range)?;
        let room = 65536 - u64::from(port);
        let end = PortError::EndOutOfRange { port, count: self.count };
        let count = u16::try_from(self.count).ok().filter(|&count| u64::from(count) <= room).ok_or(end)?;
        Ok(Port { name: self.name, protocol: self.protocol, port, count, socket_activated: self.socket_activated })
    }
}

impl Port {
    fn validate(&self) -> Result<(), PortError> {
        let (port, count) = (u64::from(self.port), u64::from(self.count));
        PortParts { port, count, ..PortParts::default() }.build().map(|_| ())
    }
}

impl FromJson for Port {
    fn from_json(cx: &mut Cx, view: View<'_>) -> Result<Self, Invalid> {
        let read = |cx: &mut Cx| {
            let mut parts = PortParts::default();
            let known = ["name", "protocol", "port", "count", "socketActivated"];
            cx.fields(view, &known, |cx, field, view| {
                match field {
                    "name" => parts.name = AcName::from_json(cx, view)?,
                    "protocol" => cx.string(view, &mut parts.protocol),
                    "port" => cx.integer(view, "a port number", &mut parts.port),
                    "count" => cx.integer(view, "a number of ports", &mut parts.count),
                    _ => cx.boolean(view, &mut parts.socket_activated),
                }
                Ok(())
            })?;
            Ok(parts)
        };
        // The default comes after the rules, so that port 65535 with count 0 is no range beyond the end.
        let port = cx.built(read, PortParts::build)?;
        Ok(Self { count: port.count.max(1), ..port })
    }
}

impl ToJson for Port {
    fn to_json(&self, printer: &mut Printer) -> Result<(), Invalid> {
        printer.rules(self.validate())?;
        printer.object(|object| {
            object.field("name", &self.name)?;
            object.field("protocol", &self.protocol)?;
            object.field("port", &self.port)?;
            object.field("count", &self.count)?;
            object.field("socketActivated", &self.socket_activated)
        })
    }
}

impl FromJson for ExposedPort {
    fn from_json(cx: &mut Cx, view: View<'_>) -> Result<Self, Invalid> {
        let mut port = Self::default();
        cx.fields(view, &["name", "hostPort", "hostIP", "podPort"], |cx, field, view| {
            match field {
                "name" => port.name = AcName::from_json(cx, view)?,
                "hostPort" => cx.integer(view, "a port number", &mut port.host_port),
                "hostIP" => {
                    let mut text = String::new();
                    cx.string(view, &mut text);
                    port.host_ip = parse_address(&text).map_err(|error| cx.invalid(error))?;
                }
                _ => port.pod_port = cx.optional(view)?,
            }
            Ok(())
        })?;
        Ok(port)
    }
}

/// An address, none for the empty text. An IPv4 address in IPv6 clothing is the IPv4 address, as in Go.
fn parse_address(text: &str) -> Result<Option<IpAddr>, PortError> {
    if text.is_empty() {
        return Ok(None);
    }
    let address: IpAddr = text.parse().map_err(|_| PortError::BadAddress { text: text.to_owned() })?;
    Ok(Some(address.to_canonical()))
}

impl ToJson for ExposedPort {
    fn to_json(&self, printer: &mut Printer) -> Result<(), Invalid> {
        printer.object(|object| {
            object.field("name", &self.name)?;
            object.field("hostPort", &self.host_port)?;
            object.optional("hostIP", self.host_ip.map(|ip| ip.to_string()).as_ref())?;
            object.optional("podPort", self.pod_port.as_ref())
        })
    }
}

impl fmt::Display for Port {
    /// The form the command line takes, see [`parameters`](crate::parameters).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},protocol={},port={}", self.name, self.protocol, self.port)?;
        if self.count > 0 {
            write!(f, ",count={}", self.count)?;
        }
        if self.socket_activated {
            f.write_str(",socketActivated=true")?;
        }
        Ok(())
    }
}
