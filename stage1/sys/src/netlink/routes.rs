//! Which way packets go: routing tables, and the rules that choose one (rtnetlink(7), ip-rule(8)).

use std::io;

use rustix::net::AddressFamily;

use super::{CREATE, Request, Socket};
use crate::loopback::LOOPBACK;

/// Attributes of rules, and their action (linux/fib_rules.h).
mod kernel {
    pub(super) const FRA_FWMARK: u16 = 10;
    pub(super) const FRA_TABLE: u16 = 15;
    pub(super) const FR_ACT_TO_TBL: u8 = 1;
}

impl Socket {
    /// Has whatever bears this mark (socket(7), `SO_MARK`) stay in this network namespace, wherever it is addressed to: a rule
    /// for the mark, and a table in which everything is local.
    ///
    /// # Errors
    /// `EPERM` without CAP_NET_ADMIN, `EEXIST`; `EOPNOTSUPP` or `EAFNOSUPPORT` where the kernel has neither rules nor this family.
    pub fn keep_marked(&self, family: AddressFamily, mark: u32, table: u8) -> io::Result<()> {
        let family = family.as_raw() as u8;
        // rtmsg: family, lengths of destination, source and type of service, table, origin, scope, type; flags.
        let origin = libc::RTPROT_STATIC;
        let route = [family, 0, 0, 0, table, origin, libc::RT_SCOPE_HOST, libc::RTN_LOCAL, 0, 0, 0, 0];
        self.ask(Request::new(libc::RTM_NEWROUTE, CREATE, &route).with(libc::RTA_OIF, &LOOPBACK.to_ne_bytes()))?;
        // fib_rule_hdr: family, lengths as above, table, two reserved, action; flags.
        let rule = [family, 0, 0, 0, table, 0, 0, kernel::FR_ACT_TO_TBL, 0, 0, 0, 0];
        self.ask(
            Request::new(libc::RTM_NEWRULE, CREATE, &rule)
                .with(kernel::FRA_FWMARK, &mark.to_ne_bytes())
                .with(kernel::FRA_TABLE, &u32::from(table).to_ne_bytes()),
        )
    }
}
