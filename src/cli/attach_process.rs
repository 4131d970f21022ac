//! `attach` to a process: its terminal, or its input and output, through its supervisor.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::CliError;
use super::attach::Args;
use super::context::Context;
use crate::base::detach_keys::{DetachKeys, Typed};
use crate::base::exit::Exit;
use crate::base::name::{EnvId, UnitId};
use crate::control::attach::{Answer, Attached, Frame};
use crate::view::term::{self, Raw};
use crate::world::logs::record::Stream;
use crate::world::signals::{self, Signal};

/// Until the process has ended, or the detach keys are typed.
pub fn run(args: &Args, env: &EnvId, unit: &UnitId, context: &Context) -> Result<Exit, CliError> {
    let attached = Attached::to(&context.env_dir(env)?.socket(), unit);
    let Attached { writer, mut reader, answer } =
        attached.map_err(|error| CliError::NoEnvironment(format!("no supervisor of {env} answers: {error}")))?;
    let (terminal, input) = match answer {
        Answer::Attached { terminal, input } => (terminal, input && !args.no_stdin),
        Answer::Refused(reason) => return Err(CliError::NoEnvironment(reason)),
    };
    let sender = Sender { stream: Arc::new(Mutex::new(writer)), detached: Arc::default() };
    let has_terminal = terminal && term::stdin_is_terminal();
    let raw = if has_terminal && input { Raw::enter() } else { None };
    let resizing = sender.clone();
    let _resized = terminal.then(|| signals::listen(&[Signal::Resized], move |_| resizing.size()).ok());
    if terminal {
        sender.size();
    }
    // In a raw terminal these are keys.
    let signalling = sender.clone();
    let _signals = (args.sig_proxy && !has_terminal)
        .then(|| signals::listen(PASSED_ON, move |signal| signalling.send(&Frame::Signal(signal.number()))).ok());
    if input {
        let (typing, keys) = (sender.clone(), args.detach_keys.clone().only_if(has_terminal));
        // It ends with the program: nothing interrupts a read of stdin.
        std::thread::spawn(move || typing.pass_on(keys));
    }
    let ended = show(&mut reader);
    drop(raw);
    match ended {
        Ok(Some(code)) => Ok(Exit::Passed(u8::try_from(code).unwrap_or(255))),
        Ok(None) | Err(_) if sender.detached.load(Ordering::Relaxed) => {
            context.printer.say(format!("detached from {unit}, which goes on"));
            Ok(Exit::Success)
        }
        Ok(None) | Err(_) => Err(CliError::Failed(format!("the connection to {unit} has ended before the process"))),
    }
}

/// What is the service's to hear where it has no terminal.
const PASSED_ON: &[Signal] = &[Signal::Interrupt, Signal::Terminate, Signal::Hangup];

/// Whoever has something to send.
#[derive(Clone)]
struct Sender {
    stream: Arc<Mutex<UnixStream>>,
    detached: Arc<AtomicBool>,
}

impl Sender {
    fn send(&self, frame: &Frame) {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        // The other side has gone: that is seen where its frames are read.
        let _ = frame.write(&mut *stream);
    }

    fn size(&self) {
        if let Some((columns, rows)) = term::stdout_size() {
            self.send(&Frame::Size(columns, rows));
        }
    }

    /// Passes on what is typed, until it ends or the detach keys are among it.
    fn pass_on(&self, mut keys: DetachKeys) {
        let mut buffer = [0; 4096];
        let mut stdin = io::stdin().lock();
        while let Ok(count @ 1..) = stdin.read(&mut buffer) {
            match keys.take(&buffer[..count]) {
                Typed::Passed(bytes) => self.send(&Frame::Typed(bytes)),
                Typed::Detached(bytes) => {
                    self.send(&Frame::Typed(bytes));
                    self.detached.store(true, Ordering::Relaxed);
                    let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
                    let _ = stream.shutdown(std::net::Shutdown::Both);
                    return;
                }
            }
        }
    }
}

/// Writes what the process writes; its code when it has ended.
fn show(from: &mut impl Read) -> io::Result<Option<i32>> {
    while let Some(frame) = Frame::read(from)? {
        match frame {
            Frame::Written(Stream::Stdout, bytes) => {
                let mut out = io::stdout().lock();
                out.write_all(&bytes)?;
                out.flush()?;
            }
            Frame::Written(Stream::Stderr, bytes) => io::stderr().lock().write_all(&bytes)?,
            Frame::Ended(code) => return Ok(Some(code)),
            Frame::Typed(_) | Frame::Size(..) | Frame::Signal(_) => {}
        }
    }
    Ok(None)
}
