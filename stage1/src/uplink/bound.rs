//! Setting the bound of what passes between the pod and the world.

use std::io;

use appc::isolator::report::Outcome;
use rustix::pipe::{PipeFlags, pipe_with};

use super::INTERFACE;
use super::inside::{Inside, child};
use crate::bandwidth::Bandwidth;

/// Sets it, and waits for that: the apps start afterwards.
pub(super) fn set(bandwidth: Bandwidth, inside: &Inside) -> Outcome {
    let set = || -> io::Result<Outcome> {
        let (told, tell) = pipe_with(PipeFlags::CLOEXEC)?;
        let process = child(inside, true, &tell, &[], || {
            let outcome = serde_json::to_vec(&bandwidth.put_on(INTERFACE))?;
            rustix::io::write(&tell, &outcome)?;
            sys::fork::exit_now(0)
        })?;
        drop(tell);
        Bandwidth::hear(told, &process)
    };
    set().unwrap_or_else(|error| Outcome::Ignored(error.to_string()))
}
