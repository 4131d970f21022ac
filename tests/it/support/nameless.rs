//! The volumes that a test's containers have had and that nobody has named. Once such a container is gone, no label and no name
//! leads to them, so they are written down while it lives.

use std::collections::{BTreeSet, HashMap};
use std::thread::{self, JoinHandle};
use std::time::SystemTime;

use bollard::models::{EventMessage, EventMessageTypeEnum, VolumeCreateRequest};
use bollard::query_parameters as options;
use futures_util::StreamExt;
use tokio::runtime::Runtime;

/// Listens to the engine from its beginning to [`Nameless::remove`].
pub(crate) struct Nameless {
    env: String,
    found: JoinHandle<BTreeSet<String>>,
}

impl Nameless {
    /// Of the containers whose project or name is an environment's.
    pub(crate) fn of(env: &str) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs().to_string();
        let (env, heard) = (env.to_owned(), env.to_owned());
        Self { env, found: thread::spawn(move || runtime().block_on(listen(&heard, &since))) }
    }

    /// Removes those that are in nobody's use any more.
    pub(crate) fn remove(self) {
        runtime().block_on(async {
            let api = bollard::Docker::connect_with_defaults().unwrap();
            let last = VolumeCreateRequest { name: Some(last(&self.env)), ..VolumeCreateRequest::default() };
            api.create_volume(last.clone()).await.unwrap();
            let found = self.found.join().unwrap();
            for volume in found.iter().chain(&last.name) {
                // The test may have seen to it.
                let _ = api.remove_volume(volume, None::<options::RemoveVolumeOptions>).await;
            }
        });
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// The volume whose making is the last that is listened to.
fn last(env: &str) -> String {
    format!("{env}-last")
}

async fn listen(env: &str, since: &str) -> BTreeSet<String> {
    let api = bollard::Docker::connect_with_defaults().unwrap();
    let kinds = HashMap::from([("type", vec!["container", "volume"])]);
    let mut events = api.events(Some(options::EventsOptionsBuilder::default().since(since).filters(&kinds).build()));
    let (mut containers, mut volumes) = (BTreeSet::new(), BTreeSet::new());
    while let Some(Ok(EventMessage { typ, action: Some(action), actor: Some(actor), .. })) = events.next().await {
        let (id, about) = (actor.id.unwrap_or_default(), actor.attributes.unwrap_or_default());
        let said = |key: &str| about.get(key).map_or("", String::as_str);
        match (typ, action.as_str()) {
            (Some(EventMessageTypeEnum::CONTAINER), "create")
                if said("com.docker.compose.project") == env || said("name").contains(env) =>
            {
                containers.insert(id);
            }
            (Some(EventMessageTypeEnum::VOLUME), "mount") if is_nameless(&id) && containers.contains(said("container")) => {
                volumes.insert(id);
            }
            (Some(EventMessageTypeEnum::VOLUME), "create") if id == last(env) => break,
            _ => {}
        }
    }
    volumes
}

/// The engine names them by 32 bytes.
fn is_nameless(volume: &str) -> bool {
    volume.len() == 64 && volume.bytes().all(|byte| byte.is_ascii_hexdigit())
}
