//! The secret that makes a request the pod's own.

use std::fmt;
use std::str::FromStr;

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use subtle::ConstantTimeEq as _;

/// Bytes of randomness. The specification asks for 16 at least (appc ace.md, Metadata Server).
const BYTES: usize = 32;

/// Length of the text.
pub(crate) const LENGTH: usize = 2 * BYTES;

/// A text that is no token. It is not repeated: it might be one with a slip in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a token of {LENGTH} hexadecimal digits")]
pub struct TokenError;

/// The token of one pod: 256 random bits, written as lower-case hexadecimal digits.
///
/// It never shows in `Debug`; [`Token::expose`] is the one way to its text.
#[derive(Clone)]
pub struct Token([u8; LENGTH]);

impl Token {
    /// A new token from the kernel's generator.
    ///
    /// # Errors
    /// `ENOSYS` where the kernel has no getrandom(2).
    pub fn generate() -> Result<Self, Errno> {
        let mut random = [0; BYTES];
        // Up to 256 bytes come whole once the machine has booted (getrandom(2)).
        getrandom(&mut random, GetRandomFlags::empty())?;
        let mut text = [0; LENGTH];
        hex::encode_to_slice(random, &mut text).expect("two digits for each byte");
        Ok(Self(text))
    }

    /// The text, to be given to the pod's apps and nobody else.
    #[must_use]
    pub fn expose(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hexadecimal digits")
    }

    /// Whether `candidate` is this token. The time taken depends on the candidate's length only.
    #[must_use]
    pub fn matches(&self, candidate: &[u8]) -> bool {
        self.0.ct_eq(candidate).into()
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let bytes: [u8; LENGTH] = text.as_bytes().try_into().map_err(|_| TokenError)?;
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if bytes.iter().all(is_digit) { Ok(Self(bytes)) } else { Err(TokenError) }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn tokens_are_unique_and_their_bits_even() {
        let count: usize = 20_000;
        let mut seen = HashSet::new();
        let mut ones = 0_u64;
        for _ in 0..count {
            let token = Token::generate().unwrap();
            let bits = hex::decode(token.expose()).unwrap();
            ones += bits.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>();
            assert!(seen.insert(token.expose().to_owned()), "the same token twice");
        }
        // The monobit test: within six standard deviations of the mean.
        let bits = (count * BYTES * 8) as f64;
        assert!((ones as f64 - bits / 2.0).abs() < 3.0 * bits.sqrt(), "{ones} of {bits} bits are set");
    }

    #[test]
    fn only_the_whole_token_matches() {
        let token = Token::generate().unwrap();
        let text = token.expose().to_owned();
        assert!(token.matches(text.as_bytes()));
        for length in 0..LENGTH {
            assert!(!token.matches(&text.as_bytes()[..length]));
            let mut wrong = text.clone().into_bytes();
            wrong[length] ^= 1;
            assert!(!token.matches(&wrong), "a wrong digit at {length}");
        }
        assert!(!token.matches(format!("{text}0").as_bytes()));
        assert!(!token.matches(text.to_uppercase().as_bytes()) || !text.contains(|c: char| c.is_ascii_alphabetic()));
        assert!(text.parse::<Token>().unwrap().matches(text.as_bytes()));
    }

    #[test]
    fn what_is_no_token_is_refused_without_being_repeated() {
        let good = "0123456789abcdef".repeat(4);
        for text in ["", "0", &good[1..], &format!("{good}0"), &good.replace('a', "A"), &good.replace('f', "é")] {
            assert!(text.parse::<Token>().is_err(), "{text}");
        }
        assert_eq!(format!("{:?}", good.parse::<Token>().unwrap()), "Token(…)");
        assert!(!format!("{TokenError:?} {TokenError}").contains("0123"));
    }
}
