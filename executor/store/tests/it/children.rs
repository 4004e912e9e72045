//! Work on a store that is done in processes of their own, so that it can be killed or happen at once.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use store::{AsUser, Store};

use crate::archive::{Archive, Entry, aci};
use crate::imports::{check, import_aci, import_oci, nobody};

const VARIABLE: &str = "PROA_STORE_TEST_WORK";

/// What a child does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Imports an ACI and an OCI image of two layers; says `committed NAME` for each.
    Import,
    /// Removes all images and collects garbage; says `removed NAME` for each.
    Remove,
    /// Imports, removes and collects, over and over.
    Churn,
}

impl Work {
    const ALL: [Self; 3] = [Self::Import, Self::Remove, Self::Churn];

    fn name(self) -> String {
        format!("{self:?}")
    }

    fn run(self, data: &Path) {
        let store = Store::ensure(data).unwrap();
        match self {
            Self::Import => {
                import(&store);
            }
            Self::Remove => {
                for image in store.list().unwrap().images {
                    if store.remove(&image.id).is_ok() {
                        say(&format!("removed {}", image.names().next().unwrap_or_default()));
                    }
                }
                collect(&store);
            }
            Self::Churn => {
                for turn in 0..6 {
                    import(&store);
                    if turn % 2 == 0 {
                        for image in store.list().unwrap().images {
                            let _ = store.remove(&image.id); // somebody else may have been faster
                        }
                    }
                    collect(&store);
                }
                import(&store);
            }
        }
    }
}

fn import(store: &Store) {
    import_aci(store, &small_aci(), &["aci"]).unwrap();
    say("committed aci");
    import_oci(store, &layers(), "{}", &["oci"]).unwrap();
    say("committed oci");
}

fn collect(store: &Store) {
    let report = store.gc(&AsUser, &nobody).unwrap();
    assert!(report.failures.is_empty(), "{:?}", report.failures);
}

/// Not through the harness, which would keep it until the end.
fn say(line: &str) {
    if std::env::var_os(VARIABLE).is_none() {
        return;
    }
    let mut out = std::fs::File::from(rustix::io::dup(rustix::stdio::stdout()).unwrap());
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn small_aci() -> Vec<u8> {
    aci(|archive| archive.file("rootfs/bin/app", "app").symlink("rootfs/app", "bin/app"))
}

fn layers() -> [Vec<u8>; 2] {
    let base = Archive::new().dir("etc").file("etc/passwd", "root").entry(Entry::new("run", b'5').mode(0o500)).end();
    let top = Archive::new().file("etc/.wh.passwd", "").hard_link("a", "b");
    let top = Archive::new().file("b", "b").raw(top.open()).end();
    [base, top]
}

/// This test program, made to do `work` in `data` and nothing else.
pub(crate) fn command(work: Work, data: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    configure(&mut command, work, data);
    command
}

/// The same below a program such as strace, whose own arguments are there already.
pub(crate) fn command_under(mut wrapper: Command, work: Work, data: &Path) -> Command {
    wrapper.arg(std::env::current_exe().unwrap());
    configure(&mut wrapper, work, data);
    wrapper
}

fn configure(command: &mut Command, work: Work, data: &Path) {
    command.args(["--exact", "children::work_in_this_process", "--nocapture", "--test-threads=1", "-q"]);
    command.env(VARIABLE, work.name()).env("PROA_STORE_TEST_DATA", data).env_remove("RUST_BACKTRACE");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
}

/// The lines a finished child said, and whether it succeeded.
pub(crate) fn finish(child: Child) -> (Vec<String>, bool, String) {
    let output = child.wait_with_output().unwrap();
    let lines = String::from_utf8_lossy(&output.stdout);
    let said = lines.lines().filter(|line| line.starts_with("committed") || line.starts_with("removed"));
    (said.map(str::to_owned).collect(), output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// What the children run. Run by itself it does all of it once.
#[test]
fn work_in_this_process() {
    if let (Ok(name), Some(data)) = (std::env::var(VARIABLE), std::env::var_os("PROA_STORE_TEST_DATA")) {
        let work = Work::ALL.into_iter().find(|work| work.name() == name).expect("the name of some work");
        return work.run(data.as_ref());
    }
    let data = tempfile::tempdir().unwrap();
    for work in [Work::Import, Work::Churn, Work::Remove] {
        work.run(data.path());
        assert_eq!(check(data.path()).len(), if work == Work::Remove { 0 } else { 2 });
    }
}
