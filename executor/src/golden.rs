//! Files that hold what the program prints, for tests to compare with.

use std::path::Path;

/// Compares `text` with `tests/golden/NAME`. With `PROA_BLESS=1` in the environment the file is written instead, for
/// its author to read in the diff.
pub(crate) fn check(name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("PROA_BLESS").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(file.parent().expect("the path has several parts")).unwrap();
        std::fs::write(&file, text).unwrap();
    }
    let golden = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    assert_eq!(text, golden, "{} differs; PROA_BLESS=1 rewrites it", file.display());
}
