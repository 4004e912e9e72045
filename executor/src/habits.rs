//! What people type who are used to docker, and what proa calls it.

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
    (&["--network"], "--net=NETS, before the image"),
];

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
        assert!(of_docker("--nonsense").is_none());
    }
}
