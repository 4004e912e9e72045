//! Which system calls an app may make by default, which it is refused and with what errno: the table people review.
//!
//! Every call of the kernel's table stands in exactly one group or in [`super::arguments`]. The build fails otherwise,
//! so a call that a newer table brings is a decision somebody takes, not a default nobody noticed. Calls newer than
//! the table are ENOSYS, as on an older kernel.
//!
//! Allowed is what docker's default profile always allows, and what differs from it is said in
//! docs/security/seccomp.md.

use super::policy::Action;

/// Calls that get the same answer for the same reason.
#[derive(Debug)]
pub struct Group {
    /// The reason, one line.
    pub why: &'static str,
    /// The answer.
    pub action: Action,
    /// Names of system calls, separated by white space.
    pub names: &'static str,
}

/// The errno of a call that exists but is not for apps.
pub const EPERM: u16 = 1;
/// The errno of a call that, for the app, does not exist; programs use the older call then.
pub const ENOSYS: u16 = 38;
/// The errno of a socket family that, for the app, is not built into the kernel.
pub const EAFNOSUPPORT: u16 = 97;

const ALLOW: Action = Action::Allow;
const REFUSE: Action = Action::Errno(EPERM);
const ABSENT: Action = Action::Errno(ENOSYS);

/// All groups: first what is allowed, then what is not.
pub const GROUPS: &[Group] = &[
    Group {
        why: "open files and directories; the kernel checks the path against the app's own root and ids",
        action: ALLOW,
        names: "access chdir close close_range creat dup dup2 dup3 faccessat faccessat2 fchdir fcntl fcntl64 flock \
                getcwd getdents getdents64 name_to_handle_at open openat openat2 umask",
    },
    Group {
        why: "read and write what is open",
        action: ALLOW,
        names: "copy_file_range fadvise64 fadvise64_64 fallocate fdatasync fsync ftruncate ftruncate64 _llseek lseek \
                pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readv sendfile sendfile64 splice sync \
                sync_file_range syncfs tee truncate truncate64 vmsplice write writev",
    },
    Group {
        why: "names, links and their removal, inside the app's own root",
        action: ALLOW,
        names: "link linkat mkdir mkdirat mknod mknodat readlink readlinkat rename renameat renameat2 rmdir symlink \
                symlinkat unlink unlinkat",
    },
    Group {
        why: "file status, mode, owner, times",
        action: ALLOW,
        names: "chmod chown chown32 fchmod fchmodat fchmodat2 fchown fchown32 fchownat fstat fstat64 fstatat64 fstatfs \
                fstatfs64 futimesat lchown lchown32 lstat lstat64 newfstatat stat stat64 statfs statfs64 statx utime \
                utimensat utimensat_time64 utimes",
    },
    Group {
        why: "extended attributes; what they mean to the kernel needs capabilities over the file",
        action: ALLOW,
        names: "fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr listxattrat \
                llistxattr lremovexattr lsetxattr removexattr removexattrat setxattr setxattrat",
    },
    Group {
        why: "watch files; fanotify_init, which makes the wider kind of watch, is refused below",
        action: ALLOW,
        names: "fanotify_mark inotify_add_watch inotify_init inotify_init1 inotify_rm_watch",
    },
    Group {
        why: "look at one's own mount namespace, as through /proc/self/mountinfo",
        action: ALLOW,
        names: "listmount statmount",
    },
    Group {
        why: "change the root directory: needs CAP_SYS_CHROOT, in the default set, and only ever narrows the app's root",
        action: ALLOW,
        names: "chroot",
    },
    Group {
        why: "wait for many descriptors, event and timer descriptors, pipes",
        action: ALLOW,
        names: "epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old \
                eventfd eventfd2 _newselect pipe pipe2 poll ppoll ppoll_time64 pselect6 pselect6_time64 select \
                signalfd signalfd4 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime \
                timerfd_settime64",
    },
    Group {
        why: "asynchronous I/O of the old kind, which does what read and write do; io_uring is refused below",
        action: ALLOW,
        names: "io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit",
    },
    Group {
        why: "use sockets; which ones can be made is decided by the arguments of socket and socketpair",
        action: ALLOW,
        names: "accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg \
                recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall",
    },
    Group {
        why: "memory of one's own, with protection keys, sealing and shadow stacks",
        action: ALLOW,
        names: "brk cachestat madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 \
                mlockall mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free \
                pkey_mprotect remap_file_pages",
    },
    Group {
        why: "start, end and wait for processes; clone and clone3 are decided apart, for their namespace flags",
        action: ALLOW,
        names: "execve execveat exit exit_group fork pidfd_open pidfd_send_signal process_mrelease vfork wait4 waitid \
                waitpid",
    },
    Group {
        why: "read and write other processes: the kernel asks for rights over the other one, and each app is alone in \
              its user namespace",
        action: ALLOW,
        names: "process_vm_readv process_vm_writev ptrace",
    },
    Group {
        why: "what a process is and belongs to; prctl also for no_new_privs and names",
        action: ALLOW,
        names: "getcpu getpgid getpgrp getpid getppid getsid gettid prctl setpgid setsid set_tid_address uname",
    },
    Group {
        why: "user, group and capability sets: what can be gained is bounded by the app's user namespace",
        action: ALLOW,
        names: "capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid \
                getresgid32 getresuid getresuid32 getuid getuid32 setfsgid setfsgid32 setfsuid setfsuid32 setgid \
                setgid32 setgroups setgroups32 setregid setregid32 setresgid setresgid32 setresuid setresuid32 \
                setreuid setreuid32 setuid setuid32",
    },
    Group {
        why: "narrow oneself further",
        action: ALLOW,
        names: "landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp",
    },
    Group {
        why: "limits, priorities, accounting; raising needs capabilities",
        action: ALLOW,
        names: "getpriority getrlimit getrusage ioprio_get ioprio_set sched_getaffinity sched_getattr \
                sched_getparam sched_get_priority_max sched_get_priority_min sched_getscheduler \
                sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam \
                sched_setscheduler sched_yield setpriority setrlimit sysinfo times ugetrlimit",
    },
    Group {
        why: "signals",
        action: ALLOW,
        names: "kill pause restart_syscall rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn \
                rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack sigprocmask \
                sigreturn tgkill tkill",
    },
    Group {
        why: "clocks and timers; adjtimex and clock_adjtime only read without CAP_SYS_TIME, which no app has",
        action: ALLOW,
        names: "adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime \
                clock_gettime64 clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer \
                time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime \
                timer_settime64",
    },
    Group {
        why: "locks between threads",
        action: ALLOW,
        names: "futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake get_robust_list rseq \
                set_robust_list",
    },
    Group {
        why: "System V and POSIX message queues, semaphores and shared memory of the pod's IPC namespace",
        action: ALLOW,
        names: "ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend \
                mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop \
                semtimedop_time64 shmat shmctl shmdt shmget",
    },
    Group { why: "random numbers", action: ALLOW, names: "getrandom" },
    Group {
        why: "thread-local storage and processor features",
        action: ALLOW,
        names: "arch_prctl get_thread_area riscv_hwprobe set_thread_area",
    },
    Group {
        why: "made by code the kernel itself puts into a probed process, which would die without them",
        action: ALLOW,
        names: "uprobe uretprobe",
    },
    //
    // Refused.
    //
    Group {
        why: "keyrings are not namespaced: the caller's keys would be readable",
        action: REFUSE,
        names: "add_key keyctl request_key",
    },
    Group { why: "a joined namespace brings its capabilities", action: REFUSE, names: "setns" },
    Group {
        why: "clone3 takes its flags through memory, where no filter can look; libc then uses clone",
        action: ABSENT,
        names: "clone3",
    },
    Group {
        why: "mounts are stage1's: an app could uncover what is masked",
        action: REFUSE,
        names: "mount pivot_root umount umount2",
    },
    Group {
        why: "the newer way to mount, which rules about mount(2) do not see (CVE-2021-41133); programs fall back to it",
        action: ABSENT,
        names: "fsconfig fsmount fsopen fspick mount_setattr move_mount open_tree open_tree_attr",
    },
    Group {
        why: "io_uring makes calls that no filter sees, and has let many programs out",
        action: REFUSE,
        names: "io_uring_enter io_uring_register io_uring_setup",
    },
    Group {
        why: "look into the kernel or other processes, or pause the kernel in the middle of a copy (userfaultfd)",
        action: REFUSE,
        names: "bpf kcmp lookup_dcookie perf_event_open pidfd_getfd process_madvise userfaultfd",
    },
    Group {
        why: "files by handle walk around every directory (the \"shocker\" way out); the rest acts on whole file systems",
        action: REFUSE,
        names: "acct fanotify_init open_by_handle_at quotactl quotactl_fd",
    },
    Group {
        why: "kernel modules, other kernels, swap, restart: the machine's administrator only",
        action: REFUSE,
        names: "create_module delete_module finit_module get_kernel_syms init_module kexec_file_load kexec_load \
                query_module reboot swapoff swapon",
    },
    Group {
        why: "hardware, and processor state that only emulators of old systems need",
        action: REFUSE,
        names: "ioperm iopl modify_ldt s390_pci_mmio_read s390_pci_mmio_write vm86 vm86old",
    },
    Group {
        why: "the host's clock, names, log and terminals",
        action: REFUSE,
        names: "clock_settime clock_settime64 setdomainname sethostname settimeofday stime syslog vhangup",
    },
    Group {
        why: "placing memory on nodes is the machine's business and lets apps disturb each other",
        action: REFUSE,
        names: "get_mempolicy mbind migrate_pages move_pages set_mempolicy set_mempolicy_home_node",
    },
    Group {
        why: "labels of security modules are set by the runner",
        action: REFUSE,
        names: "lsm_get_self_attr lsm_list_modules lsm_set_self_attr",
    },
    Group {
        why: "gone or never there",
        action: ABSENT,
        names: "afs_syscall getpmsg nfsservctl putpmsg security _sysctl sysfs tuxcall uselib ustat vserver",
    },
    Group {
        why: "newer than the programs that could need them; the ioctls that do the same are allowed",
        action: ABSENT,
        names: "file_getattr file_setattr",
    },
];

/// Names above that neither architecture has: those of 32-bit systems, where a call had to be made twice because its
/// numbers were too small, and of architectures without a profile. They are in the groups because a filter for 32-bit
/// programs beside the native ones will take them from there.
pub const ABSENT_EVERYWHERE: &str = "\
    chown32 clock_adjtime64 clock_getres_time64 clock_gettime64 clock_nanosleep_time64 clock_settime64 fadvise64_64 \
    fchown32 fcntl64 fstat64 fstatat64 fstatfs64 ftruncate64 futex_time64 getegid32 geteuid32 getgid32 getgroups32 \
    getresgid32 getresuid32 getuid32 io_pgetevents_time64 ipc lchown32 _llseek lstat64 mmap2 mq_timedreceive_time64 \
    mq_timedsend_time64 _newselect ppoll_time64 pselect6_time64 recv recvmmsg_time64 riscv_hwprobe \
    rt_sigtimedwait_time64 s390_pci_mmio_read s390_pci_mmio_write sched_rr_get_interval_time64 semtimedop_time64 send \
    sendfile64 setfsgid32 setfsuid32 setgid32 setgroups32 setregid32 setresgid32 setresuid32 setreuid32 setuid32 \
    sigprocmask sigreturn socketcall stat64 statfs64 stime timer_gettime64 timer_settime64 timerfd_gettime64 \
    timerfd_settime64 truncate64 ugetrlimit umount utimensat_time64 vm86 vm86old waitpid";

/// Names above that x86_64 has and aarch64, a newer table, was made without.
pub const ABSENT_ON_AARCH64: &str = "\
    access afs_syscall alarm arch_prctl chmod chown creat create_module dup2 epoll_create epoll_ctl_old epoll_wait \
    epoll_wait_old eventfd fork futimesat get_kernel_syms get_thread_area getdents getpgrp getpmsg inotify_init ioperm \
    iopl lchown link lstat mkdir mknod modify_ldt open pause pipe poll putpmsg query_module readlink rename rmdir \
    security select set_thread_area signalfd stat symlink _sysctl sysfs time tuxcall unlink uprobe uretprobe uselib \
    ustat utime utimes vfork vserver";
