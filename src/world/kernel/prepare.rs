//! What is prepared in the parent for a child that may do next to nothing before it executes its program: the same for every
//! kernel.

use std::ffi::{c_char, c_int};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

/// The first descriptor that is not input, output or error.
pub(super) const FIRST_OTHER: c_int = 3;

/// Copies of sockets whose numbers lie above all that the child will give them, so that none is overwritten by another.
#[derive(Default)]
pub(super) struct Sockets {
    numbers: Vec<RawFd>,
    open: Vec<OwnedFd>,
}

impl Sockets {
    /// Makes them.
    pub(super) fn above_their_places(sockets: &[RawFd]) -> io::Result<Self> {
        let mut copies = Self::default();
        for &socket in sockets {
            let copy = copied_above(socket, sockets.len())?;
            copies.numbers.push(copy.as_raw_fd());
            copies.open.push(copy);
        }
        Ok(copies)
    }

    /// Their numbers, in order.
    pub(super) fn numbers(&self) -> &[RawFd] {
        &self.numbers
    }
}

/// A copy of a descriptor whose number lies above those that so many sockets will have in the child.
pub(super) fn copied_above(descriptor: RawFd, sockets: usize) -> io::Result<OwnedFd> {
    let above = FIRST_OTHER + c_int::try_from(sockets).unwrap_or(c_int::MAX - FIRST_OTHER);
    // SAFETY: a system call on a number; what it answers is a new descriptor or -1.
    let copy = unsafe { libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, above) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// `LISTEN_PID=`, with room for the number that only the child knows.
pub(super) fn listen_pid() -> Vec<c_char> {
    let mut text: Vec<c_char> = LISTEN_PID.iter().map(|byte| *byte as c_char).collect();
    text.resize(text.len() + PID_DIGITS + 1, 0);
    text
}

/// The variable that a child with sockets finds its own number in.
pub(super) const LISTEN_PID: &[u8] = b"LISTEN_PID=";
/// Enough for any pid.
const PID_DIGITS: usize = 10;

/// Writes a number in decimal digits, and a zero behind them.
///
/// # Safety
///
/// There is room for [`PID_DIGITS`] and the zero. It makes no call, so that a child may use it before it executes its program.
pub(super) unsafe fn write_decimal(number: c_int, to: *mut c_char) {
    let mut digits = [0; PID_DIGITS];
    let (mut rest, mut count) = (number, 0);
    while count < PID_DIGITS {
        digits[count] = b'0' as c_char + (rest % 10) as c_char;
        rest /= 10;
        count += 1;
        if rest == 0 {
            break;
        }
    }
    let mut at = 0;
    while at < count {
        // SAFETY: `at` stays below the room that the caller vouches for.
        unsafe { *to.add(at) = digits[count - 1 - at] };
        at += 1;
    }
    // SAFETY: as above.
    unsafe { *to.add(count) = 0 };
}

/// Makes these 0, 1 and 2; what is absent stays. Negative when `errno` says why it could not, as the calls that it makes.
///
/// # Safety
///
/// In a child that executes its program next. It makes system calls alone.
pub(super) unsafe fn place_stdio(stdio: [Option<RawFd>; 3]) -> c_int {
    for (descriptor, from) in (0..).zip(stdio) {
        let Some(from) = from else { continue };
        // SAFETY: system calls on numbers. dup2 onto itself would keep close-on-exec.
        let placed =
            unsafe { if from == descriptor { libc::fcntl(from, libc::F_SETFD, 0) } else { libc::dup2(from, descriptor) } };
        if placed < 0 {
            return placed;
        }
    }
    0
}

/// Makes copies of sockets ([`Sockets`]) 3, 4, …; answers as [`place_stdio`].
///
/// # Safety
///
/// As there.
pub(super) unsafe fn place_sockets(copies: &[RawFd]) -> c_int {
    for (descriptor, from) in (FIRST_OTHER..).zip(copies) {
        // SAFETY: a system call on numbers. Never onto itself: the copies have higher numbers. So it stays open over exec.
        let placed = unsafe { libc::dup2(*from, descriptor) };
        if placed < 0 {
            return placed;
        }
    }
    0
}

/// Holds back all signals of this thread until it is dropped.
pub(super) struct HeldSignals {
    before: libc::sigset_t,
}

impl HeldSignals {
    /// Begins to.
    pub(super) fn all() -> Self {
        // SAFETY: both sets are plain memory of ours that the calls fill in.
        unsafe {
            let mut every: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut every);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const every, &raw mut before);
            Self { before }
        }
    }
}

impl Drop for HeldSignals {
    fn drop(&mut self) {
        // SAFETY: `before` was filled in by the kernel.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, ptr::null_mut()) };
    }
}
