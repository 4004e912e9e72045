//! Which extended attributes of an archive reach the tree.

use std::os::fd::OwnedFd;

use rustix::fs::{XattrFlags, fsetxattr};
use rustix::io::Errno;

use super::error::{ExtractError, Fault};
use super::limits::ExtractLimits;
use super::tree::{failed, refused};
use super::warnings::Warnings;

/// The attributes of one member that are kept.
#[derive(Debug, Default)]
pub(super) struct Kept {
    user: Vec<(Vec<u8>, Vec<u8>)>,
    capability: Option<Vec<u8>>,
}

const CAPABILITY: &str = "security.capability";

impl Kept {
    /// Chooses from `xattrs`: `user.*` and file capabilities.
    ///
    /// `user.overlay.*` would make overlayfs hide or redirect files of other layers, `trusted.*` and the other
    /// `security.*` are the host's business, and ACLs (`system.*`) hold ids of the machine that made the image.
    pub(super) fn choose(
        entry: &[u8],
        xattrs: Vec<(Vec<u8>, Vec<u8>)>,
        limits: &ExtractLimits,
        budget: &mut usize,
        warnings: &mut Warnings,
    ) -> Result<Self, ExtractError> {
        let mut kept = Self::default();
        let mut bytes = 0;
        for (name, value) in xattrs {
            let capability = name == CAPABILITY.as_bytes();
            let overlay = name.starts_with(b"user.overlay.");
            if overlay || !(capability || name.starts_with(b"user.")) {
                warnings.add("extended attributes other than user.* and file capabilities are left out", entry);
                continue;
            }
            if name.contains(&0) || name.len() > 255 || name == b"user." {
                warnings.add("extended attributes with impossible names are left out", entry);
                continue;
            }
            bytes += name.len() + value.len();
            if bytes > limits.xattrs_per_entry {
                return Err(refused(entry, Fault::Xattrs(limits.xattrs_per_entry as u64)));
            }
            if capability {
                kept.capability = Some(value);
            } else {
                kept.user.push((name, value));
            }
        }
        *budget = budget.checked_sub(bytes).ok_or_else(|| ExtractError::Limit {
            what: "bytes of extended attributes".to_owned(),
            limit: limits.xattrs_total as u64,
        })?;
        Ok(kept)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.user.is_empty() && self.capability.is_none()
    }

    /// Sets `user.*`. To be called while the mode still lets us write.
    pub(super) fn set_user(&self, file: &OwnedFd, entry: &[u8], warnings: &mut Warnings) -> Result<(), ExtractError> {
        for (name, value) in &self.user {
            match fsetxattr(file, name.as_slice(), value, XattrFlags::empty()) {
                Ok(()) => {}
                // What a file system cannot hold, or has no room for, is no reason to refuse the image.
                Err(Errno::OPNOTSUPP | Errno::TOOBIG | Errno::RANGE | Errno::INVAL) => {
                    warnings.add("the file system does not hold these extended attributes", entry);
                }
                Err(Errno::NOSPC) if value.len() + name.len() > 2048 => {
                    // ext4 says this for attributes beyond one block, on an empty disk too.
                    warnings.add("the file system does not hold these extended attributes", entry);
                }
                Err(errno) => return Err(failed(entry, "fsetxattr", errno)),
            }
        }
        Ok(())
    }

    /// Sets the file capability. To be called after the owner is set, which clears it.
    pub(super) fn set_capability(&self, file: &OwnedFd, entry: &[u8], warnings: &mut Warnings) {
        let Some(value) = &self.capability else { return };
        // Outside a user namespace of ours this needs CAP_SETFCAP; a value may also be malformed.
        if fsetxattr(file, CAPABILITY, value, XattrFlags::empty()).is_err() {
            warnings.add("file capabilities could not be set", entry);
        }
    }
}
