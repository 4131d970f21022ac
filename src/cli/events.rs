//! `events`: what happens to containers, as their engine tells, and to processes, as their supervisor tells.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::SystemTime;

use serde_json::json;

use super::CliError;
use super::context::Context;
use super::targets::of_engine;
use super::values::{self, When};
use crate::base::exit::Exit;
use crate::base::name::ServiceName;
use crate::control::client::Client;
use crate::control::wire::Told;
use crate::host::attach::{self, Env};
use crate::model::service::Service;
use crate::supervisor::notice::Notice;
use crate::supervisor::request::Request;
use crate::supervisor::status::{UnitKind, UnitState, UnitStatus};
use crate::view::{json, states};
use crate::world::clock;

/// Flags of `events`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "With --until a time that is past: what the engine still remembers, and then the end. Of processes nothing is \
                        remembered; `baistack logs` has their lives. Ctrl-C ends it."
)]
pub struct Args {
    /// Services [default: all]
    pub services: Vec<ServiceName>,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
    /// From a time (2026-01-02T13:23:37Z) or an age (42m) on
    #[arg(long, value_name = "TIME", value_parser = values::when)]
    pub since: Option<When>,
    /// To a time or an age
    #[arg(long, value_name = "TIME", value_parser = values::when)]
    pub until: Option<When>,
}

/// Something that happened.
struct Event {
    time: SystemTime,
    kind: &'static str,
    action: String,
    id: String,
    service: String,
    attributes: BTreeMap<String, String>,
}

/// Tells what happens.
pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let (env, deployment) = context.environment()?;
    context.known_in(&env, &args.services)?;
    let of_kind = |is_process: bool| {
        deployment
            .as_ref()
            .map_or(!is_process, |it| it.stack.services.values().any(|service| Service::is_process(service) == is_process))
    };
    let (sender, events) = mpsc::channel();
    let until = args.until.map(When::time);
    if of_kind(false) {
        let (sender, since) = (sender.clone(), args.since.map(When::time));
        let happenings = context.engine()?.happenings(&env, since, until);
        thread::spawn(move || {
            for happened in happenings {
                let event = happened.map_err(of_engine).map(|happened| Event {
                    time: happened.time,
                    kind: "container",
                    action: happened.action,
                    id: happened.id,
                    service: happened.service,
                    attributes: happened.attributes,
                });
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
    }
    // Of the past a supervisor knows nothing.
    if of_kind(true) && until.is_none_or(|until| until > clock::wall()) {
        match attach::open(&context.env_dir(&env)?)? {
            Env::Alive(client) => {
                let (sender, env) = (sender.clone(), env.to_string());
                let (told, heard) = mpsc::channel();
                thread::spawn(move || follow(*client, &env, &told));
                thread::spawn(move || relay(&heard, until, &sender));
            }
            Env::Dead if of_kind(false) => {}
            Env::Dead => return Err(Context::not_running(&env)),
        }
    }
    drop(sender);
    let mask = context.mask(&env)?;
    for event in events {
        let mut event = event?;
        if !args.services.is_empty() && !args.services.iter().any(|name| name.as_str() == event.service) {
            continue;
        }
        event.attributes.values_mut().for_each(|value| *value = mask.text(value));
        context.printer.data(if args.json { event.object() } else { event.line() })?;
    }
    Ok(Exit::Success)
}

/// Passes on what happens until a time. A supervisor that has nothing to tell does not notice that the time has come.
fn relay(heard: &Receiver<Event>, until: Option<SystemTime>, sender: &Sender<Result<Event, CliError>>) {
    let next = || match until {
        None => heard.recv().ok(),
        Some(until) => heard.recv_timeout(until.duration_since(clock::wall()).unwrap_or_default()).ok(),
    };
    while let Some(event) = next() {
        if until.is_some_and(|until| event.time > until) || sender.send(Ok(event)).is_err() {
            return;
        }
    }
}

/// Tells what a supervisor tells of processes. It ends with the supervisor: processes do, too.
fn follow(mut client: Client, env: &str, sender: &Sender<Event>) {
    if client.voice().send(Request::Follow).is_err() {
        return;
    }
    let mut last: BTreeMap<String, String> = BTreeMap::new();
    while let Ok(told) = client.hear() {
        let now = clock::wall();
        let Told::Notice(notice) = told else { continue };
        let Notice::Unit(unit) = *notice else { continue };
        if unit.kind == UnitKind::Container {
            continue;
        }
        let name = format!("{env}-{}-{}", unit.unit.service, unit.unit.replica);
        for action in actions(&unit) {
            // A notice tells all of a unit, also what has been told.
            let topic = action.split(':').next().unwrap_or_default().replace("health_status", "health");
            let topic = if topic == "health" { format!("{name} health") } else { name.clone() };
            if last.insert(topic, action.clone()).as_ref() == Some(&action) {
                continue;
            }
            let attributes = BTreeMap::from([("name".to_owned(), name.clone()), ("state".to_owned(), states::state(&unit).0)]);
            let id = unit.pid.map_or_else(|| name.clone(), |pid| pid.to_string());
            let event = Event { time: now, kind: "process", action, id, service: unit.unit.service.to_string(), attributes };
            if sender.send(event).is_err() {
                return;
            }
        }
    }
}

/// What a report of a process says in the engine's words.
fn actions(unit: &UnitStatus) -> Vec<String> {
    let mut actions = Vec::new();
    match &unit.state {
        UnitState::Preparing => actions.push("create".to_owned()),
        UnitState::Running => actions.push("start".to_owned()),
        UnitState::Paused => actions.push("pause".to_owned()),
        UnitState::Stopping => actions.push("kill".to_owned()),
        UnitState::Stopped { .. } => actions.push("stop".to_owned()),
        UnitState::Absent => actions.push("destroy".to_owned()),
        UnitState::Exited { .. } | UnitState::BackingOff { .. } | UnitState::Failed { .. } | UnitState::Succeeded => {
            actions.push("die".to_owned());
        }
        UnitState::Waiting { .. }
        | UnitState::Removing
        | UnitState::Created
        | UnitState::Checking
        | UnitState::Starting
        | UnitState::Scheduled
        | UnitState::UpToDate
        | UnitState::Blocked { .. }
        | UnitState::Unknown => {}
    }
    if let (UnitState::Running, Some(health)) = (&unit.state, unit.health) {
        actions.push(format!("health_status: {}", states::health_word(health)));
    }
    actions
}

impl Event {
    /// `2026-01-02 13:23:37.615550Z container start 213cf75fc39a (image=alpine, name=app-web-1)`, as Compose writes it.
    fn line(&self) -> String {
        let attributes: Vec<String> = self.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let time = humantime::format_rfc3339_micros(self.time).to_string().replace('T', " ");
        format!("{} {} {} {} ({})\n", time.trim_end_matches('Z'), self.kind, self.action, self.id, attributes.join(", "))
    }

    fn object(&self) -> String {
        json::line(&json!({
            "time": humantime::format_rfc3339_nanos(self.time).to_string(),
            "type": self.kind,
            "service": self.service,
            "id": self.id,
            "action": self.action,
            "attributes": self.attributes,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_comes_at_its_time_though_nothing_happens_then() {
        let (told, heard) = mpsc::channel();
        let (sender, events) = mpsc::channel();
        let until = clock::wall() + std::time::Duration::from_millis(200);
        let event = |time, action: &str| Event {
            time,
            kind: "process",
            action: action.to_owned(),
            id: String::new(),
            service: "web".to_owned(),
            attributes: BTreeMap::new(),
        };
        let second = std::time::Duration::from_secs(1);
        told.send(event(until - second, "start")).unwrap();
        // Whoever tells goes on living, and is silent.
        relay(&heard, Some(until), &sender);
        told.send(event(until + second, "die")).unwrap();
        relay(&heard, Some(until), &sender);
        drop(sender);
        let actions: Vec<String> = events.iter().map(|event| event.unwrap().action).collect();
        assert_eq!(actions, ["start"]);
    }

    #[test]
    fn an_event_is_a_line_as_compose_writes_it() {
        let event = Event {
            time: SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1500),
            kind: "container",
            action: "start".to_owned(),
            id: "c1".to_owned(),
            service: "web".to_owned(),
            attributes: [("name", "p-web-1"), ("image", "i")].map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        };
        assert_eq!(event.line(), "1970-01-01 00:00:01.500000 container start c1 (image=i, name=p-web-1)\n");
        let object = r#"{"time":"1970-01-01T00:00:01.500000000Z","type":"container","service":"web","id":"c1","action":"start","attributes":{"image":"i","name":"p-web-1"}}"#;
        assert_eq!(event.object().trim(), object);
    }
}
