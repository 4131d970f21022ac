//! The hash of a unit's definition: equal hashes need no restart.
//!
//! Compose's own hash cannot be had bit for bit (it depends on the order of Go's structs and on the release), so a container
//! that Compose made is recognised by its labels and recreated once.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::model::network::Network;
use crate::model::secret::FileObject;
use crate::model::service::{Kind, Service};
use crate::model::stack::Stack;
use crate::model::volume::Volume;

/// 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConfigHash(Arc<str>);

impl ConfigHash {
    /// From a label.
    pub fn from_label(text: &str) -> Self {
        Self(text.into())
    }

    /// As a label.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The hash of a service as it would run: its definition and the content of the files it is given, without what only
    /// decides when it runs and how many there are (as in Compose: `build`, `pull_policy`, `scale`, `depends_on`, `profiles`),
    /// and without what only the supervisor reads (`develop`, `attach`).
    pub fn of(service: &Service, stack: &Stack) -> Self {
        let mut definition = service.clone();
        let common = &mut definition.common;
        common.depends_on.clear();
        common.profiles.clear();
        common.scale = None;
        common.develop.watch.clear();
        common.attach = None;
        // The order in which they are written means nothing.
        common.environment.sort_unstable_keys();
        common.labels.sort_unstable_keys();
        match &mut definition.kind {
            Kind::Container(container) => {
                container.build = None;
                container.pull_policy = None;
            }
            Kind::Process(process) => {
                process.start_timeout = None;
                process.restart_on.clear();
                process.keep.clear();
                process.schedule = None;
            }
        }
        let is_process = service.is_process();
        let file = |object: &FileObject| {
            let digest = object.digest.clone().filter(|_| is_process);
            FileObject { digest, ..object.clone() }
        };
        let files: Vec<_> = (common.secrets.iter().map(|grant| stack.secrets.get(&grant.source).map(file)))
            .chain(common.configs.iter().map(|grant| stack.configs.get(&grant.source).map(file)))
            .collect();
        let json = serde_json::to_vec(&(&definition, &files)).expect("the model has no maps with keys that are not text");
        Self(hex(&Sha256::digest(&json)).into())
    }
}

/// The hash of a file's content, in hexadecimal digits.
pub fn digest(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

impl ConfigHash {
    /// The hash of a network as it would be made.
    pub fn of_network(network: &Network) -> Self {
        Self::of_resource(&Network { name: None, external: false, ..network.clone() })
    }

    /// The hash of a volume as it would be made. No driver is the engine's own.
    pub fn of_volume(volume: &Volume) -> Self {
        let driver = volume.driver.clone().or_else(|| Some("local".to_owned()));
        Self::of_resource(&Volume { name: None, external: false, driver, ..volume.clone() })
    }

    fn of_resource(definition: &impl Serialize) -> Self {
        // By way of a tree, whose maps are sorted: the order in which options are written means nothing.
        let tree = serde_json::to_value(definition).expect("the model has no maps with keys that are not text");
        Self(hex(&Sha256::digest(tree.to_string())).into())
    }
}

impl fmt::Display for ConfigHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        text.push(char::from_digit(u32::from(byte >> 4), 16).expect("a nibble"));
        text.push(char::from_digit(u32::from(byte & 15), 16).expect("a nibble"));
        text
    })
}
