//! From a request to its answer.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use appc::AcName;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response};
use metadata_api::Route;
use metadata_api::route::AppRoute;
use tracing::{debug, warn};

use super::answer::{self, ANY_TEXT, Answer, JSON, JWK_SET, JWT, Refusal, TEXT};
use super::form;
use super::policy;
use super::watch::Watch;
use crate::documents::AppDocuments;
use crate::door::{Door, Role};
use crate::identity::Subject;
use crate::pod::Pod;
use crate::service::Service;

/// Largest body. What is to be signed is meant to be a digest or a nonce.
const MAX_BODY: u64 = 1024 * 1024;

/// Where an app asks for its identity, at its own socket. Over TCP it may be asked for by mistake.
const IDENTITY: &str = "/v1/identity";

/// Where the public keys are, at an app's own socket.
const JWKS: &str = "/v1/jwks";

/// Longest audience in bytes: a URL and then some.
const MAX_AUDIENCE: usize = 1024;

/// Answers the requests of one connection.
#[derive(Debug, Clone)]
pub(crate) struct Visit {
    pub(crate) door: Arc<Door>,
    pub(crate) service: Arc<Service>,
    pub(crate) watch: Arc<Watch>,
}

type Responding = Pin<Box<dyn Future<Output = Response<Full<Bytes>>> + Send>>;

/// A response that is there, or is being made.
pub(crate) enum Reply {
    Now(Option<Response<Full<Bytes>>>),
    Later(Responding),
}

impl hyper::service::Service<Request<Incoming>> for Visit {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Reply;

    fn call(&self, request: Request<Incoming>) -> Reply {
        let (head, body) = request.into_parts();
        match self.answer(&head) {
            Ok(answer) => Reply::Now(Some(self.respond(answer))),
            Err(posted) => {
                let visit = self.clone();
                Reply::Later(Box::pin(async move {
                    let answer = match posted {
                        Posted::Sign => visit.sign(&head, body).await,
                        Posted::Verify => visit.verify(&head, body).await,
                    };
                    visit.respond(answer.unwrap_or_else(Answer::Refused))
                }))
            }
        }
    }
}

impl Future for Reply {
    type Output = Result<Response<Full<Bytes>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Now(response) => Poll::Ready(Ok(response.take().expect("polled once"))),
            Self::Later(response) => response.as_mut().poll(cx).map(Ok),
        }
    }
}

/// A request whose answer depends on its body.
enum Posted {
    Sign,
    Verify,
}

impl Visit {
    /// The answer to a request, as far as its head decides it.
    fn answer(&self, head: &Parts) -> Result<Answer, Posted> {
        let pod = self.pod();
        let is_metadata = match &self.door.role {
            // The socket is reached by a path, and there is no address that `Host` could have to name.
            Role::Identity(app) => {
                let checked = policy::check(head, |_| true);
                return Ok(checked.and_then(|()| self.identity(app, head)).unwrap_or_else(Answer::Refused));
            }
            Role::Metadata => policy::check(head, |host| pod.is_host(host)),
        };
        if let Err(refusal) = is_metadata {
            return Ok(refusal.into());
        }
        let Some(path) = self.authorised(head.uri.path()) else { return Ok(self.unauthorised()) };
        let Some(route) = Route::parse(path) else {
            return Ok(if path.starts_with(IDENTITY) { &answer::IDENTITY_ELSEWHERE } else { &answer::NO_ROUTE }.into());
        };
        match (&head.method, route.is_posted()) {
            (&Method::GET | &Method::HEAD, false) => Ok(self.get(&route)),
            (&Method::POST, true) if route == Route::Sign => Err(Posted::Sign),
            (&Method::POST, true) => Err(Posted::Verify),
            (_, true) => Ok(Answer::from(&answer::NOT_POST)),
            (_, false) => Ok(Answer::from(&answer::NOT_GET)),
        }
    }

    fn pod(&self) -> &Pod {
        &self.door.pod
    }

    /// The answer to an app at its own socket. Which app it is, is nothing that the request could say.
    fn identity(&self, app: &AcName, head: &Parts) -> Result<Answer, &'static Refusal> {
        let path = head.uri.path();
        if ![IDENTITY, JWKS].contains(&path) {
            return Err(&answer::NO_ROUTE);
        }
        if ![Method::GET, Method::HEAD].contains(&head.method) {
            return Err(&answer::NOT_GET);
        }
        let unavailable = |error| {
            warn!(%error, "cannot give out an identity");
            &answer::NO_KEYS
        };
        if path == JWKS {
            return Ok(Answer::Found(JWK_SET, self.service.identities.jwks().map_err(unavailable)?.into()));
        }
        let query = head.uri.query().unwrap_or_default();
        let [audience] = form::fields(query.as_bytes(), ["audience"]).map_err(|_| &answer::NO_AUDIENCE)?;
        let audience = audience.and_then(|it| String::from_utf8(it).ok()).filter(|it| is_audience(it));
        let audience = audience.ok_or(&answer::NO_AUDIENCE)?;
        let documents = self.pod().documents();
        let image = documents.app(app.as_str()).ok_or(&answer::NO_ROUTE)?.image_id.clone();
        let subject = Subject {
            pod: self.pod().uuid,
            app: app.as_str(),
            image: std::str::from_utf8(&image).unwrap_or_default(),
            images: documents.image_ids(),
            audience: &audience,
        };
        Ok(Answer::Found(JWT, self.service.identities.token(&subject).map_err(unavailable)?.into()))
    }

    /// What stands behind the pod's token, if the path begins with it.
    fn authorised<'a>(&self, path: &'a str) -> Option<&'a str> {
        let path = path.strip_prefix('/')?;
        let end = path.find('/').unwrap_or(path.len());
        let (token, rest) = path.split_at(end);
        self.pod().token.matches(token.as_bytes()).then_some(rest)
    }

    fn unauthorised(&self) -> Answer {
        if self.pod().may_try_again() { &answer::UNAUTHORIZED } else { &answer::TOO_MANY_GUESSES }.into()
    }

    fn get(&self, route: &Route) -> Answer {
        if *route == Route::PodUuid {
            return Answer::Found(TEXT, self.pod().uuid_text.clone());
        }
        let documents = self.pod().documents();
        let log = |body: &Option<Bytes>| match body {
            Some(body) => Answer::Found(JSON, body.clone()),
            None => (&answer::NO_LOG).into(),
        };
        match route {
            Route::PodManifest => Answer::Found(JSON, documents.manifest.clone()),
            Route::PodAnnotations => Answer::Found(JSON, documents.annotations.clone()),
            Route::PodAnnotation(name) => annotation(documents.annotation(name)),
            Route::PodLog => log(&documents.log),
            Route::App(name, of_app) => match (documents.app(name.as_str()), of_app) {
                (None, _) => (&answer::NO_APP).into(),
                (Some(_), AppRoute::Annotation(of_app)) => annotation(documents.app_annotation(name, of_app)),
                (Some(app), AppRoute::Log) => log(&app.log),
                (Some(app), of_app) => of_app_documents(app, of_app),
            },
            Route::PodUuid | Route::Sign | Route::Verify => (&answer::NO_ROUTE).into(),
        }
    }

    async fn sign(&self, head: &Parts, body: Incoming) -> Result<Answer, &'static Refusal> {
        let body = read(head, body).await?;
        let [content] = form::fields(&body, ["content"]).map_err(|_| &answer::BAD_FORM)?;
        let content = content.filter(|it| !it.is_empty()).ok_or(&answer::NO_CONTENT)?;
        Ok(Answer::Found(TEXT, self.service.signer.sign(self.pod().uuid, &content).into()))
    }

    async fn verify(&self, head: &Parts, body: Incoming) -> Result<Answer, &'static Refusal> {
        let body = read(head, body).await?;
        let fields = form::fields(&body, ["content", "uuid", "signature"]).map_err(|_| &answer::BAD_FORM)?;
        let [content, uuid, signature] = fields;
        let content = content.filter(|it| !it.is_empty()).ok_or(&answer::NO_CONTENT)?;
        let uuid = uuid.and_then(|it| std::str::from_utf8(&it).ok()?.parse().ok()).ok_or(&answer::NO_UUID)?;
        let signature = signature.filter(|it| !it.is_empty()).ok_or(&answer::NO_SIGNATURE)?;
        match self.service.signer.verify(uuid, &content, &signature) {
            Some(true) => Ok(Answer::Found(TEXT, Bytes::new())),
            Some(false) => Err(&answer::BAD_SIGNATURE),
            None => Err(&answer::NO_SIGNATURE),
        }
    }

    fn respond(&self, answer: Answer) -> Response<Full<Bytes>> {
        if let Answer::Refused(refusal) = &answer {
            // Not the path, which begins with what may be a token.
            debug!(pod = %self.pod().uuid, status = refusal.status().as_u16(), "refused");
        }
        self.watch.answered();
        answer.into_response()
    }
}

/// Whether a verifier can be called that.
fn is_audience(text: &str) -> bool {
    (1..=MAX_AUDIENCE).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// An annotation's value, of rkt's type unless it has letters that are not ASCII's.
fn annotation(value: Option<Bytes>) -> Answer {
    match value {
        Some(value) if value.is_ascii() => Answer::Found(TEXT, value),
        Some(value) => Answer::Found(ANY_TEXT, value),
        None => (&answer::NO_ANNOTATION).into(),
    }
}

fn of_app_documents(app: &AppDocuments, route: &AppRoute) -> Answer {
    match route {
        AppRoute::Annotations => Answer::Found(JSON, app.annotations.clone()),
        AppRoute::ImageManifest => Answer::Found(JSON, app.image.manifest.clone()),
        AppRoute::ImageId => Answer::Found(TEXT, app.image_id.clone()),
        AppRoute::Annotation(_) | AppRoute::Log => (&answer::NO_ROUTE).into(),
    }
}

/// Reads a form's bytes. Its length is known beforehand, because nothing but a `Content-Length` is accepted.
async fn read(head: &Parts, body: Incoming) -> Result<Bytes, &'static Refusal> {
    if body.size_hint().exact().is_none_or(|length| length > MAX_BODY) {
        return Err(&answer::TOO_LARGE);
    }
    if !form::is_form(&head.headers) {
        return Err(&answer::NO_FORM);
    }
    Ok(body.collect().await.map_err(|_| &answer::BODY_CUT)?.to_bytes())
}
