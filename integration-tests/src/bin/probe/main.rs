//! A static program for inside images: says what an app sees, and tries what an attacker would.
//!
//! ```text
//! probe world …                    one line of JSON: ids, capabilities, namespaces, mounts, descriptors, …
//! probe open PATH…                 one line of JSON per attempt to open, read, write, list or execute each path
//! probe siblings                   the same for every other process of the pod, pid 1 included
//! probe overwrite PID FILE         opens /proc/PID/exe, waits for FILE, writes through the descriptor: CVE-2019-5736
//! probe ask PLACE PATH…            what the metadata service at a Unix socket or URL answers: one line each, `STATUS BODY`
//! probe sleep SECONDS              says `ready` and sleeps; unlike a shell it leaves every signal at its default
//! ```

mod attempt;
mod world;

use std::io::Write;
use std::time::Duration;

use metadata_api::ask::Service;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        [] | ["world", ..] => tell(&world::describe()),
        ["open", ref paths @ ..] => paths.iter().for_each(|path| attempt::everything_on(path)),
        ["siblings"] => attempt::everything_on_siblings(),
        ["overwrite", pid, file] => attempt::overwrite_program(pid, file),
        ["ask", place, ref paths @ ..] => paths.iter().for_each(|path| ask(place, path)),
        ["sleep", seconds] => {
            println!("ready");
            std::thread::sleep(Duration::from_secs(seconds.parse().expect("a number of seconds")));
        }
        _ => {
            eprintln!(
                "usage: probe world | open PATH… | siblings | overwrite PID FILE | ask PLACE PATH… | sleep SECONDS"
            );
            std::process::exit(2);
        }
    }
}

/// One write for the line: apps of a pod share the pipe.
fn tell(line: &serde_json::Value) {
    // Nobody may be there to read it.
    let _ = std::io::stdout().lock().write_all(format!("{line}\n").as_bytes());
}

fn ask(place: &str, path: &str) {
    let patience = Duration::from_secs(20);
    let service = if place.starts_with('/') {
        Service::at_socket(std::path::Path::new(place), patience)
    } else {
        Service::at(place, patience).expect("a URL")
    };
    match service.get_path(path) {
        Ok(answer) => println!("{} {}", answer.status, String::from_utf8_lossy(&answer.body)),
        Err(error) => println!("none {error}"),
    }
}
