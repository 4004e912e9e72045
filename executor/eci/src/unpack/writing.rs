//! A file in an archive that is being written.

use std::io;

use crate::file::Partial;
use crate::untar::Member;

/// A file in an archive that is being written.
pub(super) struct Writing {
    partial: Partial,
    /// Where it has data, if it has holes; and its size.
    map: Option<(std::vec::IntoIter<(u64, u64)>, u64)>,
    /// Bytes left of the region of data.
    left: u64,
}

impl Writing {
    /// Nothing of it is written yet.
    pub(super) fn new(partial: Partial) -> Self {
        Self { partial, map: None, left: 0 }
    }

    /// It is whole: it gets its name, and this mode.
    pub(super) fn publish(self, mode: u32) -> io::Result<()> {
        self.partial.publish(mode)
    }

    pub(super) fn begin(&mut self, member: &Member) -> io::Result<()> {
        self.partial.restart()?;
        let Member::File { holes } = member else { return Ok(()) };
        self.map = holes.clone().map(|(map, size)| (map.into_iter(), size));
        self.left = 0;
        Ok(())
    }

    pub(super) fn data(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, "the map of a sparse file is wrong");
        let Some((map, _)) = &mut self.map else { return self.partial.write(bytes) };
        while !bytes.is_empty() {
            while self.left == 0 {
                let (offset, length) = map.next().ok_or_else(wrong)?;
                let hole = offset.checked_sub(self.partial.position()).ok_or_else(wrong)?;
                self.partial.skip(hole)?;
                self.left = length;
            }
            let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            self.partial.write(&bytes[..count])?;
            self.left -= count as u64;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    pub(super) fn end(&mut self) -> io::Result<()> {
        if let Some((_, size)) = self.map.take() {
            let wrong = || io::Error::new(io::ErrorKind::InvalidData, "the map of a sparse file is wrong");
            let hole = size.checked_sub(self.partial.position()).ok_or_else(wrong)?;
            self.partial.skip(hole)?;
        }
        Ok(())
    }
}
