//! Virtual machine images in OCI registries, as EVE's "edge container images" (ECI) have them.
//!
//! An image has at most one kernel, one initrd, one root disk, and any number of further disks and other files. It is an
//! OCI manifest in one of two formats:
//!
//! ```text
//! artifacts   a layer is a file as it is        media type application/vnd.lfedge.…
//! legacy      a layer is a tar+gzip of one      media type application/vnd.oci.image.layer.v1.tar+gzip
//!             file, named as its title
//!
//! both        layers: kernel, initrd, root disk, disks 0…, others; each with the annotations
//!               org.lfedge.eci.mediaType        application/vnd.lfedge.…
//!               org.lfedge.eci.role             kernel | initrd | disk-root | disk-additional | (empty)
//!               org.opencontainers.image.title  kernel | initrd | disk-root-NAME | disk-N-NAME | NAME
//!             config: an OCI image config whose labels org.lfedge.eci.artifact.{kernel,initrd,root,disk-N} are the
//!               files' paths in an image's file system
//! ```
//!
//! Ordinary image builders make a third kind: their layers say nothing, and the labels alone tell the paths.
//! [`Contents`] tells what an image holds, [`Artifact`] is what is to be packed, [`unpack`] writes files.
//!
//! This crate opens no connection: images come from a [`Source`] and go to a [`Destination`], of which it has OCI layout
//! directories and archives. Everything read from either is checked against its digest and bounded. No path out of an
//! image is resolved outside the folder that files go to.

mod archive;
mod artifact;
mod contents;
mod descriptor;
mod digest;
mod document;
mod file;
mod index;
mod layout;
mod media;
mod pack;
mod role;
mod sparse;
mod tarball;
mod title;
mod transfer;
pub mod unpack;
mod untar;

pub use archive::{ArchiveDestination, ArchiveError, ArchiveSource};
pub use artifact::{Artifact, Disk, DiskError};
pub use contents::{Contents, ContentsError, Item, Kind, Place};
pub use descriptor::Descriptor;
pub use digest::{Digest, DigestError, Hasher};
pub use document::{Config, DocumentError, Image, MAX_DOCUMENT, Platform};
pub use layout::{LayoutDestination, LayoutError, LayoutSource};
pub use media::DiskType;
pub use pack::{Blob, Format, Options, PackError, Packed};
pub use role::Role;
pub use title::{Title, TitleError};
pub use transfer::{Destination, Named, Progress, Source, TransferError};
