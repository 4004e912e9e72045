//! What is known about files elsewhere: which image a URL led to, and downloads that were not finished.
//!
//! ```text
//! remotes/HEX.json          which image the URL led to when, and what its server said about keeping it
//! downloads/HEX.part        what has come so far; locked exclusively by the process that downloads
//! downloads/HEX.json        what the server said about the whole
//! ```
//!
//! `HEX` is the SHA-256 of the URL. Nothing here is needed to run an image: a file that is damaged or of another version
//! counts as none, and [`Store::gc`](crate::Store::gc) removes what nobody has touched for a day.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use appc::ImageId;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, fstat, mkdirat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::digest::{Algorithm, Digest};
use crate::error::{StoreError, failed};
use crate::layout::Store;
use crate::removal::for_each_entry;
use crate::usage::now_ns;

/// The folders; made when they are first needed.
const REMOTES: &str = "remotes";
const DOWNLOADS: &str = "downloads";

/// A file of either folder larger than this many bytes is damaged.
const MAX_JSON: u64 = 64 << 10;

/// How long an unfinished download is worth keeping: resuming later than that is rarer than another version.
const UNFINISHED: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a process waits between two looks whether another one has finished its download.
const LOOK: Duration = Duration::from_millis(100);

/// What a server says about a file that tells it from another one at the same URL.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validators {
    /// `ETag`.
    pub etag: Option<String>,
    /// `Last-Modified`.
    pub last_modified: Option<String>,
    /// All bytes of the file, where the server says how many.
    pub size: Option<u64>,
}

/// What a URL led to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remote {
    /// The URL.
    pub url: String,
    /// The image.
    #[serde(with = "id")]
    pub image: ImageId,
    /// What the server said about the file.
    pub validators: Validators,
    /// When the server said so, in nanoseconds since the epoch.
    pub asked_ns: u64,
    /// For how many seconds from then on it need not be asked again.
    pub max_age: u64,
    /// Whether a trusted key had signed it.
    pub signed: bool,
}

/// A download under way, or one that was not finished. Others who want the same URL wait until it is closed.
#[derive(Debug)]
pub struct Download<'s> {
    store: &'s Store,
    url: String,
    /// What has come so far; to be written at its end.
    pub file: File,
    /// What the server said when that came; `None` for a new download.
    pub validators: Option<Validators>,
}

#[derive(Serialize, Deserialize)]
struct Unfinished {
    url: String,
    validators: Validators,
}

impl Store {
    /// What is known about a URL.
    ///
    /// # Errors
    /// [`StoreError::System`].
    pub fn remote(&self, url: &str) -> Result<Option<Remote>, StoreError> {
        let remote: Option<Remote> = self.read_json(&path(REMOTES, url, "json"))?;
        Ok(remote.filter(|remote| remote.url == url))
    }

    /// Notes what a URL led to.
    ///
    /// # Errors
    /// [`StoreError::NewerFormat`], [`StoreError::System`].
    pub fn set_remote(&self, remote: &Remote) -> Result<(), StoreError> {
        self.check_writable()?;
        self.write_json(REMOTES, &remote.url, remote)
    }

    /// Takes up the download of a URL. Calls `wait` once, and waits, if another process is at it.
    ///
    /// # Errors
    /// [`StoreError::NewerFormat`], [`StoreError::System`].
    pub fn download(&self, url: &str, wait: impl FnOnce()) -> Result<Download<'_>, StoreError> {
        self.check_writable()?;
        self.ensure_folder(DOWNLOADS)?;
        let part = path(DOWNLOADS, url, "part");
        let mut wait = Some(wait);
        let file = loop {
            match self.lock_part(&part).map_err(failed("lock", part.as_str()))? {
                Some(file) => break File::from(file),
                None => {
                    if let Some(wait) = wait.take() {
                        wait();
                    }
                    std::thread::sleep(LOOK);
                }
            }
        };
        let unfinished: Option<Unfinished> = self.read_json(&path(DOWNLOADS, url, "json"))?;
        let validators = unfinished.filter(|it| it.url == url).map(|it| it.validators);
        Ok(Download { store: self, url: url.to_owned(), file, validators })
    }

    /// Opens and locks a file of downloads; `None` if somebody else has it, or just finished it.
    fn lock_part(&self, part: &str) -> rustix::io::Result<Option<OwnedFd>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(self.dir(), part, flags, Mode::RUSR | Mode::WUSR)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok((fstat(&file)?.st_nlink > 0).then_some(file)),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Removes downloads that nobody went on with for a day, and what is known about URLs whose images are gone.
    pub(crate) fn forget_remotes(&self, images: &dyn Fn(&ImageId) -> bool) -> Result<(), StoreError> {
        for name in self.names_in(REMOTES)? {
            let file = format!("{REMOTES}/{name}");
            let remote: Option<Remote> = self.read_json(&file)?;
            if remote.is_none_or(|remote| !images(&remote.image)) {
                self.unlink(&file)?;
            }
        }
        let oldest = now_ns().saturating_sub(u64::try_from(UNFINISHED.as_nanos()).unwrap_or(u64::MAX));
        for name in self.names_in(DOWNLOADS)? {
            let file = format!("{DOWNLOADS}/{name}");
            let Ok(stat) = statat(self.dir(), file.as_str(), AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let touched = u64::try_from(stat.st_mtime).unwrap_or(0).saturating_mul(1_000_000_000);
            if touched > oldest {
                continue;
            }
            // A part is removed under its lock, so that nobody goes on with it meanwhile.
            let lock = if name.ends_with(".part") {
                self.lock_part(&file).map_err(failed("lock", file.as_str()))?
            } else {
                None
            };
            if lock.is_some() || !name.ends_with(".part") {
                self.unlink(&file)?;
            }
        }
        Ok(())
    }

    fn names_in(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = match openat(self.dir(), folder, flags, Mode::empty()) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => return Ok(Vec::new()),
            Err(errno) => return Err(failed("open", folder)(errno)),
        };
        let mut names = Vec::new();
        let read = for_each_entry(&dir, |name, _| {
            names.extend(std::str::from_utf8(name).map(str::to_owned));
            Ok(())
        });
        read.map_err(|error| failed("read", folder)(error))?;
        Ok(names)
    }

    fn ensure_folder(&self, folder: &str) -> Result<(), StoreError> {
        match mkdirat(self.dir(), folder, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(failed("mkdir", folder)(errno)),
        }
    }

    fn unlink(&self, file: &str) -> Result<(), StoreError> {
        match unlinkat(self.dir(), file, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(failed("unlink", file)(errno)),
        }
    }

    fn read_json<T: for<'de> Deserialize<'de>>(&self, file: &str) -> Result<Option<T>, StoreError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let open = match openat(self.dir(), file, flags, Mode::empty()) {
            Ok(open) => File::from(open),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(failed("open", file)(errno)),
        };
        let mut json = Vec::new();
        open.take(MAX_JSON).read_to_end(&mut json).map_err(|error| failed("read", file)(error))?;
        Ok(serde_json::from_slice(&json).ok())
    }

    /// Replaces a file, complete or not at all. It is not made durable: losing it costs a request.
    fn write_json(&self, folder: &str, url: &str, content: &impl Serialize) -> Result<(), StoreError> {
        self.ensure_folder(folder)?;
        let target = path(folder, url, "json");
        let draft = format!("{target}.{}", std::process::id());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(self.dir(), draft.as_str(), flags, Mode::RUSR | Mode::WUSR);
        let mut file = File::from(file.map_err(failed("create", draft.as_str()))?);
        let json = serde_json::to_vec(content).expect("it has no map with other keys than strings");
        file.write_all(&json).map_err(|error| failed("write", draft.as_str())(error))?;
        renameat(self.dir(), draft.as_str(), self.dir(), target.as_str()).map_err(failed("rename", target))
    }
}

impl Download<'_> {
    /// How many bytes have come so far.
    ///
    /// # Errors
    /// Those of fstat(2).
    pub fn received(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Begins again with nothing, of a file that the server says this about.
    ///
    /// # Errors
    /// [`StoreError::System`].
    pub fn restart(&mut self, validators: Validators) -> Result<(), StoreError> {
        let part = || path(DOWNLOADS, &self.url, "part");
        self.file.set_len(0).map_err(|error| failed("truncate", part())(error))?;
        self.file.rewind().map_err(|error| failed("seek", part())(error))?;
        let unfinished = Unfinished { url: self.url.clone(), validators };
        self.store.write_json(DOWNLOADS, &self.url, &unfinished)?;
        self.validators = Some(unfinished.validators);
        Ok(())
    }

    /// Goes to the end of what has come.
    ///
    /// # Errors
    /// Those of lseek(2).
    pub fn resume(&mut self) -> io::Result<u64> {
        self.file.seek(SeekFrom::End(0))
    }

    /// All bytes are there: the file is handed over, at its start, and has no name any more.
    ///
    /// # Errors
    /// [`StoreError::System`].
    pub fn finish(mut self) -> Result<File, StoreError> {
        self.store.unlink(&path(DOWNLOADS, &self.url, "json"))?;
        self.store.unlink(&path(DOWNLOADS, &self.url, "part"))?;
        self.file.rewind().map_err(|error| failed("seek", path(DOWNLOADS, &self.url, "part"))(error))?;
        // Those who wait must not wait for what happens to the file now.
        flock(self.file.as_fd(), FlockOperation::Unlock)
            .map_err(failed("unlock", path(DOWNLOADS, &self.url, "part")))?;
        Ok(self.file)
    }

    /// Gives up what has come: nothing of it is of use.
    ///
    /// # Errors
    /// [`StoreError::System`].
    pub fn discard(self) -> Result<(), StoreError> {
        self.finish().map(drop)
    }
}

/// The file of a URL, below the store.
fn path(folder: &str, url: &str, extension: &str) -> String {
    format!("{folder}/{}.{extension}", Digest::of(Algorithm::Sha256, url.as_bytes()).hex())
}

/// An image's ID as the text that it is everywhere.
mod id {
    use appc::ImageId;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(id: &ImageId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ImageId, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::ensure(dir.path()).unwrap();
        (dir, store)
    }

    fn remote(url: &str, image: [u8; 64]) -> Remote {
        let validators = Validators { etag: Some("\"x\"".to_owned()), ..Validators::default() };
        Remote {
            url: url.to_owned(),
            image: ImageId::sha512(image),
            validators,
            asked_ns: 5,
            max_age: 60,
            signed: true,
        }
    }

    #[test]
    fn a_url_is_remembered_until_its_image_is_gone() {
        let (dir, store) = store();
        assert_eq!(store.remote("https://a/1").unwrap(), None);
        store.set_remote(&remote("https://a/1", [1; 64])).unwrap();
        store.set_remote(&remote("https://a/2", [2; 64])).unwrap();
        assert_eq!(store.remote("https://a/1").unwrap(), Some(remote("https://a/1", [1; 64])));
        store.forget_remotes(&|id| *id == ImageId::sha512([2; 64])).unwrap();
        assert_eq!(store.remote("https://a/1").unwrap(), None);
        assert!(store.remote("https://a/2").unwrap().is_some());
        // Damage is forgetting.
        let file = dir.path().join("store").join(path(REMOTES, "https://a/2", "json"));
        std::fs::write(&file, "{").unwrap();
        assert_eq!(store.remote("https://a/2").unwrap(), None);
        store.forget_remotes(&|_| true).unwrap();
        assert!(!file.exists());
    }

    #[test]
    fn an_unfinished_download_is_taken_up_again() {
        let (dir, store) = store();
        let url = "https://a/x.aci";
        let mut download = store.download(url, || panic!("nobody else is there")).unwrap();
        assert_eq!((download.received().unwrap(), &download.validators), (0, &None));
        let validators = Validators { etag: Some("\"1\"".to_owned()), last_modified: None, size: Some(9) };
        download.restart(validators.clone()).unwrap();
        download.file.write_all(b"half").unwrap();
        drop(download);

        let mut download = store.download(url, || panic!("nobody else is there")).unwrap();
        assert_eq!(download.resume().unwrap(), 4);
        assert_eq!(download.validators, Some(validators));
        download.file.write_all(b" done").unwrap();
        let mut text = String::new();
        download.finish().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "half done");
        assert_eq!(std::fs::read_dir(dir.path().join("store/downloads")).unwrap().count(), 0);
        assert_eq!(store.download(url, || {}).unwrap().received().unwrap(), 0);
    }

    #[test]
    fn the_second_one_waits_for_the_first() {
        let (_dir, store) = store();
        let url = "https://a/x.aci";
        let mut first = store.download(url, || {}).unwrap();
        first.restart(Validators::default()).unwrap();
        let (waits, waiting) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| store.download(url, || waits.send(()).unwrap()).unwrap().received().unwrap());
            waiting.recv().unwrap();
            first.file.write_all(b"all").unwrap();
            first.finish().unwrap();
            assert_eq!(second.join().unwrap(), 0, "a new download, not what the first one had");
        });
    }

    #[test]
    fn old_unfinished_downloads_are_removed_unless_they_are_under_way() {
        let (dir, store) = store();
        let age = |url: &str| {
            let file = dir.path().join("store").join(path(DOWNLOADS, url, "part"));
            let old = std::time::SystemTime::now() - UNFINISHED * 2;
            File::options().write(true).open(&file).unwrap().set_modified(old).unwrap();
            file
        };
        drop(store.download("https://a/old", || {}).unwrap());
        let new = store.download("https://a/under-way", || {}).unwrap();
        drop(store.download("https://a/young", || {}).unwrap());
        let (old, under_way) = (age("https://a/old"), age("https://a/under-way"));
        store.forget_remotes(&|_| true).unwrap();
        assert!(!old.exists() && under_way.exists());
        assert_eq!(store.names_in(DOWNLOADS).unwrap().len(), 2);
        drop(new);
    }
}
