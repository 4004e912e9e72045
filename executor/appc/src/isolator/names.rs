//! The names of all known isolators (appc ace.md, Isolators).

/// Bytes a second of block device transfer.
pub const BLOCK_BANDWIDTH: &str = "resource/block-bandwidth";
/// Block device operations a second.
pub const BLOCK_IOPS: &str = "resource/block-iops";
/// Processor cores.
pub const CPU: &str = "resource/cpu";
/// Bytes of memory.
pub const MEMORY: &str = "resource/memory";
/// Bits a second of network transfer.
pub const NETWORK_BANDWIDTH: &str = "resource/network-bandwidth";
/// The capabilities an app has.
pub const CAPABILITIES_RETAIN: &str = "os/linux/capabilities-retain-set";
/// The capabilities taken from an app's default ones.
pub const CAPABILITIES_REMOVE: &str = "os/linux/capabilities-remove-set";
/// Whether an app can never gain privileges by executing a file.
pub const NO_NEW_PRIVILEGES: &str = "os/linux/no-new-privileges";
/// The system calls an app may not make.
pub const SECCOMP_REMOVE: &str = "os/linux/seccomp-remove-set";
/// The only system calls an app may make.
pub const SECCOMP_RETAIN: &str = "os/linux/seccomp-retain-set";
/// How gladly the kernel kills an app when memory is short.
pub const OOM_SCORE_ADJ: &str = "os/linux/oom-score-adj";
/// The app's weight in sharing processor time.
pub const CPU_SHARES: &str = "os/linux/cpu-shares";
/// The SELinux context an app runs in.
pub const SELINUX_CONTEXT: &str = "os/linux/selinux-context";
/// The AppArmor profile an app runs under.
pub const APPARMOR_PROFILE: &str = "os/linux/apparmor-profile";
/// Kernel parameters of the pod.
pub const SYSCTL: &str = "os/unix/sysctl";

/// Every name above.
pub const ALL: [&str; 15] = [
    BLOCK_BANDWIDTH,
    BLOCK_IOPS,
    CPU,
    MEMORY,
    NETWORK_BANDWIDTH,
    CAPABILITIES_RETAIN,
    CAPABILITIES_REMOVE,
    NO_NEW_PRIVILEGES,
    SECCOMP_REMOVE,
    SECCOMP_RETAIN,
    OOM_SCORE_ADJ,
    CPU_SHARES,
    SELINUX_CONTEXT,
    APPARMOR_PROFILE,
    SYSCTL,
];
