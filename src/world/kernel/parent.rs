//! A signal to ourselves when another process ends, for kernels that send none by themselves.

use std::os::fd::{AsFd, OwnedFd};
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::getpid;

/// Waits on a thread of its own for a process to end, by a descriptor that can be read from then, and sends ourselves a signal.
pub(super) fn signal_at_end_of(process: OwnedFd, signal: Signal) {
    let wait = move || {
        let mut ends = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        while poll(&mut ends, PollTimeout::NONE) == Err(Errno::EINTR) {}
        // Only to a process that is there: us.
        let _ = kill(getpid(), signal);
    };
    if let Err(error) = thread::Builder::new().name("parent".to_owned()).spawn(wait) {
        tracing::warn!("the end of our parent will not be noticed: {error}");
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::*;
    use crate::world::kernel::ends;
    use crate::world::signals::{self, Signal as Listened};

    #[test]
    fn a_process_that_ends_is_told_by_a_signal() {
        let (sender, told) = crossbeam_channel::unbounded();
        let tell = move |_| {
            let _ = sender.send(());
        };
        let _listener = signals::listen(&[Listened::Continued], tell).unwrap();
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let descriptor = ends::open(i32::try_from(child.id()).unwrap()).unwrap();
        signal_at_end_of(descriptor, Signal::SIGCONT);
        assert!(told.try_recv().is_err(), "it lives");
        child.kill().unwrap();
        told.recv_timeout(Duration::from_secs(10)).unwrap();
        child.wait().unwrap();
    }
}
