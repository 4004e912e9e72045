//! Archives that are given back: bit for bit, whatever is in them; and what a damaged tree or recipe gives instead.

use std::fs::{self, File};
use std::io::{BufReader, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use proptest::prelude::*;
use store::extract::ExtractLimits;
use store::ingest::{Compression, IngestJob, IngestReport, InputFormat, run};
use store::recipe::{RecipeError, rebuild};
use tempfile::TempDir;

use crate::archive::{Archive, Entry, gzip};
use crate::imports::file;

/// A tree and its recipe.
struct Layer {
    dir: TempDir,
    recipe: File,
    report: IngestReport,
}

impl Layer {
    fn of(tar: &[u8]) -> Self {
        Self::packed(tar, Compression::None)
    }

    fn packed(bytes: &[u8], compression: Compression) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("rootfs")).unwrap();
        let recipe = tempfile::tempfile().unwrap();
        let report = run(IngestJob {
            input: file(bytes),
            length: None,
            format: InputFormat::OciLayer(compression),
            root: OwnedFd::from(File::open(dir.path().join("rootfs")).unwrap()),
            blob: None,
            recipe: Some(recipe.try_clone().unwrap()),
            limits: ExtractLimits::default(),
            expect_compressed: None,
            expect_uncompressed: None,
            single_id: true,
            below: store::extract::Below::default(),
            milestones: None,
        });
        Self { dir, recipe, report: report.unwrap() }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("rootfs")
    }

    fn archive(&self) -> Result<Vec<u8>, RecipeError> {
        let mut recipe = self.recipe.try_clone().unwrap();
        recipe.rewind().unwrap();
        let mut tar = Vec::new();
        let root = File::open(self.root()).unwrap();
        let size = rebuild(recipe, root.as_fd(), &mut tar, &mut tempfile::tempfile)?;
        assert_eq!(size, tar.len() as u64);
        Ok(tar)
    }
}

fn comes_back(tar: &[u8]) {
    let given = Layer::of(tar).archive().unwrap();
    assert!(given == tar, "another archive of {} bytes instead of {}", given.len(), tar.len());
}

#[test]
fn an_archive_comes_back() {
    let archive = Archive::new()
        .dir("etc")
        .file("etc/passwd", "root:x:0:0\n")
        .file("empty", "")
        .file("big", vec![7; 300_000])
        .symlink("link", "etc/passwd")
        .hard_link("hard", "etc/passwd")
        .file("etc/.wh.gone", "")
        .entry(Entry::new("forbidden", b'0').mode(0).data("secret"))
        .entry(Entry::new("device", b'3'))
        .file("deep/er/than/its/entries", "x");
    comes_back(&archive.clone().end());
    // What follows the end belongs to the archive: tar fills up to 10 KiB, and the digest covers it.
    comes_back(&[archive.clone().end(), vec![0; 9000], b"and more".to_vec()].concat());
    let layer = Layer::packed(&gzip(&archive.clone().end()), Compression::Gzip);
    assert_eq!(layer.archive().unwrap(), archive.end());
    assert!(layer.report.recipe_size > 0 && layer.report.recipe_size == layer.recipe.metadata().unwrap().len());
}

#[test]
fn unusual_headers_come_back() {
    comes_back(&Archive::new().pax(&[("path", b"another"), ("mtime", b"12.5")]).file("name", "data").end());
    let sparse: [(&str, &[u8]); 4] = [
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"sparse"),
        ("GNU.sparse.realsize", b"1000000"),
    ];
    let map = |text: &str| {
        let mut block = text.as_bytes().to_vec();
        block.resize(512, 0);
        block
    };
    let data = [map("2\n1000\n5\n999000\n7\n"), b"hello".to_vec(), b"goodbye".to_vec()].concat();
    let archive = Archive::new().pax(&sparse).file("GNUSparseFile.0/sparse", data).file("after", "x").end();
    let layer = Layer::of(&archive);
    assert_eq!(fs::metadata(layer.root().join("sparse")).unwrap().len(), 1_000_000);
    assert!(layer.archive().unwrap() == archive);
}

/// A member may replace an earlier one. The tree has the last content only; the recipe has the others.
#[test]
fn what_was_replaced_comes_back() {
    comes_back(&Archive::new().file("a", "first").file("a", "second").file("a", "").file("a", "last").end());
    comes_back(&Archive::new().file("a", "first").hard_link("b", "a").file("a", "second").file("b", "third").end());
    comes_back(
        &Archive::new().file("d/x", "x").file("d/e/y", "y").file("d", "a file now").dir("d").file("d/x", "z").end(),
    );
    comes_back(&Archive::new().file("a", "first").dir("a").symlink("a", "b").file("a", "second").end());
    let forbidden = |data: &str| Entry::new("a", b'0').mode(0).data(data);
    comes_back(&Archive::new().entry(forbidden("first")).entry(forbidden("second")).end());
    // In linear time: UNP-18, 4A 26.
    let often = (0..2000).fold(Archive::new(), |archive, n| match n % 3 {
        0 => archive.file("a", n.to_string()),
        1 => archive.dir("a").file("a/b", n.to_string()),
        _ => archive.symlink("a", "x"),
    });
    comes_back(&often.end());
}

#[test]
fn a_changed_file_is_named() {
    let archive = Archive::new().file("bin/sh", "#!").file("other", "content").end();
    let told = |change: &dyn Fn(PathBuf)| {
        let layer = Layer::of(&archive);
        change(layer.root().join("other"));
        layer.archive().unwrap_err().to_string()
    };
    assert_eq!(told(&|path| fs::remove_file(path).unwrap()), "file \"other\": No such file or directory");
    assert_eq!(told(&|path| fs::write(path, "cont").unwrap()), "file \"other\": it is 3 bytes shorter than it was");
    let linked = |path: PathBuf| {
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", path).unwrap();
    };
    assert!(told(&linked).starts_with("file \"other\": "), "a link is not followed");
    let folder = |path: PathBuf| {
        fs::remove_file(&path).unwrap();
        fs::create_dir(path).unwrap();
    };
    assert_eq!(told(&folder), "file \"other\": it is no regular file any more");
    // What has the same length gives another archive: the digest tells.
    let layer = Layer::of(&archive);
    fs::write(layer.root().join("other"), "CONTENT").unwrap();
    let given = layer.archive().unwrap();
    assert!(given.len() == archive.len() && given != archive);
}

#[test]
fn a_damaged_recipe_is_no_recipe() {
    let archive = Archive::new().file("a", "first").file("a", "second").dir("d").file("d/b", vec![1; 70_000]).end();
    let mut layer = Layer::of(&archive);
    let mut good = Vec::new();
    layer.recipe.rewind().unwrap();
    layer.recipe.read_to_end(&mut good).unwrap();
    let mut replace = |bytes: &[u8]| {
        layer.recipe.set_len(0).unwrap();
        layer.recipe.rewind().unwrap();
        layer.recipe.write_all(bytes).unwrap();
        layer.archive()
    };
    assert_eq!(replace(&good).as_deref(), Ok(&archive[..]));
    for length in 0..good.len() {
        assert!(replace(&good[..length]).is_err(), "cut off after {length} bytes");
    }
    for (byte, bit) in (0..good.len()).flat_map(|byte| [(byte, 0), (byte, 5)]) {
        let mut bad = good.clone();
        bad[byte] ^= 1 << bit;
        // A few bits of zstd's frame header mean nothing; whatever comes of it is refused or right.
        assert!(replace(&bad).is_ok_and(|tar| tar == archive) || replace(&bad).is_err(), "bit {bit} of byte {byte}");
    }
    assert!(replace(&[&good[..], b"more"].concat()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Any members, again and again under a few names.
    #[test]
    fn any_archive_that_can_be_extracted_comes_back(members in prop::collection::vec(member(), 1..30)) {
        let tar = members.iter().fold(Archive::new(), |archive, entry| archive.entry(entry.clone())).end();
        let dir = tempfile::tempdir().unwrap();
        let options = store::extract::ExtractOptions {
            form: store::extract::Form::OciLayer,
            limits: ExtractLimits::default(),
            single_id: true,
            below: store::extract::Below::default(),
            hollow: false,
        };
        let root = File::open(dir.path()).unwrap();
        if store::extract::extract(BufReader::new(&tar[..]), root.as_fd(), &options).is_ok() {
            comes_back(&tar);
        }
    }
}

fn member() -> impl Strategy<Value = Entry> {
    let name = prop::sample::select(vec!["a", "b", "a/b", "b/a", "a/b/c", "c", ".wh.a", "a/.wh..wh..opq"]);
    let kind = prop::sample::select(b"0000512".to_vec());
    (name, kind, prop::sample::select(vec!["a", "b", "c", "b/a"]), 0..700_usize).prop_map(|(name, kind, link, size)| {
        let entry = Entry::new(name, kind);
        match kind {
            b'0' if !name.contains(".wh.") => entry.data(vec![size as u8; size]),
            b'1' | b'2' => entry.link(link),
            _ => entry,
        }
    })
}
