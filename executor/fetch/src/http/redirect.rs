//! Where a redirect may lead, and what goes along.

use reqwest::header::{ACCEPT, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, RANGE};
use reqwest::{Method, StatusCode, Url};

use super::error::HttpError;
use super::shown_url::ShownUrl;

/// The most redirects that are followed. Go's and rkt's number.
pub(super) const MOST: usize = 10;

/// Headers that say what is asked for, not who asks: all that another origin gets.
pub(super) const HARMLESS: [HeaderName; 5] = [ACCEPT, RANGE, IF_RANGE, IF_NONE_MATCH, IF_MODIFIED_SINCE];

/// Whether `status` is a redirect that is followed for `method`. Only questions are: an upload that is sent elsewhere
/// would take its content to a server nobody chose.
pub(super) fn is_followed(method: &Method, status: StatusCode) -> bool {
    matches!(*method, Method::GET | Method::HEAD) && matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// The URL that `location` leads to from `from`.
///
/// # Errors
/// [`HttpError::Redirect`] if it is none, [`HttpError::Downgrade`] from `https` to anything else, [`HttpError::Scheme`]
/// for what is no HTTP.
pub(super) fn target(from: &Url, location: Option<&str>) -> Result<Url, HttpError> {
    let refused = |reason| HttpError::Redirect { url: ShownUrl::new(from), reason };
    let location = location.ok_or_else(|| refused("it names no place"))?;
    let mut to = from.join(location).map_err(|_| refused("its place is no URL"))?;
    if from.scheme() == "https" && to.scheme() != "https" {
        return Err(HttpError::Downgrade { from: ShownUrl::new(from), to: ShownUrl::new(&to) });
    }
    if !matches!(to.scheme(), "http" | "https") {
        return Err(HttpError::Scheme { url: ShownUrl::new(&to), scheme: to.scheme().to_owned() });
    }
    // A name and password in a redirect would be sent as credentials.
    if !to.username().is_empty() || to.password().is_some() {
        return Err(refused("its place holds a user name or password"));
    }
    to.set_fragment(None);
    Ok(to)
}

/// Whether both are the same origin: scheme, host and port.
pub(super) fn same_origin(a: &Url, b: &Url) -> bool {
    a.origin() == b.origin()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(from: &str, location: &str) -> Result<String, HttpError> {
        target(&Url::parse(from).unwrap(), Some(location)).map(String::from)
    }

    #[test]
    fn places_are_relative_to_where_they_come_from() {
        assert_eq!(follow("https://a/b/c?d", "e#f").unwrap(), "https://a/b/e");
        assert_eq!(follow("https://a/b", "//c/d").unwrap(), "https://c/d");
        assert_eq!(follow("http://a/b", "https://a/b").unwrap(), "https://a/b");
    }

    #[test]
    fn bad_places_are_refused() {
        for (from, location) in
            [("https://a", "http://a"), ("https://a", "file:///etc/passwd"), ("https://a", "data:,x")]
        {
            assert!(matches!(follow(from, location), Err(HttpError::Downgrade { .. })), "{location}");
        }
        assert!(matches!(follow("http://a", "file:///etc/passwd"), Err(HttpError::Scheme { .. })));
        assert!(matches!(follow("http://a", "http://u:p@a"), Err(HttpError::Redirect { .. })));
        assert!(matches!(follow("http://a", "http://["), Err(HttpError::Redirect { .. })));
        assert!(matches!(target(&Url::parse("http://a").unwrap(), None), Err(HttpError::Redirect { .. })));
    }

    #[test]
    fn origins_are_scheme_host_and_port() {
        let same = |a: &str, b: &str| same_origin(&Url::parse(a).unwrap(), &Url::parse(b).unwrap());
        assert!(same("https://a/x", "https://A:443/y?z"));
        assert!(!same("https://a", "https://a:8443"));
        assert!(!same("https://a", "http://a"));
        assert!(!same("https://a", "https://sub.a"));
    }
}
