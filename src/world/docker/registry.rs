//! Who we are to a registry: what `docker login` has left in `config.json`, or gives out through a credential helper.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use bollard::auth::DockerCredentials;
use serde::Deserialize;
use serde_json::json;

use crate::world::values::base64;

/// Docker Hub's key in `config.json`, older than its name.
const HUB: &str = "https://index.docker.io/v1/";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ConfigFile {
    auths: HashMap<String, Auth>,
    #[serde(rename = "credHelpers")]
    helpers: HashMap<String, String>,
    #[serde(rename = "credsStore")]
    store: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth: Option<String>,
    identitytoken: Option<String>,
}

fn read(config_dir: &Path) -> ConfigFile {
    let text = std::fs::read(config_dir.join("config.json")).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// The credentials for the registry of an image, if there are any. Blocks while a helper runs.
pub(super) fn credentials(config_dir: &Path, reference: &str) -> Option<DockerCredentials> {
    credentials_at(config_dir, registry_of(reference))
}

/// The credentials for a registry, by its host; BuildKit calls Docker Hub by the name of the host that answers.
pub(super) fn credentials_at(config_dir: &Path, registry: &str) -> Option<DockerCredentials> {
    let registry = if matches!(registry, "docker.io" | "registry-1.docker.io") { HUB } else { registry };
    let config = read(config_dir);
    let helper = config.helpers.get(registry).or(config.store.as_ref());
    helper.and_then(|helper| ask_helper(helper, registry)).or_else(|| {
        let (key, auth) = config.auths.iter().find(|(key, _)| host_of(key) == host_of(registry))?;
        from_auth(key, auth)
    })
}

/// The credentials for all registries, for a build that may pull from any. Helpers are not asked: each may take its time.
pub(super) fn all_credentials(config_dir: &Path) -> HashMap<String, DockerCredentials> {
    let config = read(config_dir);
    config.auths.iter().filter_map(|(key, auth)| Some((key.clone(), from_auth(key, auth)?))).collect()
}

/// A `config.json` for a container that may use the engine: all that the caller may do at registries, and nothing else. Blocks
/// while helpers run.
pub(super) fn config_for_container(config_dir: &Path) -> String {
    let config = read(config_dir);
    let mut all: BTreeMap<String, DockerCredentials> = all_credentials(config_dir).into_iter().collect();
    if let Some(store) = &config.store {
        let kept = list_of_helper(store).into_iter();
        all.extend(kept.filter_map(|registry| Some((registry.clone(), ask_helper(store, &registry)?))));
    }
    let asked = config.helpers.iter();
    all.extend(asked.filter_map(|(registry, helper)| Some((registry.clone(), ask_helper(helper, registry)?))));
    let entry = |credentials: DockerCredentials| match credentials.identitytoken {
        Some(token) => json!({ "identitytoken": token }),
        None => {
            let (user, word) = (credentials.username.unwrap_or_default(), credentials.password.unwrap_or_default());
            json!({ "auth": base64(format!("{user}:{word}").as_bytes()) })
        }
    };
    let auths: serde_json::Map<_, _> = all.into_iter().map(|(registry, credentials)| (registry, entry(credentials))).collect();
    json!({ "auths": auths }).to_string()
}

/// The registry of an image's reference: its first part if that can be a host, else Docker Hub.
fn registry_of(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => {
            if host == "docker.io" || host == "index.docker.io" { HUB } else { host }
        }
        Some(_) | None => HUB,
    }
}

/// `config.json` names a registry with or without scheme and path.
fn host_of(key: &str) -> &str {
    let key = key.split_once("://").map_or(key, |(_, rest)| rest);
    key.split('/').next().unwrap_or(key)
}

fn from_auth(registry: &str, auth: &Auth) -> Option<DockerCredentials> {
    let decoded = auth.auth.as_deref().and_then(decode_base64).and_then(|bytes| String::from_utf8(bytes).ok());
    let (username, password) = decoded.as_deref().and_then(|pair| pair.split_once(':')).unzip();
    if username.is_none() && auth.identitytoken.is_none() {
        return None;
    }
    Some(DockerCredentials {
        username: username.map(str::to_owned),
        password: password.filter(|_| auth.identitytoken.is_none()).map(|word| word.trim_end_matches('\0').to_owned()),
        identitytoken: auth.identitytoken.clone(),
        serveraddress: Some(registry.to_owned()),
        ..Default::default()
    })
}

/// The protocol of docker/docker-credential-helpers: the registry on standard input, JSON on standard output.
fn ask_helper(helper: &str, registry: &str) -> Option<DockerCredentials> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: String,
    }
    let program = format!("docker-credential-{helper}");
    let mut child =
        Command::new(program).arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    // A helper that does not read has nothing to say either.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(registry.as_bytes()));
    let output = child.wait_with_output().ok()?;
    let answer: Answer = serde_json::from_slice(&output.stdout).ok().filter(|_| output.status.success())?;
    let mut credentials = DockerCredentials { serveraddress: Some(registry.to_owned()), ..Default::default() };
    // A helper that keeps a token says so by this name.
    if answer.username == "<token>" {
        credentials.identitytoken = Some(answer.secret);
    } else {
        credentials.username = Some(answer.username);
        credentials.password = Some(answer.secret);
    }
    Some(credentials)
}

/// The registries that a helper knows something of.
fn list_of_helper(helper: &str) -> Vec<String> {
    let output = Command::new(format!("docker-credential-{helper}")).arg("list").stdin(Stdio::null()).output().ok();
    let answer = output.filter(|output| output.status.success());
    let known = answer.and_then(|output| serde_json::from_slice::<BTreeMap<String, String>>(&output.stdout).ok());
    known.unwrap_or_default().into_keys().collect()
}

/// Standard base64, as `config.json` has it.
pub(super) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_of_an_image_is_its_first_part_if_that_can_be_a_host() {
        for (reference, registry) in [
            ("redis", HUB),
            ("redis:7", HUB),
            ("lablup/kernel:1", HUB),
            ("docker.io/library/redis", HUB),
            ("localhost/x", "localhost"),
            ("localhost:5000/x:1", "localhost:5000"),
            ("cr.example.org/a/b@sha256:00", "cr.example.org"),
        ] {
            assert_eq!(registry_of(reference), registry, "{reference}");
        }
    }

    #[test]
    fn a_login_is_found_by_the_host_however_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let config = r#"{"auths": {"https://index.docker.io/v1/": {"auth": "bWU6c2VjcmV0"},
            "https://cr.example.org": {"auth": "YTpiOmM="}, "token.example.org": {"identitytoken": "t"}, "empty.example.org": {}}}"#;
        std::fs::write(dir.path().join("config.json"), config).unwrap();
        let found = |reference| {
            let credentials = credentials(dir.path(), reference)?;
            Some((credentials.username, credentials.password, credentials.identitytoken))
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(found("redis"), Some((text("me"), text("secret"), None)));
        assert_eq!(found("cr.example.org/x"), Some((text("a"), text("b:c"), None)));
        assert_eq!(found("token.example.org/x"), Some((None, None, text("t"))));
        assert_eq!(found("empty.example.org/x"), None);
        assert_eq!(found("other.example.org/x"), None);
        assert_eq!(all_credentials(dir.path()).len(), 3);
        assert_eq!(
            config_for_container(dir.path()),
            r#"{"auths":{"https://cr.example.org":{"auth":"YTpiOmM="},"https://index.docker.io/v1/":{"auth":"bWU6c2VjcmV0"},"token.example.org":{"identitytoken":"t"}}}"#
        );
    }
}
