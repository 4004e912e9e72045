//! The side that apps talk to: HTTP/1.1 on the pods' own sockets.
//!
//! hyper parses and writes. What it leaves to others is here: time limits and strict line ends ([`guard`],
//! [`framing`]), which requests a browser or a proxy was talked into ([`policy`]), how many may ask at once
//! ([`visitors`]).

pub(crate) mod answer;
pub(crate) mod connection;
pub(crate) mod form;
pub(crate) mod framing;
pub(crate) mod guard;
pub(crate) mod listener;
pub(crate) mod policy;
pub(crate) mod request;
pub(crate) mod visitors;
pub(crate) mod watch;
