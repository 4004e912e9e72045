//! The HTTP client against servers that answer what a test tells them to.

mod bounds;
mod redirects;
mod retries;
mod server;
