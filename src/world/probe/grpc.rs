//! `healthcheck.grpc`: the gRPC Health Checking Protocol (`grpc.health.v1.Health/Check`), over HTTP/2, with TLS or without.
//! The certificate of a server is not verified.
//!
//! One unary call needs little of HTTP/2 (RFC 9113): our frames are fixed, header fields are sent as they are (RFC 7541, 6.2.2), and
//! of the answer only the message counts. Headers of the server are passed over, so nothing has to be unpacked. A server that has no
//! such service, or does not know the name, answers with headers alone.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{ProbeContext, tcp, tls};
use crate::model::health::GrpcProbe;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The largest frame that a peer may send which was told nothing else (RFC 9113, 4.2).
const FRAME_LIMIT: usize = 16 * 1024;
/// A health response has a few bytes.
const ANSWER_LIMIT: usize = 4096;

mod kind {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const RESET: u8 = 3;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PING: u8 = 6;
    pub(super) const GO_AWAY: u8 = 7;
}

mod flag {
    /// Of `DATA` and `HEADERS`.
    pub(super) const END_STREAM: u8 = 1;
    /// Of `SETTINGS` and `PING`.
    pub(super) const ACK: u8 = 1;
    pub(super) const END_HEADERS: u8 = 4;
    pub(super) const PADDED: u8 = 8;
}

/// Asks how a service is; only `SERVING` is healthy.
pub(super) async fn check(probe: &GrpcProbe, cx: &ProbeContext) -> Result<String, String> {
    let address = &probe.address;
    let name = if probe.service.is_empty() { address.clone() } else { format!("{} at {address}", probe.service) };
    let (host, port) = tcp::parts(address)?;
    let mut stream = tcp::connect(host, port, address, cx).await?;
    let answer = if probe.tls {
        let stream = tls::connect(host, stream, Some(tls::HTTP_2)).await;
        ask(&mut stream.map_err(|error| format!("{address} speaks no TLS with us: {error}"))?, probe).await
    } else {
        ask(&mut stream, probe).await
    };
    match answer.map_err(|why| format!("{name} {why}"))? {
        Some(1) => Ok(format!("{name} is serving")),
        Some(2) => Err(format!("{name} is not serving")),
        Some(3) => Err(format!("{name} is a service that the server does not know")),
        Some(_) => Err(format!("{name} does not know yet how it is")),
        None => Err(format!("{name} answered without a status: the server has no `grpc.health.v1.Health`, or no such service")),
    }
}

/// The status of the answer; none when it has no message.
async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), probe: &GrpcProbe) -> Result<Option<u64>, String> {
    let gone = |error: std::io::Error| format!("did not answer properly: {error}");
    let mut request = PREFACE.to_vec();
    frame(&mut request, kind::SETTINGS, 0, 0, &[]);
    frame(&mut request, kind::HEADERS, flag::END_HEADERS, 1, &headers(probe));
    frame(&mut request, kind::DATA, flag::END_STREAM, 1, &message(&probe.service));
    stream.write_all(&request).await.map_err(gone)?;
    stream.flush().await.map_err(gone)?;
    let mut answer = Vec::new();
    let mut is_first = true;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.map_err(gone)?;
        let (kind, flags) = (head[3], head[4]);
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let on_our_stream = head[5..] == [0, 0, 0, 1];
        // A server of HTTP/1 answers in words.
        if length > FRAME_LIMIT || (is_first && kind != kind::SETTINGS) {
            return Err("does not speak gRPC".to_owned());
        }
        is_first = false;
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await.map_err(gone)?;
        match kind {
            kind::SETTINGS | kind::PING if flags & flag::ACK == 0 => {
                let mut reply = Vec::new();
                let echoed: &[u8] = if kind == kind::PING { &payload } else { &[] };
                frame(&mut reply, kind, flag::ACK, 0, echoed);
                // Who has answered already may have closed: then the answer says enough.
                if stream.write_all(&reply).await.is_ok() {
                    let _ = stream.flush().await;
                }
            }
            kind::DATA if on_our_stream => {
                answer.extend_from_slice(without_padding(&payload, flags));
                if answer.len() > ANSWER_LIMIT {
                    return Err("answered with more than a status".to_owned());
                }
            }
            kind::RESET if on_our_stream => return Err("refused the call".to_owned()),
            kind::GO_AWAY => return Err("is going away".to_owned()),
            _ => {}
        }
        if on_our_stream && matches!(kind, kind::DATA | kind::HEADERS) && flags & flag::END_STREAM != 0 {
            return Ok(status(&answer));
        }
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// The header fields of the call; the numbers are places in the table of RFC 7541, appendix A.
fn headers(probe: &GrpcProbe) -> Vec<u8> {
    const METHOD_POST: u8 = 0x80 | 3;
    const SCHEME_HTTP: u8 = 0x80 | 6;
    const SCHEME_HTTPS: u8 = 0x80 | 7;
    let mut out = vec![METHOD_POST, if probe.tls { SCHEME_HTTPS } else { SCHEME_HTTP }];
    out.push(4);
    text(&mut out, "/grpc.health.v1.Health/Check");
    out.push(1);
    text(&mut out, &probe.address);
    // `content-type`, 31, and `user-agent`, 58: a place above 14 goes on in the next byte.
    for (place, value) in [(31, "application/grpc"), (58, "baistack")] {
        out.extend([0x0f, place - 15]);
        text(&mut out, value);
    }
    out.push(0);
    text(&mut out, "te");
    text(&mut out, "trailers");
    out
}

/// A text with its length (RFC 7541, 5.2); a host's name is shorter than 253 bytes.
fn text(out: &mut Vec<u8>, text: &str) {
    match text.len() {
        short @ 0..127 => out.push(short as u8),
        long => {
            out.push(127);
            let mut rest = long - 127;
            while rest >= 128 {
                out.push((rest % 128) as u8 | 128);
                rest /= 128;
            }
            out.push(rest as u8);
        }
    }
    out.extend_from_slice(text.as_bytes());
}

/// `HealthCheckRequest` with its length, not compressed.
fn message(service: &str) -> Vec<u8> {
    let mut request = Vec::new();
    if !service.is_empty() {
        request.push(0x0a);
        varint(&mut request, service.len());
        request.extend_from_slice(service.as_bytes());
    }
    let mut out = vec![0];
    out.extend_from_slice(&(request.len() as u32).to_be_bytes());
    out.append(&mut request);
    out
}

fn varint(out: &mut Vec<u8>, mut number: usize) {
    while number >= 128 {
        out.push((number % 128) as u8 | 128);
        number /= 128;
    }
    out.push(number as u8);
}

fn without_padding(payload: &[u8], flags: u8) -> &[u8] {
    if flags & flag::PADDED == 0 {
        return payload;
    }
    let Some((&padding, rest)) = payload.split_first() else { return &[] };
    &rest[..rest.len().saturating_sub(usize::from(padding))]
}

/// The first field of `HealthCheckResponse`; a message without it means 0, `UNKNOWN`.
fn status(answer: &[u8]) -> Option<u64> {
    let message = answer.get(5..)?;
    let Some((&0x08, number)) = message.split_first() else { return Some(0) };
    number.first().map(|&status| u64::from(status))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers the call with these frames once it has read all of it; what was asked.
    async fn serve(listener: TcpListener, answer: Vec<u8>) -> Vec<u8> {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&answer).await.unwrap();
        let mut asked = Vec::new();
        // Until the prober closes.
        let _ = stream.read_to_end(&mut asked).await;
        asked
    }

    fn frames(list: &[(u8, u8, u32, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (kind, flags, stream, payload) in list {
            frame(&mut out, *kind, *flags, *stream, payload);
        }
        out
    }

    /// Probes a server that answers so.
    fn probe(answer: Vec<u8>, service: &str) -> (Result<String, String>, Vec<u8>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let probe = GrpcProbe { address: address.clone(), service: service.to_owned(), tls: false };
            let cx = ProbeContext::default();
            let (asked, result) = tokio::join!(serve(listener, answer), check(&probe, &cx));
            let short = |text: String| text.replace(&address, "HOST");
            (result.map(short).map_err(short), asked)
        })
    }

    #[test]
    fn the_status_of_the_answer_decides() {
        let settings = (kind::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100][..]);
        let head = (kind::HEADERS, flag::END_HEADERS, 1, &[0x88][..]);
        let tail = (kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, &[0x88][..]);
        let ping = (kind::PING, 0, 0, &[7; 8][..]);
        for (message, padded, expected) in [
            (&[0, 0, 0, 0, 2, 8, 1][..], 0, Ok("HOST is serving")),
            (&[2, 0, 0, 0, 0, 2, 8, 1, 0, 0], flag::PADDED, Ok("HOST is serving")),
            (&[0, 0, 0, 0, 2, 8, 2], 0, Err("HOST is not serving")),
            (&[0, 0, 0, 0, 2, 8, 3], 0, Err("HOST is a service that the server does not know")),
            (&[0, 0, 0, 0, 0], 0, Err("HOST does not know yet how it is")),
        ] {
            let answer = frames(&[settings, ping, head, (kind::DATA, padded, 1, message), tail]);
            let (result, asked) = probe(answer, "");
            assert_eq!(result, expected.map(str::to_owned).map_err(str::to_owned));
            // The settings and the ping were acknowledged.
            assert!(asked.ends_with(&frames(&[(kind::SETTINGS, 1, 0, &[]), (kind::PING, 1, 0, &[7; 8])])));
        }
        let (result, asked) = probe(frames(&[settings, tail]), "pkg.Service");
        assert_eq!(
            result.unwrap_err(),
            "pkg.Service at HOST answered without a status: the server has no `grpc.health.v1.Health`, or no such service"
        );
        assert!(asked.starts_with(PREFACE));
        let call = [&[0, 0, 0, 0, 13, 0x0a, 11][..], b"pkg.Service"].concat();
        assert!(asked.windows(call.len()).any(|window| window == call));
        assert!(asked.windows(29).any(|window| window == [&[28][..], b"/grpc.health.v1.Health/Check"].concat()));
    }

    #[tokio::test]
    async fn over_tls_the_protocol_is_named_and_nobody_has_to_vouch_for_the_certificate() {
        use crate::world::testing_tls::{Clients, acceptor};

        let settings = (kind::SETTINGS, 0, 0, &[][..]);
        let tail = (kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, &[0x88][..]);
        let message = (kind::DATA, 0, 1, &[0, 0, 0, 0, 2, 8, 1][..]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = async {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = acceptor(Clients::Anybody, &[tls::HTTP_2]).accept(stream).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(tls::HTTP_2));
            stream.write_all(&frames(&[settings, message, tail])).await.unwrap();
            let mut asked = Vec::new();
            let _ = stream.read_to_end(&mut asked).await;
            asked
        };
        let probe = GrpcProbe { address: address.clone(), service: String::new(), tls: true };
        let cx = ProbeContext::default();
        let (asked, result) = tokio::join!(server, check(&probe, &cx));
        assert_eq!(result, Ok(format!("{address} is serving")));
        // `:scheme` is `https`.
        assert!(asked.starts_with(PREFACE) && asked.windows(2).any(|pair| pair == [0x83, 0x87]));

        let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = plain.local_addr().unwrap().to_string();
        let probe = GrpcProbe { address: address.clone(), service: String::new(), tls: true };
        let (_, result) = tokio::join!(serve(plain, b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()), check(&probe, &cx));
        assert!(result.unwrap_err().starts_with(&format!("{address} speaks no TLS with us: ")));
    }

    #[test]
    fn what_speaks_another_protocol_is_not_healthy() {
        let http = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_vec();
        assert_eq!(probe(http, "").0.unwrap_err(), "HOST does not speak gRPC");
        let reset = frames(&[(kind::SETTINGS, 0, 0, &[]), (kind::RESET, 0, 1, &[0, 0, 0, 7])]);
        assert_eq!(probe(reset, "").0.unwrap_err(), "HOST refused the call");
    }

    #[test]
    fn a_long_text_has_a_long_length() {
        for length in [0, 126, 127, 128, 253, 400] {
            let mut out = Vec::new();
            text(&mut out, &"x".repeat(length));
            let head: &[u8] = match length {
                0 | 126 => &[length as u8],
                127 => &[127, 0],
                128 => &[127, 1],
                253 => &[127, 126],
                _ => &[127, 145, 2],
            };
            assert_eq!(&out[..out.len() - length], head, "{length}");
        }
    }
}
