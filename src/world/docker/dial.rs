//! Connections of our own to the engine, for what bollard does not ask or asks differently.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use http_body_util::{BodyExt, Collected, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderMap, PROXY_AUTHORIZATION, UPGRADE};
use hyper::http::request;
use hyper::upgrade::Upgraded;
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::connect::{Certificates, Endpoint};
use super::error;
use super::ssh::Tunnel;
use super::web_proxy::WebProxy;
use crate::plan::action::{Fault, FaultKind};

/// Where distributions keep the certificates of authorities (Go's `crypto/x509`, `root_linux.go`).
const AUTHORITIES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A connection, whatever it is made of.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Connects to the engine.
pub(super) async fn dial(endpoint: &Endpoint) -> Result<Box<dyn Wire>, Fault> {
    let lost = |error: std::io::Error| away(&error);
    Ok(match endpoint {
        Endpoint::Unix(path) => Box::new(UnixStream::connect(path).await.map_err(lost)?),
        Endpoint::Tcp(address) => Box::new(TcpStream::connect(address).await.map_err(lost)?),
        Endpoint::Tls(address, certificates) => {
            let config = verified(certificates).map_err(|why| Fault::permanent(format!("TLS with the Docker Engine: {why}")))?;
            let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
            let host = ServerName::try_from(host.trim_matches(['[', ']']).to_owned());
            let host = host.map_err(|error| Fault::permanent(format!("`{address}` names no engine: {error}")))?;
            let stream = TcpStream::connect(address).await.map_err(lost)?;
            Box::new(TlsConnector::from(Arc::new(config)).connect(host, stream).await.map_err(lost)?)
        }
        Endpoint::Ssh(_) => Box::new(Tunnel::to(&endpoint.shown()).begin().map_err(lost)?),
        Endpoint::Unusable(why) => return Err(Fault { kind: FaultKind::EngineAway, message: why.clone() }),
    })
}

/// What an engine says of itself in the head of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Greeting {
    /// The newest version of its interface, `1.41`.
    pub(super) api_version: String,
    /// Its release, `20.10.24`.
    pub(super) release: String,
    /// It is Podman.
    pub(super) is_podman: bool,
}

/// Greets the engine with `/_ping`, as Docker's command line does: `/version` has an engine run `runc` and `docker-init` for their
/// versions, which takes it longer than everything else that a command asks. `None` where nobody answers, or not as engines do.
pub(super) async fn greet(endpoint: &Endpoint) -> Option<Greeting> {
    let stream = dial(endpoint).await.ok()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    let request = Request::get("/_ping").header(HOST, "docker").body(Empty::<Bytes>::new()).ok()?;
    let response = sender.send_request(request).await.ok()?;
    greeting(response.headers()).filter(|_| response.status().is_success())
}

fn greeting(head: &HeaderMap) -> Option<Greeting> {
    let said = |name: &str| head.get(name).and_then(|value| value.to_str().ok());
    // `Docker/20.10.24+dfsg1 (linux)`, `Libpod/4.3.1 (linux)`.
    let release = said("server")?.split_once('/')?.1.split_ascii_whitespace().next()?;
    Some(Greeting {
        api_version: said("api-version")?.to_owned(),
        release: release.to_owned(),
        is_podman: head.contains_key("libpod-api-version"),
    })
}

/// Connects to a registry, or to who speaks for one; with TLS it has to be who it says. A proxy has TLS led through it; without, the
/// connection is to the proxy itself.
pub(super) async fn registry(host: &str, port: u16, tls: bool, proxy: Option<&WebProxy>) -> Result<Box<dyn Wire>, String> {
    let Some(proxy) = proxy else {
        let stream: Box<dyn Wire> = Box::new(TcpStream::connect((host, port)).await.map_err(|error| error.to_string())?);
        return if tls { secured(stream, host, port).await } else { Ok(stream) };
    };
    let led = async {
        let stream = TcpStream::connect((proxy.host.as_str(), proxy.port)).await.map_err(|error| error.to_string())?;
        let stream: Box<dyn Wire> = Box::new(stream);
        let stream = if proxy.tls { secured(stream, &proxy.host, proxy.port).await? } else { stream };
        if tls { led_through(stream, host, port, proxy).await } else { Ok(stream) }
    };
    let stream = led.await.map_err(|why: String| format!("{proxy}: {why}"))?;
    if tls { secured(stream, host, port).await } else { Ok(stream) }
}

/// Has a proxy pass on what is said from here on.
async fn led_through(stream: Box<dyn Wire>, host: &str, port: u16, proxy: &WebProxy) -> Result<Box<dyn Wire>, String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let server = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let mut request = Request::connect(&server).header(HOST, &server);
    if let Some(authorization) = &proxy.authorization {
        request = request.header(PROXY_AUTHORIZATION, authorization);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| said(&error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| said(&error))?;
    tokio::spawn(connection.with_upgrades());
    let response = sender.send_request(request).await.map_err(|error| said(&error))?;
    match response.status() {
        status if status.is_success() => {
            let stream = hyper::upgrade::on(response).await.map_err(|error| said(&error))?;
            Ok(Box::new(TokioIo::new(stream)))
        }
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            Err("it wants to know who asks: write `http://USER:PASSWORD@HOST:PORT` there".to_owned())
        }
        status => Err(format!("it leads nobody to `{server}` ({status}): let it, or name that in `NO_PROXY`")),
    }
}

/// Has a connection encrypted to whom it says it is to.
async fn secured(stream: Box<dyn Wire>, host: &str, port: u16) -> Result<Box<dyn Wire>, String> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    let config = config.with_root_certificates(authorities(host, port)?).with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    Ok(Box::new(stream.map_err(|error| format!("TLS: {error}"))?))
}

/// Whom this host trusts to say who somebody is: `$SSL_CERT_FILE`, else the file that its distribution keeps, and what the engine is told of
/// this registry (`/etc/docker/certs.d`).
fn authorities(host: &str, port: u16) -> Result<RootCertStore, String> {
    let own = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from).into_iter();
    let Some(file) = own.chain(AUTHORITIES.map(PathBuf::from)).find(|file| file.is_file()) else {
        return Err("this host has no certificates of authorities: install `ca-certificates`".to_owned());
    };
    let of_engine =
        [format!("{host}:{port}"), host.to_owned()].map(|name| Path::new("/etc/docker/certs.d").join(name).join("ca.crt"));
    let mut roots = RootCertStore::empty();
    for file in of_engine.into_iter().filter(|file| file.is_file()).chain([file]) {
        let read = CertificateDer::pem_file_iter(&file).map_err(|error| format!("read `{}`: {error}", file.display()))?;
        // One that nobody understands any more is nobody's.
        roots.add_parsable_certificates(read.filter_map(Result::ok));
    }
    Ok(roots)
}

/// Has the engine speak HTTP/2 on a connection of its own from here on: `POST`, and an upgrade to `h2c`. `None` when it knows no
/// such path.
pub(super) async fn upgraded(endpoint: &Endpoint, path: &str, headers: &[(&str, &str)]) -> Result<Option<Upgraded>, Fault> {
    let request = Request::post(path).header(CONNECTION, "Upgrade").header(UPGRADE, "h2c");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let response = ask(endpoint, request).await?;
    match response.status() {
        StatusCode::SWITCHING_PROTOCOLS => hyper::upgrade::on(response).await.map(Some).map_err(|error| away(&error)),
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => Ok(None),
        status => Err(Fault::permanent(format!("the Docker Engine opens no `{path}`: {status}"))),
    }
}

/// Has the engine hand over a connection, on which it says what there is to be said until that ends: `POST`, and an upgrade to `tcp`, as
/// Docker's command line does it.
pub(super) async fn hijacked(endpoint: &Endpoint, path: &str) -> Result<Upgraded, Fault> {
    let response = ask(endpoint, Request::post(path).header(CONNECTION, "Upgrade").header(UPGRADE, "tcp")).await?;
    match response.status() {
        StatusCode::SWITCHING_PROTOCOLS => hyper::upgrade::on(response).await.map_err(|error| away(&error)),
        _ => Err(refusal(response).await),
    }
}

/// The engine's answer to a `GET`, as it comes. In the words of HTTP/1.0, whose answers come as they are: in those of 1.1 an engine sends
/// each line as a piece of its own, which costs more than the line does.
pub(super) async fn streamed(endpoint: &Endpoint, path: &str) -> Result<Incoming, Fault> {
    let response = ask(endpoint, Request::get(path).version(Version::HTTP_10)).await?;
    if response.status().is_success() { Ok(response.into_body()) } else { Err(refusal(response).await) }
}

/// Puts a request to the engine on a connection of its own.
async fn ask(endpoint: &Endpoint, request: request::Builder) -> Result<Response<Incoming>, Fault> {
    let stream = dial(endpoint).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| away(&error))?;
    // It ends by itself: with the answer, or handing on its stream.
    tokio::spawn(connection.with_upgrades());
    let request = request.header(HOST, "docker").body(Empty::<Bytes>::new());
    let request = request.map_err(|error| Fault::permanent(error.to_string()))?;
    sender.send_request(request).await.map_err(|error| away(&error))
}

/// An answer that says no: `{"message": "No such container: x"}`.
async fn refusal(response: Response<Incoming>) -> Fault {
    #[derive(Deserialize)]
    struct Refusal {
        message: String,
    }
    let status = response.status().as_u16();
    let text = response.into_body().collect().await.map(Collected::to_bytes).unwrap_or_default();
    let message =
        serde_json::from_slice(&text).map_or_else(|_| String::from_utf8_lossy(&text).into_owned(), |Refusal { message }| message);
    error::refusal(status, &message)
}

/// How the engine is verified, and what it is shown.
fn verified(certificates: &Certificates) -> Result<ClientConfig, String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let read = |name| CertificateDer::pem_file_iter(certificates.path(name)).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut roots = RootCertStore::empty();
    for certificate in read(Certificates::CA).map_err(|error| said(&error))? {
        roots.add(certificate).map_err(|error| said(&error))?;
    }
    let own = read(Certificates::CERTIFICATE).map_err(|error| said(&error))?;
    let key = PrivateKeyDer::from_pem_file(certificates.path(Certificates::KEY)).map_err(|error| said(&error))?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().map_err(|error| said(&error))?;
    config.with_root_certificates(roots).with_client_auth_cert(own, key).map_err(|error| said(&error))
}

fn away(error: &dyn std::error::Error) -> Fault {
    Fault { kind: FaultKind::EngineAway, message: format!("the Docker Engine does not answer: {error}") }
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn an_engine_is_known_by_the_head_of_its_answer() {
        let check = |head: &[(&'static str, &'static str)], expected: Option<(&str, &str, bool)>| {
            let pairs = head.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            let found = greeting(&pairs.collect());
            let found = found.as_ref().map(|it| (it.api_version.as_str(), it.release.as_str(), it.is_podman));
            assert_eq!(found, expected, "{head:?}");
        };
        check(&[("api-version", "1.41"), ("server", "Docker/20.10.24+dfsg1 (linux)")], Some(("1.41", "20.10.24+dfsg1", false)));
        let podman = [("api-version", "1.41"), ("libpod-api-version", "4.3.1"), ("server", "Libpod/4.3.1 (linux)")];
        check(&podman, Some(("1.41", "4.3.1", true)));
        check(&[("server", "nginx/1.2")], None);
        check(&[("api-version", "1.41")], None);
    }
}
