//! `healthcheck.http`: a URL that must answer with a status of the right kind. Redirects are answers and not followed, and
//! certificates are not verified.

use std::pin::pin;

use futures_util::future::{Either, select};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use hyper::rt::{Read, Write};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;

use super::{ProbeContext, tcp, tls};
use crate::model::health::HttpProbe;

/// How much of an answer is read before the connection is closed. A server that is cut off in the middle of a small answer
/// logs an error; nobody should see one for each probe.
const BODY_LIMIT: usize = 256 * 1024;

/// Sends one request and judges the status: one of those listed, or 200 to 399.
pub(super) async fn check(probe: &HttpProbe, cx: &ProbeContext) -> Result<String, String> {
    let url = &probe.url;
    let Asked { request, host, port, secure } = request(probe).map_err(|reason| format!("{url} cannot be probed: {reason}"))?;
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let stream = tcp::connect(&host, port, &address, cx).await?;
    let answered = if secure {
        let stream = tls::connect(&host, stream, None).await.map_err(|error| format!("{url} speaks no TLS with us: {error}"))?;
        exchange(TokioIo::new(stream), request).await
    } else {
        exchange(TokioIo::new(stream), request).await
    };
    let (status, body) = answered.map_err(|error| format!("{url} did not answer properly: {error}"))?;
    let healthy = if probe.status.is_empty() { (200..400).contains(&status) } else { probe.status.contains(&status) };
    if let (true, Some(pattern)) = (healthy, &probe.body) {
        // Loading has compiled it once.
        let pattern = regex::bytes::Regex::new(pattern).map_err(|error| error.to_string())?;
        if !pattern.is_match(&body) {
            return Err(format!("{url} answered {status}, and no part of its body matches `{pattern}`"));
        }
    }
    match (healthy, probe.status.as_slice()) {
        (true, _) => Ok(format!("{url} answered {status}")),
        (false, []) => Err(format!("{url} answered {status}")),
        (false, wanted) => {
            let wanted: Vec<String> = wanted.iter().map(u16::to_string).collect();
            Err(format!("{url} answered {status}, not {}", wanted.join(" or ")))
        }
    }
}

type Body = Empty<Bytes>;

/// A request, and where it goes.
struct Asked {
    request: Request<Body>,
    host: String,
    port: u16,
    /// Over TLS.
    secure: bool,
}

fn request(probe: &HttpProbe) -> Result<Asked, String> {
    let uri: Uri = probe.url.parse().map_err(|error| format!("{error}"))?;
    let secure = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        Some(_) | None => return Err("only `http://` and `https://` URLs can".to_owned()),
    };
    let authority = uri.authority().ok_or("it has no host")?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut builder = Request::builder().method(probe.method.as_deref().unwrap_or("GET")).uri(path);
    let own = [(HOST, authority.as_str()), (USER_AGENT, "baistack"), (ACCEPT, "*/*"), (CONNECTION, "close")];
    for (name, value) in own {
        if !probe.headers.keys().any(|given| given.eq_ignore_ascii_case(name.as_str())) {
            builder = builder.header(name, value);
        }
    }
    for (name, value) in &probe.headers {
        builder = builder.header(name, value);
    }
    let request = builder.body(Body::new()).map_err(|error| error.to_string())?;
    Ok(Asked { request, host, port, secure })
}

/// Sends the request, reads the answer, and tells its status and the beginning of its body.
async fn exchange(stream: impl Read + Write + Send + Unpin + 'static, request: Request<Body>) -> hyper::Result<(u16, Vec<u8>)> {
    let (mut sender, connection) = http1::handshake(stream).await?;
    let answer = pin!(async move {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        Ok((status, read(response).await))
    });
    // The connection moves the bytes of both directions; it may end as soon as the answer is read.
    match select(answer, pin!(connection)).await {
        Either::Left((answer, _)) => answer,
        Either::Right((_, answer)) => answer.await,
    }
}

/// Reads the body, as far as that is polite. How it ends says nothing about the status.
async fn read(response: Response<Incoming>) -> Vec<u8> {
    let mut body = response.into_body();
    let mut read = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        read.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        if read.len() > BODY_LIMIT {
            break;
        }
    }
    read
}
