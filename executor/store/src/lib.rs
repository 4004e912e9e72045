//! The store: blobs, image index, extracted trees, garbage collection.
//!
//! ```text
//! DATA/store/                                  0700, ours; checked on every opening
//! ├── format                                   "1\n": a larger number makes the store read-only
//! ├── images/sha512-HEX.json                   one record for each image, all that `run` needs
//! ├── blobs/{sha256,sha512}/HEX                0400: archives as they came, OCI manifests and configurations
//! ├── trees/FORM-ALGORITHM-HEX.IDMAP/
//! │   ├── rootfs/                              the extracted layer, read-only lower directory of overlays
//! │   ├── recipe                               what gives an OCI layer's archive back ([`recipe`])
//! │   └── tree.json                            what it is; its flock says whether it is in use
//! ├── downloads/ALGORITHM-HEX                 the beginning of a slow download; its flock says whether somebody is at it
//! ├── tmp/RANDOM/lock                          unfinished work; its flock says whether somebody still works
//! └── locks/index                              held while records change and garbage is chosen
//! ```
//!
//! Everything becomes visible by a rename after its data is durable, the image's record last. There is no database and
//! no daemon: every process opens the directory, and whatever it is killed at, the next one finds a consistent store.
//! `docs/formats/store.md` argues why.
//!
//! This crate never touches the network, never resolves a path inside a tree by name ([`extract`] works on directory
//! descriptors), and never creates a namespace: extraction ([`ingest::run`]) and removal ([`removal::TreeRemover`]) are made to be run
//! in an id-mapped child process by the program.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use store::Keep;
//! use store::ingest::{self, InputFormat};
//! let store = store::Store::ensure("/var/lib/proa".as_ref())?;
//! let map = store::IdMap::new("single-u0.1-g0.1");
//! let mut import = store.begin()?;
//! let layer = import.new_layer(&map, None, Keep::Archive)?;
//! let job = layer.job(std::fs::File::open("app.aci")?, InputFormat::Aci, true)?;
//! let report = ingest::run(job)?; // in a child process
//! let manifest = report.extracted.manifest.clone().unwrap_or_default();
//! let key = import.add_layer(layer, &report)?;
//! let image = import.commit(store::NewImage {
//!     id: key.digest().into(),
//!     names: vec!["example.com/app".to_owned()],
//!     manifest: appc::ImageManifest::from_json(manifest.as_bytes())?,
//!     source: None,
//! })?;
//! let tree = store.tree(&image.layers[0], &map)?.expect("it was just committed");
//! # Ok(()) }
//! ```

pub mod archive;
pub mod beneath;
mod buffered;
mod collect;
pub mod data;
mod dependencies;
mod digest;
mod discard;
mod downloads;
mod error;
pub mod extract;
pub mod flatten;
pub mod holes;
mod images;
mod import;
pub mod ingest;
mod layer;
mod layout;
mod lock;
pub mod merge;
mod names;
mod os_error;
pub mod recipe;
mod record;
mod remote;
pub mod removal;
mod shown;
mod spread;
pub mod stack;
mod trees;
mod usage;
pub mod verify;
pub mod walk;
mod work;

pub use self::collect::{GcReport, References};
pub use self::dependencies::{DependencyError, Part, merged_key};
pub use self::digest::{Algorithm, Digest, DigestError, Hasher};
pub use self::downloads::Partial;
pub use self::error::StoreError;
pub use self::images::{Choice, FindError, Listing};
pub use self::import::{Import, Keep, NewImage, PendingLayer};
pub use self::layer::{IdMap, LayerKey};
pub use self::layout::Store;
pub use self::names::latest_name;
pub use self::os_error::OsError;
pub use self::record::{BlobRef, BlobRole, ImageKind, ImageRecord, NameClaim};
pub use self::remote::{Download, Remote, Validators};
pub use self::removal::{AsUser, TreeRemover};
pub use self::shown::Shown;
pub use self::trees::{Tree, TreeRecord};
