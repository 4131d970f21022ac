//! What goes over the control socket: one JSON document a line, so that `nc -U` can read along.
//!
//! Both sides begin with a [`Hello`]. Then the client sends [`Asked`], the server [`Told`].

use serde::{Deserialize, Serialize};

use crate::supervisor::notice::Notice;
use crate::supervisor::request::{Reply, Request};

/// The version of this protocol. Another one is another language: neither side guesses.
pub const VERSION: u32 = 1;

/// The first line of each side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`].
    pub baistack: u32,
    /// The release, for people.
    pub version: String,
    /// The process that speaks.
    pub pid: u32,
    /// It carries out the request of one command and ends: nothing is to be started in it.
    #[serde(default)]
    pub passing: bool,
}

impl Hello {
    /// Ours.
    pub fn ours() -> Self {
        Self { baistack: VERSION, version: env!("CARGO_PKG_VERSION").to_owned(), pid: std::process::id(), passing: false }
    }
}

/// From the client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// The client's own count; echoed.
    pub id: u64,
    /// What it wants.
    pub request: Request,
}

/// From the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// An answer.
    Reply {
        /// To which request.
        id: u64,
        /// What.
        reply: Box<Reply>,
    },
    /// News for everybody.
    Notice(Box<Notice>),
}

/// A message as a line.
pub fn line<T: Serialize>(message: &T) -> String {
    let mut line = serde_json::to_string(message).expect("messages have no maps with keys that are not text");
    line.push('\n');
    line
}
