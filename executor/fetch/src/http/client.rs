//! Sends requests: follows redirects, tries again, and says what went wrong.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use reqwest::header::{HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{Url, redirect as reqwest_redirect};
use rustls::ClientConfig;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::body::FileBody;
use super::error::HttpError;
use super::reach::Reach;
use super::redirect;
use super::request::{Body, Request};
use super::resolver::{Bounded, Resolver};
use super::response::Response;
use super::retry;
use super::settings::Settings;
use super::shown_url::ShownUrl;
use super::tls;

/// Sent as `User-Agent`.
const NAME: &str = concat!("proa/", env!("CARGO_PKG_VERSION"));

/// The HTTP client. Making one costs nothing; see the [module](super).
pub struct Client {
    settings: Settings,
    resolver: Arc<Resolver>,
    tls: OnceLock<ClientConfig>,
    /// For each reach the client that goes no further inside.
    by_reach: [OnceLock<reqwest::Client>; Reach::ALL.len()],
    // Last, so that it outlives what runs on it.
    runtime: OnceLock<Runtime>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Client {
    /// A client with these settings.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            resolver: Arc::default(),
            tls: OnceLock::new(),
            by_reach: std::array::from_fn(|_| OnceLock::new()),
            runtime: OnceLock::new(),
        }
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Runs `work` on this thread, with everything else that it has started.
    ///
    /// # Errors
    /// Those of `work`, and [`HttpError::Start`].
    pub fn block_on<T, E: From<HttpError>>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let runtime = match self.runtime.get() {
            Some(runtime) => runtime,
            None => {
                let made = Builder::new_current_thread().enable_io().enable_time().build();
                let made = made.map_err(|error| HttpError::Start(error.to_string()))?;
                self.runtime.get_or_init(|| made)
            }
        };
        runtime.block_on(work)
    }

    /// Sends `request` and returns the body of a successful answer, which may have at most `limit` bytes.
    ///
    /// # Errors
    /// [`HttpError`].
    pub fn document(&self, request: &Request, limit: usize) -> Result<Vec<u8>, HttpError> {
        self.block_on(async { self.send(request).await?.success().await?.document(limit).await })
    }

    /// Sends `request`, follows its redirects, and tries again where that may help. The answer may be one of failure:
    /// [`Response::success`] tells.
    ///
    /// # Errors
    /// [`HttpError`] if there is no answer, or one that leads where it may not.
    pub async fn send(&self, request: &Request) -> Result<Response, HttpError> {
        let mut tries = 1;
        loop {
            let outcome = self.follow(request).await;
            let asked = match &outcome {
                Ok(answer) if retry::may_pass(answer.status()) => retry::retry_after(answer.header(RETRY_AFTER)),
                // The connection was there and broke: a server that restarts, a pooled connection it had closed.
                Err(HttpError::Protocol { .. }) => None,
                _ => return outcome,
            };
            tries += 1;
            if request.tries.is_some_and(|most| tries > most) {
                return outcome;
            }
            let pause = retry::pause(&self.settings, tries, asked).filter(|_| retry::is_repeatable(&request.method));
            let Some(pause) = pause else { return outcome };
            let why = outcome.as_ref().map_or_else(ToString::to_string, |answer| answer.status().to_string());
            debug!(url = %ShownUrl::new(&request.url), why, ?pause, "trying again");
            sleep(pause).await;
        }
    }

    async fn follow(&self, request: &Request) -> Result<Response, HttpError> {
        let mut url = request.url.clone();
        let mut limit = request.reach;
        let mut first = None;
        let mut at_origin = true;
        for _ in 0..=redirect::MOST {
            let inner = self.once(request, &url, limit, at_origin).await?;
            let reach = *first.get_or_insert_with(|| self.reach_of(&url));
            if !redirect::is_followed(&request.method, inner.status()) {
                return Ok(self.response(inner, url, reach));
            }
            let location = inner.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let next = redirect::target(&url, location)?;
            debug!(from = %ShownUrl::new(&url), to = %ShownUrl::new(&next), "redirected");
            // Once somewhere else, always somewhere else: who sends us on could send us back with a path of his choice.
            at_origin &= redirect::same_origin(&request.url, &next);
            limit = limit.min(reach);
            url = next;
        }
        Err(HttpError::TooManyRedirects(ShownUrl::new(&request.url)))
    }

    /// One request and the head of its answer.
    async fn once(
        &self,
        request: &Request,
        url: &Url,
        limit: Reach,
        at_origin: bool,
    ) -> Result<reqwest::Response, HttpError> {
        let shown = || ShownUrl::new(url);
        self.check(url, limit)?;
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            if at_origin || redirect::HARMLESS.contains(name) {
                headers.append(name, value.clone());
            }
        }
        if let Some(authorization) = request.authorization.as_ref().filter(|_| at_origin) {
            headers.insert(reqwest::header::AUTHORIZATION, authorization.value());
        }
        let mut builder = self.client(limit)?.request(request.method.clone(), url.clone()).headers(headers);
        match &request.body {
            Body::Empty => {}
            Body::Bytes(bytes) => builder = builder.body(bytes.clone()),
            Body::File { file, start, length, sent } => {
                let body = FileBody::new(Arc::clone(file), *start, *length, sent.clone());
                builder = builder.body(reqwest::Body::wrap(body));
            }
        }
        let begin = Instant::now();
        let patience = self.patience(&request.body);
        let answer = match timeout(patience, builder.send()).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) if error.is_timeout() => {
                let after = self.settings.connect_timeout;
                return Err(HttpError::Silent { url: shown(), what: "connecting", after });
            }
            Ok(Err(error)) => return Err(HttpError::of_reqwest(shown(), error)),
            Err(_) => return Err(HttpError::Silent { url: shown(), what: "waiting for an answer", after: patience }),
        };
        debug!(method = %request.method, url = %shown(), status = answer.status().as_u16(), took = ?begin.elapsed(), "http");
        Ok(answer)
    }

    /// How long an answer may take to begin: the body has to get there first.
    fn patience(&self, body: &Body) -> Duration {
        let length = match body {
            Body::Empty => 0,
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::File { length, .. } => *length,
        };
        let upload = Duration::from_secs(length / self.settings.slowest.max(1));
        self.settings.connect_timeout + self.settings.silence + upload
    }

    /// Refuses what no connection may be made for.
    fn check(&self, url: &Url, limit: Reach) -> Result<(), HttpError> {
        match url.scheme() {
            "https" => {}
            "http" if self.settings.permits_plain_http(url) => {}
            "http" => return Err(HttpError::PlainHttp(ShownUrl::new(url))),
            other => return Err(HttpError::Scheme { url: ShownUrl::new(url), scheme: other.to_owned() }),
        }
        // The resolver is not asked about addresses.
        match literal(url) {
            Some(address) if Reach::of(address) > limit => {
                Err(HttpError::Internal { url: ShownUrl::new(url), address })
            }
            _ => Ok(()),
        }
    }

    fn reach_of(&self, url: &Url) -> Reach {
        match literal(url) {
            Some(address) => Reach::of(address),
            None => url.host_str().and_then(|host| self.resolver.reach_of(host)).unwrap_or_default(),
        }
    }

    fn response(&self, inner: reqwest::Response, url: Url, reach: Reach) -> Response {
        let Settings { silence, slowest, document_time, .. } = self.settings;
        Response { inner, url, reach, silence, slowest, document_time, received: 0, period: None }
    }

    fn client(&self, limit: Reach) -> Result<&reqwest::Client, HttpError> {
        let place = &self.by_reach[limit.index()];
        if let Some(client) = place.get() {
            return Ok(client);
        }
        let tls = match self.tls.get() {
            Some(tls) => tls.clone(),
            None => {
                let made = tls::config(&self.settings)?;
                self.tls.get_or_init(|| made).clone()
            }
        };
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(Bounded { resolver: Arc::clone(&self.resolver), reach: limit })
            .redirect(reqwest_redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .http1_only()
            .user_agent(NAME)
            .connect_timeout(self.settings.connect_timeout)
            .build()
            .map_err(|error| HttpError::Start(error.without_url().to_string()))?;
        Ok(place.get_or_init(|| client))
    }
}

/// The address that a URL has in the place of a host name.
fn literal(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}
