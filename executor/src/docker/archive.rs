//! Where `docker save` and `docker export` write their archives.

use std::fs::File;
use std::io::IsTerminal as _;
use std::path::PathBuf;

use executor::aci::Target;

use crate::error::CommandError;
use crate::{output, umask};

/// A file, or stdout.
#[derive(Debug)]
pub(super) struct Output(Option<PathBuf>);

impl Output {
    /// What the option `-o` says; without it, or as `-`, it is stdout.
    ///
    /// # Errors
    ///
    /// It is stdout, and that a terminal.
    pub(super) fn of(option: Option<PathBuf>) -> Result<Self, CommandError> {
        let file = option.filter(|path| !output::is_stdout(path));
        if file.is_none() && std::io::stdout().is_terminal() {
            let why = "cowardly refusing to save to a terminal. Use the -o flag or redirect";
            return Err(CommandError::failed(format!("Error: {why}")));
        }
        Ok(Self(file))
    }

    /// Has `write` write the archive; a file is there when it is complete.
    ///
    /// # Errors
    ///
    /// The file cannot be made; those of `write`.
    pub(super) fn write(self, write: impl FnOnce(File) -> Result<(), CommandError>) -> Result<(), CommandError> {
        let Some(path) = self.0 else { return output::archive(write) };
        let target = Target::create(&path, true, umask::file_mode())?;
        write(target.file()?)?;
        Ok(target.publish()?)
    }
}
