//! Environment variables as text that a shell, a `.env` file or a program reads back to exactly the same values.

use indexmap::IndexMap;

use super::json;
use crate::base::name;

/// Who reads it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// `eval "$(baistack env SERVICE)"` in sh, bash, zsh.
    #[default]
    Sh,
    /// `baistack env --format fish SERVICE | source`.
    Fish,
    /// A `.env` file.
    Dotenv,
    /// One object.
    Json,
}

/// The variables in a format, one a line; and the names that the format has no way to write.
pub fn render(variables: &IndexMap<String, String>, format: Format) -> (String, Vec<&str>) {
    let writes: fn(&str, &str) -> String = match format {
        Format::Sh => |name, value| format!("export {name}={}\n", sh(value)),
        Format::Fish => |name, value| format!("set -gx {name} {}\n", fish(value)),
        Format::Dotenv => |name, value| format!("{name}={}\n", dotenv(value)),
        Format::Json => return (json::document(variables), Vec::new()),
    };
    let (good, bad): (Vec<_>, Vec<_>) = variables.iter().partition(|(name, _)| name::is_variable(name));
    let text = good.into_iter().map(|(name, value)| writes(name, value)).collect();
    (text, bad.into_iter().map(|(name, _)| name.as_str()).collect())
}

/// A word of sh.
pub fn sh(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// In fish single quotes know `\'` and `\\`.
fn fish(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'")) }
}

/// Single quotes leave all as it is but know no backslash before their own end; double quotes know escapes and variables
/// (`load::dotenv`).
fn dotenv(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    if !text.contains(['\'', '\\', '\r']) {
        return format!("'{text}'");
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '\\' | '"' | '$' => {
                quoted.push('\\');
                quoted.push(c);
            }
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_./:@%+,-".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::diagnostic::Diagnostics;
    use crate::base::source::SourceMap;
    use crate::load::dotenv::{self as files, Format as FileFormat};

    const VALUES: [&str; 9] =
        ["", "plain", "two words", "it's", "a\\", "\\'", "$HOME `x` \"q\" $$ \\$", "line\nline\r\n", "#no é~ !*"];

    fn variables() -> IndexMap<String, String> {
        VALUES.iter().enumerate().map(|(at, value)| (format!("V{at}"), (*value).to_owned())).collect()
    }

    #[test]
    fn sh_reads_back_the_same_values() {
        let (script, _) = render(&variables(), Format::Sh);
        for (name, value) in variables() {
            let print = format!("{script}printf '%s.' \"${name}\"");
            let output = std::process::Command::new("/bin/sh").args(["-c", &print]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{value}."));
        }
    }

    #[test]
    fn a_dotenv_file_reads_back_the_same_values() {
        let (text, _) = render(&variables(), Format::Dotenv);
        let (mut sources, mut diagnostics) = (SourceMap::default(), Diagnostics::default());
        let source = sources.add(".env", text.as_str());
        let read = files::parse(source, &text, FileFormat::Compose, &|_| None, &mut Default::default(), &mut diagnostics);
        assert!(diagnostics.is_empty(), "{diagnostics:?}");
        let read: IndexMap<String, String> = read.into_iter().map(|(name, entry)| (name, entry.value)).collect();
        assert_eq!(read, variables());
    }

    #[test]
    fn fish_knows_two_escapes() {
        assert_eq!(fish("it's \\n"), r"'it\'s \\n'");
        assert_eq!(fish("plain"), "plain");
    }

    #[test]
    fn a_name_that_no_shell_knows_is_told_apart() {
        let variables = IndexMap::from([("a.b".to_owned(), "1".to_owned()), ("C".to_owned(), "2".to_owned())]);
        assert_eq!(render(&variables, Format::Sh), ("export C=2\n".to_owned(), vec!["a.b"]));
        assert_eq!(render(&variables, Format::Json), ("{\n  \"a.b\": \"1\",\n  \"C\": \"2\"\n}\n".to_owned(), vec![]));
    }
}
