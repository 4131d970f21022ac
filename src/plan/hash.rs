//! The hash of a unit's definition: equal hashes need no restart.
//!
//! Compose's own hash of a service cannot be had bit for bit (it depends on the order of Go's structs and on the release), so a
//! container that Compose made is compared by what the engine says of it. Networks and volumes are simple enough: theirs is ours.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::base::name::EnvId;
use crate::model::network::{IpamPool, Network};
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

    /// The hash of a service as it would run in an environment: its definition and the content of the files it is given, without what only
    /// decides when it runs and how many there are (as in Compose: `build`, `pull_policy`, `scale`, `depends_on`, `profiles`),
    /// and without what only the supervisor reads (`develop`, `attach`).
    pub fn of(service: &Service, stack: &Stack, env: &EnvId) -> Self {
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
        let names = names_of_others(service, stack, env);
        let json = if names.is_empty() {
            serde_json::to_vec(&(&definition, &files))
        } else {
            serde_json::to_vec(&(&definition, &files, &names))
        };
        let json = json.expect("the model has no maps with keys that are not text");
        Self(hex(&Sha256::digest(&json)).into())
    }
}

/// The engine's names of the networks and volumes that a service uses, where they are external or not `<ENVID>_<key>`: under
/// another name it is another one.
fn names_of_others<'a>(service: &'a Service, stack: &'a Stack, env: &EnvId) -> Vec<&'a str> {
    let Some(container) = service.container() else { return Vec::new() };
    let networks = (container.networks.keys())
        .filter_map(|key| stack.networks.get(key).map(|network| (key, network.name.as_deref(), network.external)));
    let sources = container.volume_keys();
    let volumes = sources.filter_map(|key| stack.volumes.get(key).map(|volume| (key, volume.name.as_deref(), volume.external)));
    let named = networks.chain(volumes).filter_map(|(key, name, external)| Some((key, name?, external)));
    let others = named.filter(|(key, name, external)| *external || *name != format!("{env}_{key}"));
    others.map(|(_, name, _)| name).collect()
}

/// The hash of a file's content, in hexadecimal digits.
pub fn digest(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

/// What Docker Compose hashes of a network, in its order (compose-go `types.NetworkConfig`, docker/compose `NetworkHash`).
#[derive(Serialize)]
struct ComposeNetwork<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    driver: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    driver_opts: BTreeMap<&'a String, &'a String>,
    ipam: ComposeIpam<'a>,
    #[serde(skip_serializing_if = "is_false")]
    internal: bool,
    #[serde(skip_serializing_if = "is_false")]
    attachable: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<&'a String, &'a String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enable_ipv4: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enable_ipv6: Option<bool>,
}

#[derive(Serialize)]
struct ComposeIpam<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    driver: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    config: Vec<ComposePool<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    options: BTreeMap<&'a String, &'a String>,
}

#[derive(Serialize)]
struct ComposePool<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    subnet: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip_range: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    aux_addresses: BTreeMap<&'a String, &'a String>,
}

impl<'a> ComposePool<'a> {
    fn of(pool: &'a IpamPool) -> Self {
        Self {
            subnet: said(pool.subnet.as_ref()),
            gateway: said(pool.gateway.as_ref()),
            ip_range: said(pool.ip_range.as_ref()),
            aux_addresses: sorted(&pool.aux_addresses),
        }
    }
}

/// The same of a volume (`types.VolumeConfig`, `VolumeHash`).
#[derive(Serialize)]
struct ComposeVolume<'a> {
    name: &'a str,
    driver: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    driver_opts: BTreeMap<&'a String, &'a String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<&'a String, &'a String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// An empty text says nothing in Compose's model.
fn said(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

fn sorted(map: &IndexMap<String, String>) -> BTreeMap<&String, &String> {
    map.iter().collect()
}

impl ConfigHash {
    /// The hash of a network as it would be made under this name of the engine's: Compose's own, bit for bit. With another one
    /// beside Compose's label, its next `up` would make the network anew.
    pub fn of_network(name: &str, network: &Network) -> Self {
        Self::of_compose(&ComposeNetwork {
            name,
            driver: said(network.driver.as_ref()),
            driver_opts: sorted(&network.driver_opts),
            ipam: ComposeIpam {
                driver: said(network.ipam.driver.as_ref()),
                config: network.ipam.config.iter().map(ComposePool::of).collect(),
                options: sorted(&network.ipam.options),
            },
            internal: network.internal,
            attachable: network.attachable,
            labels: sorted(&network.labels),
            enable_ipv4: network.enable_ipv4,
            enable_ipv6: network.enable_ipv6,
        })
    }

    /// The hash of a volume as it would be made under this name of the engine's: Compose's own, bit for bit. With another one
    /// Compose would offer to make the volume anew, and its data would be lost. No driver is the engine's own.
    pub fn of_volume(name: &str, volume: &Volume) -> Self {
        Self::of_compose(&ComposeVolume {
            name,
            driver: said(volume.driver.as_ref()).unwrap_or("local"),
            driver_opts: sorted(&volume.driver_opts),
            labels: sorted(&volume.labels),
        })
    }

    /// The hash that releases before the one with Compose's gave a network: it has not changed when the engine still shows this.
    pub fn formerly_of_network(network: &Network) -> Self {
        Self::of_tree(&Network { name: None, external: false, ..network.clone() })
    }

    /// The same of a volume.
    pub fn formerly_of_volume(volume: &Volume) -> Self {
        let driver = volume.driver.clone().or_else(|| Some("local".to_owned()));
        Self::of_tree(&Volume { name: None, external: false, driver, ..volume.clone() })
    }

    fn of_tree(definition: &impl Serialize) -> Self {
        let tree = serde_json::to_value(definition).expect("the model has no maps with keys that are not text");
        Self(hex(&Sha256::digest(tree.to_string())).into())
    }

    /// Of what is written as Go writes JSON: without spaces, maps sorted, and safe within HTML.
    fn of_compose(definition: &impl Serialize) -> Self {
        const ESCAPED: [(char, &str); 5] =
            [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026"), ('\u{2028}', "\\u2028"), ('\u{2029}', "\\u2029")];
        let json = serde_json::to_string(definition).expect("the model has no maps with keys that are not text");
        // None of them occurs outside of a text.
        let json = ESCAPED.into_iter().fold(json, |json, (character, escaped)| json.replace(character, escaped));
        Self(hex(&Sha256::digest(json)).into())
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_container_in_another_network_or_with_another_volume_of_the_same_key_is_another_one() {
        let hash_of = |env: &str, network: &str, volume: &str, external: bool| {
            let container = json!({"networks": {"front": null},
                "volumes": [{"type": "volume", "source": "data", "target": "/d"}, {"type": "bind", "source": "/b", "target": "/b"}]});
            let service = json!({"common": {}, "kind": {"container": container}});
            let mut stack = Stack::default();
            stack.networks.insert("front".to_owned(), Network { name: Some(network.to_owned()), external, ..Network::default() });
            stack.volumes.insert("data".to_owned(), Volume { name: Some(volume.to_owned()), external, ..Volume::default() });
            ConfigHash::of(&serde_json::from_value(service).unwrap(), &stack, &env.parse().unwrap())
        };
        let hash = |env, network, volume| hash_of(env, network, volume, false);
        let external = |env, network, volume| hash_of(env, network, volume, true);
        let own = hash("one", "one_front", "one_data");
        assert_eq!(own, hash("two", "two_front", "two_data"), "named by the environment");
        assert_ne!(hash("one", "x", "one_data"), hash("one", "y", "one_data"));
        assert_ne!(hash("one", "one_front", "x"), hash("one", "one_front", "y"));
        for (network, volume) in [("two_front", "one_data"), ("one_front", "two_data")] {
            assert_ne!(own, hash("one", network, volume), "those of another environment: {network}, {volume}");
        }
        assert_ne!(external("one", "a_front", "a_data"), external("one", "b_front", "a_data"));
        assert_ne!(external("one", "a_front", "a_data"), external("one", "a_front", "b_data"));
        assert_ne!(external("one", "one_front", "one_data"), external("two", "two_front", "two_data"), "made by nobody here");
    }

    #[test]
    fn what_earlier_releases_made_is_known_by_the_hash_that_they_gave_it() {
        let network = json!({"name": "n", "driver_opts": {"b": "2", "a": "1"}, "internal": true});
        let network = ConfigHash::formerly_of_network(&serde_json::from_value(network).unwrap());
        assert_eq!(network.as_str(), "2a50deae90bc6a59c69ad49bf4a1e8eb416bd1559ef48b108395d47d6b750ef9");
        let volume = ConfigHash::formerly_of_volume(&serde_json::from_value(json!({"name": "v", "labels": {"a": "b"}})).unwrap());
        assert_eq!(volume.as_str(), "7ae68653010e99426d69365343c1f91cd7a79e9e4d0506f297e6d856e700cace");
    }

    #[test]
    fn networks_and_volumes_have_the_hash_that_compose_5_6_1_gives_them() {
        let pool = json!({"subnet": "10.251.7.0/24", "ip_range": "10.251.7.128/25", "gateway": "10.251.7.1",
            "aux_addresses": {"h2": "10.251.7.9", "h1": "10.251.7.8"}});
        let whole = json!({"driver": "bridge", "driver_opts": {"b": "2", "a": "1<&>"}, "internal": true, "attachable": true,
            "enable_ipv6": false, "enable_ipv4": true, "labels": {"z": "y", "a": "b"},
            "ipam": {"driver": "default", "options": {"o": "p"}, "config": [pool]}});
        for (name, definition, expected) in [
            ("chash_default", json!({}), "714d9b439c17ac4d65eecd9d821fbf13b5a394b486a4995e304fa2fd55d78373"),
            ("ownname-m", json!({"name": "ownname-m"}), "a069c4338715f042ce1bd95f1a48f3096a281b61f1665f2b3615ff4900ce0e7d"),
            ("chash_n", whole, "8a949d56559cda1e6e1919d79940d02a9175ff63e73806f57df9c5348ac3abb6"),
        ] {
            let hash = ConfigHash::of_network(name, &serde_json::from_value(definition).unwrap());
            assert_eq!(hash.as_str(), expected, "{name}");
        }
        let temporary = json!({"driver": "local", "driver_opts": {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"},
            "labels": {"z": "y", "a": "b"}});
        for (name, definition, expected) in [
            ("chash_vone", json!({}), "b5a833daf3b162af8dbfadaa0c2d0699dc6ddd803708beabf0af3333e7deb994"),
            ("chash_wtwo", temporary, "8e3b29cc3bf2741634eaef90584e9abd272d188ef6718c78664f6f66627d0bfe"),
            ("own-vol", json!({"labels": {"q": "1"}}), "00cf5be7289ba8dd34a9e40cd71ab8b99ed7e3c38c70b0de9ef9214d08ce707e"),
        ] {
            let hash = ConfigHash::of_volume(name, &serde_json::from_value(definition).unwrap());
            assert_eq!(hash.as_str(), expected, "{name}");
        }
    }
}
