//! The wire between `attach` and a process: what is typed and written, as bytes, past the machine and the log.
//!
//! A socket beside the control socket. The command names a unit in one line of JSON and is answered with one; then both sides
//! send frames: a kind, the length of what follows (big-endian), and that. A command that does not read is left behind: it
//! hinders neither the process nor its log.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::Receiver;
use serde::{Deserialize, Serialize};

use crate::base::name::UnitId;
use crate::world::envdir::{is_of_own_user, with_socket_path};
use crate::world::logs::pump::{Heard, PumpHandle};
use crate::world::logs::record::Stream;
use crate::world::native::console::{Console, Consoles};

/// Where it lies, beside the control socket.
pub fn socket_beside(control: &Path) -> PathBuf {
    control.with_file_name("attach.sock")
}

/// What a command asks for.
#[derive(Debug, Serialize, Deserialize)]
struct Asked {
    unit: UnitId,
}

/// What it is told first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is attached.
    Attached {
        /// The process has a terminal.
        terminal: bool,
        /// It reads what is typed.
        input: bool,
    },
    /// It is not, for this reason.
    Refused(String),
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// From the command: bytes that are typed.
    Typed(Vec<u8>),
    /// From the command: its terminal has this size, columns and rows.
    Size(u16, u16),
    /// From the command: a signal for the process.
    Signal(i32),
    /// From the process.
    Written(Stream, Vec<u8>),
    /// The process has ended with this code, as a shell would show it.
    Ended(i32),
}

/// More than anybody sends at once.
const LONGEST: usize = 4 * 1024 * 1024;

impl Frame {
    /// Writes it.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let numbers = match self {
            Frame::Size(columns, rows) => {
                let ([a, b], [c, d]) = (columns.to_be_bytes(), rows.to_be_bytes());
                [a, b, c, d]
            }
            Frame::Signal(number) | Frame::Ended(number) => number.to_be_bytes(),
            Frame::Typed(_) | Frame::Written(..) => [0; 4],
        };
        let (kind, bytes): (u8, &[u8]) = match self {
            Frame::Typed(bytes) => (0, bytes),
            Frame::Size(..) => (1, &numbers),
            Frame::Signal(_) => (2, &numbers),
            Frame::Written(Stream::Stdout, bytes) => (3, bytes),
            Frame::Written(Stream::Stderr, bytes) => (4, bytes),
            Frame::Ended(_) => (5, &numbers),
        };
        let mut whole = Vec::with_capacity(bytes.len() + 5);
        whole.push(kind);
        whole.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
        whole.extend_from_slice(bytes);
        to.write_all(&whole)
    }

    /// Reads one; none at the end.
    pub fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let mut kind = [0];
        if from.read(&mut kind)? == 0 {
            return Ok(None);
        }
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > LONGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut bytes = vec![0; length];
        from.read_exact(&mut bytes)?;
        let numbers = <[u8; 4]>::try_from(bytes.as_slice());
        Ok(Some(match (kind[0], numbers) {
            (0, _) => Frame::Typed(bytes),
            (1, Ok([a, b, c, d])) => Frame::Size(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])),
            (2, Ok(numbers)) => Frame::Signal(i32::from_be_bytes(numbers)),
            (3, _) => Frame::Written(Stream::Stdout, bytes),
            (4, _) => Frame::Written(Stream::Stderr, bytes),
            (5, Ok(numbers)) => Frame::Ended(i32::from_be_bytes(numbers)),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }))
    }
}

/// Between two attempts to take in a client when there is no descriptor for it.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

/// Those who are attached and have not heard everything yet.
#[derive(Debug, Clone, Default)]
pub struct Audience(Arc<(Mutex<usize>, Condvar)>);

impl Audience {
    /// One more, for as long as what is given lives.
    fn enter(&self) -> Listening {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Listening(self.clone())
    }

    /// Waits until all have heard the end, but not for ever: one may read nothing.
    pub fn wait(&self, limit: Duration) {
        let (count, left) = &*self.0;
        let count = count.lock().unwrap_or_else(PoisonError::into_inner);
        drop(left.wait_timeout_while(count, limit, |count| *count > 0));
    }
}

/// One of an [`Audience`].
#[derive(Debug)]
struct Listening(Audience);

impl Drop for Listening {
    fn drop(&mut self) {
        let (count, left) = &*self.0.0;
        *count.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        left.notify_all();
    }
}

/// Serves for as long as the listener lives: until the supervisor ends. Answers with those who are attached by then.
pub fn serve(listener: UnixListener, consoles: Consoles, pump: PumpHandle) -> io::Result<Audience> {
    listener.set_nonblocking(false)?;
    let audience = Audience::default();
    let attached = audience.clone();
    let take_in = move |stream| {
        let (consoles, pump, attached) = (consoles.clone(), pump.clone(), attached.clone());
        // Without a thread nobody is attached; the client sees its connection end.
        let _ = thread::Builder::new().name("console".to_owned()).spawn(move || converse(stream, &consoles, &pump, &attached));
    };
    let work = move || each_client(listener.incoming(), take_in, || thread::sleep(ACCEPT_AGAIN));
    thread::Builder::new().name("consoles".to_owned()).spawn(work)?;
    Ok(audience)
}

/// Takes in every client of our own user. Out of descriptors a client waits in the queue until there are some, and nothing tells
/// when: it is paused before the next attempt.
fn each_client(
    incoming: impl Iterator<Item = io::Result<UnixStream>>,
    mut take_in: impl FnMut(UnixStream),
    mut pause: impl FnMut(),
) {
    for stream in incoming {
        match stream {
            Ok(stream) if is_of_own_user(&stream) => take_in(stream),
            Ok(_) => {}
            Err(error) => {
                tracing::warn!("accept: {error}");
                pause();
            }
        }
    }
}

/// One command. What goes wrong on its connection ends it, and nothing else.
fn converse(stream: UnixStream, consoles: &Consoles, pump: &PumpHandle, attached: &Audience) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let asked: Asked = serde_json::from_str(&line).ok()?;
    let mut writer = stream;
    let Some((console, heard)) =
        in_one_life(|| consoles.of(&asked.unit), |console| pump.listen(&asked.unit, console.incarnation()))
    else {
        return answer(&mut writer, &Answer::Refused(format!("{} is not running", asked.unit)));
    };
    answer(&mut writer, &Answer::Attached { terminal: console.is_terminal(), input: console.reads() })?;
    let from_process = writer.try_clone().ok()?;
    let listening = attached.enter();
    let pass_on = move || {
        pass_on(from_process, &heard);
        drop(listening);
    };
    let passing = thread::Builder::new().name("console".to_owned()).spawn(pass_on).ok()?;
    take(&mut reader, &console);
    // The command has gone: who passes on learns it by its next word.
    let _ = writer.shutdown(Shutdown::Both);
    passing.join().ok()?;
    Some(())
}

/// The console of the life that runs, with an ear that was there before that life ended: one that came later would wait for an end
/// that has been told, or hear the next life. None where it has ended meanwhile.
fn in_one_life<C, H>(console: impl Fn() -> Option<Arc<C>>, listen: impl FnOnce(&C) -> H) -> Option<(Arc<C>, H)> {
    let before = console()?;
    let heard = listen(&before);
    let after = console().filter(|after| Arc::ptr_eq(&before, after))?;
    Some((after, heard))
}

fn answer(to: &mut UnixStream, answer: &Answer) -> Option<()> {
    let line = serde_json::to_string(answer).ok()? + "\n";
    to.write_all(line.as_bytes()).ok()
}

/// Until the process has ended, or the command has gone or fallen behind.
fn pass_on(mut to: UnixStream, heard: &Receiver<Heard>) {
    while let Ok(heard) = heard.recv() {
        let frame = match heard {
            Heard::Written(stream, bytes) => Frame::Written(stream, bytes),
            Heard::Ended(exit) => Frame::Ended(exit.code()),
        };
        if frame.write(&mut to).is_err() || matches!(frame, Frame::Ended(_)) {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

/// Does what a command sends, until it has gone.
fn take(from: &mut impl Read, console: &Arc<Console>) {
    while let Ok(Some(frame)) = Frame::read(from) {
        match frame {
            Frame::Typed(bytes) => {
                // A process that has closed its input reads no more; it may well go on writing.
                let _ = console.write(&bytes);
            }
            Frame::Size(columns, rows) => console.resize(columns, rows),
            Frame::Signal(signal) => console.signal(signal),
            Frame::Written(..) | Frame::Ended(_) => {}
        }
    }
}

/// The command's end.
#[derive(Debug)]
pub struct Attached {
    /// What is sent to the process.
    pub writer: UnixStream,
    /// What comes from it.
    pub reader: BufReader<UnixStream>,
    /// What it is told first.
    pub answer: Answer,
}

impl Attached {
    /// Connects to a process of a supervisor whose control socket this is.
    pub fn to(control: &Path, unit: &UnitId) -> io::Result<Self> {
        let mut writer = with_socket_path(&socket_beside(control), |path| UnixStream::connect(path))?;
        let line = serde_json::to_string(&Asked { unit: unit.clone() })? + "\n";
        writer.write_all(line.as_bytes())?;
        let mut reader = BufReader::new(writer.try_clone()?);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        Ok(Self { writer, reader, answer: serde_json::from_str(&line)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let frames = [
            Frame::Typed(b"ls\r".to_vec()),
            Frame::Size(132, 43),
            Frame::Signal(2),
            Frame::Written(Stream::Stdout, Vec::new()),
            Frame::Written(Stream::Stderr, vec![0xff; 70_000]),
            Frame::Ended(143),
        ];
        let mut wire = Vec::new();
        frames.iter().for_each(|frame| frame.write(&mut wire).unwrap());
        let mut rest = wire.as_slice();
        for frame in frames {
            assert_eq!(Frame::read(&mut rest).unwrap(), Some(frame));
        }
        assert_eq!(Frame::read(&mut rest).unwrap(), None);
        for broken in [&[0, 255, 255, 255, 255][..], &[9, 0, 0, 0, 0], &[1, 0, 0, 0, 1, 0]] {
            assert!(Frame::read(&mut &broken[..]).is_err());
        }
    }

    #[test]
    fn who_comes_as_a_life_ends_is_not_left_waiting_for_its_end() {
        let present = std::cell::RefCell::new(Some(Arc::new(1)));
        let console = || present.borrow().clone();
        assert_eq!(in_one_life(console, |_| "heard"), Some((Arc::new(1), "heard")));
        assert_eq!(in_one_life(console, |_| drop(present.replace(Some(Arc::new(2))))), None, "the next life");
        assert_eq!(in_one_life(console, |_| drop(present.take())), None, "none");
        assert_eq!(in_one_life(console, |_| ()), None);
    }

    #[test]
    fn who_cannot_be_taken_in_is_tried_again_after_a_pause() {
        let full = || Err(io::Error::from_raw_os_error(libc::EMFILE));
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let (mut taken, mut pauses) = (0, 0);
        each_client([full(), full(), Ok(ours)].into_iter(), |_| taken += 1, || pauses += 1);
        assert_eq!((taken, pauses), (1, 2));
    }
}
