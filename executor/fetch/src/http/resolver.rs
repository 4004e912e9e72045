//! Host names to addresses, without the C library: a static program must not load its modules.

use std::collections::HashMap;
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::error::{Refused, Unknown};
use super::reach::Reach;
use crate::quote::Quoted;

/// Resolves as `/etc/hosts` and `/etc/resolv.conf` say, and remembers where each host was.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    inner: OnceLock<TokioResolver>,
    seen: Mutex<HashMap<String, Reach>>,
}

/// A [`Resolver`] that refuses addresses further inside than one reach.
#[derive(Clone, Debug)]
pub(super) struct Bounded {
    pub(super) resolver: Arc<Resolver>,
    pub(super) reach: Reach,
}

impl Resolver {
    /// Where `host` was when it was last resolved here; `None` where a proxy did it.
    pub(super) fn reach_of(&self, host: &str) -> Option<Reach> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(host).copied()
    }

    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Unknown> {
        // RFC 6761, 6.3: these names are this machine, whatever a name server says.
        let bare = host.strip_suffix('.').unwrap_or(host);
        if bare.eq_ignore_ascii_case("localhost") || bare.to_ascii_lowercase().ends_with(".localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let unknown = |reason: &dyn std::fmt::Display| Unknown {
            host: Quoted::bare(host),
            reason: Quoted::bare(&reason.to_string()),
        };
        let resolver = match self.inner.get() {
            Some(resolver) => resolver,
            None => {
                let made = make().map_err(|error| unknown(&error))?;
                self.inner.get_or_init(|| made)
            }
        };
        let refused = |error: NetError| match error.is_nx_domain() || error.is_no_records_found() {
            true => unknown(&"no address is known for it"),
            false => unknown(&error),
        };
        let found: Vec<_> = resolver.lookup_ip(host).await.map_err(refused)?.iter().collect();
        if found.is_empty() { Err(unknown(&"it has no address")) } else { Ok(found) }
    }
}

fn make() -> Result<TokioResolver, Box<dyn Error + Send + Sync>> {
    let mut builder = TokioResolver::builder_tokio().or_else(|_| {
        // No /etc/resolv.conf or none that names a server: as resolv.conf(5) says, a server on this machine.
        let local = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![local]);
        Ok::<_, Box<dyn Error + Send + Sync>>(TokioResolver::builder_with_config(
            config,
            TokioRuntimeProvider::default(),
        ))
    })?;
    builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    Ok(builder.build()?)
}

impl Resolve for Bounded {
    fn resolve(&self, name: Name) -> Resolving {
        let Self { resolver, reach } = self.clone();
        Box::pin(async move {
            let host = name.as_str();
            let found = resolver.addresses(host).await?;
            let furthest = found.iter().map(|address| Reach::of(*address)).max().unwrap_or_default();
            resolver.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(host.to_owned(), furthest);
            let (permitted, refused): (Vec<_>, Vec<_>) =
                found.into_iter().partition(|address| Reach::of(*address) <= reach);
            if permitted.is_empty()
                && let Some(address) = refused.first()
            {
                return Err(Refused(*address).into());
            }
            Ok(Box::new(permitted.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}
