//! What every way to an app keeps alike: its variables, and the places of its volumes.

use integration_tests::images::{Aci, busybox};
use integration_tests::{Env, Outcome, each_user};
use serde_json::json;

each_user! {
    variables_are_the_command_lines_on_every_way,
    ac_variables_cannot_be_overridden_on_any_way,
    volumes_that_hide_something_are_told_on_every_way,
    places_of_volumes_are_made_on_every_way,
    overlaps_and_missing_volumes_are_refused_on_every_way,
}

/// How an app comes to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Run,
    Detached,
    Prepared,
    Added,
    Docker,
}

const WAYS: [Way; 5] = [Way::Run, Way::Detached, Way::Prepared, Way::Added, Way::Docker];

/// An app that is wanted.
#[derive(Debug, Default)]
struct Wanted<'a> {
    variables: &'a [&'a str],
    /// Volumes of the pod, and where they are.
    volumes: &'a [(&'a str, &'a str)],
    script: &'a str,
}

impl Way {
    /// The command that makes the app, or refuses to.
    fn begin(self, env: &Env, wanted: &Wanted<'_>) -> Outcome {
        let volume = |option: &str, (name, _): &(&str, &str)| format!("{option}{name},kind=empty");
        let mount = |(name, target): &(&str, &str)| format!("--mount=volume={name},target={target}");
        let variables = |option: &str| wanted.variables.iter().map(|it| format!("{option}{it}")).collect::<Vec<_>>();
        let mut args: Vec<String> = match self {
            Self::Run => vec!["run".into(), "--net=none".into()],
            Self::Detached => ["run", "--detach", "--name=way", "--net=none"].map(str::to_owned).into(),
            Self::Prepared => vec!["prepare".into(), "--net=none".into()],
            Self::Added => {
                env.proa(["app", "sandbox", "--detach", "--net=none", "--name=way"]).outcome().succeeds();
                ["app", "add", "way"].map(str::to_owned).into()
            }
            Self::Docker => ["docker", "run", "--rm", "--network=none"].map(str::to_owned).into(),
        };
        match self {
            Self::Docker => {
                args.extend(variables("--env="));
                args.extend(wanted.volumes.iter().map(|(name, target)| format!("--volume={name}:{target}")));
                args.push("example.com/way".into());
            }
            Self::Added => {
                args.push("example.com/way".into());
                for pair @ (_, target) in wanted.volumes {
                    args.push(volume("--mnt-volume=name=", pair) + ",target=" + target);
                }
                args.extend(variables("--environment="));
                args.push("--".into());
            }
            Self::Run | Self::Detached | Self::Prepared => {
                args.extend(wanted.volumes.iter().map(|pair| volume("--volume=", pair)));
                args.push("example.com/way".into());
                args.extend(wanted.volumes.iter().map(mount));
                args.extend(variables("--environment="));
                args.push("--".into());
            }
        }
        args.extend(["-c".into(), wanted.script.to_owned()]);
        env.proa(args).outcome()
    }

    /// What the app writes, and the warnings on its way.
    fn output(self, env: &Env, wanted: &Wanted<'_>) -> (String, String) {
        let begun = self.begin(env, wanted).succeeds();
        let logs = || env.proa(["logs", "way"]).outcome().succeeds().stdout;
        match self {
            Self::Run | Self::Docker => (begun.stdout, begun.stderr),
            Self::Detached => {
                env.proa(["wait", "way"]).outcome().succeeds();
                let written = logs();
                env.proa(["rm", "way"]).outcome().succeeds();
                (written, begun.stderr)
            }
            Self::Prepared => {
                let run = env.proa(["run-prepared", begun.line()]).outcome().succeeds();
                env.proa(["rm", begun.line()]).outcome().succeeds();
                (run.stdout, begun.stderr + &run.stderr)
            }
            Self::Added => {
                env.proa(["app", "start", "way", "--app=way"]).outcome().succeeds();
                let end = std::time::Instant::now() + integration_tests::limit();
                while !env.proa(["app", "status", "way", "--app=way"]).outcome().stdout.contains("state=exited") {
                    assert!(std::time::Instant::now() < end, "it ends");
                }
                let written = logs();
                self.undo(env);
                (written, begun.stderr)
            }
        }
    }

    /// The message of a refusal; nothing is left of it.
    fn refusal(self, env: &Env, wanted: &Wanted<'_>) -> String {
        let status = if self == Self::Docker { 125 } else { 254 };
        let refused = self.begin(env, wanted).exits(status);
        assert_eq!(refused.stdout, "", "{self:?}: {refused}");
        self.undo(env);
        env.proa(["list", "--no-legend"]).outcome().succeeds().prints("");
        refused.stderr
    }

    /// Removes the pod that the app was to come into.
    fn undo(self, env: &Env) {
        if self == Self::Added {
            env.proa(["stop", "way"]).outcome().succeeds();
            env.proa(["rm", "way"]).outcome().succeeds();
        }
    }
}

/// Stores the image of the apps, which executes scripts.
fn store(env: &Env) {
    let variables = json!([{"name": "A", "value": "image"}, {"name": "AC_APP_NAME", "value": "image"}]);
    let tree = busybox().dir("dir1", 0o755).file("dir1/file", "dir1", 0o644);
    env.store(Aci::new("way", tree).exec(["/bin/sh"]).app("environment", variables).build(env));
}

fn variables_are_the_command_lines_on_every_way(env: &Env) {
    store(env);
    for way in WAYS {
        let script = "echo \"$A $AC_APP_NAME\"";
        let (written, _) = way.output(env, &Wanted { script, ..Wanted::default() });
        assert_eq!(written, "image way\n", "{way:?}");
        let (written, _) = way.output(env, &Wanted { variables: &["A=caller"], script, ..Wanted::default() });
        assert_eq!(written, "caller way\n", "{way:?}");
    }
}

fn ac_variables_cannot_be_overridden_on_any_way(env: &Env) {
    store(env);
    for way in WAYS {
        for variable in ["AC_APP_NAME=x", "AC_METADATA_URL=http://elsewhere", "AC_="] {
            let told = way.refusal(env, &Wanted { variables: &["A=1", variable], ..Wanted::default() });
            let wanted = format!("{variable:?}: variables beginning AC_ are set by proa and cannot be overridden");
            assert!(told.contains(&wanted), "{way:?}: {told}");
        }
    }
}

fn volumes_that_hide_something_are_told_on_every_way(env: &Env) {
    store(env);
    // By docker's rules what is hidden is not told: empty volumes begin with it.
    for way in WAYS.into_iter().filter(|way| *way != Way::Docker) {
        let (written, told) =
            way.output(env, &Wanted { volumes: &[("v", "/dir1")], script: "ls /dir1", ..Wanted::default() });
        assert_eq!(written, "", "{way:?}");
        assert!(told.contains("app \"way\": volume \"v\" hides what the image has at \"/dir1\""), "{way:?}: {told}");
        let (_, told) = way.output(env, &Wanted { volumes: &[("v", "/new")], script: "ls /new", ..Wanted::default() });
        assert_eq!(told, "", "{way:?}");
    }
}

fn places_of_volumes_are_made_on_every_way(env: &Env) {
    store(env);
    for way in WAYS {
        let script = "stat -c '%a %u:%g' /new /new/er /new/er/place";
        let (written, _) = way.output(env, &Wanted { volumes: &[("v", "/new/er/place")], script, ..Wanted::default() });
        assert_eq!(written, "755 0:0\n".repeat(3), "{way:?}");
    }
}

fn overlaps_and_missing_volumes_are_refused_on_every_way(env: &Env) {
    store(env);
    for way in WAYS {
        let told = way.refusal(env, &Wanted { volumes: &[("v", "/a"), ("w", "/a")], ..Wanted::default() });
        let wanted = if way == Way::Docker { "Duplicate mount point: /a" } else { "the mounts at /a and /a overlap" };
        assert!(told.contains(wanted), "{way:?}: {told}");
        let nested = Wanted { volumes: &[("v", "/a"), ("w", "/a/b")], ..Wanted::default() };
        // Docker's may.
        if way == Way::Docker {
            way.output(env, &Wanted { script: "ls -d /a/b", ..nested });
        } else {
            let told = way.refusal(env, &nested);
            assert!(told.contains("the mounts at /a and /a/b overlap"), "{way:?}: {told}");
        }
    }
    let mount = "--mount=volume=none,target=/a";
    for command in ["run", "prepare"] {
        let refused = env.proa([command, mount, "example.com/way"]).outcome();
        refused
            .refuses("there is no volume none for the mount at /a")
            .stderr_shows("hint: declare it before the first");
    }
    Way::Added.begin(env, &Wanted { script: "true", ..Wanted::default() }).succeeds();
    let refused = env.proa(["app", "add", "way", "example.com/way", "--name=other", mount]).outcome();
    refused
        .refuses("there is no volume none for the mount at /a")
        .stderr_shows("hint: declare and mount it: --mnt-volume");
    Way::Added.undo(env);
}
