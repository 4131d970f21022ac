//! What the engine may ask us for while it builds: directories, secrets, SSH agents, layers, and who we are to a registry.
//!
//! The connection is one that we open (`POST /session`) and on which the engine then calls us.

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::{AbortHandle, Abortable};
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioExecutor;

use super::super::connect::Endpoint;
use super::super::layout::Layout;
use super::super::{Docker, dial};
use super::agent;
use super::content;
use super::files::{self, Tree, Wanted};
use super::grpc::{self, Answer, Messages, Refusal, code};
use super::keys::KeyAgent;
use super::wire::{ByDigest, ById, Credentials, CredentialsRequest, Data, Health, Nothing};
use crate::plan::action::Fault;

/// What of the session's services there is, by the paths that they are called at.
const HEALTH: &str = "/grpc.health.v1.Health/Check";
const FILES: &str = "/moby.filesync.v1.FileSync/DiffCopy";
const CREDENTIALS: &str = "/moby.filesync.v1.Auth/Credentials";
const SECRET: &str = "/moby.buildkit.secrets.v1.Secrets/GetSecret";
const CHECK_AGENT: &str = "/moby.sshforward.v1.SSH/CheckAgent";
const FORWARD_AGENT: &str = "/moby.sshforward.v1.SSH/ForwardAgent";
const CONTENT_INFO: &str = "/containerd.services.content.v1.Content/Info";
const CONTENT_READ: &str = "/containerd.services.content.v1.Content/Read";
const CONTENT_WRITE: &str = "/containerd.services.content.v1.Content/Write";

/// The largest secret that is handed on, as in BuildKit.
const LARGEST_SECRET: u64 = 500 * 1024;

/// Where a secret comes from.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Secret {
    /// A file, read when it is asked for.
    File(PathBuf),
    /// The value itself.
    Value(String),
}

/// What a build may ask for.
pub(super) struct Served {
    pub(super) docker: Docker,
    pub(super) trees: HashMap<String, Tree>,
    pub(super) secrets: HashMap<String, Secret>,
    /// Directories of layers.
    pub(super) layouts: HashMap<String, Layout>,
    /// The sockets of SSH agents.
    pub(super) agents: HashMap<String, PathBuf>,
    /// Agents that run for this build alone.
    #[expect(dead_code, reason = "held, so that they end with the session")]
    pub(super) keys: Vec<KeyAgent>,
}

/// A session. It ends when it is dropped, and with it whatever the engine is still being sent.
pub(super) struct Session {
    connection: AbortHandle,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Session {
    /// Opens one; none when the engine knows of no sessions. `shared_key` is the same for builds that begin with the same
    /// directories, so that the engine asks only for what has changed.
    pub(super) async fn open(endpoint: &Endpoint, id: &str, shared_key: &str, served: Served) -> Result<Option<Session>, Fault> {
        let mut headers = vec![
            ("X-Docker-Expose-Session-Uuid", id),
            ("X-Docker-Expose-Session-Name", "baistack"),
            ("X-Docker-Expose-Session-Sharedkey", shared_key),
        ];
        let own = [HEALTH, FILES, CREDENTIALS, SECRET, CHECK_AGENT, FORWARD_AGENT];
        // Without a directory of layers there is nothing to ask about.
        let of_layers = [CONTENT_INFO, CONTENT_READ, CONTENT_WRITE].into_iter().filter(|_| !served.layouts.is_empty());
        let methods = own.into_iter().chain(of_layers);
        headers.extend(methods.map(|method| ("X-Docker-Expose-Session-Grpc-Method", method)));
        let Some(stream) = dial::upgraded(endpoint, "/session", &headers).await? else { return Ok(None) };
        let served = Arc::new(served);
        let service = service_fn(move |request| {
            let served = Arc::clone(&served);
            async move { Ok::<_, Infallible>(served.answer(request).await) }
        });
        let connection = http2::Builder::new(TokioExecutor::new())
            .max_header_list_size(grpc::LARGEST_HEADERS)
            .serve_connection(stream, service);
        let (abort, registration) = AbortHandle::new_pair();
        tokio::spawn(Abortable::new(connection, registration));
        Ok(Some(Session { connection: abort }))
    }
}

impl Served {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let messages = Messages::of(body);
        let answered = match head.uri.path() {
            HEALTH => Ok(grpc::answer(&Health { status: SERVING })),
            FILES => self.files(&head.headers, messages),
            CREDENTIALS => self.credentials(messages).await,
            SECRET => self.secret(messages).await,
            CHECK_AGENT => self.check_agent(messages).await,
            FORWARD_AGENT => self.forward_agent(&head.headers, messages),
            CONTENT_INFO => self.content_info(&head.headers, messages).await,
            CONTENT_READ => self.content(&head.headers, messages).await,
            CONTENT_WRITE => self.layout(&head.headers).map(|layout| content::write(layout.clone(), messages)),
            other => Err(Refusal::new(code::UNIMPLEMENTED, format!("{other} is not served"))),
        };
        answered.unwrap_or_else(grpc::refuse)
    }

    fn files(&self, headers: &HeaderMap, requests: Messages) -> Result<Answer, Refusal> {
        let name = files::texts(headers, "dir-name").pop().unwrap_or_default();
        let tree = self.trees.get(&name).ok_or_else(|| not_served("directory", &name))?;
        let (outbox, answer) = grpc::answers();
        tokio::spawn(files::send(tree.clone(), Wanted::of(headers), requests, outbox));
        Ok(answer)
    }

    async fn credentials(&self, mut requests: Messages) -> Result<Answer, Refusal> {
        let CredentialsRequest { host } = only(&mut requests).await?;
        let found = self.docker.credentials_for(&host).await.unwrap_or_default();
        Ok(grpc::answer(&match found.identitytoken {
            Some(secret) => Credentials { user: String::new(), secret },
            None => Credentials { user: found.username.unwrap_or_default(), secret: found.password.unwrap_or_default() },
        }))
    }

    async fn secret(&self, mut requests: Messages) -> Result<Answer, Refusal> {
        let ById { id } = only(&mut requests).await?;
        let data = match self.secrets.get(&id).ok_or_else(|| not_served("secret", &id))? {
            Secret::Value(value) => value.clone().into_bytes(),
            Secret::File(path) => read_secret(path.clone()).await?,
        };
        Ok(grpc::answer(&Data { data }))
    }

    async fn check_agent(&self, mut requests: Messages) -> Result<Answer, Refusal> {
        let ById { id } = only(&mut requests).await?;
        self.agent(&id)?;
        Ok(grpc::answer(&Nothing {}))
    }

    fn forward_agent(&self, headers: &HeaderMap, requests: Messages) -> Result<Answer, Refusal> {
        let socket = self.agent(&text(headers, "buildkit.ssh.id"))?.clone();
        let (outbox, answer) = grpc::answers();
        tokio::spawn(agent::forward(socket, requests, outbox));
        Ok(answer)
    }

    async fn content_info(&self, headers: &HeaderMap, mut requests: Messages) -> Result<Answer, Refusal> {
        let layout = self.layout(headers)?;
        let ByDigest { digest } = only(&mut requests).await?;
        Ok(grpc::answer(&content::info(layout, &digest)?))
    }

    async fn content(&self, headers: &HeaderMap, mut requests: Messages) -> Result<Answer, Refusal> {
        let layout = self.layout(headers)?;
        content::read(layout, &only(&mut requests).await?)
    }

    fn layout(&self, headers: &HeaderMap) -> Result<&Layout, Refusal> {
        let name = content::store_of(headers)?;
        self.layouts.get(&name).ok_or_else(|| not_served("directory of layers", &name))
    }

    /// The agent of a name; that of no name is the default one.
    fn agent(&self, id: &str) -> Result<&PathBuf, Refusal> {
        let id = if id.is_empty() { "default" } else { id };
        self.agents
            .get(id)
            .ok_or_else(|| Refusal::new(code::NOT_FOUND, format!("the build gives no SSH agent `{id}`: name it in `ssh`")))
    }
}

/// `grpc.health.v1.HealthCheckResponse.SERVING`.
const SERVING: i32 = 1;

fn not_served(what: &str, name: &str) -> Refusal {
    Refusal::new(code::NOT_FOUND, format!("the build gives no {what} `{name}`"))
}

fn text(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default()
}

/// The one message of a request.
async fn only<M: prost::Message + Default>(requests: &mut Messages) -> Result<M, Refusal> {
    Ok(requests.next().await?.unwrap_or_default())
}

async fn read_secret(path: PathBuf) -> Result<Vec<u8>, Refusal> {
    let read = tokio::task::spawn_blocking(move || {
        let size = std::fs::metadata(&path)?.len();
        if size > LARGEST_SECRET {
            return Err(std::io::Error::other(format!("a secret of {size} bytes is too large: {LARGEST_SECRET} are allowed")));
        }
        std::fs::read(&path)
    });
    let read = read.await.map_err(|error| Refusal::new(code::UNKNOWN, error.to_string()))?;
    read.map_err(|error| Refusal::new(code::UNKNOWN, format!("read the secret: {error}")))
}

#[cfg(test)]
mod tests {
    use http_body_util::Empty;
    use hyper::Response;
    use hyper::body::Bytes;
    use hyper::header::{CONNECTION, UPGRADE};
    use hyper::server::conn::http1;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;
    use tokio::sync::mpsc;

    use super::super::grpc::Client;
    use super::super::wire::{InfoResponse, ReadContent, ReadPiece, WriteAction, WriteContent, Written};
    use super::*;

    /// Opens a session at an engine that knows nothing else, and gives the engine's end of it.
    async fn calls(directory: &std::path::Path, served: Served) -> (Session, Client) {
        let socket = directory.join("engine.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let (sender, mut upgrades) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let service = service_fn(move |mut request: Request<Incoming>| {
                assert_eq!(request.headers()["x-docker-expose-session-uuid"], "an-id");
                sender.send(hyper::upgrade::on(&mut request)).unwrap();
                let response = Response::builder().status(101).header(CONNECTION, "Upgrade").header(UPGRADE, "h2c");
                async move { Ok::<_, Infallible>(response.body(Empty::<Bytes>::new()).unwrap()) }
            });
            let (stream, _) = listener.accept().await.unwrap();
            http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await.unwrap();
        });
        let session = Session::open(&Endpoint::Unix(socket), "an-id", "key", served).await.unwrap().unwrap();
        (session, Client::new(upgrades.recv().await.unwrap().await.unwrap()).await.unwrap())
    }

    fn of_trees(trees: HashMap<String, Tree>) -> Served {
        let docker = Docker::new(&indexmap::IndexMap::new());
        Served { docker, trees, secrets: HashMap::new(), layouts: HashMap::new(), agents: HashMap::new(), keys: Vec::new() }
    }

    #[tokio::test]
    async fn a_call_may_have_many_rules_and_end_with_many_words() {
        let dir = tempfile::tempdir().unwrap();
        let (_session, engine) =
            calls(dir.path(), of_trees([("ä b".to_owned(), Tree::Directory(dir.path().into()))].into())).await;
        let mut headers = HeaderMap::new();
        headers.insert("dir-name", "%C3%A4+b".parse().unwrap());
        headers.insert("dir-name-encoded", "1".parse().unwrap());
        for number in 0..1000 {
            headers.append("exclude-patterns", format!("left-out-{number}").parse().unwrap());
        }
        assert!(engine.stream_with(&FILES[1..], headers, &Nothing {}).await.is_ok());
        let id = "x".repeat(40_000);
        let refusal = engine.call::<Data>(&SECRET[1..], &ById { id: id.clone() }).await.unwrap_err();
        assert!(refusal.code == code::NOT_FOUND && refusal.message.contains(&id), "{refusal:?}");
    }

    #[tokio::test]
    async fn the_engine_gets_what_the_build_gives_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("secret"), "of a file").unwrap();
        std::fs::write(path("config.json"), r#"{"auths": {"r.example.org": {"auth": "bWU6c2VjcmV0"}}}"#).unwrap();
        let agent = UnixListener::bind(path("agent")).unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = agent.accept().await.unwrap();
            let mut asked = Vec::new();
            stream.read_to_end(&mut asked).await.unwrap();
            asked.reverse();
            stream.write_all(&asked).await.unwrap();
        });
        let environment = [("DOCKER_CONFIG".to_owned(), dir.path().display().to_string())].into_iter().collect();
        let secrets = [
            ("f", Secret::File(path("secret"))),
            ("v", Secret::Value("of a value".to_owned())),
            ("gone", Secret::File(path("no"))),
        ];
        let served = Served {
            layouts: HashMap::new(),
            docker: Docker::new(&environment),
            trees: HashMap::new(),
            secrets: secrets.map(|(id, secret)| (id.to_owned(), secret)).into(),
            agents: [("default".to_owned(), path("agent"))].into(),
            keys: Vec::new(),
        };
        let (_session, engine) = calls(dir.path(), served).await;
        let by_id = |id: &str| ById { id: id.to_owned() };
        for (id, expected) in [("f", "of a file"), ("v", "of a value")] {
            assert_eq!(engine.call::<Data>(&SECRET[1..], &by_id(id)).await.unwrap().data, expected.as_bytes());
        }
        assert_eq!(engine.call::<Data>(&SECRET[1..], &by_id("other")).await.unwrap_err().code, code::NOT_FOUND);
        assert_eq!(engine.call::<Data>(&SECRET[1..], &by_id("gone")).await.unwrap_err().code, code::UNKNOWN);
        let login = engine.call(&CREDENTIALS[1..], &CredentialsRequest { host: "r.example.org".to_owned() }).await;
        assert_eq!(login, Ok(Credentials { user: "me".to_owned(), secret: "secret".to_owned() }));
        let login = engine.call(&CREDENTIALS[1..], &CredentialsRequest { host: "other.example.org".to_owned() }).await;
        assert_eq!(login, Ok(Credentials::default()));
        assert_eq!(engine.call(&HEALTH[1..], &Nothing {}).await, Ok(Health { status: SERVING }));
        assert!(engine.call::<Nothing>(&CHECK_AGENT[1..], &by_id("other")).await.is_err());
        assert_eq!(engine.call(&CHECK_AGENT[1..], &by_id("default")).await, Ok(Nothing {}));
        let mut answers = engine.stream(&FORWARD_AGENT[1..], &Data { data: b"gnip".to_vec() }).await.unwrap();
        assert_eq!(answers.next().await, Ok(Some(Data { data: b"ping".to_vec() })));
        assert_eq!(answers.next::<Data>().await, Ok(None));
        let other = engine.call::<Nothing>("moby.filesync.v1.Auth/FetchToken", &Nothing {}).await.unwrap_err();
        assert_eq!(other.code, code::UNIMPLEMENTED);
    }

    /// The engine's end of a session with one directory of layers.
    async fn with_layers(directory: &std::path::Path) -> (Session, Client, HeaderMap) {
        let layouts = [("local:/cache".to_owned(), Layout::at(directory.join("cache")))].into();
        let (session, engine) = calls(directory, Served { layouts, ..of_trees(HashMap::new()) }).await;
        let headers = [(hyper::header::HeaderName::from_static(content::STORE), "local:/cache".parse().unwrap())];
        (session, engine, headers.into_iter().collect())
    }

    fn piece(action: WriteAction, offset: i64, data: &[u8]) -> WriteContent {
        let (reference, total) = ("layer".to_owned(), 5);
        WriteContent { action: action.into(), reference, total, offset, data: data.to_vec(), ..WriteContent::default() }
    }

    #[tokio::test]
    async fn layers_that_a_build_leaves_in_a_directory_are_read_from_it() {
        let dir = tempfile::tempdir().unwrap();
        let (_session, engine, headers) = with_layers(dir.path()).await;
        let digest = super::super::super::distribution::digest_of(b"layer");
        let commit = WriteContent { expected: digest.clone(), ..piece(WriteAction::Commit, 5, b"") };
        let pieces = [
            piece(WriteAction::Stat, 0, b""),
            piece(WriteAction::Write, 0, b"lay"),
            // The other side begins again, as it may.
            piece(WriteAction::Write, 0, b"la"),
            piece(WriteAction::Write, 2, b"yer"),
            commit.clone(),
        ];
        let mut answers = engine.stream_of(&CONTENT_WRITE[1..], headers.clone(), &pieces).await.unwrap();
        let mut offsets = Vec::new();
        let mut last = Written::default();
        while let Some(written) = answers.next::<Written>().await.unwrap() {
            offsets.push(written.offset);
            last = written;
        }
        assert_eq!((offsets, last.digest.as_str(), last.total), (vec![0, 3, 2, 5, 5], digest.as_str(), 5));
        let stored = dir.path().join("cache/blobs/sha256").join(digest.trim_start_matches("sha256:"));
        assert_eq!(std::fs::read(stored).unwrap(), b"layer");
        let request = ByDigest { digest: digest.clone() };
        let mut known = engine.stream_with(&CONTENT_INFO[1..], headers.clone(), &request).await.unwrap();
        let info = known.next::<InfoResponse>().await.unwrap().unwrap().info.unwrap();
        assert_eq!((info.digest.as_str(), info.size), (digest.as_str(), 5));
        for (offset, size, expected) in [(0, 0, "layer"), (1, 3, "aye"), (5, 0, "")] {
            let wanted = ReadContent { digest: digest.clone(), offset, size };
            let mut answers = engine.stream_with(&CONTENT_READ[1..], headers.clone(), &wanted).await.unwrap();
            let mut read = Vec::new();
            while let Some(ReadPiece { data, .. }) = answers.next().await.unwrap() {
                read.extend(data);
            }
            assert_eq!(read, expected.as_bytes(), "{offset} {size}");
        }
        // What is there need not be sent.
        let again = WriteContent { expected: digest, ..piece(WriteAction::Stat, 0, b"") };
        let mut answers = engine.stream_with(&CONTENT_WRITE[1..], headers, &again).await.unwrap();
        assert_eq!(answers.next::<Written>().await.unwrap_err().code, code::ALREADY_EXISTS);
    }

    #[tokio::test]
    async fn layers_that_are_not_what_was_announced_are_refused_and_leave_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (_session, engine, headers) = with_layers(dir.path()).await;
        let other = super::super::super::distribution::digest_of(b"other");
        for (pieces, expected) in [
            (vec![piece(WriteAction::Write, 0, b"lay"), piece(WriteAction::Write, 7, b"er")], code::OUT_OF_RANGE),
            (vec![piece(WriteAction::Write, 0, b"lay"), piece(WriteAction::Commit, 3, b"")], code::FAILED_PRECONDITION),
            (
                vec![WriteContent { expected: other.clone(), ..piece(WriteAction::Commit, 0, b"layer") }],
                code::FAILED_PRECONDITION,
            ),
            (vec![WriteContent { reference: String::new(), ..piece(WriteAction::Stat, 0, b"") }], code::INVALID_ARGUMENT),
            (
                vec![WriteContent { expected: "sha256:../../x".to_owned(), ..piece(WriteAction::Stat, 0, b"") }],
                code::INVALID_ARGUMENT,
            ),
        ] {
            let mut answers = engine.stream_of(&CONTENT_WRITE[1..], headers.clone(), &pieces).await.unwrap();
            let refusal = loop {
                match answers.next::<Written>().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("it is taken: {pieces:?}"),
                    Err(refusal) => break refusal,
                }
            };
            assert_eq!(refusal.code, expected, "{pieces:?}: {refusal}");
        }
        // Given up in the middle of it.
        let mut answers =
            engine.stream_of(&CONTENT_WRITE[1..], headers.clone(), &[piece(WriteAction::Write, 0, b"lay")]).await.unwrap();
        while answers.next::<Written>().await.unwrap().is_some() {}
        let left: Vec<_> = std::fs::read_dir(dir.path().join("cache/ingest")).unwrap().collect();
        assert!(left.is_empty() && !dir.path().join("cache/blobs").exists(), "{left:?}");
        let wanted = ReadContent { digest: other.clone(), offset: 0, size: 0 };
        let mut absent = engine.stream_with(&CONTENT_READ[1..], headers, &wanted).await.unwrap();
        assert_eq!(absent.next::<ReadPiece>().await.unwrap_err().code, code::NOT_FOUND);
        let nowhere = engine.call::<InfoResponse>(&CONTENT_INFO[1..], &ByDigest { digest: other }).await.unwrap_err();
        assert_eq!(nowhere.code, code::INVALID_ARGUMENT, "which directory is not said");
    }
}
