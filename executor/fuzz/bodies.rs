//! What must hold whatever file somebody takes for an image: no panic, bounded work, and what is called sound can be
//! unpacked and copied. The fuzz targets and the property tests run these same bodies.

use std::fs::File;
use std::io::{Seek as _, Write as _};

use appc::{Dialect, ImageManifest, PodManifest};
use executor::aci::{self, FileType};
use rustix::fs::MemfdFlags;
use store::archive::Compression;
use store::extract::ExtractLimits;

/// Small bounds, so that each input is done with quickly, and the code that keeps them is reached.
pub(crate) fn limits() -> ExtractLimits {
    ExtractLimits {
        entries: 200,
        expanded: 1 << 20,
        metadata: 8 << 10,
        sparse_regions: 200,
        manifest: 64 << 10,
        ..aci::limits()
    }
}

/// A file without a name that holds these bytes.
pub(crate) fn file(bytes: &[u8]) -> File {
    let memory = rustix::fs::memfd_create("input", MemfdFlags::CLOEXEC).expect("memory for a small file");
    let mut file = File::from(memory);
    file.write_all(bytes).and_then(|()| file.rewind()).expect("memory takes all");
    file
}

/// Takes the bytes for an image file, as they are and with the checksums of its tar headers made right, which chance
/// hardly ever hits.
pub(crate) fn archive(bytes: &[u8]) {
    let _ = FileType::detect(bytes);
    image(bytes);
    let mut sealed = bytes.to_vec();
    if seal(&mut sealed) {
        image(&sealed);
    }
}

fn image(bytes: &[u8]) {
    let limits = limits();
    let validated = aci::validate_archive(file(bytes), &limits, Dialect::Proa);
    if let Err(error) = &validated {
        let _ = error.to_string();
    }
    let manifest = aci::manifest_of(file(bytes), &limits);
    let Ok(checked) = validated else { return };
    assert!(manifest.is_ok(), "a sound image has a manifest");
    // What is sound is copied without a change in what it is.
    let copy = file(b"");
    let unchanged = |old: &[u8]| Ok::<_, std::fmt::Error>(old.to_vec());
    aci::rewrite(file(bytes), copy.try_clone().expect("a descriptor"), Compression::None, &limits, unchanged)
        .expect("a sound image can be copied");
    let mut copy = copy;
    copy.rewind().expect("it is memory");
    let again = aci::validate_archive(copy, &limits, Dialect::Proa).expect("the copy is sound");
    assert_eq!((again.entries, again.manifest), (checked.entries, checked.manifest));
    // And it can be unpacked, by whoever this is.
    let dir = tempfile::tempdir().expect("a folder for temporary files");
    let unpacked = aci::unpack(file(bytes), &dir.path().join("layout"), false, 0o755);
    match unpacked {
        Ok(unpacked) => assert_eq!(unpacked.id, checked.id),
        // Only what the file system cannot do may fail: a name that it does not take, an attribute too many.
        Err(aci::UnpackError::Image(store::ingest::IngestError::Extract(error))) => {
            let bounded = matches!(
                error,
                store::extract::ExtractError::System { .. }
                    | store::extract::ExtractError::Limit { .. }
                    | store::extract::ExtractError::Entry { fault: store::extract::Fault::Xattrs(_), .. }
            );
            assert!(bounded, "{error}");
        }
        Err(error) => panic!("{error}"),
    }
    // Directories may have got a mode that keeps the folder from being removed.
    let top = File::open(dir.path()).expect("it was just made");
    open_up(dir.path());
    store::removal::empty(std::os::fd::AsFd::as_fd(&top)).expect("it is ours");
}

/// Gives every directory below back to its owner.
fn open_up(dir: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let _ = std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700));
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

/// Walks from header to header as a reader would, and sets magic and checksum of each. Whether there was one.
pub(crate) fn seal(tar: &mut [u8]) -> bool {
    const BLOCK: usize = 512;
    let mut at = 0;
    let mut sealed = false;
    while let Some(header) = tar.get_mut(at..at + BLOCK) {
        if header.iter().all(|&b| b == 0) {
            break;
        }
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|&b| u32::from(b)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        sealed = true;
        let digits = header[124..136].iter().take_while(|b| matches!(b, b'0'..=b'7'));
        let size = digits.fold(0_usize, |size, digit| size.saturating_mul(8).saturating_add(usize::from(digit - b'0')));
        at = at.saturating_add(BLOCK).saturating_add(size.min(1 << 30).next_multiple_of(BLOCK));
    }
    sealed
}

/// A manifest in YAML becomes JSON that the readers of manifests take or refuse, and never more than a manifest may have.
pub(crate) fn yaml(bytes: &[u8]) {
    match aci::yaml_to_json(bytes) {
        Ok(json) => {
            assert!(json.len() <= 2 * appc::MAX_MANIFEST_BYTES, "{}", json.len());
            let _ = (ImageManifest::from_json(json.as_bytes()), PodManifest::from_json(json.as_bytes()));
        }
        Err(error) => {
            let _ = (error.to_string(), error.picture().map(str::len));
        }
    }
}
