//! What the user can do about an error that nobody on its way knew more about.

use std::error::Error;
use std::io;

use appc::ManifestError;
use executor::aci::{ArchiveError, BuildError, LayoutError, ManifestFileError, OpenError, PatchError};
use fetch::download::DownloadError;
use fetch::http::HttpError;
use fetch::keystore::KeystoreError;
use fetch::openpgp::KeyError;
use fetch::registry::{CredentialsError, RegistryError};
use fetch::{AciError, FetchError, OciError, RefError, TarIndexError};
use metadata_api::place::PlaceError;
use metadata_server::secrets::SecretError;
use pod::PodError;
use stage1::plan::PlanError;
use stage1::run::RunError;
use store::extract::ExtractError;
use store::flatten::FlattenError;
use store::ingest::IngestError;
use store::{DependencyError, StoreError};

use crate::config::ConfigError;
use crate::error::Kind;
use crate::manifest::ReifyError;
use crate::sources::SourceError;

const DAMAGED: &str = "the file is damaged or no image: copy, fetch or build it again";
const REFUSED: &str = "an image like this is never unpacked: build it without that";
const DAMAGED_LAYOUT: &str = "the layout is damaged: copy or build it again";
const NEWER: &str = "use the newer proa that wrote it, or another data directory with --dir";
const DAMAGED_POD: &str = "the pod is damaged: `proa rm` removes it";
const PATH: &str = "is the path right? Images are docker://NAME, appc://NAME, https://URL, FILE.aci, oci:DIR[:REF], oci-archive:FILE, docker-archive:FILE, hello, or the ID or name of a stored one";

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
        ("Too many open files", "raise the limit of open files: ulimit -n"),
    ]
    .into_iter()
    .find_map(|(text, hint)| chain.ends_with(text).then_some(hint))
}

/// About virtual machine images.
fn of_vm_image(cause: &(dyn Error + 'static)) -> Option<&'static str> {
    use eci::{ArchiveError, ContentsError, DocumentError, LayoutError, PackError, TitleError};
    if let Some(ArchiveError::Taken { .. }) = cause.downcast_ref() {
        return Some("choose another file or remove this one; a layout directory holds several images");
    }
    if cause.is::<LayoutError>() || cause.is::<ArchiveError>() {
        return Some("are the path and the name right? `skopeo list-tags` or index.json say what is there");
    }
    if cause.is::<PackError>() {
        return Some("are the paths right? See `proa eci push --help`");
    }
    if cause.is::<ContentsError>() || cause.is::<TitleError>() {
        return Some("an image like this is never unpacked: push it again without that");
    }
    let damaged = cause.is::<DocumentError>() || cause.is::<eci::unpack::UnpackError>();
    damaged.then_some("if the image is damaged, push it again")
}

fn of_cause(cause: &(dyn Error + 'static)) -> Option<&'static str> {
    if let Some(error) = cause.downcast_ref::<FetchError>() {
        return of_fetch(error);
    }
    if let Some(error) = cause.downcast_ref::<RegistryError>() {
        return of_registry(error);
    }
    if let Some(error) = cause.downcast_ref::<HttpError>() {
        return of_http(error);
    }
    if cause.is::<CredentialsError>() {
        return Some("correct or remove that entry; `podman login` and `docker login` write such files");
    }
    if let Some(hint) = of_vm_image(cause) {
        return Some(hint);
    }
    if let Some(error) = cause.downcast_ref::<IngestError>() {
        return of_ingest(error);
    }
    if let Some(error) = cause.downcast_ref::<ReifyError>() {
        return of_reify(error);
    }
    if let Some(FlattenError::Holes(_)) = cause.downcast_ref() {
        return Some("a layer has no holes: remove the file, or keep it in a volume; `proa cp` copies it as it is");
    }
    if let Some(hint) = of_aci(cause) {
        return Some(hint);
    }
    if cause.is::<ManifestError>() {
        return Some("correct the image's manifest and build it again");
    }
    if let Some(error) = cause.downcast_ref::<ConfigError>() {
        return Some(of_config(error));
    }
    if let Some(error) = cause.downcast_ref::<KeystoreError>() {
        return Some(of_keystore(error));
    }
    if cause.is::<KeyError>() {
        return Some("give a file of public keys, as `gpg --armor --export NAME` writes it");
    }
    if let Some(error) = cause.downcast_ref::<DownloadError>() {
        return of_download(error);
    }
    if cause.is::<RefError>() {
        return Some(PATH);
    }
    match cause.downcast_ref::<SecretError>() {
        Some(SecretError::Exposed { .. }) => {
            return Some("who could read it can sign as your pods: remove it, and a new one is made");
        }
        Some(SecretError::Damaged { .. }) => return Some("restore it, or remove it and a new one is made"),
        _ => {}
    }
    match cause.downcast_ref::<PlaceError>() {
        Some(PlaceError::Unsafe { .. }) => return Some("give it to its owner alone: chmod 700"),
        Some(PlaceError::Occupied { .. }) => return Some("one is enough; to replace it, end it first"),
        _ => {}
    }
    if let Some(error) = cause.downcast_ref::<DependencyError>() {
        return Some(match error {
            DependencyError::Missing { .. } => {
                "fetch what is missing; images in files come before those that need them"
            }
            _ => "correct the images' manifests and build them again",
        });
    }
    match (cause.downcast_ref::<StoreError>(), cause.downcast_ref::<PodError>()) {
        (Some(StoreError::NewerFormat { .. }), _) | (_, Some(PodError::NewerFormat { .. })) => Some(NEWER),
        (Some(StoreError::Damaged { .. }), _) => Some("fetch the image again"),
        (_, Some(PodError::WrongState { .. })) => Some("end it first: `proa stop`"),
        (_, Some(PodError::Manifest { .. })) => Some(DAMAGED_POD),
        (_, Some(PodError::Call(call))) if call.path.ends_with("/pod") => Some(DAMAGED_POD),
        _ if cause.is::<RunError>() => match cause.downcast_ref() {
            // Its source is the plan's: that it is one shows here alone.
            Some(RunError::Plan(error)) => of_plan(error),
            _ => None,
        },
        _ if cause.is::<PlanError>() => cause.downcast_ref().and_then(of_plan),
        _ if cause.is::<SourceError>() => cause.downcast_ref().and_then(of_source),
        _ if cause.is::<pod::FindError>() => Some("`proa list` shows the pods there are"),
        _ => None,
    }
}

fn of_config(error: &ConfigError) -> &'static str {
    match error {
        ConfigError::Read { .. } => "configuration files and their folders must be readable for you",
        ConfigError::Untrusted { .. } => "make the file yours or root's, and writable for its owner only",
        ConfigError::ForeignKind { .. } => "move the file to the folder of its kind",
        _ => "correct the file, or hide it with an empty one of its name in a later directory",
    }
}

fn of_download(error: &DownloadError) -> Option<&'static str> {
    match error {
        DownloadError::Http(error) => of_http(error),
        DownloadError::Write(_) => None,
        DownloadError::Status { .. } => Some("is the URL right, and the file there?"),
        _ => Some("the server does not serve the file as it should: try again later, or get the file in another way"),
    }
}

fn of_keystore(error: &KeystoreError) -> &'static str {
    match error {
        KeystoreError::Untrusted { .. } => "make the key's file yours or root's, and writable for its owner only",
        KeystoreError::Write { .. } => "name a directory you can write to with --user-config (root: --local-config)",
        _ => "`proa trust --list` shows the trusted keys; their files must be readable for you",
    }
}

fn of_fetch(error: &FetchError) -> Option<&'static str> {
    match error {
        FetchError::Aci(AciError::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound => Some(PATH),
        FetchError::Aci(AciError::Open { .. }) => Some("the file must be readable for you"),
        FetchError::Aci(AciError::Directory(_)) => Some("an OCI layout directory is written oci:DIR"),
        FetchError::Aci(_) => Some("save the image to a file first"),
        FetchError::Oci { source, .. } | FetchError::Archive { source, .. } => Some(of_oci(source)),
        _ => None,
    }
}

fn of_registry(error: &RegistryError) -> Option<&'static str> {
    match error {
        RegistryError::Http(error) => of_http(error),
        RegistryError::Document(error) => Some(of_oci(error)),
        RegistryError::NotFound { .. } => {
            Some("is the name right, and the tag? Private images are only shown after a login")
        }
        RegistryError::Unauthorized { shown: false, .. } => {
            Some("is the name right? Else log in, for instance with `podman login` or `docker login`")
        }
        RegistryError::Unauthorized { shown: true, .. } => {
            Some("log in again: user or password is wrong, or the token is too old")
        }
        RegistryError::Denied { .. } => Some("ask the registry's owner for access"),
        RegistryError::Realm { .. } => Some("if you trust that host, name it in tokenServices (docs/configuration.md)"),
        RegistryError::Digest { .. } | RegistryError::Size { .. } => {
            Some("the registry, or somebody on the way, is broken or lies: nothing was stored")
        }
        RegistryError::Credentials(_) => {
            Some("correct or remove that entry; `podman login` and `docker login` write such files")
        }
        _ => None,
    }
}

fn of_http(error: &HttpError) -> Option<&'static str> {
    Some(match error {
        HttpError::PlainHttp(_) => "--insecure-options=http permits it; nobody then vouches for what comes",
        HttpError::Handshake { .. } => "if the server speaks plain http, --insecure-options=http permits that",
        HttpError::Certificate { .. } => {
            "if a private authority signed it, name its certificate in SSL_CERT_FILE or in `authorities` (docs/configuration.md)"
        }
        HttpError::CertificateTime { .. } => "is this machine's clock right?",
        HttpError::NoAuthorities => "install ca-certificates, or name a file of certificates in SSL_CERT_FILE",
        HttpError::Authorities { .. } => "correct the configuration of `authorities` (docs/configuration.md)",
        HttpError::Resolve { .. } => "is the name right, and this machine connected to the network?",
        HttpError::Connect { .. } | HttpError::Silent { .. } | HttpError::Slow { .. } | HttpError::Cut { .. } => {
            "is the server up, and does a proxy stand in the way (HTTPS_PROXY, NO_PROXY)?"
        }
        HttpError::Downgrade { .. } | HttpError::Internal { .. } | HttpError::Redirect { .. } => {
            "tell the server's owner: such an answer is never followed"
        }
        HttpError::Status { status, .. } if status.is_server_error() || status.as_u16() == 429 => "try again later",
        _ => return None,
    })
}

fn of_oci(error: &OciError) -> &'static str {
    match error {
        OciError::OpenDir(_) => "is the path right, and the directory readable for you?",
        OciError::NotALayout { .. } => "give the directory that holds oci-layout and index.json",
        OciError::OpenArchive(_) => "is the path right, and the file readable for you?",
        OciError::Archive(TarIndexError::Compressed(_)) => "unpack it first: gunzip, unzstd, bunzip2, unxz",
        OciError::Archive(_) | OciError::DockerArchive(_) => "the archive is damaged: save the image again",
        OciError::Open { .. } | OciError::Read { .. } => "the files of the layout must be readable for you",
        OciError::MediaType { .. } => {
            "layers may be tar, tar+gzip and tar+zstd: convert the image, for instance with `skopeo copy`"
        }
        OciError::Ambiguous { .. } | OciError::NoRef { .. } => "choose one of those that are listed",
        OciError::NoPlatform { .. } | OciError::ForeignPlatform { .. } => "get the image for this kind of machine",
        OciError::Registry(error) => of_registry(error).unwrap_or(DAMAGED_LAYOUT),
        OciError::NoLayers | OciError::TooManyLayers { .. } => {
            "build the image another way: it cannot be run like this"
        }
        _ => DAMAGED_LAYOUT,
    }
}

/// What `proa aci` works on.
fn of_aci(cause: &(dyn Error + 'static)) -> Option<&'static str> {
    const LAYOUT: &str = "a layout has a manifest, a directory rootfs, and nothing else";
    match (cause.downcast_ref::<LayoutError>(), cause.downcast_ref::<ArchiveError>()) {
        (Some(LayoutError::Manifest(_)), _) => return Some("correct the manifest of the layout"),
        (Some(LayoutError::Access { .. } | LayoutError::NotDirectory(_)), _) => {
            return Some("give the directory that holds manifest and rootfs");
        }
        (Some(LayoutError::ManifestFile(_) | LayoutError::Directory { .. }), _) => {
            return Some("the files of the layout must be readable for you");
        }
        (Some(_), _) => return Some(LAYOUT),
        (_, Some(ArchiveError::Read(error))) => return of_ingest(error),
        (_, Some(ArchiveError::Manifest(_))) => return Some("correct the manifest and build the image again"),
        (_, Some(_)) => return Some("build the image again, with `proa aci build`"),
        _ => {}
    }
    match (cause.downcast_ref::<OpenError>(), cause.downcast_ref::<ManifestFileError>()) {
        (Some(OpenError::Text), _) => return Some("`proa aci validate` reads manifests, too"),
        (Some(OpenError::Unreadable(error)), _) => return of_ingest(error),
        (Some(OpenError::Unknown), _) => return Some(DAMAGED),
        (_, Some(ManifestFileError::Yaml(_))) => return Some("correct it there"),
        (_, Some(_)) => return Some("give a manifest file that is readable for you"),
        _ => {}
    }
    match cause.downcast_ref::<BuildError>() {
        Some(BuildError::Walk(_)) => return Some("all files of the layout must be readable for you"),
        Some(BuildError::Shrunk(_)) => return Some("nothing may write to the layout meanwhile: try again"),
        Some(BuildError::Name { .. }) => return Some("rename it, or leave it out of the image"),
        _ => {}
    }
    cause.is::<PatchError>().then_some("`proa aci patch-manifest --help` shows the forms")
}

fn of_ingest(error: &IngestError) -> Option<&'static str> {
    Some(match error {
        IngestError::UnsupportedCompression { .. } => "compress the image with gzip, bzip2, xz or zstd, or not at all",
        IngestError::Encrypted { name } if name == "OpenPGP" => {
            "decrypt it first: gpg --output IMAGE.aci --decrypt FILE"
        }
        IngestError::Encrypted { .. } => "decrypt it first, with the program that encrypted it",
        IngestError::TooLarge { .. } | IngestError::Bomb { .. } => REFUSED,
        IngestError::Read(_) => "can the file be read to its end?",
        IngestError::Extract(ExtractError::Entry { .. } | ExtractError::Limit { .. }) => REFUSED,
        IngestError::WriteBlob(_) | IngestError::Extract(ExtractError::System { .. }) => return None,
        _ => DAMAGED,
    })
}

fn of_plan(error: &PlanError) -> Option<&'static str> {
    match error {
        PlanError::ReservedPath { .. } | PlanError::BadPath { .. } => Some("choose another target for the volume"),
        PlanError::BadOwner { .. } => Some("an owner is written as in uid=1000,gid=1000"),
        PlanError::UnmappedOwner { .. } => {
            Some("choose another owner; `proa doctor` says whether you have a subordinate id range")
        }
        PlanError::BadGroup { .. } | PlanError::UnmappedGroup { .. } => Some("choose others with --supplementary-gids"),
        _ => None,
    }
}

fn of_source(error: &SourceError) -> Option<&'static str> {
    Some(match error {
        SourceError::Stat { .. } => "a source must be there, and reachable for you: proa makes none",
        SourceError::Symlink { .. } => "write the path it leads to, or give --follow-symlinks",
        SourceError::DataDir { .. } => "share another directory: an app could change images and pods through this one",
        SourceError::KernelInterface { may_be_read: true, .. } => "share it with readOnly=true, or another directory",
        SourceError::KernelInterface { .. } => "share the directories that the app needs, not this one",
        SourceError::Device { .. } => {
            "apps open a device with your rights: it takes a udev rule, or chmod, to have them"
        }
        SourceError::Mounts(_) => return None,
    })
}

fn of_reify(error: &ReifyError) -> Option<&'static str> {
    Some(match error {
        ReifyError::NoPlatform { .. } => "build the image again with the labels os and arch",
        ReifyError::OtherLabel { .. } => "correct the pod manifest, or get the image that it means",
        ReifyError::BadMount { .. } => "write the whole path, from the root of the app's file system",
        ReifyError::ForeignPlatform { .. } => "get or build the image for this kind of machine",
        ReifyError::NoApp(_) => "give the executable after the image: --exec /path/in/image",
        ReifyError::NoExec { .. } => "give the executable after the image: --exec /path/in/image -- ARGS",
        ReifyError::NoName { .. } => "name the app after the image: --name NAME",
        ReifyError::DuplicateVolume(_) => "give each volume a name of its own",
        ReifyError::BadMode { .. } => "write the permissions as in mode=0755",
        ReifyError::NoVolume { .. } => "declare it before the first image: --volume NAME,kind=host,source=/PATH",
        ReifyError::Overlap { .. } => "choose places of which none lies in another",
        ReifyError::DuplicateApp(_) => "name one of them after its image: --name NAME",
        _ => "correct the image's manifest and build it again",
    })
}

#[cfg(test)]
mod tests {
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
        let sources = [include_str!("hints.rs"), include_str!("failure_hint.rs")];
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
    fn a_step_in_front_hides_no_hint() {
        let error = CommandError::from(IngestError::Empty).during("layer x").during("oci:dir");
        assert_eq!(hint(error), DAMAGED);
    }
}
