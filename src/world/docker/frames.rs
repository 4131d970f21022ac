//! What a container writes, as an engine sends it: frames that say which stream each is of.
//!
//! A frame has a head of eight bytes, the number of the stream and three zeros and the length of what follows, most significant byte
//! first (Engine API, `ContainerAttach`). What a terminal shows comes without. Nothing is copied but what the end of a read has cut.

use super::logs::LogStream;
use crate::plan::action::Fault;

const HEAD: usize = 8;

/// Cuts what is read into frames.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The beginning of a frame whose end has not been read.
    begun: Vec<u8>,
}

impl Frames {
    /// Takes what was read, and hands on what the frames hold that are whole by now.
    pub(super) fn take(&mut self, mut read: &[u8], mut each: impl FnMut(LogStream, &[u8])) -> Result<(), Fault> {
        while !self.begun.is_empty() {
            let wanted = if self.begun.len() < HEAD { HEAD } else { whole(&self.begun) };
            let missing = wanted - self.begun.len();
            let (now, later) = read.split_at(missing.min(read.len()));
            self.begun.extend_from_slice(now);
            read = later;
            if self.begun.len() < wanted {
                return Ok(());
            }
            if wanted == whole(&self.begun) {
                each(stream(&self.begun)?, &self.begun[HEAD..]);
                self.begun.clear();
            }
        }
        while read.len() >= HEAD
            && let Some((frame, later)) = read.split_at_checked(whole(read))
        {
            each(stream(frame)?, &frame[HEAD..]);
            read = later;
        }
        self.begun.extend_from_slice(read);
        Ok(())
    }
}

/// How long a frame is, its head included, by that head.
fn whole(frame: &[u8]) -> usize {
    let length = u32::from_be_bytes([frame[4], frame[5], frame[6], frame[7]]);
    HEAD.saturating_add(usize::try_from(length).unwrap_or(usize::MAX))
}

fn stream(frame: &[u8]) -> Result<LogStream, Fault> {
    match frame[0] {
        // A container's input is no part of its output; an engine that says so all the same means what is shown.
        0 | 1 => Ok(LogStream::Stdout),
        // 3 is what the engine itself has to say.
        2 | 3 => Ok(LogStream::Stderr),
        other => Err(Fault::permanent(format!("the Docker Engine sends a stream {other}, which nobody knows"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(stream: u8, text: &str) -> Vec<u8> {
        let length = u32::try_from(text.len()).unwrap().to_be_bytes();
        [&[stream, 0, 0, 0], &length[..], text.as_bytes()].concat()
    }

    #[test]
    fn frames_are_the_same_wherever_reads_cut_them() {
        let sent = [frame(1, "one\n"), frame(2, ""), frame(2, "two"), frame(1, &"x".repeat(300))].concat();
        let expected = [
            (LogStream::Stdout, "one\n".to_owned()),
            (LogStream::Stderr, String::new()),
            (LogStream::Stderr, "two".to_owned()),
            (LogStream::Stdout, "x".repeat(300)),
        ];
        for size in 1..=sent.len() {
            let (mut frames, mut found) = (Frames::default(), Vec::new());
            for read in sent.chunks(size) {
                let each = |stream, text: &[u8]| found.push((stream, String::from_utf8(text.to_vec()).unwrap()));
                frames.take(read, each).unwrap();
            }
            assert_eq!(found, expected, "{size}");
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        assert!(Frames::default().take(&frame(9, "what"), |_, _| ()).is_err());
    }
}
