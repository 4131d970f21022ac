//! A connection whose other end may be slow and may not be silent: where nothing comes and nothing is taken for too long, it is broken.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::dial::Wire;

/// A connection that is waited for in either direction, and at most for so long.
pub(super) struct Patient {
    wire: Box<dyn Wire>,
    patience: Duration,
    end: Pin<Box<Sleep>>,
    /// Since somebody waits: nobody has to hurry whom nobody waits for.
    waits: bool,
}

impl Patient {
    pub(super) fn new(wire: Box<dyn Wire>, patience: Duration) -> Self {
        Self { wire, patience, end: Box::pin(sleep(patience)), waits: false }
    }

    fn judge<T>(&mut self, answer: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if answer.is_ready() {
            self.waits = false;
            return answer;
        }
        if !self.waits {
            self.waits = true;
            let end = Instant::now() + self.patience;
            self.end.as_mut().reset(end);
        }
        match self.end.as_mut().poll(context) {
            Poll::Ready(()) => {
                let why = format!("it has been silent for {}", humantime::format_duration(self.patience));
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Patient {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let answer = Pin::new(&mut *self.wire).poll_read(context, into);
        self.judge(answer, context)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let answer = Pin::new(&mut *self.wire).poll_write(context, bytes);
        self.judge(answer, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Which nothing need come of: it says nothing about the other end.
        Pin::new(&mut *self.wire).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.wire).poll_shutdown(context)
    }
}
