//! gRPC over a connection that the engine has upgraded, as far as BuildKit's session and control need it: requests and streams of
//! uncompressed messages, over HTTP/2 in both directions.
//!
//! A message is a byte that says whether it is compressed, four with its length, and itself; the verdict stands in the trailers, or in
//! the headers where there is nothing else (`doc/PROTOCOL-HTTP2.md` of grpc/grpc).

use std::convert::Infallible;

use futures_util::future::{AbortHandle, Abortable};
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::client::conn::http2;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE};
use hyper::upgrade::Upgraded;
use hyper::{Request, Response};
use hyper_util::rt::TokioExecutor;
use prost::Message;
use prost::bytes::{Buf, BufMut, BytesMut};
use tokio::sync::mpsc;

use super::wire::{AnyMessage, RpcStatus};

/// The largest message that is taken, as in BuildKit.
const LARGEST: usize = 16 << 20;

/// How large the headers of a call, and those that end it, may be together: the rules of a `.dockerignore` come as headers, and the
/// text of a Dockerfile in the details of an error. hyper takes 16 KB of its own accord.
pub(super) const LARGEST_HEADERS: u32 = 16 << 20;

/// How many messages may wait for the other side to read.
const WAITING: usize = 8;

const FRAME: &str = "application/grpc";
const PREFIX: usize = 5;

/// The codes of `google/rpc/code.proto` that are used.
pub(super) mod code {
    pub(in super::super) const OK: u32 = 0;
    pub(in super::super) const UNKNOWN: u32 = 2;
    pub(in super::super) const INVALID_ARGUMENT: u32 = 3;
    pub(in super::super) const NOT_FOUND: u32 = 5;
    pub(in super::super) const ALREADY_EXISTS: u32 = 6;
    pub(in super::super) const FAILED_PRECONDITION: u32 = 9;
    pub(in super::super) const OUT_OF_RANGE: u32 = 11;
    pub(in super::super) const UNIMPLEMENTED: u32 = 12;
    pub(in super::super) const UNAVAILABLE: u32 = 14;
}

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct Refusal {
    pub(super) code: u32,
    pub(super) message: String,
    /// There is no answer: the connection broke.
    pub(super) is_lost: bool,
    /// `google.rpc.Status`, as it came.
    details: Vec<u8>,
}

impl Refusal {
    pub(super) fn new(code: u32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), is_lost: false, details: Vec::new() }
    }

    /// What the other side says beside the message.
    pub(super) fn details(&self) -> Vec<AnyMessage> {
        RpcStatus::decode(self.details.as_slice()).map(|status| status.details).unwrap_or_default()
    }

    fn lost(error: &dyn std::fmt::Display) -> Self {
        let message = format!("the connection to the builder broke: {error}");
        Self { is_lost: true, ..Self::new(code::UNAVAILABLE, message) }
    }

    /// The other side is there, and says what is none of the protocol.
    fn garbled(what: &dyn std::fmt::Display) -> Self {
        Self::new(code::UNKNOWN, format!("the builder's answer is not understood: {what}"))
    }

    /// The verdict of headers or trailers, where they have one.
    fn of(headers: &HeaderMap) -> Option<Result<(), Refusal>> {
        let text = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
        let code: u32 = std::str::from_utf8(text("grpc-status")?).ok()?.parse().ok()?;
        if code == code::OK {
            return Some(Ok(()));
        }
        let message = percent_decoded(text("grpc-message").unwrap_or_default());
        let details = text("grpc-status-details-bin").and_then(base64_decoded).unwrap_or_default();
        Some(Err(Refusal { code, message, is_lost: false, details }))
    }
}

/// A message with its length before it.
fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut buffer = BytesMut::with_capacity(PREFIX + length);
    buffer.put_u8(0);
    buffer.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // The buffer grows as it is written to.
    let _ = message.encode(&mut buffer);
    buffer.freeze()
}

/// The messages of a body, one after the other.
pub(super) struct Messages<B = Incoming> {
    body: B,
    buffer: BytesMut,
    /// What the trailers say.
    verdict: Option<Result<(), Refusal>>,
}

impl<B> Messages<B>
where
    B: Body<Data = Bytes, Error: std::fmt::Display> + Unpin,
{
    pub(super) fn of(body: B) -> Self {
        Self { body, buffer: BytesMut::new(), verdict: None }
    }

    /// The next one; none at a good end.
    pub(super) async fn next<M: Message + Default>(&mut self) -> Result<Option<M>, Refusal> {
        loop {
            if let Some(message) = self.whole()? {
                return M::decode(message).map(Some).map_err(|error| Refusal::garbled(&error));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.buffer.extend_from_slice(&data),
                    Err(frame) => self.verdict = frame.trailers_ref().and_then(Refusal::of),
                },
                Some(Err(error)) => return Err(Refusal::lost(&error)),
                None if !self.buffer.is_empty() => return Err(Refusal::lost(&"it ended within a message")),
                None => return self.verdict.take().unwrap_or(Ok(())).map(|()| None),
            }
        }
    }

    /// A message that is there from its beginning to its end.
    fn whole(&mut self) -> Result<Option<Bytes>, Refusal> {
        let Some((prefix, rest)) = self.buffer.split_at_checked(PREFIX) else { return Ok(None) };
        let length = (&prefix[1..]).get_u32() as usize;
        if prefix[0] != 0 || length > LARGEST {
            return Err(Refusal::garbled(&format!("a message of {length} bytes, or a compressed one")));
        }
        if rest.len() < length {
            return Ok(None);
        }
        self.buffer.advance(PREFIX);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}

// ── asking ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/// Calls the services at the other end. Dropping it breaks off every call.
pub(super) struct Client {
    sender: http2::SendRequest<Full<Bytes>>,
    connection: AbortHandle,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Client {
    pub(super) async fn new(stream: Upgraded) -> Result<Self, Refusal> {
        let handshake = http2::Builder::new(TokioExecutor::new()).max_header_list_size(LARGEST_HEADERS).handshake(stream).await;
        let (sender, connection) = handshake.map_err(|error| Refusal::lost(&error))?;
        let (abort, registration) = AbortHandle::new_pair();
        tokio::spawn(Abortable::new(connection, registration));
        Ok(Self { sender, connection: abort })
    }

    /// A call that is answered with one message.
    pub(super) async fn call<M: Message + Default>(&self, method: &str, request: &impl Message) -> Result<M, Refusal> {
        let mut answer = self.stream(method, request).await?;
        let message = answer.next().await?;
        // The verdict comes last.
        while answer.next::<M>().await?.is_some() {}
        message.ok_or_else(|| Refusal::garbled(&"an answer without a message"))
    }

    /// A call that is answered with several.
    pub(super) async fn stream(&self, method: &str, request: &impl Message) -> Result<Messages, Refusal> {
        self.stream_with(method, HeaderMap::new(), request).await
    }

    /// As [`stream`](Self::stream), with headers that belong to the call.
    pub(super) async fn stream_with(
        &self,
        method: &str,
        headers: HeaderMap,
        request: &impl Message,
    ) -> Result<Messages, Refusal> {
        self.ask(method, headers, framed(request)).await
    }

    /// As [`stream_with`](Self::stream_with), with several messages.
    #[cfg(test)]
    pub(super) async fn stream_of<M: Message>(
        &self,
        method: &str,
        headers: HeaderMap,
        requests: &[M],
    ) -> Result<Messages, Refusal> {
        self.ask(method, headers, requests.iter().map(framed).collect::<Vec<_>>().concat().into()).await
    }

    async fn ask(&self, method: &str, mut headers: HeaderMap, messages: Bytes) -> Result<Messages, Refusal> {
        let request = Request::post(format!("http://docker/{method}")).body(Full::new(messages));
        let mut request = request.map_err(|error| Refusal::garbled(&error))?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(FRAME));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        *request.headers_mut() = headers;
        let response = self.sender.clone().send_request(request).await.map_err(|error| Refusal::lost(&error))?;
        match Refusal::of(response.headers()) {
            Some(Err(refusal)) => Err(refusal),
            Some(Ok(())) | None if response.status().is_success() => Ok(Messages::of(response.into_body())),
            Some(Ok(())) | None => Err(Refusal::garbled(&response.status())),
        }
    }
}

// ── answering ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

/// The answer to a call.
pub(super) type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// One message.
pub(super) fn answer(message: &impl Message) -> Answer {
    let frames = [Frame::data(framed(message)), Frame::trailers(verdict(&Ok(())))];
    respond(StreamBody::new(stream::iter(frames.map(Ok))))
}

/// None, and why.
pub(super) fn refuse(refusal: Refusal) -> Answer {
    respond(StreamBody::new(stream::iter([Ok(Frame::trailers(verdict(&Err(refusal))))])))
}

/// Several, which are sent later.
pub(super) fn answers() -> (Outbox, Answer) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let frames = stream::unfold(receiver, async |mut receiver: mpsc::Receiver<_>| Some((Ok(receiver.recv().await?), receiver)));
    (Outbox(sender), respond(StreamBody::new(frames)))
}

fn respond(body: impl Body<Data = Bytes, Error = Infallible> + Send + 'static) -> Answer {
    let mut response = Response::new(body.boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(FRAME));
    response
}

fn verdict(result: &Result<(), Refusal>) -> HeaderMap {
    let (code, message) = match result {
        Ok(()) => (code::OK, ""),
        Err(refusal) => (refusal.code, refusal.message.as_str()),
    };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(code));
    if let Ok(message) = HeaderValue::from_str(&percent_encoded(message))
        && code != code::OK
    {
        trailers.insert("grpc-message", message);
    }
    trailers
}

/// Sends the messages of an answer.
#[derive(Debug, Clone)]
pub(super) struct Outbox(mpsc::Sender<Frame<Bytes>>);

/// Nobody listens any more.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the builder has hung up")]
pub(super) struct HungUp;

impl Outbox {
    pub(super) async fn send(&self, message: &impl Message) -> Result<(), HungUp> {
        self.0.send(Frame::data(framed(message))).await.map_err(|_| HungUp)
    }

    /// As [`send`](Self::send), from a thread that may wait.
    pub(super) fn send_blocking(&self, message: &impl Message) -> Result<(), HungUp> {
        self.0.blocking_send(Frame::data(framed(message))).map_err(|_| HungUp)
    }

    /// The last thing that is sent.
    pub(super) async fn end(self, result: Result<(), Refusal>) {
        // Whoever has hung up needs no verdict.
        let _ = self.0.send(Frame::trailers(verdict(&result))).await;
    }

    /// As [`end`](Self::end), from a thread that may wait.
    pub(super) fn end_blocking(self, result: Result<(), Refusal>) {
        // As above.
        let _ = self.0.blocking_send(Frame::trailers(verdict(&result)));
    }
}

// ── texts in headers ────────────────────────────────────────────────────────────────────────────────────────────────────────

fn percent_encoded(text: &str) -> String {
    let plain = |byte: &u8| matches!(byte, b' '..=b'~') && *byte != b'%';
    text.bytes().map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn percent_decoded(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match digits {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A header as Go's `url.QueryEscape` writes it.
pub(super) fn query_decoded(text: &[u8]) -> String {
    let spaced: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    percent_decoded(&spaced)
}

/// Headers that end in `-bin` may be padded or not.
fn base64_decoded(text: &[u8]) -> Option<Vec<u8>> {
    super::super::registry::decode_base64(std::str::from_utf8(text).ok()?)
}

#[cfg(test)]
mod tests {
    use super::super::wire::{ById, Data};
    use super::*;

    fn body(pieces: &[&[u8]]) -> impl Body<Data = Bytes, Error = Infallible> + Unpin + use<> {
        let frames: Vec<_> = pieces.iter().map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
        StreamBody::new(stream::iter(frames))
    }

    #[tokio::test]
    async fn messages_are_whole_however_their_bytes_come() {
        let (one, two) = (ById { id: "one".to_owned() }, ById { id: "two".to_owned() });
        let bytes = [framed(&one), framed(&two)].concat();
        for cut in 0..bytes.len() {
            let mut messages = Messages::of(body(&[&bytes[..cut], &bytes[cut..]]));
            assert_eq!(messages.next().await, Ok(Some(one.clone())));
            assert_eq!(messages.next().await, Ok(Some(two.clone())));
            assert_eq!(messages.next::<ById>().await, Ok(None));
        }
        let mut cut_short = Messages::of(body(&[&bytes[..7]]));
        assert!(cut_short.next::<ById>().await.unwrap_err().is_lost);
        let mut huge = Messages::of(body(&[&[0, 0xff, 0xff, 0xff, 0xff]]));
        assert!(!huge.next::<ById>().await.unwrap_err().is_lost, "nobody keeps room for four gigabytes");
    }

    #[tokio::test]
    async fn an_answer_ends_with_its_verdict() {
        let data = Data { data: b"x".to_vec() };
        let mut good = Messages::of(answer(&data).into_body());
        assert_eq!(good.next().await, Ok(Some(data.clone())));
        assert_eq!(good.next::<Data>().await, Ok(None));
        let refusal = Refusal::new(code::NOT_FOUND, "no – 100 %\n");
        let mut bad = Messages::of(refuse(refusal.clone()).into_body());
        assert_eq!(bad.next::<Data>().await, Err(refusal.clone()));
        let (outbox, later) = answers();
        let mut later = Messages::of(later.into_body());
        outbox.send(&data).await.unwrap();
        outbox.end(Err(refusal.clone())).await;
        assert_eq!(later.next().await, Ok(Some(data)));
        assert_eq!(later.next::<Data>().await, Err(refusal));
    }
}
