//! Mode `console`: sets variables, waits for the client, tells its process number, and becomes another program.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;

use rustix::io::{read, retry_on_intr};

use crate::output::{complain, put};
use crate::{errno, usage};

#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    /// `NAME=VALUE`, in the order given.
    env: Vec<CString>,
    wait: bool,
    pid: bool,
    /// Never empty; the first one is the path.
    program: Vec<CString>,
}

/// Returns only when the program cannot be started. Status 1: wrong invocation, 2: nothing or the wrong byte came on
/// standard input, 3: standard output takes no process number, 127: the program cannot be executed.
pub(crate) fn run(args: &[OsString]) -> u8 {
    let options = match parse(args) {
        Ok(options) => options,
        Err(message) => return usage::fail(message, 1),
    };
    if options.wait
        && let Err(message) = wait_for_client()
    {
        return usage::fail(message, 2);
    }
    if options.pid {
        // exec keeps the number, so it is the program's.
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        if put(rustix::stdio::stdout(), &pid.to_le_bytes()).is_err() {
            return 3;
        }
    }
    let env = merged(sys::exec::environment(), options.env);
    let path = options.program[0].clone();
    // Rust's runtime ignores SIGPIPE, and ignored signals stay ignored across exec.
    sys::signal::restore(sys::signal::PIPE);
    let error = sys::exec::ExecArgs::new(options.program, env).execve(&path);
    complain(errno::of(&error));
    127
}

fn parse(args: &[OsString]) -> Result<Options, Vec<u8>> {
    let mut options = Options::default();
    let mut args = args.iter();
    let owned = |it: &OsString| CString::new(it.clone().into_vec()).expect("arguments end at their NUL");
    while let Some(option) = args.next() {
        match option.as_encoded_bytes() {
            b"--" => options.program.extend(args.by_ref().map(owned)),
            b"--env" => {
                let value = args.next().filter(|it| !it.as_encoded_bytes().starts_with(b"--"));
                let value = value.ok_or(b"--env requires an argument")?;
                if !value.as_encoded_bytes().contains(&b'=') {
                    return Err(b"--env requires an argument in the format of NAME=VALUE".into());
                }
                options.env.push(owned(value));
            }
            b"--wait" => options.wait = true,
            b"--pid" => options.pid = true,
            other => return Err([b"invalid parameter: ", other].concat()),
        }
    }
    if options.program.is_empty() { Err(b"no program to run passed".into()) } else { Ok(options) }
}

/// Takes exactly one byte, so that the rest is the program's.
fn wait_for_client() -> Result<(), String> {
    let mut byte = [0];
    match retry_on_intr(|| read(rustix::stdio::stdin(), &mut byte)) {
        Ok(0) => Err("Failed to read from stdin (EOF)".to_owned()),
        Err(error) => Err(format!("Failed to read from stdin ({})", errno::text(error))),
        Ok(_) if matches!(byte[0], 0 | b'\n') => Ok(()),
        Ok(_) => {
            Err("Unexpected first character. Send either a null or a newline character to start program.".to_owned())
        }
    }
}

/// The environment with variables set: each name once more only if it was not there. (The original appends, and programs
/// go on seeing the inherited value.)
fn merged(mut env: Vec<CString>, set: Vec<CString>) -> Vec<CString> {
    for variable in set {
        let bytes = variable.as_bytes();
        let name = &bytes[..=bytes.iter().position(|it| *it == b'=').expect("the parser has seen one")];
        let inherited = |it: &CString| it.as_bytes().starts_with(name);
        match env.iter().position(inherited) {
            Some(first) => {
                // A parent may have handed down the same name twice.
                let mut position = 0..;
                env.retain(|it| position.next() == Some(first) || !inherited(it));
                env[first] = variable;
            }
            None => env.push(variable),
        }
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Options, String> {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        parse(&args).map_err(|it| String::from_utf8(it).expect("it is text"))
    }

    fn strings(of: &[&str]) -> Vec<CString> {
        of.iter().map(|it| CString::new(*it).expect("no NUL")).collect()
    }

    #[test]
    fn wrong_invocations_are_named() {
        let none = "no program to run passed";
        for (args, message) in [
            (&[][..], none),
            (&["--"], none),
            (&["--wait"], none),
            (&["--env"], "--env requires an argument"),
            (&["--env", "--"], "--env requires an argument"),
            (&["--env", "A"], "--env requires an argument in the format of NAME=VALUE"),
            (&["/bin/true"], "invalid parameter: /bin/true"),
        ] {
            assert_eq!(parsed(args), Err(message.to_owned()));
        }
    }

    #[test]
    fn options_end_at_two_hyphens() {
        let options = parsed(&["--env", "A=1", "--pid", "--", "p", "--wait", "--"]).expect("it is right");
        let program = strings(&["p", "--wait", "--"]);
        assert_eq!(options, Options { env: strings(&["A=1"]), wait: false, pid: true, program });
    }

    #[test]
    fn a_variable_takes_the_place_of_the_inherited_one() {
        let env = strings(&["A=1", "B=2", "odd", "A=3"]);
        assert_eq!(merged(env.clone(), vec![]), env);
        assert_eq!(merged(env, strings(&["A=x", "C=", "C=y", "AB=z"])), strings(&["A=x", "B=2", "odd", "C=y", "AB=z"]));
    }
}
