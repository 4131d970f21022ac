//! Signals of the operating system, told to a closure on a thread of its own.
//!
//! SIGINT of foreground commands is not taken here: `ctrlc` owns it there.

use std::io;
use std::thread::{Builder, JoinHandle};

use signal_hook::consts::{SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGWINCH};
use signal_hook::iterator::{Handle, Signals};

/// A signal that somebody listens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGCHLD: a child has changed.
    Child,
    /// SIGTERM.
    Terminate,
    /// SIGINT.
    Interrupt,
    /// SIGHUP: the terminal has gone away.
    Hangup,
    /// SIGWINCH: the terminal has another size.
    Resized,
    /// SIGCONT: we were stopped, and go on.
    Continued,
}

impl Signal {
    /// Its number.
    pub fn number(self) -> i32 {
        match self {
            Signal::Child => SIGCHLD,
            Signal::Terminate => SIGTERM,
            Signal::Interrupt => SIGINT,
            Signal::Hangup => SIGHUP,
            Signal::Resized => SIGWINCH,
            Signal::Continued => SIGCONT,
        }
    }

    /// Its name, as an engine takes it.
    pub fn name(self) -> &'static str {
        match self {
            Signal::Child => "SIGCHLD",
            Signal::Terminate => "SIGTERM",
            Signal::Interrupt => "SIGINT",
            Signal::Hangup => "SIGHUP",
            Signal::Resized => "SIGWINCH",
            Signal::Continued => "SIGCONT",
        }
    }
}

/// Listens until it is dropped.
#[derive(Debug)]
pub struct Listener {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

/// Calls `tell` for each of these signals. Several of one kind that arrive together may be told once.
pub fn listen(wanted: &'static [Signal], mut tell: impl FnMut(Signal) + Send + 'static) -> io::Result<Listener> {
    let mut signals = Signals::new(wanted.iter().map(|signal| signal.number()))?;
    let handle = signals.handle();
    let thread = Builder::new().name("signals".to_owned()).spawn(move || {
        for number in signals.forever() {
            if let Some(&signal) = wanted.iter().find(|signal| signal.number() == number) {
                tell(signal);
            }
        }
    })?;
    Ok(Listener { handle, thread: Some(thread) })
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            // A panic of the closure has been printed by the thread itself.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_signal_is_told() {
        let (sender, receiver) = crossbeam_channel::bounded(4);
        let listener = listen(&[Signal::Resized], move |signal| sender.send(signal).unwrap()).unwrap();
        signal_hook::low_level::raise(SIGWINCH).unwrap();
        assert_eq!(receiver.recv_timeout(Duration::from_secs(10)), Ok(Signal::Resized));
        drop(listener);
    }
}
