//! What people type who are used to docker or rkt, and what proa calls it.

use crate::error::CommandError;

/// Docker's option, and how the same is said here.
const OPTIONS: &[(&[&str], &str)] = &[
    (&["-e", "--env"], "set a variable of an app after its image: --environment NAME=VALUE"),
    (&["--env-file"], "--set-env-file FILE, before the image"),
    (
        &["-v"],
        "declare a volume before the image, --volume NAME,kind=host,source=PATH, and mount it: \
         --mount volume=NAME,target=PATH",
    ),
    (&["--tmpfs"], "declare an empty volume before the image, --volume NAME,kind=empty, and mount it with --mount"),
    (&["--entrypoint"], "--exec PATH, after the image"),
    (&["-u"], "--user USER, after the image"),
    (&["-w", "--workdir"], "--working-dir DIR, after the image"),
    (&["--read-only"], "--readonly-rootfs, after the image"),
    (&["-i", "-t", "-it", "--tty"], "--interactive, before the image"),
    (&["-d"], "--detach, before the image"),
    (&["-l", "--label"], "--user-label NAME=VALUE, after the image"),
    (&["-p", "--publish"], "--port=PORT:HOSTPORT, before the image"),
    (
        &["--health-cmd", "--no-healthcheck"],
        "`proa docker run` has it; else --annotation='proa.local/oci/healthcheck={\"Test\":[\"CMD-SHELL\",\"COMMAND\"]}', after \
         the image",
    ),
    (&["--network"], "--net=NETS, before the image"),
];

/// An option of rkt's that only takes what is so anyway ([`crate::rkt_options`]), what that is, and why.
const RKT_VALUES: &[(&str, &str, &str)] = &[
    (
        "--no-overlay",
        "is true or false",
        "leave it out: an app's root is an overlay wherever the kernel has one, and `proa doctor` says so",
    ),
    (
        "--private-users",
        "can only be true",
        "leave it out: every pod has a user namespace of its own; --userns says how its ids are mapped",
    ),
    ("--mds-register", "is true or false", "leave it out: every pod is served, see `proa metadata-service --help`"),
    (
        "--ipc",
        "can only be auto or private",
        "leave it out: the apps of a pod share an IPC namespace, and no pod has the host's",
    ),
];

/// An option of rkt's that there is not here, and why.
const RKT_OPTIONS: &[(&[&str], &str)] = &[
    (
        &["--stage1-name", "--stage1-url", "--stage1-path", "--stage1-hash", "--stage1-from-dir"],
        "leave it out: there is one stage1, which is a part of proa",
    ),
    (
        &["--listen-port"],
        "leave it out: the service takes no port of the host, and each pod has an address for it, in AC_METADATA_URL",
    ),
];

/// The error for an option of rkt's that there is not here.
pub(crate) fn of_rkt(option: &str) -> Option<CommandError> {
    if let Some((_, what, say)) = RKT_VALUES.iter().find(|(name, ..)| *name == option) {
        return Some(CommandError::usage(format!("{option} {what}")).hint(*say));
    }
    let (_, say) = RKT_OPTIONS.iter().find(|(names, _)| names.contains(&option))?;
    Some(CommandError::usage(format!("there is no option {option}")).hint(*say))
}

/// The error for an option of docker's that is called otherwise here.
pub(crate) fn of_docker(option: &str) -> Option<CommandError> {
    let (_, say) = OPTIONS.iter().find(|(names, _)| names.contains(&option))?;
    Some(CommandError::usage(format!("there is no option {option}")).hint(*say))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_an_answer() {
        for (names, say) in OPTIONS {
            for name in *names {
                let report = of_docker(name).unwrap().report(Some("run"));
                assert_eq!(report, format!("proa: run: there is no option {name}\nhint: {say}\n"));
            }
        }
        let values = RKT_VALUES.iter().map(|(name, ..)| name);
        for name in RKT_OPTIONS.iter().flat_map(|(names, _)| *names).chain(values) {
            assert!(of_rkt(name).unwrap().report(Some("run")).contains("\nhint: leave it out: "));
        }
        assert!(of_docker("--nonsense").is_none() && of_rkt("--nonsense").is_none());
    }
}
