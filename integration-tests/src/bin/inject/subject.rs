//! What a system call is about, in words that are the same in every run.

use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use crate::calls::Subject;

/// The longest path that is looked at.
const PATH: usize = 1024;

/// Memory is readable or not page by page.
const PAGE: usize = 4096;

/// Describes what the call of this thread is about. `data` is written `DATA`.
pub(crate) fn describe(thread: Pid, subject: Subject, arguments: &[u64; 6], data: &str) -> String {
    let below = |(dir, path): (usize, usize)| {
        let path = path_at(thread, arguments[path]);
        if path.starts_with('/') {
            return path;
        }
        let dir = descriptor(thread, arguments[dir]);
        if path.is_empty() { dir } else { format!("{dir}/{path}") }
    };
    let said = match subject {
        Subject::Nothing => return String::new(),
        Subject::Open(index) => descriptor(thread, arguments[index]),
        Subject::Path(index) => path_at(thread, arguments[index]),
        Subject::Below(dir, path) => below((dir, path)),
        Subject::Two(from, to) => format!("{}|{}", below(from), below(to)),
    };
    said.split('|').map(|path| steady(path, data)).collect::<Vec<_>>().join("|")
}

fn descriptor(thread: Pid, number: u64) -> String {
    // AT_FDCWD is negative.
    let number = number as i32;
    let link = match number {
        0.. => format!("/proc/{thread}/fd/{number}"),
        _ => format!("/proc/{thread}/cwd"),
    };
    std::fs::read_link(link).map_or_else(|_| "closed".to_owned(), |path| path.to_string_lossy().into_owned())
}

fn path_at(thread: Pid, address: u64) -> String {
    let mut bytes = [0; PATH];
    let mut length = 0;
    let Ok(start) = usize::try_from(address) else { return String::new() };
    // To the end of the page and then on: the next one may not be there.
    while start != 0 && length < PATH {
        let base = start + length;
        let wanted = (PAGE - base % PAGE).min(PATH - length);
        let remote = [RemoteIoVec { base, len: wanted }];
        let local = &mut [std::io::IoSliceMut::new(&mut bytes[length..length + wanted])];
        let Ok(read) = process_vm_readv(thread, local, &remote) else { break };
        if let Some(end) = bytes[length..length + read].iter().position(|byte| *byte == 0) {
            length += end;
            break;
        }
        length += read;
    }
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

/// A path without what differs from run to run: numbers of processes and inodes, random names.
fn steady(path: &str, data: &str) -> String {
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    let path = path.split_once(":[").map_or(path, |(kind, _)| kind);
    let path = match path.strip_prefix(data) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("DATA{rest}"),
        _ => path.to_owned(),
    };
    path.split('/').map(steady_name).collect::<Vec<_>>().join("/")
}

fn steady_name(name: &str) -> String {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if name.len() == 16 && hex(name) {
        "*".to_owned()
    } else if name.len() == 36 && name.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && name.split('-').all(hex) {
        "UUID".to_owned()
    } else if name.starts_with(".tmp") {
        ".tmp*".to_owned()
    } else if digits(name.strip_prefix('#').unwrap_or(name)) {
        // A number that stands alone, or a file without a name.
        "#".to_owned()
    } else {
        // The number of a process; those of layers and blobs are small.
        match name.rsplit_once('-') {
            Some((start, number)) if number.len() > 3 && digits(number) => format!("{start}-#"),
            _ => name.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::steady;

    #[test]
    fn what_differs_from_run_to_run_is_left_out() {
        let cases = [
            ("/a/b-1/store/tmp/0123456789abcdef/lock", "DATA/store/tmp/*/lock"),
            ("/a/b-1", "DATA"),
            ("/a/b-12/x", "/a/b-12/x"),
            ("/proc/123/fd/4", "/proc/#/fd/#"),
            ("socket:[1234]", "socket"),
            ("/memfd:x (deleted)", "/memfd:x"),
            ("/a/tmp/#1234 (deleted)", "/a/tmp/#"),
            ("/a/b-1/pods/run/01234567-89ab-cdef-0123-456789abcdef/pid", "DATA/pods/run/UUID/pid"),
            ("/a/b-1/store/tmp/0123456789abcdef/layer-0", "DATA/store/tmp/*/layer-0"),
            ("/a/b-1/store/tmp/0123456789012345", "DATA/store/tmp/*"),
            ("/a/b-1/store/tmp/format-12345", "DATA/store/tmp/format-#"),
        ];
        for (path, expected) in cases {
            assert_eq!(steady(path, "/a/b-1"), expected);
        }
    }
}
