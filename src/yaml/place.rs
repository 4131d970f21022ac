//! Where a walk through a tree stands, kept on the stack: only a finding makes a [`Path`] of it.

use std::fmt;

use super::path::{Path, Segment};

/// A step of the walk, with the steps before it.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    above: Option<&'a Place<'a>>,
    step: Step<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

impl Place<'static> {
    /// The tree itself.
    pub const ROOT: Place<'static> = Place { above: None, step: Step::Root };
}

impl<'a> Place<'a> {
    /// One key further down.
    pub fn key(&'a self, key: &'a str) -> Place<'a> {
        Place { above: Some(self), step: Step::Key(key) }
    }

    /// One index further down.
    pub fn index(&'a self, index: usize) -> Place<'a> {
        Place { above: Some(self), step: Step::Index(index) }
    }

    /// The last step, if it is a key.
    pub fn last_key(&self) -> Option<&'a str> {
        if let Step::Key(key) = self.step { Some(key) } else { None }
    }

    /// The whole way.
    pub fn path(&self) -> Path {
        let mut path = self.above.map(Place::path).unwrap_or_default();
        match self.step {
            Step::Root => {}
            Step::Key(key) => path.push(Segment::Key(key.to_owned())),
            Step::Index(index) => path.push(Segment::Index(index)),
        }
        path
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_as_its_path() {
        let services = Place::ROOT.key("services");
        let web = services.key("a.b");
        let ports = web.key("ports");
        assert_eq!(ports.index(1).to_string(), "services.\"a.b\".ports[1]");
    }
}
