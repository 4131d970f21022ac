//! `restart`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// When a service that ended by itself is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RestartPolicy {
    /// `no`.
    #[default]
    No,
    /// `always`.
    Always,
    /// `unless-stopped`.
    UnlessStopped,
    /// `on-failure[:N]`: after a failure, at most N times.
    OnFailure {
        /// None: without end.
        max: Option<u32>,
    },
}

impl RestartPolicy {
    /// What a `condition` of `deploy.restart_policy` means; Compose takes the engine's own words there too (docker/compose,
    /// pkg/compose/create.go, `mapRestartPolicyCondition`).
    pub fn of_condition(word: &str) -> Option<Self> {
        match word {
            "none" | "no" => Some(RestartPolicy::No),
            "on-failure" => Some(RestartPolicy::OnFailure { max: None }),
            "any" | "always" | "" => Some(RestartPolicy::Always),
            "unless-stopped" => Some(RestartPolicy::UnlessStopped),
            _ => None,
        }
    }
}

impl FromStr for RestartPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "no" | "" => Ok(RestartPolicy::No),
            "always" => Ok(RestartPolicy::Always),
            "unless-stopped" => Ok(RestartPolicy::UnlessStopped),
            "on-failure" => Ok(RestartPolicy::OnFailure { max: None }),
            _ => match text.strip_prefix("on-failure:").map(str::parse) {
                Some(Ok(max)) => Ok(RestartPolicy::OnFailure { max: Some(max) }),
                _ => Err(format!(
                    "`{text}` is not a restart policy: use `no`, `always`, `unless-stopped`, `on-failure` or `on-failure:N`"
                )),
            },
        }
    }
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RestartPolicy::No => f.write_str("no"),
            RestartPolicy::Always => f.write_str("always"),
            RestartPolicy::UnlessStopped => f.write_str("unless-stopped"),
            RestartPolicy::OnFailure { max: None } => f.write_str("on-failure"),
            RestartPolicy::OnFailure { max: Some(max) } => write!(f, "on-failure:{max}"),
        }
    }
}

impl TryFrom<String> for RestartPolicy {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<RestartPolicy> for String {
    fn from(policy: RestartPolicy) -> String {
        policy.to_string()
    }
}
