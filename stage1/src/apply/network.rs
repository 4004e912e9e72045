//! A network namespace that belongs to a user namespace of its own (docs/decisions/0014).

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{DumpableBehavior, Pid, WaitId, WaitIdOptions, set_dumpable_behavior, waitid};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use sys::fork::{Fork, Namespaces};

use super::{Fds, Named as _, Refusal};
use crate::limits;
use crate::op::Slot;

/// Makes both, with these id maps and this bound of processes, moves this process into the network namespace, and keeps
/// the user namespace in [`Slot::NetOwner`].
pub(super) fn own(maps: [&str; 2], processes: Option<u64>, fds: &mut Fds) -> Result<(), Refusal> {
    let pipe = || pipe_with(PipeFlags::CLOEXEC).named(|| "pipe2()".into());
    let ((made, tell_made), (mapped, tell_mapped)) = (pipe()?, pipe()?);
    match sys::fork::fork(Namespaces::NONE).named(|| "clone3()".into())? {
        Fork::Child => {
            drop((made, tell_mapped));
            sys::fork::exit_now(u8::from(owner(&tell_made, &mapped, processes, fds).is_err()))
        }
        Fork::Parent { pid, pidfd } => {
            drop((tell_made, mapped));
            let done = take_over(pid, maps, &made, fds);
            // It goes on, and shuts its own door, once it is mapped.
            let told = rustix::io::write(&tell_mapped, b"m").named(|| "write(<the network's owner>)".into());
            drop(tell_mapped);
            let ended = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED).named(|| "waitid()".into())?;
            done.and(told)?;
            match ended.and_then(|status| status.exit_status()) {
                Some(0) => Ok(()),
                _ => Err(Refusal::new("unshare(CLONE_NEWUSER|CLONE_NEWNET)".into(), rustix::io::Errno::PERM)),
            }
        }
    }
}

/// The process that makes them. Nothing of the pod runs yet.
fn owner(made: &OwnedFd, mapped: &OwnedFd, processes: Option<u64>, fds: &Fds) -> io::Result<()> {
    // What is bounded is bounded by what holds here when the user namespace is made.
    limits::bound_processes(processes).map_err(|refusal| io::Error::other(refusal.to_string()))?;
    // Else its maps could not be written.
    set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    sys::namespace::unshare(Namespaces::USER.with(Namespaces::NET))?;
    rustix::io::write(made, b"n")?;
    if rustix::io::read(mapped, &mut [0; 1])? != 1 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    // As for every app: nobody makes namespaces in there in which he would have all capabilities.
    let proc = fds.get(Slot::Proc).map_err(|refusal| io::Error::other(refusal.to_string()))?;
    let file = openat(proc, "sys/user/max_user_namespaces", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, b"0")?;
    Ok(())
}

/// Writes the maps, enters the network and keeps the user namespace.
fn take_over(pid: Pid, [uids, gids]: [&str; 2], made: &OwnedFd, fds: &mut Fds) -> Result<(), Refusal> {
    if rustix::io::read(made, &mut [0; 1]).named(|| "read(<the network's owner>)".into())? != 1 {
        return Err(Refusal::new("unshare(CLONE_NEWUSER|CLONE_NEWNET)".into(), rustix::io::Errno::PERM));
    }
    let open = |name: &str, flags: OFlags| {
        let path = format!("{}/{name}", pid.as_raw_nonzero());
        openat(fds.get(Slot::Proc)?, path.as_str(), flags | OFlags::CLOEXEC, Mode::empty())
            .named(|| format!("openat(<proc/{path}>)"))
    };
    for (name, map) in [("uid_map", uids), ("gid_map", gids)] {
        let file = open(name, OFlags::WRONLY)?;
        rustix::io::write(&file, map.as_bytes()).named(|| format!("write(<proc/{name}>, {map:?})"))?;
    }
    let (user, net) = (open("ns/user", OFlags::RDONLY)?, open("ns/net", OFlags::RDONLY)?);
    move_into_link_name_space(net.as_fd(), Some(LinkNameSpaceType::Network))
        .named(|| "setns(<the pod's network>, CLONE_NEWNET)".into())?;
    fds.put(Slot::NetOwner, user);
    Ok(())
}
