//! The verifier itself: reads its job, gives up all it does not need, works, answers.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::process::ExitCode;

use fetch::openpgp;

use super::confine;
use super::job::Job;

/// Ends a verifier that could not be confined.
pub(super) const UNCONFINED: u8 = 3;

/// Ends a verifier that was started by hand, or whose proa is gone.
const NO_JOB: u8 = 4;

/// The most bytes of a job: a keystore full of ordinary keys has a tenth of it.
const MAX_JOB: u64 = 64 << 20;

/// What this program does under the name [`super::PROGRAM`].
pub(crate) fn main() -> ExitCode {
    // Nothing of the job is looked at before the process is confined.
    let Ok((socket, bytes)) = receive() else { return NO_JOB.into() };
    openpgp::prepare();
    if confine::confine(io::stdin().as_fd()).is_err() {
        return UNCONFINED.into();
    }
    let verdict = match Job::from_bytes(&bytes) {
        Some(Job::Inspect(file)) => serde_json::to_vec(&openpgp::inspect(&file)),
        // The standard library's own buffer around standard input would only copy once more.
        Some(Job::Verify { signature, keys }) => match io::stdin().as_fd().try_clone_to_owned() {
            Ok(file) => serde_json::to_vec(&openpgp::verify(&keys, &signature, File::from(file))),
            Err(_) => return NO_JOB.into(),
        },
        None => return NO_JOB.into(),
    };
    let sent = verdict.map_err(io::Error::from).and_then(|verdict| (&socket).write_all(&verdict));
    if sent.is_ok() { ExitCode::SUCCESS } else { NO_JOB.into() }
}

/// The socket that is standard output, and all that comes from it.
fn receive() -> io::Result<(File, Vec<u8>)> {
    let socket = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut bytes = Vec::new();
    (&socket).take(MAX_JOB).read_to_end(&mut bytes)?;
    Ok((socket, bytes))
}
