//! An SSH agent of this host, for a build that asks for it: bytes from its socket to the engine and back.

use std::path::PathBuf;
use std::pin::pin;

use futures_util::future::{Either, select};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::grpc::{Messages, Outbox, Refusal, code};
use super::wire::Data;

/// How much is handed on at once; what an agent says is short.
const PIECE: usize = 16 * 1024;

/// Forwards one connection until either side ends it.
pub(super) async fn forward(socket: PathBuf, mut requests: Messages, outbox: Outbox) {
    let stream = match UnixStream::connect(&socket).await {
        Ok(stream) => stream,
        Err(error) => {
            let why = format!("the SSH agent at `{}` does not answer: {error}", socket.display());
            return outbox.end(Err(Refusal::new(code::UNAVAILABLE, why))).await;
        }
    };
    let (mut reader, mut writer) = stream.into_split();
    let asking = async {
        while let Ok(Some(Data { data })) = requests.next().await {
            if writer.write_all(&data).await.is_err() {
                return;
            }
        }
        // It may still have something to say, and hang up then.
        let _ = writer.shutdown().await;
    };
    let answering = async {
        let mut buffer = vec![0; PIECE];
        while let Ok(read @ 1..) = reader.read(&mut buffer).await {
            if outbox.send(&Data { data: buffer[..read].to_vec() }).await.is_err() {
                return;
            }
        }
    };
    if let Either::Left(((), answering)) = select(pin!(asking), pin!(answering)).await {
        answering.await;
    }
    outbox.end(Ok(())).await;
}
