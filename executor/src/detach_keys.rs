//! The keys that let go of a container's terminal without ending it: chosen once for a command, on its line.

use std::sync::OnceLock;

use crate::error::CommandError;

/// Ctrl-P Ctrl-Q, as docker has it.
const USUAL: [u8; 2] = [0x10, 0x11];

/// Nobody types more.
const MOST: usize = 16;

static CHOSEN: OnceLock<Vec<u8>> = OnceLock::new();

/// Has others let go; an empty text the usual ones.
///
/// # Errors
///
/// They are no keys.
pub(crate) fn choose(text: &str) -> Result<(), CommandError> {
    if !text.is_empty() {
        // A command line says it once.
        let _ = CHOSEN.set(parse(text)?);
    }
    Ok(())
}

/// As a terminal sends them.
pub(crate) fn chosen() -> Vec<u8> {
    CHOSEN.get().map_or_else(|| USUAL.to_vec(), Clone::clone)
}

/// `a,ctrl-b,…`.
fn parse(text: &str) -> Result<Vec<u8>, CommandError> {
    let refused = |key: &str| {
        CommandError::usage(format!("invalid detach keys ({text}): {key:?} is no key")).hint(
            "keys are single characters, or ctrl- and one of a-z @ [ \\ ] ^ _, with commas between: ctrl-p,ctrl-q",
        )
    };
    let keys = text.split(',').map(|key| match key.strip_prefix("ctrl-").map(str::as_bytes) {
        Some([letter @ (b'a'..=b'z' | b'@' | b'['..=b'_')]) => Ok(letter.to_ascii_uppercase() - b'@'),
        Some(_) => Err(refused(key)),
        None => match key.as_bytes() {
            [byte] if byte.is_ascii() => Ok(*byte),
            _ => Err(refused(key)),
        },
    });
    let keys = keys.collect::<Result<Vec<u8>, _>>()?;
    if keys.len() > MOST {
        return Err(CommandError::usage(format!("invalid detach keys ({text}): more than {MOST}")));
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_characters_or_with_ctrl() {
        for (text, keys) in [("ctrl-p,ctrl-q", &[0x10, 0x11][..]), ("a", b"a"), ("ctrl-@,x,ctrl-_", &[0, b'x', 0x1f])] {
            assert_eq!(parse(text).unwrap(), keys, "{text}");
        }
        for wrong in ["ctrl-", "ctrl-A", "ctrl-ab", "ab", "a,", "é", &["a"; 17].join(",")] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(chosen(), USUAL);
    }
}
