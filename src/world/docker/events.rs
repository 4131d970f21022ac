//! The engine's events as wake-ups, and its absence.
//!
//! An event only says that it is worth to look again: the engine keeps few of them, loses them when it restarts, and tells
//! nothing of what happened while it was away. So nothing is concluded from one.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use bollard::models::{EventMessage, EventMessageTypeEnum};
use bollard::query_parameters::EventsOptionsBuilder;
use crossbeam_channel::Sender;
use futures_util::stream::StreamExt;
use tokio::time::{Instant, sleep, timeout_at};

use super::connect::Link;
use super::{Docker, labels};
use crate::base::name::EnvId;
use crate::plan::action::Fault;
use crate::supervisor::event::Event;
use crate::world::clock;

/// Events come in handfuls; a look is worth it once for all of them.
const HANDFUL: Duration = Duration::from_millis(5);
/// What we are about ourselves is told by the answers to what we ask for; that others made or started something can wait for this long.
const NO_HURRY: Duration = Duration::from_millis(100);
/// The engine may not yet have been listening for us at the first look; the second one closes that gap.
const SECOND_LOOK: Duration = Duration::from_millis(500);
/// A look is due after so much silence: what an engine did not tell is found then.
const SILENCE: Duration = Duration::from_secs(30);
/// Between attempts to reach an engine that is away.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// `exec_create` and the like, of which each health check makes three, stay off the wire.
const CONTAINER_EVENTS: [&str; 15] = [
    "create",
    "start",
    "restart",
    "die",
    "kill",
    "stop",
    "oom",
    "pause",
    "unpause",
    "destroy",
    "rename",
    "update",
    "health_status",
    "connect",
    "disconnect",
];
const IMAGE_EVENTS: [&str; 5] = ["pull", "load", "tag", "import", "create"];

impl Docker {
    /// Tells of what happens to the containers of an environment and of images that arrive, until it is dropped or nobody
    /// listens any more. An engine that goes away is told once, its return by `EngineStirred`.
    pub async fn watch(&self, env: &EnvId, events: Sender<Event>) {
        let mut pause = FIRST_PAUSE;
        let mut away = false;
        // An image may arrive before the engine has been reached.
        let mut since = clock::wall();
        loop {
            let began = Instant::now();
            let fault = match self.link().await {
                Ok(link) => {
                    away = false;
                    let watching = Watching { docker: self, link: &link, events: &events };
                    let Err(fault) = watching.follow(env, since).await else { return };
                    since = clock::wall();
                    fault
                }
                Err(fault) => fault,
            };
            self.0.births.set_live(false);
            self.unlink();
            if !away && events.send(Event::EngineAway(fault.message)).is_err() {
                return;
            }
            away = true;
            if began.elapsed() > LAST_PAUSE {
                pause = FIRST_PAUSE;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }
}

struct Watching<'a> {
    docker: &'a Docker,
    link: &'a Link,
    events: &'a Sender<Event>,
}

impl Watching<'_> {
    /// Tells what has happened since then, and what comes. Ends well when nobody listens any more.
    async fn follow(&self, env: &EnvId, since: SystemTime) -> Result<(), Fault> {
        let api = self.link.patient();
        let containers = filters("container", &CONTAINER_EVENTS, Some(labels::of_env(env)));
        let images = filters("image", &IMAGE_EVENTS, None);
        let since = since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let since = format!("{}.{:09}", since.as_secs(), since.subsec_nanos());
        let streams = [containers, images]
            .map(|filters| api.events(Some(EventsOptionsBuilder::default().since(&since).filters(&filters).build())).boxed());
        let mut stream = futures_util::stream::select_all(streams);
        self.docker.0.births.set_live(true);
        let mut look_at = Instant::now() + HANDFUL;
        let mut next_look = SECOND_LOOK;
        loop {
            match timeout_at(look_at, stream.next()).await {
                Ok(Some(Ok(message))) if message.typ == Some(EventMessageTypeEnum::IMAGE) => {
                    for reference in self.references(&message).await {
                        if self.events.send(Event::ImageArrived(reference)).is_err() {
                            return Ok(());
                        }
                    }
                }
                Ok(Some(Ok(message))) => {
                    look_at = look_at.min(Instant::now() + self.take(message));
                }
                Ok(Some(Err(error))) => return Err(error.into()),
                Ok(None) => return Err(Fault::temporary("the Docker Engine has gone away")),
                Err(_) => {
                    look_at = Instant::now() + next_look;
                    next_look = SILENCE;
                    if self.events.send(Event::EngineStirred).is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Notes what an event says of a container's lives. Answers with how soon it is worth a look.
    fn take(&self, message: EventMessage) -> Duration {
        let action = message.action.unwrap_or_default();
        let id = message.actor.and_then(|actor| actor.id).unwrap_or_default();
        match action.as_str() {
            "start" => self.docker.0.births.started(&id, message.time_nano),
            "die" => self.docker.0.births.ended(&id),
            // The list may not know of it yet.
            health if health.starts_with("health_status") => self.docker.0.births.started(&id, None),
            _ => {}
        }
        let is_ours_to_do =
            matches!(action.as_str(), "create" | "start" | "restart" | "kill" | "rename" | "update" | "connect" | "disconnect");
        if is_ours_to_do { NO_HURRY } else { HANDFUL }
    }

    /// The references under which an image has arrived.
    async fn references(&self, message: &EventMessage) -> Vec<String> {
        let Some(actor) = &message.actor else { return Vec::new() };
        let id = actor.id.as_deref().unwrap_or_default();
        let name = actor.attributes.as_ref().and_then(|attributes| attributes.get("name")).map_or("", String::as_str);
        // A pull names the reference as its actor, a tag in an attribute; a load only has an id.
        if message.action.as_deref() == Some("pull") && !id.is_empty() && !id.starts_with("sha256:") {
            return vec![id.to_owned()];
        }
        if !name.is_empty() && !name.starts_with("sha256:") {
            return vec![name.to_owned()];
        }
        let image = self.link.api.inspect_image(id).await;
        image.ok().and_then(|image| image.repo_tags).unwrap_or_default()
    }
}

fn filters(kind: &str, events: &[&str], label: Option<String>) -> HashMap<String, Vec<String>> {
    let mut filters = HashMap::from([
        ("type".to_owned(), vec![kind.to_owned()]),
        ("event".to_owned(), events.iter().map(|&event| event.to_owned()).collect()),
    ]);
    if let Some(label) = label {
        filters.insert("label".to_owned(), vec![label]);
    }
    filters
}
