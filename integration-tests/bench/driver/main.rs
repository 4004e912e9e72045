//! Times launches of programs that are named in a file, as the user it is started as.
//!
//! `launch-driver interleave|scale PEERS ROUNDS RESULT` prints a table and writes the same as JSON to RESULT. A line of
//! PEERS is `NAME EVERY SCALE PROGRAM ARG…`, separated by tabs: the peer runs in every EVERY-th round, and with SCALE
//! `yes` it takes part in `scale`; `{n}` in an argument becomes a number of its own for each launch. The first peer is
//! the yardstick of the ratios. Started by `bench/launch`.

mod interleave;
mod launch;
mod peers;
mod scale;

use std::process::ExitCode;

use serde_json::Value;

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        ["interleave", peers, rounds, result] => read(peers, rounds)
            .and_then(|(peers, rounds)| interleave::run(&peers, rounds))
            .and_then(|it| save(result, &it)),
        ["scale", peers, rounds, result] => {
            read(peers, rounds).and_then(|(peers, rounds)| scale::run(&peers, rounds)).and_then(|it| save(result, &it))
        }
        ["rss", peers, name] => peers::read(peers).and_then(|peers| launch::print_peak_rss(&peers, name)),
        _ => Err("usage: launch-driver interleave|scale PEERS ROUNDS RESULT".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("launch-driver: {e}");
            ExitCode::FAILURE
        }
    }
}

fn read(file: &str, rounds: &str) -> Result<(peers::Peers, usize), Failure> {
    let rounds = rounds.parse().ok().filter(|it| *it > 0).ok_or(format!("bad number of rounds {rounds:?}"))?;
    Ok((peers::read(file)?, rounds))
}

fn save(file: &str, result: &Value) -> Result<(), Failure> {
    std::fs::write(file, result.to_string()).map_err(|e| format!("{file}: {e}").into())
}
