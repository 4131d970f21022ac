//! A command on a terminal of its own, which a test can read, type into and close.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};

use super::sandbox::until;

/// Between two looks at whether the terminal is to be closed.
const GLANCE_MS: u8 = 20;

pub(crate) struct Terminal {
    child: Child,
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Vec<u8>>,
    typed: Mutex<Vec<u8>>,
    closed: AtomicBool,
}

impl Terminal {
    /// Begins a command, whose controlling terminal this becomes.
    pub(crate) fn begin(mut command: Command) -> Self {
        // No other child may have a descriptor of it, or it would not be closed with ours: hence not `openpty`.
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname_r(&master).unwrap();
        let slave = File::options().read(true).write(true).custom_flags(nix::libc::O_NOCTTY).open(name).unwrap();
        let end = || slave.try_clone().unwrap();
        command.stdin(end()).stdout(end()).stderr(end());
        // SAFETY: two system calls, and no memory.
        unsafe {
            command.pre_exec(|| {
                nix::unistd::setsid()?;
                if nix::libc::ioctl(0, nix::libc::TIOCSCTTY as _, 0) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        // All descriptors of that end are the child's from now on.
        drop((command, slave));
        let shared = Arc::new(Shared::default());
        let (master, thread) = (File::from(OwnedFd::from(master)), Arc::clone(&shared));
        let reader = thread::spawn(move || thread.pass_on(master));
        Self { child, shared, reader: Some(reader) }
    }

    fn seen(&self) -> String {
        String::from_utf8_lossy(&self.shared.seen.lock().unwrap()).into_owned()
    }

    pub(crate) fn wait_for(&self, text: &str) {
        until(&format!("{text:?} on the terminal"), || self.seen().contains(text));
    }

    /// Waits for a text that is shown behind another.
    pub(crate) fn wait_for_after(&self, before: &str, text: &str) {
        let is_shown = || self.seen().split_once(before).is_some_and(|(_, after)| after.contains(text));
        until(&format!("{text:?} behind {before:?}"), is_shown);
    }

    /// Types.
    pub(crate) fn write(&self, keys: &[u8]) {
        self.shared.typed.lock().unwrap().extend_from_slice(keys);
    }

    /// Types, again and again: what is typed before somebody listens may be lost.
    pub(crate) fn type_until_it_ends(&mut self, keys: &str) {
        let mut glances = 0;
        until("the command ends", || {
            glances += 1;
            if glances % 20 == 1 {
                self.shared.typed.lock().unwrap().extend_from_slice(keys.as_bytes());
            }
            self.child.try_wait().unwrap().is_some()
        });
    }

    /// Types, again and again, until a text is shown: what is typed before somebody listens may be lost.
    pub(crate) fn type_until_shown(&self, keys: &str, text: &str) {
        let mut glances = 0;
        until(&format!("{text:?} on the terminal"), || {
            glances += 1;
            if glances % 100 == 1 {
                self.write(keys.as_bytes());
            }
            self.seen().contains(text)
        });
    }

    /// Waits for the end; what was shown.
    pub(crate) fn end(mut self) -> String {
        until("the command ends", || self.child.try_wait().unwrap().is_some());
        self.close();
        self.seen()
    }

    fn close(&mut self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
    }
}

impl Shared {
    /// Has the only descriptor of the other end, so that the terminal is closed when this returns.
    fn pass_on(&self, mut master: File) {
        let mut buffer = [0; 4096];
        loop {
            let closed = self.closed.load(Ordering::Relaxed);
            let typed = std::mem::take(&mut *self.typed.lock().unwrap());
            let _ = master.write_all(&typed);
            let mut fds = [PollFd::new(master.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::from(GLANCE_MS)) {
                Ok(0) if closed => return,
                Ok(0) | Err(nix::errno::Errno::EINTR) => continue,
                Ok(_) => {}
                Err(_) => return,
            }
            // A terminal without another end is an error and no end of file.
            match master.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(_) if closed => return,
                Ok(count) => self.seen.lock().unwrap().extend_from_slice(&buffer[..count]),
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.close();
        until("the command ends with its terminal", || self.child.try_wait().unwrap().is_some());
    }
}
