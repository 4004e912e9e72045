//! What an app finds out about itself by asking the kernel.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::StatVfsMountFlags;
use rustix::process::{Resource, getgid, getrlimit, getuid};
use serde::{Deserialize, Serialize};

use super::app::AppError;
use super::procfs::{self, Extent, Status};

/// The kernel's own files that tell of the machine or steer it, and so must hold nothing inside a pod. One of each
/// kind that stage1 masks; those that this kernel lacks do not count.
const MASKED_FILES: [&str; 7] = [
    "/proc/kcore",
    "/proc/keys",
    "/proc/kallsyms",
    "/proc/interrupts",
    "/proc/iomem",
    "/proc/modules",
    "/proc/timer_list",
];

/// Directories of the same kind.
const MASKED_DIRS: [&str; 3] = ["/proc/acpi", "/proc/scsi", "/sys/firmware"];

/// Trees of settings that must be mounted read-only.
const READ_ONLY: [&str; 2] = ["/proc/sys", "/sys"];

/// The namespaces that are compared between apps.
pub(super) const NAMESPACES: [&str; 6] = ["pid", "net", "ipc", "uts", "user", "mnt"];

/// One app's answers. They travel to the other app as one line of JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Facts {
    /// `AC_APP_NAME`, empty if it is not set.
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// The process id within the pod.
    pub(super) pid: u32,
    pub(super) hostname: String,
    /// Where the shared volume is mounted.
    pub(super) volume: String,
    /// What this app wrote into its file on the volume.
    pub(super) token: String,
    /// Kind of namespace to its number.
    pub(super) namespaces: BTreeMap<String, u64>,
    pub(super) id_map: Vec<Extent>,
    pub(super) status: Status,
    /// File system type of the root.
    pub(super) root_type: String,
    pub(super) interfaces: Vec<String>,
    /// Processes this user may have, `None` for any number.
    pub(super) max_processes: Option<u64>,
    /// User namespaces that may be made below this one, `None` if the kernel does not say.
    pub(super) max_user_namespaces: Option<u64>,
    /// Those of the masked files and directories that hold something.
    pub(super) unmasked: Vec<String>,
    /// Those of the read-only trees that are writable.
    pub(super) writable: Vec<String>,
}

impl Facts {
    /// Asks. `volume` is where the shared volume is mounted, `token` what this app writes there.
    pub(super) fn gather(volume: &Path, token: String) -> Result<Self, AppError> {
        let max_user_namespaces = fs::read_to_string("/proc/sys/user/max_user_namespaces").ok();
        Ok(Self {
            name: std::env::var("AC_APP_NAME").unwrap_or_default(),
            uid: getuid().as_raw(),
            gid: getgid().as_raw(),
            pid: std::process::id(),
            hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            volume: volume.display().to_string(),
            token,
            namespaces: namespaces()?,
            id_map: procfs::id_map(&read("/proc/self/uid_map")?),
            status: Status::parse(&read("/proc/self/status")?),
            root_type: procfs::root_type(&read("/proc/self/mountinfo")?).unwrap_or_else(|| "unknown".to_owned()),
            interfaces: procfs::interfaces(&read("/proc/net/dev")?),
            max_processes: getrlimit(Resource::Nproc).current,
            max_user_namespaces: max_user_namespaces.and_then(|text| text.trim().parse().ok()),
            unmasked: unmasked(),
            writable: READ_ONLY.into_iter().filter(|path| !is_read_only(path)).map(str::to_owned).collect(),
        })
    }
}

fn read(path: &str) -> Result<String, AppError> {
    fs::read_to_string(path).map_err(|source| AppError::new(format!("read {path}"), source))
}

fn namespaces() -> Result<BTreeMap<String, u64>, AppError> {
    let number = |kind: &str| {
        let path = format!("/proc/self/ns/{kind}");
        let link = fs::read_link(&path).map_err(|source| AppError::new(format!("read {path}"), source))?;
        let number = procfs::namespace_number(&link.to_string_lossy());
        number.ok_or_else(|| AppError::new(format!("read {path}"), io::ErrorKind::InvalidData))
    };
    NAMESPACES.iter().map(|kind| Ok(((*kind).to_owned(), number(kind)?))).collect()
}

/// The masked names that give away something. A refusal is as good as emptiness.
fn unmasked() -> Vec<String> {
    let file_speaks = |path: &&str| {
        let mut byte = [0];
        fs::File::open(path).and_then(|mut file| io::Read::read(&mut file, &mut byte)).is_ok_and(|count| count > 0)
    };
    let dir_speaks = |path: &&str| fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
    let files = MASKED_FILES.into_iter().filter(file_speaks);
    files.chain(MASKED_DIRS.into_iter().filter(dir_speaks)).map(str::to_owned).collect()
}

fn is_read_only(path: &str) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::RDONLY))
}
