//! How large volumes are, as the engine counts them (`GET /system/df`).
//!
//! Bollard reads this answer as engines from 29 on give it, and older ones say it differently; so it is read here.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::Docker;
use super::connect::Endpoint;
use crate::plan::action::Fault;

/// The engine walks through all volumes before it answers; a list without sizes is better than one that does not come.
const PATIENCE: Duration = Duration::from_secs(30);

/// The answer, of either kind.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Answer {
    volumes: Option<Vec<Volume>>,
    volume_usage: Option<VolumeUsage>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct VolumeUsage {
    items: Option<Vec<Volume>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Volume {
    name: String,
    usage_data: Option<UsageData>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct UsageData {
    /// −1 where it is not known.
    size: i64,
}

impl Docker {
    /// Bytes that volumes hold, by name, as far as the engine knows.
    pub async fn volume_sizes(&self) -> Result<BTreeMap<String, u64>, Fault> {
        // That there is an engine, and which, in the words of everybody else.
        self.link().await?;
        let unread = |error: &dyn std::fmt::Display| Fault::temporary(format!("ask the Docker Engine for sizes: {error}"));
        let asked = async {
            match &self.0.endpoint {
                Endpoint::Unix(path) => ask(UnixStream::connect(path).await.map_err(|error| unread(&error))?).await,
                Endpoint::Tcp(address) => ask(TcpStream::connect(address).await.map_err(|error| unread(&error))?).await,
                // A second way to speak TLS or SSH, for sizes alone, would be too much: there they are not known.
                Endpoint::Tls(..) | Endpoint::Ssh(_) => Ok(Bytes::from_static(b"{}")),
                Endpoint::Unusable(why) => Err(Fault::permanent(why.clone())),
            }
        };
        let text = timeout(PATIENCE, asked).await.map_err(|error| unread(&error))??;
        sizes(&text).map_err(|error| unread(&error))
    }
}

async fn ask(stream: impl AsyncRead + AsyncWrite + Unpin + Send) -> Result<Bytes, Fault> {
    let unread = |error: hyper::Error| Fault::temporary(format!("ask the Docker Engine for sizes: {error}"));
    let request = Request::builder().uri("/system/df").header(HOST, "docker").body(Empty::<Bytes>::new());
    let request = request.map_err(|error| Fault::permanent(error.to_string()))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(unread)?;
    let answer = pin!(async move {
        let response = sender.send_request(request).await.map_err(unread)?;
        if response.status() != StatusCode::OK {
            return Err(Fault::permanent(format!("the Docker Engine tells no sizes: {}", response.status())));
        }
        Ok(response.into_body().collect().await.map_err(unread)?.to_bytes())
    });
    // The connection moves the bytes; it may end as soon as the answer is read.
    match select(answer, pin!(connection)).await {
        Either::Left((answer, _)) => answer,
        Either::Right((_, answer)) => answer.await,
    }
}

fn sizes(text: &[u8]) -> serde_json::Result<BTreeMap<String, u64>> {
    let Answer { volumes, volume_usage } = serde_json::from_slice(text)?;
    let all = volumes.or_else(|| volume_usage?.items).unwrap_or_default();
    let size = |volume: Volume| Some((volume.name, u64::try_from(volume.usage_data?.size).ok()?));
    Ok(all.into_iter().filter_map(size).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_new_engines_tell_the_same() {
        let volumes = r#"[{"Name": "a", "UsageData": {"Size": 12, "RefCount": 1}}, {"Name": "b", "UsageData": {"Size": -1}},
            {"Name": "c"}]"#;
        let expected = BTreeMap::from([("a".to_owned(), 12)]);
        assert_eq!(sizes(format!(r#"{{"LayersSize": 1, "Volumes": {volumes}}}"#).as_bytes()).unwrap(), expected);
        assert_eq!(sizes(format!(r#"{{"VolumeUsage": {{"Items": {volumes}}}}}"#).as_bytes()).unwrap(), expected);
        assert_eq!(sizes(br#"{"Volumes": null}"#).unwrap(), BTreeMap::new());
    }
}
