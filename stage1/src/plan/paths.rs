//! Which kernel files an app must not see or change (docs/security.md, "Defaults"): the union of docker's, rkt's and nspawn's lists.

/// Files of /proc that tell about the host or its kernel's addresses; the null device goes over each. The last one
/// exists on every kernel, so that no mask is left over.
pub(super) const MASKED_PROC_FILES: &[&str] = &[
    "config.gz",
    "iomem",
    "ioports",
    "kallsyms",
    "kcore",
    "key-users",
    "keys",
    "kmem",
    "kmsg",
    "kpagecgroup",
    "kpagecount",
    "kpageflags",
    "latency_stats",
    "mem",
    "modules",
    "pagetypeinfo",
    "sched_debug",
    "slabinfo",
    "sysrq-trigger",
    "timer_list",
    "timer_stats",
    "vmallocinfo",
    "vmcore",
    "interrupts",
];

/// Directories of /proc with host hardware.
pub(super) const MASKED_PROC_DIRS: &[&str] = &["acpi", "asound", "scsi"];

/// Directories of /sys with firmware, kernel interfaces and power side channels; the last one exists on every kernel.
pub(super) const MASKED_SYS_DIRS: &[&str] = &[
    "devices/virtual/dmi",
    "devices/virtual/powercap",
    "firmware",
    "fs/bpf",
    "fs/fuse",
    "fs/pstore",
    "fs/selinux",
    "hypervisor",
    "kernel/config",
    "kernel/debug",
    "kernel/security",
    "kernel/tracing",
    "power",
    "module",
];

/// Directories of /proc that an app may read but not change.
pub(super) const READ_ONLY_PROC_DIRS: &[&str] = &["bus", "fs", "irq", "sys"];

/// The device nodes that OS-SPEC.md (appc, "Devices") asks for, with their numbers; console and ptmx are made apart.
pub(super) const DEVICES: &[(&str, (u32, u32))] =
    &[("null", (1, 3)), ("zero", (1, 5)), ("full", (1, 7)), ("random", (1, 8)), ("urandom", (1, 9)), ("tty", (5, 0))];

/// The links that programs expect in /dev (the kernel's Documentation/admin-guide/devices.txt, "Compulsory links").
pub(super) const DEV_LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{capabilities, limits};

    /// The defaults as docs/security.md shows them.
    fn defaults() -> String {
        let names = |set: rustix::thread::CapabilitySet| {
            let names: Vec<String> = set.iter_names().map(|(name, _)| format!("`{name}`")).collect();
            names.join(", ")
        };
        let list = |names: &[&str], root: &str| {
            let paths: Vec<String> = names.iter().map(|name| format!("`{root}{name}`")).collect();
            paths.join(", ")
        };
        let devices: Vec<&str> = DEVICES.iter().map(|(name, _)| *name).collect();
        let rows = [
            ("capabilities, over the app's own user namespace", names(capabilities::DEFAULT)),
            ("with `--profile=strict`", names(capabilities::STRICT)),
            ("masked files", list(MASKED_PROC_FILES, "/proc/")),
            ("masked directories", format!("{}, {}", list(MASKED_PROC_DIRS, "/proc/"), list(MASKED_SYS_DIRS, "/sys/"))),
            ("read-only", format!("{}, `/sys`", list(READ_ONLY_PROC_DIRS, "/proc/"))),
            ("devices", format!("{}, `/dev/console`, `/dev/pts`, `/dev/shm`, `/dev/mqueue`", list(&devices, "/dev/"))),
            ("processes of a pod", limits::MAX_PROCESSES.to_string()),
            ("limits of an app", limits::described()),
        ];
        let rows: Vec<String> = rows.iter().map(|(what, which)| format!("| {what} | {which} |\n")).collect();
        format!("\n| what | which |\n| --- | --- |\n{}\n", rows.concat())
    }

    #[test]
    fn the_page_about_security_shows_the_defaults() {
        let path = format!("{}/../docs/security.md", env!("CARGO_MANIFEST_DIR"));
        let page = std::fs::read_to_string(&path).expect("the page is there");
        let (head, rest) = page.split_once("writes them -->\n").expect("a beginning");
        let (shown, tail) = rest.split_once("<!-- end").expect("an end");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, format!("{head}writes them -->\n{}<!-- end{tail}", defaults())).expect("it is ours");
        } else {
            assert_eq!(shown, defaults(), "BLESS=1 cargo test -p stage1 writes the table anew");
        }
    }
}
