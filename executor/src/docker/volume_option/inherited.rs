//! `--volumes-from`: what another container mounts of the host, and its named volumes.

use appc::VolumeKind;

use super::{Source, Wanted};
use crate::context::Context;
use crate::docker::container::{self, Container};
use crate::error::CommandError;
use crate::named_volumes::Labels;

/// The mounts of the containers that `texts` name: `CONTAINER[:ro|:rw]`.
///
/// # Errors
///
/// There is no such container, or it has a volume that goes with it.
pub(super) fn of(context: &Context, texts: &[String]) -> Result<Vec<Wanted>, CommandError> {
    let mut wanted: Vec<Wanted> = Vec::new();
    for text in texts {
        let (needle, mode) = text.split_once(':').unwrap_or((text, "rw"));
        if !["ro", "rw", "z", "Z"].contains(&mode) {
            return Err(CommandError::usage(format!("invalid mode: {mode} in --volumes-from {text}")));
        }
        let pods = context.pods()?;
        let container = Container::read(&pods, container::find(&pods, needle)?)?;
        for of_it in mounts(&container, text)? {
            // Of two containers the later one.
            wanted.retain(|known| known.target != of_it.target);
            wanted.push(Wanted { read_only: of_it.read_only || mode == "ro", ..of_it });
        }
    }
    Ok(wanted)
}

fn mounts(container: &Container, text: &str) -> Result<Vec<Wanted>, CommandError> {
    let (Some(manifest), Some((runtime, _))) = (&container.manifest, container.first()) else { return Ok(Vec::new()) };
    let memory = container.memory();
    let mut wanted = Vec::new();
    for mount in &runtime.mounts {
        // Devices, what is in memory, and what proa itself puts in, are not its volumes.
        let is_volume = mount.volume.as_str().starts_with(super::NAMES) && !memory.contains_key(&mount.path);
        let Some(volume) = manifest.volume(&mount.volume).filter(|_| is_volume) else { continue };
        match &volume.kind {
            VolumeKind::Host { source, .. } => wanted.push(Wanted {
                source: Source::Host(source.clone()),
                target: mount.path.clone(),
                read_only: volume.read_only == Some(true),
                copies: false,
                labels: Labels::new(),
            }),
            VolumeKind::Empty { .. } => {
                let (name, path) = (container.name(), &mount.path);
                return Err(CommandError::failed(format!(
                    "--volumes-from {text}: the volume at {path} has no name, and goes with container {name}"
                ))
                .hint(format!("make that with a named volume: -v NAME:{path}")));
            }
        }
    }
    Ok(wanted)
}
