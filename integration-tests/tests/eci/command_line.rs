//! Command lines that make no sense.

use super::*;

#[test]
fn line_107_bad_command_lines_fail() {
    let env = needs!(root_env());
    for (args, message) in [
        (&["fly"][..], "Error: unknown command \"fly\" for \"eci\"\nRun 'eci --help' for usage.\n"),
        (&["push", "--fly"], "Error: unknown flag: --fly\n"),
        (&["--fly", "push"], "Error: unknown flag: --fly\n"),
    ] {
        let outcome = eci(&env, args).exits(1);
        assert!(outcome.stderr.starts_with(message) && outcome.stdout.is_empty(), "{outcome}");
    }
    for args in [&[][..], &["help"], &["--help"], &["help", "push"], &["push", "--help"]] {
        eci(&env, args).succeeds().quietly().shows("Usage: eci");
    }
    let outcome = eci(&env, &["pull"]).exits(1);
    assert!(outcome.stderr.ends_with(" must be exactly one arg, the name of the image to download\n"), "{outcome}");
    assert!(proa(&env, &["fly"]).exits(254).stderr.contains("fly"));
}
