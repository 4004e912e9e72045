//! What an app sees of itself and its surroundings.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

/// Everything, as one JSON object. What cannot be read is null.
pub(crate) fn describe() -> Value {
    let status = table("/proc/self/status", ':');
    let numbers = |field: &str| -> Vec<u32> {
        let text = status.get(field).map(String::as_str).unwrap_or_default();
        text.split_whitespace().filter_map(|it| it.parse().ok()).collect()
    };
    let args: Vec<String> = std::env::args_os().map(|it| it.to_string_lossy().into_owned()).collect();
    let text = |it: std::ffi::OsString| it.to_string_lossy().into_owned();
    let env: BTreeMap<String, String> = std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect();
    json!({
        "args": args,
        "env": env,
        "cwd": std::env::current_dir().ok().map(|it| it.to_string_lossy().into_owned()),
        "pid": std::process::id(),
        "uids": numbers("Uid"),
        "gids": numbers("Gid"),
        "groups": numbers("Groups"),
        "caps": {
            "inheritable": status.get("CapInh"), "permitted": status.get("CapPrm"), "effective": status.get("CapEff"),
            "bounding": status.get("CapBnd"), "ambient": status.get("CapAmb"),
        },
        "no_new_privs": numbers("NoNewPrivs").first(),
        "seccomp": numbers("Seccomp").first(),
        "umask": status.get("Umask"),
        "oom_score_adj": line("/proc/self/oom_score_adj"),
        "uid_map": line("/proc/self/uid_map"),
        "gid_map": line("/proc/self/gid_map"),
        "hostname": line("/proc/sys/kernel/hostname"),
        "max_user_namespaces": line("/proc/sys/user/max_user_namespaces"),
        "namespaces": namespaces(),
        "limits": limits(),
        "mounts": lines("/proc/self/mountinfo"),
        "fds": descriptors(),
        "interfaces": interfaces(),
        "signals": {"blocked": status.get("SigBlk"), "ignored": status.get("SigIgn")},
        "pids": numbered("/proc"),
    })
}

/// The numbers among the names of a folder's entries.
pub(crate) fn numbered(dir: &str) -> Vec<u32> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut numbers: Vec<u32> = entries.filter_map(|it| it.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

fn line(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn lines(path: &str) -> Option<Vec<String>> {
    Some(fs::read_to_string(path).ok()?.lines().map(str::to_owned).collect())
}

fn table(path: &str, separator: char) -> BTreeMap<String, String> {
    let all = lines(path).unwrap_or_default();
    let pair = |it: &String| it.split_once(separator).map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    all.iter().filter_map(pair).collect()
}

fn namespaces() -> BTreeMap<String, String> {
    let kinds = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"];
    let link = |kind: &str| fs::read_link(format!("/proc/self/ns/{kind}")).map(|it| it.to_string_lossy().into_owned());
    kinds.into_iter().filter_map(|kind| Some((kind.to_owned(), link(kind).ok()?))).collect()
}

/// Limit → `[soft, hard]`, as /proc/self/limits writes them; names hold blanks, columns stand at fixed places.
fn limits() -> BTreeMap<String, [String; 2]> {
    let parse = |line: &String| {
        let name = line.get(..26)?.trim().to_owned();
        let mut values = line.get(26..)?.split_whitespace().map(str::to_owned);
        Some((name, [values.next()?, values.next()?]))
    };
    lines("/proc/self/limits").unwrap_or_default().iter().skip(1).filter_map(parse).collect()
}

/// Descriptor → what it is, without the one that reads the folder.
fn descriptors() -> BTreeMap<u32, String> {
    let target = |fd: &u32| fs::read_link(format!("/proc/self/fd/{fd}")).ok();
    let own = format!("/proc/{}/fd", std::process::id());
    let all = numbered("/proc/self/fd").into_iter();
    all.filter_map(|fd| Some((fd, target(&fd)?.to_string_lossy().into_owned()))).filter(|(_, it)| *it != own).collect()
}

fn interfaces() -> Vec<String> {
    let all = lines("/proc/net/dev").unwrap_or_default();
    all.iter().filter_map(|it| it.split_once(':')).map(|(name, _)| name.trim().to_owned()).collect()
}
