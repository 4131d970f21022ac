//! Descriptors 0, 1 and 2 of a process, and our ends of them.

use std::fs::File;
use std::io::{self, pipe};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::pty::{Winsize, openpty};

use crate::world::logs::record::Stream;

/// Both ends of what a process reads and writes.
#[derive(Debug)]
pub(super) struct Stdio {
    input: Input,
    output: OwnedFd,
    error: Option<OwnedFd>,
    our_input: Option<OwnedFd>,
    our_streams: Vec<(Stream, OwnedFd)>,
}

/// What a process reads.
#[derive(Debug)]
enum Input {
    /// The end of a pipe, or a terminal.
    Open(OwnedFd),
    /// Nothing, by a descriptor that all share.
    Nothing(RawFd),
}

/// `/dev/null`, opened once for all processes.
fn nothing() -> io::Result<Input> {
    static NOTHING: OnceLock<File> = OnceLock::new();
    let file = match NOTHING.get() {
        Some(file) => file,
        None => {
            let file = File::open("/dev/null")?;
            NOTHING.get_or_init(|| file)
        }
    };
    Ok(Input::Nothing(file.as_raw_fd()))
}

impl Stdio {
    /// A pipe for each of output and error, or one terminal for all; input from a pipe or from nothing.
    pub(super) fn open(terminal: bool, open_input: bool) -> io::Result<Self> {
        if terminal { Self::terminal() } else { Self::pipes(open_input) }
    }

    fn pipes(open_input: bool) -> io::Result<Self> {
        let (our_output, output) = pipe()?;
        let (our_error, error) = pipe()?;
        let (input, our_input) = if open_input {
            let (input, ours) = pipe()?;
            (Input::Open(input.into()), Some(ours.into()))
        } else {
            (nothing()?, None)
        };
        let our_streams = vec![(Stream::Stdout, our_output.into()), (Stream::Stderr, our_error.into())];
        Ok(Self { input, output: output.into(), error: Some(error.into()), our_input, our_streams })
    }

    fn terminal() -> io::Result<Self> {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(&size, None)?;
        for end in [&pair.master, &pair.slave] {
            fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        }
        Ok(Self {
            input: Input::Open(pair.slave.try_clone()?),
            output: pair.slave,
            error: None,
            our_input: Some(pair.master.try_clone()?),
            our_streams: vec![(Stream::Stdout, pair.master)],
        })
    }

    /// What becomes 0, 1 and 2 of the child.
    pub(super) fn of_child(&self) -> [Option<RawFd>; 3] {
        let error = self.error.as_ref().unwrap_or(&self.output);
        let input = match &self.input {
            Input::Open(input) => input.as_raw_fd(),
            Input::Nothing(shared) => *shared,
        };
        [Some(input), Some(self.output.as_raw_fd()), Some(error.as_raw_fd())]
    }

    /// Our ends; the child's are closed.
    pub(super) fn into_ours(self) -> (Vec<(Stream, OwnedFd)>, Option<OwnedFd>) {
        (self.our_streams, self.our_input)
    }
}
