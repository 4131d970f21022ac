//! Signals of the operating system, told to a closure on a thread of its own.
//!
//! SIGINT of a command that is in the foreground to its end is not taken here: `ctrlc` owns it there.

use std::collections::btree_map::{BTreeMap, Entry};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use signal_hook::consts::{SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGWINCH};
use signal_hook::iterator::{Handle, Signals};
use signal_hook::{flag, low_level};

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
    wanted: &'static [Signal],
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

/// How many listen to a signal that ends a process.
struct Ears {
    count: usize,
    /// Nobody does any more: the signal does again what it does by default.
    deaf: Arc<AtomicBool>,
}

/// By their numbers, the signals that anybody has listened to. signal-hook keeps its handler for good, which takes a signal also when
/// nobody is told of it.
static EARS: Mutex<BTreeMap<i32, Ears>> = Mutex::new(BTreeMap::new());

/// One more, or one less, listens to these signals.
fn count_ears(wanted: &[Signal], change: impl Fn(usize) -> usize) -> io::Result<()> {
    let mut all = EARS.lock().unwrap_or_else(PoisonError::into_inner);
    let fatal = wanted.iter().filter(|signal| matches!(signal, Signal::Interrupt | Signal::Terminate | Signal::Hangup));
    for number in fatal.map(|signal| signal.number()) {
        let ears = match all.entry(number) {
            Entry::Occupied(ears) => ears.into_mut(),
            Entry::Vacant(none) => {
                let deaf = Arc::new(AtomicBool::new(false));
                flag::register_conditional_default(number, Arc::clone(&deaf))?;
                none.insert(Ears { count: 0, deaf })
            }
        };
        ears.count = change(ears.count);
        ears.deaf.store(ears.count == 0, Ordering::SeqCst);
    }
    Ok(())
}

/// Calls `tell` for each of these signals. Several of one kind that arrive together may be told once. What ends a process does so
/// again when nobody listens any more.
pub fn listen(wanted: &'static [Signal], mut tell: impl FnMut(Signal) + Send + 'static) -> io::Result<Listener> {
    let mut signals = Signals::new(wanted.iter().map(|signal| signal.number()))?;
    count_ears(wanted, |count| count + 1)?;
    let handle = signals.handle();
    let thread = Builder::new().name("signals".to_owned()).spawn(move || {
        for number in signals.forever() {
            if let Some(&signal) = wanted.iter().find(|signal| signal.number() == number) {
                tell(signal);
            }
        }
    })?;
    Ok(Listener { wanted, handle, thread: Some(thread) })
}

/// Has a signal do what it does by default, as if nobody had ever listened to it.
pub fn surrender(signal: Signal) {
    // It fails for what is no signal.
    let _ = low_level::emulate_default_handler(signal.number());
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Registered long since, so nothing can fail.
        let _ = count_ears(self.wanted, |count| count - 1);
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
        low_level::raise(SIGWINCH).unwrap();
        assert_eq!(receiver.recv_timeout(Duration::from_secs(10)), Ok(Signal::Resized));
        drop(listener);
    }
}
