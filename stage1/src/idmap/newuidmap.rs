//! newuidmap(1) and newgidmap(1), which write maps of a subordinate range for users who may not.

use std::ffi::CString;
use std::io::{self, PipeReader, Read as _};
use std::os::fd::AsFd as _;
use std::path::Path;

use rustix::process::Pid;
use sys::spawn::{Spawned, spawn};

use super::{Extent, IdMapError};

/// Where distributions install the setuid helpers. Never looked up in PATH: they are the only privileged programs
/// that proa runs (docs/security/corpus.md USR-07).
const HELPER_DIRS: [&str; 2] = ["/usr/bin", "/bin"];

/// More than any of their messages has, in bytes.
const MAX_WORDS: u64 = 4096;

/// Where the program is; `None` where the package `uidmap` is not installed.
fn path_of(program: &str) -> Option<String> {
    HELPER_DIRS.iter().map(|dir| format!("{dir}/{program}")).find(|path| Path::new(path).exists())
}

/// Whether maps of a range can be written at all.
pub(super) fn both_exist() -> bool {
    path_of("newuidmap").is_some() && path_of("newgidmap").is_some()
}

/// A running newuidmap or newgidmap.
#[derive(Debug)]
pub(super) struct Helper {
    program: String,
    arguments: Vec<String>,
    process: Spawned,
    stderr: PipeReader,
}

impl Helper {
    /// Starts one of them on the map of `pid`.
    ///
    /// # Errors
    /// [`IdMapError::StartHelper`].
    pub(super) fn start(name: &str, pid: Pid, extents: &[Extent]) -> Result<Self, IdMapError> {
        let program = path_of(name).unwrap_or_else(|| name.to_owned());
        let mut arguments = vec![pid.as_raw_nonzero().to_string()];
        for extent in extents {
            arguments.extend([extent.inside, extent.outside, extent.count].map(|number| number.to_string()));
        }
        let spawn = || {
            let (stderr, theirs) = io::pipe()?;
            let words = std::iter::once(&program).chain(&arguments).map(|word| CString::new(word.as_str()));
            let process = spawn(CString::new(program.as_str())?, words.collect::<Result<_, _>>()?, theirs.as_fd())?;
            Ok((process, stderr))
        };
        let (process, stderr) =
            spawn().map_err(|source| IdMapError::StartHelper { program: program.clone(), source })?;
        Ok(Self { program, arguments, process, stderr })
    }

    /// Waits until the map is written.
    ///
    /// # Errors
    /// [`IdMapError::Helper`] with what it said about a map that it refused.
    pub(super) fn finish(mut self) -> Result<(), IdMapError> {
        match self.process.wait() {
            Ok(status) if status.exit_status() == Some(0) => return Ok(()),
            Ok(_) => {}
            Err(source) => return Err(IdMapError::StartHelper { program: self.program, source }),
        }
        let mut output = String::new();
        // What it said is worth having; that it failed is known without.
        let _ = (&mut self.stderr).take(MAX_WORDS).read_to_string(&mut output);
        let message = output.lines().next().unwrap_or("no message").to_owned();
        Err(IdMapError::Helper { program: self.program, arguments: self.arguments.join(" "), message })
    }
}
