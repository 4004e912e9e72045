//! What the annotations of a pod's app tell the runner.

use appc::RuntimeApp;

/// Annotation of a pod's app: the paths of mounts whose volume begins with what the image has there, as a JSON array
/// of strings. OCI images want that of volumes that nobody named (image-spec config.md, "Volumes").
pub const IMAGE_CONTENT: &str = "proa.local/image-content";

/// Annotation of a pod's app: the paths of mounts whose volume, a directory of the host, is filled with what the image has
/// there if it is empty, as a JSON array of strings. Docker has it so of volumes with a name.
pub const FILLED: &str = "proa.local/filled";

/// Annotation of a pod's app for which, with the value `true`, docker's rules hold where appc's are stricter: its mounts may
/// lie in each other (not so in ace.md, "Volume Setup"), and its working directory is made if it is missing (aci.md,
/// "workingDirectory").
pub const DOCKERS_RULES: &str = "proa.local/docker-rules";

/// Annotation of a pod's app: names of supplementary groups, of the image's /etc/group, as a JSON array of strings. An appc
/// manifest has numbers alone.
pub const GROUPS: &str = "proa.local/groups";

/// Annotation of a pod's app, or of an OCI image: variables that an appc manifest has no place for, because their names are
/// no identifiers, as a JSON array of strings `NAME=VALUE`.
pub const ENVIRONMENT: &str = "proa.local/environment";

/// Annotation of a pod's app whose group is the user's primary one, as OCI images have it (image-spec config.md, "User").
/// An appc manifest cannot say that: its group is always given.
pub const PRIMARY_GROUP: &str = "proa.local/oci/user";

/// Annotation of a pod's app that names the signal which asks it to end, as OCI images have it (image-spec config.md,
/// "StopSignal").
pub const STOP_SIGNAL: &str = "proa.local/oci/stop-signal";

/// The strings of an annotation that is a JSON array of strings; none, where it is missing or something else.
pub(crate) fn strings(app: &RuntimeApp, annotation: &str) -> Vec<String> {
    app.annotations.get(annotation).and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
}

/// The signal that asks the app to end; TERM unless it says otherwise in a way that can be understood.
#[must_use]
pub fn stop_signal(app: &RuntimeApp) -> i32 {
    let named = app.annotations.get(STOP_SIGNAL).and_then(crate::signal::parse);
    named.unwrap_or(rustix::process::Signal::TERM.as_raw())
}
