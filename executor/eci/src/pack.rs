//! From files to the blobs, config and manifest of an image.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::artifact::Artifact;
use crate::descriptor::Descriptor;
use crate::digest::{Digest, Hasher};
use crate::document::{MAX_DOCUMENT, Platform};
use crate::media;
use crate::role::Role;
use crate::sparse;
use crate::tarball::{self, Member};
use crate::title::Title;
use crate::transfer::{Destination, Progress, TransferError};

/// The two formats that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Layers are files.
    Artifacts,
    /// Layers are archives of one file each, which every registry and container engine takes.
    Legacy,
}

/// What goes into the generated config, and how time is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The format.
    pub format: Format,
    /// Who made it.
    pub author: String,
    /// What it is for.
    pub platform: Platform,
    /// Seconds since the epoch, for the config and for the files in archives; without it 1970 and the files' own times.
    pub timestamp: Option<u64>,
}

/// The bytes of a blob.
#[derive(Debug, Clone)]
pub enum Blob {
    /// Here.
    Bytes(Vec<u8>),
    /// A file from its beginning.
    File(Arc<File>),
}

/// An image that is ready to go somewhere.
#[derive(Debug)]
pub struct Packed {
    /// The layers in order, then the config.
    pub blobs: Vec<(Descriptor, Blob)>,
    /// The manifest.
    pub manifest: Descriptor,
    /// Its bytes.
    pub manifest_bytes: Vec<u8>,
}

/// Why an artifact cannot be packed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// A part cannot be used; the original's words.
    #[error("error adding {part}")]
    Part {
        /// `kernel`, `initrd`, `disk-root-NAME disk`, `disk-N-NAME disk`, `config.json`.
        part: String,
        /// Why.
        source: io::Error,
    },
    /// There is nothing to pack.
    #[error("must have valid Artifact: no kernel, initrd or disk is given")]
    Empty,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'p> {
    schema_version: u8,
    media_type: &'static str,
    config: &'p Descriptor,
    layers: Vec<&'p Descriptor>,
}

#[derive(Serialize)]
struct Config<'p> {
    created: String,
    author: &'p str,
    architecture: &'p str,
    os: &'p str,
    config: Labels,
    rootfs: RootFs,
}

#[derive(Serialize)]
struct Labels {
    #[serde(rename = "Labels")]
    labels: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct RootFs {
    #[serde(rename = "type")]
    kind: &'static str,
    diff_ids: Vec<Digest>,
}

struct Part<'a> {
    role: Role,
    title: String,
    media_type: String,
    label: String,
    path: &'a Path,
}

impl Packed {
    /// Packs an artifact. Archives are written to unnamed files in `scratch`; nothing else is written.
    ///
    /// # Errors
    /// [`PackError`].
    pub fn new(artifact: &Artifact, options: &Options, scratch: &Path) -> Result<Self, PackError> {
        let parts = parts(artifact)?;
        let named = |source| PackError::Part { part: "config.json".to_owned(), source };
        let own_config = artifact.config.as_deref().map(own_config).transpose().map_err(named)?;
        if parts.is_empty() {
            return Err(PackError::Empty);
        }
        let (mut blobs, mut diff_ids, mut labels) = (Vec::new(), Vec::new(), BTreeMap::new());
        for part in parts {
            let failed = |source| PackError::Part { part: shown(&part), source };
            let (descriptor, blob, diff_id) = layer(&part, options, scratch).map_err(failed)?;
            labels.insert(part.label, format!("/{}", part.title));
            blobs.push((descriptor, blob));
            diff_ids.push(diff_id);
        }
        let config = own_config.unwrap_or_else(|| generated_config(options, labels, diff_ids));
        let manifest_bytes = {
            let layers = blobs.iter().map(|(layer, _)| layer).collect();
            let manifest = Manifest { schema_version: 2, media_type: media::OCI_MANIFEST, config: &config.0, layers };
            serde_json::to_vec(&manifest).expect("it has only strings and numbers")
        };
        blobs.push(config);
        Ok(Self { blobs, manifest: Descriptor::of(media::OCI_MANIFEST, &manifest_bytes), manifest_bytes })
    }

    /// Hands everything over, the manifest last.
    ///
    /// # Errors
    /// Those of the destination.
    pub fn send(&self, to: &mut dyn Destination, progress: &mut dyn Progress) -> Result<(), TransferError> {
        for (descriptor, blob) in &self.blobs {
            let title = descriptor.annotation(media::ANNOTATION_TITLE).and_then(|it| Title::new(it).ok());
            progress.begin(descriptor, title.as_ref(), 0);
            if !to.put(descriptor, blob, &mut |bytes| progress.advance(bytes))? {
                // It is there already.
                progress.advance(descriptor.size);
            }
            progress.end();
        }
        to.finish(&self.manifest, &self.manifest_bytes)
    }
}

/// How the original names a part in errors.
fn shown(part: &Part<'_>) -> String {
    match part.role {
        Role::Root | Role::Disk => format!("{} disk", part.title),
        _ => part.title.clone(),
    }
}

fn parts(artifact: &Artifact) -> Result<Vec<Part<'_>>, PackError> {
    let part = |role, title: &str, media_type: &str, label: &str, path| Part {
        role,
        title: title.to_owned(),
        media_type: media_type.to_owned(),
        label: label.to_owned(),
        path,
    };
    let mut parts = Vec::new();
    parts.extend(
        artifact.kernel.as_deref().map(|it| part(Role::Kernel, "kernel", media::KERNEL, media::LABEL_KERNEL, it)),
    );
    parts.extend(
        artifact.initrd.as_deref().map(|it| part(Role::Initrd, "initrd", media::INITRD, media::LABEL_INITRD, it)),
    );
    let disks = artifact.disks.iter().enumerate();
    let disks =
        disks.map(|(number, disk)| (Role::Disk, number.to_string(), format!("{}{number}", media::LABEL_DISK), disk));
    let root = artifact.root.iter().map(|disk| (Role::Root, "root".to_owned(), media::LABEL_ROOT.to_owned(), disk));
    for (role, number, label, disk) in root.chain(disks) {
        let name = disk.path.file_name().and_then(|it| it.to_str()).unwrap_or_default();
        let title = format!("disk-{number}-{name}");
        // The name becomes an annotation, a label, and a file again.
        if name.is_empty() || Title::new(&title).is_err() {
            let source = io::Error::new(
                io::ErrorKind::InvalidInput,
                "a disk's file name must be 1 to 240 bytes of text without control characters",
            );
            return Err(PackError::Part { part: format!("disk-{number}-{} disk", disk.path.display()), source });
        }
        parts.push(part(role, &title, &disk.kind.media_type(), &label, &disk.path));
    }
    Ok(parts)
}

/// The layer's descriptor, its bytes, and the digest of what is in it uncompressed.
fn layer(part: &Part<'_>, options: &Options, scratch: &Path) -> io::Result<(Descriptor, Blob, Digest)> {
    let file = open(part.path)?;
    let meta = file.metadata()?;
    let (media_type, digest, size, blob, diff_id) = match options.format {
        Format::Artifacts => {
            let digest = digest_of(&file, meta.len())?;
            (part.media_type.clone(), digest.clone(), meta.len(), file, digest)
        }
        Format::Legacy => {
            let mut archive = scratch_file(scratch)?;
            let mtime = options.timestamp.unwrap_or_else(|| meta.mtime().try_into().unwrap_or_default());
            let member = Member { name: &part.title, size: meta.len(), mode: meta.mode() & 0o7777, mtime };
            let mut buffered = io::BufWriter::with_capacity(1 << 18, &mut archive);
            let written = tarball::write(&file, member, &mut buffered)?;
            io::Write::flush(&mut buffered)?;
            drop(buffered);
            (media::OCI_TAR_GZIP.to_owned(), written.digest, written.size, archive, written.diff_id)
        }
    };
    let annotations = [
        (media::ANNOTATION_TYPE, part.media_type.as_str()),
        (media::ANNOTATION_ROLE, part.role.annotation()),
        (media::ANNOTATION_TITLE, part.title.as_str()),
    ];
    let annotations = annotations.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let descriptor = Descriptor { media_type, digest, size, annotations, platform: None };
    Ok((descriptor, Blob::File(Arc::new(blob)), diff_id))
}

/// Opens a part's file. What is no regular file has no size to speak of.
fn open(path: &Path) -> io::Result<File> {
    if path.as_os_str().is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no valid source"));
    }
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {}", path.display(), plain(&error)));
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC | rustix::fs::OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, rustix::fs::Mode::empty()).map_err(|it| named(it.into()))?;
    let file = File::from(file);
    if !file.metadata().map_err(named)?.is_file() {
        return Err(io::Error::other(format!("{}: not a regular file", path.display())));
    }
    Ok(file)
}

/// The system's words without its number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

fn digest_of(file: &File, size: u64) -> io::Result<Digest> {
    let mut hasher = Hasher::default();
    sparse::read(file, 0, size, |bytes| {
        hasher.update(bytes);
        Ok::<(), io::Error>(())
    })?;
    Ok(hasher.finish())
}

/// A file that is gone when nobody has it open any more.
fn scratch_file(dir: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags, openat};
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    match openat(rustix::fs::CWD, dir, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => Ok(File::from(file)),
        // Overlays of old and some network file systems have no unnamed files.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR) => {
            let path = dir.join(format!(".proa-eci-{}", std::process::id()));
            let file = File::options().read(true).write(true).create_new(true).open(&path)?;
            std::fs::remove_file(&path)?;
            Ok(file)
        }
        Err(error) => Err(io::Error::other(format!("a file in {}: {}", dir.display(), plain(&error.into())))),
    }
}

/// A config of the user's: any JSON.
fn own_config(path: &Path) -> io::Result<(Descriptor, Blob)> {
    let mut bytes = Vec::new();
    open(path)?.take(MAX_DOCUMENT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_DOCUMENT {
        return Err(io::Error::other(format!("{}: more than {MAX_DOCUMENT} bytes", path.display())));
    }
    if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(&bytes) {
        return Err(io::Error::other(format!("{} is not JSON: {error}", path.display())));
    }
    let mut descriptor = Descriptor::of(media::CONFIG, &bytes);
    let annotations = [
        (media::ANNOTATION_TYPE, media::CONFIG),
        (media::ANNOTATION_ROLE, ""),
        (media::ANNOTATION_TITLE, "config.json"),
    ];
    descriptor.annotations = annotations.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Ok((descriptor, Blob::Bytes(bytes)))
}

fn generated_config(options: &Options, labels: BTreeMap<String, String>, diff_ids: Vec<Digest>) -> (Descriptor, Blob) {
    let config = Config {
        created: rfc3339(options.timestamp.unwrap_or(0)),
        author: &options.author,
        architecture: &options.platform.architecture,
        os: &options.platform.os,
        config: Labels { labels },
        rootfs: RootFs { kind: "layers", diff_ids },
    };
    let bytes = serde_json::to_vec(&config).expect("it has only strings");
    let mut descriptor = Descriptor::of(media::OCI_CONFIG, &bytes);
    descriptor.annotations.insert(media::ANNOTATION_TITLE.to_owned(), "config.json".to_owned());
    (descriptor, Blob::Bytes(bytes))
}

/// Seconds since the epoch as RFC 3339 has them, in UTC.
fn rfc3339(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).ok();
    let time = seconds.and_then(|it| jiff::Timestamp::from_second(it).ok());
    time.unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}
