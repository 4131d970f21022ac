//! Whether a container that Compose made is what we would make. Pure.
//!
//! Compose's hash of a definition cannot be had, so two containers are compared as the engine describes them: the one that is
//! there, and one that was made of our definition. The engine has filled in the same in both, the image's part and its own.

use std::collections::BTreeMap;

use bollard::models::ContainerInspectResponse;
use serde_json::{Map, Value, json};

use super::labels;

/// Labels that say who made a container, and by which files, and not what it is. What its image is, is compared. Compose's own hash
/// knows nothing of them either.
const MAKERS: [&str; 8] = [
    labels::CONFIG_HASH,
    labels::VERSION,
    labels::IMAGE,
    labels::WORKING_DIR,
    labels::CONFIG_FILES,
    labels::STATE,
    "com.docker.compose.project.environment_file",
    "com.docker.compose.replace",
];

/// Lists whose order means something.
const ORDERED: [&str; 6] = ["Cmd", "Entrypoint", "Test", "Dns", "DnsOptions", "DnsSearch"];

/// Whether two containers differ in nothing but who made them, what they are called and what they have come to.
pub(super) fn are_alike(one: &ContainerInspectResponse, other: &ContainerInspectResponse) -> bool {
    is_of_engine(one) && described(one) == described(other)
}

/// Whether there is anything to compare: without these two parts nothing is known of a container.
fn is_of_engine(container: &ContainerInspectResponse) -> bool {
    container.config.is_some() && container.host_config.is_some()
}

fn described(container: &ContainerInspectResponse) -> Value {
    let id = container.id.as_deref().unwrap_or_default();
    let short = id.get(..12).unwrap_or(id);
    let hostname = container.config.as_ref().and_then(|config| config.hostname.as_deref());
    let mut config = as_json(&container.config);
    if let Some(config) = config.as_object_mut() {
        if config.get("Hostname").and_then(Value::as_str) == Some(short) {
            config.remove("Hostname");
        }
        if let Some(labels) = config.get_mut("Labels").and_then(Value::as_object_mut) {
            labels.retain(|name, _| !MAKERS.contains(&name.as_str()));
        }
    }
    let mut host = as_json(&container.host_config);
    if let Some(host) = host.as_object_mut() {
        // One mount may be asked for in several ways; what came of it is compared.
        host.retain(|name, _| !["Binds", "Mounts", "ContainerIDFile"].contains(&name.as_str()));
    }
    let mounts: BTreeMap<String, Value> = (container.mounts.iter().flatten())
        .map(|mount| {
            let source = mount.name.clone().or_else(|| mount.source.clone());
            let what = json!([mount.typ, source, mount.rw, mount.propagation]);
            (mount.destination.clone().unwrap_or_default(), what)
        })
        .collect();
    let networks = container.network_settings.iter().flat_map(|settings| settings.networks.iter().flatten());
    let networks: BTreeMap<&String, Value> = networks
        .map(|(name, endpoint)| {
            // An engine adds both to one that it starts.
            let is_own = |alias: &str| alias == short || Some(alias) == hostname;
            let aliases = endpoint.aliases.iter().flatten().filter(|alias| !is_own(alias)).collect::<Vec<_>>();
            let asked = json!({"Aliases": aliases, "Links": endpoint.links, "IPAMConfig": endpoint.ipam_config,
                "DriverOpts": endpoint.driver_opts});
            (name, asked)
        })
        .collect();
    plain("", json!({"Image": container.image, "Config": config, "HostConfig": host, "Mounts": mounts, "Networks": networks}))
}

fn as_json(part: &impl serde::Serialize) -> Value {
    serde_json::to_value(part).unwrap_or_default()
}

/// Without what says nothing, and lists that are sets in one order.
fn plain(key: &str, value: Value) -> Value {
    let says_nothing = |value: &Value| match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    match value {
        Value::Object(entries) => {
            let entries = entries.into_iter().map(|(key, value)| {
                let value = plain(&key, value);
                (key, value)
            });
            // An empty command is one, and none is the image's.
            Value::Object(
                entries.filter(|(key, value)| ORDERED.contains(&key.as_str()) || !says_nothing(value)).collect::<Map<_, _>>(),
            )
        }
        Value::Array(items) => {
            let mut items: Vec<Value> = items.into_iter().map(|item| plain("", item)).collect();
            if !ORDERED.contains(&key) {
                items.sort_by_cached_key(Value::to_string);
            }
            Value::Array(items)
        }
        single => single,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(change: impl FnOnce(&mut Value)) -> ContainerInspectResponse {
        let mut whole = json!({
            "Id": "0123456789abcdef", "Image": "sha256:1", "Name": "/x-web-1",
            "Config": {"Hostname": "0123456789ab", "Env": ["A=1", "B=2"], "Cmd": ["a", "b"], "Entrypoint": null,
                "Labels": {"com.docker.compose.version": "5.6.1", "com.docker.compose.config-hash": "h", "mine": "1"}},
            "HostConfig": {"Binds": ["/a:/b:rw"], "CapAdd": null, "RestartPolicy": {"Name": "always", "MaximumRetryCount": 0}},
            "Mounts": [{"Type": "bind", "Source": "/a", "Destination": "/b", "Mode": "rw", "RW": true, "Propagation": "rprivate"}],
            "NetworkSettings": {"Networks": {"x_default": {"Aliases": ["x-web-1", "web", "0123456789ab"], "IPAMConfig": null,
                "IPAddress": "10.0.0.2"}}},
        });
        change(&mut whole);
        serde_json::from_value(whole).unwrap()
    }

    #[test]
    fn what_only_tells_who_made_a_container_and_what_has_become_of_it_is_no_difference() {
        let other = container(|it| {
            it["Id"] = json!("fedcba9876543210");
            it["Config"]["Hostname"] = json!("fedcba987654");
            it["Config"]["Env"] = json!(["B=2", "A=1"]);
            it["Config"]["Labels"] =
                json!({"com.docker.compose.version": "1+baistack", "com.docker.compose.project.config_files": "/x", "mine": "1"});
            it["HostConfig"]["Binds"] = Value::Null;
            it["HostConfig"]["CapAdd"] = json!([]);
            it["HostConfig"]["Mounts"] = json!([{"Type": "bind", "Source": "/a", "Target": "/b"}]);
            it["NetworkSettings"]["Networks"] = json!({"x_default": {"Aliases": ["web", "x-web-1"], "IPAMConfig": {}}});
        });
        assert!(are_alike(&container(|_| ()), &other));
    }

    #[test]
    fn a_host_name_is_an_alias_of_what_has_been_started() {
        let named = |aliases: Value| {
            container(|it| {
                it["Config"]["Hostname"] = json!("own");
                it["NetworkSettings"]["Networks"]["x_default"]["Aliases"] = aliases;
            })
        };
        assert!(are_alike(&named(json!(["web", "0123456789ab", "own"])), &named(json!(["web"]))));
        assert!(!are_alike(&named(json!(["web", "other"])), &named(json!(["web"]))));
    }

    #[test]
    fn whatever_else_differs_is_a_difference() {
        let changes: [fn(&mut Value); 10] = [
            |it| it["Image"] = json!("sha256:2"),
            |it| it["Config"]["Env"] = json!(["A=1"]),
            |it| it["Config"]["Cmd"] = json!(["b", "a"]),
            |it| it["Config"]["Entrypoint"] = json!([]),
            |it| it["Config"]["Hostname"] = json!("own"),
            |it| it["Config"]["Labels"]["mine"] = json!("2"),
            |it| it["HostConfig"]["RestartPolicy"]["Name"] = json!("no"),
            |it| it["Mounts"][0]["RW"] = json!(false),
            |it| it["NetworkSettings"]["Networks"]["x_default"]["Aliases"] = json!(["web"]),
            |it| it["NetworkSettings"]["Networks"] = json!({"other": {}}),
        ];
        for (place, change) in changes.into_iter().enumerate() {
            assert!(!are_alike(&container(|_| ()), &container(change)), "change {place}");
        }
        assert!(!are_alike(&ContainerInspectResponse::default(), &ContainerInspectResponse::default()), "nothing is known");
    }
}
