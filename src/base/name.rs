//! Names, valid from birth: a value of one of these types has been checked once and never needs to be again.
//!
//! Every name here may become part of a path, a label or a container's name, so none can hold a separator.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("{article} {kind} must not be empty", article = article(kind))]
    Empty { kind: &'static str },
    /// Longer than the file system and the engine allow.
    #[error("{article} {kind} is at most {limit} characters long; this one has {length}", article = article(kind))]
    TooLong { kind: &'static str, limit: usize, length: usize },
    /// A character that the rule does not allow.
    #[error("{article} {kind} is made of {rule}; `{character}` is none of them", article = article(kind), character = character.escape_default())]
    Character { kind: &'static str, rule: &'static str, character: char },
    /// The first character is one that may only follow.
    #[error("{article} {kind} begins with {rule}", article = article(kind))]
    First { kind: &'static str, rule: &'static str },
    /// `.` and `..` mean directories.
    #[error("`{name}` means a directory and cannot be {article} {kind}", article = article(kind))]
    Directory { kind: &'static str, name: String },
}

fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

fn check(text: &str, kind: &'static str, limit: usize, rule: &'static str, allowed: fn(char) -> bool) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { kind });
    }
    if text.chars().count() > limit {
        return Err(NameError::TooLong { kind, limit, length: text.chars().count() });
    }
    if text == "." || text == ".." {
        return Err(NameError::Directory { kind, name: text.to_owned() });
    }
    match text.chars().find(|&c| !allowed(c)) {
        Some(character) => Err(NameError::Character { kind, rule, character }),
        None => Ok(()),
    }
}

/// The name of a service: a key under `services:` or `processes:`.
///
/// Letters, digits, `.`, `_` and `-` (the Compose Specification's `^[a-zA-Z0-9._-]+$`), at most 200 of them so that a
/// log file's name with replica and suffix still fits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceName(Arc<str>);

impl ServiceName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServiceName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check(text, "service name", 200, "letters, digits, `.`, `_` and `-`", is_key_character)?;
        Ok(Self(text.into()))
    }
}

/// Whether a text is the name of a variable, for a shell as for a stack file: `[_a-zA-Z][_a-zA-Z0-9]*`.
pub fn is_variable(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Checks a key of `networks`, `configs` and the like, which may become part of a path: `[a-zA-Z0-9._-]+` (the Compose
/// Specification's schema), and no directory's name.
pub fn check_key(text: &str) -> Result<(), NameError> {
    check(text, "name", usize::MAX, "letters, digits, `.`, `_` and `-`", is_key_character)
}

fn is_key_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// The name of an environment, which is also its Compose project name: `[a-z0-9][a-z0-9_-]*`, at most 200 characters, so that
/// it can be a directory's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EnvId(Arc<str>);

impl EnvId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What Compose makes of a directory's name or of `name:`: lower-cased, illegal characters dropped, no leading `-` or `_`.
    ///
    /// `None` when nothing is left.
    pub fn normalized(text: &str) -> Option<Self> {
        let legal: String = text.to_lowercase().chars().filter(|&c| is_env_id_character(c)).collect();
        legal.trim_start_matches(['-', '_']).parse().ok()
    }
}

fn is_env_id_character(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-')
}

impl FromStr for EnvId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        const KIND: &str = "environment name";
        check(text, KIND, 200, "lower-case letters, digits, `_` and `-`", is_env_id_character)?;
        if text.starts_with(['-', '_']) {
            return Err(NameError::First { kind: KIND, rule: "a lower-case letter or a digit" });
        }
        Ok(Self(text.into()))
    }
}

macro_rules! name_as_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name_as_text!(ServiceName);
name_as_text!(EnvId);

/// One supervised thing: a replica of a service, counted from 1. Written `web:1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UnitId {
    /// The service.
    pub service: ServiceName,
    /// Its replica, from 1.
    pub replica: u32,
}

impl UnitId {
    /// The unit of a service's replica.
    pub fn new(service: ServiceName, replica: u32) -> Self {
        Self { service, replica }
    }
}

impl fmt::Display for UnitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}:{}", self.service, self.replica))
    }
}

impl FromStr for UnitId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (service, replica) = text.rsplit_once(':').unwrap_or((text, "1"));
        let replica = replica.parse().map_err(|_| NameError::Character {
            kind: "replica number",
            rule: "digits",
            character: replica.chars().find(|c| !c.is_ascii_digit()).unwrap_or(':'),
        })?;
        Ok(Self { service: service.parse()?, replica })
    }
}

impl TryFrom<String> for UnitId {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<UnitId> for String {
    fn from(unit: UnitId) -> String {
        unit.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_leave_its_directory_is_refused() {
        for text in ["", ".", "..", "a/b", "../x", "a\nb", "a\0b", &"x".repeat(300)] {
            assert!(text.parse::<ServiceName>().is_err(), "{text:?}");
            assert!(text.parse::<EnvId>().is_err(), "{text:?}");
        }
        for text in ["web", "a.b", "A-1_x", "0"] {
            assert_eq!(text.parse::<ServiceName>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn what_is_wrong_with_a_name_is_said_in_good_grammar() {
        let said =
            |text: &str| (text.parse::<EnvId>().unwrap_err().to_string(), text.parse::<ServiceName>().unwrap_err().to_string());
        let (env, service) = said("");
        assert_eq!(
            (env.as_str(), service.as_str()),
            ("an environment name must not be empty", "a service name must not be empty")
        );
        let (env, service) = said("..");
        assert_eq!(env, "`..` means a directory and cannot be an environment name");
        assert_eq!(service, "`..` means a directory and cannot be a service name");
    }

    #[test]
    fn a_directory_name_becomes_the_name_that_compose_gives() {
        for (text, expected) in [("MyApp", Some("myapp")), ("_-My App!", Some("myapp")), ("...", None), ("a_b-c", Some("a_b-c"))]
        {
            assert_eq!(EnvId::normalized(text).as_ref().map(EnvId::as_str), expected, "{text}");
        }
    }

    #[test]
    fn a_unit_reads_back_as_it_is_written() {
        let unit: UnitId = "a.b:12".parse().unwrap();
        assert_eq!((unit.service.as_str(), unit.replica, unit.to_string().as_str()), ("a.b", 12, "a.b:12"));
        assert!("a:b".parse::<UnitId>().is_err());
    }
}
