//! The pod directory: everything that proa knows about a pod, and whether it lives.
//!
//! A pod is one directory that is only ever moved, by `rename(2)`, through the places of [`Place`]. Its state is the
//! place it stands in and whether somebody holds the `flock` on its file `lock` ([`State::of`]). No state is written
//! anywhere, so none can be wrong: kill any process at any instruction, and the next reader sees what is the case.
//! There is no daemon and no database, and any number of processes may create, list, remove and collect at once.
//!
//! ```text
//! DATA/pods/                 0700, of the user whose pods these are
//! ├── format                 "1\n"; a higher number: look, do not touch
//! ├── names/NAME -> UUID     symbolic link: who has the name
//! ├── embryo/NN/UUID/        ┐
//! ├── prepare/UUID/          │
//! ├── prepared/UUID/         │ the places, in the order in which
//! ├── run/UUID/              │ pods move through them
//! ├── exited-garbage/UUID/   │
//! └── garbage/UUID/          ┘
//!
//! UUID/                      0700
//! ├── lock                   empty; its flock is the pod's life, its mtime the time of creation
//! ├── name                   the pod's name; only if it has one
//! ├── pod                    the reified manifest, JSON, 0400
//! ├── control                the monitor's socket
//! ├── setup                  JSON: what it takes to run the pod again, beside the manifest; only if it is kept
//! ├── log.APP, log.APP.1, …  what the app wrote; only if it is kept
//! ├── started                empty; its mtime is when the first app was started
//! ├── again                  empty; only if it has run before
//! ├── stopped                empty; only if somebody has stopped it since
//! ├── status                 JSON: how the pod ended
//! ├── upper.APP/  work.APP/  the overlay of the app's root file system
//! ├── app.APP.0, .1, …       JSON: how each attempt to run the app went
//! └── volumes/NAME/          an empty volume
//! ```
//!
//! What it never does: read an image, mount anything, start or signal a process, call fsync while a pod is launched,
//! resolve a path that an app controls, or wait without a bound.

mod amend;
mod contents;
mod control;
mod cradles;
mod creation;
mod dir;
mod error;
mod files;
mod find;
mod format;
mod gc;
mod handle;
mod listing;
mod lock;
mod moves;
mod names;
mod place;
mod record;
pub mod removal;
mod rename;
mod root;
mod status;
mod still;
mod walk;

pub use amend::Amendment;
pub use error::{CallError, PodError};
pub use find::FindError;
pub use gc::{GcOptions, GcReport};
pub use handle::{AppDirs, Embryo, Fillable, Pod, Preparing, Running, now_ns};
pub use listing::PodEntry;
pub use names::{PodName, PodNameError};
pub use place::{LockState, Place, State};
pub use record::{Contents, PodRef};
pub use removal::{RemovalError, TreeRemover, Unaided};
pub use root::Pods;
pub use status::{AppExit, AppStatus, PodStatus};
pub use still::StillPod;
