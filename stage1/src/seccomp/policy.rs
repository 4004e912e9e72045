//! What a filter shall answer to each system call, as data.

use std::collections::BTreeMap;

/// An architecture filters can be made for.
///
/// A filter is for exactly one. Calls made through another entry of the kernel (32-bit, x32) kill the process, because
/// their numbers and arguments differ: 32-bit `socketcall` walks around every rule about socket families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 64-bit Arm.
    Aarch64,
}

impl Arch {
    /// The architecture by the name Rust gives it in `CARGO_CFG_TARGET_ARCH`, if filters can be made for it.
    pub fn from_rust_name(name: &str) -> Option<Self> {
        match name {
            "x86_64" => Some(Self::X86_64),
            "aarch64" => Some(Self::Aarch64),
            _ => None,
        }
    }

    /// The kernel's `AUDIT_ARCH_*` value (linux/audit.h).
    pub fn audit_value(self) -> u32 {
        match self {
            Self::X86_64 => 0xC000_003E,
            Self::Aarch64 => 0xC000_00B7,
        }
    }

    /// The first number that is not one of this architecture's own calls but of another entry, where there is one.
    /// On x86_64 bit 30 selects x32; everything from there up is foreign.
    pub fn first_foreign_number(self) -> Option<u32> {
        match self {
            Self::X86_64 => Some(0x4000_0000),
            Self::Aarch64 => None,
        }
    }
}

/// The answer to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Action {
    /// The call is made.
    Allow,
    /// The call is not made and returns this errno, at most [`MAX_ERRNO`].
    Errno(u16),
    /// The whole process dies of SIGSYS.
    KillProcess,
    /// The thread that made the call dies as if of SIGSYS. Where it is not alone, the others go on.
    KillThread,
    /// The call is made and a line of it written into the kernel's log.
    Log,
    /// The call is not made, and the thread gets a SIGSYS that it can catch.
    Trap,
}

/// The largest errno the kernel returns from a filter (`MAX_ERRNO`, linux/err.h); larger ones would silently change.
pub const MAX_ERRNO: u16 = 4095;

impl Action {
    /// The value a filter returns for this action (`SECCOMP_RET_*`, linux/seccomp.h).
    pub fn return_value(self) -> u32 {
        match self {
            Self::Allow => 0x7fff_0000,
            Self::Errno(errno) => 0x0005_0000 | u32::from(errno),
            Self::KillProcess => 0x8000_0000,
            Self::KillThread => 0,
            Self::Log => 0x7ffc_0000,
            Self::Trap => 0x0003_0000,
        }
    }
}

/// One unsigned comparison of an argument (or of its low half) with constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op<T> {
    /// The argument equals the value.
    Eq(T),
    /// The argument differs from the value.
    Ne(T),
    /// The argument is below the value.
    Lt(T),
    /// The argument is at most the value.
    Le(T),
    /// The argument is above the value.
    Gt(T),
    /// The argument is at least the value.
    Ge(T),
    /// The argument's bits under the mask equal the value. A value with bits outside the mask never matches.
    Masked {
        /// The bits looked at.
        mask: T,
        /// What they must be.
        value: T,
    },
}

/// How much of the argument is compared.
///
/// The kernel reads many arguments as 32-bit integers and ignores the high half of the register. A 64-bit comparison
/// of such an argument can be walked around by setting a high bit (CVE-2019-10063).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compare {
    /// The low 32 bits, whatever stands above them.
    Low(Op<u32>),
    /// All 64 bits.
    Full(Op<u64>),
}

/// A comparison of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Condition {
    /// Which argument, 0 to 5.
    pub arg: u8,
    /// What is asked of it.
    pub compare: Compare,
}

/// An answer that holds when all its conditions do; a rule without conditions always holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// Conditions, all of which must hold.
    pub all_of: Vec<Condition>,
    /// The answer then.
    pub action: Action,
}

/// The answer to one system call number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// The same whatever the arguments.
    Always(Action),
    /// The action of the first rule that holds.
    ByArguments {
        /// Tried in order.
        rules: Vec<Rule>,
        /// The answer if none holds.
        otherwise: Action,
    },
}

/// A whole filter, as data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The architecture whose numbers `calls` holds; calls of any other kill the process.
    pub arch: Arch,
    /// Decisions by system call number.
    pub calls: BTreeMap<u32, Decision>,
    /// The answer to every number without a decision. ENOSYS in an allow-list: C libraries then fall back to the older
    /// call, which they do not on EPERM.
    pub unknown: Action,
}
