//! A user to whom one [`Site`] is every host.

use super::{Answer, Site};
use crate::needs::Why;
use crate::{Env, Outcome, Proa, User};

/// An ordinary user, and a site that is every host to him.
#[derive(Debug)]
pub struct Internet {
    /// Every host.
    pub site: Site,
    /// The user's world.
    pub env: Env,
}

impl Internet {
    /// A user with a range of subordinate ids where there is one.
    ///
    /// # Errors
    /// Says what is missing.
    pub fn new() -> Result<Self, Why> {
        let env = Env::of(User::WithRange).or_else(|_| Env::of(User::NoRange))?;
        Ok(Self { site: Site::start(&env)?, env })
    }

    /// A command line that goes to the site, and trusts its authority.
    pub fn with<'e>(&self, line: Proa<'e>) -> Proa<'e> {
        let line = line.var("SSL_CERT_FILE", self.site.authority());
        line.var("HTTPS_PROXY", self.site.proxy()).var("HTTP_PROXY", self.site.proxy())
    }

    /// Runs `proa` with the site for its network.
    pub fn proa(&self, args: &[&str]) -> Outcome {
        self.with(self.env.proa(args)).outcome()
    }

    /// A page with these `<meta>` elements, given by their attributes.
    pub fn page(&self, place: &str, tags: &[&str]) {
        let elements: String = tags.iter().map(|it| format!("<meta {it}>\n")).collect();
        self.site.page(place, Answer::ok(format!("<!doctype html><title>x</title>\n{elements}<p>a page")));
    }
}
