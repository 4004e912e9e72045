//! The disks of the host, which limits of block transfer are written for one by one.

use std::fs;
use std::path::Path;

/// More disks are not bounded.
const MAX_DISKS: usize = 256;

/// Every disk of the host that has a size, as `MAJOR:MINOR`. Partitions are no disks, and limits are of disks alone
/// (Documentation/admin-guide/cgroup-v2.rst, "io.max").
#[must_use]
pub(super) fn all() -> Vec<String> {
    of(Path::new("/sys/block"))
}

fn of(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut disks: Vec<String> = entries
        .filter_map(|entry| {
            let text = |name: &str| fs::read_to_string(entry.path().join(name)).ok();
            // Loop devices that nothing is attached to.
            (text("size")?.trim() != "0").then(|| text("dev"))?.map(|text| text.trim().to_owned())
        })
        .collect();
    disks.sort_unstable();
    disks.truncate(MAX_DISKS);
    disks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_with_a_size() {
        let dir = tempfile::tempdir().unwrap();
        for (name, size, dev) in [("vdb", "8", "254:16"), ("loop0", "0", "7:0"), ("vda", "9", "254:0")] {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join("size"), format!("{size}\n")).unwrap();
            fs::write(dir.path().join(name).join("dev"), format!("{dev}\n")).unwrap();
        }
        assert_eq!(of(dir.path()), ["254:0", "254:16"]);
        assert!(of(&dir.path().join("absent")).is_empty());
    }
}
