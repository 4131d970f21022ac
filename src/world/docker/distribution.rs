//! A repository of a registry, spoken to without an engine, which knows images and nothing else: manifests and blobs, fetched and
//! given (OCI distribution specification). Who we are to it is known from `docker login`, as everywhere.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bollard::auth::DockerCredentials;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue, LOCATION, PROXY_AUTHORIZATION,
    USER_AGENT, WWW_AUTHENTICATE,
};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::Value;

use super::Docker;
use super::dial::{self, Wire};
use super::digest::normalized;
use super::patient::Patient;
use super::web_proxy::{WebProxies, WebProxy};
use crate::plan::action::Fault;
use crate::plan::hash;
use crate::world::values::base64;

/// The longest manifest, token or description of an error that is read.
const MAX_ANSWER: usize = 4 << 20;

/// How long a connection is waited for, and anything at all on it. A large content takes as long as it takes while it goes on.
const PATIENCE: Duration = Duration::from_secs(60);

/// Storage behind a registry is led to by one redirection; more than so many go round.
const MAX_REDIRECTIONS: usize = 5;

/// What a manifest may be.
const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
                         application/vnd.docker.distribution.manifest.v2+json, \
                         application/vnd.docker.distribution.manifest.list.v2+json";

const BYTES: &str = "application/octet-stream";

/// A reference taken apart, in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    /// `localhost:5000`, `docker.io`.
    pub(super) registry: String,
    /// `library/redis`.
    pub(super) path: String,
    /// `7`; none with a digest alone.
    pub(super) tag: Option<String>,
    /// `sha256:…`.
    pub(super) digest: Option<String>,
}

impl Reference {
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let wrong = |why: &str| Fault::permanent(format!("`{text}` is no reference of an image or an application: {why}"));
        let whole = normalized(text);
        let (name, digest) = whole.split_once('@').map_or((whole.as_str(), None), |(name, digest)| (name, Some(digest)));
        let (registry, rest) = name.split_once('/').ok_or_else(|| wrong("it has no name"))?;
        let (path, tag) = rest.split_once(':').map_or((rest, None), |(path, tag)| (path, Some(tag)));
        let is_path = |part: &str| {
            let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
            let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
            part.chars().all(is_plain) && ends(part.chars().next()) && ends(part.chars().next_back())
        };
        if !path.split('/').all(is_path) {
            return Err(wrong("names are of small letters, digits, `.`, `_` and `-`"));
        }
        let is_tag = |tag: &str| {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            tag.len() <= 128 && tag.chars().all(is_plain) && !tag.is_empty() && !tag.starts_with(['.', '-'])
        };
        if !tag.is_none_or(is_tag) {
            return Err(wrong("tags are of letters, digits, `.`, `_` and `-`"));
        }
        if digest.is_some_and(|digest| !is_digest(digest)) {
            return Err(wrong("a digest is `sha256:` and 64 hexadecimal digits"));
        }
        let own = |part: Option<&str>| part.map(str::to_owned);
        Ok(Self { registry: registry.to_owned(), path: path.to_owned(), tag: own(tag), digest: own(digest) })
    }

    /// What a manifest is asked for by.
    fn wanted(&self) -> &str {
        self.digest.as_deref().or(self.tag.as_deref()).unwrap_or("latest")
    }
}

pub(super) fn is_digest(text: &str) -> bool {
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    text.strip_prefix("sha256:").is_some_and(|digits| digits.len() == 64 && digits.chars().all(hex))
}

/// `sha256:…` of some bytes.
pub(super) fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hash::digest(bytes))
}

/// A manifest as it was fetched.
#[derive(Debug, Clone)]
pub(super) struct Manifest {
    pub(super) digest: String,
    pub(super) media_type: String,
    pub(super) bytes: Bytes,
    pub(super) value: Value,
}

/// How a registry is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Https,
    Http,
}

/// A repository, and what is known of the way to it.
pub(super) struct Repository {
    registry: String,
    path: String,
    credentials: Option<DockerCredentials>,
    /// Known from the first answer on.
    scheme: Mutex<Option<Scheme>>,
    /// What the registry, or who speaks for it, has given us to show.
    authorization: Mutex<Option<String>>,
    proxies: WebProxies,
    patience: Duration,
}

/// A way to where a question goes.
struct Way {
    wire: Box<dyn Wire>,
    /// The proxy that answers on it, and passes on what it is asked.
    forwards: Option<WebProxy>,
}

impl Way {
    /// What is asked for on it, as the one who reads it needs it.
    fn target(&self, at: &Address) -> String {
        match self.forwards {
            Some(_) => format!("http://{}{}", at.host_and_port(), at.path),
            None => at.path.clone(),
        }
    }

    /// Who we are to a proxy that passes questions on.
    fn shown(&self) -> Option<&HeaderValue> {
        self.forwards.as_ref()?.authorization.as_ref()
    }
}

/// Where a question goes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    /// None is the registry's own, whichever that turns out to be.
    scheme: Option<Scheme>,
    authority: Authority,
    /// With what is asked for behind it.
    path: String,
}

impl Address {
    fn port(&self, scheme: Scheme) -> u16 {
        self.authority.port_u16().unwrap_or(if scheme == Scheme::Http { 80 } else { 443 })
    }

    fn host(&self) -> &str {
        self.authority.host()
    }

    /// Without who we would be there.
    fn host_and_port(&self) -> String {
        self.authority.port().map_or_else(|| self.host().to_owned(), |port| format!("{}:{port}", self.host()))
    }
}

/// What is sent.
enum Payload {
    Bytes(Bytes),
    /// What somebody else sends, so many bytes.
    Passed(Incoming, u64),
}

type Body = BoxBody<Bytes, hyper::Error>;

struct Asked<'a> {
    method: Method,
    /// A path of the registry, or an address.
    target: &'a str,
    accept: Option<&'a str>,
    content: Option<&'a str>,
    payload: Payload,
}

impl<'a> Asked<'a> {
    fn plainly(method: Method, target: &'a str) -> Self {
        Self { method, target, accept: None, content: None, payload: Payload::Bytes(Bytes::new()) }
    }
}

impl Docker {
    /// The repository of a reference. A registry that is named insecure is spoken to without TLS, and so is one of this host that
    /// speaks none, as engines do it.
    pub(super) async fn repository(&self, reference: &Reference, insecure: &[String]) -> Repository {
        let is_insecure = insecure.contains(&reference.registry);
        Repository {
            registry: reference.registry.clone(),
            path: reference.path.clone(),
            credentials: self.credentials_for(&reference.registry).await,
            scheme: Mutex::new(is_insecure.then_some(Scheme::Http)),
            authorization: Mutex::default(),
            proxies: self.0.proxies.clone(),
            patience: PATIENCE,
        }
    }
}

impl Repository {
    /// Whether another one is of the same registry.
    fn is_beside(&self, other: &Self) -> bool {
        self.registry == other.registry
    }

    /// The manifest of a reference's tag or digest.
    pub(super) async fn manifest(&self, reference: &Reference) -> Result<Manifest, Fault> {
        self.manifest_of(reference.wanted()).await
    }

    async fn manifest_of(&self, wanted: &str) -> Result<Manifest, Fault> {
        let path = format!("/v2/{}/manifests/{wanted}", self.path);
        let (response, _) = self.ask(Asked { accept: Some(MANIFESTS), ..Asked::plainly(Method::GET, &path) }).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Err(Fault::permanent(format!("the registry `{}` has no `{}` of `{wanted}`", self.registry, self.path)));
        }
        let media_type =
            response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let bytes = self.succeeded(response, &[StatusCode::OK]).await?;
        let digest = digest_of(&bytes);
        if is_digest(wanted) && wanted != digest {
            return Err(self.strange(&format!("another manifest than `{wanted}`")));
        }
        let value: Value = serde_json::from_slice(&bytes).map_err(|_| self.strange("a manifest that is no JSON"))?;
        let media_type = value.get("mediaType").and_then(Value::as_str).map_or(media_type, str::to_owned);
        Ok(Manifest { digest, media_type, bytes, value })
    }

    /// A blob, which is of this size.
    pub(super) async fn blob(&self, digest: &str, size: u64) -> Result<Bytes, Fault> {
        if size > MAX_ANSWER as u64 {
            return Err(self.strange(&format!("a file of {size} bytes")));
        }
        let response = self.blob_response(digest).await?;
        let bytes = self.succeeded(response, &[StatusCode::OK]).await?;
        if bytes.len() as u64 != size || digest_of(&bytes) != digest {
            return Err(self.strange(&format!("another content than `{digest}`")));
        }
        Ok(bytes)
    }

    async fn blob_response(&self, digest: &str) -> Result<Response<Incoming>, Fault> {
        let target = format!("/v2/{}/blobs/{digest}", self.path);
        Ok(self.ask(Asked::plainly(Method::GET, &target)).await?.0)
    }

    /// Gives a blob that it has not got yet.
    pub(super) async fn give_blob(&self, bytes: &[u8], digest: &str) -> Result<(), Fault> {
        if self.has_blob(digest).await? {
            return Ok(());
        }
        let begun = format!("/v2/{}/blobs/uploads/", self.path);
        let (response, _) = self.ask(Asked::plainly(Method::POST, &begun)).await?;
        let upload = self.upload(response).await?;
        self.finish(&upload, digest, Payload::Bytes(Bytes::copy_from_slice(bytes))).await
    }

    async fn has_blob(&self, digest: &str) -> Result<bool, Fault> {
        let path = format!("/v2/{}/blobs/{digest}", self.path);
        let (response, is_led_on) = self.ask(Asked::plainly(Method::HEAD, &path)).await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(false),
            status if status.is_success() => Ok(true),
            // A storage behind it may take no such question: then nobody knows, and what is given again does no harm.
            _ if is_led_on => Ok(false),
            _ => self.succeeded(response, &[]).await.map(|_| false),
        }
    }

    /// Where the content of an upload goes.
    async fn upload(&self, response: Response<Incoming>) -> Result<String, Fault> {
        let location = self.location(&response);
        self.succeeded(response, &[StatusCode::ACCEPTED]).await?;
        location
    }

    async fn finish(&self, upload: &str, digest: &str, payload: Payload) -> Result<(), Fault> {
        let with = if upload.contains('?') { '&' } else { '?' };
        let target = format!("{upload}{with}digest={digest}");
        let asked = Asked { content: Some(BYTES), payload, ..Asked::plainly(Method::PUT, &target) };
        let (response, _) = self.ask(asked).await?;
        self.succeeded(response, &[StatusCode::CREATED, StatusCode::NO_CONTENT]).await.map(drop)
    }

    /// Gives a manifest, by a tag or its digest. Answers with what it says when it refuses it for what it is.
    pub(super) async fn give_manifest(&self, name: &str, media_type: &str, bytes: &[u8]) -> Result<Result<(), Fault>, Fault> {
        let path = format!("/v2/{}/manifests/{name}", self.path);
        let payload = Payload::Bytes(Bytes::copy_from_slice(bytes));
        let (response, _) = self.ask(Asked { content: Some(media_type), payload, ..Asked::plainly(Method::PUT, &path) }).await?;
        let status = response.status();
        let about_us = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::PROXY_AUTHENTICATION_REQUIRED];
        let is_about_it = status.is_client_error() && !about_us.contains(&status);
        match self.succeeded(response, &[StatusCode::CREATED, StatusCode::OK, StatusCode::ACCEPTED]).await {
            Ok(_) => Ok(Ok(())),
            Err(fault) if is_about_it => Ok(Err(fault)),
            Err(fault) => Err(fault),
        }
    }

    /// Copies an image from another repository, with all that it consists of. Answers with its descriptor.
    pub(super) async fn copy_from(&self, other: &Self, reference: &Reference) -> Result<Value, Fault> {
        let manifest = other.manifest(reference).await?;
        self.copy(other, &manifest).await?;
        let Manifest { digest, media_type, bytes, .. } = manifest;
        Ok(serde_json::json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() }))
    }

    async fn copy(&self, other: &Self, manifest: &Manifest) -> Result<(), Fault> {
        let list = |key: &str| manifest.value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        let digest_in = |part: &Value| part.get("digest").and_then(Value::as_str).filter(|it| is_digest(it)).map(str::to_owned);
        for below in list("manifests").iter().filter_map(digest_in) {
            let below = other.manifest_of(&below).await?;
            Box::pin(self.copy(other, &below)).await?;
        }
        for part in list("layers").iter().chain(manifest.value.get("config")) {
            // Layers that lie elsewhere stay there.
            if let (Some(digest), None) = (digest_in(part), part.get("urls")) {
                let size = part.get("size").and_then(Value::as_u64).unwrap_or_default();
                self.copy_blob(other, &digest, size).await?;
            }
        }
        self.give_manifest(&manifest.digest, &manifest.media_type, &manifest.bytes).await?
    }

    async fn copy_blob(&self, other: &Self, digest: &str, size: u64) -> Result<(), Fault> {
        if self.has_blob(digest).await? {
            return Ok(());
        }
        // A registry need not be given what it has in another repository.
        let mount = if self.is_beside(other) { format!("?mount={digest}&from={}", other.path) } else { String::new() };
        let begun = format!("/v2/{}/blobs/uploads/{mount}", self.path);
        let (response, _) = self.ask(Asked::plainly(Method::POST, &begun)).await?;
        if response.status() == StatusCode::CREATED {
            return Ok(());
        }
        let upload = self.upload(response).await?;
        let content = other.blob_response(digest).await?;
        if content.status() != StatusCode::OK {
            return other.succeeded(content, &[StatusCode::OK]).await.map(drop);
        }
        self.finish(&upload, digest, Payload::Passed(content.into_body(), size)).await
    }

    // ── one question ────────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Asks, also where the registry leads whoever reads. Answers with whether it has led on.
    async fn ask(&self, asked: Asked<'_>) -> Result<(Response<Incoming>, bool), Fault> {
        let Asked { method, target, accept, content, payload } = asked;
        let mut at = self.address(target, None)?;
        if !matches!(method, Method::GET | Method::HEAD) {
            return Ok((self.ask_at(&at, Asked { method, target, accept, content, payload }).await?, false));
        }
        for led_on in 0..=MAX_REDIRECTIONS {
            let asked = Asked { accept, content, ..Asked::plainly(method.clone(), target) };
            let response = self.ask_at(&at, asked).await?;
            if !response.status().is_redirection() {
                return Ok((response, led_on > 0));
            }
            at = self.address(&self.location(&response)?, Some(&at))?;
        }
        Err(self.strange("redirections without an end"))
    }

    /// Asks, and the registry itself once more with what it wants to be shown. Nobody else is shown anything, whatever he wants: that
    /// is for the registry to say.
    async fn ask_at(&self, at: &Address, asked: Asked<'_>) -> Result<Response<Incoming>, Fault> {
        let Asked { method, target, accept, content, payload } = asked;
        let (again, payload) = match payload {
            Payload::Bytes(bytes) => (Some(bytes.clone()), Payload::Bytes(bytes)),
            passed @ Payload::Passed(..) => (None, passed),
        };
        let asked = |payload| Asked { method: method.clone(), target, accept, content, payload };
        let response = self.ask_once(at, asked(payload)).await?;
        let (StatusCode::UNAUTHORIZED, Some(bytes)) = (response.status(), again) else { return Ok(response) };
        if !self.is_own(at) {
            return Ok(response);
        }
        let header =
            response.headers().get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let Some(shown) = self.show(&header).await? else { return Ok(response) };
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
        self.ask_once(at, asked(Payload::Bytes(bytes))).await
    }

    async fn ask_once(&self, at: &Address, asked: Asked<'_>) -> Result<Response<Incoming>, Fault> {
        let way = self.connect(at).await?;
        let request = Request::builder().method(asked.method.clone()).uri(way.target(at)).header(HOST, at.host_and_port());
        let mut request = request.header(USER_AGENT, "baistack").header(CONNECTION, "close");
        if let Some(shown) = way.shown() {
            request = request.header(PROXY_AUTHORIZATION, shown);
        }
        if let Some(accept) = asked.accept {
            request = request.header(ACCEPT, accept);
        }
        if let Some(content) = asked.content {
            request = request.header(CONTENT_TYPE, content);
        }
        let authorization = self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(authorization) = authorization.filter(|_| self.is_own(at)) {
            request = request.header(AUTHORIZATION, authorization);
        }
        let body = match asked.payload {
            Payload::Bytes(bytes) => {
                if matches!(asked.method, Method::POST | Method::PUT) {
                    request = request.header(CONTENT_LENGTH, bytes.len());
                }
                Full::new(bytes).map_err(|never: Infallible| -> hyper::Error { match never {} }).boxed()
            }
            Payload::Passed(body, size) => {
                request = request.header(CONTENT_LENGTH, size);
                body.boxed()
            }
        };
        let request = request.body(body).map_err(|error| Fault::permanent(error.to_string()))?;
        self.exchange(way.wire, request).await
    }

    // ── where ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

    /// A path of the registry or an address, seen from another. Of a registry that speaks TLS none without is taken: whoever has given
    /// it may have been anybody.
    fn address(&self, target: &str, from: Option<&Address>) -> Result<Address, Fault> {
        let strange = || self.strange(&format!("the address `{target}`"));
        let base = match from {
            Some(from) => from.clone(),
            None => Address { scheme: None, authority: self.authority()?, path: "/".to_owned() },
        };
        if target.starts_with('/') && !target.starts_with("//") {
            return Ok(Address { path: target.to_owned(), ..base });
        }
        let uri: Uri = match target.strip_prefix("//") {
            Some(rest) if base.scheme == Some(Scheme::Http) || base.scheme.is_none() && self.scheme() == Some(Scheme::Http) => {
                format!("http://{rest}").parse().map_err(|_| strange())?
            }
            Some(rest) => format!("https://{rest}").parse().map_err(|_| strange())?,
            None if target.contains("://") => target.parse().map_err(|_| strange())?,
            None => {
                let path = base.path.split('?').next().unwrap_or_default();
                let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
                return Ok(Address { path: format!("{directory}/{target}"), ..base });
            }
        };
        let scheme = match uri.scheme_str() {
            Some("https") => Scheme::Https,
            Some("http") => Scheme::Http,
            Some(_) | None => return Err(strange()),
        };
        if scheme == Scheme::Http && [self.scheme(), base.scheme].contains(&Some(Scheme::Https)) {
            return Err(self.strange(&format!("an address without TLS, `{target}`, which is not followed")));
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Address { scheme: Some(scheme), authority: uri.authority().ok_or_else(strange)?.clone(), path })
    }

    /// Whether it is the registry itself.
    fn is_own(&self, at: &Address) -> bool {
        let (Ok(authority), Some(own)) = (self.authority(), self.scheme()) else { return at.scheme.is_none() };
        let scheme = at.scheme.unwrap_or(own);
        let known = Address { scheme: Some(own), authority, path: String::new() };
        scheme == own && at.host().eq_ignore_ascii_case(known.host()) && at.port(scheme) == known.port(own)
    }

    /// Where the registry itself is reached.
    fn authority(&self) -> Result<Authority, Fault> {
        // docker/distribution's `reference` has the one name, its servers the other.
        let server = if self.registry == "docker.io" { "registry-1.docker.io" } else { self.registry.as_str() };
        server.parse().map_err(|_| Fault::permanent(format!("`{}` is no address of a registry", self.registry)))
    }

    fn scheme(&self) -> Option<Scheme> {
        *self.scheme.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn exchange(&self, stream: Box<dyn Wire>, request: Request<Body>) -> Result<Response<Incoming>, Fault> {
        let silent = |error: &dyn std::fmt::Display| {
            Fault::temporary(format!("the registry `{}` does not answer: {error}", self.registry))
        };
        let why = |error: &hyper::Error| std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
        let stream = Patient::new(stream, self.patience);
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| silent(&why(&error)))?;
        // It ends by itself, with the answer.
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(|error| silent(&why(&error)))
    }

    async fn connect(&self, at: &Address) -> Result<Way, Fault> {
        if let Some(scheme) = at.scheme.or(self.scheme()) {
            return self.open(at, scheme).await;
        }
        let remember = |scheme| *self.scheme.lock().unwrap_or_else(PoisonError::into_inner) = Some(scheme);
        match self.open(at, Scheme::Https).await {
            Ok(stream) => {
                remember(Scheme::Https);
                Ok(stream)
            }
            Err(_) if is_of_this_host(at.host()) => {
                let stream = self.open(at, Scheme::Http).await?;
                remember(Scheme::Http);
                Ok(stream)
            }
            Err(fault) => Err(fault),
        }
    }

    async fn open(&self, at: &Address, scheme: Scheme) -> Result<Way, Fault> {
        let (host, port, tls) = (at.host().trim_matches(['[', ']']), at.port(scheme), scheme == Scheme::Https);
        let unreached = |why: &str| format!("the registry `{}` is not to be reached: {why}", self.registry);
        let proxy = self.proxies.between(tls, host, port).map_err(|why| Fault::permanent(unreached(&why)))?;
        let opening = dial::registry(host, port, tls, proxy.as_ref());
        let opened = tokio::time::timeout(self.patience, opening).await;
        let opened = opened.unwrap_or_else(|_| Err("it takes too long".to_owned()));
        let wire = opened.map_err(|why| Fault::temporary(unreached(&why)))?;
        Ok(Way { wire, forwards: proxy.filter(|_| !tls) })
    }

    /// What the registry is shown of us, by what it asks for; none where there is nothing to show.
    async fn show(&self, challenge: &str) -> Result<Option<String>, Fault> {
        let (kind, rest) = challenge.split_once(' ').unwrap_or((challenge, ""));
        let credentials = self.credentials.as_ref();
        let basic = credentials.and_then(|known| Some((known.username.as_deref()?, known.password.as_deref()?)));
        let basic = basic.map(|(user, word)| format!("Basic {}", base64(format!("{user}:{word}").as_bytes())));
        if kind.eq_ignore_ascii_case("basic") {
            return Ok(basic);
        }
        if !kind.eq_ignore_ascii_case("bearer") {
            return Ok(None);
        }
        let parameters = parameters(rest);
        let parameter =
            |name: &str| parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str());
        let Some(realm) = parameter("realm") else { return Ok(None) };
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        pairs.extend(parameter("service").map(|service| ("service", service)));
        pairs.extend(parameter("scope").map(|scope| ("scope", scope)));
        let token = credentials.and_then(|known| known.identitytoken.as_deref());
        let mut response = None;
        if let Some(token) = token {
            let own = [("grant_type", "refresh_token"), ("client_id", "baistack"), ("refresh_token", token)];
            let form = query(own.iter().chain(&pairs));
            response = Some(self.ask_for_token(Method::POST, realm, form, None).await?);
        }
        let response = match response {
            Some(response) => response,
            None => {
                let with = if realm.contains('?') { '&' } else { '?' };
                let target = format!("{realm}{with}{}", query(pairs.iter()));
                self.ask_for_token(Method::GET, &target, String::new(), basic).await?
            }
        };
        #[derive(Deserialize)]
        struct Given {
            token: Option<String>,
            access_token: Option<String>,
        }
        let bytes = self.succeeded(response, &[StatusCode::OK]).await?;
        let given: Given = serde_json::from_slice(&bytes).map_err(|_| self.strange("no token"))?;
        Ok(given.token.or(given.access_token).map(|token| format!("Bearer {token}")))
    }

    async fn ask_for_token(
        &self,
        method: Method,
        target: &str,
        form: String,
        authorization: Option<String>,
    ) -> Result<Response<Incoming>, Fault> {
        let at = self.address(target, None)?;
        let way = self.connect(&at).await?;
        let mut request = Request::builder().method(method).uri(way.target(&at)).header(HOST, at.host_and_port());
        if let Some(shown) = way.shown() {
            request = request.header(PROXY_AUTHORIZATION, shown);
        }
        let request = request.header(USER_AGENT, "baistack");
        let mut request = request.header(CONNECTION, "close").header(CONTENT_LENGTH, form.len());
        if !form.is_empty() {
            request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let body = Full::new(Bytes::from(form)).map_err(|never: Infallible| -> hyper::Error { match never {} }).boxed();
        let request = request.body(body).map_err(|error| Fault::permanent(error.to_string()))?;
        self.exchange(way.wire, request).await
    }

    // ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

    fn location(&self, response: &Response<Incoming>) -> Result<String, Fault> {
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        location.map(str::to_owned).ok_or_else(|| self.strange("no place to go on at"))
    }

    /// The content of an answer of one of these kinds; of others what the registry says.
    async fn succeeded(&self, response: Response<Incoming>, expected: &[StatusCode]) -> Result<Bytes, Fault> {
        let status = response.status();
        let mut body = response.into_body();
        let mut content = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame =
                frame.map_err(|error| Fault::temporary(format!("the registry `{}` broke off: {error}", self.registry)))?;
            content.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            if content.len() > MAX_ANSWER {
                return Err(self.strange("an answer without an end"));
            }
        }
        if expected.contains(&status) {
            return Ok(content.into());
        }
        let said = said(&content).map(|said| format!(": {said}")).unwrap_or_default();
        let remedy = match (status, &self.credentials) {
            (StatusCode::UNAUTHORIZED, None) => format!("; `docker login {}` says who you are", self.registry),
            (StatusCode::UNAUTHORIZED, Some(_)) => {
                format!("; it does not take the login of `{}` that is known here", self.registry)
            }
            _ => String::new(),
        };
        let message = format!("the registry `{}` refuses `{}` ({status}){said}{remedy}", self.registry, self.path);
        let may_pass = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        Err(if may_pass { Fault::temporary(message) } else { Fault::permanent(message) })
    }

    fn strange(&self, what: &str) -> Fault {
        Fault::permanent(format!("the registry `{}` gave {what}", self.registry))
    }
}

/// What a registry says is wrong.
fn said(content: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(content).ok()?;
    let errors = answer.get("errors")?.as_array()?;
    let one = |error: &Value| error.get("message").or_else(|| error.get("code")).and_then(Value::as_str).map(str::to_owned);
    let all: Vec<String> = errors.iter().filter_map(one).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// Whether an engine would speak to it without TLS as well.
pub(super) fn is_of_this_host(host: &str) -> bool {
    host == "localhost" || host.trim_matches(['[', ']']).parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// `key="value",key=value`.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    while let Some((key, after)) = rest.split_once('=') {
        let (value, left) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        found.push((key.trim_matches([' ', ',']).to_owned(), value.to_owned()));
        rest = left.trim_start_matches([' ', ',']);
    }
    found
}

fn query<'a>(pairs: impl Iterator<Item = &'a (&'a str, &'a str)>) -> String {
    let one = |(key, value): &(&str, &str)| format!("{key}={}", escaped(value));
    pairs.map(one).collect::<Vec<_>>().join("&")
}

fn escaped(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

#[cfg(test)]
#[path = "distribution_tests.rs"]
mod tests;
