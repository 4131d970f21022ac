//! Where the engine is, and the way to it.
//!
//! `DOCKER_HOST`, else the Docker context in use, else the usual sockets. A connection is made when it is first needed, so
//! that a stack of processes alone never asks for an engine. Unix sockets, TCP with and without TLS, and SSH; anything else is refused by
//! name. TLS verifies the engine and shows it a certificate, with the files that Docker's command line uses. Over SSH the engine is spoken
//! to by `docker system dial-stdio` on its host, as Docker's command line does it, through the `ssh` of this one: its keys, its
//! configuration, its known hosts.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use super::ssh::Tunnel;
use super::{dial, error};
use crate::plan::action::{Fault, FaultKind};
use crate::plan::hash::hex;
use crate::world::engine_records::EnginePlace;

const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// Where an engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A unix socket.
    Unix(PathBuf),
    /// `host:port`, plain HTTP.
    Tcp(String),
    /// `host:port`, HTTPS.
    Tls(String, Certificates),
    /// `user@host:port`, as `ssh` takes it; user and port may be missing.
    Ssh(String),
    /// Something that cannot be used, and why.
    Unusable(String),
}

/// What an engine is verified with, and what it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificates {
    directory: PathBuf,
}

impl Certificates {
    pub(super) const CA: &str = "ca.pem";
    pub(super) const CERTIFICATE: &str = "cert.pem";
    pub(super) const KEY: &str = "key.pem";

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The first file that cannot be read, and why.
    fn fault(&self) -> Option<String> {
        [Self::CA, Self::CERTIFICATE, Self::KEY].into_iter().find_map(|name| {
            let path = self.path(name);
            let error = std::fs::File::open(&path).err()?;
            Some(format!("TLS with the Docker Engine needs `{}`: {error}", path.display()))
        })
    }
}

/// Whether and how an engine at a TCP address is spoken to over TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tls {
    None,
    With(Certificates),
    /// Without verifying the engine.
    Blind,
}

/// The files of Docker's command line that are read: `$DOCKER_CONFIG`, else `~/.docker`.
pub(super) fn config_dir(environment: &IndexMap<String, String>) -> Option<PathBuf> {
    let set = |name: &str| environment.get(name).filter(|value| !value.is_empty());
    set("DOCKER_CONFIG").map(PathBuf::from).or_else(|| set("HOME").map(|home| Path::new(home).join(".docker")))
}

impl Endpoint {
    /// The engine that Docker's command line would talk to in this environment.
    pub fn find(environment: &IndexMap<String, String>) -> Endpoint {
        let set = |name: &str| environment.get(name).filter(|value| !value.is_empty());
        if let Some(host) = set("DOCKER_HOST") {
            let directory = set("DOCKER_CERT_PATH").map(PathBuf::from).or_else(|| config_dir(environment));
            let tls = match (set("DOCKER_TLS_VERIFY"), set("DOCKER_TLS"), directory) {
                (Some(_), _, Some(directory)) => Tls::With(Certificates { directory }),
                (Some(_), _, None) | (None, None, _) => Tls::None,
                (None, Some(_), _) => Tls::Blind,
            };
            return Endpoint::of_host(host, tls);
        }
        let config_dir = config_dir(environment);
        let context = set("DOCKER_CONTEXT").cloned().or_else(|| current_context(config_dir.as_deref()?));
        match context.as_deref() {
            None | Some("default" | "") => Endpoint::Unix(usual_socket(environment)),
            Some(name) => match config_dir.as_deref().and_then(|dir| host_of_context(dir, name)) {
                Some((host, tls)) => Endpoint::of_host(&host, tls),
                None => Endpoint::Unusable(format!("the Docker context `{name}` cannot be read")),
            },
        }
    }

    fn of_host(host: &str, tls: Tls) -> Endpoint {
        if let Some(path) = host.strip_prefix("unix://") {
            return Endpoint::Unix(path.into());
        }
        if let Some(address) = host.strip_prefix("ssh://") {
            let address = address.trim_end_matches('/');
            return match address.split_once('/') {
                None if !address.is_empty() => Endpoint::Ssh(address.to_owned()),
                None | Some(_) => Endpoint::Unusable(format!(
                    "a Docker Engine at `{host}` is not supported: use ssh://USER@HOST or ssh://USER@HOST:PORT, without a path"
                )),
            };
        }
        match host.strip_prefix("tcp://").or_else(|| host.strip_prefix("http://")) {
            Some(address) => {
                let address = address.trim_end_matches('/').to_owned();
                match tls {
                    Tls::None => Endpoint::Tcp(address),
                    Tls::With(certificates) => match certificates.fault() {
                        None => Endpoint::Tls(address, certificates),
                        Some(fault) => Endpoint::Unusable(fault),
                    },
                    Tls::Blind => Endpoint::Unusable(format!(
                        "the Docker Engine at `{host}` is to be trusted without its certificate, which is not supported: set \
                         DOCKER_TLS_VERIFY=1, or give the context its `ca.pem`"
                    )),
                }
            }
            None => Endpoint::Unusable(format!("a Docker Engine at `{host}` is not supported: use unix://, tcp:// or ssh://")),
        }
    }

    /// What it takes to ask it again; none of what cannot be used.
    pub fn place(&self) -> Option<EnginePlace> {
        match self {
            Endpoint::Unix(path) => Some(EnginePlace::Plain(format!("unix://{}", path.display()))),
            Endpoint::Tls(_, Certificates { directory }) => {
                Some(EnginePlace::Tls { host: self.shown(), certificates: directory.clone() })
            }
            Endpoint::Tcp(_) | Endpoint::Ssh(_) => Some(EnginePlace::Plain(self.shown())),
            Endpoint::Unusable(_) => None,
        }
    }

    /// Whether it is reached over a network, so that the ports that it publishes are another host's.
    pub fn is_elsewhere(&self) -> bool {
        matches!(self, Endpoint::Tcp(_) | Endpoint::Tls(..) | Endpoint::Ssh(_))
    }

    /// Whether it is reached by a socket of this host, so that paths it was told may be paths of this host.
    pub(super) fn is_local(&self) -> bool {
        matches!(self, Endpoint::Unix(_))
    }

    /// As people write it.
    pub(super) fn shown(&self) -> String {
        match self {
            Endpoint::Unix(path) => path.display().to_string(),
            Endpoint::Tcp(address) | Endpoint::Tls(address, _) => format!("tcp://{address}"),
            Endpoint::Ssh(address) => format!("ssh://{address}"),
            Endpoint::Unusable(_) => String::new(),
        }
    }
}

/// The engine's default socket; where that is missing, the first of a rootless engine's and Docker Desktop's that exists.
fn usual_socket(environment: &IndexMap<String, String>) -> PathBuf {
    let default = PathBuf::from(DEFAULT_SOCKET);
    let rootless = environment.get("XDG_RUNTIME_DIR").map(|dir| Path::new(dir).join("docker.sock"));
    let desktop = environment.get("HOME").map(|home| Path::new(home).join(".docker/run/docker.sock"));
    let others = [rootless, desktop].into_iter().flatten();
    if default.exists() { default } else { others.into_iter().find(|path| path.exists()).unwrap_or(default) }
}

fn current_context(config_dir: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct Config {
        #[serde(rename = "currentContext")]
        current_context: Option<String>,
    }
    let text = std::fs::read(config_dir.join("config.json")).ok()?;
    serde_json::from_slice::<Config>(&text).ok()?.current_context
}

/// The `docker` endpoint of a context, and its TLS files. Its directories are named by the SHA-256 of the context's name (docker/cli,
/// `cli/context/store`).
fn host_of_context(config_dir: &Path, name: &str) -> Option<(String, Tls)> {
    let digest = hex(&Sha256::digest(name.as_bytes()));
    let contexts = config_dir.join("contexts");
    let text = std::fs::read(contexts.join("meta").join(&digest).join("meta.json")).ok()?;
    let meta: serde_json::Value = serde_json::from_slice(&text).ok()?;
    let host = meta.pointer("/Endpoints/docker/Host")?.as_str()?.to_owned();
    let is_blind = meta.pointer("/Endpoints/docker/SkipTLSVerify").and_then(serde_json::Value::as_bool).unwrap_or(false);
    let directory = contexts.join("tls").join(digest).join("docker");
    let tls = if is_blind {
        Tls::Blind
    } else if directory.is_dir() {
        Tls::With(Certificates { directory })
    } else {
        Tls::None
    };
    Some((host, tls))
}

/// So long an engine may take to greet.
const HELLO: Duration = Duration::from_secs(20);

/// An engine's version of its interface, as `1.41`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ApiVersion {
    major: u32,
    minor: u32,
}

impl ApiVersion {
    /// Version 1.`minor`.
    pub(super) const fn v1(minor: u32) -> Self {
        Self { major: 1, minor }
    }

    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

impl std::fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A way to an engine that has answered once.
#[derive(Debug, Clone)]
pub(super) struct Link {
    /// Requests carry no version, so the engine takes its newest: an old one is asked nothing that it does not know.
    pub(super) api: bollard::Docker,
    /// What it understands.
    pub(super) version: ApiVersion,
    /// What it calls itself, `20.10.24`.
    pub(super) release: String,
    /// It is Podman, which answers as an engine does.
    pub(super) is_podman: bool,
    platform: Arc<OnceCell<String>>,
}

impl Link {
    /// Asks the engine at this place for its version.
    pub(super) async fn open(endpoint: &Endpoint) -> Result<Link, Fault> {
        let seconds = 120;
        let version = bollard::API_DEFAULT_VERSION;
        let mut tunnel = None;
        let api = match endpoint {
            Endpoint::Unix(path) => bollard::Docker::connect_with_unix(&path.display().to_string(), seconds, version),
            Endpoint::Tcp(address) => bollard::Docker::connect_with_http(&format!("tcp://{address}"), seconds, version),
            Endpoint::Tls(address, certificates) => {
                let path = |name| certificates.path(name);
                let [key, certificate, ca] = [Certificates::KEY, Certificates::CERTIFICATE, Certificates::CA].map(path);
                bollard::Docker::connect_with_ssl(&format!("tcp://{address}"), &key, &certificate, &ca, seconds, version)
            }
            Endpoint::Ssh(_) => tunnel.insert(Tunnel::to(&endpoint.shown())).engine(seconds),
            Endpoint::Unusable(why) => return Err(away(why.clone())),
        };
        let api = api.map_err(|error| unreachable_engine(endpoint, &error))?;
        // A tunnel is dug once.
        if tunnel.is_none() {
            let greeting = tokio::time::timeout(HELLO, dial::greet(endpoint)).await;
            let greeting = greeting.map_err(|_| unreachable_engine(endpoint, &bollard::errors::Error::RequestTimeoutError))?;
            if let Some(dial::Greeting { api_version, release, is_podman }) = greeting
                && let Some(version) = ApiVersion::parse(&api_version)
            {
                return Ok(Link { api, version, release, is_podman, platform: Arc::default() });
            }
        }
        let hello = api.clone().with_timeout(HELLO);
        let version = match (hello.version().await, tunnel) {
            (Ok(version), _) => version,
            (Err(error), None) => return Err(unreachable_engine(endpoint, &error)),
            (Err(error), Some(tunnel)) => return Err(unreachable_host(endpoint, &error, tunnel.last_words().await)),
        };
        let api_version = version.api_version.as_deref().and_then(ApiVersion::parse);
        let Some(api_version) = api_version else {
            return Err(away(format!("what answers at `{}` is no Docker Engine", endpoint.shown())));
        };
        let is_podman = version.components.iter().flatten().any(|component| component.name.starts_with("Podman"));
        let release = version.version.unwrap_or_default();
        Ok(Link { api, version: api_version, release, is_podman, platform: Arc::default() })
    }

    /// What the engine runs itself, `linux/amd64`.
    pub(super) async fn platform(&self) -> Result<String, Fault> {
        let ask = async || {
            let version = self.api.version().await?;
            Ok::<_, Fault>(format!("{}/{}", version.os.unwrap_or_default(), version.arch.unwrap_or_default()))
        };
        self.platform.get_or_try_init(ask).await.cloned()
    }

    /// For answers that take as long as they take: pulls, builds, logs, events.
    pub(super) fn patient(&self) -> bollard::Docker {
        self.api.clone().with_timeout(Duration::from_secs(24 * 3600))
    }
}

fn away(message: String) -> Fault {
    Fault { kind: FaultKind::EngineAway, message }
}

/// Why nobody answers on another host, in the words of `ssh` where it has any.
fn unreachable_host(endpoint: &Endpoint, error: &bollard::errors::Error, said: Option<String>) -> Fault {
    let shown = endpoint.shown();
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    let why = said.or_else(|| causes.last().map(ToString::to_string)).unwrap_or_default();
    away(format!("no way to the Docker Engine at `{shown}`: {why}; does `ssh {shown} docker version` go without a question?"))
}

/// Why nobody answers, in the user's words.
fn unreachable_engine(endpoint: &Endpoint, error: &bollard::errors::Error) -> Fault {
    let shown = endpoint.shown();
    let missing = matches!(error, bollard::errors::Error::SocketNotFoundError(_));
    away(match error::io_kind(error) {
        _ if missing => format!("no Docker Engine at `{shown}`: there is no such file; is the Engine installed and running?"),
        Some(std::io::ErrorKind::PermissionDenied) => {
            format!("no access to the Docker Engine at `{shown}`: permission denied; are you in the group `docker`?")
        }
        Some(std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::NotFound) => {
            format!("no Docker Engine answers at `{shown}`: connection refused; is it running?")
        }
        Some(kind) => format!("the Docker Engine at `{shown}` does not answer: {kind}"),
        None => match error {
            bollard::errors::Error::RequestTimeoutError => format!("the Docker Engine at `{shown}` does not answer"),
            _ => format!("the Docker Engine at `{shown}` does not answer: {error}"),
        },
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::world::testing_tls;

    fn environment(pairs: &[(&str, &str)]) -> IndexMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn docker_host_names_the_engine() {
        for (host, expected) in [
            ("unix:///run/x.sock", Endpoint::Unix("/run/x.sock".into())),
            ("tcp://127.0.0.1:2375", Endpoint::Tcp("127.0.0.1:2375".to_owned())),
            ("ssh://me@there:22", Endpoint::Ssh("me@there:22".to_owned())),
        ] {
            assert_eq!(Endpoint::find(&environment(&[("DOCKER_HOST", host)])), expected);
        }
        let host = ("DOCKER_HOST", "tcp://h:1");
        let nowhere = ("DOCKER_CERT_PATH", "/nowhere");
        for pairs in [
            &[("DOCKER_HOST", "ssh://me@there/run/docker.sock")][..],
            &[host, ("DOCKER_TLS_VERIFY", "1"), nowhere],
            &[host, ("DOCKER_TLS", "1")],
        ] {
            assert!(matches!(Endpoint::find(&environment(pairs)), Endpoint::Unusable(_)), "{pairs:?}");
        }
    }

    /// A directory with the three files.
    fn certificates(directory: &Path) -> Certificates {
        std::fs::create_dir_all(directory).unwrap();
        for name in [Certificates::CA, Certificates::CERTIFICATE, Certificates::KEY] {
            std::fs::write(directory.join(name), "").unwrap();
        }
        Certificates { directory: directory.to_owned() }
    }

    #[test]
    fn certificates_lie_where_docker_has_them() {
        let dir = tempfile::tempdir().unwrap();
        let named = certificates(&dir.path().join("named"));
        let tls = |certificates: &Certificates| Endpoint::Tls("h:1".to_owned(), certificates.clone());
        let path = named.directory.to_str().unwrap();
        let verify = [("DOCKER_HOST", "tcp://h:1"), ("DOCKER_TLS_VERIFY", "1")];
        assert_eq!(Endpoint::find(&environment(&[verify[0], verify[1], ("DOCKER_CERT_PATH", path)])), tls(&named));
        // Else where the command line has everything else of its own.
        assert_eq!(Endpoint::find(&environment(&[verify[0], verify[1], ("DOCKER_CONFIG", path)])), tls(&named));
        // A context brings its own.
        let digest = hex(&Sha256::digest(b"far"));
        let meta = dir.path().join("contexts/meta").join(&digest);
        let of_context = certificates(&dir.path().join("contexts/tls").join(&digest).join("docker"));
        std::fs::create_dir_all(&meta).unwrap();
        let config = dir.path().to_str().unwrap();
        let pairs = [("DOCKER_CONFIG", config), ("DOCKER_CONTEXT", "far")];
        for (skip, is_usable) in [("false", true), ("true", false)] {
            let text = format!(r#"{{"Endpoints": {{"docker": {{"Host": "tcp://h:1", "SkipTLSVerify": {skip}}}}}}}"#);
            std::fs::write(meta.join("meta.json"), text).unwrap();
            let found = Endpoint::find(&environment(&pairs));
            assert_eq!(found == tls(&of_context), is_usable, "{found:?}");
            // Under another context it is found again by what is on record.
            let other = environment(&[("DOCKER_HOST", "tcp://a:1"), ("DOCKER_TLS_VERIFY", "1"), ("DOCKER_CERT_PATH", path)]);
            let again = found.place().map(|place| Endpoint::find(&place.environment(&other)));
            assert_eq!(again, is_usable.then_some(found.clone()));
            assert_eq!(matches!(found, Endpoint::Unusable(_)), !is_usable, "{found:?}");
        }
    }

    #[test]
    fn the_context_in_use_names_the_engine() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        let meta = path.join("contexts/meta").join(hex(&Sha256::digest(b"colima")));
        std::fs::create_dir_all(&meta).unwrap();
        std::fs::write(meta.join("meta.json"), r#"{"Endpoints": {"docker": {"Host": "unix:///c.sock"}}}"#).unwrap();
        std::fs::write(path.join("config.json"), r#"{"currentContext": "colima"}"#).unwrap();
        let config = path.to_str().unwrap();
        let colima = Endpoint::Unix("/c.sock".into());
        assert_eq!(Endpoint::find(&environment(&[("DOCKER_CONFIG", config)])), colima);
        assert_eq!(
            Endpoint::find(&environment(&[("DOCKER_CONFIG", config), ("DOCKER_HOST", "tcp://a:1")])),
            Endpoint::Tcp("a:1".to_owned())
        );
        let unknown = Endpoint::find(&environment(&[("DOCKER_CONFIG", config), ("DOCKER_CONTEXT", "gone")]));
        assert!(matches!(unknown, Endpoint::Unusable(_)));
    }

    #[tokio::test]
    async fn an_engine_over_tls_is_verified_and_shown_a_certificate() {
        let answer = r#"{"Version": "20.10.24", "ApiVersion": "1.41"}"#;
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
            answer.len()
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let known = Certificates { directory: testing_tls::directory() };
        // One that has another authority: here its own certificate.
        let dir = tempfile::tempdir().unwrap();
        for (name, of) in [("ca.pem", "cert.pem"), ("cert.pem", "cert.pem"), ("key.pem", "key.pem")] {
            std::fs::copy(known.path(of), dir.path().join(name)).unwrap();
        }
        let stranger = Certificates { directory: dir.path().to_owned() };
        let ask = async {
            let link = Link::open(&Endpoint::Tls(address.clone(), known.clone())).await.unwrap();
            assert_eq!((link.version, link.release.as_str()), (ApiVersion::v1(41), "20.10.24"));
            let mut own = super::super::dial::dial(&Endpoint::Tls(address.clone(), known)).await.unwrap();
            own.write_all(b"GET /version HTTP/1.1\r\n\r\n").await.unwrap();
            let mut said = String::new();
            own.read_to_string(&mut said).await.unwrap();
            assert!(said.contains("20.10.24"), "{said}");
            assert!(super::super::dial::dial(&Endpoint::Tls(address.clone(), stranger.clone())).await.is_err());
            let fault = Link::open(&Endpoint::Tls(address.clone(), stranger)).await.unwrap_err();
            assert_eq!(fault.kind, FaultKind::EngineAway);
            assert!(fault.message.contains(&format!("tcp://{address}")), "{}", fault.message);
        };
        tokio::select! {
            () = testing_tls::serve(listener, testing_tls::Clients::Known, &answer) => {}
            () = ask => {}
        }
    }

    #[tokio::test]
    async fn a_missing_socket_is_told_by_its_path() {
        let fault = Link::open(&Endpoint::Unix("/nonexistent/docker.sock".into())).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::EngineAway);
        assert!(fault.message.contains("/nonexistent/docker.sock"), "{}", fault.message);
    }
}
