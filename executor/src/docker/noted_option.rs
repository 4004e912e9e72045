//! Options of `docker run` that change little or nothing here, which scripts give all the same.

use clap::Args;

use crate::diagnostics::warn;
use crate::error::CommandError;
use crate::manifest::HOST_ARCH;

// What is taken without being done. (A doc comment would become help text of whoever flattens it.)
#[derive(Debug, Args)]
pub(super) struct NotedArgs {
    /// Set platform, which is that of this machine
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,

    /// Logging driver: what a container writes is kept in one way
    #[arg(long, value_name = "DRIVER", hide = true)]
    log_driver: Option<String>,

    /// Log driver options
    #[arg(long, value_name = "OPTION", hide = true)]
    log_opt: Vec<String>,

    /// Expose a port or a range of ports, which needs no word
    #[arg(long, value_name = "PORT", hide = true)]
    expose: Vec<String>,

    /// Proxy received signals to the process
    #[arg(long, hide = true)]
    sig_proxy: bool,

    /// Disable any container-specified HEALTHCHECK, which is never done
    #[arg(long, hide = true)]
    no_healthcheck: bool,

    /// IPC mode: private is what every container has
    #[arg(long, value_name = "MODE", hide = true)]
    ipc: Option<String>,

    /// Ulimit options
    #[arg(long, value_name = "LIMIT", hide = true)]
    ulimit: Vec<String>,

    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES", hide = true)]
    shm_size: Option<String>,

    /// Tune container pids limit
    #[arg(long, value_name = "NUMBER", hide = true, allow_hyphen_values = true)]
    pids_limit: Option<String>,

    /// Swap limit equal to memory plus swap
    #[arg(long, value_name = "BYTES", hide = true, allow_hyphen_values = true)]
    memory_swap: Option<String>,

    /// Timeout to stop a container
    #[arg(long, value_name = "SECONDS", hide = true, allow_hyphen_values = true)]
    stop_timeout: Option<String>,
}

impl NotedArgs {
    /// Says what of it is not held.
    ///
    /// # Errors
    ///
    /// It asks for another machine, or for what would let a container out.
    pub(super) fn tell(&self) -> Result<(), CommandError> {
        if let Some(platform) = self.platform.as_deref().filter(|platform| !is_own(platform)) {
            let own = format!("linux/{HOST_ARCH}");
            return Err(CommandError::usage(format!("--platform={platform}: this machine is {own}")));
        }
        if let Some(mode) = self.ipc.as_deref().filter(|mode| !["private", "shareable", "none"].contains(mode)) {
            return Err(CommandError::usage(format!("--ipc={mode}: every container has an IPC namespace of its own")));
        }
        let limits = [
            ("--ulimit", self.ulimit.first()),
            ("--shm-size", self.shm_size.as_ref()),
            ("--pids-limit", self.pids_limit.as_ref()),
            ("--memory-swap", self.memory_swap.as_ref()),
            ("--stop-timeout", self.stop_timeout.as_ref()),
            ("--log-driver", self.log_driver.as_ref().filter(|driver| *driver == "none")),
        ];
        for (option, value) in limits.iter().filter_map(|(option, value)| Some((option, value.as_ref()?))) {
            warn(&format!("{option} {value} is not held"));
        }
        Ok(())
    }
}

/// Whether a program for that platform runs here.
fn is_own(platform: &str) -> bool {
    let own = [HOST_ARCH, std::env::consts::ARCH];
    match platform.split_once('/') {
        Some((os, arch)) => os == "linux" && own.contains(&arch),
        None => platform == "linux" || own.contains(&platform),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_this_machines_or_refused() {
        let own = format!("linux/{HOST_ARCH}");
        for (platform, runs) in
            [(own.as_str(), true), ("linux", true), ("linux/sparc", false), ("windows/amd64", false), ("", false)]
        {
            assert_eq!(is_own(platform), runs, "{platform}");
        }
    }
}
