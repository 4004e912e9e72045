//! The paths of the service below the pod's URL (appc ace.md, App Container Metadata Service).

use std::fmt;

use appc::{AcIdentifier, AcName};

/// What stands between the token and every route.
pub const PREFIX: &str = "/acMetadata/v1";

/// A thing that can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `/pod/annotations`: the pod manifest's annotations.
    PodAnnotations,
    /// `/pod/annotations/NAME`: the value of one of them (rkt's).
    PodAnnotation(AcIdentifier),
    /// `/pod/manifest`: the reified pod manifest.
    PodManifest,
    /// `/pod/uuid`
    PodUuid,
    /// `/pod/hmac/sign`
    Sign,
    /// `/pod/hmac/verify`
    Verify,
    /// `/log`: where the pod's log is.
    PodLog,
    /// `/apps/APP/…`
    App(AcName, AppRoute),
}

/// What can be asked for of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppRoute {
    /// `annotations`: the image's, overridden by those of the app in the pod.
    Annotations,
    /// `annotations/NAME`: the value of one of them (rkt's).
    Annotation(AcIdentifier),
    /// `image/manifest`
    ImageManifest,
    /// `image/id`
    ImageId,
    /// `log`: where the app's log is.
    Log,
}

impl Route {
    /// The route that `path` names, without the token: `/acMetadata/v1/pod/uuid`.
    ///
    /// Names are taken as they stand: none of their characters need to be percent-encoded, so a path with `%`, with an
    /// empty part or with a dot segment names nothing.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let path = path.strip_prefix(PREFIX)?.strip_prefix('/')?;
        let (first, rest) = path.split_once('/').unwrap_or((path, ""));
        match (first, rest) {
            ("pod", "uuid") => Some(Self::PodUuid),
            ("pod", "manifest") => Some(Self::PodManifest),
            ("pod", "annotations") => Some(Self::PodAnnotations),
            ("pod", "hmac/sign") => Some(Self::Sign),
            ("pod", "hmac/verify") => Some(Self::Verify),
            ("pod", rest) => annotation(rest).map(Self::PodAnnotation),
            ("log", "") if path == "log" => Some(Self::PodLog),
            ("apps", rest) => {
                let (app, rest) = rest.split_once('/')?;
                Some(Self::App(app.parse().ok()?, AppRoute::parse(rest)?))
            }
            _ => None,
        }
    }

    /// Whether it is asked for by POST; everything else by GET.
    #[must_use]
    pub fn is_posted(&self) -> bool {
        matches!(self, Self::Sign | Self::Verify)
    }
}

impl AppRoute {
    fn parse(rest: &str) -> Option<Self> {
        match rest {
            "annotations" => Some(Self::Annotations),
            "image/manifest" => Some(Self::ImageManifest),
            "image/id" => Some(Self::ImageId),
            "log" => Some(Self::Log),
            rest => annotation(rest).map(Self::Annotation),
        }
    }
}

fn annotation(rest: &str) -> Option<AcIdentifier> {
    rest.strip_prefix("annotations/")?.parse().ok()
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PodAnnotations => write!(f, "{PREFIX}/pod/annotations"),
            Self::PodAnnotation(name) => write!(f, "{PREFIX}/pod/annotations/{name}"),
            Self::PodManifest => write!(f, "{PREFIX}/pod/manifest"),
            Self::PodUuid => write!(f, "{PREFIX}/pod/uuid"),
            Self::Sign => write!(f, "{PREFIX}/pod/hmac/sign"),
            Self::Verify => write!(f, "{PREFIX}/pod/hmac/verify"),
            Self::PodLog => write!(f, "{PREFIX}/log"),
            Self::App(app, AppRoute::Annotations) => write!(f, "{PREFIX}/apps/{app}/annotations"),
            Self::App(app, AppRoute::Annotation(name)) => write!(f, "{PREFIX}/apps/{app}/annotations/{name}"),
            Self::App(app, AppRoute::ImageManifest) => write!(f, "{PREFIX}/apps/{app}/image/manifest"),
            Self::App(app, AppRoute::ImageId) => write!(f, "{PREFIX}/apps/{app}/image/id"),
            Self::App(app, AppRoute::Log) => write!(f, "{PREFIX}/apps/{app}/log"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_routes_are_the_same_thing() {
        let name = || "example.com/note".parse().unwrap();
        let app = |route| Route::App("web-1".parse().unwrap(), route);
        for (path, route) in [
            ("/pod/annotations", Route::PodAnnotations),
            ("/pod/annotations/example.com/note", Route::PodAnnotation(name())),
            ("/pod/manifest", Route::PodManifest),
            ("/pod/uuid", Route::PodUuid),
            ("/pod/hmac/sign", Route::Sign),
            ("/pod/hmac/verify", Route::Verify),
            ("/log", Route::PodLog),
            ("/apps/web-1/annotations", app(AppRoute::Annotations)),
            ("/apps/web-1/annotations/example.com/note", app(AppRoute::Annotation(name()))),
            ("/apps/web-1/image/manifest", app(AppRoute::ImageManifest)),
            ("/apps/web-1/image/id", app(AppRoute::ImageId)),
            ("/apps/web-1/log", app(AppRoute::Log)),
        ] {
            let path = format!("{PREFIX}{path}");
            assert_eq!(Route::parse(&path), Some(route.clone()), "{path}");
            assert_eq!(route.to_string(), path);
            assert_eq!(route.is_posted(), path.contains("hmac"));
        }
    }

    #[test]
    fn tricks_with_paths_name_nothing() {
        for path in [
            "",
            "/",
            "/pod/uuid",
            "/acMetadata/v1",
            "/acMetadata/v1/",
            "/acMetadata/v1//pod/uuid",
            "/acMetadata/v1/pod",
            "/acMetadata/v1/pod/",
            "/acMetadata/v1/pod/uuid/",
            "/acMetadata/v1/pod//uuid",
            "/acMetadata/v1/pod/../pod/uuid",
            "/acMetadata/v1/pod/%75uid",
            "/acMetadata/v1/pod/uuid;x",
            "/acMetadata/v1/POD/uuid",
            "/acMetadata/v2/pod/uuid",
            "/acMetadata/v1x/pod/uuid",
            "/acMetadata/v1/pod/annotations/",
            "/acMetadata/v1/pod/annotations/..",
            "/acMetadata/v1/log/",
            "/acMetadata/v1/log/x",
            "/acMetadata/v1/apps",
            "/acMetadata/v1/apps/",
            "/acMetadata/v1/apps/web",
            "/acMetadata/v1/apps//image/id",
            "/acMetadata/v1/apps/../image/id",
            "/acMetadata/v1/apps/%00/image/id",
            "/acMetadata/v1/apps/web%2fx/image/id",
            "/acMetadata/v1/apps/web/image",
            "/acMetadata/v1/apps/web/image/id/",
            "/acMetadata/v1/apps/web/image/id\0",
        ] {
            assert_eq!(Route::parse(path), None, "{path:?}");
        }
        assert_eq!(Route::parse(&format!("{PREFIX}/apps/{}/image/id", "a/".repeat(1 << 15))), None);
    }
}
