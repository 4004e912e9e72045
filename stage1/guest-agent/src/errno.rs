//! The texts of system errors as the original prints them: the C library's, beginning in lower case.

use rustix::io::Errno;

/// For instance `no such file or directory`.
pub(crate) fn text(errno: Errno) -> String {
    let full = std::io::Error::from(errno).to_string();
    let text = full.rsplit_once(" (os error").map_or(full.as_str(), |(text, _)| text);
    let mut letters = text.chars();
    match (letters.next(), letters.clone().next()) {
        // `RFS specific error` keeps its capitals.
        (Some(first), Some(second)) if !second.is_uppercase() => first.to_lowercase().chain(letters).collect(),
        _ => text.to_owned(),
    }
}

/// The same for an error of the standard library.
pub(crate) fn of(error: &std::io::Error) -> String {
    Errno::from_io_error(error).map_or_else(|| error.to_string(), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_begin_in_lower_case() {
        assert_eq!(text(Errno::NOENT), "no such file or directory");
        assert_eq!(text(Errno::ACCESS), "permission denied");
        assert_eq!(text(Errno::NOEXEC), "exec format error");
        assert_eq!(text(Errno::SRMNT), "srmount error");
    }
}
