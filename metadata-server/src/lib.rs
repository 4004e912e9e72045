//! The metadata service: tells the apps of a user's pods who they are (appc ace.md, App Container Metadata Service).
//!
//! The monitor of a pod registers it over the service's Unix socket and hands over the socket that the apps connect to
//! ([`metadata_api::link`]). Which pod a request is from is therefore known from the socket it came in on, and the
//! token in its path is looked at besides; nothing else that a request says counts. A registration lasts as long as the
//! monitor's connection, and nothing about pods is written down: a service that is killed is started again, and
//! registered with again. Only the key that pods sign with is on disk ([`secrets`]).
//!
//! The service never opens an image or a pod directory, starts no process, and logs no token.

mod activity;
mod allowance;
mod documents;
mod door;
mod http;
pub mod identity;
mod images;
mod monitor;
mod pod;
mod registry;
pub mod secrets;
mod service;
mod signer;
mod stream;
mod workers;

pub use service::{Options, ServeError, Server};
