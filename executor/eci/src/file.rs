//! A file that gets its name when it is complete, and keeps its holes.
//!
//! Until then it is `.NAME.DIGEST.part` beside its place. What a killed pull has left there the next one goes on with.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{
    AtFlags, FlockOperation, Mode, OFlags, ResolveFlags, flock, fstat, mkdirat, openat2, renameat, unlinkat,
};
use rustix::io::Errno;

use crate::digest::{Digest, Hasher};
use crate::title::Title;

/// The unit of holes: a file system's block.
const BLOCK: usize = 4096;
/// As much as is written at once.
const MOST: usize = 1 << 20;

/// A folder that files go to.
#[derive(Debug)]
pub struct Folder(OwnedFd);

impl Folder {
    /// Takes an open folder.
    #[must_use]
    pub fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// The folder of a title, made if it is not there; never outside this one, and through no symbolic link.
    fn of(&self, title: &Title) -> Result<OwnedFd, Errno> {
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
        let mut dir = openat2(&self.0, c".", flags, Mode::empty(), beneath)?;
        for name in title.parts().0 {
            match mkdirat(&dir, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
            dir = openat2(&dir, name, flags, Mode::empty(), beneath)?;
        }
        Ok(dir)
    }
}

/// See the module. Dropped without [`Partial::publish`] it removes what it wrote, unless [`Partial::keep`] was called.
#[derive(Debug)]
pub(crate) struct Partial {
    dir: OwnedFd,
    part: String,
    name: String,
    file: File,
    /// Bytes taken in so far.
    position: u64,
    /// Bytes that do not make whole blocks yet; they begin where a block does.
    tail: Vec<u8>,
    kept: bool,
}

impl Partial {
    /// Opens the part of a file that has, or comes out of, the blob `digest`.
    pub(crate) fn open(folder: &Folder, title: &Title, digest: &Digest) -> io::Result<Self> {
        let dir = folder.of(title)?;
        let name = title.parts().1.to_owned();
        // Names may have 255 bytes already.
        let start: String = name.chars().take(40).collect();
        let part = format!(".{start}.{}.part", &digest.hex()[..16]);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat2(&dir, &*part, flags, Mode::RUSR | Mode::WUSR, ResolveFlags::BENEATH)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            Errno::AGAIN => io::Error::other("another pull is writing it"),
            other => other.into(),
        })?;
        let file = File::from(file);
        if !file.metadata()?.is_file() {
            return Err(io::Error::other(format!("{part} is not a regular file")));
        }
        Ok(Self { dir, part, name, file, position: 0, tail: Vec::new(), kept: false })
    }

    /// Takes in what an earlier pull left, but no more than `most` bytes. Returns their number.
    pub(crate) fn resume(&mut self, hasher: &mut Hasher, most: u64) -> io::Result<u64> {
        let length = self.file.metadata()?.len();
        // Whole blocks only, so that `tail` begins at one.
        let length = length.min(most) / BLOCK as u64 * BLOCK as u64;
        self.file.set_len(length)?;
        let mut buffer = vec![0; MOST];
        while self.position < length {
            let wanted = usize::try_from(length - self.position).unwrap_or(MOST).min(MOST);
            self.file.read_exact_at(&mut buffer[..wanted], self.position)?;
            hasher.update(&buffer[..wanted]);
            self.position += wanted as u64;
        }
        Ok(length)
    }

    /// Forgets what is there.
    pub(crate) fn restart(&mut self) -> io::Result<()> {
        self.position = 0;
        self.tail.clear();
        self.file.set_len(0)
    }

    /// Takes the next bytes.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.position += bytes.len() as u64;
        if !self.tail.is_empty() {
            let wanted = (BLOCK - self.tail.len()).min(bytes.len());
            self.tail.extend_from_slice(&bytes[..wanted]);
            bytes = &bytes[wanted..];
            if self.tail.len() < BLOCK {
                return Ok(());
            }
            let block = std::mem::take(&mut self.tail);
            self.write_blocks(&block, self.position - bytes.len() as u64 - BLOCK as u64)?;
            self.tail = block;
            self.tail.clear();
        }
        let whole = bytes.len() / BLOCK * BLOCK;
        let start = self.position - bytes.len() as u64;
        self.write_blocks(&bytes[..whole], start)?;
        self.tail.extend_from_slice(&bytes[whole..]);
        Ok(())
    }

    /// Leaves out bytes that are zero: a hole.
    pub(crate) fn skip(&mut self, mut count: u64) -> io::Result<()> {
        let zeros = [0; BLOCK];
        if !self.tail.is_empty() {
            let wanted = ((BLOCK - self.tail.len()) as u64).min(count);
            self.write(&zeros[..wanted as usize])?;
            count -= wanted;
        }
        let whole = count / BLOCK as u64 * BLOCK as u64;
        self.position += whole;
        self.write(&zeros[..(count - whole) as usize])
    }

    fn write_blocks(&self, bytes: &[u8], mut at: u64) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let blocks = |want_zero: bool| {
                let run = rest.chunks(BLOCK).take_while(|it| is_zero(it) == want_zero).count();
                (run * BLOCK).min(rest.len())
            };
            let holes = blocks(true);
            at += holes as u64;
            rest = &rest[holes..];
            let data = rest.chunks(BLOCK).take_while(|it| !is_zero(it)).count() * BLOCK;
            let data = data.min(rest.len());
            self.file.write_all_at(&rest[..data], at)?;
            at += data as u64;
            rest = &rest[data..];
        }
        Ok(())
    }

    /// Writes what is left, so that the file has its length.
    fn complete(&mut self) -> io::Result<()> {
        let tail = std::mem::take(&mut self.tail);
        self.write_blocks(&tail, self.position - tail.len() as u64)?;
        self.file.set_len(self.position)
    }

    /// Gives the file its name and permissions, in place of what has the name now.
    pub(crate) fn publish(mut self, mode: u32) -> io::Result<()> {
        self.complete()?;
        rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode & 0o777))?;
        renameat(&self.dir, &*self.part, &self.dir, &*self.name)?;
        self.kept = true;
        Ok(())
    }

    /// Leaves what was taken in for the next pull.
    pub(crate) fn keep(&mut self) {
        self.kept = self.position > 0 && self.complete().is_ok();
    }

    /// The bytes so far.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Only if it is still ours: whoever removed it may have made another.
        let ours = fstat(&self.file).and_then(|own| {
            let named = rustix::fs::statat(&self.dir, &*self.part, AtFlags::SYMLINK_NOFOLLOW)?;
            Ok((own.st_dev, own.st_ino) == (named.st_dev, named.st_ino))
        });
        if !self.kept && ours == Ok(true) {
            // One that stays is gone on with.
            let _ = unlinkat(self.dir.as_fd(), &*self.part, AtFlags::empty());
        }
    }
}

/// Whether there is nothing but zeros in a block, which is not empty: it may become a hole.
pub(crate) fn is_zero(block: &[u8]) -> bool {
    // Compared with itself moved by one: what begins with zero and never changes is zero. The C library's comparison is
    // the fastest there is.
    block.first() == Some(&0) && block[1..] == block[..block.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn folder() -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir_in("/var/tmp").expect("a folder");
        let fd = rustix::fs::open(dir.path(), OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).expect("it is ours");
        (dir, Folder::new(fd))
    }

    fn title(text: &str) -> Title {
        Title::new(text).expect("a title")
    }

    #[test]
    fn files_are_written_as_they_came_with_holes() {
        let (dir, folder) = folder();
        let mut content = vec![0; 3_000_000];
        content[5000..5100].fill(1);
        content[2_000_000..2_100_001].fill(2);
        for piece in [1, 100, 4096, 4097, 65_536, 3_000_000] {
            let mut partial = Partial::open(&folder, &title("a/b"), &Digest::of(b"")).expect("it opens");
            for bytes in content.chunks(piece) {
                partial.write(bytes).expect("it is written");
            }
            partial.publish(0o644).expect("it is published");
            let path = dir.path().join("a/b");
            assert!(std::fs::read(&path).expect("it is there") == content, "pieces of {piece}");
            let meta = path.metadata().expect("it is there");
            assert_eq!((meta.len(), meta.mode() & 0o777), (3_000_000, 0o644));
            assert!(meta.blocks() * 512 < 300_000, "{} bytes are used", meta.blocks() * 512);
        }
        assert_eq!(std::fs::read_dir(dir.path().join("a")).expect("it is there").count(), 1);
    }

    #[test]
    fn nothing_is_left_of_what_is_not_published() {
        let (dir, folder) = folder();
        let mut partial = Partial::open(&folder, &title("a"), &Digest::of(b"")).expect("it opens");
        partial.write(&[1; 10_000]).expect("it is written");
        assert!(Partial::open(&folder, &title("a"), &Digest::of(b"")).is_err(), "one writes at a time");
        drop(partial);
        assert_eq!(std::fs::read_dir(dir.path()).expect("it is there").count(), 0);
    }

    #[test]
    fn what_was_kept_is_gone_on_with() {
        let (dir, folder) = folder();
        let content: Vec<u8> = (0..50_000_u32).map(|it| if it < 20_000 { 0 } else { it as u8 }).collect();
        let digest = Digest::of(&content);
        for cut in [1, 4096, 10_000, 20_000, 30_001, 50_000] {
            let mut partial = Partial::open(&folder, &title("a"), &digest).expect("it opens");
            partial.write(&content[..cut]).expect("it is written");
            partial.keep();
            drop(partial);
            let mut partial = Partial::open(&folder, &title("a"), &digest).expect("it opens");
            let mut hasher = Hasher::default();
            let had = partial.resume(&mut hasher, 50_000).expect("it is read") as usize;
            assert_eq!(had, cut / BLOCK * BLOCK);
            hasher.update(&content[had..]);
            partial.write(&content[had..]).expect("it is written");
            assert_eq!(hasher.finish(), digest);
            partial.publish(0o600).expect("it is published");
            assert!(std::fs::read(dir.path().join("a")).expect("it is there") == content, "cut at {cut}");
        }
    }

    #[test]
    fn folders_are_not_entered_through_links() {
        let (dir, folder) = folder();
        std::os::unix::fs::symlink("/tmp", dir.path().join("link")).expect("the folder is ours");
        assert!(Partial::open(&folder, &title("link/a"), &Digest::of(b"")).is_err());
    }

    #[test]
    fn holes_are_skipped() {
        let (dir, folder) = folder();
        let mut partial = Partial::open(&folder, &title("a"), &Digest::of(b"")).expect("it opens");
        for (data, hole) in [(10, 10), (4076, 100_000), (1, 4095), (0, 5)] {
            partial.write(&vec![7; data]).expect("it is written");
            partial.skip(hole).expect("it is skipped");
        }
        assert_eq!(partial.position(), 108_197);
        partial.publish(0o600).expect("it is published");
        let read = std::fs::read(dir.path().join("a")).expect("it is there");
        assert_eq!((read.len(), read.iter().filter(|it| **it == 7).count()), (108_197, 4087));
    }
}
