//! One repository of one registry: requests that authenticate themselves when the registry asks for it.

use std::sync::{Mutex, PoisonError};

use reqwest::Url;
use reqwest::header::WWW_AUTHENTICATE;

use super::challenge::{self, Challenge};
use super::error::RegistryError;
use super::name::DOCKER;
use super::secret::{Credential, Credentials};
use super::token::{self, TokenRequest};
use crate::http::{Authorization, Client, HttpError, Reach, Request, Response};

/// What is wanted of a repository, in the token specification's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// To read.
    Pull,
    /// To read and to write.
    Push,
}

/// A repository, and what is known of how to talk to its registry.
#[derive(Debug)]
pub struct Repository<'a> {
    client: &'a Client,
    credentials: &'a dyn Credentials,
    /// The registry as images name it: what credentials are kept under.
    host: String,
    repository: String,
    access: Access,
    trusted: Vec<String>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    base: Url,
    /// Whether the registry has been talked to, so that its scheme is known.
    settled: bool,
    /// How far inside it is, as soon as that is known.
    reach: Reach,
    authorization: Option<Authorization>,
    /// Whether credentials of the user's are behind the authorization.
    shown: bool,
    /// Other repositories of the registry that are read from.
    more: Vec<String>,
}

impl<'a> Repository<'a> {
    /// The repository `repository` at `host`. `trusted` are hosts of token services that may see the
    /// registry's credentials beside its own.
    ///
    /// # Errors
    /// [`RegistryError::Protocol`] never for a host of a [`RegistryRef`](super::RegistryRef).
    pub(super) fn new(
        client: &'a Client,
        credentials: &'a dyn Credentials,
        host: &str,
        repository: &str,
        trusted: &[String],
        access: Access,
    ) -> Result<Self, HttpError> {
        // Docker's registry answers at another name than images bear.
        let server = if host == DOCKER { "registry-1.docker.io" } else { host };
        let base = Url::parse(&format!("https://{server}/v2/")).map_err(|error| HttpError::Start(error.to_string()))?;
        Ok(Self {
            client,
            credentials,
            host: host.to_owned(),
            repository: repository.to_owned(),
            access,
            trusted: trusted.to_vec(),
            state: Mutex::new(State {
                base,
                settled: false,
                reach: Reach::Public,
                authorization: None,
                shown: false,
                more: Vec::new(),
            }),
        })
    }

    /// The registry's host, as images name it.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository's name.
    pub fn name(&self) -> &str {
        &self.repository
    }

    /// Asks the registry whether it knows the user, for no repository in particular: the token of a token service is for
    /// nothing, and a registry that asks nobody lets everybody in.
    ///
    /// # Errors
    /// [`RegistryError::Unauthorized`] if it does not; what HTTP says.
    pub(super) async fn knock(&self) -> Result<(), RegistryError> {
        let answer = self.send("", Request::get).await?;
        match answer.status().is_success() {
            true => Ok(()),
            false => Err(self.refusal(answer, "").await),
        }
    }

    /// Where `path`, which is `manifests/…` or `blobs/…`, is.
    pub(super) fn url(&self, path: &str) -> Url {
        let mut url = self.state().base.clone();
        // Set as a whole: joining would take `sha256:…` for a scheme. Neither part holds `?`, `#` or `..`.
        match self.repository.is_empty() {
            true => url.set_path("/v2/"),
            false => url.set_path(&format!("/v2/{}/{path}", self.repository)),
        }
        url
    }

    /// Sends what `request` makes of the URL of `path`. The answer is never 401; other failures are the caller's.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub(super) async fn send(&self, path: &str, request: impl Fn(Url) -> Request) -> Result<Response, RegistryError> {
        for attempt in 0..2 {
            let authorization = self.state().authorization.clone();
            let answer = self.send_somehow(path, &|url| request(url).authorization(authorization.clone())).await?;
            if answer.status().as_u16() != 401 {
                return Ok(answer);
            }
            if attempt == 0 {
                self.authenticate(&answer).await?;
            }
        }
        Err(self.unauthorized())
    }

    /// Sends what `request` makes of a URL that the registry gave. Credentials go along only if that is the registry itself.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub(super) async fn send_to(&self, url: &Url, request: impl Fn(Url) -> Request) -> Result<Response, RegistryError> {
        let ours = self.state().base.origin() == url.origin();
        for attempt in 0..2 {
            let authorization = self.state().authorization.clone().filter(|_| ours);
            let reach = self.state().reach;
            let answer = self.client.send(&request(url.clone()).authorization(authorization).discovered(reach)).await?;
            if answer.status().as_u16() != 401 || !ours {
                return Ok(answer);
            }
            if attempt == 0 {
                self.authenticate(&answer).await?;
            }
        }
        Err(self.unauthorized())
    }

    /// Asks for access to another repository of the same registry as well.
    pub(super) fn also_pull(&self, repository: &str) {
        let mut state = self.state();
        if repository != self.repository && !state.more.iter().any(|known| known == repository) {
            state.more.push(repository.to_owned());
            // A token for this repository alone is no longer enough; the next answer asks for another.
            state.authorization = None;
        }
    }

    fn unauthorized(&self) -> RegistryError {
        let shown = self.state().shown;
        RegistryError::Unauthorized { registry: self.host.clone(), repository: self.repository.clone(), shown }
    }

    /// Over https; over http only where that is permitted and the server speaks no TLS.
    async fn send_somehow(&self, path: &str, request: &dyn Fn(Url) -> Request) -> Result<Response, RegistryError> {
        let url = self.url(path);
        let settled = self.state().settled;
        let answer = match self.client.send(&request(url.clone())).await {
            Err(error) if !settled && error.is_no_tls() && self.client.settings().permits_plain_http(&url) => {
                let plain = {
                    let mut state = self.state();
                    // The port of https is that of http where none is written.
                    let changed = state.base.set_scheme("http");
                    changed.map_err(|()| HttpError::Start("an https URL has no http form".to_owned()))?;
                    drop(state);
                    self.url(path)
                };
                match self.client.send(&request(plain)).await {
                    // Nobody there either: what https said is as true, and what the user asked for.
                    Err(HttpError::Connect { .. }) => return Err(error.into()),
                    other => other?,
                }
            }
            other => other?,
        };
        let mut state = self.state();
        state.settled = true;
        state.reach = answer.reach();
        drop(state);
        Ok(answer)
    }

    /// Gets ready to answer the challenge of `answer`.
    async fn authenticate(&self, answer: &Response) -> Result<(), RegistryError> {
        let challenges = challenge::parse(answer.headers(WWW_AUTHENTICATE));
        let credential = self.credentials.of_registry(&self.host, &self.repository)?;
        let bearer = challenges.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
        let authorization = match (bearer, &credential) {
            (Some(_), Some(Credential::Bearer(token))) => Authorization::bearer(token.expose()),
            (Some(Challenge::Bearer { realm, service, .. }), credential) => {
                Some(self.ask_token(realm, service.as_deref(), credential.as_ref(), answer).await?)
            }
            (_, Some(Credential::Basic { user, password })) if challenges.contains(&Challenge::Basic) => {
                Some(Authorization::basic(user, password.expose()))
            }
            _ if challenges.is_empty() => return Err(RegistryError::Challenge { registry: self.host.clone() }),
            _ => None,
        };
        if authorization.is_none() {
            let (registry, repository) = (self.host.clone(), self.repository.clone());
            return Err(RegistryError::Unauthorized { registry, repository, shown: false });
        }
        let mut state = self.state();
        state.authorization = authorization;
        state.shown = credential.is_some();
        Ok(())
    }

    async fn ask_token(
        &self,
        realm: &str,
        service: Option<&str>,
        credential: Option<&Credential>,
        answer: &Response,
    ) -> Result<Authorization, RegistryError> {
        // Our own words, not the server's: it could ask for access to other repositories on our behalf.
        let actions = match self.access {
            Access::Pull => "pull",
            Access::Push => "pull,push",
        };
        let of_one = (!self.repository.is_empty()).then(|| format!("repository:{}:{actions}", self.repository));
        let mut scopes: Vec<String> = of_one.into_iter().collect();
        scopes.extend(self.state().more.iter().map(|other| format!("repository:{other}:pull")));
        let registry = self.state().base.clone();
        let (reach, trusted) = (answer.reach(), self.trusted.as_slice());
        let request = TokenRequest { registry: &registry, reach, realm, service, scopes: &scopes, trusted, credential };
        token::ask(self.client, request).await.map_err(|error| match error {
            error if token::is_refusal(&error) => RegistryError::Unauthorized {
                registry: self.host.clone(),
                repository: self.repository.clone(),
                shown: credential.is_some(),
            },
            error => error,
        })
    }

    /// The error of an answer that is none of success.
    pub(super) async fn refusal(&self, answer: Response, what: &str) -> RegistryError {
        let (registry, repository) = (self.host.clone(), self.repository.clone());
        match answer.status().as_u16() {
            404 => RegistryError::NotFound { registry, image: format!("{repository}{what}") },
            403 => match answer.into_error().await {
                HttpError::Status { detail, .. } => RegistryError::Denied { registry, repository, detail },
                error => error.into(),
            },
            _ => answer.into_error().await.into(),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
