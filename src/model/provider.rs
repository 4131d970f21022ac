//! `provider`: a program that looks after a service instead of an engine, and what it has told of it.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::stack::Stack;
use crate::base::name::ServiceName;

/// Who looks after a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Provider {
    /// The program: a plugin of Docker's command line, or one that is found in `PATH`.
    #[serde(rename = "type")]
    pub program: String,
    /// What it is told, as `--name=value`; a list is told value by value.
    pub options: IndexMap<String, Vec<String>>,
}

/// The variables that a provider has for those who depend on its service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Given {
    /// With the service's name before them.
    pub prefixed: IndexMap<String, String>,
    /// As they are.
    pub raw: IndexMap<String, String>,
}

impl Given {
    /// Sets the variables in all that depend directly on `service`. Tells, as service and variable, what had another value by
    /// its name; with a prefix that is meant (docker/compose, `docs/extension.md`).
    pub fn set_in(&self, stack: &mut Stack, service: &ServiceName) -> Vec<(ServiceName, String)> {
        let prefix = format!("{}_", service.as_str().to_uppercase());
        let mut overridden = Vec::new();
        for (name, dependent) in stack.services.iter_mut().chain(&mut stack.disabled) {
            if !dependent.common.depends_on.contains_key(service) {
                continue;
            }
            let environment = &mut dependent.common.environment;
            for (variable, value) in &self.prefixed {
                environment.insert(format!("{prefix}{variable}"), Some(value.clone()));
            }
            for (variable, value) in &self.raw {
                let before = environment.insert(variable.clone(), Some(value.clone()));
                if before.is_some_and(|before| before.as_ref() != Some(value)) {
                    overridden.push((name.clone(), variable.clone()));
                }
            }
        }
        overridden
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::depends::{Condition, Dependency};
    use crate::model::service::{Common, Kind, Service};

    #[test]
    fn what_a_provider_gives_goes_to_those_who_depend_on_its_service_directly() {
        let service = |depends_on: &[&str]| Service {
            common: Common {
                depends_on: (depends_on.iter())
                    .map(|name| {
                        let edge = Dependency { condition: Condition::Started, restart: false, required: true };
                        (name.parse().unwrap(), edge)
                    })
                    .collect(),
                environment: IndexMap::from([("KEY".to_owned(), Some("mine".to_owned()))]),
                ..Common::default()
            },
            kind: Kind::Container(Box::default()),
        };
        let name = |text: &str| text.parse::<ServiceName>().unwrap();
        let mut stack = Stack::default();
        for (of, depends_on) in [("my-db", &[][..]), ("web", &["my-db"]), ("front", &["web"])] {
            stack.services.insert(name(of), service(depends_on));
        }
        let map = |key: &str, value: &str| IndexMap::from([(key.to_owned(), value.to_owned())]);
        let given = Given { prefixed: map("URL", "tcp://db"), raw: map("KEY", "theirs") };
        assert_eq!(given.set_in(&mut stack, &name("my-db")), [(name("web"), "KEY".to_owned())]);
        let seen = |of: &str, variable: &str| stack.services[&name(of)].common.environment.get(variable).cloned().flatten();
        assert_eq!(seen("web", "MY-DB_URL").as_deref(), Some("tcp://db"));
        assert_eq!(seen("web", "KEY").as_deref(), Some("theirs"));
        assert_eq!((seen("front", "MY-DB_URL"), seen("front", "KEY").as_deref()), (None, Some("mine")));
    }
}
