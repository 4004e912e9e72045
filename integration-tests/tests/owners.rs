//! A thousand files of many owners keep owner, mode, time, attributes and capabilities, whatever ids the user has: what goes
//! into the store comes out of it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;

use integration_tests::{Env, each_user};
use tar::{Archive, Builder, EntryType, Header};

/// All that an archive says of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Facts {
    kind: u8,
    owner: (u64, u64),
    mode: u32,
    /// Nanoseconds.
    mtime: u128,
    link: Option<String>,
    xattrs: BTreeMap<String, Vec<u8>>,
    content: Vec<u8>,
}

/// cap_net_bind_service=ep (linux/capability.h, vfs_cap_data, revision 2).
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

const MODES: [u32; 8] = [0o644, 0o600, 0o755, 0o4755, 0o2755, 0o1666, 0o444, 0];

/// The files of the image, by their paths.
fn files() -> BTreeMap<String, Facts> {
    let mut files = BTreeMap::new();
    let base = |n: u64, kind: EntryType| Facts {
        kind: kind.as_byte(),
        owner: (n * 61 % 65_536, n * 67 % 65_536),
        mode: MODES[usize::try_from(n).expect("small") % MODES.len()],
        mtime: u128::from(1_000_000_000 + n * 1000) * 1_000_000_000 + u128::from(n) * 1000,
        link: None,
        xattrs: BTreeMap::new(),
        content: Vec::new(),
    };
    for dir in 0..10 {
        files.insert(
            format!("d{dir}"),
            Facts { mode: [0o755, 0o2750, 0o1777, 0o700][dir as usize % 4], ..base(dir, EntryType::Directory) },
        );
    }
    for n in 0..1000 {
        let name = format!("d{}/f{n}", n % 10);
        let mut facts = match n % 25 {
            24 => Facts { mode: 0o777, link: Some(format!("../d0/f{n}")), ..base(n, EntryType::Symlink) },
            _ => Facts { content: format!("file {n}").into_bytes(), ..base(n, EntryType::Regular) },
        };
        if facts.link.is_none() && n % 10 == 3 {
            facts.xattrs.insert("user.note".to_owned(), format!("note\0{n}").into_bytes());
        }
        if facts.link.is_none() && n % 50 == 7 {
            facts.xattrs.insert("security.capability".to_owned(), CAPABILITY.to_vec());
        }
        files.insert(name, facts);
    }
    files
}

/// The image as an ACI.
fn aci(files: &BTreeMap<String, Facts>) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    let manifest = br#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/many-owners"}"#;
    let mut header = Header::new_ustar();
    header.set_size(manifest.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "manifest", &manifest[..]).expect("memory");
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Directory);
    header.set_mode(0o755);
    header.set_size(0);
    tar.append_data(&mut header, "rootfs", &[][..]).expect("memory");
    for (path, facts) in files {
        let (seconds, nanoseconds) = (facts.mtime / 1_000_000_000, facts.mtime % 1_000_000_000);
        let time = format!("{seconds}.{nanoseconds:09}");
        let xattrs = facts.xattrs.iter().map(|(name, value)| (format!("SCHILY.xattr.{name}"), value.clone()));
        let records: Vec<_> = [("mtime".to_owned(), time.into_bytes())].into_iter().chain(xattrs).collect();
        tar.append_pax_extensions(records.iter().map(|(key, value)| (key.as_str(), value.as_slice()))).expect("memory");
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::new(facts.kind));
        header.set_uid(facts.owner.0);
        header.set_gid(facts.owner.1);
        header.set_mode(facts.mode);
        header.set_mtime(u64::try_from(seconds).expect("soon enough"));
        header.set_size(facts.content.len() as u64);
        let path = format!("rootfs/{path}");
        match &facts.link {
            Some(target) => tar.append_link(&mut header, path, target).expect("memory"),
            None => tar.append_data(&mut header, path, &facts.content[..]).expect("memory"),
        }
    }
    tar.into_inner().expect("memory")
}

/// What a layer holds, without its root.
fn listed(layer: &[u8]) -> BTreeMap<String, Facts> {
    let mut files = BTreeMap::new();
    let mut archive = Archive::new(layer);
    for entry in archive.entries().expect("it is an archive") {
        let mut entry = entry.expect("it is whole");
        let path = String::from_utf8(entry.path_bytes().into_owned()).expect("UTF-8").trim_end_matches('/').to_owned();
        let (mut time, mut xattrs) = (None, BTreeMap::new());
        for record in entry.pax_extensions().expect("readable").into_iter().flatten() {
            let record = record.expect("well formed");
            let key = record.key().expect("UTF-8");
            if key == "mtime" {
                let text = record.value().expect("UTF-8").to_owned();
                let (seconds, fraction) = text.split_once('.').unwrap_or((&text, "0"));
                let nanoseconds: u128 = format!("{fraction:0<9}").parse().expect("digits");
                time = Some(seconds.parse::<u128>().expect("digits") * 1_000_000_000 + nanoseconds);
            } else if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
                xattrs.insert(name.to_owned(), record.value_bytes().to_vec());
            }
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("it is whole");
        let header = entry.header();
        let whole_seconds = u128::from(header.mtime().expect("a number")) * 1_000_000_000;
        let facts = Facts {
            kind: header.entry_type().as_byte(),
            owner: (header.uid().expect("a number"), header.gid().expect("a number")),
            mode: header.mode().expect("a number"),
            mtime: time.unwrap_or(whole_seconds),
            link: entry.link_name().expect("readable").map(|link| link.display().to_string()),
            xattrs,
            content,
        };
        files.insert(path, facts);
    }
    files.remove(".");
    files
}

/// The only layer of an OCI layout.
fn only_layer(layout: &Path) -> Vec<u8> {
    let json = |file: &Path| -> serde_json::Value {
        serde_json::from_slice(&fs::read(file).expect("root reads all")).expect("it is JSON")
    };
    let blob = |digest: &serde_json::Value| {
        layout.join("blobs/sha256").join(digest.as_str().and_then(|it| it.strip_prefix("sha256:")).expect("a digest"))
    };
    let manifest = json(&blob(&json(&layout.join("index.json"))["manifests"][0]["digest"]));
    let mut layer = Vec::new();
    let packed = fs::File::open(blob(&manifest["layers"][0]["digest"])).expect("root reads all");
    flate2::read::GzDecoder::new(packed).read_to_end(&mut layer).expect("it is gzip");
    layer
}

each_user! {
    a_thousand_files_of_many_owners,
}

fn a_thousand_files_of_many_owners(env: &Env) {
    let files = files();
    let image = env.write("images/many.aci", aci(&files));
    let fetch = ["--insecure-options=image", "fetch", image.to_str().expect("UTF-8")];
    let fetched = env.proa(fetch).outcome().succeeds().quietly();
    let id = fetched.line();
    let layout = env.path("tmp/layout");
    let export = ["image", "export", "--format=oci", "--name=many:1", id, layout.to_str().expect("UTF-8")];
    env.proa(export).outcome().succeeds();
    let found = listed(&only_layer(&layout));
    for (path, facts) in &files {
        assert_eq!(found.get(path), Some(facts), "{path}");
    }
    assert_eq!(found.len(), files.len());
    // The layer goes back into the store as a layer, and is still the same.
    let again = env.proa(["fetch", &format!("oci:{}:many:1", layout.display())]).outcome().succeeds();
    env.proa(["image", "verify", id, again.line()]).outcome().succeeds().quietly();
    fs::remove_dir_all(&layout).expect("root may remove it");
}
