//! Ctrl-C, TERM and HUP of a foreground command, told to a closure.
//!
//! Ctrl-C is `ctrlc`'s, the others are taken by `world::signals`: `ctrlc` could not tell TERM (143) from INT (130).

use std::io;

use crate::base::exit::Exit;
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
