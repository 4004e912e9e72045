//! The kind of a manifest, `acKind`, by which a reader knows what it has before it.

use crate::document::{self, ManifestError};
use crate::json::Dialect;
use crate::json::decode::{Cx, FromJson, Invalid};
use crate::json::view::View;
use crate::version::SemVer;

/// A manifest that is of no kind, or of the wrong one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KindError {
    /// `acKind` is there but empty.
    #[error("ACKind must be set")]
    Empty,
    /// A kind that does not exist.
    #[error("bad ACKind: {kind}")]
    Unknown {
        /// The refused kind.
        kind: String,
    },
    /// The other kind, or none.
    #[error("missing or bad ACKind (must be {:?})", .expected.name())]
    Unexpected {
        /// The kind that was wanted.
        expected: Kind,
    },
    /// None, where any would do.
    #[error("missing or bad ACKind (must be {:?} or {:?})", Kind::Image.name(), Kind::Pod.name())]
    Missing,
}

/// The kinds of manifest there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An [`ImageManifest`](crate::ImageManifest).
    Image,
    /// A [`PodManifest`](crate::PodManifest).
    Pod,
}

impl Kind {
    /// The name in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Image => "ImageManifest",
            Self::Pod => "PodManifest",
        }
    }

    /// Tells of which kind a manifest is, looking at nothing else in it but the version that the kind is one of.
    ///
    /// # Errors
    /// [`KindError::Missing`] if it does not say, a version that is none, and everything that is wrong with the text as JSON.
    pub fn of(manifest: &[u8], dialect: Dialect) -> Result<Self, ManifestError> {
        document::read(manifest, dialect, |cx, view| {
            let mut kind = None;
            let read = |cx: &mut Cx| {
                cx.fields(view, &["acKind", "acVersion"], |cx, field, view| {
                    match field {
                        "acKind" => kind = Some(Self::from_json(cx, view)?),
                        _ => drop(SemVer::from_json(cx, view)?),
                    }
                    Ok(())
                })?;
                Ok(kind)
            };
            cx.built(read, |kind| kind.ok_or(KindError::Missing))
        })
    }

    /// Refuses a manifest of another kind, or of none.
    pub(crate) fn require(self, found: Option<Self>) -> Result<(), KindError> {
        if found == Some(self) { Ok(()) } else { Err(KindError::Unexpected { expected: self }) }
    }
}

impl FromJson for Kind {
    fn from_json(cx: &mut Cx, view: View<'_>) -> Result<Self, Invalid> {
        cx.parsed(view, |name| match name {
            "ImageManifest" => Ok(Self::Image),
            "PodManifest" => Ok(Self::Pod),
            "" => Err(KindError::Empty),
            kind => Err(KindError::Unknown { kind: kind.to_owned() }),
        })
    }
}
