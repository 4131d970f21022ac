//! What a process reads, its terminal or a pipe, for those who attach to it from other threads.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::Winsize;

use super::stop;
use super::tree::Root;
use crate::base::name::UnitId;
use crate::plan::action::Incarnation;
use crate::world::kernel::host;

/// The input of one life.
#[derive(Debug)]
pub struct Console {
    /// None where it reads nothing.
    input: Option<OwnedFd>,
    is_terminal: bool,
    root: Root,
    incarnation: Incarnation,
}

impl Console {
    /// Of a life whose terminal or pipe this is.
    pub(super) fn new(input: Option<OwnedFd>, is_terminal: bool, root: Root, incarnation: Incarnation) -> Self {
        Self { input, is_terminal, root, incarnation }
    }

    /// Which life it is of.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Whether it has a terminal.
    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Whether it reads anything.
    pub fn reads(&self) -> bool {
        self.input.is_some()
    }

    /// Types these bytes. Waits as long as the process does not read.
    pub fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        let Some(input) = &self.input else { return Ok(()) };
        while !bytes.is_empty() {
            match nix::unistd::write(input, bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::EINTR) => {}
                // A terminal is not to be waited for by whoever reads its other end, and shares that with it.
                Err(Errno::EAGAIN) => {
                    let mut ready = [PollFd::new(input.as_fd(), PollFlags::POLLOUT)];
                    match poll(&mut ready, PollTimeout::NONE) {
                        Ok(_) | Err(Errno::EINTR) => {}
                        Err(errno) => return Err(errno.into()),
                    }
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Gives its terminal another size, which its programs are told by SIGWINCH.
    pub fn resize(&self, columns: u16, rows: u16) {
        if let (true, Some(terminal)) = (self.is_terminal, &self.input) {
            let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            // SAFETY: a descriptor of ours and a structure that the kernel reads.
            unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
        }
    }

    /// Sends its group a signal, as a terminal would.
    pub fn signal(&self, signal: i32) {
        let is_one = (1..=host::last_signal()).contains(&signal);
        if is_one && super::tree::Process::read(self.root.leader).is_some_and(|leader| leader.birth == self.root.birth) {
            // Already gone: so is what would be told.
            let _ = stop::kill(-self.root.leader, signal);
        }
    }
}

/// The consoles of all that runs.
#[derive(Debug, Clone, Default)]
pub struct Consoles(Arc<Mutex<HashMap<UnitId, Arc<Console>>>>);

impl Consoles {
    /// The one of a unit that runs.
    pub fn of(&self, unit: &UnitId) -> Option<Arc<Console>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(unit).cloned()
    }

    pub(super) fn begin(&self, unit: &UnitId, console: Arc<Console>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(unit.clone(), console);
    }

    pub(super) fn end(&self, unit: &UnitId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(unit);
    }
}
