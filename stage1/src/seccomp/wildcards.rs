//! What the wildcards of seccomp isolators, `@scope/name`, stand for.
//!
//! The scopes `appc.io` (appc ace.md, os/linux/seccomp-remove-set), `docker`, `rkt` and `systemd` are those images for
//! rkt were written with.

/// What a wildcard stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wildcard {
    /// All calls.
    All,
    /// No call.
    Empty,
    /// The calls the default profile allows, always or with some arguments.
    DefaultAllowed,
    /// Calls by name, separated by white space; not all are there on each architecture.
    Names(&'static str),
}

/// The meaning of a wildcard, if it is known.
pub fn resolve(wildcard: &str) -> Option<Wildcard> {
    ALL.iter().find(|(name, _)| *name == wildcard).map(|(_, meaning)| *meaning)
}

/// All wildcards there are.
pub const ALL: [(&str, Wildcard); 15] = [
    ("@appc.io/all", Wildcard::All),
    ("@appc.io/empty", Wildcard::Empty),
    ("@docker/default-blacklist", Wildcard::Names(DEFAULT_BLACKLIST)),
    ("@docker/default-whitelist", Wildcard::DefaultAllowed),
    ("@rkt/default-blacklist", Wildcard::Names(DEFAULT_BLACKLIST)),
    ("@rkt/default-whitelist", Wildcard::DefaultAllowed),
    ("@systemd/clock", Wildcard::Names(CLOCK)),
    ("@systemd/default-whitelist", Wildcard::Names(DEFAULT)),
    ("@systemd/io-event", Wildcard::Names(IO_EVENT)),
    ("@systemd/mount", Wildcard::Names(MOUNT)),
    ("@systemd/network-io", Wildcard::Names(NETWORK_IO)),
    ("@systemd/obsolete", Wildcard::Names(OBSOLETE)),
    ("@systemd/privileged", Wildcard::Names(PRIVILEGED)),
    ("@systemd/process", Wildcard::Names(PROCESS)),
    ("@systemd/raw-io", Wildcard::Names(RAW_IO)),
];

/// Names of calls on architectures without a profile, which a set made for all of them may hold. `syscall` is one of
/// some 32-bit ones; `timerfd`, which went away before Linux 2.6.25, still stands in profiles.
pub const FOREIGN: &str = "\
    arm_fadvise64_64 arm_sync_file_range bdflush break breakpoint cacheflush ftime gtty idle lock mpx nice oldfstat \
    oldlstat oldolduname oldstat olduname pciconfig_iobase pciconfig_read pciconfig_write prof profil readdir \
    riscv_flush_icache s390_runtime_instr set_tls sgetmask sigaction signal sigpending sigsuspend ssetmask stty \
    swapcontext sync_file_range2 syscall timerfd ulimit";

/// What docker's documentation named as blocked in rkt's time; the newer calls of today's profile are not in it, because
/// a set without an errno kills, and C libraries try clone3 first.
const DEFAULT_BLACKLIST: &str = "\
    acct add_key adjtimex bpf clock_adjtime clock_settime create_module delete_module finit_module get_kernel_syms \
    get_mempolicy init_module ioperm iopl kcmp kexec_file_load kexec_load keyctl lookup_dcookie mbind mount move_pages \
    name_to_handle_at nfsservctl open_by_handle_at perf_event_open pivot_root process_vm_readv process_vm_writev ptrace \
    query_module quotactl reboot request_key set_mempolicy setns settimeofday stime swapoff swapon _sysctl sysfs umount \
    umount2 unshare uselib userfaultfd ustat vm86 vm86old";

const CLOCK: &str = "adjtimex clock_adjtime clock_adjtime64 clock_settime clock_settime64 settimeofday stime";

const DEFAULT: &str = "\
    arch_prctl brk clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep \
    clock_nanosleep_time64 execve exit exit_group futex futex_time64 futex_waitv getegid getegid32 geteuid geteuid32 \
    getgid getgid32 getgroups getgroups32 getpgid getpgrp getpid getppid getrandom getresgid getresgid32 getresuid \
    getresuid32 getrlimit get_robust_list getsid get_thread_area gettid gettimeofday getuid getuid32 membarrier mmap \
    mmap2 mprotect munmap nanosleep pause prlimit64 restart_syscall rseq rt_sigreturn sched_getaffinity sched_yield \
    set_robust_list set_thread_area set_tid_address sigreturn time ugetrlimit";

const IO_EVENT: &str = "\
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd \
    eventfd2 _newselect poll ppoll ppoll_time64 pselect6 pselect6_time64 select";

const MOUNT: &str = "\
    chroot fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree open_tree_attr pivot_root umount \
    umount2";

const NETWORK_IO: &str = "\
    accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64 recvmsg \
    send sendmmsg sendmsg sendto setsockopt shutdown socket socketcall socketpair";

const OBSOLETE: &str = "\
    afs_syscall bdflush break create_module ftime get_kernel_syms getpmsg gtty idle lock mpx prof profil putpmsg \
    query_module security sgetmask ssetmask stime stty _sysctl sysfs tuxcall ulimit uselib ustat vserver";

const PRIVILEGED: &str = "\
    acct adjtimex bpf capset chown chown32 chroot clock_adjtime clock_adjtime64 clock_settime clock_settime64 \
    delete_module fanotify_init fanotify_mark fchown fchown32 fchownat finit_module init_module ioperm iopl \
    kexec_file_load kexec_load lchown lchown32 nfsservctl open_by_handle_at pivot_root quotactl quotactl_fd reboot \
    setdomainname setfsuid setfsuid32 setgroups setgroups32 sethostname setresuid setresuid32 setreuid setreuid32 setuid \
    setuid32 settimeofday stime swapoff swapon _sysctl vhangup";

const PROCESS: &str = "\
    capget clone clone3 execveat fork getrusage kill pidfd_open pidfd_send_signal prctl rt_sigqueueinfo \
    rt_tgsigqueueinfo setns swapcontext tgkill times tkill unshare vfork wait4 waitid waitpid";

const RAW_IO: &str = "\
    ioperm iopl pciconfig_iobase pciconfig_read pciconfig_write s390_pci_mmio_read s390_pci_mmio_write";
