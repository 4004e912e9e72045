//! Black-box tests of the `proa` binary: this library is the bench they stand on.
//!
//! A test asks for an [`Env`]: a user, an empty data directory and a cleared environment. It builds images with
//! [`images`], runs the real binary as that user, and when the `Env` is dropped every mount, process, namespace, pod
//! directory and temporary file must be as before ([`Snapshot`]). Nothing of the product is linked in or mocked.
//!
//! Pods of tests have no network but their own loopback, unless one is chosen on the command line: the environment's
//! configuration says so. Tests of proa's own choice take that back ([`Env::configure_network`]).
//!
//! What a test cannot do without it asks for with [`needs!`]; where that is missing the test says why and is counted
//! as skipped, and with `CI=true` it fails. [`each_user!`] makes three tests of one function: as root, as an ordinary user
//! with a range of subordinate ids, and as one without.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `PROA_TEST_BIN` | the `proa` to test (default: beside the tests, the newer of release and debug) |
//! | `PROA_TEST_AGENT` | the `containerssh-agent` to test (default: as above) |
//! | `PROA_TEST_PROBE` | the `probe` to put into images (default: beside the tests) |
//! | `PROA_TEST_PLACE` | `host` (default) or `vm` |
//! | `PROA_TEST_FIXTURES` | folder of the images that are made once (default: `test-fixtures` in the target directory) |
//! | `PROA_TEST_SKIPS` | file that gets one line per skipped test |
//! | `PROA_TEST_SLOWDOWN` | how much slower than a real machine this one is: multiplies every time limit |
//! | `PROA_TEST_FULL` | set: also the long form of tests that have one |
//! | `CI` | `true`: a skip is a failure |

pub mod backend;
pub mod binaries;
mod command;
pub mod denial;
pub mod elsewhere;
mod env;
mod gpg;
pub mod images;
pub mod injection;
pub mod needs;
mod outcome;
pub mod process;
pub mod registry;
mod running;
pub mod site;
mod snapshot;
mod turn;
mod user;

pub use command::Proa;
pub use env::Env;
pub use gpg::Gpg;
pub use outcome::Outcome;
pub use running::{Running, limit, slowed};
pub use snapshot::Snapshot;
pub use user::{Account, User};

/// Makes three tests of each function that takes an [`Env`]: `NAME::as_root`, `NAME::with_range`, `NAME::without_range`.
///
/// A function that is not listed is dead code, so none can be forgotten.
#[macro_export]
macro_rules! each_user {
    ($($name:ident),+ $(,)?) => { $(
        mod $name {
            #[test]
            fn as_root() {
                super::$name(&$crate::needs!($crate::Env::of($crate::User::Root)));
            }

            #[test]
            fn with_range() {
                super::$name(&$crate::needs!($crate::Env::of($crate::User::WithRange)));
            }

            #[test]
            fn without_range() {
                super::$name(&$crate::needs!($crate::Env::of($crate::User::NoRange)));
            }
        }
    )+ };
}
