//! What a failure in a pod means for the exit status, and what mends it.

use stage1::FailureKind;

use crate::error::Kind;

/// The class of a failure and a hint, if there is a good one.
pub(crate) fn of(kind: FailureKind) -> (Kind, Option<&'static str>) {
    match kind {
        FailureKind::NotFound => (Kind::NotFound, Some("is the path right, and its interpreter in the image?")),
        FailureKind::NotExecutable => (Kind::NotExecutable, Some("is it a program for this machine, with x bits?")),
        FailureKind::User => (Kind::NoUser, Some("choose another one with --user and --group")),
        FailureKind::Namespace => (Kind::Failed, Some("raise user.max_*_namespaces; `proa doctor` looks at them")),
        FailureKind::Volume => (Kind::Failed, Some("choose another source or target for the volume")),
        FailureKind::WorkingDirectory => (Kind::NoDirectory, Some("choose another one with --working-dir")),
        FailureKind::Overlay => (Kind::Failed, Some("`proa doctor` says whether overlay works here")),
        _ => (Kind::Failed, None),
    }
}
