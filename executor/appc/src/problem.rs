//! Everything that can be wrong with a value of a manifest, gathered from the types that own the rules.

use crate::annotations::AnnotationError;
use crate::app::AppError;
use crate::date::DateError;
use crate::dependency::DependencyError;
use crate::environment::EnvironmentError;
use crate::event_handler::EventHandlerError;
use crate::hash::HashError;
use crate::image::ImageError;
use crate::isolator::IsolatorError;
use crate::json::decode::FieldError;
use crate::kind::KindError;
use crate::labels::LabelError;
use crate::name::NameError;
use crate::pod::PodError;
use crate::pod_uuid::UuidError;
use crate::port::PortError;
use crate::resource::QuantityError;
use crate::url::UrlError;
use crate::version::VersionError;
use crate::volume::VolumeError;

/// The rule a value of a manifest breaks. The messages are those of the Go implementation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error(transparent)]
#[allow(missing_docs, reason = "each variant is the error of the module it names")]
pub enum Problem {
    Annotation(#[from] AnnotationError),
    App(#[from] AppError),
    Date(#[from] DateError),
    Dependency(#[from] DependencyError),
    Environment(#[from] EnvironmentError),
    EventHandler(#[from] EventHandlerError),
    Field(#[from] FieldError),
    Hash(#[from] HashError),
    Image(#[from] ImageError),
    Isolator(#[from] IsolatorError),
    Kind(#[from] KindError),
    Label(#[from] LabelError),
    Name(#[from] NameError),
    Pod(#[from] PodError),
    Port(#[from] PortError),
    Quantity(#[from] QuantityError),
    Url(#[from] UrlError),
    Uuid(#[from] UuidError),
    Version(#[from] VersionError),
    Volume(#[from] VolumeError),
}
