//! Images rendered from their dependencies: the scenarios of appc's acirenderer, and what it does not test.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use serde_json::json;
use store::merge::{Merged, Source, merge};
use store::{AsUser, ImageRecord, Keep, Store, Tree, merged_key, verify};

use crate::archive::{Archive, Entry};
use crate::imports::{import_aci, map, nobody};

/// Some images on one another, the last of which is rendered.
struct Images {
    data: tempfile::TempDir,
    store: Store,
    last: Option<ImageRecord>,
}

impl Images {
    fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let store = Store::ensure(data.path()).unwrap();
        Self { data, store, last: None }
    }

    /// Stores the image `example.com/NAME` that depends on others and keeps some paths; its files follow `rootfs`.
    fn image(mut self, name: &str, dependencies: &[&str], whitelist: &[&str], files: Archive) -> Self {
        let dependencies: Vec<_> =
            dependencies.iter().map(|name| json!({ "imageName": format!("example.com/{name}") })).collect();
        let manifest = json!({
            "acKind": "ImageManifest", "acVersion": "0.8.11", "name": format!("example.com/{name}"),
            "dependencies": dependencies, "pathWhitelist": whitelist,
        });
        let archive = Archive::new().file("manifest", manifest.to_string()).raw(files.open()).end();
        self.last = Some(import_aci(&self.store, &archive, &[&format!("example.com/{name}")]).unwrap());
        self
    }

    fn sources(&self) -> (Vec<Source>, Vec<Tree>) {
        let parts = self.store.parts(self.last.as_ref().unwrap()).unwrap();
        let trees: Vec<_> = parts.iter().map(|part| self.store.tree(&part.layer, &map()).unwrap().unwrap()).collect();
        let source = |(part, tree): (_, &Tree)| {
            let record = tree.record().unwrap();
            let root = tree.dir().try_clone_to_owned().unwrap();
            Source { part, root, owners: record.owners, implied: record.implied }
        };
        (parts.into_iter().zip(&trees).map(source).collect(), trees)
    }

    /// Renders the last image; returns where the tree is.
    fn render(&self) -> (std::path::PathBuf, Merged) {
        let (sources, _trees) = self.sources();
        let key = merged_key(&self.store.parts(self.last.as_ref().unwrap()).unwrap());
        let mut import = self.store.begin().unwrap();
        let pending = import.new_layer(&map(), None, Keep::Recipe).unwrap();
        let merged = merge(pending.root(), &sources).unwrap();
        import.commit_merged(pending, key, &merged).unwrap();
        let tree = self.store.tree(&key, &map()).unwrap().unwrap();
        assert_eq!(tree.layer(), key);
        let record = tree.record().unwrap();
        assert_eq!((record.entries, record.content, &record.owners), (merged.entries, merged.content, &merged.owners));
        (self.data.path().join("store/trees").join(format!("{key}.{}", map())).join("rootfs"), merged)
    }

    /// Every path of the rendered image with its mode, and `=CONTENT` of files.
    fn shows(&self) -> Vec<String> {
        let (root, _) = self.render();
        let found = crate::bed::snapshot(&root);
        found
            .into_iter()
            .map(|(path, facts)| {
                let mode = facts.mode & 0o7777;
                let path = if path == Path::new("") { "/".into() } else { path.display().to_string() };
                match facts.mode & 0o170_000 {
                    0o040_000 => format!("{path}/ {mode:o}").replace("//", "/"),
                    0o120_000 => format!("{path} -> {}", String::from_utf8_lossy(&facts.content)),
                    _ => format!("{path} {mode:o} ={}", String::from_utf8_lossy(&facts.content)),
                }
            })
            .collect()
    }
}

fn rootfs() -> Archive {
    Archive::new().dir("rootfs")
}

fn dir(archive: Archive, name: &str, mode: u32) -> Archive {
    archive.entry(Entry::new(format!("rootfs/{name}"), b'5').mode(mode))
}

fn file(archive: Archive, name: &str, data: &str) -> Archive {
    archive.file(format!("rootfs/{name}"), data)
}

/// One dependency with these files, and an image on it.
fn pair(parent: Archive, image: Archive) -> Vec<String> {
    Images::new().image("parent", &[], &[], parent).image("image", &["parent"], &[], image).shows()
}

#[test]
fn directories() {
    // DirFromParent, NewDir, DirOverride.
    assert_eq!(pair(dir(rootfs(), "a", 0o700), rootfs()), ["/ 755", "a/ 700"]);
    assert_eq!(pair(rootfs(), dir(rootfs(), "a", 0o711)), ["/ 755", "a/ 711"]);
    assert_eq!(pair(dir(rootfs(), "a", 0o700), dir(rootfs(), "a", 0o711)), ["/ 755", "a/ 711"]);
}

#[test]
fn files() {
    // FileFromParent, NewFile, FileOverride.
    let parent = || file(dir(rootfs(), "c", 0o700), "c/file01", "parent");
    assert_eq!(pair(parent(), rootfs()), ["/ 755", "c/ 700", "c/file01 644 =parent"]);
    // The image names a file in a directory that only its parent describes.
    assert_eq!(
        pair(parent(), file(rootfs(), "c/file02", "new")),
        ["/ 755", "c/ 700", "c/file01 644 =parent", "c/file02 644 =new"]
    );
    let image = rootfs().entry(Entry::new("rootfs/c/file01", b'0').mode(0o600).data("image"));
    assert_eq!(pair(parent(), image), ["/ 755", "c/ 700", "c/file01 600 =image"]);
}

#[test]
fn kinds_that_cover_others() {
    // FileOverridesDir.
    let parent = dir(file(dir(rootfs(), "c", 0o700), "c/a01", "x"), "c/d", 0o755);
    assert_eq!(pair(file(parent, "c/d/b", "x"), file(rootfs(), "c", "now a file")), ["/ 755", "c 644 =now a file"]);
    // A directory over a link: the link is replaced, not followed.
    let parent = dir(rootfs(), "real", 0o755).symlink("rootfs/link", "real");
    let image = file(dir(rootfs(), "link", 0o755), "link/f", "x");
    assert_eq!(pair(parent, image), ["/ 755", "link/ 755", "link/f 644 =x", "real/ 755"]);
    let parent = rootfs().symlink("rootfs/link", "/etc");
    assert_eq!(pair(parent, file(rootfs(), "link/f", "x")), ["/ 755", "link/ 755", "link/f 644 =x"]);
    // A link over a directory.
    let parent = file(dir(rootfs(), "d", 0o755), "d/f", "x");
    assert_eq!(pair(parent, rootfs().symlink("rootfs/d", "/tmp")), ["/ 755", "d -> /tmp"]);
}

/// The files that the two tests of lists have.
/// As if they were laid on one another from the lowest up, which is what happens where nothing is left out.
#[test]
fn a_directory_over_a_file_shows_nothing_of_what_the_file_covers() {
    let lowest = file(file(dir(rootfs(), "a", 0o700), "a/low", "low"), "other", "low");
    let upper = [file(rootfs(), "a", "between"), file(dir(rootfs(), "a", 0o711), "a/high", "high")];
    let shows = |list: &[&str], [between, high]: [Archive; 2]| {
        let images = Images::new().image("low", &[], &[], lowest.clone());
        images.image("between", &["low"], list, between).image("high", &["between"], &[], high).shows()
    };
    let covered = ["/ 755", "a/ 711", "a/high 644 =high", "other 644 =low"];
    assert_eq!(shows(&[], upper.clone()), covered);
    // A file that is left out covers nothing.
    let uncovered = ["/ 755", "a/ 711", "a/high 644 =high", "a/low 644 =low", "other 644 =low"];
    assert_eq!(shows(&["/a/low", "/other"], upper), uncovered);
}

fn listed() -> [Archive; 2] {
    let parent = ["a", "b", "c/file01", "c/file02", "d/file01"]
        .iter()
        .fold(dir(dir(rootfs(), "c", 0o700), "d", 0o711), |archive, name| file(archive, name, "parent"));
    let image = ["c/file03", "e/file01"]
        .iter()
        .fold(dir(dir(rootfs(), "e", 0o750), "empty", 0o750), |archive, name| file(archive, name, "image"));
    [parent, image]
}

#[test]
fn a_list_of_the_dependency() {
    // PWLOnlyParent: what is no directory must be listed; directories stay.
    let [parent, image] = listed();
    let images = Images::new().image("parent", &[], &["/a", "c/file01", "nonsense"], parent);
    assert_eq!(
        images.image("image", &["parent"], &[], image).shows(),
        [
            "/ 755",
            "a 644 =parent",
            "c/ 700",
            "c/file01 644 =parent",
            "c/file03 644 =image",
            "d/ 711",
            "e/ 750",
            "e/file01 644 =image",
            "empty/ 750"
        ]
    );
}

#[test]
fn a_list_of_the_image() {
    // PWLOnlyImage: of what is below, directories too must be listed; they come as parents else.
    let [parent, image] = listed();
    let images = Images::new().image("parent", &[], &[], parent);
    let whitelist = ["/a", "/c/", "c/file01", "d/file01", "e/file01"];
    assert_eq!(
        images.image("image", &["parent"], &whitelist, image).shows(),
        [
            "/ 755",
            "a 644 =parent",
            "c/ 700",
            "c/file01 644 =parent",
            "d/ 755",
            "d/file01 644 =parent",
            "e/ 750",
            "e/file01 644 =image",
            "empty/ 750"
        ]
    );
}

#[test]
fn several_dependencies() {
    // 2Deps1, 2Deps2, 3Deps: the later one covers the earlier one, the image all.
    let of = |name: &str, files: &[&str]| files.iter().fold(rootfs(), |archive, path| file(archive, path, name));
    let two = |whitelist: &[&str]| {
        Images::new()
            .image("one", &[], &[], of("one", &["a", "b", "c"]))
            .image("two", &[], &[], of("two", &["b", "c", "d"]))
            .image("image", &["one", "two"], whitelist, of("image", &["c", "e"]))
            .shows()
    };
    assert_eq!(two(&[]), ["/ 755", "a 644 =one", "b 644 =two", "c 644 =image", "d 644 =two", "e 644 =image"]);
    assert_eq!(two(&["a", "c"]), ["/ 755", "a 644 =one", "c 644 =image"]);
    let three = Images::new()
        .image("d", &[], &[], of("d", &["x", "from-b", "from-d"]))
        .image("b", &[], &[], of("b", &["x", "from-b"]))
        .image("c", &["d"], &[], of("c", &["x", "from-c"]))
        .image("a", &["b", "c"], &[], of("a", &["from-a"]));
    assert_eq!(
        three.shows(),
        ["/ 755", "from-a 644 =a", "from-b 644 =d", "from-c 644 =c", "from-d 644 =d", "x 644 =c"]
    );
}

#[test]
fn an_empty_root() {
    // EmptyRootFsDir, with and without a list: the root's mode is the image's.
    let root = || Archive::new().entry(Entry::new("rootfs", b'5').mode(0o700));
    for whitelist in [&[][..], &["foo"]] {
        let images = Images::new().image("parent", &[], &[], rootfs());
        assert_eq!(images.image("image", &["parent"], whitelist, root()).shows(), ["/ 700"]);
        assert_eq!(Images::new().image("alone", &[], &["foo"], root()).shows(), ["/ 700"]);
    }
}

#[test]
fn the_lists_of_all_ancestors_count() {
    // Top lists what is wanted of middle and bottom; middle lists what is wanted of bottom. Sibling lists nothing of them.
    let of = |name: &str, files: &[&str]| files.iter().fold(rootfs(), |archive, path| file(archive, path, name));
    let images = Images::new()
        .image("bottom", &[], &[], of("bottom", &["both", "only-top", "only-middle", "own"]))
        .image("middle", &["bottom"], &["both", "only-middle", "m"], of("middle", &["m"]))
        .image("below-sibling", &[], &[], of("below-sibling", &["deep"]))
        .image("sibling", &["below-sibling"], &["s"], of("sibling", &["s", "t"]));
    let whitelist = ["both", "only-top", "m", "s", "t", "deep"];
    let images = images.image("top", &["middle", "sibling"], &whitelist, rootfs());
    assert_eq!(images.shows(), ["/ 755", "both 644 =bottom", "m 644 =middle", "s 644 =sibling"]);
}

/// No second copy of data: the files are the very same, with their owners, modes, times and attributes.
#[test]
fn files_are_further_names_of_those_of_the_dependencies() {
    let parent = rootfs()
        .entry(Entry::new("rootfs/a", b'0').owner(7, 8).mode(0o640).data("data"))
        .hard_link("rootfs/b", "rootfs/a")
        .symlink("rootfs/l", "a")
        .entry(Entry::new("rootfs/pipe", b'6'))
        .pax(&[("SCHILY.xattr.user.note", b"kept")])
        .entry(Entry::new("rootfs/d", b'5').owner(9, 10).mode(0o2750));
    let images = Images::new().image("parent", &[], &[], parent).image("image", &["parent"], &[], rootfs());
    let (root, merged) = images.render();
    let trees = images.data.path().join("store/trees");
    let inodes: BTreeMap<u64, u64> = crate::bed::inodes(&trees).into_iter().collect();
    assert_eq!(inodes.values().sum::<u64>(), 4 + sizes_of_records(&trees), "one copy of everything");
    assert_eq!(fs::metadata(root.join("a")).unwrap().nlink(), 4);
    assert_eq!(fs::metadata(root.join("d")).unwrap().permissions().mode() & 0o7777, 0o2750);
    assert_eq!(crate::bed::xattrs(&root.join("d")), [(b"user.note".to_vec(), b"kept".to_vec())]);
    let owner = |path: &str| merged.owners.get(path.as_bytes()).map(|owner| (owner.uid, owner.gid));
    assert_eq!([owner("a"), owner("b"), owner("d")], [Some((7, 8)), Some((7, 8)), Some((9, 10))]);
}

/// Bytes of `tree.json` and `recipe` of all trees.
fn sizes_of_records(trees: &Path) -> u64 {
    let trees = fs::read_dir(trees).unwrap().map(|tree| tree.unwrap().path());
    let size = |path: std::path::PathBuf| fs::metadata(path).map_or(0, |metadata| metadata.len());
    trees.map(|tree| size(tree.join("tree.json")) + size(tree.join("recipe"))).sum()
}

#[test]
fn gc_knows_what_is_rendered_of_what() {
    let parent = file(rootfs(), "a", "parent");
    let images = Images::new().image("parent", &[], &[], parent).image("image", &["parent"], &["a"], rootfs());
    images.render();
    assert!(images.store.gc(&AsUser, &nobody).unwrap().trees.is_empty());
    // A newer image of the name takes the place of the one it was rendered with.
    let parent = images.store.find("example.com/parent").unwrap().id;
    let images = images.image("parent", &[], &[], file(rootfs(), "a", "newer"));
    let report = images.store.gc(&AsUser, &nobody).unwrap();
    assert_eq!(report.trees.len(), 1, "{report:?}");
    let image = images.store.find("example.com/image").unwrap();
    images.store.remove(&parent).unwrap();
    let images = Images { last: Some(image.clone()), ..images };
    assert_eq!(images.shows(), ["/ 755", "a 644 =newer"]);
    images.store.remove(&image.id).unwrap();
    assert_eq!(
        images.store.gc(&AsUser, &nobody).unwrap().trees.len(),
        3,
        "the rendering, the image and the old parent"
    );
}

#[test]
fn a_changed_rendering_is_found() {
    let parent = file(dir(rootfs(), "d", 0o755), "d/a", "parent");
    let images = Images::new().image("parent", &[], &[], parent).image("image", &["parent"], &[], rootfs());
    let (root, _) = images.render();
    let look = || {
        let (sources, _trees) = images.sources();
        let mut import = images.store.begin().unwrap();
        let pending = import.new_layer(&map(), None, Keep::Recipe).unwrap();
        merge(pending.root(), &sources).unwrap();
        let again = pending.root().try_clone_to_owned().unwrap();
        let found = verify::run_merged(&fs::File::open(&root).unwrap().into(), &again);
        import.abandon(&AsUser).unwrap();
        found.map_err(|damage| damage.to_string())
    };
    assert_eq!(look(), Ok(()));
    // Copied is as good as linked.
    let time = fs::metadata(root.join("d")).unwrap().modified().unwrap();
    let of_file = fs::metadata(root.join("d/a")).unwrap().modified().unwrap();
    let replace = |data: &str| {
        fs::remove_file(root.join("d/a")).unwrap();
        fs::write(root.join("d/a"), data).unwrap();
        fs::set_permissions(root.join("d/a"), fs::Permissions::from_mode(0o644)).unwrap();
        fs::File::open(root.join("d/a")).unwrap().set_modified(of_file).unwrap();
        fs::File::open(root.join("d")).unwrap().set_modified(time).unwrap();
    };
    replace("parent");
    assert_eq!(look(), Ok(()));
    replace("PARENT");
    assert_eq!(look(), Err("\"d/a\": its contents are others".to_owned()));
    fs::remove_file(root.join("d/a")).unwrap();
    fs::File::open(root.join("d")).unwrap().set_modified(time).unwrap();
    assert_eq!(look(), Err("\"d/a\": it is missing".to_owned()));
}
