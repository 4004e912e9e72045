//! The bound of what a pod sends to the world and gets from there (appc ace.md, "resource/network-bandwidth").
//!
//! Queues of the kernel hold back what exceeds it (tc-tbf(8)). A queue is for what an interface sends. What comes in is
//! therefore led through an interface of its own (ip-link(8), "ifb") and comes in from there. The loopback interface
//! has no queue: what apps of a pod say to each other is not bounded.

use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};

use appc::isolator::report::Outcome;
use appc::isolator::{IsolatorValue, names, set};
use appc::{Isolator, PodManifest};
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitId, WaitIdOptions, waitid};
use sys::fork::{Fork, Namespaces};
use sys::netlink::Request;

/// The interface that what comes in is led through.
const INBOUND: &str = "eth0-in";

/// Below so many bytes a second packets are as long as on an Ethernet, so that none takes all of a moment's allowance.
/// pasta's are of 64 KiB else, which costs less.
const SLOW: u64 = 10_000_000;

/// Most of what a process that sets a bound has to tell.
const MOST_WORDS: u64 = 2000;

/// Kinds of requests, and numbers in them (linux/rtnetlink.h, linux/pkt_sched.h, linux/pkt_cls.h, linux/if_link.h).
mod kernel {
    pub(super) const RTM_NEWLINK: u16 = 16;
    pub(super) const RTM_NEWQDISC: u16 = 36;
    pub(super) const RTM_NEWTFILTER: u16 = 44;
    pub(super) const NLM_F_REPLACE: i32 = 0x100;
    pub(super) const NLM_F_EXCL: i32 = 0x200;
    pub(super) const NLM_F_CREATE: i32 = 0x400;
    pub(super) const IFF_UP: u32 = 1;
    pub(super) const IFLA_IFNAME: u16 = 3;
    pub(super) const IFLA_LINKINFO: u16 = 18;
    pub(super) const IFLA_INFO_KIND: u16 = 1;
    pub(super) const IFLA_AF_SPEC: u16 = 26;
    pub(super) const AF_INET6: u16 = 10;
    pub(super) const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
    pub(super) const NO_ADDRESSES: u8 = 1;
    pub(super) const TC_H_ROOT: u32 = 0xffff_ffff;
    pub(super) const TC_H_INGRESS: u32 = 0xffff_fff1;
    pub(super) const INGRESS_HANDLE: u32 = 0xffff_0000;
    pub(super) const TCA_KIND: u16 = 1;
    pub(super) const TCA_OPTIONS: u16 = 2;
    pub(super) const TCA_TBF_PARMS: u16 = 1;
    pub(super) const TCA_TBF_RATE64: u16 = 4;
    pub(super) const TCA_TBF_BURST: u16 = 6;
    pub(super) const LINKLAYER_ETHERNET: u8 = 1;
    pub(super) const ETH_P_ALL: u16 = 3;
    pub(super) const TCA_U32_SEL: u16 = 5;
    pub(super) const TCA_U32_ACT: u16 = 7;
    pub(super) const TC_U32_TERMINAL: u8 = 1;
    pub(super) const TCA_ACT_KIND: u16 = 1;
    pub(super) const TCA_ACT_OPTIONS: u16 = 2;
    pub(super) const TCA_MIRRED_PARMS: u16 = 2;
    pub(super) const TC_ACT_STOLEN: u32 = 4;
    pub(super) const TCA_EGRESS_REDIR: u32 = 1;
}

/// A bound that a pod has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bandwidth {
    /// Bytes a second, in each direction.
    pub bytes: u64,
}

impl Bandwidth {
    /// What the pod's isolator says, or that of its only app: apps of a pod share its network. Of two the lower counts.
    #[must_use]
    pub fn of(manifest: &PodManifest) -> Option<Self> {
        let of_app = match manifest.apps.as_slice() {
            [app] => app.app.as_ref().and_then(|app| limit(&app.isolators)),
            _ => None,
        };
        limit(&manifest.isolators).into_iter().chain(of_app).min().map(|bytes| Self { bytes })
    }

    /// Whether this kernel can bound traffic, tried out in namespaces of a process of its own.
    #[must_use]
    pub fn prospect() -> Outcome {
        let try_out = || -> io::Result<Outcome> {
            let (told, tell) = pipe_with(PipeFlags::CLOEXEC)?;
            let Fork::Parent { pidfd, .. } = sys::fork::fork(Namespaces::USER.with(Namespaces::NET))? else {
                let outcome = Self { bytes: SLOW }.put_on("lo");
                let _ = rustix::io::write(&tell, &serde_json::to_vec(&outcome).unwrap_or_default());
                sys::fork::exit_now(0)
            };
            drop(tell);
            Self::hear(told, &pidfd)
        };
        try_out().unwrap_or_else(|error| Outcome::Ignored(error.to_string()))
    }

    /// What a process tells that was made to set a bound. If that is no outcome it is what went wrong.
    pub(crate) fn hear(told: OwnedFd, process: &OwnedFd) -> io::Result<Outcome> {
        let mut text = Vec::new();
        std::fs::File::from(told).take(MOST_WORDS).read_to_end(&mut text)?;
        waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED)?;
        let outcome = serde_json::from_slice(&text);
        Ok(outcome.unwrap_or_else(|_| Outcome::Ignored(String::from_utf8_lossy(&text).into_owned())))
    }

    /// The length of packets that goes with it, if the usual one does not.
    pub(crate) fn packets(self) -> Option<u16> {
        (self.bytes < SLOW).then_some(1500)
    }

    /// What may come at once after a pause: some packets, and a hundredth of a second.
    fn burst(self) -> u32 {
        let packets = if self.packets().is_some() { 16 << 10 } else { 128 << 10 };
        u32::try_from(self.bytes / 100).unwrap_or(u32::MAX).max(packets)
    }

    /// How much may wait: a tenth of a second of what goes out, half a second of what comes in, of which a sender hears
    /// later that it is too much.
    fn queue(self, inbound: bool) -> u32 {
        let (part, least) = if inbound { (self.bytes / 2, 1 << 20) } else { (self.bytes / 10, 64 << 10) };
        u32::try_from(part).unwrap_or(u32::MAX).clamp(least, 64 << 20)
    }

    /// Bounds an interface of the network namespace that the calling thread is in.
    pub(crate) fn put_on(self, interface: &str) -> Outcome {
        let outward = index(interface).and_then(|index| self.tbf(index, false).map(|()| index));
        match outward {
            Err(error) => Outcome::Ignored(format!("this kernel does not hold traffic back: {error}")),
            Ok(index) => match self.put_inbound(index) {
                Ok(()) => Outcome::Enforced,
                Err(error) => Outcome::Modified(format!("what comes in is not bounded: {error}")),
            },
        }
    }

    fn put_inbound(self, from: u32) -> io::Result<()> {
        let create = kernel::NLM_F_CREATE | kernel::NLM_F_EXCL;
        Request::new(kernel::RTM_NEWLINK, create, &link(0, 0))
            .with(kernel::IFLA_IFNAME, &text(INBOUND))
            .with_all(kernel::IFLA_LINKINFO, |info| info.with(kernel::IFLA_INFO_KIND, &text("ifb")))
            .send()?;
        let inbound = index(INBOUND)?;
        // It needs no address of its own. A kernel without IPv6 gives it none.
        let _ = Request::new(kernel::RTM_NEWLINK, 0, &link(inbound, 0))
            .with_all(kernel::IFLA_AF_SPEC, |families| {
                families
                    .with_all(kernel::AF_INET6, |ip| ip.with(kernel::IFLA_INET6_ADDR_GEN_MODE, &[kernel::NO_ADDRESSES]))
            })
            .send();
        Request::new(kernel::RTM_NEWLINK, 0, &link(inbound, kernel::IFF_UP)).send()?;
        self.tbf(inbound, true)?;
        Request::new(kernel::RTM_NEWQDISC, create, &tc(from, kernel::INGRESS_HANDLE, kernel::TC_H_INGRESS, 0))
            .with(kernel::TCA_KIND, &text("ingress"))
            .send()?;
        redirect(from, inbound).send()
    }

    fn tbf(self, interface: u32, inbound: bool) -> io::Result<()> {
        let rate = u32::try_from(self.bytes).unwrap_or(u32::MAX);
        // tc_tbf_qopt: the rate, none for peaks, the length of the queue in bytes, and two that TCA_TBF_BURST replaces.
        let mut parameters = vec![0, kernel::LINKLAYER_ETHERNET, 0, 0, 0, 0, 0, 0];
        parameters.extend(rate.to_ne_bytes());
        parameters.extend([0; 12]);
        parameters.extend(self.queue(inbound).to_ne_bytes());
        parameters.extend([0; 8]);
        let flags = kernel::NLM_F_CREATE | kernel::NLM_F_REPLACE;
        Request::new(kernel::RTM_NEWQDISC, flags, &tc(interface, 0x1_0000, kernel::TC_H_ROOT, 0))
            .with(kernel::TCA_KIND, &text("tbf"))
            .with_all(kernel::TCA_OPTIONS, |options| {
                options
                    .with(kernel::TCA_TBF_PARMS, &parameters)
                    .with(kernel::TCA_TBF_BURST, &self.burst().to_ne_bytes())
                    .with(kernel::TCA_TBF_RATE64, &self.bytes.to_ne_bytes())
            })
            .send()
    }
}

/// The limit of the last isolator of the kind.
fn limit(isolators: &[Isolator]) -> Option<u64> {
    match set::last(isolators, names::NETWORK_BANDWIDTH)?.value() {
        // Nothing at all would be no bound but an error of whoever wrote it; so small a one is the least there is.
        IsolatorValue::NetworkBandwidth(limit) => limit.limit.as_ref().map(|it| it.value().max(1).cast_unsigned()),
        _ => None,
    }
}

/// Leads all that comes in at one interface through another.
fn redirect(from: u32, to: u32) -> Request {
    // All protocols, in the network's byte order, at the first priority.
    let info = 1 << 16 | u32::from(kernel::ETH_P_ALL.to_be());
    // tc_u32_sel with one key: no bit of the packet's first word has to be anything.
    let mut selector = vec![kernel::TC_U32_TERMINAL, 0, 1, 0];
    selector.extend([0; 12]);
    selector.extend([0; 16]);
    // tc_mirred.
    let mirred = [0, 0, kernel::TC_ACT_STOLEN, 0, 0, kernel::TCA_EGRESS_REDIR, to].map(u32::to_ne_bytes).concat();
    let create = kernel::NLM_F_CREATE | kernel::NLM_F_EXCL;
    Request::new(kernel::RTM_NEWTFILTER, create, &tc(from, 0, kernel::INGRESS_HANDLE, info))
        .with(kernel::TCA_KIND, &text("u32"))
        .with_all(kernel::TCA_OPTIONS, |options| {
            options.with(kernel::TCA_U32_SEL, &selector).with_all(kernel::TCA_U32_ACT, |actions| {
                actions.with_all(1, |first| {
                    first
                        .with(kernel::TCA_ACT_KIND, &text("mirred"))
                        .with_all(kernel::TCA_ACT_OPTIONS, |options| options.with(kernel::TCA_MIRRED_PARMS, &mirred))
                })
            })
        })
}

/// A text as the kernel wants it: with a zero at its end.
fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

/// ifinfomsg: of an interface, and flags that it is to have.
fn link(index: u32, flags: u32) -> Vec<u8> {
    [0, index, flags, flags].map(u32::to_ne_bytes).concat()
}

/// tcmsg.
fn tc(interface: u32, handle: u32, parent: u32, info: u32) -> Vec<u8> {
    [0, interface, handle, parent, info].map(u32::to_ne_bytes).concat()
}

/// The number of an interface.
fn index(name: &str) -> io::Result<u32> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    Ok(name_to_index(&socket, name)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pod: &str, apps: &[&str]) -> Option<u64> {
        let isolator = |limit: &str| {
            let value = format!(r#"{{"default": true, "limit": "{limit}"}}"#);
            let isolator = format!(r#"{{"name": "resource/network-bandwidth", "value": {value}}}"#);
            if limit.is_empty() { String::new() } else { isolator }
        };
        let app = |(number, limit): (usize, &&str)| {
            format!(
                r#"{{"name": "a{number}", "image": {{"id": "sha512-aa"}},
                    "app": {{"exec": ["x"], "user": "0", "group": "0", "isolators": [{}]}}}}"#,
                isolator(limit)
            )
        };
        let apps: Vec<String> = apps.iter().enumerate().map(app).collect();
        let json = format!(
            r#"{{"acKind": "PodManifest", "acVersion": "0.8.11", "isolators": [{}], "apps": [{}]}}"#,
            isolator(pod),
            apps.join(",")
        );
        Bandwidth::of(&PodManifest::from_json(json.as_bytes()).unwrap()).map(|it| it.bytes)
    }

    #[test]
    fn the_pods_bound_and_that_of_its_only_app() {
        assert_eq!(of("", &[""]), None);
        assert_eq!(of("2M", &["", ""]), Some(2_000_000));
        assert_eq!(of("", &["1Mi"]), Some(1 << 20));
        assert_eq!(of("2M", &["1M"]), Some(1_000_000));
        assert_eq!(of("1M", &["2M"]), Some(1_000_000));
        // Whose packets they are nobody sees.
        assert_eq!(of("", &["1M", ""]), None);
        assert_eq!(of("0", &[""]), Some(1));
    }

    #[test]
    fn queues_fit_their_rate() {
        let slow = Bandwidth { bytes: 10_000 };
        assert_eq!(
            (slow.packets(), slow.burst(), slow.queue(false), slow.queue(true)),
            (Some(1500), 16384, 65536, 1 << 20)
        );
        let fast = Bandwidth { bytes: 10_000_000_000 };
        assert_eq!((fast.packets(), fast.burst(), fast.queue(false)), (None, 100_000_000, 64 << 20));
        let all = Bandwidth { bytes: u64::MAX };
        assert_eq!((all.burst(), all.queue(true)), (u32::MAX, 64 << 20));
    }
}
