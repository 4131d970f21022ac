//! Patterns of paths and names: what each attribute means by one, and what is wrong with a text that is none.

use globset::{Glob, GlobBuilder};
use ignore::gitignore::GitignoreBuilder;

/// What makes a text a pattern; any other is the name of one file.
pub const WILD: [char; 4] = ['*', '?', '[', '{'];

/// A pattern of files, in which `*` stays within one directory: `inputs` and `outputs` of a task.
///
/// # Errors
///
/// What is wrong with it, in words.
pub fn of_files(text: &str) -> Result<Glob, String> {
    GlobBuilder::new(text).literal_separator(true).build().map_err(|error| error.kind().to_string())
}

/// A pattern of whole names, in which `/` is a character like any other: `owns`.
///
/// # Errors
///
/// What is wrong with it, in words.
pub fn of_names(text: &str) -> Result<Glob, String> {
    GlobBuilder::new(text).build().map_err(|error| error.kind().to_string())
}

/// Adds a pattern of a watch rule. As in `.dockerignore` it begins at the watched path, unless it says `**/`.
///
/// # Errors
///
/// What is wrong with it, in words; nothing is added then.
pub fn add_of_watch(builder: &mut GitignoreBuilder, text: &str) -> Result<(), String> {
    let (sign, rest) = text.strip_prefix('!').map_or(("", text), |rest| ("!", rest));
    let line = format!("{sign}/{}", rest.trim_start_matches("./").trim_start_matches('/'));
    match builder.add_line(None, &line) {
        Ok(_) => Ok(()),
        Err(ignore::Error::Glob { err, .. }) => Err(err),
        Err(error) => Err(error.to_string()),
    }
}

/// What is wrong with a pattern of a watch rule.
pub fn fault_of_watch(text: &str) -> Option<String> {
    add_of_watch(&mut GitignoreBuilder::new("/"), text).err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_pattern_is_told_in_words() {
        for text in ["*.rs", "src/**", "{a,b}", "a[!b]", "/x y"] {
            assert!(of_files(text).is_ok() && of_names(text).is_ok() && fault_of_watch(text).is_none(), "{text}");
        }
        for (text, word) in [("{a", "unclosed alternate group"), ("[b-a]", "invalid range")] {
            let said = [of_files(text).err(), of_names(text).err(), fault_of_watch(text)];
            assert!(said.iter().flatten().filter(|said| said.contains(word)).count() == 3, "{text}: {said:?}");
        }
        // For git a bracket that is not closed is a letter like any other.
        assert!(of_files("a[b").is_err() && of_names("a[b").is_err() && fault_of_watch("a[b").is_none());
    }

    #[test]
    fn a_pattern_of_files_stays_in_a_directory_and_one_of_names_does_not() {
        let of_files = of_files("a/*").unwrap().compile_matcher();
        let of_names = of_names("a/*").unwrap().compile_matcher();
        assert_eq!((of_files.is_match("a/b/c"), of_names.is_match("a/b/c")), (false, true));
    }
}
