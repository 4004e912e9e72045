//! What [`crate::plan`] must know of the host: facts, gathered once per launch.

use std::fs;

/// Facts about the host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Host {
    /// Number of CPUs with a `thermal_throttle` directory in sysfs (a side channel, masked in apps).
    pub throttled_cpus: u32,
    /// Whether /sys/fs/cgroup is a cgroup2 file system, rather than the v1 or hybrid layout.
    pub unified_cgroups: bool,
}

/// `f_type` of a cgroup2 file system (statfs(2)).
const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;

impl Host {
    /// Looks at this host. What cannot be read counts as absent.
    #[must_use]
    pub fn detect() -> Self {
        let first = "/sys/devices/system/cpu/cpu0/thermal_throttle";
        let throttled = fs::exists(first).unwrap_or(false);
        let throttled_cpus = if throttled { possible_cpus() } else { 0 };
        let unified_cgroups =
            rustix::fs::statfs("/sys/fs/cgroup").is_ok_and(|stat| stat.f_type as u64 == CGROUP2_SUPER_MAGIC);
        Self { throttled_cpus, unified_cgroups }
    }
}

/// The number of CPUs the host could have, from a list such as `0-7` (Documentation/admin-guide/cputopology.rst).
fn possible_cpus() -> u32 {
    let text = fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
    last_of_list(&text).map_or(1, |last| last.saturating_add(1))
}

fn last_of_list(text: &str) -> Option<u32> {
    text.trim().rsplit([',', '-']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_cpu_of_a_list() {
        for (text, last) in [("0\n", Some(0)), ("0-7\n", Some(7)), ("0-3,8-11", Some(11)), ("", None), ("x", None)] {
            assert_eq!(last_of_list(text), last, "{text:?}");
        }
    }
}
