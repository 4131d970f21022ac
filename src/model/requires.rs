//! `requires:`.

use serde::{Deserialize, Serialize};

/// One thing that the host must have, and what to do when it has not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirement {
    /// What.
    #[serde(flatten)]
    pub what: Need,
    /// Said when it is missing.
    #[serde(default)]
    pub hint: Option<String>,
}

/// What a host can be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// The locale's encoding, as `UTF-8`.
    Locale(String),
    /// A program in `PATH`, perhaps of a version such as `>=3.11,<3.12`.
    Tool {
        /// Its name.
        name: String,
        /// A comma list of comparisons.
        version: Option<String>,
    },
    /// A Docker Engine, perhaps of a version.
    Docker(String),
    /// A file that exists.
    File(String),
    /// So many open files allowed.
    OpenFiles(u64),
    /// A command that ends with 0.
    Command(String),
}

/// How a version is compared with another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `=`, `==` or nothing: of a version with fewer numbers, such as `3.11`, any that begins so.
    Is,
    /// `!=`: the opposite.
    IsNot,
    /// `<`.
    Before,
    /// `<=`.
    AtMost,
    /// `>`.
    After,
    /// `>=`.
    AtLeast,
}

/// A text is no comma list of comparisons; the part that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no comparison of versions")]
pub struct NoComparison(pub String);

/// Reads a comma list of comparisons such as `>=3.11,<3.12`; an empty one is satisfied by every version.
pub fn comparisons(text: &str) -> Result<Vec<(Comparison, Vec<u64>)>, NoComparison> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(comparison).collect()
}

fn comparison(text: &str) -> Result<(Comparison, Vec<u64>), NoComparison> {
    // Those that others begin with come last.
    const OPERATORS: [(&str, Comparison); 8] = [
        (">=", Comparison::AtLeast),
        ("<=", Comparison::AtMost),
        ("!=", Comparison::IsNot),
        ("==", Comparison::Is),
        (">", Comparison::After),
        ("<", Comparison::Before),
        ("=", Comparison::Is),
        ("", Comparison::Is),
    ];
    let none = || NoComparison(text.to_owned());
    let operator = OPERATORS.into_iter().find_map(|(word, comparison)| Some((comparison, text.strip_prefix(word)?)));
    let (comparison, version) = operator.ok_or_else(none)?;
    let version = version.trim_start();
    let numbers = version.strip_prefix('v').unwrap_or(version).split('.').map(|part| part.parse().map_err(|_| none()));
    Ok((comparison, numbers.collect::<Result<_, _>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_compared_by_what_can_be_read_whole() {
        assert_eq!(comparisons(">= 3.11, <v4,").unwrap(), [(Comparison::AtLeast, vec![3, 11]), (Comparison::Before, vec![4])]);
        assert_eq!(comparisons("").unwrap(), []);
        for (text, wrong) in [
            (">=3.x", ">=3.x"),
            ("latest", "latest"),
            (">=3,~3.11", "~3.11"),
            ("~>2", "~>2"),
            (">=", ">="),
            ("=3.11.*", "=3.11.*"),
        ] {
            assert_eq!(comparisons(text), Err(NoComparison(wrong.to_owned())), "{text}");
        }
    }
}
