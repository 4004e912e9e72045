//! What `executor/packaging/build` makes: packages, an image, sums and a signature, the same each time.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use integration_tests::needs::{Place, place, tool};
use integration_tests::{Env, Gpg, User, binaries, needs};

/// Runs a program to its end and returns what it prints.
#[track_caller]
fn output(command: &mut Command) -> String {
    let output = command.output().expect("it can be executed");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// The script, with the programs under test. Packing is quick here, not small.
fn build(dir: &Path, gpg: Option<&Gpg>) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../executor/packaging/build");
    let mut command = Command::new(script);
    command.arg("--proa").arg(binaries::proa()).arg("--agent").arg(binaries::agent()).arg(dir);
    command.env("DPKG_DEB_COMPRESSOR_TYPE", "gzip").env_remove("SOURCE_DATE_EPOCH");
    match gpg {
        Some(gpg) => command.args(["--key", "packager@example.com"]).env("GNUPGHOME", gpg.home()),
        None => command.arg("--no-signature"),
    };
    command
}

fn files(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("it is there").map(|it| it.expect("a name").file_name());
    let mut names: Vec<String> = entries.map(|it| it.into_string().expect("text")).collect();
    names.sort();
    names
}

/// The one file in the folder whose name begins and ends so.
fn one(dir: &Path, start: &str, end: &str) -> PathBuf {
    let mut found = files(dir).into_iter().filter(|it| it.starts_with(start) && it.ends_with(end));
    let name = found.next().unwrap_or_else(|| panic!("no {start}…{end}"));
    assert_eq!(found.next(), None);
    dir.join(name)
}

/// All files of a root file system that are not dpkg's own.
fn installed(root: &Path) -> Vec<String> {
    let found = output(Command::new("find").arg(root).args(["-type", "f", "-printf", "/%P\\n"]));
    let mut all: Vec<String> = found.lines().filter(|it| !it.starts_with("/var/lib/dpkg")).map(str::to_owned).collect();
    all.sort();
    all
}

#[test]
fn one_command_makes_all_that_is_released() {
    needs!(place(Place::Host));
    needs!(tool("dpkg-deb"));
    let skopeo = needs!(tool("skopeo"));
    let env = needs!(Env::of(User::Root));
    let gpg = needs!(Gpg::new());
    gpg.key("packager@example.com", "ed25519", "never");
    let out = env.path("packages");
    output(&mut build(&out, Some(&gpg)));
    let names = files(&out);
    assert_eq!(names.len(), 5, "{names:?}");
    output(Command::new("sha512sum").args(["--check", "--strict", "SHA512SUMS"]).current_dir(&out));
    gpg.run(["--verify".as_ref(), out.join("SHA512SUMS.asc").as_os_str(), out.join("SHA512SUMS").as_os_str()]);
    // The image, for whoever copies from it.
    let archive = format!("oci-archive:{}", one(&out, "containerssh-agent_", ".oci.tar").display());
    output(Command::new(skopeo).args(["inspect", &archive]));
    let run = env.proa(["run", "--net=none", &archive, "--", "license"]).outcome().succeeds();
    run.shows("Apache License");
    copied_from(&env, &archive);
    // Nothing is mixed with what was there, and nothing is made of what is not there.
    let again = build(&out, None).output().expect("it can be executed");
    assert!(String::from_utf8_lossy(&again.stderr).contains("has packages already"), "{again:?}");
    assert_eq!(files(&out), names);
    let mut bad = build(&env.path("none"), None);
    let bad = bad.args(["--proa", "/none"]).output().expect("it can be executed");
    assert!(!bad.status.success() && String::from_utf8_lossy(&bad.stderr).contains("no such program"), "{bad:?}");
    // Another time, in another place: the same bytes.
    let second = env.path("second");
    output(build(&second, None).env("TMPDIR", env.path("tmp")).env("TZ", "Asia/Tokyo"));
    let sums = |dir: &Path| fs::read_to_string(dir.join("SHA512SUMS")).expect("it is there");
    assert_eq!(sums(&out), sums(&second));
    packages_come_and_go(&env, &out);
}

/// buildah copies the agent out of its image into another one.
fn copied_from(env: &Env, archive: &str) {
    let Ok(buildah) = tool("buildah") else { return };
    let context = env.path("context");
    fs::create_dir(&context).expect("the folder is ours");
    let lines = [
        &format!("FROM {archive} AS agent"),
        "FROM scratch",
        "COPY --from=agent /usr/bin/containerssh-agent /usr/bin/",
        "ENTRYPOINT [\"/usr/bin/containerssh-agent\"]",
    ];
    fs::write(context.join("Dockerfile"), lines.join("\n")).expect("the folder is ours");
    let run = |args: &[&str]| {
        let mut command = Command::new(&buildah);
        command.arg("--storage-driver=vfs").arg("--root").arg(env.path("storage"));
        output(command.arg("--runroot").arg(env.path("runroot")).args(args))
    };
    run(&["bud", "--quiet", "--isolation=chroot", "--tag=copied", context.to_str().expect("text")]);
    let copied = format!("oci-archive:{}", env.path("copied.tar").display());
    run(&["push", "--quiet", "copied", &format!("{copied}:copied:latest")]);
    env.proa(["run", "--net=none", &copied, "--", "license"]).outcome().succeeds().shows("Apache License");
    for dir in ["storage", "runroot"] {
        fs::remove_dir_all(env.path(dir)).expect("it is ours");
    }
}

/// Installed and purged in an empty root file system. (In the lab's guest they are upgraded as well: lab/packages.)
fn packages_come_and_go(env: &Env, packages: &Path) {
    let root = env.path("root");
    for dir in ["info", "updates"] {
        fs::create_dir_all(root.join("var/lib/dpkg").join(dir)).expect("the folder is ours");
    }
    for file in ["status", "available"] {
        fs::write(root.join("var/lib/dpkg").join(file), "").expect("the folder is ours");
    }
    let dpkg = |args: &[&str]| {
        let mut command = Command::new("dpkg");
        command.arg(format!("--root={}", root.display())).arg("--force-script-chrootless");
        output(command.args(args).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"))
    };
    let [proa, agent] = ["proa_", "containerssh-agent_"].map(|it| one(packages, it, ".deb").display().to_string());
    dpkg(&["--install", &proa, &agent]);
    let there = installed(&root);
    for file in [
        "/usr/bin/proa",
        "/usr/share/man/man1/proa.1.gz",
        "/usr/share/man/man1/proa-run.1.gz",
        "/usr/share/bash-completion/completions/proa",
        "/usr/share/zsh/vendor-completions/_proa",
        "/usr/share/fish/vendor_completions.d/proa.fish",
        "/usr/share/doc/proa/copyright",
        "/usr/share/doc/proa/changelog.gz",
        "/usr/bin/containerssh-agent",
        "/usr/share/man/man1/containerssh-agent.1.gz",
    ] {
        assert!(there.iter().any(|it| it == file), "{file} is not in {there:?}");
    }
    for (file, built) in [("usr/bin/proa", binaries::proa()), ("usr/bin/containerssh-agent", binaries::agent())] {
        assert!(fs::read(root.join(file)).expect("it is there") == fs::read(built).expect("it is there"), "{file}");
        assert_eq!(fs::metadata(root.join(file)).expect("it is there").permissions().mode() & 0o7777, 0o755);
    }
    let copyright = fs::read_to_string(root.join("usr/share/doc/proa/copyright")).expect("it is there");
    assert!(copyright.contains("\n tokio v") && copyright.contains(": MIT"), "the licences of what is linked");
    assert_eq!(dpkg(&["--verify"]), "");
    fs::create_dir_all(root.join("var/lib/proa/store")).expect("the folder is ours");
    dpkg(&["--remove", "proa"]);
    assert!(root.join("var/lib/proa").exists());
    dpkg(&["--purge", "proa", "containerssh-agent"]);
    assert!(installed(&root).is_empty() && !root.join("var/lib/proa").exists(), "{:?}", installed(&root));
}
