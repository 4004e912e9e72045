//! Signing requests for objects of S3 and what speaks like it (AWS signature version 4).

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use reqwest::Url;
use reqwest::header::HeaderName;
use sha2::{Digest as _, Sha256};

use crate::http::{Authorization, Request};
use crate::registry::Secret;

/// The region of a key that names none, as in rkt.
const DEFAULT_REGION: &str = "us-east-1";

const SERVICE: &str = "s3";

/// A key to sign requests with.
#[derive(Clone, Debug)]
pub struct AwsKey {
    /// The ID of the access key.
    pub id: String,
    /// The access key itself.
    pub secret: Secret,
    /// The region of the service; empty for `us-east-1`.
    pub region: String,
}

impl AwsKey {
    /// Signs a request without a body. The signature holds for a few minutes, at this URL.
    pub(super) fn sign(&self, request: Request, now: Timestamp) -> Request {
        let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let payload = hex::encode(Sha256::digest(b""));
        let value = self.authorization(request.method().as_str(), request.url(), &time, &payload);
        request
            .header(HeaderName::from_static("x-amz-date"), &time)
            .header(HeaderName::from_static("x-amz-content-sha256"), &payload)
            .authorization(Authorization::raw(&value))
    }

    fn authorization(&self, method: &str, url: &Url, time: &str, payload: &str) -> String {
        let region = if self.region.is_empty() { DEFAULT_REGION } else { &self.region };
        let day = &time[..8];
        let host = match url.port() {
            Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
            None => url.host_str().unwrap_or_default().to_owned(),
        };
        let path = encode(&decode(url.path()), true);
        let mut query: Vec<(String, String)> = url
            .query_pairs()
            .map(|(name, value)| (encode(name.as_bytes(), false), encode(value.as_bytes(), false)))
            .collect();
        query.sort_unstable();
        let query = query.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
        let signed = "host;x-amz-content-sha256;x-amz-date";
        let canonical = format!(
            "{method}\n{path}\n{query}\nhost:{host}\nx-amz-content-sha256:{payload}\nx-amz-date:{time}\n\n{signed}\n{payload}"
        );
        let scope = format!("{day}/{region}/{SERVICE}/aws4_request");
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex::encode(Sha256::digest(canonical)));
        let secret = format!("AWS4{}", self.secret.expose());
        let steps = [day, region, SERVICE, "aws4_request", &text];
        let signature = steps.iter().fold(secret.into_bytes(), |key, step| mac(&key, step.as_bytes()));
        let signature = hex::encode(signature);
        format!("AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed}, Signature={signature}", self.id)
    }
}

fn mac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

/// The bytes of a path with its escapes resolved.
fn decode(path: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escape = (*first == b'%').then(|| after.get(..2)).flatten().and_then(|digits| hex::decode(digits).ok());
        match escape {
            Some(byte) => {
                decoded.extend(byte);
                rest = &after[2..];
            }
            None => {
                decoded.push(*first);
                rest = after;
            }
        }
    }
    decoded
}

/// Everything but unreserved characters (RFC 3986) as an escape in upper case; in a path slashes stay.
fn encode(bytes: &[u8], path: bool) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') || (path && byte == b'/');
        if plain {
            text.push(char::from(byte));
        } else {
            write!(text, "%{byte:02X}").expect("a String never refuses a write");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of AWS's own documentation ("Authenticating Requests: Using the Authorization Header").
    #[test]
    fn published_examples() {
        let key = AwsKey {
            id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
            region: String::new(),
        };
        let empty = hex::encode(Sha256::digest(b""));
        for (query, signature) in [
            ("lifecycle", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
            ("max-keys=2&prefix=J", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
        ] {
            let url = Url::parse(&format!("https://examplebucket.s3.amazonaws.com/?{query}")).unwrap();
            let value = key.authorization("GET", &url, "20130524T000000Z", &empty);
            assert_eq!(
                value,
                format!(
                    "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
                     SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature={signature}"
                )
            );
        }
    }

    #[test]
    fn paths_are_escaped_once() {
        assert_eq!(encode(&decode("/a b/%24+%zz/ü.aci"), true), "/a%20b/%24%2B%25zz/%C3%BC.aci");
    }
}
