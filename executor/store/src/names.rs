//! Names are given to images and taken from them.

use std::io::Write as _;
use std::os::fd::AsFd as _;

use appc::{AcIdentifier, ImageId};
use rustix::fs::{Mode, OFlags, fsync, openat, renameat};

use crate::error::{StoreError, failed};
use crate::layout::Store;
use crate::lock::IndexLock;
use crate::record::{ImageKind, ImageRecord, NameClaim, file_of};
use crate::usage::{now_ns, timespec};
use crate::work::WorkDir;

impl Store {
    /// Gives an image more names. A name of another image is taken from it.
    ///
    /// # Errors
    /// [`StoreError::NoImage`], [`StoreError::Damaged`], [`StoreError::NewerFormat`], [`StoreError::System`].
    pub fn tag(&self, id: &ImageId, names: &[String]) -> Result<ImageRecord, StoreError> {
        self.check_writable()?;
        let work = WorkDir::create(self)?;
        let _lock = IndexLock::take(self.dir())?;
        let mut record = self.record(id)?.ok_or(StoreError::NoImage { id: *id })?;
        let used = self.last_used(id)?;
        let others = self.list()?.images;
        // An ACI's claim does not count beside that of an image that came by the name: it has to be given up.
        let counts_more = |other: &ImageRecord| record.kind == ImageKind::Aci && other.kind == ImageKind::Oci;
        let has_one = |other: &&ImageRecord| other.names().any(|name| names.iter().any(|given| given == name));
        let holders: Vec<ImageId> =
            others.iter().filter(|it| counts_more(it)).filter(has_one).map(|it| it.id).collect();
        let mut losers = Vec::new();
        for holder in holders {
            losers.push(self.own_record(&holder)?.ok_or_else(|| self.not_here(&holder).unwrap_or_else(|error| error))?);
        }
        claim(&mut record, &others, names);
        self.write_record(&work, &record, used)?;
        for mut loser in losers {
            let used = self.last_used(&loser.id)?;
            loser.names.retain(|claim| !names.contains(&claim.name));
            self.write_record(&work, &loser, used)?;
        }
        Ok(record)
    }

    /// Takes a name from the image that has it, and from those that had it before.
    ///
    /// # Errors
    /// [`StoreError::NewerFormat`], [`StoreError::System`]. That nobody has the name is none.
    pub fn untag(&self, name: &str) -> Result<(), StoreError> {
        self.check_writable()?;
        let work = WorkDir::create(self)?;
        let _lock = IndexLock::take(self.dir())?;
        let claimed =
            |record: &ImageRecord| record.names.iter().find(|claim| claim.name == name).map(|claim| claim.claimed_ns);
        let mut claims = self.own_records()?.images;
        claims.retain(|record| claimed(record).is_some());
        // The claim that counts goes last: killed in between, the name is still where it was.
        claims.sort_by_key(claimed);
        for mut record in claims {
            let used = self.last_used(&record.id)?;
            record.names.retain(|claim| claim.name != name);
            self.write_record(&work, &record, used)?;
        }
        Ok(())
    }

    /// Replaces a record, under the index lock; `used` is when its image was used last, now if nobody knows.
    pub(crate) fn write_record(
        &self,
        work: &WorkDir,
        record: &ImageRecord,
        used: Option<u64>,
    ) -> Result<(), StoreError> {
        draft_record(work, record, used)?;
        self.place_record(work, record)
    }

    /// Puts a draft in its place, under the index lock.
    pub(crate) fn place_record(&self, work: &WorkDir, record: &ImageRecord) -> Result<(), StoreError> {
        let target = file_of(&record.id);
        renameat(work.dir(), DRAFT, self.dir(), target.as_str()).map_err(failed("rename", target))?;
        self.sync_directory("images")
    }
}

/// The record that is to be placed, in a work directory.
const DRAFT: &str = "record";

/// Writes a record where it is not seen yet, durably.
pub(crate) fn draft_record(work: &WorkDir, record: &ImageRecord, used: Option<u64>) -> Result<(), StoreError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let draft = || format!("tmp/{DRAFT}");
    let file = openat(work.dir(), DRAFT, flags, Mode::RUSR | Mode::WUSR).map_err(failed("create", draft()))?;
    let mut file = std::fs::File::from(file);
    file.write_all(&record.to_json()?).map_err(|error| failed("write", draft())(error))?;
    if let Some(used) = used {
        let time = timespec(used);
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        rustix::fs::futimens(&file, &times).map_err(failed("futimens", draft()))?;
    }
    fsync(file.as_fd()).map_err(failed("fsync", draft()))
}

/// The name that an ACI has besides its own if it was fetched without asking for a version.
pub fn latest_name(name: &AcIdentifier) -> String {
    format!("{name}:latest")
}

/// Gives `record` the names, with claims later than all others whatever the clock says.
pub(crate) fn claim(record: &mut ImageRecord, others: &[ImageRecord], names: &[String]) {
    let now = now_ns();
    for name in names {
        let claims = others.iter().flat_map(|other| &other.names).filter(|claim| claim.name == *name);
        let claimed_ns = claims.map(|claim| claim.claimed_ns.saturating_add(1)).max().unwrap_or(0).max(now);
        record.names.retain(|claim| claim.name != *name);
        record.names.push(NameClaim { name: name.clone(), claimed_ns });
    }
}
