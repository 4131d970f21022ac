//! The messages that BuildKit and its client exchange, as far as they are used here.
//!
//! Field numbers are those of `api/services/control/control.proto`, `session/*/*.proto` and `solver/pb/ops.proto` of moby/buildkit,
//! of `types/*.proto` of tonistiigi/fsutil, and of `api/services/content/v1/content.proto` of containerd/containerd. Fields that are not listed are passed over, as in any protobuf.

use std::collections::HashMap;
use std::time::SystemTime;

use prost::Message;

// ── what is to be built ─────────────────────────────────────────────────────────────────────────────────────────────────────

/// `moby.buildkit.v1.Control/Solve`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SolveRequest {
    /// Chosen by us; the progress is asked for by it.
    #[prost(string, tag = "1")]
    pub(super) reference: String,
    #[prost(string, tag = "3")]
    pub(super) exporter: String,
    #[prost(map = "string, string", tag = "4")]
    pub(super) exporter_attrs: HashMap<String, String>,
    #[prost(string, tag = "5")]
    pub(super) session: String,
    #[prost(string, tag = "6")]
    pub(super) frontend: String,
    #[prost(map = "string, string", tag = "7")]
    pub(super) frontend_attrs: HashMap<String, String>,
    #[prost(message, optional, tag = "8")]
    pub(super) cache: Option<CacheOptions>,
    #[prost(string, repeated, tag = "9")]
    pub(super) entitlements: Vec<String>,
}

/// Imports are an attribute of the frontend: those that stand here are not read where there is one.
#[derive(Clone, PartialEq, Message)]
pub(super) struct CacheOptions {
    #[prost(message, repeated, tag = "4")]
    pub(super) exports: Vec<CacheEntry>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct CacheEntry {
    #[prost(string, tag = "1")]
    pub(super) kind: String,
    #[prost(map = "string, string", tag = "2")]
    pub(super) attrs: HashMap<String, String>,
}

/// What it answers with.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SolveResponse {
    #[prost(map = "string, string", tag = "1")]
    pub(super) exporter_response: HashMap<String, String>,
}

/// Answers of which nothing is read.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Nothing {}

// ── how it goes on ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/// `moby.buildkit.v1.Control/Status`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct StatusRequest {
    #[prost(string, tag = "1")]
    pub(super) reference: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Status {
    #[prost(message, repeated, tag = "1")]
    pub(super) vertexes: Vec<Vertex>,
    #[prost(message, repeated, tag = "2")]
    pub(super) transfers: Vec<Transfer>,
    #[prost(message, repeated, tag = "3")]
    pub(super) logs: Vec<Log>,
    #[prost(message, repeated, tag = "4")]
    pub(super) warnings: Vec<Warning>,
}

/// A step.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Vertex {
    #[prost(string, tag = "1")]
    pub(super) digest: String,
    /// Of the Dockerfile, and so perhaps not UTF-8; a text that is none would spoil all news with it.
    #[prost(bytes = "vec", tag = "3")]
    pub(super) name: Vec<u8>,
    #[prost(bool, tag = "4")]
    pub(super) cached: bool,
    #[prost(message, optional, tag = "5")]
    pub(super) started: Option<Timestamp>,
    #[prost(message, optional, tag = "6")]
    pub(super) completed: Option<Timestamp>,
    #[prost(bytes = "vec", tag = "7")]
    pub(super) error: Vec<u8>,
}

/// Bytes on their way: a layer of an image, or a build context.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Transfer {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(int64, tag = "4")]
    pub(super) current: i64,
    #[prost(int64, tag = "5")]
    pub(super) total: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Log {
    #[prost(string, tag = "1")]
    pub(super) vertex: String,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) text: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Warning {
    #[prost(bytes = "vec", tag = "3")]
    pub(super) short: Vec<u8>,
    #[prost(message, optional, tag = "6")]
    pub(super) source: Option<SourceInfo>,
    #[prost(message, repeated, tag = "7")]
    pub(super) ranges: Vec<Range>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SourceInfo {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) filename: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) text: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Range {
    #[prost(message, optional, tag = "1")]
    pub(super) start: Option<Position>,
}

/// Lines count from 1.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Position {
    #[prost(int32, tag = "1")]
    pub(super) line: i32,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Timestamp {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { seconds: since.as_secs().cast_signed(), nanos: since.subsec_nanos().cast_signed() }
    }
}

// ── why it failed ───────────────────────────────────────────────────────────────────────────────────────────────────────────

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RpcStatus {
    #[prost(message, repeated, tag = "3")]
    pub(super) details: Vec<AnyMessage>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct AnyMessage {
    #[prost(string, tag = "1")]
    pub(super) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
}

// ── what the engine asks us for while it builds ─────────────────────────────────────────────────────────────────────────────

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Health {
    #[prost(int32, tag = "1")]
    pub(super) status: i32,
}

/// `moby.filesync.v1.CredentialsRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct CredentialsRequest {
    #[prost(string, tag = "1")]
    pub(super) host: String,
}

/// `moby.filesync.v1.CredentialsResponse`. A secret without a user is a token.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Credentials {
    #[prost(string, tag = "1")]
    pub(super) user: String,
    #[prost(string, tag = "2")]
    pub(super) secret: String,
}

/// `moby.buildkit.secrets.v1.GetSecretRequest`, and `moby.sshforward.v1.CheckAgentRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ById {
    #[prost(string, tag = "1")]
    pub(super) id: String,
}

/// `moby.buildkit.secrets.v1.GetSecretResponse`, and `moby.sshforward.v1.BytesMessage`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Data {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) data: Vec<u8>,
}

/// `fsutil.types.Packet`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Packet {
    #[prost(enumeration = "PacketKind", tag = "1")]
    pub(super) kind: i32,
    #[prost(message, optional, tag = "2")]
    pub(super) stat: Option<Stat>,
    #[prost(uint32, tag = "3")]
    pub(super) id: u32,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) data: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(super) enum PacketKind {
    /// A file there is; without one, that there are no more.
    Stat = 0,
    /// The other side wants a file.
    Request = 1,
    /// A piece of a file; an empty one is its end.
    Data = 2,
    /// All is there.
    Finish = 3,
    Error = 4,
}

/// `fsutil.types.Stat`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Stat {
    /// Names of files are bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub(super) path: Vec<u8>,
    /// Go's `os.FileMode`.
    #[prost(uint32, tag = "2")]
    pub(super) mode: u32,
    #[prost(int64, tag = "5")]
    pub(super) size: i64,
    /// Nanoseconds since 1970.
    #[prost(int64, tag = "6")]
    pub(super) modified: i64,
    #[prost(bytes = "vec", tag = "7")]
    pub(super) link: Vec<u8>,
}

/// `moby.buildkit.v1.ListWorkersResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Workers {
    #[prost(message, repeated, tag = "1")]
    pub(super) workers: Vec<Worker>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Worker {
    #[prost(map = "string, string", tag = "2")]
    pub(super) labels: HashMap<String, String>,
}

// ── layers in directories ───────────────────────────────────────────────────────────────────────────────────────────────────

/// `containerd.services.content.v1.InfoRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ByDigest {
    #[prost(string, tag = "1")]
    pub(super) digest: String,
}

/// `containerd.services.content.v1.InfoResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct InfoResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) info: Option<ContentInfo>,
}

/// `containerd.services.content.v1.Info`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ContentInfo {
    #[prost(string, tag = "1")]
    pub(super) digest: String,
    #[prost(int64, tag = "2")]
    pub(super) size: i64,
    #[prost(message, optional, tag = "3")]
    pub(super) created: Option<Timestamp>,
    #[prost(message, optional, tag = "4")]
    pub(super) updated: Option<Timestamp>,
}

/// `containerd.services.content.v1.ReadContentRequest`. No size is all that follows.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ReadContent {
    #[prost(string, tag = "1")]
    pub(super) digest: String,
    #[prost(int64, tag = "2")]
    pub(super) offset: i64,
    #[prost(int64, tag = "3")]
    pub(super) size: i64,
}

/// `containerd.services.content.v1.ReadContentResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ReadPiece {
    #[prost(int64, tag = "1")]
    pub(super) offset: i64,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) data: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(super) enum WriteAction {
    /// How far it is.
    Stat = 0,
    Write = 1,
    /// That was all.
    Commit = 2,
}

/// `containerd.services.content.v1.WriteContentRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct WriteContent {
    #[prost(enumeration = "WriteAction", tag = "1")]
    pub(super) action: i32,
    #[prost(string, tag = "2")]
    pub(super) reference: String,
    #[prost(int64, tag = "3")]
    pub(super) total: i64,
    #[prost(string, tag = "4")]
    pub(super) expected: String,
    #[prost(int64, tag = "5")]
    pub(super) offset: i64,
    #[prost(bytes = "vec", tag = "6")]
    pub(super) data: Vec<u8>,
}

/// `containerd.services.content.v1.WriteContentResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Written {
    #[prost(enumeration = "WriteAction", tag = "1")]
    pub(super) action: i32,
    #[prost(int64, tag = "4")]
    pub(super) offset: i64,
    #[prost(int64, tag = "5")]
    pub(super) total: i64,
    #[prost(string, tag = "6")]
    pub(super) digest: String,
}
