//! What a process did to the store, from strace: every call that changes something, in order.

use std::collections::HashMap;

/// A call that changes the store, or what it said. Paths are below the data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    MakeDir(String),
    /// A regular file that was not there, or was emptied.
    MakeFile(String),
    /// Anything else: a link, a pipe, a whiteout.
    MakeOther(String),
    Link {
        from: String,
        to: String,
    },
    Rename {
        from: String,
        to: String,
    },
    Remove(String),
    /// Bytes at the end of a file.
    Append {
        path: String,
        bytes: Vec<u8>,
    },
    Resize {
        path: String,
        size: usize,
    },
    /// fsync of a file or directory.
    Sync(String),
    /// syncfs
    SyncAll,
    /// A line on standard output.
    Say(String),
}

/// The calls that strace is to tell of.
pub(crate) const TRACED: &str = "trace=openat,openat2,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,rmdir,link,\
    linkat,symlink,symlinkat,mknod,mknodat,write,pwrite64,writev,ftruncate,truncate,fallocate,copy_file_range,sendfile,\
    fsync,fdatasync,syncfs,sync";

/// Reads what `strace -f -y -xx` wrote. Everything outside of `data` is left out.
pub(crate) fn parse(log: &str, data: &str) -> Vec<Call> {
    let mut unfinished: HashMap<&str, String> = HashMap::new();
    let mut calls = Vec::new();
    for line in log.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let mut text = rest.trim_start().to_owned();
        if let Some(begin) = text.strip_suffix(" <unfinished ...>") {
            unfinished.insert(thread, begin.to_owned());
            continue;
        }
        if let Some(resumed) = text.strip_prefix("<... ") {
            let Some(begin) = unfinished.remove(thread) else { continue };
            let end = resumed.split_once(" resumed>").map_or("", |(_, end)| end);
            text = begin + end;
        }
        let Some((name, rest)) = text.split_once('(') else { continue };
        let Some((arguments, result)) = rest.rsplit_once(") = ") else { continue };
        if result.starts_with('-') || result.starts_with('?') {
            continue;
        }
        let arguments: Vec<String> = split(arguments);
        calls.extend(call(name, &arguments, result, data));
    }
    calls
}

fn call(name: &str, arguments: &[String], result: &str, data: &str) -> Option<Call> {
    let argument = |index: usize| arguments.get(index).map_or("", String::as_str);
    let at = |dir: usize| below(&join(&path_of(argument(dir)), &string(argument(dir + 1))), data);
    let fd = || below(&path_of(argument(0)), data);
    Some(match name {
        "openat" | "openat2" if arguments[2].contains("O_CREAT") => {
            let exclusive = arguments[2].contains("O_EXCL");
            assert!(
                exclusive || arguments[2].contains("O_TRUNC") || !arguments[2].contains("O_WRONLY"),
                "{arguments:?}"
            );
            // A lock file may have been there before: opening it changes nothing then.
            Call::MakeFile(at(0)?)
        }
        "openat" | "openat2" => return None,
        "mkdir" => Call::MakeDir(below(&string(argument(0)), data)?),
        "mkdirat" => Call::MakeDir(at(0)?),
        "symlinkat" => Call::MakeOther(below(&join(&path_of(argument(1)), &string(argument(2))), data)?),
        "mknodat" => Call::MakeOther(at(0)?),
        "linkat" => Call::Link { from: at(0)?, to: at(2)? },
        "renameat" | "renameat2" => Call::Rename { from: at(0)?, to: at(2)? },
        "unlinkat" => Call::Remove(at(0)?),
        "write" if argument(0).starts_with("1<") => {
            Call::Say(String::from_utf8_lossy(&bytes(argument(1))).trim_end().to_owned())
        }
        "write" => {
            let bytes = bytes(argument(1));
            assert_eq!(bytes.len().to_string(), result, "a whole write, shown whole");
            Call::Append { path: fd()?, bytes }
        }
        "ftruncate" => Call::Resize { path: fd()?, size: argument(1).parse().expect("a size") },
        "fsync" | "fdatasync" => Call::Sync(fd()?),
        "syncfs" => fd().map(|_| Call::SyncAll)?,
        // The store has no reason to make these, and the model does not know them.
        other => {
            let elsewhere = fd().is_none() && below(&string(argument(0)), data).is_none();
            assert!(elsewhere, "{other}({arguments:?}) changes the store");
            return None;
        }
    })
}

/// Splits arguments at commas outside of strings, brackets and descriptors' paths.
fn split(arguments: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut depth, mut quoted) = (0, false);
    for c in arguments.chars() {
        match c {
            '"' => quoted = !quoted,
            '{' | '[' | '<' | '(' if !quoted => depth += 1,
            '}' | ']' | '>' | ')' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().expect("there is one").push(c);
    }
    parts.iter().map(|part| part.trim().to_owned()).collect()
}

/// The path that strace shows of a descriptor: `3<\x2f\x61>`.
fn path_of(argument: &str) -> String {
    let shown = argument.split_once('<').map_or("", |(_, rest)| rest.trim_end_matches('>'));
    String::from_utf8_lossy(&unescape(shown)).into_owned()
}

fn string(argument: &str) -> String {
    String::from_utf8_lossy(&bytes(argument)).into_owned()
}

fn bytes(argument: &str) -> Vec<u8> {
    assert!(!argument.ends_with("..."), "strace cut {argument}");
    unescape(argument.trim_matches('"'))
}

fn unescape(text: &str) -> Vec<u8> {
    text.split("\\x").skip(1).map(|hex| u8::from_str_radix(&hex[..2], 16).expect("strace writes hex")).collect()
}

fn join(dir: &str, name: &str) -> String {
    if name.starts_with('/') { name.to_owned() } else { format!("{dir}/{name}") }
}

fn below(path: &str, data: &str) -> Option<String> {
    let below = path.strip_prefix(data)?.strip_prefix('/')?;
    Some(below.trim_end_matches("/.").trim_end_matches('/').to_owned())
}
