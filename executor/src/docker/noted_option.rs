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

    /// Proxy received signals to the process
    #[arg(long, hide = true)]
    sig_proxy: bool,

    /// IPC mode: private is what every container has
    #[arg(long, value_name = "MODE", hide = true)]
    ipc: Option<String>,

    /// Tune container memory swappiness
    #[arg(long, value_name = "NUMBER", hide = true, allow_hyphen_values = true)]
    memory_swappiness: Option<String>,

    /// Disable OOM killer
    #[arg(long, hide = true)]
    oom_kill_disable: bool,

    /// Storage driver options
    #[arg(long, value_name = "OPTION", hide = true)]
    storage_opt: Vec<String>,

    /// Container NIS domain name
    #[arg(long, value_name = "NAME", hide = true)]
    domainname: Option<String>,

    /// Container MAC address
    #[arg(long, value_name = "ADDRESS", hide = true)]
    mac_address: Option<String>,

    /// Attach to STDIN, STDOUT or STDERR, which is what happens
    #[arg(long, short, value_name = "STREAM", hide = true)]
    attach: Vec<String>,

    /// Runtime to use for this container: there is one
    #[arg(long, value_name = "NAME", hide = true)]
    runtime: Option<String>,

    /// Container isolation technology: there is one
    #[arg(long, value_name = "NAME", hide = true)]
    isolation: Option<String>,

    /// Skip image verification, which depends on policies
    #[arg(long, hide = true)]
    disable_content_trust: bool,

    /// Cgroup namespace to use: every container has one of its own
    #[arg(long, value_name = "MODE", hide = true)]
    cgroupns: Option<String>,

    /// PID namespace to use: every container has one of its own
    #[arg(long, value_name = "MODE", hide = true)]
    pid: Option<String>,

    /// UTS namespace to use: every container has one of its own
    #[arg(long, value_name = "MODE", hide = true)]
    uts: Option<String>,

    /// Give extended privileges to the container, which cannot be had
    #[arg(long, hide = true)]
    privileged: bool,

    /// GPU devices to add to the container, which take root
    #[arg(long, value_name = "DEVICES", hide = true)]
    gpus: Option<String>,

    /// Parent cgroup for the container: it is systemd's choice
    #[arg(long, value_name = "CGROUP", hide = true)]
    cgroup_parent: Option<String>,

    /// Rules for devices, of which a container has those of --device
    #[arg(long, value_name = "RULE", hide = true)]
    device_cgroup_rule: Vec<String>,

    /// Optional volume driver: local
    #[arg(long, value_name = "DRIVER", hide = true)]
    volume_driver: Option<String>,
}

impl NotedArgs {
    /// Says what of it is not held.
    ///
    /// # Errors
    ///
    /// It asks for another machine, or for what would let a container out.
    pub(super) fn tell(&self) -> Result<(), CommandError> {
        check_platform(self.platform.as_deref())?;
        self.refuse()?;
        if let Some(mode) = self.ipc.as_deref().filter(|mode| !["private", "shareable", "none"].contains(mode)) {
            let why = format!("--ipc={mode}: every container has an IPC namespace of its own");
            return Err(CommandError::usage(why).hint("for a larger /dev/shm there is --shm-size"));
        }
        for (option, mode) in [("--cgroupns", &self.cgroupns), ("--pid", &self.pid), ("--uts", &self.uts)] {
            if let Some(mode) = mode.as_deref().filter(|mode| !["", "private"].contains(mode)) {
                let why = "every container has a namespace of its own";
                return Err(CommandError::usage(format!("{option}={mode}: {why}")));
            }
        }
        if self.oom_kill_disable {
            warn("--oom-kill-disable is not held");
        }
        let others = [
            ("--memory-swappiness", self.memory_swappiness.as_ref()),
            ("--storage-opt", self.storage_opt.first()),
            ("--domainname", self.domainname.as_ref()),
            ("--mac-address", self.mac_address.as_ref()),
            ("--cgroup-parent", self.cgroup_parent.as_ref()),
            ("--device-cgroup-rule", self.device_cgroup_rule.first()),
            ("--log-driver", self.log_driver.as_ref().filter(|driver| *driver == "none")),
        ];
        for (option, value) in others.iter().filter_map(|(option, value)| Some((option, value.as_ref()?))) {
            warn(&format!("{option} {value} is not held"));
        }
        Ok(())
    }

    /// Refuses what takes root.
    fn refuse(&self) -> Result<(), CommandError> {
        if self.privileged {
            return Err(CommandError::usage("--privileged: a container cannot have more rights than you have")
                .hint("give it what it needs: --cap-add, --device, --security-opt seccomp=unconfined"));
        }
        if let Some(gpus) = &self.gpus {
            return Err(CommandError::usage(format!("--gpus {gpus}: there is no runtime that adds drivers"))
                .hint("give the devices with --device, and the drivers' files with -v"));
        }
        match self.volume_driver.as_deref().filter(|driver| *driver != "local") {
            Some(driver) => Err(CommandError::usage(format!("--volume-driver {driver}: there is local"))
                .hint("mount it on the host, and give the directory with -v")),
            None => Ok(()),
        }
    }
}

/// Refuses a platform that is not this machine's.
///
/// # Errors
///
/// That.
pub(super) fn check_platform(platform: Option<&str>) -> Result<(), CommandError> {
    match platform.filter(|platform| !is_own(platform)) {
        Some(platform) => Err(CommandError::usage(format!("--platform={platform}: this machine is linux/{HOST_ARCH}"))),
        None => Ok(()),
    }
}

/// Whether a program for that platform runs here.
fn is_own(platform: &str) -> bool {
    let own = [HOST_ARCH, std::env::consts::ARCH];
    match platform.split_once('/') {
        // A variant is of arm alone.
        Some((os, arch)) => {
            let arch = if arch == "arm64/v8" { "arm64" } else { arch };
            os == "linux" && (own.contains(&arch) || (arch == "arm64" && own.contains(&"aarch64")))
        }
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
