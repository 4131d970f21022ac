//! What a container writes as it writes it, from its start to its end: the engine's log may be rotated before anybody has read it, this
//! waits for whoever reads.

use std::time::{Duration, SystemTime};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;

use super::frames::Frames;
use super::logs::{LONGEST, LogStream, without_line_break};
use super::{Docker, dial, time};
use crate::plan::action::{Fault, FaultKind};
use crate::world::clock;

/// So much is read at once.
const READ: usize = 64 * 1024;

/// The lives of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lives {
    /// Whether it is in one, and not between two that its restart policy brings.
    pub runs: bool,
    /// When the last one began.
    pub began: Option<SystemTime>,
    /// When the last one ended that has.
    pub ended: Option<SystemTime>,
    /// It has a terminal.
    pub terminal: bool,
}

impl Docker {
    /// How a container stands. While one ends, the engine answers when all that it wrote is in its log.
    pub async fn lives(&self, container: &str) -> Result<Lives, Fault> {
        let container = self.link().await?.api.inspect_container(container, None).await?;
        let state = container.state.unwrap_or_default();
        let moment = |text: Option<String>| text.as_deref().and_then(time::moment);
        Ok(Lives {
            // What is about to be started again counts as running in the engine's eyes.
            runs: state.running == Some(true) && state.restarting != Some(true),
            began: moment(state.started_at),
            ended: moment(state.finished_at),
            terminal: container.config.unwrap_or_default().tty == Some(true),
        })
    }

    /// Is told what a container writes until its life ends, or that of the life to come; and how it stood then.
    pub async fn live_output(&self, container: &str) -> Result<(LiveOutput, Lives), Fault> {
        let path = format!("/containers/{container}/attach?stream=1&stdout=1&stderr=1");
        let connection = TokioIo::new(dial::hijacked(&self.0.endpoint, &path).await?);
        // Asked afterwards: of a life that has not begun by then nothing is missed.
        let lives = self.lives(container).await?;
        let ahead = self.clock_ahead().await;
        let frames = (!lives.terminal).then(Frames::default);
        let room = vec![0; READ].into_boxed_slice();
        Ok((LiveOutput { connection, frames, cutter: Cutter::default(), room, ahead }, lives))
    }
}

/// What a container writes.
pub struct LiveOutput {
    connection: TokioIo<Upgraded>,
    /// None for a terminal.
    frames: Option<Frames>,
    cutter: Cutter,
    room: Box<[u8]>,
    ahead: Ahead,
}

/// How far an engine's clock is before ours, or behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ahead {
    By(Duration),
    Behind(Duration),
}

impl Ahead {
    /// When it was this moment for the engine, which was asked `before` and has answered `after` then.
    fn of(theirs: SystemTime, before: SystemTime, after: SystemTime) -> Self {
        let ours = before + after.duration_since(before).unwrap_or_default() / 2;
        match theirs.duration_since(ours) {
            Ok(ahead) => Self::By(ahead),
            Err(error) => Self::Behind(error.duration()),
        }
    }

    /// A moment of ours by the engine's clock.
    fn theirs(self, ours: SystemTime) -> SystemTime {
        match self {
            Self::By(ahead) => ours + ahead,
            Self::Behind(behind) => ours.checked_sub(behind).unwrap_or(ours),
        }
    }
}

impl Docker {
    /// What an engine elsewhere takes for the time: lines are to have that of its log, where reading goes on after a connection that broke
    /// off.
    async fn clock_ahead(&self) -> Ahead {
        let here = Ahead::By(Duration::ZERO);
        if self.0.endpoint.is_local() {
            return here;
        }
        let before = clock::wall();
        let Ok(link) = self.link().await else { return here };
        let told = link.api.info().await.ok().and_then(|info| info.system_time);
        let theirs = told.as_deref().and_then(time::moment);
        theirs.map_or(here, |theirs| Ahead::of(theirs, before, clock::wall()))
    }
}

impl LiveOutput {
    /// Hands on the next lines, some at a time, as they lie where they were read: the time at which each began, its stream, and its bytes.
    /// None at the end. Nothing is lost when it is called off, and called again.
    pub async fn next(&mut self, mut each: impl FnMut(SystemTime, LogStream, &[u8])) -> Option<Result<(), Fault>> {
        loop {
            let read = match self.connection.read(&mut self.room).await {
                Ok(0) => {
                    let mut some = false;
                    self.cutter.finish(|time, stream, line| {
                        some = true;
                        each(time, stream, line);
                    });
                    return some.then_some(Ok(()));
                }
                Ok(read) => &self.room[..read],
                Err(error) => {
                    let message = format!("the connection to the container breaks off: {error}");
                    return Some(Err(Fault { kind: FaultKind::EngineAway, message }));
                }
            };
            let (now, mut some) = (self.ahead.theirs(clock::wall()), false);
            let mut each = |time, stream, line: &[u8]| {
                some = true;
                each(time, stream, line);
            };
            let cutter = &mut self.cutter;
            match &mut self.frames {
                Some(frames) => {
                    if let Err(fault) = frames.take(read, |stream, text| cutter.take(text, stream, now, &mut each)) {
                        return Some(Err(fault));
                    }
                }
                None => cutter.take(read, LogStream::Stdout, now, &mut each),
            }
            if some {
                return Some(Ok(()));
            }
        }
    }
}

/// Cuts what is written into lines.
#[derive(Debug, Default)]
struct Cutter {
    /// Of each stream the line whose end has not come; its room is used again.
    open: [Open; 2],
}

#[derive(Debug, Default)]
struct Open {
    /// When it began; none where there is no such line.
    began: Option<SystemTime>,
    bytes: Vec<u8>,
}

impl Cutter {
    fn take(&mut self, mut text: &[u8], stream: LogStream, now: SystemTime, mut each: impl FnMut(SystemTime, LogStream, &[u8])) {
        let open = &mut self.open[stream as usize];
        while let Some(end) = memchr::memchr(b'\n', text) {
            let (line, later) = text.split_at(end + 1);
            text = later;
            match open.began.take() {
                None => each(now, stream, without_line_break(line)),
                Some(began) => {
                    open.bytes.extend_from_slice(line);
                    each(began, stream, without_line_break(&open.bytes));
                    open.bytes.clear();
                }
            }
        }
        if !text.is_empty() {
            let began = *open.began.get_or_insert(now);
            open.bytes.extend_from_slice(text);
            if open.bytes.len() >= LONGEST {
                each(began, stream, &open.bytes);
                *open = Open::default();
            }
        }
    }

    /// What will not be ended.
    fn finish(&mut self, mut each: impl FnMut(SystemTime, LogStream, &[u8])) {
        for (open, stream) in self.open.iter_mut().zip([LogStream::Stdout, LogStream::Stderr]) {
            let Open { began, bytes } = std::mem::take(open);
            if let Some(began) = began {
                each(began, stream, &bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn a_moment_is_told_by_the_clock_of_its_engine() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        for (theirs, expected) in [(130, 1030), (100, 1000), (80, 980)] {
            let ahead = Ahead::of(at(theirs), at(99), at(101));
            assert_eq!(ahead.theirs(at(1000)), at(expected), "{theirs}");
        }
    }

    #[test]
    fn lines_are_the_same_wherever_reads_cut_them() {
        let sent = b"one\r\ntwo\n\nfour";
        for size in 1..=sent.len() {
            let (mut cutter, mut found) = (Cutter::default(), Vec::new());
            let mut each = |_, stream, line: &[u8]| found.push((stream, String::from_utf8(line.to_vec()).unwrap()));
            for read in sent.chunks(size) {
                cutter.take(read, LogStream::Stdout, UNIX_EPOCH, &mut each);
            }
            cutter.take(b"beside\n", LogStream::Stderr, UNIX_EPOCH, &mut each);
            cutter.finish(&mut each);
            let (out, err) = (LogStream::Stdout, LogStream::Stderr);
            let expected = [(out, "one"), (out, "two"), (out, ""), (err, "beside"), (out, "four")];
            assert_eq!(found, expected.map(|(stream, line)| (stream, line.to_owned())), "{size}");
        }
    }

    #[test]
    fn a_line_has_the_time_at_which_it_began() {
        let (mut cutter, mut found) = (Cutter::default(), Vec::new());
        let time = |seconds| UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        for (at, read) in [(1, &b"a"[..]), (2, b"b\nc\nd"), (3, b"e\n")] {
            cutter.take(read, LogStream::Stdout, time(at), |time, _, line| found.push((time, line.to_vec())));
        }
        assert_eq!(found, [(time(1), b"ab".to_vec()), (time(2), b"c".to_vec()), (time(2), b"de".to_vec())]);
    }

    #[test]
    fn a_line_without_an_end_takes_no_more_room_than_the_longest() {
        let (mut cutter, mut lengths) = (Cutter::default(), Vec::new());
        for _ in 0..3 {
            let piece = vec![b'x'; LONGEST - 1];
            cutter.take(&piece, LogStream::Stdout, UNIX_EPOCH, |_, _, line| lengths.push(line.len()));
        }
        assert_eq!(lengths, [2 * (LONGEST - 1)]);
    }
}
