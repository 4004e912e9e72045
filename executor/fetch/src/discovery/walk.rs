//! Asking for the pages of a name and of its parents.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use appc::AcIdentifier;
use reqwest::{StatusCode, Url};
use tracing::debug;

use super::page::{MAX_PAGE, Page};
use super::{Attempt, AttemptError, Discovery, DiscoveryError, Found};
use crate::http::{HttpError, Request};

/// The pages that were asked for, by the name that they were asked for with.
#[derive(Debug, Default)]
pub(super) struct Pages(RefCell<HashMap<String, Rc<Result<Page, Miss>>>>);

/// How often a page is asked for.
const TRIES: u32 = 2;

/// No page.
#[derive(Debug)]
struct Miss {
    error: AttemptError,
    /// Whether the parents are on the same host and will not be there either.
    is_of_host: bool,
}

impl Discovery<'_> {
    /// Looks at the pages of `name` and its parents until `choose` finds something on one.
    pub(super) fn walk<T>(
        &self,
        name: &AcIdentifier,
        choose: impl Fn(&Page) -> Vec<T>,
    ) -> Result<Found<T>, DiscoveryError> {
        let mut attempts = Vec::new();
        for prefix in ancestors(name.as_str()) {
            let mut failed = |error: AttemptError| {
                debug!(prefix, %error, "no discovery here");
                attempts.push(Attempt { prefix: prefix.to_owned(), error });
            };
            match self.page(prefix).as_ref() {
                Ok(page) => match choose(page) {
                    found if found.is_empty() => failed(AttemptError::NoTags),
                    found => return Ok(Found { found, attempts }),
                },
                Err(miss) => {
                    failed(miss.error.clone());
                    if miss.is_of_host {
                        break;
                    }
                }
            }
        }
        Err(DiscoveryError { attempts })
    }

    fn page(&self, prefix: &str) -> Rc<Result<Page, Miss>> {
        if let Some(page) = self.pages.0.borrow().get(prefix) {
            return Rc::clone(page);
        }
        let page = Rc::new(self.ask(prefix));
        self.pages.0.borrow_mut().insert(prefix.to_owned(), Rc::clone(&page));
        page
    }

    /// Asks over HTTPS, and where plain HTTP is permitted and HTTPS does not help, over HTTP.
    fn ask(&self, prefix: &str) -> Result<Page, Miss> {
        let first = self.ask_over("https", prefix);
        match first {
            Err(miss) if self.client.settings().plain_http => self.ask_over("http", prefix).map_err(|second| {
                let is_of_host = miss.is_of_host && second.is_of_host;
                // Of a server that answers over HTTPS alone, that answer is what counts.
                let answered = |miss: &Miss| matches!(miss.error, AttemptError::Status(_));
                let told = if answered(&miss) && !answered(&second) { miss } else { second };
                Miss { is_of_host, ..told }
            }),
            outcome => outcome,
        }
    }

    fn ask_over(&self, scheme: &str, prefix: &str) -> Result<Page, Miss> {
        let miss = |error: &HttpError| Miss { error: AttemptError::of_http(error), is_of_host: is_of_host(error) };
        let unusable = || Miss { error: AttemptError::Http(format!("{prefix:?} is no host")), is_of_host: true };
        let (host, path) = prefix.split_once('/').unwrap_or((prefix, ""));
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        let slash = if path.is_empty() { "" } else { "/" };
        let url = format!("{scheme}://{host}{port}{slash}{path}?ac-discovery=1");
        let url = Url::parse(&url).map_err(|_| unusable())?;
        // A page is small and there are others: what fails is tried once more, not as often as a download.
        let request = self.credentials.authorize(Request::get(url)).at_most(TRIES);
        let asked: Result<_, HttpError> = self.client.block_on(async {
            let answer = self.client.send(&request).await?;
            if answer.status() != StatusCode::OK {
                return Ok(Err(answer.status()));
            }
            let reach = answer.reach();
            Ok(Ok((answer.document(MAX_PAGE).await?, reach)))
        });
        match asked {
            Ok(Ok((html, reach))) => Ok(Page::parse(&html, reach)),
            Ok(Err(status)) => {
                Err(Miss { error: AttemptError::Status(status.as_u16()), is_of_host: status.is_server_error() })
            }
            Err(error) => Err(miss(&error)),
        }
    }
}

/// Whether an error is the host's, so that it will be the same for every page of it. What a single page does (a redirect
/// astray, too large) is not.
fn is_of_host(error: &HttpError) -> bool {
    !matches!(
        error,
        HttpError::Downgrade { .. }
            | HttpError::Redirect { .. }
            | HttpError::TooManyRedirects(_)
            | HttpError::Internal { .. }
            | HttpError::TooLarge { .. }
            | HttpError::Status { .. }
            | HttpError::Cut { .. }
    )
}

/// A name and all its parents: `a/b/c`, `a/b`, `a`.
fn ancestors(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| name.rsplit_once('/').map(|(parent, _)| parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_down_to_the_host() {
        assert_eq!(
            ancestors("example.com/a/b").collect::<Vec<_>>(),
            ["example.com/a/b", "example.com/a", "example.com"]
        );
        assert_eq!(ancestors("example.com").collect::<Vec<_>>(), ["example.com"]);
    }
}
