//! Reads a recipe step by step, believing nothing.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek as _};

use super::{END, FILE, LITERAL, LONGEST_PATH, PIECE, REPLACED, RecipeError, VERSION};

type Result<T> = std::result::Result<T, RecipeError>;

/// A step of a recipe.
pub(super) enum Step {
    Literal(usize),
    File { path: Vec<u8>, offset: u64, length: u64 },
    Replaced { path: Vec<u8>, length: u64 },
    End(u64),
}

/// Reads the steps of a recipe, one after the other.
pub(super) struct Steps<'a> {
    input: BufReader<zstd::stream::read::Decoder<'static, BufReader<&'a mut File>>>,
    /// How many steps were read.
    pub(super) number: u64,
}

impl<'a> Steps<'a> {
    pub(super) fn open(recipe: &'a mut File) -> Result<Self> {
        recipe.rewind().map_err(|error| damaged(&error))?;
        let decoder = zstd::stream::read::Decoder::new(recipe).map_err(|error| damaged(&error))?;
        let mut steps = Self { input: BufReader::with_capacity(PIECE, decoder), number: 0 };
        match steps.byte()? {
            VERSION => Ok(steps),
            other => Err(RecipeError::Damaged(format!("its version {other} is unknown"))),
        }
    }

    pub(super) fn next(&mut self) -> Result<Step> {
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

    pub(super) fn read(&mut self, into: &mut [u8]) -> Result<()> {
        self.input.read_exact(into).map_err(|error| damaged(&error))
    }

    pub(super) fn skip(&mut self, length: u64) -> Result<()> {
        let skipped =
            io::copy(&mut (&mut self.input).take(length), &mut io::sink()).map_err(|error| damaged(&error))?;
        if skipped == length { Ok(()) } else { Err(RecipeError::Damaged("it is cut off".to_owned())) }
    }
}

/// What a failed read says of the recipe.
pub(super) fn damaged(error: &io::Error) -> RecipeError {
    RecipeError::Damaged(match error.kind() {
        ErrorKind::UnexpectedEof => "it is cut off".to_owned(),
        _ => error.to_string(),
    })
}
