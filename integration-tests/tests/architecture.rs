//! Who may depend on whom, what is absent from the runner, and what kind of file the binary is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use integration_tests::needs::{Place, place, tool};
use integration_tests::{binaries, needs};
use serde_json::Value;

/// Crate of ours → crates of ours it may depend on (docs/architecture.md). Tests may use more.
const ALLOWED: [(&str, &[&str]); 12] = [
    ("appc", &[]),
    ("sys", &[]),
    ("pod", &["appc"]),
    ("store", &["appc"]),
    ("fetch", &["appc"]),
    ("eci", &["appc"]),
    ("metadata-api", &["appc"]),
    ("guest-agent", &["sys"]),
    ("stage1", &["appc", "pod", "metadata-api", "sys"]),
    ("metadata-server", &["appc", "metadata-api"]),
    (
        "executor",
        &["appc", "sys", "pod", "store", "fetch", "eci", "metadata-api", "guest-agent", "stage1", "metadata-server"],
    ),
    ("integration-tests", &["appc", "metadata-api"]),
];

/// What must not be in a crate's closure: the runner stays single-threaded and small, formats do no I/O of that kind.
const ABSENT: [(&str, &[&str]); 7] = [
    ("guest-agent", &["tokio", "hyper", "reqwest", "serde", "clap", "tracing", "nix"]),
    (
        "stage1",
        &[
            "tokio",
            "hyper",
            "reqwest",
            "rustls",
            "native-tls",
            "openssl",
            "rayon",
            "clap",
            "fetch",
            "store",
            "tracing",
            "nix-ptsname",
            "async-std",
        ],
    ),
    ("sys", &["tokio", "hyper", "serde_json", "tracing", "clap"]),
    ("appc", &["tokio", "hyper", "reqwest", "rustix", "clap", "tracing"]),
    ("pod", &["tokio", "hyper", "reqwest", "rustls", "clap"]),
    ("store", &["tokio", "hyper", "reqwest", "rustls", "clap"]),
    ("metadata-api", &["tokio", "hyper", "reqwest", "axum"]),
];

/// The workspace as cargo resolves it: package → (member, packages it links; build and test dependencies apart).
struct Graph {
    members: BTreeSet<String>,
    edges: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    fn read() -> Result<Self, String> {
        let cargo = std::env::var_os("CARGO").map_or_else(|| tool("cargo"), |it| Ok(it.into()))?;
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
        let args = ["metadata", "--format-version=1", "--locked", "--manifest-path"];
        let output =
            Command::new(cargo).args(args).arg(manifest).output().map_err(|e| format!("cargo metadata: {e}"))?;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        let metadata: Value =
            serde_json::from_slice(&output.stdout).map_err(|e| format!("cargo metadata: {e}: {error}"))?;
        let list = |it: &Value| it.as_array().cloned().unwrap_or_default();
        let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
        let names: BTreeMap<String, String> =
            list(&metadata["packages"]).iter().map(|it| (text(&it["id"]), text(&it["name"]))).collect();
        let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for node in list(&metadata["resolve"]["nodes"]) {
            // A null kind is a dependency that is linked; "dev" and "build" are not part of the program.
            let linked = |it: &Value| list(&it["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
            let linked = list(&node["deps"]).into_iter().filter(linked).map(|it| names[&text(&it["pkg"])].clone());
            edges.entry(names[&text(&node["id"])].clone()).or_default().extend(linked);
        }
        let members = list(&metadata["workspace_members"]).iter().map(|it| names[&text(it)].clone()).collect();
        Ok(Self { members, edges })
    }

    fn closure(&self, of: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut open = vec![of.to_owned()];
        while let Some(name) = open.pop() {
            for next in self.edges.get(&name).into_iter().flatten() {
                if found.insert(next.clone()) {
                    open.push(next.clone());
                }
            }
        }
        found
    }
}

#[test]
fn crates_depend_only_where_they_may() {
    needs!(place(Place::Host));
    let graph = needs!(Graph::read());
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.into_iter().collect();
    for member in &graph.members {
        let allowed = allowed.get(member.as_str()).unwrap_or_else(|| panic!("{member} is not in the table"));
        for dependency in graph.edges[member].intersection(&graph.members) {
            assert!(allowed.contains(&dependency.as_str()), "{member} must not depend on {dependency}");
        }
    }
}

#[test]
fn what_must_be_absent_is_absent() {
    needs!(place(Place::Host));
    let graph = needs!(Graph::read());
    for (member, absent) in ABSENT.into_iter().filter(|(it, _)| graph.members.contains(*it)) {
        let closure = graph.closure(member);
        for name in absent {
            assert!(!closure.contains(*name), "{name} is in the closure of {member}");
        }
    }
    // The control: the closure is a closure.
    assert!(graph.closure("executor").contains("serde_json"));
}

#[test]
fn only_the_system_call_crate_allows_unsafe_code() {
    needs!(place(Place::Host));
    let mut seen = 0;
    for (path, text) in sources(&CRATES).iter().filter(|(path, _)| !path.contains("/stage1/sys/")) {
        let allows = ["allow(unsafe", "expect(unsafe"].iter().any(|it| text.contains(&format!("{it}_code")));
        assert!(!allows, "{path} allows unsafe code");
        seen += 1;
    }
    assert!(seen > 20, "{seen} files are not the workspace");
}

/// The pages that comments refer to are there.
#[test]
fn sources_name_pages() {
    needs!(place(Place::Host));
    let mut seen = 0;
    for (path, text) in sources(&CRATES) {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || "_-/.".contains(c)));
        for page in words.filter(|word| word.starts_with("docs/") && word.ends_with(".md")) {
            assert!(root().join(page).exists(), "{path} refers to {page}");
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen} references are not all");
}

/// The fields of an ELF file's header and program headers that say how it is loaded.
fn elf(path: &Path) -> (u16, Vec<u32>) {
    let bytes = std::fs::read(path).expect("readable");
    assert_eq!(&bytes[..6], b"\x7fELF\x02\x01", "a 64-bit little-endian ELF file");
    let u16_at = |at: usize| u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"));
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let start = u64::from_le_bytes(bytes[32..40].try_into().expect("eight bytes")) as usize;
    let (size, count) = (usize::from(u16_at(54)), usize::from(u16_at(56)));
    (u16_at(16), (0..count).map(|n| u32_at(start + n * size)).collect())
}

const ET_EXEC: u16 = 2;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;

#[test]
fn binary_is_static_and_not_position_independent() {
    for program in [binaries::proa(), binaries::agent(), binaries::probe()] {
        let (kind, segments) = elf(&program);
        assert_eq!(kind, ET_EXEC, "{} is position-independent: was RUSTFLAGS set?", program.display());
        assert!(!segments.contains(&PT_INTERP), "{} has a dynamic loader", program.display());
        assert!(!segments.contains(&PT_DYNAMIC), "{} is linked dynamically", program.display());
    }
}

#[test]
fn control_other_programs_are_dynamic() {
    let (kind, segments) = elf(&needs!(tool("setpriv")));
    assert!(kind != ET_EXEC && segments.contains(&PT_INTERP) && segments.contains(&PT_DYNAMIC));
}

/// docs/security/corpus.md names tests that there are: `FILE::NAME`.
#[test]
fn the_corpus_names_tests() {
    needs!(place(Place::Host));
    let page = std::fs::read_to_string(root().join("docs/security/corpus.md")).expect("it is there");
    let sources = sources(&CRATES);
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| line"));
    let words = rows.flat_map(|row| row.split(|c: char| !(c.is_ascii_alphanumeric() || "_:/".contains(c))));
    let named: Vec<(&str, &str)> = words.filter_map(|word| word.split_once("::")).collect();
    assert!(named.len() > 100, "{}", named.len());
    for (file, name) in named {
        let (path, function) = (format!("/{file}.rs"), format!("fn {name}("));
        let is_it = |(at, text): &(String, String)| at.ends_with(&path) && text.contains(&function);
        assert!(sources.iter().any(is_it), "there is no test {file}::{name}");
    }
}

/// docs/rkt-tests.md names tests that there are, and nothing else that looks like one.
#[test]
fn the_table_of_rkts_tests_names_tests() {
    needs!(place(Place::Host));
    let page = std::fs::read_to_string(root().join("docs/rkt-tests.md")).expect("it is there");
    let sources = sources(&CRATES);
    let is_name =
        |word: &&str| word.contains('_') && word.bytes().all(|b| b"_0123456789".contains(&b) || b.is_ascii_lowercase());
    let named: Vec<&str> = page.split('`').skip(1).step_by(2).filter(is_name).collect();
    assert!(named.len() > 100, "{}", named.len());
    for name in named {
        assert!(sources.iter().any(|(_, text)| text.contains(&format!("fn {name}("))), "there is no test {name}");
    }
}

/// Links of a page to other pages, and to headings of them, lead somewhere.
#[test]
fn links_lead_somewhere() {
    needs!(place(Place::Host));
    let mut pages: Vec<PathBuf> =
        ["README.md", "CONTRIBUTING.md", "GOVERNANCE.md"].map(|page| root().join(page)).into();
    files(&root().join("docs"), "md", &mut pages);
    let mut seen = 0;
    for page in &pages {
        let text = std::fs::read_to_string(page).expect("UTF-8");
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
        for target in targets.filter(|target| !target.contains("://")) {
            let (path, heading) = target.split_once('#').unwrap_or((target, ""));
            let to = if path.is_empty() { page.clone() } else { page.with_file_name(path) };
            assert!(to.exists(), "{}: {target}", page.display());
            if !heading.is_empty() {
                let text = std::fs::read_to_string(&to).expect("a page");
                let mut headings = text.lines().filter(|line| line.starts_with('#')).map(anchor);
                assert!(headings.any(|it| it == heading), "{}: {target}", page.display());
            }
            seen += 1;
        }
    }
    assert!(seen > 100, "{seen} links are not all");
}

/// What a heading is called in links.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The folders of the crates.
const CRATES: [&str; 4] = ["executor", "stage1", "metadata-server", "integration-tests"];

/// The folder of the workspace.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// Paths and texts of the Rust files below some folders of the workspace.
fn sources(folders: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    folders.iter().for_each(|folder| files(&root().join(folder), "rs", &mut found));
    let read = |path: &PathBuf| std::fs::read_to_string(path).expect("UTF-8");
    found.iter().map(|path| (path.to_string_lossy().into_owned(), read(path))).collect()
}

/// The files below a folder whose names end so.
fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the checkout").map(|it| it.expect("readable")) {
        let path = entry.path();
        if path.is_dir() {
            files(&path, ending, found);
        } else if path.extension().is_some_and(|it| it == ending) {
            found.push(path);
        }
    }
}
