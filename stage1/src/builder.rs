//! Builds the mounts of an app that is added to a running pod.
//!
//! Pid 1 has pivoted away from the host's files and cannot build from them any more (measured: EINVAL). So a short-lived
//! process enters the pod's user namespace with a copy of the host's mounts of its own, builds there what pid 1 builds
//! for the first apps, by the same list of operations, and sends the mounts detached.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use appc::PodManifest;
use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions, set_parent_process_death_signal, waitid};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::{Deserialize, Serialize};
use sys::fork::{Fork, Namespaces};

use crate::apply::{Fds, Named as _, Refusal, apply};
use crate::channel::{Channel, Failure, FailureKind, pair};
use crate::host::Host;
use crate::idmap::IdMapping;
use crate::init::{Built, build, reopen};
use crate::op::{Op, Slot};
use crate::plan::{Net, PodOptions, SourceKind, plan};
use crate::run::{AppDirs, chain};
use crate::userns::become_container_root;

/// What the builder says; the mounts come along.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Says {
    Built { mounts: Vec<usize> },
    Failed(Failure),
}

/// A volume: what its source on the host is and that source, or the directory of one of the pod's own.
pub(crate) type VolumeFd = (Option<SourceKind>, OwnedFd);

/// What an app is built from.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) mapping: &'a IdMapping,
    pub(crate) hostname: &'a str,
    /// With this app alone.
    pub(crate) manifest: &'a PodManifest,
    /// The trees of its image, lowest first.
    pub(crate) layers: Vec<OwnedFd>,
    pub(crate) dirs: AppDirs,
    /// For each volume of the manifest its source on the host, or its own directory.
    pub(crate) volumes: Vec<VolumeFd>,
}

/// An app that is being built.
#[derive(Debug)]
pub(crate) struct Building {
    /// Its index.
    pub(crate) app: usize,
    /// Its manifest, for pid 1.
    pub(crate) manifest: String,
    /// What the sources of its volumes are, likewise.
    pub(crate) sources: Vec<Option<SourceKind>>,
    channel: Channel<(), Says>,
    builder: OwnedFd,
}

impl AsFd for Building {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

impl Building {
    /// Begins to build in the user namespace of the pod.
    ///
    /// # Errors
    /// The process could not be made.
    pub(crate) fn start(app: usize, namespace: &OwnedFd, parts: Parts<'_>) -> std::io::Result<Self> {
        let manifest = parts.manifest.to_json().map_err(std::io::Error::other)?;
        let manifest = String::from_utf8(manifest).map_err(std::io::Error::other)?;
        let (ours, theirs) = pair::<(), Says>()?;
        let sources = parts.volumes.iter().map(|(kind, _)| *kind).collect();
        match sys::fork::fork(Namespaces::NONE)? {
            Fork::Child => {
                drop(ours);
                let sent = match work(namespace, parts) {
                    Ok(Built(built)) => {
                        let mounts = built.iter().filter_map(|(slot, _)| match slot {
                            Slot::Volume(index) => Some(*index),
                            _ => None,
                        });
                        let mounts = mounts.collect();
                        let fds: Vec<BorrowedFd<'_>> = built.iter().map(|(_, fd)| fd.as_fd()).collect();
                        theirs.say_with(&Says::Built { mounts }, &fds)
                    }
                    Err(failure) => theirs.say(&Says::Failed(failure)),
                };
                sys::fork::exit_now(u8::from(sent.is_err()))
            }
            Fork::Parent { pidfd, .. } => Ok(Self { app, manifest, sources, channel: ours, builder: pidfd }),
        }
    }

    /// The mounts, root first, and which of the app's they are; or why there are none. The builder is gone afterwards.
    pub(crate) fn finish(self) -> Result<(Vec<usize>, Vec<OwnedFd>), Failure> {
        let heard = self.channel.hear_with();
        let end = waitid(WaitId::PidFd(self.builder.as_fd()), WaitIdOptions::EXITED);
        match heard {
            Ok(Some((Says::Built { mounts }, fds))) => Ok((mounts, fds)),
            Ok(Some((Says::Failed(failure), _))) => Err(failure),
            Ok(None) => Err(failed(&format_args!("the process that builds the app's mounts ended: {end:?}"))),
            Err(errno) => Err(failed(&std::io::Error::from(errno))),
        }
    }
}

fn failed(what: &dyn std::fmt::Display) -> Failure {
    Failure::new(FailureKind::Setup, what)
}

fn work(namespace: &OwnedFd, parts: Parts<'_>) -> Result<Built, Failure> {
    let Parts { mapping, hostname, manifest, layers, dirs, volumes } = parts;
    let (sources, volumes): (Vec<_>, Vec<_>) = volumes.into_iter().unzip();
    // What concerns the metadata service happens in the pod.
    let (net, metadata_url) = (Net::Loopback, None);
    let layer_count = [layers.len()];
    let options = PodOptions {
        hostname,
        mapping,
        layers: &layer_count,
        sources: &sources,
        metadata_url,
        net,
        uplink: None,
        etc: &[],
        cgroup: false,
    };
    let mut plan = plan(manifest, &options, &Host::detect()).map_err(|error| failed(&chain(&error)))?;
    let plan = plan.apps.pop().ok_or_else(|| failed(&"no app to build"))?;
    let setup = |refusal: Refusal| failed(&refusal);
    let die_with_parent =
        || set_parent_process_death_signal(Some(Signal::KILL)).named(|| "prctl(PR_SET_PDEATHSIG, SIGKILL)".into());
    die_with_parent().map_err(setup)?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::User))
        .named(|| "setns(<pod>, CLONE_NEWUSER)".into())
        .map_err(setup)?;
    sys::namespace::unshare(Namespaces::MOUNT).named(|| "unshare(CLONE_NEWNS)".into()).map_err(setup)?;
    let mut fds = Fds::default();
    apply(&[Op::PrivateMounts], &mut fds).map_err(|error| failed(&error))?;
    // With the ids of the caller, who can pass the directories above.
    let layers = reopen::all(layers).map_err(setup)?;
    let dirs = AppDirs {
        upper: reopen::directory(dirs.upper).map_err(setup)?,
        work: reopen::directory(dirs.work).map_err(setup)?,
    };
    for (index, volume) in volumes.into_iter().enumerate() {
        fds.put(Slot::VolumeDir(index), reopen::source(volume).map_err(setup)?);
    }
    become_container_root(mapping).map_err(|errno: Errno| failed(&std::io::Error::from(errno)))?;
    die_with_parent().map_err(setup)?;
    rustix::process::umask(rustix::fs::Mode::empty());
    build(&plan, layers, dirs, &mut fds)
}
