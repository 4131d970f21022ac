//! Waiting for many descriptors (`epoll(7)`), and being woken by another thread (`eventfd(2)`).

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::poll::PollTimeout;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};

/// A set of descriptors, each with a key.
#[derive(Debug)]
pub struct Poller(Epoll);

impl Poller {
    /// An empty one.
    pub fn new() -> Result<Self, Errno> {
        Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map(Self)
    }

    /// Takes a descriptor in. One that is closed leaves the set by itself.
    pub fn add(&self, descriptor: impl AsFd, key: u64) -> Result<(), Errno> {
        self.0.add(descriptor, EpollEvent::new(EpollFlags::EPOLLIN, key))
    }

    /// Takes one out.
    pub fn remove(&self, descriptor: impl AsFd) -> Result<(), Errno> {
        self.0.delete(descriptor)
    }

    /// Waits until there is something to read from one of them, or it is at its end. Those that are left out because there are too
    /// many come with the next call.
    pub fn wait<const N: usize>(&self, ready: &mut Ready<N>, timeout: PollTimeout) -> Result<(), Errno> {
        ready.count = self.0.wait(&mut ready.events, timeout)?;
        Ok(())
    }
}

/// Up to so many descriptors that can be read from.
#[derive(Debug)]
pub struct Ready<const N: usize> {
    events: [EpollEvent; N],
    count: usize,
}

impl<const N: usize> Default for Ready<N> {
    fn default() -> Self {
        Self { events: [EpollEvent::empty(); N], count: 0 }
    }
}

impl<const N: usize> Ready<N> {
    /// Their keys.
    pub fn keys(&self) -> impl Iterator<Item = u64> {
        self.events[..self.count].iter().map(EpollEvent::data)
    }

    /// Whether there may be more than those.
    pub fn is_full(&self) -> bool {
        self.count == N
    }
}

/// Wakes a thread that waits for a set in which it is.
#[derive(Debug)]
pub struct Waker(EventFd);

impl Waker {
    /// One that has not been used.
    pub fn new() -> Result<Self, Errno> {
        EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).map(Self)
    }

    /// Wakes it. Several times before it wakes are one.
    pub fn wake(&self) {
        // It cannot fail but by a count that is full, and then the thread is woken already.
        let _ = self.0.write(1);
    }

    /// It has woken.
    pub fn clear(&self) {
        let _ = self.0.read();
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
