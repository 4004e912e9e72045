//! Which arguments decide about the calls that are neither allowed nor refused as a whole.
//!
//! All comparisons but that of an address are of the low 32 bits, because the kernel reads these arguments as 32-bit
//! integers; bits above them must change nothing (CVE-2019-10063).

use super::groups::{EAFNOSUPPORT, EPERM};
use super::policy::{Action, Compare, Condition, Decision, Op, Rule};

/// `CLONE_NEWNS|NEWCGROUP|NEWUTS|NEWIPC|NEWUSER|NEWPID|NEWNET` (linux/sched.h). `CLONE_NEWTIME` is not one of clone's
/// flags, its bit belongs to the exit signal there.
const CLONE_NEW_NAMESPACES: u32 = 0x7e02_0000;
/// `CLONE_FS|CLONE_FILES|CLONE_SYSVSEM`: what unshare may separate without making a namespace.
const UNSHARE_ALLOWED: u32 = 0x0004_0600;
/// `PER_LINUX`, `PER_LINUX32`, both with `UNAME26`, and the value that only asks (linux/personality.h). Others turn off
/// address randomisation or map page zero.
const PERSONALITIES: [u32; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// Puts bytes into a terminal's input, so that the shell which started the pod runs them.
const TIOCSTI: u32 = 0x5412;
/// The same through a virtual console's selection buffer.
const TIOCLINUX: u32 = 0x541c;
/// What apps see the pod's pid 1 as: they can make no process namespace of their own.
const POD_INIT: u32 = 1;
const AF_UNIX: u32 = 1;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const AF_NETLINK: u32 = 16;
/// The netlink protocol that C libraries ask for addresses and interfaces.
const NETLINK_ROUTE: u32 = 0;

/// The calls decided by arguments, with their decisions.
pub fn decisions() -> Vec<(&'static str, Decision)> {
    vec![
        ("clone", allow_where(vec![rule([masked(0, CLONE_NEW_NAMESPACES, 0)])], EPERM)),
        ("unshare", allow_where(vec![rule([masked(0, !UNSHARE_ALLOWED, 0)])], EPERM)),
        ("personality", allow_where(PERSONALITIES.map(|value| rule([equals(0, value)])).to_vec(), EPERM)),
        ("ioctl", terminal_input()),
        ("socket", socket_families()),
        // Only AF_UNIX and AF_TIPC have pairs, but the kernel makes a socket of any family before it finds out.
        ("socketpair", socket_families()),
        ("prlimit64", limits_of_others()),
    ]
}

/// The kernel lets root of an app limit its pod's pid 1, which has the same ids: without descriptors, processes or time it
/// would end with the pod, or let nobody in.
fn limits_of_others() -> Decision {
    let sets = Condition { arg: 2, compare: Compare::Full(Op::Ne(0)) };
    let refuse = Rule { all_of: vec![equals(0, POD_INIT), sets], action: Action::Errno(EPERM) };
    Decision::ByArguments { rules: vec![refuse], otherwise: Action::Allow }
}

fn terminal_input() -> Decision {
    let refuse = |command| Rule { all_of: vec![equals(1, command)], action: Action::Errno(EPERM) };
    Decision::ByArguments { rules: vec![refuse(TIOCSTI), refuse(TIOCLINUX)], otherwise: Action::Allow }
}

/// Other families are rarely used and often the way into the kernel: page-cache corruption through AF_ALG
/// (CVE-2026-31431), AF_RXRPC and NETLINK_XFRM (CVE-2026-43284) reached files shared between containers.
fn socket_families() -> Decision {
    let (family, protocol) = (0, 2);
    allow_where(
        vec![
            rule([equals(family, AF_UNIX)]),
            rule([equals(family, AF_INET)]),
            rule([equals(family, AF_INET6)]),
            rule([equals(family, AF_NETLINK), equals(protocol, NETLINK_ROUTE)]),
        ],
        EAFNOSUPPORT,
    )
}

fn allow_where(rules: Vec<Rule>, errno: u16) -> Decision {
    Decision::ByArguments { rules, otherwise: Action::Errno(errno) }
}

fn rule<const N: usize>(all_of: [Condition; N]) -> Rule {
    Rule { all_of: all_of.to_vec(), action: Action::Allow }
}

fn equals(arg: u8, value: u32) -> Condition {
    Condition { arg, compare: Compare::Low(Op::Eq(value)) }
}

fn masked(arg: u8, mask: u32, value: u32) -> Condition {
    Condition { arg, compare: Compare::Low(Op::Masked { mask, value }) }
}
