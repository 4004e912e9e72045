//! Makes the archive of a recipe and a tree.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek as _, SeekFrom, Write};
use std::os::fd::BorrowedFd;

use rustix::fs::{FileType, OFlags, fstat};
use serde::{Deserialize, Serialize};

use super::PIECE;
use super::steps::{Step, Steps};
use crate::beneath::open_beneath;
use crate::os_error::OsError;
use crate::shown::Shown;

/// Why there is no archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// The recipe itself is damaged.
    #[error("the recipe is damaged: {0}")]
    Damaged(String),
    /// A file of the tree is not what it was.
    #[error("file {path}: {problem}")]
    File {
        /// Its path in the tree.
        path: Shown,
        /// What is wrong with it.
        problem: String,
    },
    /// The archive could not be written.
    #[error("write the archive: {0}")]
    Write(OsError),
    /// No place for content that was replaced in the tree.
    #[error("write a temporary file: {0}")]
    Scratch(OsError),
}

type Result<T> = std::result::Result<T, RecipeError>;

/// Writes the archive that `recipe` and the tree below `root` are together to `out`. Returns its size.
///
/// What it writes is not checked: whoever reads it hashes it. `scratch` makes an empty temporary file; it is asked for one
/// only if the archive holds members that were replaced by later ones. Uses 64 KiB, and little more for each of those.
///
/// # Errors
/// [`RecipeError`]; then `out` has a part of the archive.
pub fn rebuild(
    mut recipe: File,
    root: BorrowedFd<'_>,
    out: &mut dyn Write,
    scratch: &mut dyn FnMut() -> io::Result<File>,
) -> Result<u64> {
    let replaced = Replaced::collect(&mut recipe, scratch)?;
    let mut steps = Steps::open(&mut recipe)?;
    let mut buffer = vec![0; PIECE];
    let mut total = 0_u64;
    loop {
        let number = steps.number;
        match steps.next()? {
            Step::Literal(length) => {
                let piece = &mut buffer[..length];
                steps.read(piece)?;
                out.write_all(piece).map_err(|error| RecipeError::Write(error.into()))?;
                total += length as u64;
            }
            Step::File { path, offset, length } => {
                let (mut file, offset) = match replaced.content(number, &path) {
                    Some(at) => (replaced.file()?, at.saturating_add(offset)),
                    None => (open(root, &path)?, offset),
                };
                copy(&mut file, &path, offset, length, out, &mut buffer)?;
                total = total.saturating_add(length);
            }
            Step::Replaced { length, .. } => steps.skip(length)?,
            Step::End(length) if length == total => return Ok(total),
            Step::End(_) => return Err(RecipeError::Damaged("its length is wrong".to_owned())),
        }
    }
}

/// Opens a file of the tree.
fn open(root: BorrowedFd<'_>, path: &[u8]) -> Result<File> {
    let problem = |problem: String| RecipeError::File { path: Shown::new(path), problem };
    let file = open_beneath(root, path, OFlags::RDONLY | OFlags::NONBLOCK);
    let file = file.map_err(|errno| problem(OsError::from(errno).to_string()))?;
    let stat = fstat(&file).map_err(|errno| problem(OsError::from(errno).to_string()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(problem("it is no regular file any more".to_owned()));
    }
    Ok(File::from(file))
}

fn copy(file: &mut File, path: &[u8], offset: u64, length: u64, out: &mut dyn Write, buffer: &mut [u8]) -> Result<()> {
    let problem = |problem: String| RecipeError::File { path: Shown::new(path), problem };
    file.seek(SeekFrom::Start(offset)).map_err(|error| problem(error.to_string()))?;
    let mut left = length;
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        match file.read(&mut buffer[..most]) {
            Ok(0) => return Err(problem(format!("it is {left} bytes shorter than it was"))),
            Ok(read) => {
                out.write_all(&buffer[..read]).map_err(|error| RecipeError::Write(error.into()))?;
                left -= read as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(problem(OsError::from(error).to_string())),
        }
    }
    Ok(())
}

/// Contents that later members of the archive replaced, in a temporary file.
struct Replaced {
    /// By path: the number of the step that has the content, and where it begins in the file.
    contents: BTreeMap<Vec<u8>, Vec<(u64, u64)>>,
    file: Option<File>,
}

impl Replaced {
    fn collect(recipe: &mut File, scratch: &mut dyn FnMut() -> io::Result<File>) -> Result<Self> {
        let mut replaced = Self { contents: BTreeMap::new(), file: None };
        let mut steps = Steps::open(recipe)?;
        let mut end = 0_u64;
        loop {
            let number = steps.number;
            match steps.next()? {
                Step::Literal(length) => steps.skip(length as u64)?,
                Step::File { .. } => {}
                Step::End(_) => return Ok(replaced),
                Step::Replaced { path, length } => {
                    let failed = |error: io::Error| RecipeError::Scratch(error.into());
                    let file = match &mut replaced.file {
                        Some(file) => file,
                        none => none.insert(scratch().map_err(failed)?),
                    };
                    let mut buffer = vec![0; PIECE];
                    let mut left = length;
                    while left > 0 {
                        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                        steps.read(&mut buffer[..most])?;
                        file.write_all(&buffer[..most]).map_err(failed)?;
                        left -= most as u64;
                    }
                    replaced.contents.entry(path).or_default().push((number, end));
                    end = end.saturating_add(length);
                }
            }
        }
    }

    /// Where the content begins that the file of this path had at step `number`, if it was replaced later.
    fn content(&self, number: u64, path: &[u8]) -> Option<u64> {
        let contents = self.contents.get(path)?;
        contents.iter().find(|(at, _)| *at > number).map(|(_, begin)| *begin)
    }

    fn file(&self) -> Result<File> {
        let file = self.file.as_ref().expect("there are contents, so there is a file for them");
        file.try_clone().map_err(|error| RecipeError::Scratch(error.into()))
    }
}
