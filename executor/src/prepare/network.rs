//! The network of a pod that is prepared: what was asked for, what its template says, or what is configured.

use appc::PodManifest;
use fetch::ImageRef;

use crate::config::Networks;
use crate::context::Context;
use crate::error::CommandError;
use crate::forward;
use crate::net::{self, Mode, NetArgs, NetChoice, NetRequest, Resolvers};
use crate::request::PodRequest;

/// The network of the pod: what was asked for, what its template says, or else what is configured. The built-in image
/// needs none, and so it runs where there is nothing else.
///
/// # Errors
///
/// Configuration, or an annotation of the template, that cannot be understood.
pub(crate) fn network(context: &Context, request: &PodRequest) -> Result<NetRequest, CommandError> {
    let template = request.template.as_ref().map(|template| &template.manifest);
    let choice = match (&request.net, template) {
        (Some(choice), _) => choice.clone(),
        (None, Some(template)) => match NetRequest::noted_in(template)? {
            Some(noted) => return Ok(noted),
            None => NetChoice::default(),
        },
        (None, None) => NetChoice::default(),
    };
    let has_ports = !request.ports.is_empty() || template.is_some_and(|template| !template.ports.is_empty());
    let is_hello = !request.apps.is_empty() && request.apps.iter().all(|app| app.image == ImageRef::Hello);
    settle(context, choice, has_ports, is_hello)
}

/// Has a prepared pod another network, other resolvers or other hosts, as far as they are given; the rest stays.
///
/// # Errors
///
/// They make no sense, or not for this pod.
pub(crate) fn change_network(context: &Context, manifest: &mut PodManifest, args: NetArgs) -> Result<(), CommandError> {
    let [net, dns, hosts] = args.given();
    let before = NetRequest::of(manifest)?;
    let (chosen, _) = args.request()?;
    let mut rest = before.clone();
    if dns {
        let NetRequest { resolvers, search, options, domain, .. } = chosen.rest.clone();
        rest = NetRequest { resolvers, search, options, domain, ..rest };
    } else if rest.resolvers == Resolvers::These(Vec::new()) {
        // That was for want of a network.
        rest.resolvers = Resolvers::Automatic;
    }
    if hosts {
        let NetRequest { hosts, hosts_of_host, own_hosts, .. } = chosen.rest.clone();
        rest = NetRequest { hosts, hosts_of_host, own_hosts, ..rest };
    }
    let changed = if net {
        settle(context, NetChoice { rest, ..chosen }, !manifest.ports.is_empty(), false)?
    } else {
        let choice = NetChoice { mode: Some(before.mode), named: Vec::new(), rest };
        NetRequest { joins: before.joins, ..settle(context, choice, false, false)? }
    };
    forward::fit(manifest, &changed)?;
    changed.note_in(manifest);
    Ok(())
}

/// What was chosen, with what is configured.
fn settle(context: &Context, choice: NetChoice, has_ports: bool, is_hello: bool) -> Result<NetRequest, CommandError> {
    let mut joins = Vec::new();
    if !choice.named.is_empty() {
        let networks = Networks::read(context.config_dirs())?;
        joins = choice.named.iter().map(|named| named.find(&networks)).collect::<Result<_, _>>()?;
        net::agree(&joins)?;
    }
    // One way into the world is enough.
    let leads_out = joins.iter().map(|joins| if joins.internal { Mode::None } else { Mode::Default });
    let mode = choice.mode.or(leads_out.max());
    let choice = NetChoice { mode, ..choice };
    let settled = choice.settle(has_ports, || match is_hello {
        true => Ok::<_, CommandError>(Mode::None),
        false => Ok(Networks::read(context.config_dirs())?.default.unwrap_or(Mode::Default)),
    })?;
    Ok(NetRequest { joins, ..settled })
}
