//! Taking over the pod's files from the monitor.

use super::{Init, Stop, reopen};
use crate::apply::{Named as _, Refusal};
use crate::channel::ToInit;
use crate::run::{AppDirs, PodFiles};
use rustix::io::Errno;

/// Waits for the files and finds their directories in this process's mount namespace.
pub(super) fn receive(init: &Init) -> Result<PodFiles, Stop> {
    let mut fds = Vec::new();
    loop {
        match init.monitor.hear_with().named(|| "recvmsg(<monitor>)".into())? {
            Some((ToInit::Files { last }, more)) => {
                fds.extend(more);
                if last {
                    break;
                }
            }
            _ => return Err(Stop::Orphaned),
        }
    }
    // A limit of descriptors cuts a message short without another sign.
    let short = || Refusal::because("recvmsg(<monitor>)".into(), Errno::MFILE, "fewer descriptors than the pod needs");
    let own_volumes = init.plan.own_volumes.iter().filter(|own| **own).count();
    if fds.len() != 1 + 2 * init.plan.apps.len() + own_volumes {
        return Err(short().into());
    }
    let mut fds = fds.into_iter();
    let lock = fds.next().ok_or_else(short)?;
    let mut apps = Vec::new();
    for _ in &init.plan.apps {
        let upper = reopen::directory(fds.next().ok_or_else(short)?)?;
        apps.push(AppDirs { upper, work: reopen::directory(fds.next().ok_or_else(short)?)? });
    }
    Ok(PodFiles { apps, volumes: reopen::all(fds.collect())?, lock, control: None, logs: None })
}
