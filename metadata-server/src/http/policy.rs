//! Which requests are not looked at: those that are ambiguous, and those that no app would send by itself.
//!
//! A listener belongs to one pod, and nothing a request says about where it comes from counts. A field that only a
//! proxy or a browser adds therefore shows that an app has been made to ask on behalf of somebody else.

use hyper::header::{CONTENT_LENGTH, HOST, HeaderName, ORIGIN, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::{Method, Version};

use super::answer::{self, Refusal};

/// Checks target and fields before the path is looked at. `is_host` decides which `Host` is served.
pub(crate) fn check(head: &Parts, is_host: impl Fn(&[u8]) -> bool) -> Result<(), &'static Refusal> {
    if head.uri.authority().is_some() || head.uri.scheme().is_some() || head.method == Method::CONNECT {
        return Err(&answer::BAD_TARGET);
    }
    let mut hosts = 0;
    for (name, value) in &head.headers {
        if name == HOST {
            hosts += 1;
            if !is_host(value.as_bytes()) {
                return Err(&answer::WRONG_HOST);
            }
        } else if name == CONTENT_LENGTH {
            if is_bodiless(&head.method) && value != "0" {
                return Err(&answer::BODY);
            }
        } else if name == TRANSFER_ENCODING {
            return Err(&answer::TRANSFER_ENCODING);
        } else if is_browsers(name) {
            return Err(&answer::BROWSER);
        } else if is_proxys(name) {
            return Err(&answer::FORWARDED);
        }
    }
    match hosts {
        0 if head.version >= Version::HTTP_11 => Err(&answer::BAD_HOST),
        2.. => Err(&answer::BAD_HOST),
        _ => Ok(()),
    }
}

fn is_bodiless(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

fn is_browsers(name: &HeaderName) -> bool {
    name == ORIGIN || name.as_str() == "sec-fetch-site"
}

fn is_proxys(name: &HeaderName) -> bool {
    let name = name.as_str();
    match name.as_bytes()[0] {
        b'x' => {
            name.starts_with("x-forwarded")
                || ["x-real-ip", "x-original-url", "x-rewrite-url", "x-http-method-override", "x-http-method"]
                    .contains(&name)
                || ["x-method-override", "x-client-ip", "x-cluster-client-ip"].contains(&name)
        }
        b'f' => name == "forwarded" || name == "forwarded-for",
        b'v' => name == "via",
        b't' => name == "true-client-ip",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn check_with(method: &str, target: &str, fields: &[(&str, &str)]) -> Result<(), u16> {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        check(&head, |host| host == b"h:1").map_err(|refusal| refusal.status().as_u16())
    }

    #[test]
    fn what_an_app_sends() {
        let host = ("Host", "h:1");
        for (method, fields) in [
            ("GET", vec![host]),
            ("GET", vec![host, ("Content-Length", "0")]),
            ("POST", vec![host, ("Content-Length", "7"), ("Content-Type", "x")]),
            ("GET", vec![host, ("Metadata-Flavor", "AppContainer"), ("X-Request-Id", "1"), ("Accept", "*/*")]),
            ("TRACE", vec![host]),
        ] {
            assert_eq!(check_with(method, "/x", &fields), Ok(()), "{method} {fields:?}");
        }
    }

    #[test]
    fn what_no_app_sends() {
        let host = ("Host", "h:1");
        for (field, status) in [
            (("Host", "h:1"), 400),
            (("Content-Length", "5"), 400),
            (("Transfer-Encoding", "chunked"), 400),
            (("X-Forwarded-For", "1.2.3.4"), 400),
            (("X-Forwarded-Host", "h:1"), 400),
            (("Forwarded", "for=1.2.3.4"), 400),
            (("X-Real-IP", "1.2.3.4"), 400),
            (("Via", "1.1 proxy"), 400),
            (("X-Original-URL", "/y"), 400),
            (("X-HTTP-Method-Override", "POST"), 400),
            (("Origin", "http://evil.example"), 403),
            (("Sec-Fetch-Site", "cross-site"), 403),
        ] {
            assert_eq!(check_with("GET", "/x", &[host, field]), Err(status), "{field:?}");
        }
        assert_eq!(check_with("GET", "/x", &[("Host", "evil.example")]), Err(421));
        assert_eq!(check_with("GET", "/x", &[]), Err(400));
        assert_eq!(check_with("GET", "http://h:1/x", &[host]), Err(400));
        assert_eq!(check_with("CONNECT", "h:1", &[host]), Err(400));
    }
}
