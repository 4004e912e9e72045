//! Many processes at once on one store (security corpus, STO-05).

use crate::children::{Work, command, finish};
use crate::imports::{check, names};

/// Starts `works`, all at once, and waits for them.
fn together(data: &std::path::Path, works: &[Work]) {
    let children: Vec<_> = works.iter().map(|work| command(*work, data).spawn().unwrap()).collect();
    for child in children {
        let (_, succeeded, errors) = finish(child);
        assert!(succeeded, "{errors}");
    }
}

#[test]
fn sto_05_eight_processes_import_the_same() {
    let data = tempfile::tempdir().unwrap();
    together(data.path(), &[Work::Import; 8]);
    assert_eq!(check(data.path()).len(), 2);
    assert_eq!((names(data.path(), "trees").len(), names(data.path(), "tmp").len()), (3, 0));
}

#[test]
fn sto_05_imports_removals_and_gc_at_once() {
    let data = tempfile::tempdir().unwrap();
    together(data.path(), &[Work::Churn; 8]);
    check(data.path());
    together(data.path(), &[Work::Import, Work::Import]);
    assert_eq!(check(data.path()).len(), 2);
    together(data.path(), &[Work::Remove]);
    for directory in ["trees", "tmp", "images", "blobs/sha256"] {
        assert_eq!(names(data.path(), directory), Vec::<String>::new(), "{directory}");
    }
}
