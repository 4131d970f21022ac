//! Networks, volumes and images: things that are made once and wait for nobody.

use crate::base::moment::Moment;

/// What is wanted of a network or a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// It exists.
    There,
    /// It does not.
    Gone,
    /// It is left alone.
    Left,
}

/// A network or volume of the engine.
#[derive(Debug, Clone)]
pub struct Resource {
    /// The engine's name.
    pub name: String,
    /// Made by somebody else: must exist, is never removed.
    pub external: bool,
    /// What is wanted.
    pub want: Want,
    /// Whether it is there; none while nobody has looked.
    pub there: Option<bool>,
    /// The ticket of the action in flight.
    pub busy: Option<u64>,
    /// Failures in a row.
    pub failures: u32,
    /// No repetition before.
    pub not_before: Moment,
    /// What went wrong; not tried again before somebody asks.
    pub failed: Option<String>,
    /// Why it was left alone.
    pub kept: Option<String>,
    /// Observations asked for up to this one do not show the last action.
    pub blind_until: u64,
}

impl Resource {
    /// One of which nothing is known yet.
    pub fn new(name: String, external: bool, want: Want) -> Self {
        Self {
            name,
            external,
            want,
            there: None,
            busy: None,
            failures: 0,
            not_before: Moment::default(),
            failed: None,
            kept: None,
            blind_until: 0,
        }
    }

    /// Whether something is to be done about it: true to create, false to remove.
    pub fn next(&self) -> Option<bool> {
        if self.busy.is_some() || self.failed.is_some() || self.external {
            return None;
        }
        match (self.want, self.there) {
            (Want::There, Some(false)) => Some(true),
            (Want::Gone, Some(true)) if self.kept.is_none() => Some(false),
            (Want::There | Want::Gone | Want::Left, _) => None,
        }
    }
}

/// The image of a service, or one that is fetched beside the start.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its reference.
    pub reference: String,
    /// Somebody needs it.
    pub wanted: bool,
    /// Its id, when it is there; none when it is not.
    pub id: Option<String>,
    /// Whether anybody has looked.
    pub looked: bool,
    /// It is to be built, or pulled, though it is there.
    pub renew: bool,
    /// How it is come by.
    pub source: Origin,
    /// The ticket of the action in flight.
    pub busy: Option<u64>,
    /// Faults in a row that may pass.
    pub failures: u32,
    /// No repetition before.
    pub not_before: Moment,
    /// What went wrong; not tried again before somebody asks.
    pub failed: Option<String>,
    /// Observations asked for up to this one do not show the last action.
    pub blind_until: u64,
}

/// How an image is come by when it is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Built.
    Build,
    /// Pulled.
    Pull,
    /// Neither: it has to be there.
    Never,
}

impl Image {
    /// One that nobody has looked for yet.
    pub fn new(reference: String, source: Origin) -> Self {
        Self {
            reference,
            wanted: false,
            id: None,
            looked: false,
            renew: false,
            source,
            busy: None,
            failures: 0,
            not_before: Moment::default(),
            failed: None,
            blind_until: 0,
        }
    }

    /// Whether a container can be made of it now.
    pub fn is_ready(&self) -> bool {
        self.id.is_some() && !self.renew && self.busy.is_none()
    }

    /// Whether it has to be built or pulled now.
    pub fn is_due(&self) -> bool {
        self.wanted && self.looked && self.busy.is_none() && self.failed.is_none() && (self.renew || self.id.is_none())
    }
}
