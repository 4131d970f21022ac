//! The one table of all attributes: what each may look like, how it merges, what it means, whether this version honours it.
//!
//! Every phase that has to know an attribute walks this table beside the tree: `canonical` (kinds, casts, long forms, unknown
//! keys), `merge`, `complete` (what must be there), `paths`, `honour` (what is refused at a start), `print`, and `export`, which
//! makes a JSON Schema of it. So a new attribute is one row here, and a field in the model.

mod build;
mod deploy;
mod develop;
mod job;
mod network;
mod objects;
mod process;
mod service;
mod top;

pub(super) mod export;
pub(super) mod forms;

#[cfg(test)]
mod tests;

use crate::base::diagnostic::Diagnostics;
use crate::yaml::node::Node;
use crate::yaml::place::Place;

pub(super) use job::{JOB, PRE_START};
pub(super) use process::PROCESS;
pub(super) use service::{CONTAINER, CONTAINER_ONLY_HELP, EXTENDS_NAME};
pub(super) use top::{OWN_KEYS, ROOT};

/// What a value may look like.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    /// Anything at all, merged as YAML.
    Any,
    /// A text.
    Text,
    /// A text that is a path of this host: relative ones are relative to the stack's directory.
    Path,
    /// A text that is a path of this host, unless it is a URL or an image.
    PathOrUrl,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A text that passes a test.
    Checked(&'static Check),
    /// `true` or `false`, also as the texts that YAML 1.1 knows for them.
    Flag,
    /// A whole number from the first to the last, also as a text.
    Whole(i64, i64),
    /// A number, also as a text.
    Number,
    /// `1m30s`.
    Duration,
    /// A number of bytes or `64m`.
    Bytes,
    /// A text, number or boolean; becomes a text.
    Single,
    /// As [`Shape::Single`], or nothing.
    SingleOrNull,
    /// A list.
    List(&'static Shape),
    /// A mapping of any keys.
    Map(&'static Shape),
    /// A mapping of names that the user chooses (`[a-zA-Z0-9._-]+`).
    Named(&'static Shape),
    /// A mapping of known keys.
    Object(&'static Object),
    /// Something short that stands for something long.
    Forms(&'static Forms),
}

/// A mapping of known keys.
#[derive(Debug)]
pub(super) struct Object {
    /// What it is, for messages: `a service`, `a port`.
    pub what: &'static str,
    /// Its attributes.
    pub attributes: &'static [Attribute],
}

/// A text with rules of its own.
#[derive(Debug)]
pub(super) struct Check {
    /// The regular expression that says the same, for editors.
    pub pattern: &'static str,
    /// What is wanted, in words: `a name such as …`.
    pub wanted: &'static str,
    /// Whether a text is one.
    pub accepts: fn(&str) -> bool,
}

/// A long shape that may be written in other ways.
#[derive(Debug)]
pub(super) struct Forms {
    /// What is wanted, in words: `a list of services or a mapping`.
    pub wanted: &'static str,
    /// The other ways.
    pub short: &'static [Shape],
    /// Turns each of them into the long one; leaves what it does not know for `long` to refuse.
    pub rewrite: Rewrite,
    /// What they stand for.
    pub long: &'static Shape,
}

/// Turns short forms into the long one, in place.
pub(super) type Rewrite = fn(&Place<'_>, &mut Node, &mut Diagnostics);

/// How a value of a later file meets that of an earlier one. Mappings always merge by key, and what is single is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Merge {
    /// Of lists what is new is appended.
    Natural,
    /// The later one stands alone.
    Replace,
    /// Lists are appended; of entries with the same identity the later stays, in the place of the earlier.
    Unique(Identity),
    /// Lists are appended; entries with the same value of this key are merged.
    ByKey(&'static str),
    /// Merged if this key of both is the same or one has none; else replaced.
    SameKey(&'static str),
    /// In a mapping of single values, nothing is a value too: the name is known, its value comes from elsewhere.
    NullCounts,
}

/// What makes two entries of a list one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Identity {
    /// The whole text.
    Text,
    /// The text before `=`.
    Name,
    /// Address, port inside, port outside, protocol.
    Port,
    /// `target`.
    Target,
    /// `path`.
    Path,
    /// `tcp` or `unix`.
    Address,
    /// `target`, or the directory and `source`.
    Grant(&'static str),
}

/// Whether this version does what an attribute says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Honoured {
    /// It does, or it is a matter of the loader alone.
    Yes,
    /// Not yet: nothing is started with it.
    NotYet,
    /// Nobody does outside of a cluster; Compose ignores it too.
    WithoutEffect,
}

/// A row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attribute {
    /// The key.
    pub name: &'static str,
    /// What its value may look like.
    pub shape: Shape,
    /// How it merges.
    pub merge: Merge,
    /// Whether this version honours it.
    pub honoured: Honoured,
    /// Whether it must be there.
    pub required: bool,
    /// Whether nothing (`key:`) may stand in the place of a value.
    pub nullable: bool,
    /// What `config` prints of it when it is empty.
    pub empty: Empty,
    /// One sentence for editors.
    pub doc: &'static str,
}

/// What `config` prints of an attribute that is false, zero or empty (Go's `omitempty`, and where it is missing).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Empty {
    /// Nothing.
    Omitted,
    /// What is there.
    Shown,
    /// `{}`, also where it is not there.
    Always,
    /// Nothing when it is `true`, which is what it is when absent.
    True,
}

/// A row with the usual answers.
const fn attribute(name: &'static str, shape: Shape, doc: &'static str) -> Attribute {
    Attribute {
        name,
        shape,
        merge: Merge::Natural,
        honoured: Honoured::Yes,
        required: false,
        nullable: false,
        empty: Empty::Omitted,
        doc,
    }
}

impl Attribute {
    const fn merged(mut self, merge: Merge) -> Self {
        self.merge = merge;
        self
    }

    const fn unique(self, identity: Identity) -> Self {
        self.merged(Merge::Unique(identity))
    }

    const fn without_effect(mut self) -> Self {
        self.honoured = Honoured::WithoutEffect;
        self
    }

    const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    const fn nullable(mut self) -> Self {
        self.nullable = true;
        self
    }

    const fn shown(mut self, empty: Empty) -> Self {
        self.empty = empty;
        self
    }
}

impl Object {
    /// Whether it is the same kind of mapping as another.
    pub(super) fn is(&self, other: &Object) -> bool {
        self.what == other.what
    }

    /// The row of a key.
    pub(super) fn get(&self, name: &str) -> Option<&'static Attribute> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }
}

impl Shape {
    /// The shape behind all short forms.
    pub(super) fn long(&self) -> &Shape {
        match self {
            Shape::Forms(forms) => forms.long.long(),
            other => other,
        }
    }
}

/// Any whole number.
const WHOLE: Shape = Shape::Whole(i64::MIN, i64::MAX);

/// A list of texts.
const TEXTS: Shape = Shape::List(&Shape::Text);
