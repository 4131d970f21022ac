//! Command lines as Compose splits them: words and quotes, no shell.

/// Splits as `mattn/go-shellwords` does for Compose: blanks, single and double quotes, backslashes.
pub(in crate::load) fn split_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                word.extend(characters.by_ref().take_while(|&c| c != '\''));
            }
            '"' => {
                let word = word.get_or_insert_default();
                while let Some(character) = characters.next() {
                    match character {
                        '"' => break,
                        '\\' => word.extend(characters.next()),
                        _ => word.push(character),
                    }
                }
            }
            '\\' => word.get_or_insert_default().extend(characters.next()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_without_a_shell() {
        for (text, expected) in [
            ("a b", vec!["a", "b"]),
            ("sh -c 'x  y'", vec!["sh", "-c", "x  y"]),
            (r#"a "b \"c\"" d\ e"#, vec!["a", r#"b "c""#, "d e"]),
            ("  ", vec![]),
            ("a ''", vec!["a", ""]),
        ] {
            assert_eq!(split_words(text), expected, "{text}");
        }
    }
}
