//! Makes the archive of a recipe and a tree.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek as _, SeekFrom, Write};
use std::os::fd::BorrowedFd;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::{END, FILE, LITERAL, LONGEST_PATH, PIECE, REPLACED, VERSION};
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
    recipe.rewind().map_err(|error| damaged(&error))?;
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
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let file = loop {
        match openat2(root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => break other.map_err(|errno| problem(OsError::from(errno).to_string()))?,
        }
    };
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

enum Step {
    Literal(usize),
    File { path: Vec<u8>, offset: u64, length: u64 },
    Replaced { path: Vec<u8>, length: u64 },
    End(u64),
}

/// Reads the steps of a recipe, one after the other.
struct Steps<'a> {
    input: BufReader<zstd::stream::read::Decoder<'static, BufReader<&'a mut File>>>,
    /// How many steps were read.
    number: u64,
}

impl<'a> Steps<'a> {
    fn open(recipe: &'a mut File) -> Result<Self> {
        let decoder = zstd::stream::read::Decoder::new(recipe).map_err(|error| damaged(&error))?;
        let mut steps = Self { input: BufReader::with_capacity(PIECE, decoder), number: 0 };
        match steps.byte()? {
            VERSION => Ok(steps),
            other => Err(RecipeError::Damaged(format!("its version {other} is unknown"))),
        }
    }

    fn next(&mut self) -> Result<Step> {
        self.number += 1;
        match self.byte()? {
            LITERAL => match usize::try_from(self.read_number()?) {
                Ok(length) if length <= PIECE => Ok(Step::Literal(length)),
                _ => Err(RecipeError::Damaged("a piece is too long".to_owned())),
            },
            FILE => Ok(Step::File { path: self.path()?, offset: self.read_number()?, length: self.read_number()? }),
            REPLACED => Ok(Step::Replaced { path: self.path()?, length: self.read_number()? }),
            END => {
                let length = self.read_number()?;
                // The checksum comes with the end of the frame.
                match self.input.fill_buf().map(<[u8]>::is_empty) {
                    Ok(true) => Ok(Step::End(length)),
                    Ok(false) => Err(RecipeError::Damaged("something follows its end".to_owned())),
                    Err(error) => Err(damaged(&error)),
                }
            }
            other => Err(RecipeError::Damaged(format!("its step {other:#04x} is unknown"))),
        }
    }

    fn path(&mut self) -> Result<Vec<u8>> {
        let length = usize::try_from(self.read_number()?).unwrap_or(usize::MAX);
        if length == 0 || length > LONGEST_PATH {
            return Err(RecipeError::Damaged("a path is too long".to_owned()));
        }
        let mut path = vec![0; length];
        self.read(&mut path)?;
        Ok(path)
    }

    fn read_number(&mut self) -> Result<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(RecipeError::Damaged("a number is too long".to_owned()))
    }

    fn byte(&mut self) -> Result<u8> {
        let mut byte = [0];
        self.read(&mut byte)?;
        Ok(byte[0])
    }

    fn read(&mut self, into: &mut [u8]) -> Result<()> {
        self.input.read_exact(into).map_err(|error| damaged(&error))
    }

    fn skip(&mut self, length: u64) -> Result<()> {
        let skipped =
            io::copy(&mut (&mut self.input).take(length), &mut io::sink()).map_err(|error| damaged(&error))?;
        if skipped == length { Ok(()) } else { Err(RecipeError::Damaged("it is cut off".to_owned())) }
    }
}

fn damaged(error: &io::Error) -> RecipeError {
    RecipeError::Damaged(match error.kind() {
        ErrorKind::UnexpectedEof => "it is cut off".to_owned(),
        _ => error.to_string(),
    })
}
