//! Data for programs: one object a line for the commands that Compose has, one document for ours.

use serde::Serialize;

/// One object a line, as Compose's `--format json` prints them.
pub fn lines<T: Serialize>(rows: &[T]) -> String {
    rows.iter().map(|row| line(row)).collect()
}

/// One value on one line, with its line end.
pub fn line<T: Serialize>(value: &T) -> String {
    let mut text = serde_json::to_string(value).expect("our own rows have keys that are text");
    text.push('\n');
    text
}

/// One document, indented.
pub fn document<T: Serialize>(value: &T) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("our own documents have keys that are text");
    text.push('\n');
    text
}
