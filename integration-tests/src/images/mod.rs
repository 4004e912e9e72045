//! Images made for tests: byte-exact archives by hand where the test is about the format, real makers' where it is not.

mod aci;
mod layout;
mod made;
mod tree;

use sha2::Digest as _;

pub use aci::Aci;
pub use layout::{Layout, OciLayer};
pub use made::{debian, debian_zstd};
pub use tree::{Packing, Tree};

/// Adds busybox and the usual links to it: a root file system that a shell script can work in.
///
/// # Panics
/// When the host has no busybox.
pub fn busybox() -> Tree {
    let program = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find_map(|it| std::fs::read(it).ok());
    let program = program.expect("needs the Debian package busybox-static");
    let mut tree = Tree::new();
    for dir in ["bin", "etc", "proc", "sys", "dev", "tmp", "root", "home"] {
        tree = tree.dir(dir, if dir == "tmp" { 0o1777 } else { 0o755 });
    }
    tree = tree.file("bin/busybox", program, 0o755);
    for applet in APPLETS.split_whitespace() {
        tree = tree.symlink(format!("bin/{applet}"), "busybox");
    }
    let accounts = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home:/bin/sh\n";
    tree.file("etc/passwd", accounts, 0o644).file("etc/group", "root:x:0:\nuser:x:1000:\nextra:x:2000:user\n", 0o644)
}

/// The SHA-512 of these bytes, in hexadecimal digits: the value of an ACI's ID.
pub fn sha512(bytes: &[u8]) -> String {
    hex::encode(sha2::Sha512::digest(bytes))
}

/// The SHA-256 of these bytes, in hexadecimal digits: the value of a blob's digest.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(sha2::Sha256::digest(bytes))
}

/// Adds the probe (see `src/bin/probe`) as `/probe`.
pub fn with_probe(tree: Tree) -> Tree {
    tree.file("probe", std::fs::read(crate::binaries::probe()).expect("the probe is readable"), 0o755)
}

/// Adds the host's perl with the libraries it is linked to: a program that can make any system call.
///
/// # Errors
/// When the host has none.
pub fn with_perl(tree: Tree) -> Result<Tree, String> {
    let perl = crate::needs::tool("perl")?;
    let linked = std::process::Command::new("ldd").arg(&perl).output().map_err(|e| format!("ldd: {e}"))?;
    let linked = String::from_utf8_lossy(&linked.stdout).into_owned();
    let libraries = linked.split_whitespace().filter(|it| it.starts_with('/'));
    let mut tree = tree;
    for path in libraries.chain([perl.to_str().ok_or("perl is at a strange path")?]) {
        let bytes = std::fs::read(path).map_err(|e| format!("{path}: {e}"))?;
        tree = tree.file(path.trim_start_matches('/'), bytes, 0o755);
    }
    Ok(tree)
}

const APPLETS: &str = "sh ash cat ls id env pwd echo printf sleep true false kill ps mount umount mknod mkdir rmdir rm \
    mv cp ln chmod chown touch head tail wc grep sed awk tr cut sort uniq seq dd stat readlink realpath test expr find \
    xargs hostname uname nc tee unshare nsenter chroot setpriv mkfifo sync df free top date basename dirname ulimit";
