//! JSON as the appc schema needs it: bounded, positioned, with the leniency of Go's `encoding/json`.
//!
//! A document is first checked as a whole ([`check`]), so that a syntax error anywhere is found before any field is
//! looked at. Reading then walks the checked text itself through borrowed [`view::View`]s: no tree of values is
//! built, so memory stays a small multiple of the input whatever the input is.

pub(crate) mod check;
pub(crate) mod decode;
pub(crate) mod path;
pub(crate) mod pretty;
pub(crate) mod print;
pub(crate) mod quote;
pub(crate) mod syntax;
pub(crate) mod view;

/// The largest manifest that is read, in bytes.
///
/// Real manifests are a few kilobytes; the bound keeps a hostile one from occupying memory before it is refused.
pub const MAX_MANIFEST_BYTES: usize = 4 << 20;

/// How many arrays and objects may stand inside one another.
///
/// The schema itself needs nine. Reading recurses once a level, so this also bounds the stack.
pub const MAX_DEPTH: usize = 64;

/// Whose rules decide where the Go implementation is more lenient, or stricter, than proa.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// proa's own rules: ambiguous input (duplicate keys, broken Unicode, NUL in a string) is refused, isolators of
    /// unknown name are kept.
    #[default]
    Proa,
    /// What `actool` does, for its drop-in: the last of several equal keys wins, broken Unicode becomes U+FFFD, an
    /// unknown isolator in an app is refused.
    Actool,
}
