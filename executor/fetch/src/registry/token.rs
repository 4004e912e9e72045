//! Tokens: asked for at the service that a registry names, with the user's credentials if that service may see them.

use reqwest::Url;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde::Deserialize;

use super::error::RegistryError;
use super::secret::{Credential, Secret};
use crate::http::{Authorization, Body, Client, HttpError, Method, Reach, Request, ShownUrl};
use crate::json;
use crate::quote::Quoted;

/// The most bytes of a token service's answer.
const LARGEST: usize = 1 << 20;

/// Token services of well-known registries that bear other names than their registries.
const SERVICES: [(&str, &str); 1] = [("registry-1.docker.io", "auth.docker.io")];

/// Sent to token services that tell clients apart.
const CLIENT: &str = "proa";

/// A question to a token service.
#[derive(Debug)]
pub(super) struct TokenRequest<'a> {
    /// The registry's own URL.
    pub(super) registry: &'a Url,
    /// How far inside it is.
    pub(super) reach: Reach,
    /// The service, as the registry names it.
    pub(super) realm: &'a str,
    /// What the service calls the registry.
    pub(super) service: Option<&'a str>,
    /// The access that is wanted.
    pub(super) scopes: &'a [String],
    /// Hosts of token services that the administrator trusts with this registry's credentials.
    pub(super) trusted: &'a [String],
    /// What the user has for the registry.
    pub(super) credential: Option<&'a Credential>,
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
}

/// Asks for a token.
///
/// # Errors
/// [`RegistryError::Realm`] if the service may not be asked; [`RegistryError::Token`]; what HTTP says.
pub(super) async fn ask(client: &Client, request: TokenRequest<'_>) -> Result<Authorization, RegistryError> {
    let realm = request.url()?;
    let shown = ShownUrl::new(&realm);
    let http = match request.credential {
        Some(Credential::Identity(token)) => request.refresh(realm, token),
        Some(Credential::Basic { user, password }) => {
            let mut realm = realm;
            realm.query_pairs_mut().append_pair("account", user);
            request.get(realm).authorization(Some(Authorization::basic(user, password.expose())))
        }
        _ => request.get(realm),
    };
    let body = client.send(&http.header(ACCEPT, "application/json").discovered(request.reach)).await?;
    let body = body.success().await?.document(LARGEST).await?;
    let answer: Answer = json::parse(&body).map_err(|_| RegistryError::Token(shown.clone()))?;
    let token = answer.token.or(answer.access_token).filter(|token| !token.is_empty());
    token.and_then(|token| Authorization::bearer(&token)).ok_or(RegistryError::Token(shown))
}

impl TokenRequest<'_> {
    /// The service's URL, if the credentials may go there.
    fn url(&self) -> Result<Url, RegistryError> {
        let refused = |reason| RegistryError::Realm {
            registry: self.registry.host_str().unwrap_or_default().to_owned(),
            realm: Quoted::new(self.realm),
            reason,
        };
        let realm = Url::parse(self.realm).map_err(|_| refused("that is no URL"))?;
        if !realm.username().is_empty() || realm.password().is_some() {
            return Err(refused("that holds a user name or password"));
        }
        match realm.scheme() {
            "https" => {}
            "http" if self.registry.scheme() == "http" => {}
            _ => return Err(refused("that is not https")),
        }
        // Without credentials anybody may be asked; what comes back is of no use to anybody else.
        if self.credential.is_none() || self.may_see_credentials(&realm) {
            return Ok(realm);
        }
        Err(refused("its credentials are not for that host"))
    }

    /// Whether the realm is the registry's own host, a name below or above it, or one that somebody vouches for. A
    /// registry that was taken over could otherwise hand the user's password to whom it likes.
    fn may_see_credentials(&self, realm: &Url) -> bool {
        let (Some(registry), Some(realm)) = (self.registry.host_str(), realm.host_str()) else { return false };
        let below = |a: &str, b: &str| {
            a.strip_suffix(b).is_some_and(|rest| rest.ends_with('.')) && b.contains('.') && !is_address(a)
        };
        registry == realm
            || below(realm, registry)
            || below(registry, realm)
            || SERVICES.contains(&(registry, realm))
            || self.trusted.iter().any(|host| host == realm)
    }

    fn get(&self, mut realm: Url) -> Request {
        {
            let mut query = realm.query_pairs_mut();
            if let Some(service) = self.service {
                query.append_pair("service", service);
            }
            for scope in self.scopes {
                query.append_pair("scope", scope);
            }
        }
        Request::get(realm)
    }

    /// The exchange of an identity token (RFC 6749, 6; distribution's OAuth2 specification).
    fn refresh(&self, realm: Url, token: &Secret) -> Request {
        let mut form = Url::parse("form:").expect("it is a URL");
        {
            let mut pairs = form.query_pairs_mut();
            pairs.append_pair("grant_type", "refresh_token").append_pair("client_id", CLIENT);
            pairs.append_pair("refresh_token", token.expose());
            pairs.append_pair("service", self.service.unwrap_or_default());
            pairs.append_pair("scope", &self.scopes.join(" "));
        }
        let body = form.query().unwrap_or_default().to_owned();
        Request::new(Method::POST, realm)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::Bytes(body.into()))
    }
}

fn is_address(host: &str) -> bool {
    host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok()
}

/// Whether a token service refused the credentials, as opposed to being out of order.
pub(super) fn is_refusal(error: &RegistryError) -> bool {
    matches!(error, RegistryError::Http(HttpError::Status { status, .. }) if matches!(status.as_u16(), 400 | 401 | 403))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn realm(registry: &str, realm: &str, credential: Option<&Credential>, trusted: &[String]) -> Result<Url, String> {
        let registry = Url::parse(registry).unwrap();
        let reach = Reach::Public;
        let request =
            TokenRequest { registry: &registry, reach, realm, service: None, scopes: &[], trusted, credential };
        request.url().map_err(|error| error.to_string())
    }

    #[test]
    fn credentials_go_to_services_that_belong_to_the_registry() {
        let basic = Credential::Basic { user: "u".into(), password: Secret::new("canary") };
        for (registry, service) in [
            ("https://registry-1.docker.io", "https://auth.docker.io/token"),
            ("https://ghcr.io", "https://ghcr.io/token"),
            ("https://registry.gitlab.com", "https://gitlab.com/jwt/auth"),
            ("https://example.com:5000", "https://auth.example.com/token"),
            ("http://127.0.0.1:5000", "http://127.0.0.1:5001/token"),
            ("http://127.0.0.1:5000", "https://127.0.0.1:5001/token"),
        ] {
            assert!(realm(registry, service, Some(&basic), &[]).is_ok(), "{service}");
        }
        for (registry, service) in [
            ("https://example.com", "https://evil.org/token"),
            ("https://example.com", "https://badexample.com/token"),
            ("https://example.com", "https://com/token"),
            ("https://127.0.0.1", "https://0.1/token"),
            ("https://example.com", "http://example.com/token"),
            ("https://example.com", "file:///etc/passwd"),
            ("https://example.com", "https://u:p@example.com/"),
            ("https://example.com", "/token"),
        ] {
            let refused = realm(registry, service, Some(&basic), &[]).unwrap_err();
            assert!(!refused.contains("canary"), "{refused}");
        }
        let trusted = ["evil.org".to_owned()];
        assert!(realm("https://example.com", "https://evil.org/token", Some(&basic), &trusted).is_ok());
        assert!(realm("https://example.com", "https://evil.org/token", None, &[]).is_ok());
        assert!(realm("https://example.com", "http://example.com/token", None, &[]).is_err());
    }
}
