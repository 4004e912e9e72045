//! What the operator decided about protection, as annotations of the pod and of its apps.
//!
//! They stand in the pod manifest, so that a pod that was prepared, or an app added later, is treated as the pod was
//! meant. An image cannot set them: its annotations are not the pod's.

use appc::Annotations;

/// Annotation of a pod's app: the names of its isolators that the operator gave or approved, as a JSON array.
pub const OPERATOR_ISOLATORS: &str = "proa.local/operator-isolators";

/// Annotation of a pod's app: the profile of system calls that the operator gave it, as JSON of the OCI runtime
/// specification.
pub const SECCOMP_PROFILE: &str = "proa.local/seccomp-profile";

/// Annotation of a pod: the protections that are off, by rkt's names, with commas between them.
pub const INSECURE_OPTIONS: &str = "proa.local/insecure-options";

/// Annotation of a pod: `strict` for fewer capabilities and no way to gain any.
pub const PROFILE: &str = "proa.local/profile";

/// Annotation of a pod: `strict` for what Landlock can do beyond files.
pub const LANDLOCK: &str = "proa.local/landlock";

/// Annotation of a pod: how many bytes its /dev/shm may hold, as a number.
pub const SHM_SIZE: &str = "proa.local/shm-size";

/// As many as it holds where nothing else is said.
pub const SHM_BYTES: u64 = 64 << 20;

/// The least that it may be, a page: to the kernel 0 is no limit.
const LEAST_SHM: u64 = 4096;

/// The most, a tebibyte: more than any machine's memory is no bound.
const MOST_SHM: u64 = 1 << 40;

/// Annotation of a pod: how many processes its apps may have together, as a number; pid 1 is none of them.
pub const PIDS_LIMIT: &str = "proa.local/pids-limit";

/// Protections of apps that are switched off (rkt's `--insecure-options`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Insecure {
    /// Apps have all capabilities, over their own user namespaces.
    pub capabilities: bool,
    /// Nothing of /proc and /sys is masked or read-only.
    pub paths: bool,
    /// Apps have no system call filter.
    pub seccomp: bool,
}

impl Insecure {
    /// The names of what is off.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        [("capabilities", self.capabilities), ("paths", self.paths), ("seccomp", self.seccomp)]
            .into_iter()
            .filter_map(|(name, off)| off.then_some(name))
            .collect()
    }
}

/// What was decided for a pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Choices {
    /// What is off.
    pub insecure: Insecure,
    /// Whether apps get less than usual.
    pub strict: bool,
    /// Whether Landlock guards more than files.
    pub strict_landlock: bool,
    /// How many bytes /dev/shm may hold, if not [`SHM_BYTES`].
    pub shm_bytes: Option<u64>,
    /// How many processes its apps may have together, if fewer than [`crate::limits::MAX_PROCESSES`].
    pub processes: Option<u64>,
}

/// An annotation of ours that says nothing known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("annotation {name}: {value:?} is not {wanted}")]
pub struct BadChoice {
    /// Name of the annotation.
    pub name: &'static str,
    /// What it says.
    pub value: String,
    /// What it could say.
    pub wanted: &'static str,
}

impl Choices {
    /// Those of a pod with these annotations.
    ///
    /// # Errors
    /// [`BadChoice`].
    pub fn of(pod: &Annotations) -> Result<Self, BadChoice> {
        let mut choices = Self::default();
        if let Some(list) = pod.get(INSECURE_OPTIONS) {
            for name in list.split(',') {
                match name {
                    "capabilities" => choices.insecure.capabilities = true,
                    "paths" => choices.insecure.paths = true,
                    "seccomp" => choices.insecure.seccomp = true,
                    _ => return Err(bad(INSECURE_OPTIONS, list, "a list of capabilities, paths, seccomp")),
                }
            }
        }
        match pod.get(PROFILE) {
            None | Some("default") => {}
            Some("strict") => choices.strict = true,
            Some(other) => return Err(bad(PROFILE, other, "default or strict")),
        }
        match pod.get(LANDLOCK) {
            None | Some("default") => {}
            Some("strict") => choices.strict_landlock = true,
            Some(other) => return Err(bad(LANDLOCK, other, "default or strict")),
        }
        if let Some(text) = pod.get(SHM_SIZE) {
            let bytes = text.parse().ok().filter(|bytes| (LEAST_SHM..=MOST_SHM).contains(bytes));
            choices.shm_bytes = Some(bytes.ok_or_else(|| bad(SHM_SIZE, text, "a number of bytes from 4096 to 2^40"))?);
        }
        if let Some(text) = pod.get(PIDS_LIMIT) {
            let number = text.parse().ok().filter(|number| *number > 0);
            choices.processes = Some(number.ok_or_else(|| bad(PIDS_LIMIT, text, "a number of processes"))?);
        }
        Ok(choices)
    }
}

/// The names of an app's isolators that are the operator's.
///
/// # Errors
/// [`BadChoice`].
pub fn approved(app: &Annotations) -> Result<Vec<String>, BadChoice> {
    let Some(text) = app.get(OPERATOR_ISOLATORS) else { return Ok(Vec::new()) };
    serde_json::from_str(text).map_err(|_| bad(OPERATOR_ISOLATORS, text, "a JSON array of names of isolators"))
}

fn bad(name: &'static str, value: &str, wanted: &'static str) -> BadChoice {
    BadChoice { name, value: value.to_owned(), wanted }
}
