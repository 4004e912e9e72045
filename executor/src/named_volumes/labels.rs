//! Labels of named volumes: `.labels-NAME` beside the volume, which what is in it cannot reach.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::small_file;

/// Begins the names of files of labels. No name of a volume begins so.
const LABELS: &str = ".labels-";

/// Larger than all labels of anything real.
const MAX_FILE: u64 = 1 << 20;

/// Labels by their names.
pub(crate) type Labels = BTreeMap<String, String>;

/// Those of a volume.
///
/// # Errors
///
/// The file cannot be read, or is none of ours.
pub(super) fn read(volumes: &Path, name: &str) -> io::Result<Labels> {
    match small_file::read(&volumes.join(format!("{LABELS}{name}")), MAX_FILE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Labels::new()),
        json => Ok(serde_json::from_slice(&json?)?),
    }
}

/// Writes those of a volume that is about to be made, in place of what one of before has left. Nobody else makes it meanwhile.
///
/// # Errors
///
/// They cannot be written, or are more than can be read.
pub(super) fn write(volumes: &Path, name: &str, labels: &Labels) -> io::Result<()> {
    if labels.is_empty() {
        return remove(volumes, name);
    }
    let json = serde_json::to_vec(labels)?;
    if json.len() as u64 > MAX_FILE {
        return Err(io::Error::other(format!("labels have at most {MAX_FILE} bytes")));
    }
    // Until there is the volume nobody reads it, and what was cut off here is written anew.
    let path = volumes.join(format!("{LABELS}{name}"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    file.write_all(&json).and_then(|()| file.sync_data()).inspect_err(|_| drop(fs::remove_file(&path)))
}

/// The name of the volume that a file is about, if it is one of labels.
pub(super) fn name_of(file: &str) -> Option<&str> {
    file.strip_prefix(LABELS)
}

/// Removes those of a volume that is gone.
///
/// # Errors
///
/// They cannot be removed.
pub(super) fn remove(volumes: &Path, name: &str) -> io::Result<()> {
    match fs::remove_file(volumes.join(format!("{LABELS}{name}"))) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_those_of_the_volume_that_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let of = |name: &str| read(dir.path(), name).unwrap();
        let labels = Labels::from([("role".to_owned(), "a=b".to_owned()), ("x".to_owned(), String::new())]);
        assert_eq!(of("data"), Labels::new());
        write(dir.path(), "data", &labels).unwrap();
        assert_eq!((of("data"), of("other")), (labels.clone(), Labels::new()));
        write(dir.path(), "data", &Labels::new()).unwrap();
        assert_eq!(of("data"), Labels::new());
        let many = Labels::from([("x".to_owned(), "y".repeat(1 << 20))]);
        assert!(write(dir.path(), "data", &many).unwrap_err().to_string().contains("at most 1048576 bytes"));
        remove(dir.path(), "data").unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        fs::write(dir.path().join(".labels-data"), "[1]").unwrap();
        assert!(read(dir.path(), "data").is_err());
    }
}
