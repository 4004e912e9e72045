//! Which host ids a pod's user namespace maps, and how the map gets into the kernel.
//!
//! Three tiers (docs/guides/users.md): a *range* (container root is the user, the rest comes from /etc/subuid and
//! /etc/subgid through newuidmap and newgidmap), a *single* id where there is no range, and *root's own* range, which
//! never maps host id 0. See user_namespaces(7), subuid(5), newuidmap(1).

mod exchange;
mod newuidmap;
mod subid;

use std::fmt::Write as _;
use std::fs;
use std::io;

use rustix::process::Pid;

use newuidmap::Helper;
use subid::SubidFiles;

/// First id of the ranges that root's pods may take: systemd's container range starts here (systemd's
/// UIDS-GIDS.md), so that neither adduser nor subid tools hand out the same ids.
pub const ROOT_RANGE_START: u32 = 0x2400_0000;

/// Ids in a range: images use ids up to 65,535 (nobody is 65,534). Fewer would make some images unusable, more buys
/// nothing.
pub const RANGE_LEN: u32 = 65_536;

/// One line of a uid_map or gid_map: `count` ids from `inside` on map to those from `outside` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// First id inside the namespace.
    pub inside: u32,
    /// First id in the parent namespace.
    pub outside: u32,
    /// Number of ids.
    pub count: u32,
}

/// How the ids of a pod are mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// Container root is the user; ids from 1 on are a subordinate range. Written by newuidmap and newgidmap.
    Range,
    /// Only container root exists, and it is the user.
    Single,
    /// The caller is root of the host: a range of root's own, container root is its first id.
    Root,
}

/// The id map of a user's pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMapping {
    tier: Tier,
    uids: Vec<Extent>,
    gids: Vec<Extent>,
}

/// Why ids could not be mapped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdMapError {
    /// A file that describes subordinate ids could not be read.
    #[error("read {path}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The helper program is missing or cannot be executed.
    #[error("start {program}")]
    StartHelper {
        /// newuidmap or newgidmap.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The helper program refused the map.
    #[error("{program} {arguments}: {message}")]
    Helper {
        /// newuidmap or newgidmap.
        program: String,
        /// Its arguments.
        arguments: String,
        /// The first line of what it printed.
        message: String,
    },
    /// The kernel refused the map.
    #[error("write {path}: {map:?}")]
    Write {
        /// The file below /proc.
        path: String,
        /// The map.
        map: String,
        /// Why.
        source: io::Error,
    },
}

impl IdMapping {
    /// Finds the best map for the calling user. `root_range` is the first id of root's own range where the caller has
    /// recorded one; it matters only for root.
    ///
    /// # Errors
    /// [`IdMapError::Read`] when /etc/subuid or /etc/subgid exist but cannot be read.
    pub fn detect(root_range: Option<u32>) -> Result<Self, IdMapError> {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let files = SubidFiles::read()?;
        if uid == 0 && maps_all_ids()? {
            let start = root_range.unwrap_or_else(|| files.free_range(ROOT_RANGE_START, RANGE_LEN));
            return Ok(Self::root(start));
        }
        Ok(match files.range_of(uid)? {
            Some((uids, gids)) if newuidmap::both_exist() => Self::range(uid, gid, uids, gids),
            _ => Self::single(uid, gid),
        })
    }

    /// The map of [`Tier::Single`].
    #[must_use]
    pub fn single(uid: u32, gid: u32) -> Self {
        let one = |outside| vec![Extent { inside: 0, outside, count: 1 }];
        Self { tier: Tier::Single, uids: one(uid), gids: one(gid) }
    }

    /// The map of [`Tier::Range`]; each range is (first id, count).
    #[must_use]
    pub fn range(uid: u32, gid: u32, uids: (u32, u32), gids: (u32, u32)) -> Self {
        let map = |own, (outside, count): (u32, u32)| {
            vec![
                Extent { inside: 0, outside: own, count: 1 },
                Extent { inside: 1, outside, count: count.min(RANGE_LEN) },
            ]
        };
        Self { tier: Tier::Range, uids: map(uid, uids), gids: map(gid, gids) }
    }

    /// The map of [`Tier::Root`].
    #[must_use]
    pub fn root(start: u32) -> Self {
        let map = vec![Extent { inside: 0, outside: start, count: RANGE_LEN }];
        Self { tier: Tier::Root, uids: map.clone(), gids: map }
    }

    /// The map in which a user and a group have changed places with root: files that are theirs inside belong to whom
    /// root's belong to now. `None` where the map has no such ids.
    #[must_use]
    pub fn exchanged(&self, uid: u32, gid: u32) -> Option<Self> {
        let (uids, gids) = (exchange::exchanged(&self.uids, uid)?, exchange::exchanged(&self.gids, gid)?);
        Some(Self { tier: self.tier, uids, gids })
    }

    /// Whether root of the map is the calling user.
    #[must_use]
    pub fn root_is_caller(&self) -> bool {
        let me = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        self.container_root() == me
    }

    /// The host uid and gid that ids inside are.
    #[must_use]
    pub fn outside(&self, uid: u32, gid: u32) -> Option<(u32, u32)> {
        Some((exchange::outside(&self.uids, uid)?, exchange::outside(&self.gids, gid)?))
    }

    /// The tier.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// The uid extents.
    #[must_use]
    pub fn uids(&self) -> &[Extent] {
        &self.uids
    }

    /// The gid extents.
    #[must_use]
    pub fn gids(&self) -> &[Extent] {
        &self.gids
    }

    /// The host uid and gid that container root is.
    #[must_use]
    pub fn container_root(&self) -> (u32, u32) {
        // The first extent begins with root.
        (self.uids[0].outside, self.gids[0].outside)
    }

    /// A name for this map: two maps with the same key give files of an image the same owners on disk.
    #[must_use]
    pub fn key(&self) -> String {
        let mut key = String::from(match self.tier {
            Tier::Range => "range",
            Tier::Single => "single",
            Tier::Root => "root",
        });
        for (letter, extents) in [('u', &self.uids), ('g', &self.gids)] {
            for extent in extents {
                let _ = write!(key, "-{letter}{}.{}", extent.outside, extent.count);
            }
        }
        key
    }

    /// Writes the map for `pid`, the first process of a new user namespace whose parent is the caller's.
    ///
    /// # Errors
    /// [`IdMapError::Helper`] and [`IdMapError::Write`] when the map is refused, [`IdMapError::StartHelper`].
    pub fn write(&self, pid: Pid) -> Result<(), IdMapError> {
        self.start(pid)?.finish()
    }

    /// Begins to write the map for `pid`; with [`Tier::Range`], the helper programs go on while the caller does
    /// something else.
    ///
    /// # Errors
    /// As [`IdMapping::write`].
    pub fn start(&self, pid: Pid) -> Result<Writing, IdMapError> {
        match self.tier {
            Tier::Range => {
                // Side by side: each costs half a millisecond, mostly for executing a setuid program.
                let uids = Helper::start("newuidmap", pid, &self.uids)?;
                let gids = Helper::start("newgidmap", pid, &self.gids)?;
                Ok(Writing(vec![uids, gids]))
            }
            Tier::Single => {
                // user_namespaces(7): without privileges a gid map may be written only once setgroups is denied.
                write_file(pid, "setgroups", "deny")?;
                self.write_files(pid).map(|()| Writing(vec![]))
            }
            Tier::Root => self.write_files(pid).map(|()| Writing(vec![])),
        }
    }

    /// The same map for a user namespace whose parent has `outer`: what is outside of it are that one's ids. `None` if the
    /// parent does not have them all.
    pub(crate) fn within(&self, outer: &Self) -> Option<Self> {
        let within = |own: &[Extent], outer: &[Extent]| {
            let one = |extent: &Extent| {
                let holder = outer.iter().find(|it| {
                    let place = extent.outside.checked_sub(it.outside);
                    place.and_then(|place| place.checked_add(extent.count)).is_some_and(|end| end <= it.count)
                })?;
                Some(Extent { outside: holder.inside + (extent.outside - holder.outside), ..*extent })
            };
            own.iter().map(one).collect::<Option<Vec<_>>>()
        };
        let (uids, gids) = (within(&self.uids, &outer.uids)?, within(&self.gids, &outer.gids)?);
        Some(Self { tier: self.tier, uids, gids })
    }

    fn write_files(&self, pid: Pid) -> Result<(), IdMapError> {
        write_file(pid, "uid_map", &map_text(&self.uids))?;
        write_file(pid, "gid_map", &map_text(&self.gids))
    }
}

/// What the host calls a user.
#[must_use]
pub fn user_name(uid: u32) -> Option<String> {
    subid::user_name(uid)
}

/// The extents of a user namespace whose parent has `extents`: the same ids, line by line, because a line that spans two
/// of the parent's extents is refused (measured). With `exchanged`, that id and root have changed places.
#[must_use]
pub(crate) fn nested(extents: &[Extent], exchanged: Option<u32>) -> Vec<Extent> {
    let same = |extent: &Extent| Extent { inside: extent.inside, outside: extent.inside, count: extent.count };
    let same: Vec<Extent> = extents.iter().map(same).collect();
    exchanged.and_then(|id| exchange::exchanged(&same, id)).unwrap_or(same)
}

/// The text of a uid_map or gid_map file.
#[must_use]
pub fn map_text(extents: &[Extent]) -> String {
    extents.iter().fold(String::new(), |mut text, extent| {
        let _ = writeln!(text, "{} {} {}", extent.inside, extent.outside, extent.count);
        text
    })
}

fn write_file(pid: Pid, name: &str, text: &str) -> Result<(), IdMapError> {
    let path = format!("/proc/{}/{name}", pid.as_raw_nonzero());
    fs::write(&path, text).map_err(|source| IdMapError::Write { path, map: text.trim_end().to_owned(), source })
}

/// Says whether this process's user namespace has every id: only there is uid 0 the host's root.
fn maps_all_ids() -> Result<bool, IdMapError> {
    let path = "/proc/self/uid_map";
    let text = fs::read_to_string(path).map_err(|source| IdMapError::Read { path: path.to_owned(), source })?;
    Ok(text.split_ascii_whitespace().eq(["0", "0", "4294967295"]))
}

/// Maps that are being written.
#[derive(Debug)]
#[must_use = "the maps are not written before `finish`"]
pub struct Writing(Vec<Helper>);

impl Writing {
    /// Waits until the maps are written.
    ///
    /// # Errors
    /// [`IdMapError::Helper`] for the first that was refused.
    pub fn finish(self) -> Result<(), IdMapError> {
        // All are waited for, so that none is left as a zombie.
        let results: Vec<_> = self.0.into_iter().map(Helper::finish).collect();
        results.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_the_owners_on_disk() {
        assert_eq!(IdMapping::single(1000, 100).key(), "single-u1000.1-g100.1");
        assert_eq!(
            IdMapping::range(1000, 100, (100_000, 65_536), (200_000, 65_536)).key(),
            "range-u1000.1-u100000.65536-g100.1-g200000.65536"
        );
        assert_eq!(IdMapping::root(ROOT_RANGE_START).key(), "root-u603979776.65536-g603979776.65536");
    }

    #[test]
    fn map_text_has_a_line_for_each_extent() {
        let map = IdMapping::range(7, 8, (100, 10), (200, 20));
        assert_eq!(map_text(map.uids()), "0 7 1\n1 100 10\n");
        assert_eq!(map_text(map.gids()), "0 8 1\n1 200 20\n");
        assert_eq!(map.container_root(), (7, 8));
    }

    #[test]
    fn a_map_within_another_names_its_ids() {
        let outer = IdMapping::range(1000, 100, (100_000, 10), (200_000, 10));
        let extents = |mapping: &IdMapping| map_text(mapping.uids()) + &map_text(mapping.gids());
        assert_eq!(extents(&outer.within(&outer).unwrap()), "0 0 1\n1 1 10\n0 0 1\n1 1 10\n");
        assert_eq!(extents(&IdMapping::single(1000, 100).within(&outer).unwrap()), "0 0 1\n0 0 1\n");
        let exchanged = outer.exchanged(3, 0).unwrap().within(&outer).unwrap();
        assert_eq!(map_text(exchanged.uids()), "0 3 1\n1 1 2\n3 0 1\n4 4 7\n");
        assert_eq!(outer.within(&IdMapping::single(1000, 100)), None);
        assert_eq!(IdMapping::single(1001, 100).within(&outer), None);
    }

    #[test]
    fn root_never_maps_host_id_zero() {
        let map = IdMapping::root(ROOT_RANGE_START);
        assert!(map.uids().iter().chain(map.gids()).all(|extent| extent.outside > 0));
    }

    /// USR-05: maps of one line, of two, of five and of as many as the kernel takes (user_namespaces(7)) are what the
    /// kernel says they are. As root: others write two lines at most.
    #[test]
    fn usr_05_maps_are_read_back_as_they_were_written() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        for count in [1, 2, 5, 340] {
            let extent = |index: u32| Extent { inside: 2 * index, outside: 1000 + 2 * index, count: 1 };
            let extents: Vec<Extent> = (0..count).map(extent).collect();
            let mapping = IdMapping { tier: Tier::Root, uids: extents.clone(), gids: extents };
            // A process of its own: the tests' has threads, and such a one cannot be forked.
            let mut child = std::process::Command::new("unshare").args(["--user", "sleep", "60"]).spawn().unwrap();
            let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
            let own = fs::read_link("/proc/self/ns/user").unwrap();
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
            while fs::read_link(format!("/proc/{}/ns/user", child.id())).is_ok_and(|other| other == own) {
                assert!(std::time::Instant::now() < deadline, "no namespace");
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            let written = mapping.write(pid);
            let read = |file: &str| -> Vec<u32> {
                let text = fs::read_to_string(format!("/proc/{}/{file}", child.id())).unwrap();
                text.split_ascii_whitespace().map(|number| number.parse().unwrap()).collect()
            };
            let (uids, gids) = (read("uid_map"), read("gid_map"));
            child.kill().and_then(|()| child.wait()).unwrap();
            written.unwrap();
            let numbers = |extents: &[Extent]| -> Vec<u32> {
                extents.iter().flat_map(|it| [it.inside, it.outside, it.count]).collect()
            };
            assert_eq!((uids, gids), (numbers(mapping.uids()), numbers(mapping.gids())), "{count} lines");
        }
    }
}
