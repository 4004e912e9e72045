//! Reading from what is buffered already.

use std::io::{self, BufRead};

/// `read` of a reader that has its own buffer.
pub(crate) fn read(reader: &mut impl BufRead, into: &mut [u8]) -> io::Result<usize> {
    let available = reader.fill_buf()?;
    let length = available.len().min(into.len());
    into[..length].copy_from_slice(&available[..length]);
    reader.consume(length);
    Ok(length)
}
