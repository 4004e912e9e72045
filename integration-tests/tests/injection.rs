//! Killed at any system call, or refused any: a fetch of two layers, an import of a signed image, a removal, a
//! collection of garbage, a pod that becomes an image, and an image that gets a name.
//!
//! Afterwards every image that was acknowledged is there and whole, the same command succeeds, and gc leaves nothing that
//! no image names.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use integration_tests::images::{Aci, Layout, Tree, busybox};
use integration_tests::injection::{Attempt, Campaign, Disturbance, is_full};
use integration_tests::needs::{Place, Why, place};
use integration_tests::registry::{self, Registry};
use integration_tests::{Env, Gpg, Outcome, Proa, User, binaries, needs};

/// Whose signature the images have.
const SIGNER: &str = "signer@example.com";

/// What must hold after an attempt at one command.
struct Promise<'a> {
    env: &'a Env,
    command: &'a [&'a str],
    /// The image that must be there in the end, whatever happened.
    kept: &'a str,
    /// The image that it removes.
    removes: Option<&'a str>,
}

impl Promise<'_> {
    fn judge(&self, data: &Path, attempt: &Attempt) {
        let run = |args: &[&str]| proa(self.env, data, args).outcome();
        let verified = run(&["image", "verify", "--all"]);
        attempt.assert_succeeded(&verified);
        // `successfully verified checksum for image: "ID" ("ID")`
        let there: BTreeSet<&str> = verified.stdout.lines().filter_map(|line| line.split('"').nth(1)).collect();
        assert!(there.contains(self.kept), "{} is lost: {attempt}\n{verified}", self.kept);
        for id in attempt.outcome.stdout.lines().filter(|line| line.starts_with("sha")) {
            assert!(there.contains(id), "{id} was acknowledged and is lost: {attempt}\n{verified}");
        }
        let said = &attempt.outcome;
        if let Some(removed) = self.removes
            && said.stdout.contains("successfully removed")
        {
            assert!(!there.contains(removed), "{removed} came back: {attempt}");
        }
        attempt.assert_told();
        if self.removes.is_none_or(|id| there.contains(id)) {
            attempt.assert_succeeded(&run(self.command));
        }
        attempt.assert_succeeded(&run(&["gc"]));
        assert_nothing_unreferenced(data, attempt);
    }
}

fn proa<'e>(env: &'e Env, data: &Path, args: &[&str]) -> Proa<'e> {
    let global = ["--dir".into(), data.into(), "--insecure-options=http".into()];
    let args: Vec<OsString> = global.into_iter().chain(args.iter().map(OsString::from)).collect();
    // What is made has the same digest in every run.
    let command = env.command(binaries::proa(), args).var("SOURCE_DATE_EPOCH", "1000000000");
    // The machine's certificates would be hundreds of files.
    ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().fold(command, |command, name| command.var(name, env.path("no-roots")))
}

/// Each tree and blob of the store belongs to an image, and there is no unfinished work.
fn assert_nothing_unreferenced(data: &Path, attempt: &Attempt) {
    let store = data.join("store");
    let names = |directory: &str| -> Vec<String> {
        let entries = fs::read_dir(store.join(directory)).into_iter().flatten();
        entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect()
    };
    let record = |name: &String| fs::read_to_string(store.join("images").join(name)).expect("root may read it");
    let records: String = names("images").iter().map(record).collect();
    for unfinished in ["tmp", "downloads"] {
        assert_eq!(names(unfinished), Vec::<String>::new(), "unfinished work is left in {unfinished}: {attempt}");
    }
    for tree in names("trees") {
        let digest = tree.split(['-', '.']).nth(2).expect("FORM-ALGORITHM-HEX").to_owned();
        assert!(records.contains(&digest), "no image has the tree {tree}: {attempt}");
    }
    for blob in names("blobs/sha256").into_iter().chain(names("blobs/sha512")) {
        assert!(records.contains(&blob), "no image has the blob {blob}: {attempt}");
    }
}

/// A user, and a data directory with an image which nothing may harm.
struct World {
    /// Its agent ends before the environment asserts that nobody is left.
    gpg: Gpg,
    env: Env,
    before: PathBuf,
    other: String,
}

impl World {
    fn new(user: User) -> Result<Self, Why> {
        place(Place::Host)?;
        User::Root.account()?;
        let env = Env::of(user)?;
        let gpg = Gpg::new()?;
        gpg.key(SIGNER, "ed25519", "never");
        let before = env.path("before");
        let world = Self { env, before, other: String::new(), gpg };
        let key = world.gpg.export(&world.env, SIGNER, "key.asc");
        let key = key.to_str().expect("UTF-8");
        world.proa(&["trust", "--root", "--skip-fingerprint-review", key]).succeeds();
        let other = world.signed(&Aci::new("other", Tree::new().file("other", "x", 0o644).owned_by(7, 8)));
        let other = world.proa(&["fetch", other.to_str().expect("UTF-8")]).succeeds().line().to_owned();
        Ok(Self { other, ..world })
    }

    fn proa(&self, args: &[&str]) -> Outcome {
        proa(&self.env, &self.before, args).outcome()
    }

    fn signed(&self, image: &Aci) -> PathBuf {
        let file = image.build(&self.env);
        self.gpg.sign(&self.env, SIGNER, &file);
        file
    }

    /// As [`World::everywhere`] where there is time for it; else the command runs undisturbed, and the same must hold.
    fn everywhere_if_full(&self, name: &str, command: &[&str], disturbance: Disturbance) {
        if is_full() {
            return self.everywhere(name, command, None, disturbance);
        }
        // Not in the environment's own directory, which has to be empty in the end: a pod may stay.
        let data = self.env.path("undisturbed");
        fs::rename(&self.before, &data).expect("it is ours");
        let outcome = proa(&self.env, &data, command).outcome().succeeds();
        let promise = Promise { env: &self.env, command, kept: &self.other, removes: None };
        promise.judge(&data, &Attempt { disturbance, call: "none".to_owned(), outcome });
    }

    /// Disturbs every call of a command.
    fn everywhere(&self, name: &str, command: &[&str], removes: Option<&str>, disturbance: Disturbance) {
        let promise = Promise { env: &self.env, command, kept: &self.other, removes };
        let campaign = Campaign {
            name,
            program: "proa",
            before: &self.before,
            command: &|data| proa(&self.env, data, command),
            leaves: false,
            judge: &|data, attempt| promise.judge(data, attempt),
        };
        let tally = campaign.run(disturbance);
        assert!(tally.found > 20, "{tally:?}");
        assert_eq!(tally.found, tally.tried + tally.gone.len(), "{tally:?}");
        // What comes and goes with the moment: how often a socket or an event is read, how often a child is asked for that
        // is about to end, how many processes unpack at once, each of which has its id helpers.
        let moody = ["socket", "anon_inode", "pipe", "epoll_ctl", "wait4", "waitid", " clone "];
        let lost: Vec<&String> = tally.gone.iter().filter(|call| !moody.iter().any(|it| call.contains(it))).collect();
        assert!(lost.is_empty(), "{lost:?} were not tried");
    }

    fn registry(&self, layout: &Layout, name: &str) -> Result<Registry, String> {
        let registry = registry::Setup::plain().start(&self.env, "registry")?;
        registry.push(&layout.build(&self.env), name, &[])?;
        Ok(registry)
    }
}

fn layers(name: &str) -> Layout {
    let bottom = Tree::new().dir("d", 0o750).file("d/f", name, 0o640).owned_by(7, 8);
    let top = Tree::new().file("top", "top", 0o644).whiteout("d/f").symlink("l", "top");
    let layout = Layout::new(name).layer(more(bottom)).layer(top);
    if is_full() { layout.layer(more(Tree::new())) } else { layout }.sh("true")
}

/// More files, where there is time for them.
fn more(tree: Tree) -> Tree {
    let count = if is_full() { 20 } else { 0 };
    (0..count).fold(tree, |tree, n| tree.dir(format!("m{n}"), 0o711).file(format!("m{n}/f"), vec![n; 70_000], 0o600))
}

fn fetch(disturbance: Disturbance) {
    let world = needs!(World::new(User::WithRange));
    let registry = needs!(world.registry(&layers("fetched"), "fetched:1"));
    let reference = format!("docker://{}:1", registry.name("fetched"));
    world.everywhere("fetch", &["fetch", &reference], None, disturbance);
}

fn import(user: User, disturbance: Disturbance) {
    let world = needs!(World::new(user));
    let tree = Tree::new().dir("d", 0o2750).file("d/f", "x", 0o4755).owned_by(7, 8).file("g", "y", 0o600);
    let file = world.signed(&Aci::new("imported", more(tree)));
    let command = ["fetch", file.to_str().expect("UTF-8")];
    match user {
        User::NoRange => world.everywhere_if_full("import without range", &command, disturbance),
        _ => world.everywhere("import", &command, None, disturbance),
    }
}

fn rm(disturbance: Disturbance) {
    let world = needs!(World::new(User::WithRange));
    let layout = format!("oci:{}:latest", layers("removed").build(&world.env).display());
    let id = world.proa(&["fetch", &layout]).succeeds().line().to_owned();
    world.everywhere("rm", &["image", "rm", &id], Some(&id), disturbance);
}

fn gc(disturbance: Disturbance) {
    let world = needs!(World::new(User::WithRange));
    let layout = format!("oci:{}:latest", layers("removed").build(&world.env).display());
    let id = world.proa(&["fetch", &layout]).succeeds().line().to_owned();
    // An image of which nobody has heard but its trees and documents.
    let record = world.before.join("store/images").join(format!("{}.json", id.replace(':', "-")));
    fs::remove_file(record).expect("root may remove it");
    world.everywhere("gc", &["gc"], None, disturbance);
}

/// A pod that has ended, with a file of its own in another layer than its image's.
fn commit(disturbance: Disturbance) {
    let world = needs!(World::new(User::WithRange));
    let layout = Layout::new("base").layer(more(busybox())).sh("echo new >/new").build(&world.env);
    let layout = format!("oci:{}", layout.display());
    world.proa(&["run", "--net=none", "--keep", "--name=ended", &layout]).succeeds();
    world.everywhere_if_full("commit", &["commit", "ended", "made:1"], disturbance);
}

/// The image that gets the name has others already, and another image has this one.
fn tag(disturbance: Disturbance) {
    let world = needs!(World::new(User::WithRange));
    let layout = format!("oci:{}:latest", layers("tagged").build(&world.env).display());
    let id = world.proa(&["fetch", &layout]).succeeds().line().to_owned();
    world.proa(&["image", "tag", &world.other, "taken:1"]).succeeds();
    world.everywhere("tag", &["image", "tag", &id, "new:1", "taken:1"], None, disturbance);
}

#[test]
fn a_commit_killed_at_every_call() {
    commit(Disturbance::Kill);
}

#[test]
fn a_commit_with_every_call_failing() {
    commit(Disturbance::Fail);
}

#[test]
fn a_new_name_killed_at_every_call() {
    tag(Disturbance::Kill);
}

#[test]
fn a_new_name_with_every_call_failing() {
    tag(Disturbance::Fail);
}

#[test]
fn an_import_without_a_range_killed_at_every_call() {
    import(User::NoRange, Disturbance::Kill);
}

#[test]
fn an_import_without_a_range_with_every_call_failing() {
    import(User::NoRange, Disturbance::Fail);
}

#[test]
fn a_fetch_killed_at_every_call() {
    fetch(Disturbance::Kill);
}

#[test]
fn a_fetch_with_every_call_failing() {
    fetch(Disturbance::Fail);
}

#[test]
fn an_import_killed_at_every_call() {
    import(User::WithRange, Disturbance::Kill);
}

#[test]
fn an_import_with_every_call_failing() {
    import(User::WithRange, Disturbance::Fail);
}

#[test]
fn a_removal_killed_at_every_call() {
    rm(Disturbance::Kill);
}

#[test]
fn a_removal_with_every_call_failing() {
    rm(Disturbance::Fail);
}

#[test]
fn a_collection_killed_at_every_call() {
    gc(Disturbance::Kill);
}

#[test]
fn a_collection_with_every_call_failing() {
    gc(Disturbance::Fail);
}

/// The control: a program that is careless with its file is found out, a careful one is not.
#[test]
fn what_is_torn_is_found() {
    needs!(place(Place::Host));
    needs!(User::Root.account());
    let env = needs!(Env::of(User::NoRange));
    let before = env.path("before");
    env.make_dir(&before);
    let careless = "echo new > file";
    // The shell truncates the file before it writes it, and ends with 2 when it cannot.
    let careful = "echo new > other && exec mv other file";
    for (script, is_torn) in [(careless, true), (careful, false)] {
        env.write("before/file", "old\n");
        let torn = Mutex::new(Vec::new());
        let campaign = Campaign {
            name: script,
            program: "dash",
            before: &before,
            command: &|data| {
                let line = ["-c", "cd \"$1\" && eval \"$2\"", "sh"].map(OsString::from).into_iter();
                env.command("dash", line.chain([data.into(), script.into()]).collect())
            },
            leaves: false,
            judge: &|data, attempt| {
                let content = fs::read_to_string(data.join("file")).expect("it is there");
                if !["old\n", "new\n"].contains(&&*content) {
                    torn.lock().expect("nobody panicked").push(attempt.to_string());
                }
            },
        };
        for disturbance in [Disturbance::Kill, Disturbance::Fail] {
            let tally = campaign.run(disturbance);
            assert_eq!((tally.tried, tally.gone.len()), (tally.found, 0), "{tally:?}");
            let torn = std::mem::take(&mut *torn.lock().expect("nobody panicked"));
            assert_eq!(!torn.is_empty(), is_torn, "{script}, {disturbance:?}: {torn:?}");
        }
    }
}
