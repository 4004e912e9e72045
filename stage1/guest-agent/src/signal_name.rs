//! Names of signals as RFC 4254, section 6.9, has them: upper case, without `SIG`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use rustix::process::Signal;

const NAMES: [(&str, Signal); 13] = [
    ("ABRT", Signal::ABORT),
    ("ALRM", Signal::ALARM),
    ("FPE", Signal::FPE),
    ("HUP", Signal::HUP),
    ("ILL", Signal::ILL),
    ("INT", Signal::INT),
    ("KILL", Signal::KILL),
    ("PIPE", Signal::PIPE),
    ("QUIT", Signal::QUIT),
    ("SEGV", Signal::SEGV),
    ("TERM", Signal::TERM),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
];

/// The signal of that name, or the message that there is none.
pub(crate) fn parse(name: &OsStr) -> Result<Signal, Vec<u8>> {
    let found = NAMES.iter().find(|(known, _)| name == OsStr::new(known));
    found.map(|(_, signal)| *signal).ok_or_else(|| [b"unsupported signal: ", name.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exact() {
        assert_eq!(parse(OsStr::new("USR1")), Ok(Signal::USR1));
        for wrong in ["SIGTERM", "term", "", "15", "STOP"] {
            assert_eq!(parse(OsStr::new(wrong)), Err(format!("unsupported signal: {wrong}").into_bytes()));
        }
    }
}
