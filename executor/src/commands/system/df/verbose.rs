//! `proa system df --verbose`: each image, pod and volume, as docker lists them.

use std::collections::{BTreeMap, BTreeSet};

use store::{ImageRecord, LayerKey, Store};

use crate::context::Context;
use crate::docker::{Container, age, columns, created_ns, image, size};
use crate::error::CommandError;
use crate::escape::printable;
use crate::named_volumes::NamedVolumes;
use crate::{disk_usage, idmap, moment};

/// The tables.
///
/// # Errors
///
/// The store, the pods or the volumes cannot be read.
pub(super) fn shown(context: &Context) -> Result<String, CommandError> {
    let store = context.stored()?;
    let pods = context.pods()?;
    let now = moment::now();
    let (containers, _) = Container::all(&pods)?;
    let row = |cells: &[&str]| cells.iter().map(|cell| printable(cell).into_owned()).collect::<Vec<_>>();
    let mut images =
        vec![row(&["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE", "SHARED SIZE", "UNIQUE SIZE", "CONTAINERS"])];
    let records = store.list()?.images;
    let layers = Layers::of(&store, &records)?;
    for record in records {
        let users = containers.iter().filter(|container| container.image_id() == Some(record.id)).count().to_string();
        let names = image::names(&record);
        let named = names.iter().map(|name| (name.repository.as_str(), name.tag.as_str()));
        let named: Vec<_> = if names.is_empty() { vec![("<none>", "<none>")] } else { named.collect() };
        let created = format!("{} ago", age::of(now.saturating_sub(created_ns(&store, &record))));
        let shared = layers.shared(&record);
        let sizes = [record.size, shared, record.size.saturating_sub(shared)].map(size);
        let [id, all, shared, own] = [&image::short_id(&record), &sizes[0], &sizes[1], &sizes[2]];
        let of_name =
            |(repository, tag): &(&str, &str)| row(&[repository, tag, id, &created, all, shared, own, &users]);
        images.extend(named.iter().map(of_name));
    }
    let mut running =
        vec![row(&["CONTAINER ID", "IMAGE", "COMMAND", "LOCAL VOLUMES", "SIZE", "CREATED", "STATUS", "NAMES"])];
    let mapping = idmap::detect(context.data_dir()?)?;
    for container in &containers {
        let bytes = pods.open(&container.entry).map_or(0, |pod| disk_usage::below(pod.dir(), &mapping));
        running.push(row(&[
            &container.short_id(),
            &container.image(&store),
            &container.command(false),
            &container.local_volumes().to_string(),
            &size(bytes),
            &container.created(now),
            &container.status(now),
            &container.name(),
        ]));
    }
    let volumes = NamedVolumes::open(context)?;
    let mut named = vec![row(&["VOLUME NAME", "LINKS", "SIZE"])];
    for volume in volumes.all()? {
        let links = volumes.users(&volume, &pods)?.len().to_string();
        named.push(row(&[&volume.name, &links, &size(volumes.size(&volume))]));
    }
    let cache = "Build cache usage: 0B\n\nCACHE ID   CACHE TYPE   SIZE      CREATED   LAST USED   USAGE     SHARED\n";
    let titles = ["Images", "Containers", "Local Volumes"];
    let tables = [images, running, named].map(|rows| columns::aligned(&rows));
    let spaces = titles.iter().zip(&tables).map(|(title, table)| format!("{title} space usage:\n\n{table}\n"));
    Ok(spaces.collect::<String>() + cache)
}

/// The layers of all images: how large each is, and how many images have it.
struct Layers(BTreeMap<LayerKey, (u64, usize)>);

impl Layers {
    fn of(store: &Store, images: &[ImageRecord]) -> Result<Self, CommandError> {
        let mut layers = BTreeMap::new();
        for image in images {
            // An image may have a layer twice.
            for layer in image.layers.iter().collect::<BTreeSet<_>>() {
                let (bytes, users) = layers.entry(*layer).or_insert((0, 0));
                if *users == 0
                    && let Some((_, tree)) = store.trees_of(layer)?.into_iter().next()
                {
                    *bytes = tree.record()?.content;
                }
                *users += 1;
            }
        }
        Ok(Self(layers))
    }

    /// Bytes of the layers of an image that others have, too.
    fn shared(&self, image: &ImageRecord) -> u64 {
        let layers = image.layers.iter().collect::<BTreeSet<_>>().into_iter().filter_map(|layer| self.0.get(layer));
        layers.filter(|(_, users)| *users > 1).map(|(bytes, _)| bytes).sum()
    }
}
