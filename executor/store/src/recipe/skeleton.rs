//! An archive as its recipe alone gives it: all of it, with zeros where contents of files are.

use std::fs::File;
use std::io::{self, BufRead, Read};

use super::steps::{Step, Steps};
use super::{PIECE, RecipeError};

use crate::buffered;

/// Reads an archive whose files are full of zeros: what headers say of them, and nothing of the tree.
pub(crate) struct Skeleton<'a> {
    steps: Steps<'a>,
    piece: Vec<u8>,
    start: usize,
    zeros_left: u64,
    ended: bool,
    fault: Option<RecipeError>,
}

impl std::fmt::Debug for Skeleton<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Skeleton").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl<'a> Skeleton<'a> {
    /// The archive of this recipe, which is read from its beginning.
    pub(crate) fn open(recipe: &'a mut File) -> Result<Self, RecipeError> {
        let steps = Steps::open(recipe)?;
        Ok(Self { steps, piece: Vec::with_capacity(PIECE), start: 0, zeros_left: 0, ended: false, fault: None })
    }

    /// The error behind a failed read.
    pub(crate) fn take_fault(&mut self) -> Option<RecipeError> {
        self.fault.take()
    }

    /// Makes the next piece; empty at the end.
    fn advance(&mut self) -> Result<(), RecipeError> {
        self.start = 0;
        self.piece.clear();
        while self.piece.is_empty() && !self.ended {
            if self.zeros_left > 0 {
                let length = usize::try_from(self.zeros_left).unwrap_or(usize::MAX).min(PIECE);
                self.piece.resize(length, 0);
                self.zeros_left -= length as u64;
                continue;
            }
            match self.steps.next()? {
                Step::Literal(length) => {
                    self.piece.resize(length, 0);
                    self.steps.read(&mut self.piece)?;
                }
                Step::File { length, .. } => self.zeros_left = length,
                Step::Replaced { length, .. } => self.steps.skip(length)?,
                Step::End(_) => self.ended = true,
            }
        }
        Ok(())
    }
}

impl BufRead for Skeleton<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.piece.len()
            && let Err(fault) = self.advance()
        {
            self.fault = Some(fault);
            return Err(io::Error::other("the recipe is damaged"));
        }
        Ok(&self.piece[self.start..])
    }

    fn consume(&mut self, amount: usize) {
        self.start = (self.start + amount).min(self.piece.len());
    }
}

impl Read for Skeleton<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        buffered::read(self, into)
    }
}
