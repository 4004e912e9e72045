//! Copies an image with another manifest; every other member stays as it is, byte for byte.

use std::fs::File;
use std::io::{self, Write as _};

use store::archive::{Compression, IngestError, Member, MemberKind, MemberReader as _, Members, scan};
use store::extract::{ExtractError, ExtractLimits, Fault, Warnings};

use super::MANIFEST;
use super::archive::{ArchiveError, at, read_manifest};
use super::names::clean;
use super::pack::{Built, entry};
use super::sink::{Sink, Written};

/// An image that cannot be copied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RewriteError<E: std::error::Error + 'static> {
    /// It cannot be read.
    #[error(transparent)]
    Archive(ArchiveError),
    /// There is no new manifest for it.
    #[error(transparent)]
    Manifest(E),
    /// Writing the copy failed.
    #[error("write")]
    Write(#[source] io::Error),
}

impl<E: std::error::Error + 'static> From<IngestError> for RewriteError<E> {
    fn from(error: IngestError) -> Self {
        Self::Archive(error.into())
    }
}

impl<E: std::error::Error + 'static> From<ExtractError> for RewriteError<E> {
    fn from(error: ExtractError) -> Self {
        Self::Archive(error.into())
    }
}

impl<E: std::error::Error + 'static> From<ArchiveError> for RewriteError<E> {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(error)
    }
}

const BLOCK: u64 = 512;

/// Copies the image in `input` to `output` with the manifest that `change` makes of its own. The manifest keeps its
/// place, owner, mode and time.
///
/// # Errors
/// See [`RewriteError`]. What was written by then is of no use.
pub fn rewrite<E: std::error::Error + 'static>(
    input: File,
    output: File,
    compression: Compression,
    limits: &ExtractLimits,
    change: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
) -> Result<Built, RewriteError<E>> {
    let mut copy = Copy { sink: Sink::new(output, compression).map_err(RewriteError::Write)?, limits, entries: 0 };
    let mut change = Some(change);
    scan(input, limits, |members| {
        while let Some(member) = members.next_member()? {
            copy.count()?;
            if clean(&member.name) == MANIFEST.as_bytes() {
                let change = change.take().ok_or_else(|| at(&member, Fault::SecondManifest))?;
                let new = change(&read_manifest(&member, members, limits)?).map_err(RewriteError::Manifest)?;
                copy.manifest(&member, members, &new).map_err(RewriteError::Write)?;
            } else {
                copy.member(&member, members)?;
            }
        }
        Ok::<_, RewriteError<E>>(())
    })?;
    if change.is_some() {
        return Err(ArchiveError::MissingManifest.into());
    }
    copy.finish().map_err(RewriteError::Write)
}

struct Copy<'l> {
    sink: Sink,
    limits: &'l ExtractLimits,
    entries: u64,
}

impl Copy<'_> {
    fn count(&mut self) -> Result<(), ExtractError> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(ExtractError::Limit { what: "entries".to_owned(), limit: self.limits.entries });
        }
        Ok(())
    }

    fn member<E: std::error::Error>(
        &mut self,
        member: &Member,
        members: &mut Members<'_>,
    ) -> Result<(), RewriteError<E>> {
        if let MemberKind::Unknown(flag) = member.kind {
            // Whether data follows it is a guess.
            return Err(at(member, Fault::UnknownType(flag)).into());
        }
        for blocks in members.raw_head() {
            self.sink.write_all(blocks).map_err(RewriteError::Write)?;
        }
        let (sink, mut failure) = (&mut self.sink, None);
        let copied = members.data(member.size, &mut |piece| {
            sink.write_all(piece).map_err(|error| {
                failure = Some(error);
                ExtractError::Read("the copy cannot be written".to_owned())
            })
        });
        match failure {
            Some(error) => Err(RewriteError::Write(error)),
            None => {
                copied?;
                self.pad(member.size).map_err(RewriteError::Write)
            }
        }
    }

    fn manifest(&mut self, old: &Member, members: &Members<'_>, new: &[u8]) -> io::Result<()> {
        // The last of the blocks is the member's own header, with the names of its owner.
        let header = members.raw_head().last().and_then(|blocks| blocks.rchunks_exact(BLOCK as usize).next());
        let name = |from: usize| {
            let field = header.map_or(&[][..], |header| &header[from..from + 32]);
            field.split(|&b| b == 0).next().unwrap_or_default().to_vec()
        };
        let id = |id: u64| u32::try_from(id).unwrap_or(0);
        let mtime = u64::try_from(old.mtime.0).unwrap_or(0);
        let mut entry = entry(&old.name, old.mode, (id(old.uid), id(old.gid)), mtime);
        entry.username(name(265)).and_then(|entry| entry.groupname(name(297))).map_err(io::Error::other)?;
        entry.size(new.len() as u64).map_err(io::Error::other)?;
        for (name, value) in &old.xattrs {
            if let Ok(name) = std::str::from_utf8(name) {
                entry.add_pax(&format!("SCHILY.xattr.{name}"), value);
            }
        }
        self.sink.write_all(&entry.finish_bytes())?;
        self.sink.write_all(new)?;
        self.pad(new.len() as u64)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let padding = (size.next_multiple_of(BLOCK) - size) as usize;
        self.sink.write_all(&[0; BLOCK as usize][..padding])
    }

    fn finish(mut self) -> io::Result<Built> {
        // Two blocks of zeros end an archive.
        self.sink.write_all(&[0; 2 * BLOCK as usize])?;
        let Written { id, size, compressed_size } = self.sink.finish()?;
        Ok(Built { id, entries: self.entries, size: (size, compressed_size), warnings: Warnings::default() })
    }
}
