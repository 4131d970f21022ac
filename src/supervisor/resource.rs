//! Networks, volumes and images: things that are made once and wait for nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::base::moment::Moment;
use crate::base::name::ServiceName;
use crate::plan::hash::ConfigHash;
use crate::plan::provision::{self, Provision, Renew, Source, Way};

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
    /// The definition that is wanted, as a hash; none where nobody knows it.
    pub hash: Option<ConfigHash>,
    /// What earlier releases made of the same definition.
    pub former: Option<ConfigHash>,
    /// What has changed in it since it was last asked for, in the words of the file.
    pub changes: Option<String>,
    /// It is to be removed and made anew, although that loses what it holds: what somebody agreed to, of a volume.
    pub may_lose: bool,
    /// It is being removed to be made anew.
    pub renew: bool,
    /// It is to be made anew if the engine has nothing against it, which is being asked.
    pub asking: bool,
    /// That it is not as it is wanted, or not ours, has been said.
    pub told: bool,
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
    /// It was asked for again while an action was in flight: should that fail, it is tried once more.
    pub asked_again: bool,
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
            hash: None,
            former: None,
            changes: None,
            may_lose: false,
            renew: false,
            asking: false,
            told: false,
            busy: None,
            failures: 0,
            not_before: Moment::default(),
            failed: None,
            kept: None,
            asked_again: false,
            blind_until: 0,
        }
    }

    /// Somebody asks for it, or for its end: what went wrong before counts no more.
    pub fn forgive(&mut self) {
        (self.failed, self.kept, self.failures) = (None, None, 0);
        self.asked_again = self.busy.is_some();
    }

    /// It stays as it is, as far as nothing is under way, until the next look shows what has changed.
    pub fn let_be(&mut self) {
        if self.busy.is_none() {
            (self.renew, self.asking) = (false, false);
        }
    }

    /// Whether a container can be made with it now.
    pub fn is_ready(&self) -> bool {
        self.there == Some(true) && self.want == Want::There && self.busy.is_none() && !self.renew && !self.asking
    }

    /// Whether it is on its way to another definition, or back: what joined it now would be in one that goes.
    pub fn is_being_remade(&self) -> bool {
        let settled = self.external || self.failed.is_some() || self.kept.is_some();
        self.want == Want::There && !settled && (self.renew || self.asking || self.busy.is_some() || self.there == Some(false))
    }

    /// Whether something is to be done about it: true to create, false to remove.
    pub fn next(&self) -> Option<bool> {
        if self.busy.is_some() || self.failed.is_some() || self.external {
            return None;
        }
        match (self.want, self.there) {
            (Want::There, Some(false)) => Some(true),
            (Want::Gone, Some(true)) if self.kept.is_none() => Some(false),
            (Want::There, Some(true)) if self.renew => Some(false),
            (Want::There | Want::Gone | Want::Left, _) => None,
        }
    }
}

/// The image of a service, or one that is fetched beside the start.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its reference.
    pub reference: String,
    /// Other names by which services ask for what is built here.
    pub aliases: BTreeSet<String>,
    /// Somebody needs it.
    pub wanted: bool,
    /// The services that are asked for and are of it.
    pub users: BTreeSet<ServiceName>,
    /// The services that are asked for and mount it.
    pub mounters: BTreeSet<ServiceName>,
    /// Those for whom it is got when it is got next: all that are of it or mount it, where none are named. Whoever is not asked for keeps
    /// what it has.
    pub asked_by: Option<BTreeSet<ServiceName>>,
    /// Its id, when it is there; none when it is not.
    pub id: Option<String>,
    /// Whether anybody has looked.
    pub looked: bool,
    /// It is to be got in this way though it is there.
    pub renew: Option<Way>,
    /// It is to be pulled if the next look shows that it has had its name for longer than this.
    pub pull_after: Option<Duration>,
    /// How it is come by when it is not there.
    pub source: Source,
    /// The build in flight is of files that have changed since.
    pub outdated: bool,
    /// A pull of what can also be built has failed.
    pub unpullable: bool,
    /// Nobody waits for the action in flight any more.
    pub called_off: bool,
    /// The ticket of the action in flight, and what that is.
    pub busy: Option<(u64, Way)>,
    /// Faults in a row that may pass.
    pub failures: u32,
    /// No repetition before.
    pub not_before: Moment,
    /// What went wrong; not tried again before somebody asks.
    pub failed: Option<String>,
    /// Observations asked for up to this one do not show the last action.
    pub blind_until: u64,
}

impl Image {
    /// One that nobody has looked for yet.
    pub fn new(reference: String, source: Source) -> Self {
        Self {
            reference,
            aliases: BTreeSet::new(),
            wanted: false,
            users: BTreeSet::new(),
            mounters: BTreeSet::new(),
            asked_by: Some(BTreeSet::new()),
            id: None,
            looked: false,
            renew: None,
            pull_after: None,
            source,
            outdated: false,
            unpullable: false,
            called_off: false,
            busy: None,
            failures: 0,
            not_before: Moment::default(),
            failed: None,
            blind_until: 0,
        }
    }

    /// Whether a container can be made of it now. One that is there is not good enough where another was asked for and did not come.
    pub fn is_ready(&self) -> bool {
        self.id.is_some() && self.renew.is_none() && self.busy.is_none() && self.failed.is_none()
    }

    /// A service asks for it.
    pub fn ask_for(&mut self, service: &ServiceName) {
        if let Some(asked_by) = &mut self.asked_by {
            asked_by.insert(service.clone());
        }
    }

    /// Whether it is being got, or is to be.
    pub fn is_coming(&self) -> bool {
        let is_missing = self.wanted && self.id.is_none();
        self.busy.is_some() || self.renew.is_some() || self.pull_after.is_some() || is_missing
    }

    /// Whether it comes about by a build, if need be.
    pub fn is_built(&self) -> bool {
        match self.source {
            Source::Build | Source::PullElseBuild => true,
            Source::Pull | Source::Never => false,
        }
    }

    /// Whether it has to be built or pulled now.
    pub fn is_due(&self) -> bool {
        self.wanted && self.looked && self.busy.is_none() && self.failed.is_none() && (self.renew.is_some() || self.id.is_none())
    }

    /// The way to take now that it is due; none when there is none.
    pub fn way(&self) -> Option<Way> {
        // A registry gives it one name; with all of them there, the others stay what they are.
        let is_short_of_names = self.id.is_none() && !self.aliases.is_empty();
        let renew = self.renew.filter(|way| *way == Way::Build || !is_short_of_names);
        renew.or_else(|| provision::way(self.source, self.unpullable || !self.aliases.is_empty()))
    }

    /// Its names, as far as they have to be there.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        let aliases = self.is_built().then_some(&self.aliases);
        std::iter::once(&self.reference).chain(aliases.into_iter().flatten())
    }

    /// Its id among these; none unless it has all its names.
    pub fn among(&self, images: &BTreeMap<String, String>) -> Option<String> {
        self.names().all(|name| images.contains_key(name)).then(|| images.get(&self.reference).cloned()).flatten()
    }

    /// Somebody wants it; `anew` says that this somebody may want another one than is there.
    pub fn want(&mut self, provision: Provision, anew: bool) {
        self.source = provision.source;
        self.wanted = true;
        self.failed = None;
        self.unpullable = false;
        match provision.renew {
            Renew::Always(way) if anew => self.renew = Some(way),
            Renew::PullAfter(age) if anew => self.pull_after = Some(age),
            Renew::No | Renew::Always(_) | Renew::PullAfter(_) => {}
        }
    }

    /// A look has shown it, or that it is not there.
    pub fn seen(&mut self, id: Option<String>, tagged: Option<Duration>) {
        self.id = id;
        self.looked = true;
        if let Some(limit) = self.pull_after.take()
            && tagged.is_none_or(|age| age >= limit)
        {
            self.renew = Some(Way::Pull);
        }
    }
}
