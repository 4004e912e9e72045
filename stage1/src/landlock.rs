//! The Landlock domain of an app: its own root, and nothing else.
//!
//! It turns what mounts and namespaces leave open into EACCES: directory descriptors that leaked in, roots reached
//! through /proc, and the runner's own executable behind `/proc/self/exe` (CVE-2019-5736).

use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd};

use appc::isolator::report::Outcome;
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, NetPort, PathBeneath, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
};
use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat};

/// The newest set of rights this runner knows; older kernels take what they know of it.
const NEWEST: ABI = ABI::V6;

/// What an operator can take from an app beyond files, where the kernel knows how (Linux 6.7 and 6.12).
///
/// It binds TCP sockets to its own ports alone, and neither connects to abstract Unix sockets nor signals processes
/// outside of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Strict {
    /// Its TCP ports.
    pub ports: Vec<RangeInclusive<u16>>,
}

/// Confines the calling process to `root`, plus the files that it already has as standard streams, and to what
/// `strict` leaves.
///
/// Returns whether this kernel has Landlock at all.
///
/// # Errors
/// [`RulesetError`] where a kernel with Landlock refuses the domain.
pub fn confine(
    root: BorrowedFd<'_>,
    streams: &[BorrowedFd<'_>],
    strict: Option<&Strict>,
) -> Result<bool, RulesetError> {
    let all = AccessFs::from_all(NEWEST);
    let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort).handle_access(all)?;
    if strict.is_some() {
        ruleset = ruleset.handle_access(AccessNet::BindTcp)?.scope(Scope::AbstractUnixSocket | Scope::Signal)?;
    }
    let mut ruleset = ruleset
        .create()?
        // Privileges come from CAP_SYS_ADMIN in the app's namespace; whether set-id programs work is not decided here.
        .no_new_privs(false)
        .add_rule(PathBeneath::new(root, all))?;
    for stream in streams {
        if let Some(rights) = stream_rights(*stream) {
            ruleset = ruleset.add_rule(PathBeneath::new(stream.as_fd(), rights))?;
        }
    }
    for port in strict.iter().flat_map(|strict| strict.ports.iter().cloned()).flatten() {
        ruleset = ruleset.add_rule(NetPort::new(port, AccessNet::BindTcp))?;
    }
    Ok(ruleset.restrict_self()?.ruleset != RulesetStatus::NotEnforced)
}

/// Confines the calling process to what is below these directories. It keeps what it has open.
///
/// Returns whether this kernel has Landlock at all.
///
/// # Errors
/// [`RulesetError`] where a kernel with Landlock refuses the domain.
pub fn confine_to(dirs: &[BorrowedFd<'_>]) -> Result<bool, RulesetError> {
    let all = AccessFs::from_all(NEWEST);
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort).handle_access(all)?.create()?;
    let rules = dirs.iter().map(|dir| Ok::<_, RulesetError>(PathBeneath::new(dir, all)));
    Ok(ruleset.add_rules(rules)?.restrict_self()?.ruleset != RulesetStatus::NotEnforced)
}

/// What an app may do when it opens a standard stream again (`/dev/stdout`): what the stream itself can. Pipes and
/// sockets have no path and need no rule.
fn stream_rights(stream: BorrowedFd<'_>) -> Option<BitFlags<AccessFs>> {
    let kind = FileType::from_raw_mode(fstat(stream).ok()?.st_mode);
    if !matches!(kind, FileType::RegularFile | FileType::CharacterDevice) {
        return None;
    }
    let flags = fcntl_getfl(stream).ok()?;
    let write = AccessFs::WriteFile | AccessFs::Truncate;
    let rights = match flags & OFlags::RWMODE {
        OFlags::RDONLY => AccessFs::ReadFile.into(),
        OFlags::WRONLY => write,
        _ => write | AccessFs::ReadFile,
    };
    Some(if kind == FileType::CharacterDevice { rights | AccessFs::IoctlDev } else { rights })
}

/// What this kernel makes of a [`Strict`] domain.
#[must_use]
pub fn strict_outcome() -> Outcome {
    let none = || Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let ports = none().handle_access(AccessNet::BindTcp).and_then(Ruleset::create).is_ok();
    let signals = none().scope(Scope::AbstractUnixSocket | Scope::Signal).and_then(Ruleset::create).is_ok();
    match (ports, signals) {
        (true, true) => Outcome::Enforced,
        (true, false) => {
            Outcome::Modified("signals and abstract Unix sockets are not restricted before Linux 6.12".to_owned())
        }
        (false, true) => Outcome::Modified("this kernel's Landlock does not restrict TCP ports".to_owned()),
        (false, false) if supported() => {
            Outcome::Ignored("beyond files nothing is restricted before Linux 6.7".to_owned())
        }
        (false, false) => Outcome::Ignored("this kernel has no Landlock".to_owned()),
    }
}

/// Says whether this kernel has Landlock, without confining anything.
#[must_use]
pub fn supported() -> bool {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .and_then(Ruleset::create)
        .is_ok()
}
