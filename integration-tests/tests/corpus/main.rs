//! Attacks on images and on those who fetch them that are about the whole program: what a reader, a store or a client can be
//! shown alone is tested in its crate. docs/security/corpus.md says where each line of the corpus is.

mod servers;
mod store;
mod unpacking;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use integration_tests::needs::Why;
use integration_tests::{Env, User};

fn somebody() -> Result<Env, Why> {
    Env::of(User::WithRange).or_else(|_| Env::of(User::NoRange))
}

/// A folder outside of everything with a file in it, which nobody may touch.
struct Canary {
    dir: PathBuf,
    before: (u32, u32, i64, i64),
}

impl Canary {
    fn new(env: &Env) -> Self {
        let dir = env.path("canary");
        env.make_dir(&dir);
        env.write("canary/file", "canary\n");
        let before = Self::state(&dir);
        Self { dir, before }
    }

    fn state(dir: &Path) -> (u32, u32, i64, i64) {
        let meta = dir.metadata().expect("it is there");
        (meta.mode(), meta.uid(), meta.mtime(), meta.mtime_nsec())
    }

    fn path(&self) -> &str {
        self.dir.to_str().expect("UTF-8")
    }

    #[track_caller]
    fn assert_untouched(&self) {
        assert_eq!(Self::state(&self.dir), self.before, "the folder was changed");
        let names: Vec<_> =
            fs::read_dir(&self.dir).expect("it is there").map(|it| it.expect("readable").file_name()).collect();
        assert_eq!(names, ["file"]);
        let file = self.dir.join("file");
        assert_eq!(fs::read_to_string(&file).expect("it is there"), "canary\n");
        assert_eq!(file.metadata().expect("it is there").nlink(), 1);
    }
}
