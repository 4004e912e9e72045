//! The Landlock domain of an app: its own root, and nothing else (design.md section 6).
//!
//! It turns what mounts and namespaces leave open into EACCES: directory descriptors that leaked in, roots reached
//! through /proc, and the runner's own executable behind `/proc/self/exe` (CVE-2019-5736).

use std::os::fd::{AsFd, BorrowedFd};

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, PathBeneath, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError, RulesetStatus,
};
use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat};

/// The newest set of rights this runner knows; older kernels take what they know of it.
const NEWEST: ABI = ABI::V6;

/// Confines the calling process to `root`, plus the files that it already has as standard streams.
///
/// Returns whether this kernel has Landlock at all.
///
/// # Errors
/// [`RulesetError`] where a kernel with Landlock refuses the domain.
pub fn confine(root: BorrowedFd<'_>, streams: &[BorrowedFd<'_>]) -> Result<bool, RulesetError> {
    let all = AccessFs::from_all(NEWEST);
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .create()?
        // Privileges come from CAP_SYS_ADMIN in the app's namespace; whether set-id programs work is not decided here.
        .no_new_privs(false)
        .add_rule(PathBeneath::new(root, all))?;
    for stream in streams {
        if let Some(rights) = stream_rights(*stream) {
            ruleset = ruleset.add_rule(PathBeneath::new(stream.as_fd(), rights))?;
        }
    }
    Ok(ruleset.restrict_self()?.ruleset != RulesetStatus::NotEnforced)
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

/// Says whether this kernel has Landlock, without confining anything.
#[must_use]
pub fn supported() -> bool {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .and_then(Ruleset::create)
        .is_ok()
}
