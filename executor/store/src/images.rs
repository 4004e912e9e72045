//! The index: one file for each image, found by ID, prefix of the ID, or name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;

use appc::{ImageId, ImageString};
use memchr::memmem::Finder;
use rustix::fs::{AtFlags, Mode, OFlags, openat, statat, unlinkat};
use rustix::io::Errno;

use crate::digest::Digest;
use crate::error::{StoreError, failed};
use crate::import::blob_path;
use crate::layout::Store;
use crate::lock::IndexLock;
use crate::names::latest_name;
use crate::record::{ImageKind, ImageRecord, file_of, id_of};
use crate::removal::for_each_entry;
use crate::shown::Shown;

/// A manifest has at most 4 MiB, and the rest of a record is small.
const RECORD_LIMIT: u64 = 8 << 20;

/// The least number of digits of a shortened ID, as in rkt.
const SHORTEST: usize = 2;

/// Why no image was found. The texts are rkt's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// No ID begins like this.
    #[error("no image IDs found for {0}")]
    NoId(Shown),
    /// Fewer than two digits.
    #[error("image ID too short: {0}")]
    TooShort(Shown),
    /// Several IDs begin like this.
    #[error("ambiguous image ID: {needle} ({count} images)")]
    Ambiguous {
        /// What was looked for.
        needle: Shown,
        /// How many IDs begin like it.
        count: usize,
    },
    /// No image has this name.
    #[error("no image named {0}")]
    NoName(Shown),
    /// The index could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All images of a store.
#[derive(Debug, Default)]
pub struct Listing {
    /// The images, in the order in which they were imported.
    pub images: Vec<ImageRecord>,
    /// Records that cannot be read, each an error that names its file.
    pub bad: Vec<StoreError>,
}

/// The image that a name means.
#[derive(Debug)]
pub struct Choice {
    /// It.
    pub image: ImageRecord,
    /// How many other images, versions of it for instance, are called so as well.
    pub others: usize,
}

impl Store {
    /// Finds an image by its ID, by the beginning of an ID (`sha512-` or `sha256:` and at least two digits), or by name.
    ///
    /// By a full ID it opens and reads exactly one file: this is on the way of every `run`.
    ///
    /// # Errors
    /// [`FindError`].
    pub fn find(&self, needle: &str) -> Result<ImageRecord, FindError> {
        let shown = || Shown::new(needle.as_bytes());
        let Some((algorithm, digits)) = split_id(needle) else { return Ok(self.find_name(needle)?.image) };
        if let Ok(id) = needle.parse::<ImageId>() {
            return self.record(&id)?.ok_or_else(|| FindError::NoId(shown()));
        }
        if digits.bytes().any(|b| !matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(FindError::NoId(shown()));
        }
        if digits.len() < SHORTEST {
            return Err(FindError::TooShort(shown()));
        }
        let prefix = format!("{algorithm}-{digits}");
        let mut matching = BTreeSet::new();
        for store in self.with_those_behind() {
            matching.extend(store.ids(&prefix)?);
        }
        match matching.len() {
            // It may be removed between the listing and the reading.
            0 | 1 => match matching.first() {
                Some(id) => self.record(id)?.ok_or_else(|| FindError::NoId(shown())),
                None => Err(FindError::NoId(shown())),
            },
            count => Err(FindError::Ambiguous { needle: shown(), count }),
        }
    }

    /// The record of an image; `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::System`].
    pub fn record(&self, id: &ImageId) -> Result<Option<ImageRecord>, StoreError> {
        for store in self.with_those_behind() {
            if let Some(record) = store.own_record(id)? {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    pub(crate) fn own_record(&self, id: &ImageId) -> Result<Option<ImageRecord>, StoreError> {
        self.own_json(id)?.map(|json| ImageRecord::from_json(id, &json)).transpose()
    }

    /// A record as it is written in its file.
    fn own_json(&self, id: &ImageId) -> Result<Option<Vec<u8>>, StoreError> {
        let file = file_of(id);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let open = match openat(self.dir(), file.as_str(), flags, Mode::empty()) {
            Ok(open) => File::from(open),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => {
                return Err(StoreError::Damaged { file, reason: "it is a symbolic link".to_owned() });
            }
            Err(errno) => return Err(failed("open", file)(errno)),
        };
        let mut json = Vec::with_capacity(8 << 10);
        let read = open.take(RECORD_LIMIT + 1).read_to_end(&mut json);
        read.map_err(|error| failed("read", file.as_str())(error))?;
        if json.len() as u64 > RECORD_LIMIT {
            return Err(StoreError::Damaged { file, reason: format!("it is larger than {RECORD_LIMIT} bytes") });
        }
        Ok(Some(json))
    }

    /// The ACI whose archive, as it came, has this digest; see [`Digest::of_reader`]. Without such a blob in the store
    /// this is one system call, so it is worth asking before an ACI is taken in again.
    ///
    /// # Errors
    /// [`StoreError::System`].
    pub fn find_archive(&self, archive: &Digest) -> Result<Option<ImageRecord>, StoreError> {
        let path = blob_path(archive);
        let is_there = |store: &Self| match statat(store.dir(), path.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(failed("stat", path.as_str())(errno)),
        };
        if !self.with_those_behind().map(is_there).collect::<Result<Vec<_>, _>>()?.contains(&true) {
            return Ok(None);
        }
        let is_it = |image: &ImageRecord| {
            image.kind == ImageKind::Aci && image.blobs.iter().any(|blob| blob.digest == *archive)
        };
        Ok(self.list()?.images.into_iter().find(is_it))
    }

    /// All images, those of stores behind this one too. A record that cannot be read is reported apart and hides no other.
    ///
    /// # Errors
    /// [`StoreError::System`] if the directory cannot be read.
    pub fn list(&self) -> Result<Listing, StoreError> {
        let mut listing = Listing::default();
        for store in self.with_those_behind() {
            let Listing { images, bad } = store.own_records()?;
            let known: BTreeSet<ImageId> = listing.images.iter().map(|image| image.id).collect();
            listing.images.extend(images.into_iter().filter(|image| !known.contains(&image.id)));
            listing.bad.extend(bad);
        }
        listing.images.sort_unstable_by_key(|image| (image.imported_ns, image.id));
        settle_names(&mut listing.images);
        Ok(listing)
    }

    /// What [`Store::list`] has of images in whose records this text is: all that can have it in a name. This is on the
    /// way of a `run` by name, and manifests may be long: those of other images are not parsed.
    fn list_those_with(&self, text: &str) -> Result<Vec<ImageRecord>, StoreError> {
        // Others are written in several ways.
        if !text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\')) {
            return Ok(self.list()?.images);
        }
        let text = Finder::new(text);
        let stores: Vec<&Self> = self.with_those_behind().collect();
        let mut images = Vec::new();
        for (place, store) in stores.iter().enumerate() {
            for id in store.ids("")? {
                let Ok(Some(json)) = store.own_json(&id) else { continue };
                let Some(image) = text.find(&json).and_then(|_| ImageRecord::from_json(&id, &json).ok()) else {
                    continue;
                };
                let is_hidden = |front: &&Self| matches!(front.own_record(&id), Ok(Some(_)));
                if !stores[..place].iter().any(is_hidden) {
                    images.push(image);
                }
            }
        }
        images.sort_unstable_by_key(|image| (image.imported_ns, image.id));
        settle_names(&mut images);
        Ok(images)
    }

    /// This store's own images, in no order, with all names that they ever claimed.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub fn own_records(&self) -> Result<Listing, StoreError> {
        let mut listing = Listing::default();
        for id in self.ids("")? {
            match self.own_record(&id) {
                Ok(Some(record)) => listing.images.push(record),
                Ok(None) => {} // removed meanwhile
                Err(error) => listing.bad.push(error),
            }
        }
        Ok(listing)
    }

    /// The ACI of this name with these labels: the one that was fetched as the latest if no version is asked for, else
    /// the one that was imported last (appc aci.md, Dependency Matching, leaves the choice open).
    ///
    /// # Errors
    /// [`StoreError::System`] if the directory cannot be read.
    pub fn called(&self, wanted: &ImageString) -> Result<Option<Choice>, StoreError> {
        Ok(choose(self.list_those_with(wanted.name.as_str())?, wanted))
    }

    /// Removes an image from the index. Its trees and blobs stay until [`Store::gc`]; pods that use them go on.
    ///
    /// # Errors
    /// [`StoreError::NoImage`], [`StoreError::NewerFormat`], [`StoreError::System`].
    pub fn remove(&self, id: &ImageId) -> Result<(), StoreError> {
        if !self.exists() {
            return Err(self.not_here(id)?);
        }
        self.check_writable()?;
        let _lock = IndexLock::take(self.dir())?;
        let file = file_of(id);
        match unlinkat(self.dir(), file.as_str(), AtFlags::empty()) {
            Ok(()) => self.sync_directory("images"),
            Err(Errno::NOENT) => Err(self.not_here(id)?),
            Err(errno) => Err(failed("unlink", file)(errno)),
        }
    }

    /// Finds an image by name: the one that has it, else the ACI that is called like this ([`Store::called`]).
    ///
    /// # Errors
    /// [`FindError::NoName`], [`FindError::Store`].
    pub fn find_name(&self, needle: &str) -> Result<Choice, FindError> {
        let wanted = needle.parse::<ImageString>().ok();
        let mut images = self.list_those_with(wanted.as_ref().map_or(needle, |wanted| wanted.name.as_str()))?;
        let found = match images.iter().position(|image| image.names().any(|name| name == needle)) {
            Some(position) => {
                let image = images.swap_remove(position);
                let is_called = |other: &&ImageRecord| wanted.as_ref().is_some_and(|wanted| other.is_called(wanted));
                Some(Choice { image, others: images.iter().filter(is_called).count() })
            }
            None => wanted.and_then(|wanted| choose(images, &wanted)),
        };
        found.ok_or_else(|| FindError::NoName(Shown::new(needle.as_bytes())))
    }

    /// Why an image cannot be changed that this store does not have.
    pub(crate) fn not_here(&self, id: &ImageId) -> Result<StoreError, StoreError> {
        for store in self.with_those_behind().filter(|store| !std::ptr::eq(*store, self)) {
            if store.own_record(id)?.is_some() {
                return Ok(StoreError::OnlyRead { id: *id, path: store.path().to_owned() });
            }
        }
        Ok(StoreError::NoImage { id: *id })
    }

    /// The IDs of this store's own images, from the names of their files, those whose names begin with `prefix`.
    fn ids(&self, prefix: &str) -> Result<Vec<ImageId>, StoreError> {
        let mut ids = Vec::new();
        if !self.exists() {
            return Ok(ids);
        }
        let images = match self.subdirectory("images") {
            // Somebody has removed it: there are no images.
            Err(StoreError::System { errno, .. }) if errno.is(Errno::NOENT) => return Ok(ids),
            images => images?,
        };
        let read = for_each_entry(&images, |name, _| {
            if name.starts_with(prefix.as_bytes()) {
                ids.extend(std::str::from_utf8(name).ok().and_then(id_of));
            }
            Ok(())
        });
        read.map_err(|error| failed("read", "images")(error))?;
        Ok(ids)
    }
}

/// Of images in the order of their imports the one that `wanted` means.
fn choose(mut images: Vec<ImageRecord>, wanted: &ImageString) -> Option<Choice> {
    let latest = latest_name(&wanted.name);
    let any_version = wanted.labels.get("version").is_none();
    let rank = |image: &ImageRecord| any_version && image.names().any(|name| name == latest);
    // Of equals the last one counts.
    images.retain(|image| image.is_called(wanted));
    let others = images.len().saturating_sub(1);
    images.into_iter().max_by_key(rank).map(|image| Choice { image, others })
}

/// Splits what looks like an ID into algorithm and digits.
fn split_id(needle: &str) -> Option<(&'static str, &str)> {
    let (name, digits) = needle.split_once(['-', ':'])?;
    match name {
        "sha512" => Some(("sha512", digits)),
        "sha256" => Some(("sha256", digits)),
        _ => None,
    }
}

/// Leaves each name with the image that claimed it last.
fn settle_names(images: &mut [ImageRecord]) {
    // An ACI says itself what it is called, whoever made it: it does not take the place of an image that came by that name.
    let mut owners: BTreeMap<String, (bool, u64, ImageId)> = BTreeMap::new();
    for image in images.iter() {
        for claim in &image.names {
            let this = (image.kind == ImageKind::Oci, claim.claimed_ns, image.id);
            let owner = owners.entry(claim.name.clone()).or_insert(this);
            *owner = (*owner).max(this);
        }
    }
    for image in images {
        let id = image.id;
        image.names.retain(|claim| owners.get(&claim.name).is_some_and(|owner| owner.2 == id));
    }
}
