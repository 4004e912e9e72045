//! Whether an archive is a sound image: one pass that decompresses, hashes and checks every member.

use std::fs::File;

use appc::{Dialect, ImageId, ImageManifest, ManifestError};
use store::Shown;
use store::archive::{EntryPath, IngestError, Member, MemberKind, MemberReader as _, Members, Scanned, scan};
use store::extract::{ExtractError, ExtractLimits, Fault};

use super::names::{Conflict, Seen, Use, clean};
use super::{MANIFEST, ROOTFS};

/// An archive that is no sound image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The stream or the tar archive in it cannot be read, or is beyond a limit.
    #[error(transparent)]
    Read(#[from] IngestError),
    /// No member is the manifest, and the manifest was all that was asked for.
    #[error("missing manifest")]
    MissingManifest,
    /// No member is the manifest.
    #[error("no image manifest found in layout")]
    NoManifest,
    /// No member is the directory `rootfs` itself.
    #[error("no rootfs found in layout")]
    NoRootfs,
    /// `rootfs` is something else.
    #[error("rootfs is not a directory")]
    RootfsNotDirectory,
    /// Two members of one name.
    #[error("duplicate file entry in archive: {}", .0.as_str())]
    Duplicate(Shown),
    /// The manifest breaks a rule.
    #[error("image manifest validation failed: {0}")]
    Manifest(ManifestError),
    /// A member beside the manifest and `rootfs`.
    #[error("unrecognized file path in layout: {0}")]
    Unrecognized(Shown),
    /// A member that breaks a rule.
    #[error("entry {entry}: {fault}")]
    Entry {
        /// Its name, as in the archive.
        entry: Shown,
        /// The rule.
        fault: Fault,
    },
}

impl From<ExtractError> for ArchiveError {
    fn from(error: ExtractError) -> Self {
        Self::Read(IngestError::Extract(error))
    }
}

/// A sound image.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Its ID: the SHA-512 of the whole uncompressed archive.
    pub id: ImageId,
    /// Its manifest.
    pub manifest: ImageManifest,
    /// How many members there are.
    pub entries: u64,
    /// How many of them are device nodes, which are left out when it is unpacked.
    pub devices: u64,
    /// Paths of the manifest's whitelist that no member has. In an image with dependencies they may come from there.
    pub absent: Vec<String>,
    /// How it is compressed, and its sizes.
    pub scanned: Scanned,
}

/// Reads an image to its end and checks it: the stream, the tar archive, the names and kinds of members, the manifest.
///
/// What is called sound here can be put into the store. Memory is bounded whatever the archive: about 30 MB for a
/// million members. Errors come in the order in which the Go implementation finds them: what stands in the way of reading
/// at once, then a missing manifest or rootfs, a bad manifest, and only then members that do not belong there.
///
/// # Errors
/// See [`ArchiveError`].
pub fn validate_archive(file: File, limits: &ExtractLimits, dialect: Dialect) -> Result<Checked, ArchiveError> {
    let (mut check, scanned) = scan(file, limits, |members| {
        let mut check = Check::new(limits);
        while let Some(member) = members.next_member()? {
            check.member(&member, members)?;
        }
        Ok::<_, ArchiveError>(check)
    })?;
    let manifest = check.manifest.take().ok_or(ArchiveError::NoManifest)?;
    if !check.rootfs {
        return Err(ArchiveError::NoRootfs);
    }
    let manifest = ImageManifest::from_json_in(&manifest, dialect).map_err(ArchiveError::Manifest)?;
    if let Some(misplaced) = check.misplaced.take() {
        return Err(misplaced);
    }
    let absent = check.absent_of(&manifest);
    let Check { entries, devices, .. } = check;
    Ok(Checked { id: scanned.digest.into(), manifest, entries, devices, absent, scanned })
}

/// The manifest of an image, as it stands there; nothing behind it is read.
///
/// # Errors
/// The archive cannot be read that far, or has none.
pub fn manifest_of(file: File, limits: &ExtractLimits) -> Result<Vec<u8>, ArchiveError> {
    let searched = scan(file, limits, |members| {
        while let Some(member) = members.next_member()? {
            if clean(&member.name) == MANIFEST.as_bytes() {
                return Err::<(), _>(Search::Found(read_manifest(&member, members, limits)?));
            }
        }
        Err(Search::Failed(ArchiveError::MissingManifest))
    });
    match searched {
        Err(Search::Found(manifest)) => Ok(manifest),
        Err(Search::Failed(error)) => Err(error),
        Ok(_) => Err(ArchiveError::MissingManifest),
    }
}

/// How a search ends: it is the visitor's error, because nothing more is to be read.
enum Search {
    Found(Vec<u8>),
    Failed(ArchiveError),
}

impl<E: Into<ArchiveError>> From<E> for Search {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// The data of the member that is the manifest.
pub(super) fn read_manifest(
    member: &Member,
    members: &mut Members<'_>,
    limits: &ExtractLimits,
) -> Result<Vec<u8>, ArchiveError> {
    if member.kind != MemberKind::File {
        return Err(at(member, Fault::ManifestKind));
    }
    if member.size > limits.manifest as u64 {
        return Err(at(member, Fault::ManifestSize(limits.manifest as u64)));
    }
    let mut bytes = Vec::new();
    members.data(member.size, &mut |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(bytes)
}

/// A rule that a member breaks.
pub(super) fn at(member: &Member, fault: Fault) -> ArchiveError {
    ArchiveError::Entry { entry: Shown::new(&member.name), fault }
}

/// What is known of an archive halfway through.
struct Check<'l> {
    limits: &'l ExtractLimits,
    manifest: Option<Vec<u8>>,
    rootfs: bool,
    seen: Seen,
    entries: u64,
    devices: u64,
    content: u64,
    /// The first member that does not belong there; the manifest's mistakes count more.
    misplaced: Option<ArchiveError>,
}

impl<'l> Check<'l> {
    fn new(limits: &'l ExtractLimits) -> Self {
        Self {
            limits,
            manifest: None,
            rootfs: false,
            seen: Seen::new(limits.entries),
            entries: 0,
            devices: 0,
            content: 0,
            misplaced: None,
        }
    }

    fn member(&mut self, member: &Member, members: &mut Members<'_>) -> Result<(), ArchiveError> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(ExtractError::Limit { what: "entries".to_owned(), limit: self.limits.entries }.into());
        }
        let path = clean(&member.name);
        let is_directory = member.kind == MemberKind::Directory;
        match path.as_slice() {
            // `tar -C layout .` begins with the layout itself.
            b"." if is_directory => {}
            b"manifest" => {
                if self.manifest.is_some() {
                    return Err(at(member, Fault::SecondManifest));
                }
                self.manifest = Some(read_manifest(member, members, self.limits)?);
            }
            b"rootfs" if !is_directory => return Err(ArchiveError::RootfsNotDirectory),
            b"rootfs" => self.rootfs = true,
            path => {
                let conflict = self.seen.insert(path, is_directory)?;
                match conflict {
                    Some(Conflict::Repeated) => return Err(ArchiveError::Duplicate(Shown::new(path))),
                    Some(Conflict::Fault(fault)) => self.misplaced(|| at(member, fault)),
                    None => {}
                }
                if path.split(|&b| b == b'/').next() != Some(ROOTFS.as_bytes()) {
                    self.misplaced(|| ArchiveError::Unrecognized(Shown::new(path)));
                }
            }
        }
        if let Err(fault) = self.rules(member) {
            self.misplaced(|| at(member, fault));
        }
        self.content = self.content.saturating_add(match member.kind {
            MemberKind::Sparse(_, size) => size,
            _ => member.size,
        });
        if self.content > self.limits.expanded {
            let what = "bytes of files".to_owned();
            return Err(ExtractError::Limit { what, limit: self.limits.expanded }.into());
        }
        Ok(())
    }

    fn misplaced(&mut self, error: impl FnOnce() -> ArchiveError) {
        if self.misplaced.is_none() {
            self.misplaced = Some(error());
        }
    }

    /// The rules for one member that the extractor has too.
    fn rules(&mut self, member: &Member) -> Result<(), Fault> {
        let name = EntryPath::parse(&member.name, self.limits)?;
        if name.trailing_slash && member.kind != MemberKind::Directory {
            return Err(Fault::TrailingSlash);
        }
        let carries_data = matches!(member.kind, MemberKind::File | MemberKind::Sparse(..));
        match &member.kind {
            MemberKind::Unknown(flag) => return Err(Fault::UnknownType(*flag)),
            _ if !carries_data && member.size != 0 => return Err(Fault::Data(member.size)),
            MemberKind::Device => self.devices += 1,
            MemberKind::Symlink(target)
                if target.is_empty() || target.len() >= self.limits.path || target.contains(&0) =>
            {
                return Err(Fault::LinkTarget);
            }
            MemberKind::HardLink(target) => self.hard_link(&name.path, target)?,
            MemberKind::Sparse(map, size) => check_map(map, *size, member.size)?,
            _ => {}
        }
        if member.uid >= u64::from(u32::MAX) || member.gid >= u64::from(u32::MAX) {
            return Err(Fault::OwnerRange { uid: member.uid, gid: member.gid });
        }
        Ok(())
    }

    /// A hard link names a member of this image that came before, and is not itself or a directory.
    fn hard_link(&self, path: &EntryPath, target: &[u8]) -> Result<(), Fault> {
        let bad = |fault| Fault::HardLinkName(Box::new(fault));
        let target = EntryPath::parse(target, self.limits).map_err(bad)?.path;
        let below = target.strip_first(ROOTFS.as_bytes()).ok_or_else(|| bad(Fault::OutsideRootfs))?;
        let shown = || Shown::new(below.as_bytes());
        if target.is_within(path.as_bytes()) {
            return Err(Fault::HardLinkSelf);
        }
        match self.seen.get(target.as_bytes()) {
            Some(Use::Leaf) => Ok(()),
            Some(_) => Err(Fault::HardLinkKind(shown())),
            None if below.is_root() => Err(Fault::HardLinkKind(shown())),
            None => Err(Fault::HardLinkMissing(shown())),
        }
    }

    /// Paths of the whitelist that the image does not have.
    fn absent_of(&self, manifest: &ImageManifest) -> Vec<String> {
        let has = |listed: &&String| {
            let path = clean([ROOTFS.as_bytes(), b"/", listed.as_bytes()].concat().as_slice());
            path == ROOTFS.as_bytes() || self.seen.get(&path).is_some()
        };
        manifest.path_whitelist.iter().filter(|listed| !has(listed)).cloned().collect()
    }
}

/// The regions of a sparse file come in order, fit its size, and are what is stored.
fn check_map(map: &[(u64, u64)], size: u64, stored: u64) -> Result<(), Fault> {
    let mut end = 0_u64;
    let mut sum = 0_u64;
    for &(offset, length) in map {
        end = offset.checked_add(length).filter(|_| offset >= end).ok_or(Fault::SparseMap)?;
        sum = sum.saturating_add(length);
    }
    if end > size || sum != stored { Err(Fault::SparseMap) } else { Ok(()) }
}
