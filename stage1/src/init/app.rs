//! One app, as pid 1 sees it: how it is to be run, and the namespaces in which its processes live.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, openat};
use rustix::process::Pid;

use super::listening;
use crate::apply::{Fds, Named as _, Refusal};
use crate::enter::Room;
use crate::idmap::{Extent, IdMapping, Tier, map_text, nested};
use crate::isolators::net_admin::Grant;
use crate::network::Passed;
use crate::op::Slot;
use crate::plan::AppPlan;

/// An app of the pod.
pub(crate) struct App {
    pub(crate) plan: AppPlan,
    /// Once its first process has made them.
    pub(crate) room: Option<Room>,
    /// The way into its control group, if it has one.
    pub(crate) cgroup: Option<OwnedFd>,
    /// The listening sockets that it takes over each time it starts.
    pub(crate) sockets: Vec<OwnedFd>,
}

impl App {
    pub(crate) fn new(plan: AppPlan, cgroup: Option<OwnedFd>) -> Self {
        Self { plan, room: None, cgroup, sockets: Vec::new() }
    }

    /// The sandbox's descriptors, and the way into the app's control group.
    pub(crate) fn with_cgroup(&self, fds: &Fds) -> Result<Fds, Refusal> {
        let mut own = fds.try_clone()?;
        self.put_cgroup(&mut own)?;
        Ok(own)
    }

    /// Gives the way into its control group to its first process.
    pub(crate) fn put_cgroup(&self, own: &mut Fds) -> Result<(), Refusal> {
        if let Some(cgroup) = &self.cgroup {
            own.put(Slot::Cgroup, cgroup.try_clone().named(|| "fcntl(F_DUPFD_CLOEXEC)".into())?);
        }
        Ok(())
    }

    /// Opens the sockets that it takes over, and gives them to its first process.
    pub(crate) fn put_sockets(&mut self, sockets: Vec<Passed>, own: &mut Fds) -> Result<(), Refusal> {
        self.sockets = listening::open(sockets.into_iter())?;
        for (number, socket) in self.sockets.iter().enumerate() {
            own.put(Slot::Socket(number), socket.try_clone().named(|| "fcntl(F_DUPFD_CLOEXEC)".into())?);
        }
        Ok(())
    }

    /// Writes the maps of the app's user namespace, in which the process `first` sits, and keeps its namespaces.
    pub(crate) fn take_room(
        &mut self,
        first: Pid,
        mapping: &IdMapping,
        fds: &Fds,
        (uid, gid): (u32, u32),
    ) -> Result<(), Refusal> {
        let pid = first.as_raw_nonzero().get();
        // The network's owner has its maps. Nobody but root goes there.
        if self.plan.net_admin != Some(Grant::App) || (uid, gid) != (0, 0) {
            let kept = self.plan.keep_id.as_ref();
            write_map(fds, pid, "uid_map", &app_map(mapping, mapping.uids(), uid, kept.map(|keep| keep.uid)))?;
            write_map(fds, pid, "gid_map", &app_map(mapping, mapping.gids(), gid, kept.map(|keep| keep.gid)))?;
        }
        let open = |name: &str| {
            let path = format!("{pid}/ns/{name}");
            openat(fds.get(Slot::Proc)?, path.as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .named(|| format!("openat(<proc/{path}>)"))
        };
        let cgroup = self.cgroup.as_ref().map(|_| open("cgroup")).transpose()?;
        self.room = Some(Room { user: open("user")?, mount: open("mnt")?, cgroup, ids: (uid, gid) });
        Ok(())
    }
}

fn write_map(fds: &Fds, pid: i32, name: &str, map: &str) -> Result<(), Refusal> {
    let path = format!("{pid}/{name}");
    let file = openat(fds.get(Slot::Proc)?, path.as_str(), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .named(|| format!("openat(<proc/{path}>, O_WRONLY)"))?;
    rustix::io::write(&file, map.as_bytes()).map(drop).named(|| format!("write(<proc/{path}>, {map:?})"))
}

/// The map of an app's user namespace within the pod's: the same ids, but for one that may have changed places with
/// root. With a single id, that one is whatever id the app wants to have.
fn app_map(mapping: &IdMapping, extents: &[Extent], wanted: u32, exchanged: Option<u32>) -> String {
    let one = || vec![Extent { inside: wanted, outside: 0, count: 1 }];
    let extents = if mapping.tier() == Tier::Single { one() } else { nested(extents, exchanged) };
    map_text(&extents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_apps_map_is_the_pods_line_by_line() {
        let range = IdMapping::range(1000, 1000, (100_000, 65_536), (200_000, 65_536));
        assert_eq!(app_map(&range, range.uids(), 33, None), "0 0 1\n1 1 65536\n");
        let kept = app_map(&range, range.uids(), 33, Some(33));
        assert_eq!(kept, "0 33 1\n1 1 32\n33 0 1\n34 34 65503\n");
        let single = IdMapping::single(1000, 1000);
        assert_eq!(app_map(&single, single.uids(), 33, Some(33)), "33 0 1\n");
    }
}
