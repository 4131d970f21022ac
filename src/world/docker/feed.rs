//! The engine's events as people read them: for the command `events`.
//!
//! The machine is only woken by events ([`super::events`]); here they are told one by one.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::stream::{BoxStream, StreamExt};

use super::{Docker, labels};
use crate::base::name::EnvId;
use crate::plan::action::Fault;

/// Something that happened to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// When.
    pub time: SystemTime,
    /// `start`, `die`, `health_status: healthy`.
    pub action: String,
    /// The container.
    pub id: String,
    /// Its service.
    pub service: String,
    /// What the engine says beside, without labels of Compose's and ours.
    pub attributes: BTreeMap<String, String>,
}

impl Docker {
    /// What happens to the containers of an environment, from `since` (now) to `until` (for ever).
    pub async fn happenings(
        &self,
        env: &EnvId,
        since: Option<SystemTime>,
        until: Option<SystemTime>,
    ) -> Result<BoxStream<'static, Result<Happened, Fault>>, Fault> {
        let filters = HashMap::from([("type", vec!["container".to_owned()]), ("label", vec![labels::of_env(env)])]);
        let mut options = EventsOptionsBuilder::default().filters(&filters);
        if let Some(since) = since {
            options = options.since(&seconds(since));
        }
        if let Some(until) = until {
            options = options.until(&seconds(until));
        }
        let events = self.link().await?.patient().events(Some(options.build()));
        Ok(events.filter_map(async |message| message.map(happened).map_err(Fault::from).transpose()).boxed())
    }
}

fn seconds(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:09}", since.as_secs(), since.subsec_nanos())
}

fn happened(message: EventMessage) -> Option<Happened> {
    let actor = message.actor?;
    let mut attributes: BTreeMap<String, String> = actor.attributes.unwrap_or_default().into_iter().collect();
    // Without it, it is not one of a service.
    let service = attributes.get(labels::SERVICE)?.clone();
    attributes.retain(|name, _| !name.starts_with("com.docker.compose.") && !name.starts_with("baistack."));
    let time = UNIX_EPOCH + Duration::from_nanos(message.time_nano.and_then(|time| u64::try_from(time).ok()).unwrap_or(0));
    Some(Happened { time, action: message.action.unwrap_or_default(), id: actor.id.unwrap_or_default(), service, attributes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_a_service_is_told_without_its_labels() {
        let message = r#"{"Type": "container", "Action": "start", "timeNano": 1500000000, "Actor": {"ID": "c1", "Attributes":
            {"com.docker.compose.service": "web", "baistack.config-hash": "0", "image": "i", "name": "p-web-1"}}}"#;
        let told = happened(serde_json::from_str(message).unwrap()).unwrap();
        assert_eq!((told.action.as_str(), told.service.as_str(), told.id.as_str()), ("start", "web", "c1"));
        assert_eq!(told.time, UNIX_EPOCH + Duration::from_millis(1500));
        assert_eq!(told.attributes.keys().collect::<Vec<_>>(), ["image", "name"]);
        let other = r#"{"Type": "container", "Action": "start", "Actor": {"ID": "c1", "Attributes": {"image": "i"}}}"#;
        assert_eq!(happened(serde_json::from_str(other).unwrap()), None);
    }
}
