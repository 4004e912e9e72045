//! A file that a layer is an archive of.

use std::io;

use super::writing::Writing;
use super::{UnpackError, Wanted, layer, open};
use crate::descriptor::Descriptor;
use crate::transfer::{Progress, Source};
use crate::untar::{Member, Members};

/// A layer that is an archive of the file.
pub(super) fn archived(
    source: &dyn Source,
    wanted: &Wanted<'_>,
    blob: &Descriptor,
    mode: u32,
    progress: &mut dyn Progress,
) -> Result<(), UnpackError> {
    let mut partial = open(wanted, blob)?;
    let written = |source| UnpackError::Write { title: wanted.title.clone(), source };
    partial.restart().map_err(written)?;
    let only = Only { name: wanted.item.title.as_str(), writing: Writing::new(partial), found: false };
    let only = layer(source, blob, Some(&wanted.title), only, progress)?;
    if !only.found {
        return Err(UnpackError::Missing { path: wanted.item.title.to_string() });
    }
    only.writing.publish(mode).map_err(written)
}

/// Takes the one file of an archive, which is called as its title.
struct Only<'n> {
    name: &'n str,
    writing: Writing,
    found: bool,
}

impl Members for Only<'_> {
    fn member(&mut self, name: &str, member: &Member) -> io::Result<bool> {
        let wanted = plain(name).as_deref() == Some(self.name) && matches!(member, Member::File { .. });
        if wanted {
            self.writing.begin(member)?;
            self.found = true;
        }
        Ok(wanted)
    }

    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writing.data(bytes)
    }

    fn end(&mut self) -> io::Result<()> {
        self.writing.end()
    }
}

/// A member's name without `./` and slashes at its ends; `None` if it leads upwards.
pub(super) fn plain(name: &str) -> Option<String> {
    let parts: Vec<&str> = name.split('/').filter(|it| !matches!(*it, "" | ".")).collect();
    (!parts.contains(&"..")).then(|| parts.join("/"))
}
