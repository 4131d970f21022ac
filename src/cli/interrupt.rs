//! Ctrl-C, TERM and HUP of a foreground command, told to a closure.
//!
//! Ctrl-C is `ctrlc`'s, the others are taken by `world::signals`: `ctrlc` could not tell TERM (143) from INT (130). It has Ctrl-C for
//! good, so a command that goes on after it has waited for an answer has [`Recall`] instead.

use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::base::exit::Exit;
use crate::control::client::Voice;
use crate::supervisor::request::Request;
use crate::world::signals::{self, Listener, Signal};

/// Why a foreground command is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Ctrl-C.
    Interrupt,
    /// TERM, or the terminal was closed.
    Terminate,
}

impl Cause {
    /// What the command exits with.
    pub fn exit(self) -> Exit {
        match self {
            Cause::Interrupt => Exit::Interrupted,
            Cause::Terminate => Exit::Terminated,
        }
    }
}

/// Listens for TERM and HUP until it is dropped; for Ctrl-C to the end of the process.
#[derive(Debug)]
pub struct Interrupts {
    _listener: Listener,
}

/// Calls `tell` each time. To be used once in a process.
pub fn listen(tell: impl Fn(Cause) + Clone + Send + 'static) -> io::Result<Interrupts> {
    let interrupted = tell.clone();
    ctrlc::set_handler(move || interrupted(Cause::Interrupt)).map_err(io::Error::other)?;
    let listener = signals::listen(&[Signal::Terminate, Signal::Hangup], move |_| tell(Cause::Terminate))?;
    Ok(Interrupts { _listener: listener })
}

/// Calls off what a supervisor was asked for when the command that waits for its answer is interrupted; twice, the command ends at once.
/// A terminal that is closed changes nothing: what was asked for in the background goes on.
pub struct Recall {
    cause: Arc<OnceLock<Cause>>,
    asked: Arc<Mutex<Option<Voice>>>,
    _listener: Listener,
}

impl Recall {
    /// Listens until it is dropped.
    pub fn listen() -> io::Result<Self> {
        let (cause, asked) = (Arc::new(OnceLock::new()), Arc::new(Mutex::new(None::<Voice>)));
        let (first, voice) = (Arc::clone(&cause), Arc::clone(&asked));
        let listener = signals::listen(&[Signal::Interrupt, Signal::Terminate], move |signal| {
            if first.set(if signal == Signal::Interrupt { Cause::Interrupt } else { Cause::Terminate }).is_err() {
                signals::surrender(signal);
            }
            voice.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(call_off);
        })?;
        Ok(Self { cause, asked, _listener: listener })
    }

    /// A request was sent here.
    pub fn is_asked(&self, voice: &Voice) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if self.cause.get().is_some() {
            call_off(voice);
        }
        *asked = Some(voice.clone());
    }

    /// Why it was called off, if it was.
    pub fn cause(&self) -> Option<Cause> {
        self.cause.get().copied()
    }
}

fn call_off(voice: &Voice) {
    // A connection that has ended tells whoever listens to it.
    let _ = voice.send(Request::CallOff);
}
