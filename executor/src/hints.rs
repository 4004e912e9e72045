//! What the user can do about an error that nobody on its way knew more about.

mod configured;
mod images;
mod network;
mod pods;

use std::error::Error;

use crate::error::Kind;

const NEWER: &str = "use the newer proa that wrote it, or another data directory with --dir";

/// A hint for an error, given as its chain of causes from the outside in and as the text of that chain.
pub(crate) fn of<'a>(
    kind: Kind,
    causes: impl Iterator<Item = &'a (dyn Error + 'static)>,
    chain: &str,
    command: Option<&str>,
) -> Option<String> {
    let by_type = causes.filter_map(of_cause).last();
    let hint = of_text(chain).or(by_type).map(str::to_owned);
    let of_system = || of_system(chain).filter(|_| kind != Kind::Usage).map(str::to_owned);
    let help = || format!("see `proa {}--help`", command.map(|command| command.to_owned() + " ").unwrap_or_default());
    Some(hint.or_else(of_system).unwrap_or_else(help))
}

/// What mends a limit of the kernel's or the caller's, whatever it stopped. The texts are strerror(3)'s.
pub(crate) fn of_limit(chain: &str) -> Option<&'static str> {
    [
        ("Too many open files", "raise the limit of open files: ulimit -n"),
        ("File too large", "raise the limit of file sizes: ulimit -f"),
        (
            "Argument list too long",
            "shorten arguments and environment: each has 128 KiB at most, all some 2 MiB: ulimit -s",
        ),
    ]
    .into_iter()
    .find_map(|(text, hint)| chain.ends_with(text).then_some(hint))
    .or_else(|| of_process(chain))
}

/// Whoever waits in vain on a socket is told the same as whoever can have no more processes.
fn of_process(chain: &str) -> Option<&'static str> {
    let mut steps = chain.rsplit(':').map(str::trim);
    let last = steps.next().filter(|last| *last == "Resource temporarily unavailable");
    let step = last.and_then(|_| steps.next())?;
    let makes_one = step.starts_with("start") || step.ends_with("namespace");
    makes_one.then_some("raise the limit of processes: ulimit -u")
}

/// What may be the matter where the kernel refused something.
fn of_system(chain: &str) -> Option<&'static str> {
    if chain.ends_with("No such file or directory") {
        return Some("is the path right?");
    }
    let refusals =
        ["Operation not permitted", "Function not implemented", "Invalid argument", "Operation not supported"];
    let lacks = refusals.into_iter().chain(["No such device", "Permission denied"]).any(|text| chain.ends_with(text));
    lacks.then_some("`proa doctor` says what this machine lacks")
}

/// What mends an error wherever it strikes. The texts are strerror(3)'s.
fn of_text(chain: &str) -> Option<&'static str> {
    [
        ("No space left on device", "free space in the data directory, or remove ended pods with `proa gc`"),
        ("Disk quota exceeded", "free space in the data directory, or remove ended pods with `proa gc`"),
        ("Read-only file system", "give a directory that can be written to with --dir"),
        ("Too many links", "the file system gives a file no more names: build the image with fewer hard links"),
    ]
    .into_iter()
    .find_map(|(text, hint)| chain.ends_with(text).then_some(hint))
}

fn of_cause(cause: &(dyn Error + 'static)) -> Option<&'static str> {
    network::of(cause).or_else(|| images::of(cause)).or_else(|| configured::of(cause)).or_else(|| pods::of(cause))
}

/// The hint for an error of one type; none for those of others.
fn about<E: Error + 'static>(
    cause: &(dyn Error + 'static),
    hint: impl FnOnce(&E) -> Option<&'static str>,
) -> Option<&'static str> {
    cause.downcast_ref().and_then(hint)
}

#[cfg(test)]
mod tests {
    use std::io;

    use fetch::{AciError, FetchError, OciError};
    use pod::PodError;
    use store::StoreError;
    use store::ingest::IngestError;

    use super::images::{DAMAGED, DAMAGED_LAYOUT, PATH, REFUSED};
    use super::*;
    use crate::error::CommandError;

    /// The hint that is printed for an error of `proa run`.
    fn hint(error: impl Into<CommandError>) -> String {
        let report = error.into().report(Some("run"));
        report.split_once("\nhint: ").unwrap_or_else(|| panic!("no hint: {report}")).1.trim_end().to_owned()
    }

    #[test]
    fn every_error_has_one() {
        let open = |kind| FetchError::Aci(AciError::Open { path: "x.aci".into(), source: io::Error::from(kind) });
        assert_eq!(hint(open(io::ErrorKind::NotFound)), PATH);
        assert_eq!(hint(open(io::ErrorKind::PermissionDenied)), "the file must be readable for you");
        assert_eq!(
            hint(FetchError::Aci(AciError::Directory("x".into()))),
            "an OCI layout directory is written oci:DIR"
        );
        let oci = |source| FetchError::Oci { dir: "x".into(), source };
        assert_eq!(hint(oci(OciError::Symlink("index.json".into()))), DAMAGED_LAYOUT);
        assert_eq!(hint(IngestError::Empty), DAMAGED);
        assert_eq!(hint(IngestError::Bomb { ratio: 1, compressed: 2, expanded: 3 }), REFUSED);
        assert_eq!(hint(StoreError::NewerFormat { found: 2, known: 1 }), NEWER);
        assert_eq!(hint(PodError::NewerFormat { found: 2, known: 1 }), NEWER);
        assert_eq!(hint(CommandError::usage("--x=1: no")), "see `proa run --help`");
        assert_eq!(hint(io::Error::other("odd")), "see `proa run --help`");
        let refused = rustix::io::Errno::PERM;
        assert_eq!(hint(io::Error::from(refused)), "`proa doctor` says what this machine lacks");
    }

    #[test]
    fn each_is_in_the_page_of_troubleshooting() {
        let page = include_str!("../../docs/troubleshooting.md");
        let rows: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" |")).collect();
        let sources = [
            include_str!("hints.rs"),
            include_str!("hints/configured.rs"),
            include_str!("hints/images.rs"),
            include_str!("hints/network.rs"),
            include_str!("hints/pods.rs"),
            include_str!("failure_hint.rs"),
        ];
        let code = sources.map(|source| source.split("#[cfg(test)]").next().unwrap_or_default());
        let texts = code.iter().flat_map(|code| code.lines()).filter(|line| !line.trim_start().starts_with("//"));
        let strings = texts.flat_map(|line| line.split('"').skip(1).step_by(2));
        // What a call of the kernel says, and names of files, are no hints: those begin small and have several words.
        let hints = strings.filter(|text| text.contains(' ') && !text.starts_with(|c: char| c.is_uppercase()));
        let missing: Vec<_> = hints
            .filter(|hint| hint.trim() != "" && !hint.starts_with("see `proa {}"))
            .filter(|hint| !rows.iter().any(|(row, _)| row == hint))
            .collect();
        assert!(missing.is_empty(), "docs/troubleshooting.md lacks {missing:#?}");
        assert!(rows.len() > 100, "the page is read as it is written");
    }

    #[test]
    fn a_full_disk_counts_more_than_the_step_it_stopped() {
        let full = rustix::io::Errno::NOSPC;
        let error = IngestError::WriteBlob(full.into());
        assert!(hint(error).starts_with("free space in the data directory"));
    }

    #[test]
    fn only_processes_that_cannot_be_made_are_too_many() {
        let again = || io::Error::from(rustix::io::Errno::AGAIN);
        let after = |step: &str| hint(CommandError::from(again()).during(step).during("run"));
        for step in ["start /usr/bin/newuidmap", "create the pod's user namespace", "create a user namespace"] {
            assert_eq!(after(step), "raise the limit of processes: ulimit -u", "{step}");
        }
        assert_eq!(after("talk to the supervisor of pod 1"), "see `proa run --help`");
    }

    #[test]
    fn a_step_in_front_hides_no_hint() {
        let error = CommandError::from(IngestError::Empty).during("layer x").during("oci:dir");
        assert_eq!(hint(error), DAMAGED);
    }
}
