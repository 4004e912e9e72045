//! The processor time that an image's layers cost anybody: inflating, hashing and writing them, each measured by itself.
//!
//! `fetch-floor DIR LAYER…` reads gzip layers and writes their files below the empty directory DIR, in one thread. It
//! prints `inflate hash write`, seconds of processor time.

use std::fs::File;
use std::io::{BufReader, Read, Write as _};
use std::path::Path;

use flate2::bufread::GzDecoder;
use rustix::fs::CWD;
use rustix::time::{ClockId, clock_gettime};
use sha2::{Digest as _, Sha256};
use tar::{Archive, EntryType};

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let dir = arguments.next().expect("fetch-floor DIR LAYER…");
    let (mut inflate, mut hash, mut write) = (0.0, 0.0, 0.0);
    for layer in arguments {
        let mut packed = Vec::new();
        File::open(layer)?.read_to_end(&mut packed)?;
        let mut plain = Vec::with_capacity(packed.len() * 3);
        inflate += timed(|| GzDecoder::new(BufReader::new(&*packed)).read_to_end(&mut plain).map(drop))?;
        hash += timed(|| {
            let digests = [Sha256::digest(&packed), Sha256::digest(&plain)];
            assert!(digests[0] != digests[1]);
            Ok(())
        })?;
        write += timed(|| unpack(&plain, Path::new(&dir)))?;
    }
    println!("{inflate:.3} {hash:.3} {write:.3}");
    Ok(())
}

fn timed(work: impl FnOnce() -> std::io::Result<()>) -> std::io::Result<f64> {
    let now = || {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    let begin = now();
    work()?;
    Ok(now() - begin)
}

/// Names and contents; nobody can do it with fewer calls.
fn unpack(plain: &[u8], dir: &Path) -> std::io::Result<()> {
    for entry in Archive::new(plain).entries()? {
        let mut entry = entry?;
        let path = dir.join(entry.path()?);
        match entry.header().entry_type() {
            EntryType::Directory => std::fs::create_dir_all(&path)?,
            EntryType::Symlink => {
                let target = entry.link_name()?.unwrap_or_default().into_owned();
                let _ = rustix::fs::symlinkat(&target, CWD, &path);
            }
            EntryType::Regular => {
                let start = usize::try_from(entry.raw_file_position()).expect("it is in memory");
                let size = usize::try_from(entry.size()).expect("it is in memory");
                let mut file = match File::create(&path) {
                    // An archive need not name its directories.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                        std::fs::create_dir_all(path.parent().unwrap_or(dir))?;
                        File::create(&path)?
                    }
                    made => made?,
                };
                // The archive is in memory: no copy on the way.
                file.write_all(&plain[start..start + size])?;
                let _ = entry.read(&mut [])?;
            }
            _ => {}
        }
    }
    Ok(())
}
