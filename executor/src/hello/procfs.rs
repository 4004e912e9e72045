//! The texts of /proc that an app reads about itself, decoded.

use serde::{Deserialize, Serialize};

use super::capability::CapSet;

/// What `/proc/self/status` says about privileges. A line that the kernel does not print is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Status {
    /// Capabilities in force.
    pub(super) effective: CapSet,
    /// Capabilities that executing a file could bring back at most.
    pub(super) bounding: CapSet,
    /// 1 once executing a file can no longer add privileges.
    pub(super) no_new_privs: Option<u64>,
    /// 0 off, 1 strict, 2 filter.
    pub(super) seccomp: Option<u64>,
    /// The number of filters, each of which may refuse a call.
    pub(super) seccomp_filters: Option<u64>,
}

impl Status {
    /// Decodes the text of `/proc/PID/status` (proc_pid_status(5)).
    pub(super) fn parse(text: &str) -> Self {
        let field = |name: &str| {
            let value = |line: &'_ str| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned());
            text.lines().find_map(value)
        };
        let number = |name| field(name).and_then(|value| value.parse().ok());
        // A set that cannot be read counts as every capability, so that the report cannot be too favourable.
        let set = |name| CapSet(field(name).and_then(|hex| u64::from_str_radix(&hex, 16).ok()).unwrap_or(u64::MAX));
        Self {
            effective: set("CapEff"),
            bounding: set("CapBnd"),
            no_new_privs: number("NoNewPrivs"),
            seccomp: number("Seccomp"),
            seccomp_filters: number("Seccomp_filters"),
        }
    }
}

/// One line of a user namespace's map: `count` ids from `inside` on are those from `outside` on in the parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Extent {
    pub(super) inside: u64,
    pub(super) outside: u64,
    pub(super) count: u64,
}

/// Decodes the text of `/proc/PID/uid_map` (user_namespaces(7)); a line that is no extent is left out.
pub(super) fn id_map(text: &str) -> Vec<Extent> {
    text.lines()
        .filter_map(|line| {
            let mut numbers = line.split_whitespace().map(|word| word.parse().ok());
            let mut next = || numbers.next().flatten();
            Some(Extent { inside: next()?, outside: next()?, count: next()? })
        })
        .collect()
}

/// The interfaces listed in `/proc/net/dev`, in its order.
pub(super) fn interfaces(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect()
}

/// The file system type of `/` in the text of `/proc/self/mountinfo` (proc_pid_mountinfo(5)). The last mount is the
/// one on top.
pub(super) fn root_type(text: &str) -> Option<String> {
    text.lines().rev().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let is_root = before.split(' ').nth(4)? == "/";
        is_root.then(|| after.split(' ').next().map(str::to_owned))?
    })
}

/// The number in a namespace link such as `pid:[4026531836]`.
pub(super) fn namespace_number(link: &str) -> Option<u64> {
    link.split_once(":[")?.1.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::capability::APPC_DEFAULT;
    use super::*;

    const STATUS: &str = "Name:\thello\nUmask:\t0022\nUid:\t0\t0\t0\t0\nCapInh:\t0000000000000000\n\
        CapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\nCapBnd:\t000001ffffffffff\nCapAmb:\t0000000000000000\n\
        NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\nSpeculation_Store_Bypass:\tvulnerable\n";

    #[test]
    fn status_is_decoded_by_whole_names() {
        let expected = Status {
            effective: APPC_DEFAULT,
            bounding: CapSet(0x1ff_ffff_ffff),
            no_new_privs: Some(1),
            seccomp: Some(2),
            seccomp_filters: Some(3),
        };
        assert_eq!(Status::parse(STATUS), expected);
    }

    #[test]
    fn missing_lines_are_never_good_news() {
        let status = Status::parse("CapEff:\tzz\n");
        assert_eq!((status.effective, status.bounding), (CapSet(u64::MAX), CapSet(u64::MAX)));
        assert_eq!((status.no_new_privs, status.seccomp, status.seccomp_filters), (None, None, None));
    }

    #[test]
    fn id_maps() {
        let text = "         0       1000          1\n         1     100000      65536\n";
        let expected =
            [Extent { inside: 0, outside: 1000, count: 1 }, Extent { inside: 1, outside: 100_000, count: 65536 }];
        assert_eq!(id_map(text), expected);
        assert_eq!(id_map("0 0\nx y z\n-1 0 1\n"), []);
    }

    #[test]
    fn interface_names() {
        let text = "Inter-|   Receive      |  Transmit\n face |bytes    packets\n    lo:   84   1\n  eth0: 1 2\n";
        assert_eq!(interfaces(text), ["lo", "eth0"]);
    }

    #[test]
    fn the_topmost_root_counts() {
        let text = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n\
                    2 1 0:9 / /proc rw,nosuid shared:3 - proc proc rw\n\
                    3 1 0:40 / / rw,nodev - overlay overlay rw,lowerdir=/x\n\
                    4 3 0:5 / /dev rw - tmpfs tmpfs rw\n";
        assert_eq!(root_type(text).as_deref(), Some("overlay"));
        assert_eq!(root_type("garbage\n"), None);
    }

    #[test]
    fn namespace_numbers() {
        assert_eq!(namespace_number("mnt:[4026531841]"), Some(4_026_531_841));
        assert_eq!(namespace_number("mnt:4026531841"), None);
    }
}
