//! The one HTTP client: discovery, keys, registries and uploads all go through it.
//!
//! It is built when the first request is sent, and so are its event loop and its set of trusted certificates: a command
//! that needs no network pays nothing. The event loop runs on the caller's thread and starts no other, so that the
//! process can still fork extractors.
//!
//! Rules that hold for every request:
//!
//! - `http` only where [`Settings::plain_http`] permits it, and never after `https`: a redirect cannot downgrade.
//! - At most ten redirects. Credentials go to the origin (scheme, host, port) they were given for and nowhere else, and do
//!   not come back when a later redirect leads there again.
//! - A public server cannot send proa to an address of this machine or of the local network ([`Reach`]).
//! - Bodies are handed over as they came: nothing is decompressed. There are no cookies, and `.netrc` is not read.
//! - Connecting, waiting for an answer and reading are bounded in time, and a body that trickles is given up.
//! - Requests that may be repeated are, with growing pauses, after a cut connection and after 429 and 5xx answers.
//! - HTTP/1.1 only: its framing has fewer ways to exhaust a client, and one connection for each
//!   layer is faster than one for all.

mod body;
mod client;
mod error;
mod reach;
mod redirect;
mod request;
mod resolver;
mod response;
mod retry;
mod settings;
mod shown_url;
mod tls;

pub use self::client::Client;
pub use self::error::HttpError;
pub use self::reach::Reach;
pub use self::request::{Authorization, Body, Request, Sent};
pub use self::response::Response;
pub use self::settings::Settings;
pub use self::shown_url::ShownUrl;

pub use reqwest::header;
pub use reqwest::{Method, StatusCode, Url};
