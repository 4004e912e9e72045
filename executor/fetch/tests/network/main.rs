//! The HTTP client and the registry client against servers that answer what a test tells them to.

mod bounds;
mod cuts;
mod image;
mod logins;
mod pulls;
mod pushes;
mod redirects;
mod retries;
mod server;
