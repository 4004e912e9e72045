//! What a control group has used.

use std::os::fd::OwnedFd;

use appc::AcName;
use serde::Serialize;

use super::{CgroupError, PodCgroup, read};

/// What a pod or an app uses, and has used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Processor time so far in microseconds.
    pub cpu_usec: u64,
    /// How often it had to wait because its share of a period was used up.
    pub throttled: u64,
    /// Bytes of memory.
    pub memory_bytes: Option<u64>,
    /// Bytes of memory that it may have at most.
    pub memory_limit_bytes: Option<u64>,
    /// How often the kernel killed in it for want of memory.
    pub oom_kills: u64,
    /// Processes and threads.
    pub pids: Option<u64>,
}

impl PodCgroup {
    /// What the pod uses as a whole.
    ///
    /// # Errors
    /// [`CgroupError`], where the pod is gone.
    pub fn usage(&self) -> Result<Usage, CgroupError> {
        usage(&self.pod)
    }

    /// What an app uses.
    ///
    /// # Errors
    /// [`CgroupError`], where the app is gone.
    pub fn app_usage(&self, name: &AcName) -> Result<Usage, CgroupError> {
        usage(&self.app_dir(name)?)
    }
}

fn usage(group: &OwnedFd) -> Result<Usage, CgroupError> {
    let stat = read(group, "cpu.stat")?;
    // Files of controllers that are not there are not there either.
    let number = |name: &str| read(group, name).ok().and_then(|text| text.trim().parse().ok());
    let events = read(group, "memory.events").unwrap_or_default();
    Ok(Usage {
        cpu_usec: field(&stat, "usage_usec").unwrap_or(0),
        throttled: field(&stat, "nr_throttled").unwrap_or(0),
        memory_bytes: number("memory.current"),
        memory_limit_bytes: number("memory.max"),
        oom_kills: field(&events, "oom_kill").unwrap_or(0),
        pids: number("pids.current"),
    })
}

/// The value of a line `NAME VALUE`.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "usage_usec 12\nuser_usec 7\nnr_throttled 3\n";
        assert_eq!(
            (field(text, "usage_usec"), field(text, "usec"), field(text, "nr_throttled")),
            (Some(12), None, Some(3))
        );
    }
}
