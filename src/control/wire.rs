//! What goes over the control socket: one JSON document a line, so that `nc -U` can read along.
//!
//! Both sides say [`Hello`] first. Then the client sends [`Ask`]s, as many as it likes, and the server [`Answer`]s in any
//! order.

use serde::{Deserialize, Serialize};

use crate::supervisor::notice::Notice;
use crate::supervisor::request::{Reply, Request};

/// Raised whenever an older program could misread a newer one.
pub const PROTOCOL: u32 = 1;

/// The longest line that is read: an `up` carries the whole stack with its configs.
pub const LINE_LIMIT: u64 = 64 << 20;

/// The first line of both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The protocol's number.
    #[serde(rename = "baistack")]
    pub protocol: u32,
    /// The program's version, for people.
    pub version: String,
}

impl Hello {
    /// Ours.
    pub fn ours() -> Self {
        Self { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

/// A client's line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// The client's own number for it, echoed in the answer.
    pub id: u64,
    /// What it wants.
    pub request: Request,
}

/// A server's line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To what was asked. An attached `up` has two: that it is up, and later that it has ended.
    Reply {
        /// The client's number.
        id: u64,
        /// The answer.
        reply: Reply,
    },
    /// News.
    Notice(Notice),
    /// This client reads more slowly than things happen: it gets no more news, only replies.
    Lagged,
    /// The line before was none of this protocol. The connection ends.
    Misunderstood(String),
}

/// A document as a line.
pub fn line<T: Serialize>(document: &T) -> serde_json::Result<String> {
    let mut text = serde_json::to_string(document)?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::request::{Kill, Select};

    #[test]
    fn lines_are_readable_and_read_back() {
        let ask = Ask { id: 7, request: Request::Kill(Kill { services: vec!["web".parse().unwrap()], signal: "SIGINT".to_owned() }) };
        let text = line(&ask).unwrap();
        assert_eq!(text, "{\"id\":7,\"request\":{\"kill\":{\"services\":[\"web\"],\"signal\":\"SIGINT\"}}}\n");
        assert_eq!(serde_json::from_str::<Ask>(&text).unwrap(), ask);

        let answer = Answer::Reply { id: 7, reply: Reply::Done { changed: true, warnings: vec![] } };
        let text = line(&answer).unwrap();
        assert_eq!(text, "{\"reply\":{\"id\":7,\"reply\":{\"done\":{\"changed\":true,\"warnings\":[]}}}}\n");
        assert_eq!(serde_json::from_str::<Answer>(&text).unwrap(), answer);
    }

    #[test]
    fn what_an_older_client_does_not_say_has_a_default() {
        let ask: Ask = serde_json::from_str("{\"id\":1,\"request\":{\"start\":{\"services\":[]}}}").unwrap();
        assert_eq!(ask.request, Request::Start(Select::default()));
    }
}
