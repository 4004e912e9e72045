//! Archives of other programs: OCI layouts and what `docker save` writes, in one file.

use std::path::{Path, PathBuf};
use std::process::Command;

use integration_tests::images::{Layout, OciLayer, Packing, Tree, busybox};
use integration_tests::needs::{Place, place, tool};
use integration_tests::{Env, User, each_user, needs};

fn run(program: &Path, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().expect("it runs");
    assert!(output.status.success(), "{program:?} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn layered(env: &Env) -> PathBuf {
    let top = Tree::new().file("etc/top", "top\n", 0o644).whiteout("etc/gone");
    let bottom = busybox().file("etc/gone", "x", 0o644);
    let layout = Layout::new("app").layer(bottom).layer(OciLayer::from(top).packed(Packing::Gzip));
    layout.sh("cat /etc/top; ls /etc").build(env)
}

each_user! {
    archives_of_skopeo_run,
    what_is_no_archive_is_told,
}

fn archives_of_skopeo_run(env: &Env) {
    let skopeo = needs!(tool("skopeo"));
    let layout = format!("oci:{}:latest", layered(env).display());
    let expected = env.proa(["run", "--net=none", &layout]).outcome().succeeds().stdout;
    let id = env.proa(["fetch", &layout]).outcome().succeeds().line().to_owned();
    env.proa(["image", "rm", &id]).outcome().succeeds();
    for transport in ["oci-archive", "docker-archive"] {
        let file = env.path(format!("images/{transport}.tar"));
        let to = format!("{transport}:{}:example.com/team/app:v1", file.display());
        run(&skopeo, &["copy", "--quiet", "--insecure-policy", &layout, &to]);
        env.own(&file);
        let plain = format!("{transport}:{}", file.display());
        let fetched = env.proa(["fetch", &plain]).outcome().succeeds().quietly();
        if transport == "oci-archive" {
            assert_eq!(fetched.line(), id, "the same image");
        }
        let first = fetched.line().to_owned();
        env.proa(["fetch", &to]).outcome().succeeds().prints(&format!("{first}\n"));
        env.proa(["run", "--net=none", &plain]).outcome().succeeds().prints(&expected);
        if transport == "docker-archive" {
            env.proa(["fetch", &format!("{plain}:@0")]).outcome().succeeds().prints(&format!("{first}\n"));
            env.proa(["run", "--net=none", "example.com/team/app:v1"]).outcome().succeeds().prints(&expected);
        }
        env.proa(["fetch", &format!("{plain}:other:v1")]).outcome().refuses("other:v1");
        env.proa(["image", "verify", &first]).outcome().succeeds();
        env.proa(["image", "rm", &first]).outcome().succeeds();
    }
}

fn what_is_no_archive_is_told(env: &Env) {
    let file = env.write("images/x.tar", busybox().tar());
    let packed = env.write("images/x.tar.gz", Packing::Gzip.pack(&busybox().tar()));
    let text = env.write("images/text.tar", "no archive\n".repeat(100));
    let cut = env.write("images/cut.tar", &busybox().tar()[..1000]);
    let directory = env.path("images");
    let fifo = env.path("images/fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo runs").success());
    env.own(&fifo);
    for transport in ["oci-archive", "docker-archive"] {
        let fetch = |path: &Path| env.proa(["fetch", &format!("{transport}:{}", path.display())]).outcome();
        fetch(&file).refuses(if transport == "oci-archive" { "oci-layout" } else { "manifest.json" });
        let refused = fetch(&packed).refuses(if transport == "oci-archive" { "oci-layout" } else { "manifest.json" });
        // Not what it was inflated to.
        refused.stderr_shows(&format!("archive {}: ", packed.display()));
        fetch(&text).refuses("text.tar");
        fetch(&cut).refuses("the archive ends");
        fetch(&directory).refuses("images");
        fetch(&fifo).refuses("fifo").stderr_shows("hint: save the image to a file first");
        fetch(&env.path("nowhere.tar")).refuses("No such file or directory");
    }
}

/// What buildah builds and podman saves; two images in one file are told apart by name and number.
#[test]
fn archives_of_buildah_and_podman_run() {
    needs!(place(Place::Host));
    let (buildah, podman) = (needs!(tool("buildah")), needs!(tool("podman")));
    let env = needs!(Env::of(User::Root));
    // Their own storage, so that the invoking user's images stay as they are.
    let root = format!("--root={}", env.path("storage").display());
    let runroot = format!("--runroot={}", env.path("runroot").display());
    let run = |program: &Path, args: &[&str]| {
        run(program, &[&[root.as_str(), runroot.as_str(), "--storage-driver=vfs"], args].concat())
    };
    let files = env.write("images/busybox.tar", busybox().tar());
    let container = run(&buildah, &["from", "scratch"]);
    run(&buildah, &["add", &container, files.to_str().expect("UTF-8"), "/"]);
    let mut saved = Vec::new();
    for word in ["one", "two"] {
        let command = format!("[\"/bin/sh\", \"-c\", \"echo {word}\"]");
        run(&buildah, &["config", "--cmd", &command, &container]);
        for format in ["oci", "docker"] {
            let archive = format!("{format}-archive:{}", env.path(format!("images/{word}-{format}.tar")).display());
            run(&buildah, &["commit", "--quiet", &format!("--format={format}"), &container, &archive]);
            env.proa(["run", "--net=none", &archive]).outcome().succeeds().prints(&format!("{word}\n"));
        }
        let name = format!("example.com/{word}:v1");
        run(&buildah, &["commit", "--quiet", "--format=docker", &container, &name]);
        let archive = env.path(format!("images/{word}.tar"));
        run(&podman, &["save", "--quiet", "--format=oci-archive", "-o", archive.to_str().expect("UTF-8"), &name]);
        let archive = format!("oci-archive:{}", archive.display());
        env.proa(["run", "--net=none", &archive]).outcome().succeeds().prints(&format!("{word}\n"));
        saved.push(name);
    }
    let both = env.path("images/both.tar");
    run(&podman, &["save", "--quiet", "-m", "-o", both.to_str().expect("UTF-8"), &saved[0], &saved[1]]);
    let both = format!("docker-archive:{}", both.display());
    env.proa(["fetch", &both]).outcome().refuses("example.com/one:v1");
    for (reference, says) in [("example.com/one:v1", "one\n"), ("example.com/two:v1", "two\n")] {
        env.proa(["run", "--net=none", &format!("{both}:{reference}")]).outcome().succeeds().prints(says);
    }
    env.proa(["fetch", &format!("{both}:@2")]).outcome().refuses("@2");
    run(&buildah, &["rm", &container]);
}
