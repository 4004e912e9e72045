//! Whether and when a request is tried again.

use std::time::Duration;

use reqwest::{Method, StatusCode};

use super::settings::Settings;

/// Answers that another try may change: too many requests, and a server or a gateway in trouble. (500 is what registries
/// answer when their storage fails for a moment.)
pub(super) fn may_pass(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 500 | 502 | 503 | 504)
}

/// Whether a request may be sent again although the first one may have had its effect (RFC 9110, 9.2.2).
pub(super) fn is_repeatable(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::PUT | Method::DELETE)
}

/// The pause before try number `next` (the first try is 1), or `None` to give up. `asked` is the server's `Retry-After`.
pub(super) fn pause(settings: &Settings, next: u32, asked: Option<Duration>) -> Option<Duration> {
    if next > settings.tries {
        return None;
    }
    match asked {
        Some(asked) if asked > settings.longest_pause => None,
        Some(asked) => Some(asked),
        None => Some(settings.first_pause.saturating_mul(4_u32.saturating_pow(next.saturating_sub(2)))),
    }
}

/// The value of `Retry-After` in seconds; dates are not looked at, as they would trust the server's clock.
pub(super) fn retry_after(value: Option<&str>) -> Option<Duration> {
    value?.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let settings = Settings { first_pause: Duration::from_millis(10), tries: 4, ..Settings::default() };
        let pauses: Vec<_> = (2..=5).map(|next| pause(&settings, next, None)).collect();
        assert_eq!(pauses, [Some(10), Some(40), Some(160), None].map(|ms| ms.map(Duration::from_millis)));
    }

    #[test]
    fn a_server_may_ask_for_a_bounded_pause() {
        let settings = Settings::default();
        let asked = |value| pause(&settings, 2, retry_after(Some(value)));
        assert_eq!(asked("3"), Some(Duration::from_secs(3)));
        assert_eq!(asked("1000000000"), None);
        assert_eq!(asked("99999999999999999999999"), Some(settings.first_pause));
        assert_eq!(asked("Fri, 31 Dec 9999 23:59:59 GMT"), Some(settings.first_pause));
    }

    #[test]
    fn what_may_have_happened_already_is_not_repeated() {
        assert!(is_repeatable(&Method::GET) && is_repeatable(&Method::PUT));
        assert!(!is_repeatable(&Method::POST) && !is_repeatable(&Method::PATCH));
    }
}
