//! Processes and apps that come into a pod that runs.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::fd::OwnedFd;

use appc::PodManifest;
use serde::de::DeserializeOwned;

use super::{Apps, said, tell_listeners};
use crate::apply::Refusal;
use crate::channel::{AddSpec, EnterSpec, Entry, Failure, FailureKind};
use crate::enter::Later;
use crate::host::Host;
use crate::init::app::App;
use crate::init::process::Process;
use crate::init::{InitEnd, identity, listening, put_etc, streams, with_mounts};
use crate::isolators::net_admin::Grant;
use crate::limits;
use crate::op::Slot;
use crate::plan::{Net, PodOptions, plan};

/// Longest specification that comes in a memory file: a manifest has at most 4 MiB.
const MAX_SPEC: u64 = 8 << 20;

impl Apps {
    /// Forks a process into an app.
    pub(super) fn enter(
        &mut self,
        Entry { app, process: id, pre_start, awaited, kept }: Entry,
        mut fds: Vec<OwnedFd>,
    ) -> Result<(), Failure> {
        let spec: EnterSpec = spec(&mut fds)?;
        let known = self.apps.get(&app).ok_or_else(|| Failure::new(FailureKind::Setup, &"no such app"))?;
        let stdio = streams::received(fds, spec.terminal, kept);
        let as_owner = pre_start && known.plan.net_admin == Some(Grant::PreStart);
        let process =
            Process::later(app, known, id, Later { spec: &spec, as_owner }, &self.fds, stdio, self.mapping.tier());
        let process = process.map_err(|refusal| Failure::new(FailureKind::Setup, &refusal))?;
        self.processes.push(Process { awaited, ..process });
        Ok(())
    }

    /// Forks the first process of an app that was not there when the pod began.
    pub(super) fn add(&mut self, app: usize, mut fds: Vec<OwnedFd>, monitor: &InitEnd) -> Result<(), Failure> {
        let failed = |what: &dyn std::fmt::Display| Failure::new(FailureKind::Setup, what);
        let AddSpec { manifest, hostname, terminal, sources, mounts, metadata_url, etc, cgroup } = spec(&mut fds)?;
        let manifest = PodManifest::from_json(manifest.as_bytes()).map_err(|error| failed(&error))?;
        let metadata_url = metadata_url.as_deref();
        let options = PodOptions {
            hostname: &hostname,
            mapping: &self.mapping,
            layers: &[0],
            sources: &sources,
            metadata_url,
            net: Net::Loopback,
            uplink: None,
            etc: &etc,
            cgroup,
        };
        limits::expect_apps(self.apps.len() + 1);
        let mut plan = plan(&manifest, &options, &Host::detect()).map_err(|error| failed(&error))?;
        let mut plan = plan.apps.pop().ok_or_else(|| failed(&"no app to add"))?;
        let sockets = manifest.apps.last().map(listening::of_added).unwrap_or_default();
        plan.sockets = sockets.iter().map(|passed| passed.name.clone()).collect();
        let slots: Vec<Slot> = std::iter::once(Slot::Root).chain(mounts.into_iter().map(Slot::Volume)).collect();
        if fds.len() < slots.len() + usize::from(cgroup) {
            return Err(failed(&"fewer descriptors than the app needs"));
        }
        let mut streams = fds.split_off(slots.len());
        let mut added = App::new(plan, cgroup.then(|| streams.remove(0)));
        let mut own =
            with_mounts(&self.fds, slots.into_iter().zip(fds).collect()).map_err(|refusal| failed(&refusal))?;
        let identity = identity(app, &added.plan, &mut own).map_err(|refusal| failed(&refusal))?;
        put_etc(app, &added.plan, &mut own).map_err(|refusal| failed(&refusal))?;
        tell_listeners(None, identity.into_iter().collect(), monitor).map_err(said)?;
        added.put_cgroup(&mut own).map_err(|refusal| failed(&refusal))?;
        added.put_sockets(sockets, &mut own).map_err(|refusal| failed(&refusal))?;
        let stdio = streams::received(streams, terminal, false);
        let process = Process::first(app, &mut added.plan, own, stdio, self.mapping.tier());
        self.apps.insert(app, Box::new(added));
        self.processes.push(process.map_err(|refusal: Refusal| failed(&refusal))?);
        Ok(())
    }
}

/// Takes the specification out of the first descriptor, a memory file.
pub(super) fn spec<T: DeserializeOwned>(fds: &mut Vec<OwnedFd>) -> Result<T, Failure> {
    let failed = |what: &dyn std::fmt::Display| Failure::new(FailureKind::Setup, what);
    if fds.is_empty() {
        return Err(failed(&"fewer descriptors than the process needs"));
    }
    let mut file = File::from(fds.remove(0));
    let mut bytes = Vec::new();
    file.rewind()
        .and_then(|()| (&mut file).take(MAX_SPEC).read_to_end(&mut bytes))
        .map_err(|error| failed(&format_args!("read the specification: {error}")))?;
    serde_json::from_slice(&bytes).map_err(|error| failed(&format_args!("read the specification: {error}")))
}
