//! `proa metadata-service`: answers the questions of apps about their pods.

mod confinement;

use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use metadata_api::place::Place;
use metadata_server::secrets::Secrets;
use metadata_server::{Options, Server};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::setsid;
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout, stdin};
use sys::fork::{Fork, Namespaces};

use crate::context::Context;
use crate::diagnostics;
use crate::duration;
use crate::error::{CommandError, Explain};
use crate::habits;
use crate::identity;
use crate::pod_line::unknown_option;
use crate::sockets;

use confinement::Confinement;

/// Run the metadata service of this user in the foreground
///
/// Apps ask it who they are, at the address in AC_METADATA_URL. It need not be run by hand: a pod whose app asks starts
/// it. It can be killed at any time: it is started again when an app asks, and knows nothing that pods do not tell it
/// again. Pods and service find each other by a socket in $XDG_RUNTIME_DIR/proa, or in run/ of the data directory.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  proa metadata-service
  proa metadata-service --threads=4 --idle-exit=10m")]
pub(crate) struct MetadataServiceArgs {
    /// Serve apps with this many threads
    #[arg(long, value_name = "N", default_value = "1", value_parser = threads)]
    threads: NonZeroUsize,

    /// End after nobody has asked anything for so long; 0 is never
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = duration::parse)]
    idle_exit: Duration,

    // What a pod's monitor says: the listening socket is standard input, and its place is this directory.
    #[arg(long, value_name = "DIR", hide = true)]
    on_demand: Option<PathBuf>,
}

/// How long a service that was started by a pod outlives the last pod that asked. It is no daemon to be found running; a
/// script that runs one pod after another need not start it each time either.
const WITHOUT_PODS: Duration = Duration::from_secs(1);

/// More threads than any machine has processors are a slip of the finger.
const MOST_THREADS: usize = 256;

fn threads(text: &str) -> Result<NonZeroUsize, String> {
    let threads: NonZeroUsize = text.parse().map_err(|_| "not a number of threads".to_owned())?;
    if threads.get() <= MOST_THREADS { Ok(threads) } else { Err(format!("at most {MOST_THREADS}")) }
}

/// A better error for rkt's options.
pub(crate) fn mend(error: &clap::Error) -> Option<CommandError> {
    habits::of_rkt(&unknown_option(error)?)
}

pub(crate) fn run(context: &Context, args: MetadataServiceArgs) -> Result<u8, CommandError> {
    let idle_exit = Some(args.idle_exit).filter(|duration| !duration.is_zero());
    let empty_exit = args.on_demand.is_some().then_some(WITHOUT_PODS);
    let options = Options { threads: args.threads, idle_exit, empty_exit, rest: sys::memory::release };
    // Before anybody can connect, and while there is somebody to tell of an error.
    let server = Server::new(Secrets::ensure(context.create_data_dir()?)?, identity::issuer(), options)?;
    let (place, listener) = match &args.on_demand {
        Some(dir) => (Place::ensure(dir)?, fcntl_dupfd_cloexec(stdin(), 3)?),
        None => {
            let place = Place::ensure(&context.socket_dir()?)?;
            let listener = listener(&place)?;
            (place, listener)
        }
    };
    let confinement = Confinement::prepare(context.data_dir()?, &place)?;
    if args.on_demand.is_some() {
        if let Fork::Parent { .. } = sys::fork::fork(Namespaces::NONE).during(|| "detach".into())? {
            return Ok(0);
        }
        detach().during(|| "detach".into())?;
    } else {
        diagnostics::show_warnings();
    }
    confinement.enter()?;
    server.run(listener, &place)?;
    Ok(0)
}

/// The socket that was passed, or one at the ordinary place.
fn listener(place: &Place) -> Result<OwnedFd, CommandError> {
    let mut passed = sockets::passed()?;
    match (passed.pop(), passed.len()) {
        (Some(socket), 0) => Ok(socket),
        (None, _) => place.occupy().map_err(CommandError::from),
        (Some(_), more) => Err(CommandError::usage(format!("{} sockets were passed instead of one", more + 1))
            .hint("give the socket unit one ListenStream=")),
    }
}

/// Leaves the session, the directory and the streams of the pod whose app asked first.
fn detach() -> rustix::io::Result<()> {
    setsid()?;
    rustix::process::chdir("/")?;
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_counted_from_one() {
        assert_eq!(threads("4").map(NonZeroUsize::get), Ok(4));
        for text in ["", "0", "-1", "x", "257"] {
            assert!(threads(text).is_err(), "{text}");
        }
    }
}
