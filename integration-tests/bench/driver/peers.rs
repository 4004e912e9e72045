//! The programs to be compared, as the file that names them says.

use std::cell::Cell;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::Failure;

/// One line of the file.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: String,
    /// It runs in the rounds whose number this divides: slow peers run in fewer.
    pub(crate) every: usize,
    pub(crate) scale: bool,
    words: Vec<String>,
    launches: Cell<usize>,
}

/// The whole file; its first peer is the yardstick.
#[derive(Debug)]
pub(crate) struct Peers {
    pub(crate) file: PathBuf,
    pub(crate) all: Vec<Peer>,
}

impl Peer {
    /// The command of the next launch.
    pub(crate) fn command(&self) -> Command {
        let number = format!("{}-{}", std::process::id(), self.launches.replace(self.launches.get() + 1));
        let mut words = self.words.iter().map(|it| it.replace("{n}", &number));
        let mut command = Command::new(words.next().expect("a peer has a program"));
        command.args(words);
        command
    }
}

pub(crate) fn read(file: &str) -> Result<Peers, Failure> {
    let text = fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))?;
    let all = text.lines().map(parse).collect::<Result<Vec<_>, _>>()?;
    if all.is_empty() {
        return Err(format!("{file}: no peer").into());
    }
    Ok(Peers { file: file.into(), all })
}

fn parse(line: &str) -> Result<Peer, Failure> {
    let bad = || format!("bad line {line:?}: not NAME EVERY SCALE PROGRAM ARG…");
    let fields: Vec<&str> = line.split('\t').collect();
    let [name, every, scale @ ("yes" | "no"), words @ ..] = &fields[..] else { return Err(bad().into()) };
    let every = every.parse().ok().filter(|it| *it > 0).ok_or_else(bad)?;
    if words.is_empty() {
        return Err(bad().into());
    }
    let words = words.iter().map(|&it| it.to_owned()).collect();
    Ok(Peer { name: (*name).to_owned(), every, scale: *scale == "yes", words, launches: Cell::new(0) })
}
