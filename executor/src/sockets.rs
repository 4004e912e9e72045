//! Sockets that this process was started with (sd_listen_fds(3)).

use std::os::fd::OwnedFd;

use crate::error::{CommandError, Explain};

/// The sockets that systemd, or whoever does as it does, has passed to this very process.
///
/// # Errors
///
/// `LISTEN_FDS` promises more than there is.
pub(crate) fn passed() -> Result<Vec<OwnedFd>, CommandError> {
    let variable = |name: &str| std::env::var(name).ok();
    let pid = std::process::id();
    let Some(count) = count(variable("LISTEN_PID").as_deref(), variable("LISTEN_FDS").as_deref(), pid) else {
        return Ok(Vec::new());
    };
    sys::inherit::take(count).during(|| format!("take the sockets of LISTEN_FDS={count}"))
}

/// How many there are for the process `pid`. Variables that were meant for a parent are none of its business.
fn count(listen_pid: Option<&str>, listen_fds: Option<&str>, pid: u32) -> Option<usize> {
    (listen_pid?.parse() == Ok(pid)).then(|| listen_fds?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_for_this_process_counts() {
        assert_eq!(count(Some("7"), Some("2"), 7), Some(2));
        for (pid, fds) in [
            (None, Some("2")),
            (Some("8"), Some("2")),
            (Some("7"), None),
            (Some("7"), Some("x")),
            (Some(""), Some("1")),
        ] {
            assert_eq!(count(pid, fds, 7), None, "{pid:?} {fds:?}");
        }
    }
}
