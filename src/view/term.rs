//! The terminal: whether there is one, its width, whether it shows colours, and single keys.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use console::Term;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{LocalFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, read, tcgetpgrp};

use super::style::Paint;

/// `--ansi`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Ansi {
    /// Where the stream is a terminal.
    #[default]
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

/// Whether stdin is a terminal.
pub fn stdin_is_terminal() -> bool {
    io::IsTerminal::is_terminal(&io::stdin())
}

/// Whether stdout is a terminal.
pub fn stdout_is_terminal() -> bool {
    Term::stdout().is_term()
}

/// Whether stderr is a terminal.
pub fn stderr_is_terminal() -> bool {
    Term::stderr().is_term()
}

/// Colours of stdout. `console` knows `NO_COLOR`, `CLICOLOR`, `CLICOLOR_FORCE` and `TERM=dumb`.
pub fn paint_stdout(ansi: Ansi) -> Paint {
    paint(ansi, console::colors_enabled())
}

/// Colours of stderr.
pub fn paint_stderr(ansi: Ansi) -> Paint {
    paint(ansi, console::colors_enabled_stderr())
}

fn paint(ansi: Ansi, detected: bool) -> Paint {
    let on = match ansi {
        Ansi::Auto => detected,
        Ansi::Always => true,
        Ansi::Never => false,
    };
    if on { Paint::On } else { Paint::Off }
}

/// The width of stderr's terminal; none when it is none.
pub fn stderr_width() -> Option<usize> {
    Term::stderr().size_checked().map(|(_, columns)| columns.into())
}

/// Columns and rows of stdout's terminal; none when it is none.
pub fn stdout_size() -> Option<(u16, u16)> {
    Term::stdout().size_checked().map(|(rows, columns)| (columns, rows))
}

/// What clears the line that the cursor is in.
pub const CLEAR_LINE: &str = "\u{1b}[K";

/// What moves the cursor to the top left and clears what is below it.
pub const CLEAR: &str = "\u{1b}[H\u{1b}[J";

/// Reads a line from stdin; an empty one where there is none.
pub fn answer() -> String {
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map(|_| answer).unwrap_or_default()
}

/// Reads a line from stdin, and says whether it is a yes.
pub fn answer_is_yes() -> bool {
    matches!(answer().trim().to_lowercase().as_str(), "y" | "yes")
}

/// Hands every key to a program elsewhere, until it is dropped: no line editing, no echo, no signals of our own.
#[derive(Debug)]
pub struct Raw {
    saved: Termios,
}

impl Raw {
    /// None when stdin is no terminal.
    pub fn enter() -> Option<Self> {
        let stdin = io::stdin();
        let saved = tcgetattr(stdin.as_fd()).ok()?;
        let mut raw = saved.clone();
        cfmakeraw(&mut raw);
        tcsetattr(stdin.as_fd(), SetArg::TCSADRAIN, &raw).ok()?;
        Some(Self { saved })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin().as_fd(), SetArg::TCSADRAIN, &self.saved);
    }
}

/// Reads single keys from the terminal until it is dropped. Ctrl-C stays a signal.
#[derive(Debug)]
pub struct Keys {
    saved: Termios,
    ended: Arc<AtomicBool>,
}

impl Keys {
    /// Calls `pressed` for each key, from a thread of its own. None when stdin is no terminal or belongs to another job.
    pub fn read(mut pressed: impl FnMut(u8) + Send + 'static) -> Option<Self> {
        let stdin = io::stdin();
        if !stdin_is_terminal() || !in_foreground() {
            return None;
        }
        let saved = tcgetattr(stdin.as_fd()).ok()?;
        let mut single = saved.clone();
        single.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
        tcsetattr(stdin.as_fd(), SetArg::TCSADRAIN, &single).ok()?;
        let ended = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&ended);
        thread::Builder::new()
            .name("keys".to_owned())
            .spawn(move || {
                while !until.load(Ordering::Relaxed) {
                    match next_key() {
                        Ok(Some(key)) => pressed(key),
                        Ok(None) => {}
                        Err(_) => return,
                    }
                }
            })
            .ok()?;
        Some(Self { saved, ended })
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // A job in the background that sets the terminal's modes would be stopped by the kernel (SIGTTOU).
        if in_foreground() {
            let _ = tcsetattr(io::stdin().as_fd(), SetArg::TCSADRAIN, &self.saved);
        }
    }
}

/// Waits up to a quarter of a second for a key. Only the foreground job may read: the kernel stops any other (SIGTTIN).
fn next_key() -> io::Result<Option<u8>> {
    const WAIT_MS: u16 = 250;
    let stdin = io::stdin();
    let mut interest = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    if poll(&mut interest, PollTimeout::from(WAIT_MS))? == 0 {
        return Ok(None);
    }
    if !in_foreground() {
        thread::sleep(std::time::Duration::from_millis(WAIT_MS.into()));
        return Ok(None);
    }
    let mut key = [0];
    // Not through std's buffer: `poll` would not see what is left in it.
    match read(stdin.as_fd(), &mut key)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(Some(key[0])),
    }
}

fn in_foreground() -> bool {
    tcgetpgrp(io::stdin()).is_ok_and(|group| group == getpgrp())
}
