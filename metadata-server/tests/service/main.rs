//! The service as its two sides see it: monitors register over the real socket, apps ask over real connections.

mod answers;
mod harness;
mod hostile;
mod identity;
mod load;
mod registration;
mod signatures;
