//! A world with a truth of its own, and the promises that are checked against it at every step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::script;
use super::witness::Witness;
use crate::base::moment::Moment;
use crate::base::name::{ServiceName, UnitId};
use crate::base::random::Random;
use crate::model::service::Service;
use crate::plan::action::{Action, Assessment, Conclusion, Exit, Fault, FaultKind, Incarnation, Outcome, ResourceId, Ticket};
use crate::plan::actual::{Actual, SeenContainer, SeenHealth, SeenResource, SeenState};
use crate::plan::desired::Deployment;
use crate::plan::hash::ConfigHash;
use crate::plan::next::{Definition, Goal};
use crate::supervisor::Supervisor;
use crate::supervisor::effect::Effect;
use crate::supervisor::event::{Event, ProbeResult, RequestId, RuleId};
use crate::supervisor::request::{Reply, Request};
use crate::supervisor::snapshot::Processes;
use crate::supervisor::status::UnitKind;
use crate::supervisor::unit::{Have, Unit};

/// Faults and requests end here; from then on the world is kind and the machine has to come to rest.
const QUIET: u64 = 60_000;
/// By then it has come to rest; what goes on after that are the probes of what runs.
const END: u64 = QUIET + 45_000;

#[derive(Debug, Clone)]
struct Box_ {
    unit: UnitId,
    /// Whose place it is to take.
    replaces: Option<String>,
    /// The id of the network that it has joined; empty before its first start.
    network: String,
    hash: ConfigHash,
    id: String,
    state: SeenState,
    healthy: bool,
}

pub(super) struct World {
    seed: u64,
    talk: bool,
    random: Random,
    machine: Supervisor,
    witness: Witness,
    queue: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    now: u64,
    pub(super) steps: u64,
    deployment: Arc<Deployment>,
    versions: Vec<u64>,
    stack_seed: u64,
    /// The rules that are armed.
    rules: Vec<RuleId>,
    /// How often a next life has taken the place of a living one.
    pub(super) reloads: u64,
    /// Of each unit the life that is its own.
    leads: BTreeMap<UnitId, Incarnation>,
    /// Living processes: unit → life → hash.
    processes: BTreeMap<UnitId, BTreeMap<Incarnation, ConfigHash>>,
    /// Tasks from whose outputs others are kept.
    held: BTreeSet<UnitId>,
    containers: BTreeMap<String, Box_>,
    /// The networks: name → definition and id.
    networks: BTreeMap<String, (ConfigHash, String)>,
    image: bool,
    /// The pulls and builds that are under way.
    fetching: BTreeSet<u64>,
    engine: bool,
    births: u64,
    /// Requests that wait for their answer.
    open: BTreeMap<RequestId, Request>,
    answered: BTreeSet<RequestId>,
    last_down: bool,
    exited: bool,
}

impl World {
    pub(super) fn new(seed: u64, talk: bool) -> Self {
        let mut random = Random::new(seed);
        let size = 1 + random.below(5);
        let versions = vec![0; 1 + usize::try_from(size).expect("small")];
        let stack_seed = random.next_u64();
        let deployment = Arc::new(script::deployment(&mut Random::new(stack_seed), size, &versions));
        let machine = Supervisor::new(deployment.env.clone(), seed);
        let mut world = Self {
            seed,
            talk,
            machine,
            witness: Witness::default(),
            queue: BTreeMap::new(),
            sequence: 0,
            now: 0,
            steps: 0,
            deployment,
            versions,
            stack_seed,
            rules: Vec::new(),
            reloads: 0,
            leads: BTreeMap::new(),
            processes: BTreeMap::new(),
            held: BTreeSet::new(),
            containers: BTreeMap::new(),
            networks: BTreeMap::new(),
            image: random.chance(50),
            fetching: BTreeSet::new(),
            engine: true,
            births: 0,
            open: BTreeMap::new(),
            answered: BTreeSet::new(),
            last_down: false,
            exited: false,
            random,
        };
        world.write_script();
        world
    }

    fn write_script(&mut self) {
        let first = script::up(&self.deployment.clone(), Vec::new(), self.random.chance(50), self.random.chance(20));
        self.ask_at(0, first);
        for _ in 0..self.random.below(5) {
            let at = self.random.below(QUIET);
            let request = match self.random.below(4) {
                0 => script::down(),
                1 => {
                    let index = self.random.index(self.versions.len());
                    self.versions[index] += 1;
                    let size = self.versions.len() as u64 - 1;
                    self.deployment = Arc::new(script::deployment(&mut Random::new(self.stack_seed), size, &self.versions));
                    let deployment = self.deployment.clone();
                    let services =
                        if self.random.chance(70) { Vec::new() } else { vec![script::one(&mut self.random, &deployment)] };
                    script::up(&deployment, services, self.random.chance(50), self.random.chance(20))
                }
                _ => {
                    let deployment = self.deployment.clone();
                    script::any(&mut self.random, &deployment)
                }
            };
            self.ask_at(at, request);
        }
        self.last_down = self.random.chance(50);
        let last = if self.last_down { script::down() } else { script::up(&self.deployment.clone(), Vec::new(), false, false) };
        self.ask_at(QUIET + 1000, last);
    }

    fn ask_at(&mut self, at: u64, request: Request) {
        self.sequence += 1;
        let id = RequestId(self.sequence);
        let is_attached = matches!(&request, Request::Up(up) if up.attached);
        self.queue.insert((at, self.sequence), Event::Request(id, request));
        // Whoever waits for the answer is interrupted; in the foreground that is another thing.
        if at < QUIET && !is_attached && self.random.chance(20) {
            self.sequence += 1;
            let later = at + self.random.below(2000);
            self.queue.insert((later, self.sequence), Event::Request(id, Request::CallOff));
        }
    }

    fn later(&mut self, delay: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now + delay, self.sequence), event);
    }

    /// Lives to the end, talking.
    pub(super) fn live(mut self) {
        self.live_quietly();
        eprintln!("seed {}: {} steps, all promises kept", self.seed, self.steps);
    }

    pub(super) fn live_quietly(&mut self) {
        loop {
            let due = self.machine.next_deadline().filter(|_| !self.exited).map(|moment| moment.0.max(self.now));
            let (at, event) = match (self.queue.first_key_value().map(|(key, _)| key.0), due) {
                (Some(queued), Some(due)) if due < queued => (due, Event::Tick),
                (Some(_), _) => {
                    let ((at, _), event) = self.queue.pop_first().expect("just looked");
                    (at, event)
                }
                (None, Some(due)) => (due, Event::Tick),
                (None, None) => break,
            };
            if at > END {
                break;
            }
            self.now = self.now.max(at);
            self.steps += 1;
            if self.now >= QUIET && !self.engine {
                self.engine = true;
                self.later(0, Event::EngineStirred);
            }
            assert!(self.steps < 30_000, "no rest: {:#?}", self.machine.status());
            if let Event::Request(id, Request::CallOff) = &event {
                // Whoever has had an answer is gone, or has seen the supervisor die.
                if !self.open.contains_key(id) {
                    continue;
                }
            } else if let Event::Request(id, request) = &event
                && !matches!(request, Request::Attached { .. })
            {
                if std::mem::take(&mut self.exited) {
                    self.crash();
                }
                self.open.insert(*id, request.clone());
            }
            if let Event::Disconnected(id) = &event {
                self.open.remove(id);
            }
            // A supervisor that has ended hears nothing more; the next request starts another from its snapshot.
            if self.exited {
                continue;
            }
            if !self.is_news(&event) {
                continue;
            }
            if self.kind_of_luck(2) && self.now < QUIET && !matches!(event, Event::Request(..)) {
                self.crash();
                continue;
            }
            let events = self.with_what_came_meanwhile(event);
            self.feed(events);
            if self.now < QUIET {
                self.mischief();
            } else if !self.engine || self.containers.values().any(|it| !it.healthy) {
                self.engine = true;
                for it in self.containers.values_mut() {
                    it.healthy = true;
                }
                self.later(1, Event::EngineStirred);
            }
        }
        self.check_rest();
    }

    fn kind_of_luck(&mut self, per_thousand: u64) -> bool {
        self.random.below(1000) < per_thousand
    }

    /// The supervisor is killed: its processes die with it, containers live on, clients see the connection end.
    fn crash(&mut self) {
        if self.talk {
            eprintln!("{:>7}  ✝ the supervisor is killed", self.now);
        }
        self.processes.clear();
        self.rules.clear();
        self.held.clear();
        self.fetching.clear();
        self.open.clear();
        let is_of_a_new_connection = |request: &Request| !matches!(request, Request::Attached { .. });
        self.queue.retain(|_, event| matches!(event, Event::Request(_, request) if is_of_a_new_connection(request)));
        let json = serde_json::to_string(&self.machine.snapshot()).expect("a snapshot is plain data");
        let snapshot = serde_json::from_str(&json).expect("and reads back");
        let stack = &self.deployment.stack;
        self.witness.bury(|name| stack.services.get(name).is_some_and(Service::is_process));
        self.machine = Supervisor::recover(snapshot, Processes::Gone, self.seed).expect("of this version");
        self.later(0, Event::Tick);
    }

    /// Things that happen by themselves.
    fn mischief(&mut self) {
        if self.kind_of_luck(10) && !self.rules.is_empty() {
            let rule = self.rules[self.random.index(self.rules.len())];
            self.later(0, Event::FilesChanged { rule, paths: vec!["/src/main".into()], busy: false });
        }
        if self.kind_of_luck(4) && self.engine {
            self.engine = false;
            self.later(0, Event::EngineAway("gone".to_owned()));
            let back = 1 + self.random.below(3000);
            self.later(back, Event::EngineStirred);
        } else if !self.engine && self.kind_of_luck(200) {
            self.engine = true;
            self.later(1, Event::EngineStirred);
        }
        if self.kind_of_luck(10) {
            // A process dies by itself.
            let victims: Vec<(UnitId, Incarnation)> =
                self.processes.iter().flat_map(|(unit, lives)| lives.keys().map(|life| (unit.clone(), *life))).collect();
            if !victims.is_empty() {
                let (unit, incarnation) = victims[self.random.index(victims.len())].clone();
                let exit = Exit::Code(i32::try_from(self.random.below(2)).expect("small"));
                if self.random.chance(30) {
                    // The leader goes, its children stay for a while.
                    self.later(0, Event::Exited { unit, incarnation, exit, remaining: 1 });
                } else {
                    self.later(0, Event::Exited { unit, incarnation, exit, remaining: 0 });
                }
            }
        }
        if self.kind_of_luck(5) {
            let running: Vec<String> = self
                .containers
                .values()
                .filter(|it| matches!(it.state, SeenState::Running { .. }))
                .map(|it| it.id.clone())
                .collect();
            if !running.is_empty() {
                let id = running[self.random.index(running.len())].clone();
                let it = self.containers.get_mut(&id).expect("just listed");
                if let SeenState::Running { birth } = &it.state {
                    it.state = SeenState::Exited { exit: Exit::Code(1), birth: birth.clone() };
                }
                self.later(1, Event::EngineStirred);
            }
        }
    }

    /// The end of a life is true when it is told; one that is told twice, or of a life that is over, is none.
    fn is_news(&mut self, event: &Event) -> bool {
        let Event::Exited { unit, incarnation, remaining, .. } = event else { return true };
        let Some(lives) = self.processes.get_mut(unit) else { return false };
        if *remaining > 0 { lives.contains_key(incarnation) } else { lives.remove(incarnation).is_some() }
    }

    /// What comes in bulk is taken in together with what else has come by then: the machine has been busy for a while, as it may be.
    fn with_what_came_meanwhile(&mut self, event: Event) -> Vec<Event> {
        let mut events = vec![event];
        if !events[0].comes_in_bulk() || self.random.chance(50) {
            return events;
        }
        let busy = self.now + self.random.below(100);
        while let Some(next) = self.queue.first_entry().filter(|next| next.key().0 <= busy && next.get().comes_in_bulk()) {
            let ((at, _), event) = next.remove_entry();
            self.now = self.now.max(at);
            if self.is_news(&event) {
                events.push(event);
            }
        }
        events
    }

    fn feed(&mut self, events: Vec<Event>) {
        for event in &events {
            if self.talk {
                eprintln!("{:>7}  {}", self.now, short(event));
            }
            if let Event::Acted(ticket, _) = event {
                self.fetching.remove(&ticket.serial);
            }
            // A signalled process that was told of with `remaining` still lives; its end is the world's to tell.
            self.witness.hear(event);
        }
        let effects = self.machine.steps(events, Moment(self.now));
        let mut witness = std::mem::take(&mut self.witness);
        // What has done what was waited for may be due again by a schedule in the same step.
        witness.judge(&effects, |id| {
            let unit = &self.machine.units[id];
            unit.no_deps || unit.ghost || self.depends_on_a_schedule(unit)
        });
        self.witness = witness;
        for effect in effects {
            match effect {
                Effect::Act(ticket, action) => {
                    if self.talk {
                        eprintln!("{:>7}      → {} {}", self.now, action.verb(), ticket.resource);
                    }
                    self.act(ticket, &action);
                }
                Effect::Observe(number, _) => {
                    let delay = 1 + self.random.below(50);
                    let seen = self.look();
                    self.later(delay, Event::Observed(number, seen));
                }
                Effect::Probe(ticket, _) => {
                    let healthy = self.now >= QUIET || self.random.chance(70);
                    let delay = 1 + self.random.below(200);
                    self.later(delay, Event::Probed(ticket, ProbeResult { healthy, output: "probe".to_owned() }));
                }
                Effect::Reckon(question) => {
                    let wait = self.random.below(90_000);
                    let due_ms = question.due_ms.or(Some(question.last_ms.unwrap_or(0).max(self.now) + wait));
                    let (unit, cron, now_ms) = (question.unit, question.cron, self.now);
                    let delay = self.random.below(5);
                    self.later(delay, Event::Reckoned { unit, cron, now_ms, due_ms });
                }
                Effect::Reply(id, reply) => self.answered(id, &reply),
                Effect::Exit => self.exited = true,
                Effect::Abandon(unit) => drop(self.held.remove(&unit)),
                Effect::Watch(list) => {
                    self.rules = list.iter().map(|watched| watched.id).collect();
                    let delay = self.random.below(50);
                    self.later(delay, Event::WatchSet);
                }
                Effect::Lead(unit, incarnation) => self.lead(unit, incarnation),
                Effect::CallOff(_) | Effect::Hold(_) | Effect::Tell(_) | Effect::Persist => {}
            }
        }
    }

    /// A life takes the place of another, which it cannot do before it is there.
    fn lead(&mut self, unit: UnitId, incarnation: Incarnation) {
        if self.talk {
            eprintln!("{:>7}      → life {} leads {unit}", self.now, incarnation.0);
        }
        let lives = self.processes.get(&unit).map(|lives| lives.keys().copied().collect::<Vec<_>>()).unwrap_or_default();
        assert!(lives.contains(&incarnation), "{unit}: life {} leads and is not there: {lives:?}", incarnation.0);
        let before = self.leads.insert(unit, incarnation);
        self.reloads += u64::from(before.is_some_and(|before| before != incarnation && lives.contains(&before)));
    }

    fn answered(&mut self, id: RequestId, reply: &Reply) {
        if self.talk {
            eprintln!("{:>7}      ⇒ {id:?} {reply:?}", self.now);
        }
        match reply {
            Reply::Ended { .. } => return,
            Reply::Attach { unit, container } => return self.asked_to_attach(id, unit, container),
            _ => {}
        }
        assert!(self.answered.insert(id), "{id:?} is answered twice");
        self.open.remove(&id).expect("only what is asked is answered");
    }

    /// The client of a foreground `up` attaches: at once, late, or more often than once; or it is gone before it has.
    fn asked_to_attach(&mut self, id: RequestId, unit: &UnitId, container: &str) {
        let attached = || Request::Attached { unit: unit.clone(), container: container.to_owned() };
        let late = self.now < QUIET && self.random.chance(10);
        let delay = 1 + self.random.below(if late { 5000 } else { 20 });
        if self.now < QUIET && self.random.chance(5) {
            return self.later(delay, Event::Disconnected(id));
        }
        for _ in 0..=u64::from(self.random.chance(10)) {
            self.later(delay, Event::Request(id, attached()));
        }
    }

    fn look(&mut self) -> Result<Actual, Fault> {
        if !self.engine {
            return Err(Fault { kind: FaultKind::EngineAway, message: "gone".to_owned() });
        }
        let mut actual = Actual::default();
        for it in self.containers.values() {
            actual.containers.push(SeenContainer {
                id: it.id.clone(),
                name: match &it.replaces {
                    Some(predecessor) => format!("{predecessor}_sim-{}-{}", it.unit.service, it.unit.replica),
                    None => format!("sim-{}-{}", it.unit.service, it.unit.replica),
                },
                replaces: it.replaces.clone(),
                unit: Some(it.unit.clone()),
                one_off: false,
                hash: Some(it.hash.clone()),
                by_us: true,
                age: None,
                networks: [("sim_default".to_owned(), it.network.clone())].into(),
                addresses: None,
                volumes: std::collections::BTreeSet::new(),
                shares: std::collections::BTreeSet::new(),
                image: "sha".to_owned(),
                mounted: BTreeMap::new(),
                state: it.state.clone(),
                paused: false,
                probed: None,
                check: None,
                unprobed: None,
                health: self.has_health(&it.unit).then_some(if it.healthy { SeenHealth::Healthy } else { SeenHealth::Starting }),
            });
        }
        for (name, (hash, id)) in &self.networks {
            let (key, hash, id) = (Some("default".to_owned()), Some(hash.clone()), Some(id.clone()));
            actual.networks.insert(name.clone(), SeenResource { key, hash, ours: true, id, obstacle: None });
        }
        if self.image {
            actual.images.insert("image".to_owned(), "sha".to_owned());
        }
        Ok(actual)
    }

    fn has_health(&self, unit: &UnitId) -> bool {
        self.deployment.service(&unit.service).is_some_and(|service| service.common.healthcheck.is_some())
    }

    fn act(&mut self, ticket: Ticket, action: &Action) {
        self.check_fetch(&ticket, action);
        let faulty = self.now < QUIET && self.random.chance(8);
        // Now and then an answer takes long enough for anything else to happen meanwhile.
        let long = self.now < QUIET && self.random.chance(2);
        let delay = 1 + self.random.below(if long { 20_000 } else { 300 });
        if let (Action::Start { .. }, ResourceId::Unit(unit)) = (action, &ticket.resource)
            && self.machine.units[unit].kind == UnitKind::Task
        {
            self.held.insert(unit.clone());
        }
        let of_engine = action.spec().is_none_or(|spec| !spec.service().is_process());
        if of_engine && !self.engine {
            let fault = Fault { kind: FaultKind::EngineAway, message: "gone".to_owned() };
            return self.later(delay, Event::Acted(ticket, Err(fault)));
        }
        if faulty && !matches!(action, Action::Kill { .. }) {
            let fault = if self.random.chance(30) { Fault::permanent("no") } else { Fault::temporary("not now") };
            return self.later(delay, Event::Acted(ticket, Err(fault)));
        }
        let outcome = self.carry_out(&ticket, action, delay);
        if let Some(outcome) = outcome {
            self.later(delay, Event::Acted(ticket, Ok(outcome)));
        }
    }

    fn carry_out(&mut self, ticket: &Ticket, action: &Action, delay: u64) -> Option<Outcome> {
        let ResourceId::Unit(unit) = ticket.resource.clone() else { return Some(self.carry_out_on_resource(action)) };
        Some(match action {
            Action::Create { spec, .. } if spec.service().container().is_some() => {
                assert!(self.image, "{unit}: made without its image");
                assert!(self.networks.contains_key("sim_default"), "{unit}: made without its network");
                assert!(self.containers.values().all(|it| it.unit != unit), "{unit} has two containers");
                self.births += 1;
                let id = format!("c{}", self.births);
                self.make(unit, spec.hash.clone(), &id, None);
                Outcome::Created { container: id }
            }
            Action::Create { .. } => Outcome::Done,
            Action::Succeed { spec, predecessor, .. } => {
                assert!(self.image, "{unit}: made without its image");
                assert!(self.networks.contains_key("sim_default"), "{unit}: made without its network");
                let beside = self.containers.values().filter(|it| it.unit == unit && it.replaces.is_some());
                assert_eq!(beside.count(), 0, "{unit} has two successors");
                let in_place = predecessor.as_ref().and_then(|id| self.containers.get(id));
                assert!(in_place.is_some_and(|it| it.unit == unit), "{unit}: its successor replaces nothing");
                self.births += 1;
                let id = format!("c{}", self.births);
                self.make(unit, spec.hash.clone(), &id, predecessor.clone());
                Outcome::Created { container: id }
            }
            Action::TakeOver { container, .. } => {
                let in_place = self.containers.values().any(|it| it.unit == unit && it.replaces.is_none());
                assert!(!in_place, "{unit}: two containers in one place");
                let it = self.containers.get_mut(container).unwrap_or_else(|| panic!("{unit}: nothing takes over"));
                it.replaces = None;
                Outcome::Done
            }
            Action::Discard { container, .. } => {
                let it = self.containers.remove(container).unwrap_or_else(|| panic!("{unit}: nothing to discard"));
                assert!(it.replaces.is_some(), "{unit}: what is in place is discarded");
                Outcome::Removed { anonymous: indexmap::IndexMap::new() }
            }
            Action::Start { spec, incarnation, beside, .. } => {
                self.check_start(&unit);
                self.births += 1;
                let birth = format!("b{}", self.births);
                if spec.service().container().is_some() {
                    let luck = self.random.chance(80) || self.now >= QUIET;
                    let it = self
                        .containers
                        .values_mut()
                        .find(|it| it.unit == unit && it.replaces.is_none())
                        .unwrap_or_else(|| panic!("{unit}: started without a container"));
                    it.state = SeenState::Running { birth: birth.clone() };
                    it.healthy = luck;
                    let (_, network) = self.networks.get("sim_default").expect("it was there when the container was made");
                    let joined = it.network.is_empty() || it.network == *network;
                    assert!(joined, "{unit}: started in a network that is no more");
                    it.network.clone_from(network);
                    let stir = delay + self.random.below(2000);
                    self.later(stir, Event::EngineStirred);
                } else {
                    let lives = self.processes.entry(unit.clone()).or_default();
                    lives.insert(*incarnation, spec.hash.clone());
                    assert_eq!(lives.len(), if *beside { 2 } else { 1 }, "{unit}: so many lives");
                    assert!(lives.keys().max() == Some(incarnation), "{unit}: two lives of one number");
                    if !beside {
                        self.leads.insert(unit.clone(), *incarnation);
                    }
                    let task = spec.service().is_task();
                    let dies = self.now < QUIET && self.random.chance(25);
                    if task || dies {
                        // It may overtake the answer to its own start.
                        let code = i32::from(dies && self.random.chance(60));
                        let after = delay.saturating_sub(100) + self.random.below(if task { 800 } else { 5000 });
                        let (unit, incarnation) = (unit, *incarnation);
                        if self.random.chance(20) {
                            self.later(
                                after.saturating_sub(50),
                                Event::Exited { unit: unit.clone(), incarnation, exit: Exit::Code(code), remaining: 2 },
                            );
                        }
                        self.later(after, Event::Exited { unit, incarnation, exit: Exit::Code(code), remaining: 0 });
                    }
                }
                Outcome::Started { pid: Some(1), birth }
            }
            Action::Stop { spec, incarnation, .. } => {
                self.check_stop(&unit, *incarnation);
                if spec.service().container().is_some() {
                    self.end_container(&unit, 143);
                    Outcome::Done
                } else {
                    if self.random.chance(66) {
                        let after = delay + self.random.below(500);
                        self.later(
                            after,
                            Event::Exited { unit, incarnation: *incarnation, exit: Exit::Signal(15), remaining: 0 },
                        );
                    }
                    Outcome::Signalled
                }
            }
            Action::Kill { spec, incarnation, .. } => {
                if spec.service().container().is_some() {
                    self.end_container(&unit, 137);
                    Outcome::Done
                } else {
                    self.later(delay + 1, Event::Exited { unit, incarnation: *incarnation, exit: Exit::Signal(9), remaining: 0 });
                    Outcome::Signalled
                }
            }
            Action::Freeze { .. } => Outcome::Signalled,
            Action::Remove { container, .. } => {
                assert!(self.processes.get(&unit).is_none_or(BTreeMap::is_empty), "{unit}: removed while it lives");
                if let Some(id) = container
                    && let Some(it) = self.containers.remove(id)
                {
                    assert!(!matches!(it.state, SeenState::Running { .. }), "{unit}: its container was removed while it ran");
                }
                Outcome::Removed { anonymous: indexmap::IndexMap::new() }
            }
            Action::Assess { .. } => Outcome::Assessed(if self.random.chance(50) {
                self.held.remove(&unit);
                Assessment::UpToDate
            } else {
                self.held.insert(unit);
                Assessment::Due("why not".to_owned())
            }),
            Action::Conclude { exit, .. } => {
                self.held.remove(&unit);
                Outcome::Concluded(if exit.is_success() { Conclusion::Succeeded } else { Conclusion::Failed(exit.to_string()) })
            }
            Action::CreateNetwork { .. }
            | Action::RemoveNetwork { .. }
            | Action::CreateVolume { .. }
            | Action::RemoveVolume { .. }
            | Action::Pull { .. }
            | Action::Build { .. }
            | Action::RemoveImages { .. }
            | Action::Sync { .. }
            | Action::RemoveOwned { .. } => unreachable!("not done to a unit"),
        })
    }

    /// What a service builds is got once, and by its build, however many only name it.
    fn check_fetch(&mut self, ticket: &Ticket, action: &Action) {
        if !matches!(action, Action::Pull { .. } | Action::Build { .. }) {
            return;
        }
        let containers = self.deployment.stack.services.values().filter_map(Service::container);
        if containers.into_iter().any(|container| container.build.is_some()) {
            assert!(!matches!(action, Action::Pull { once: false, .. }), "{}: pulled though it is built here", ticket.resource);
            assert!(self.fetching.is_empty(), "{}: got while it is being got", ticket.resource);
        }
        self.fetching.insert(ticket.serial);
    }

    fn carry_out_on_resource(&mut self, action: &Action) -> Outcome {
        match action {
            Action::CreateNetwork { key, deployment } => {
                self.births += 1;
                let name = deployment.network_name(key);
                let made = (ConfigHash::of_network(&name, &deployment.stack.networks[key]), format!("n{}", self.births));
                self.networks.entry(name).or_insert(made);
                Outcome::Done
            }
            Action::RemoveNetwork { name } => {
                let runs = |it: &Box_| matches!(it.state, SeenState::Running { .. });
                let in_use = self.containers.values().any(|it| self.machine.going_down || runs(it));
                assert!(!in_use, "a network is removed while containers use it");
                self.networks.remove(name);
                Outcome::Done
            }
            _ => {
                self.image = true;
                Outcome::Image { id: "sha".to_owned() }
            }
        }
    }

    fn make(&mut self, unit: UnitId, hash: ConfigHash, id: &str, replaces: Option<String>) {
        let it =
            Box_ { unit, replaces, network: String::new(), hash, id: id.to_owned(), state: SeenState::Created, healthy: false };
        self.containers.insert(id.to_owned(), it);
    }

    fn end_container(&mut self, unit: &UnitId, code: i32) {
        for it in self.containers.values_mut().filter(|it| it.unit == *unit) {
            if let SeenState::Running { birth } = &it.state {
                it.state = SeenState::Exited { exit: Exit::Code(code), birth: birth.clone() };
            }
        }
    }

    /// Whether a service, or anything that it depends on, runs by a schedule: then it is never at rest for long.
    fn is_moved_by_a_schedule(&self, service: &ServiceName) -> bool {
        self.machine.units_of(service).any(|unit| {
            unit.schedule().is_some()
                || unit.spec.service().common.depends_on.keys().any(|name| self.is_moved_by_a_schedule(name))
        })
    }

    fn depends_on_a_schedule(&self, unit: &Unit) -> bool {
        unit.spec.service().common.depends_on.keys().any(|name| self.is_moved_by_a_schedule(name))
    }

    /// A life that is its unit's is not ended for files that its next life is to see: that one takes its place first.
    fn check_stop(&self, id: &UnitId, incarnation: Incarnation) {
        let unit = &self.machine.units[id];
        if unit.goal != Goal::Up || !unit.starts_first() || self.leads.get(id) != Some(&incarnation) {
            return;
        }
        // One whose leader has ended is of no use, and what is told to one that has ended meanwhile does nothing.
        let is_unfit = unit.ending.is_some() || !matches!(unit.have, Have::Running { leader_exit: None, .. });
        assert!(is_unfit || unit.definition() != Definition::Same, "{id}: ended for its next life, which does not lead");
    }

    /// Never before what it depends on, as the machine itself sees it.
    fn check_start(&self, id: &UnitId) {
        let unit = &self.machine.units[id];
        // What has done what was waited for may be due by a schedule in the same step.
        if self.depends_on_a_schedule(unit) {
            return;
        }
        let gate = self.machine.readiness_gate(unit, &self.machine.blocked());
        assert_eq!(gate, super::super::gate::Gate::Open, "{id}: started before what it depends on");
    }

    fn check_rest(&self) {
        for it in self.containers.values() {
            let waits = it.replaces.is_none() || self.machine.units.get(&it.unit).is_some_and(|unit| unit.given_up);
            assert!(waits, "{}: its successor still waits", it.unit);
            assert!(self.machine.units.contains_key(&it.unit), "{}: a container that nobody knows of", it.unit);
        }
        assert!(
            self.open.is_empty(),
            "never answered: {:?}: {:#?} {:#?}",
            self.open.keys(),
            self.machine.status().units.iter().map(|u| (u.unit.to_string(), u.state.clone(), u.health)).collect::<Vec<_>>(),
            self.machine.wishes.keys().collect::<Vec<_>>()
        );
        if self.last_down {
            assert!(self.processes.values().all(BTreeMap::is_empty), "processes are left after down: {:?}", self.processes);
            assert!(self.containers.is_empty(), "containers are left after down");
            assert!(self.networks.is_empty(), "networks are left after down");
            assert!(self.machine.units.is_empty(), "units are left after down: {:#?}", self.machine.status());
            assert!(self.machine.held.is_empty(), "sockets are held after down");
            return;
        }
        for id in self.held.iter().filter(|id| !self.is_moved_by_a_schedule(&id.service)) {
            let still_wanted = |unit: &Unit| unit.is_alive() || (unit.goal == Goal::Up && !unit.given_up && !unit.is_done());
            assert!(self.machine.units.get(id).is_some_and(still_wanted), "{id}: keeps others from what it makes");
        }
        let failed =
            self.machine.units.values().any(|unit| unit.given_up) || self.machine.networks.values().any(|it| it.failed.is_some());
        let used = self.machine.units.values().any(|unit| unit.kind == UnitKind::Container && unit.goal == Goal::Up);
        if let (Some((hash, _)), true, false) = (self.networks.get("sim_default"), used, failed) {
            let wanted = ConfigHash::of_network("sim_default", &self.deployment.stack.networks["default"]);
            assert_eq!(*hash, wanted, "the network is of an old definition");
        }
        let blocked = self.machine.blocked();
        for (id, unit) in &self.machine.units {
            let alive = match unit.kind {
                UnitKind::Container => {
                    self.containers.values().any(|it| it.unit == *id && matches!(it.state, SeenState::Running { .. }))
                }
                UnitKind::Process | UnitKind::Task => self.processes.get(id).is_some_and(|lives| !lives.is_empty()),
            };
            // Of a schedule the end of the world may see the middle of a run.
            if unit.busy.is_some() && self.is_moved_by_a_schedule(&id.service) {
                continue;
            }
            assert_eq!(alive, matches!(unit.have, Have::Running { .. }), "{id}: what is believed is not what is true");
            assert!(unit.second.is_none(), "{id}: has two lives at rest: {:#?}", unit.second);
            assert!(self.processes.get(id).is_none_or(|lives| lives.len() <= 1), "{id}: has a life that nobody knows of");
            let listens = unit.spec.service().process().is_some_and(|process| !process.sockets.is_empty());
            let held = listens && unit.goal == Goal::Up && alive;
            let waits = unit.again || unit.next_step(Moment(self.now)).is_some();
            assert!(self.machine.held.contains(id) == held || waits, "{id}: its sockets are held without need, or not held");
            if unit.goal != Goal::Up || blocked.contains_key(&id.service) {
                continue;
            }
            if alive {
                let hash = match unit.kind {
                    UnitKind::Container => {
                        self.containers.values().find(|it| it.unit == *id && it.replaces.is_none()).map(|it| &it.hash)
                    }
                    UnitKind::Process | UnitKind::Task => self.processes[id].values().next(),
                };
                assert_eq!(hash, Some(&unit.spec.hash), "{id}: runs an old definition");
            }
            let settled =
                unit.schedule().is_some() || alive || unit.is_done() || unit.given_up || matches!(unit.have, Have::Exited { .. });
            assert!(settled, "{id}: is wanted, nothing stands in its way, and it does not run: {:#?}", self.machine.status());
        }
    }
}

fn short(event: &Event) -> String {
    match event {
        Event::Request(id, request) => {
            let text = format!("{request:?}");
            format!("request {} {}", id.0, text.chars().take(60).collect::<String>())
        }
        Event::Acted(ticket, result) => format!("acted {} {result:?}", ticket.resource),
        Event::Observed(number, result) => format!("observed {number} {}", if result.is_ok() { "ok" } else { "away" }),
        other => format!("{other:?}").chars().take(120).collect(),
    }
}
