//! Waiting for many descriptors (kqueue(2)), and being woken by another thread (a pipe).

use std::io::{self, PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc::timespec;
use nix::poll::PollTimeout;
use nix::sys::event::{EvFlags, EventFilter, FilterFlag, KEvent, Kqueue};

/// A set of descriptors, each with a key.
#[derive(Debug)]
pub struct Poller(Kqueue);

impl Poller {
    /// An empty one.
    pub fn new() -> Result<Self, Errno> {
        Kqueue::new().map(Self)
    }

    /// Takes a descriptor in. One that is closed leaves the set by itself.
    pub fn add(&self, descriptor: impl AsFd, key: u64) -> Result<(), Errno> {
        self.change(&descriptor, EvFlags::EV_ADD, key)
    }

    /// Takes one out.
    pub fn remove(&self, descriptor: impl AsFd) -> Result<(), Errno> {
        self.change(&descriptor, EvFlags::EV_DELETE, 0)
    }

    fn change(&self, descriptor: &impl AsFd, change: EvFlags, key: u64) -> Result<(), Errno> {
        let number = usize::try_from(descriptor.as_fd().as_raw_fd()).map_err(|_| Errno::EBADF)?;
        let event = KEvent::new(number, EventFilter::EVFILT_READ, change, FilterFlag::empty(), 0, key as isize);
        self.0.kevent(&[event], &mut [], None).map(drop)
    }

    /// Waits until there is something to read from one of them, or it is at its end. Those that are left out because there are too
    /// many come with the next call.
    pub fn wait<const N: usize>(&self, ready: &mut Ready<N>, timeout: PollTimeout) -> Result<(), Errno> {
        let timeout = timeout.duration().map(|timeout| timespec {
            tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        });
        ready.count = self.0.kevent(&[], &mut ready.events, timeout)?;
        Ok(())
    }
}

/// Up to so many descriptors that can be read from.
#[derive(Debug)]
pub struct Ready<const N: usize> {
    events: [KEvent; N],
    count: usize,
}

impl<const N: usize> Default for Ready<N> {
    fn default() -> Self {
        let none = KEvent::new(0, EventFilter::EVFILT_READ, EvFlags::empty(), FilterFlag::empty(), 0, 0);
        Self { events: [none; N], count: 0 }
    }
}

impl<const N: usize> Ready<N> {
    /// Their keys.
    pub fn keys(&self) -> impl Iterator<Item = u64> {
        self.events[..self.count].iter().map(|event| event.udata() as u64)
    }

    /// Whether there may be more than those.
    pub fn is_full(&self) -> bool {
        self.count == N
    }
}

/// Wakes a thread that waits for a set in which it is.
#[derive(Debug)]
pub struct Waker {
    ours: PipeReader,
    theirs: PipeWriter,
}

impl Waker {
    /// One that has not been used.
    pub fn new() -> Result<Self, Errno> {
        let failed = |error: io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(0));
        let (ours, theirs) = pipe().map_err(failed)?;
        for end in [ours.as_fd(), theirs.as_fd()] {
            fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        Ok(Self { ours, theirs })
    }

    /// Wakes it. Several times before it wakes are one.
    pub fn wake(&self) {
        // It cannot fail but when the pipe is full, and then the thread is woken already.
        let _ = (&self.theirs).write(&[1]);
    }

    /// It has woken.
    pub fn clear(&self) {
        let mut bytes = [0; 512];
        while (&self.ours).read(&mut bytes).is_ok_and(|count| count == bytes.len()) {}
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ours.as_fd()
    }
}
