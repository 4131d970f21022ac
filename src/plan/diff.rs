//! What changed between two definitions of a service, in the words of the file: `environment.DEBUG: "0" → "1"`.

use serde_json::Value;

use crate::model::service::{Kind, Service};

/// Each change as one text; empty when nothing that the files say has changed.
pub fn reasons(old: &Service, new: &Service) -> Vec<String> {
    let mut found = Vec::new();
    compare("", &json(&old.common), &json(&new.common), &mut found);
    match (&old.kind, &new.kind) {
        (Kind::Container(old), Kind::Container(new)) => compare("", &json(old), &json(new), &mut found),
        (Kind::Process(old), Kind::Process(new)) => compare("", &json(old), &json(new), &mut found),
        (Kind::Container(_), Kind::Process(_)) => found.push("it is a process now".to_owned()),
        (Kind::Process(_), Kind::Container(_)) => found.push("it is a container now".to_owned()),
    }
    found.retain(|reason| {
        !["depends_on", "profiles", "scale", "develop", "attach", "build", "pull_policy"]
            .iter()
            .any(|key| reason.starts_with(key))
    });
    found
}

/// Each change of a network or a volume, as `networks.front.driver_opts.mtu: "1500" → "1400"`; `path` is `networks.front`.
pub fn changes(path: &str, old: &impl serde::Serialize, new: &impl serde::Serialize) -> Vec<String> {
    let mut found = Vec::new();
    compare(path, &json(old), &json(new), &mut found);
    found
}

fn json(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

fn compare(path: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let added = new.keys().filter(|key| !old.contains_key(*key));
            for key in old.keys().chain(added) {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                compare(&path, old.get(key).unwrap_or(&Value::Null), new.get(key).unwrap_or(&Value::Null), found);
            }
        }
        _ if old == new => {}
        _ => found.push(format!("{path}: {} → {}", shown(old), shown(new))),
    }
}

fn shown(value: &Value) -> String {
    const LIMIT: usize = 60;
    let text = match value {
        Value::Null => return "nothing".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    if text.chars().count() <= LIMIT { text } else { text.chars().take(LIMIT).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::process::{Command, Process};
    use crate::model::service::Common;

    #[test]
    fn a_change_is_said_by_its_path_and_both_values() {
        let service = |debug: &str, command: &str| Service {
            common: Common { environment: [("DEBUG".to_owned(), Some(debug.to_owned()))].into(), ..Common::default() },
            kind: Kind::Process(Box::new(Process { command: Some(Command::Text(command.to_owned())), ..Process::default() })),
        };
        assert_eq!(reasons(&service("0", "a"), &service("1", "a")), [r#"environment.DEBUG: "0" → "1""#]);
        assert_eq!(reasons(&service("0", "a"), &service("0", "b")), [r#"command: "a" → "b""#]);
        assert!(reasons(&service("0", "a"), &service("0", "a")).is_empty());
    }

    #[test]
    fn a_change_of_a_network_is_said_in_the_words_of_the_file_too() {
        let network = |mtu: &str| crate::model::network::Network {
            driver_opts: [("mtu".to_owned(), mtu.to_owned())].into(),
            ..Default::default()
        };
        let found = changes("networks.front", &network("1500"), &network("1400"));
        assert_eq!(found, [r#"networks.front.driver_opts.mtu: "1500" → "1400""#]);
    }
}
