//! What must hold for any image file and any YAML: the fuzz targets' bodies over inputs that are close to good ones.

#[path = "../fuzz/bodies.rs"]
mod bodies;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence};

const MANIFEST: &[u8] = br#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/x"}"#;

/// One member of an archive.
#[derive(Clone, Debug)]
struct Member {
    name: &'static str,
    kind: u8,
    /// What the header claims, where that is not the length of the data.
    size: Option<u64>,
    link: &'static str,
    mode: u32,
    data: Vec<u8>,
    pax: Option<(&'static str, &'static str)>,
}

fn member() -> impl Strategy<Value = Member> {
    let name = || {
        prop::sample::select(vec![
            "rootfs/a",
            "rootfs/b",
            "rootfs/d",
            "rootfs/d/",
            "rootfs/d/f",
            "rootfs/d/e/g",
            "./rootfs/a",
            "rootfs",
            "rootfs/",
            "manifest",
            "./manifest",
            "rootfs/../a",
            "/rootfs/a",
            "rootfs2/a",
            ".",
            "",
            "rootfs//a",
            "other",
        ])
    };
    let pax = prop::sample::select(vec![
        ("path", "rootfs/long"),
        ("linkpath", "rootfs/a"),
        ("size", "3"),
        ("uid", "3000000"),
        ("mtime", "-1.5"),
        ("SCHILY.xattr.user.note", "value"),
        ("SCHILY.xattr.user.overlay.opaque", "y"),
        ("GNU.sparse.major", "1"),
        ("comment", "x"),
        ("path", ""),
    ]);
    (
        (name(), prop::sample::select(b"00005512345670xgLKS".to_vec())),
        (prop::option::weighted(0.1, prop::sample::select(vec![0, 1, 511, 512, 513, 1 << 20, u64::MAX >> 3])), name()),
        (
            prop::sample::select(vec![0o644, 0o755, 0, 0o4711]),
            vec(any::<u8>(), 0..700),
            prop::option::weighted(0.15, pax),
        ),
    )
        .prop_map(|((name, kind), (size, link), (mode, data, pax))| {
            let data = if kind == b'0' { data } else { Vec::new() };
            Member { name, kind, size, link, mode, data, pax }
        })
}

fn append(tar: &mut Vec<u8>, name: &[u8], kind: u8, size: u64, link: &[u8], mode: u32, data: &[u8]) {
    let mut header = [0; 512];
    header[..name.len()].copy_from_slice(name);
    header[100..107].copy_from_slice(format!("{mode:07o}").as_bytes());
    header[108..115].copy_from_slice(b"0000000");
    header[116..123].copy_from_slice(b"0000000");
    header[124..135].copy_from_slice(&format!("{size:011o}").as_bytes()[..11]);
    header[136..147].copy_from_slice(b"07000000000");
    header[156] = kind;
    header[157..157 + link.len()].copy_from_slice(link);
    tar.extend(header);
    tar.extend(data);
    tar.resize(tar.len().next_multiple_of(512), 0);
}

/// An archive that may well be sound: the manifest and rootfs first or last, or one of them not at all.
fn archive() -> impl Strategy<Value = Vec<u8>> {
    (vec(member(), 0..8), 0..10_u8).prop_map(|(members, frame)| {
        let mut tar = Vec::new();
        let manifest = |tar: &mut Vec<u8>| append(tar, b"manifest", b'0', MANIFEST.len() as u64, b"", 0o644, MANIFEST);
        if frame != 1 {
            append(&mut tar, b"rootfs", b'5', 0, b"", 0o755, b"");
        }
        if frame > 5 {
            manifest(&mut tar);
        }
        for member in members {
            if let Some((key, value)) = member.pax {
                let rest = key.len() + value.len() + 3;
                let length = if rest + 1 < 10 { rest + 1 } else { rest + 2 };
                let record = format!("{length} {key}={value}\n");
                append(&mut tar, b"pax", b'x', record.len() as u64, b"", 0o644, record.as_bytes());
            }
            let size = member.size.unwrap_or(member.data.len() as u64);
            append(
                &mut tar,
                member.name.as_bytes(),
                member.kind,
                size,
                member.link.as_bytes(),
                member.mode,
                &member.data,
            );
        }
        if frame <= 5 && frame != 0 {
            manifest(&mut tar);
        }
        tar.extend([0; 1024]);
        tar
    })
}

proptest! {
    // PROPTEST_CASES makes it more. A failure prints its seed and keeps it in `properties.regressions`.
    #![proptest_config(Config {
        cases: 300,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..Config::default()
    })]

    #[test]
    fn what_resembles_an_image_does_no_harm(tar in archive(), cut in prop::option::weighted(0.1, any::<prop::sample::Index>())) {
        let length = cut.map_or(tar.len(), |cut| cut.index(tar.len()));
        bodies::archive(&tar[..length]);
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..1500)) {
        bodies::archive(&bytes);
        bodies::yaml(&bytes);
    }

    #[test]
    fn bytes_behind_a_magic_number_do_no_harm(magic in 0..4_usize, bytes in vec(any::<u8>(), 0..300)) {
        let magic: &[u8] = [&b"\x1f\x8b\x08\0\0\0\0\0\0\xff"[..], b"BZh91AY&SY", b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4\x46", b"\x28\xb5\x2f\xfd"][magic];
        bodies::archive(&[magic, &bytes].concat());
    }

    #[test]
    fn what_resembles_yaml_does_no_harm(text in "([a-c]: |- |\\[|\\]|\\{|\\}|, |\n|  |\"x\"|&a |\\*a|!!str |[0-9.]{1,3}|---\n|\\| |> |#|: |'){0,40}") {
        bodies::yaml(text.as_bytes());
    }
}

/// Enough of the generated images must be sound for the properties of sound ones to mean something.
#[test]
fn many_generated_images_are_sound() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let sound = (0..300).filter(|_| {
        let mut tar = archive().new_tree(&mut runner).expect("a value").current();
        // The body sets the checksums; here the count needs them.
        assert!(bodies::seal(&mut tar) || tar.len() == 1024);
        let file = bodies::file(&tar);
        executor::aci::validate_archive(file, &bodies::limits(), appc::Dialect::Proa).is_ok()
    });
    let sound = sound.count();
    assert!(sound > 20, "{sound} of 300");
}
