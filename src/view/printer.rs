//! The two streams. A reader that went away (`baistack logs | head`) is no failure: it is told apart from one.

use std::io::{self, ErrorKind, Write};

use super::log_lines::clean_lines;
use super::style::Paint;

/// Where commands write: data to stdout, talk to stderr.
#[derive(Debug, Clone, Copy)]
pub struct Printer {
    /// Colours of stdout.
    pub paint: Paint,
    /// Colours of stderr.
    pub paint_talk: Paint,
}

/// Why a line could not be written.
#[derive(Debug, thiserror::Error)]
pub enum PrintError {
    /// Nobody reads stdout any more.
    #[error("the reader of the output has gone away")]
    ReaderGone,
    /// The disk is full, …
    #[error("write the output: {0}")]
    Io(#[source] io::Error),
}

impl From<io::Error> for PrintError {
    fn from(error: io::Error) -> Self {
        if error.kind() == ErrorKind::BrokenPipe { PrintError::ReaderGone } else { PrintError::Io(error) }
    }
}

impl Printer {
    /// Writes data as it is.
    pub fn data(&self, text: impl AsRef<[u8]>) -> Result<(), PrintError> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_ref())?;
        Ok(out.flush()?)
    }

    /// Writes one line of data.
    pub fn line(&self, text: impl AsRef<str>) -> Result<(), PrintError> {
        let mut line = text.as_ref().to_owned();
        line.push('\n');
        self.data(line)
    }

    /// Says something. That nobody hears it is no reason to stop.
    pub fn say(&self, text: impl AsRef<str>) {
        let mut line = text.as_ref().to_owned();
        line.push('\n');
        // At once, so that what others say does not come between the line and its end.
        let _ = io::stderr().lock().write_all(line.as_bytes());
    }

    /// Says something without ending the line: a question.
    pub fn ask(&self, text: impl AsRef<str>) {
        let mut err = io::stderr().lock();
        let _ = write!(err, "{}", text.as_ref()).and_then(|()| err.flush());
    }

    /// Says what is wrong, in the form of every error: `error: …`.
    pub fn error(&self, text: impl AsRef<str>) {
        // What a build or an engine has written may be meant for a terminal of its own.
        self.say(format!("{} {}", self.paint_talk.bad("error:"), clean_lines(text.as_ref(), self.paint_talk)));
    }

    /// Says what deserves a look: `warning: …`.
    pub fn warning(&self, text: impl AsRef<str>) {
        self.say(format!("{} {}", self.paint_talk.warn("warning:"), text.as_ref()));
    }
}
