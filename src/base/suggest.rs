//! "Did you mean": the known word that a mistyped one was probably meant to be.

/// The candidate nearest to `word`, if one is near enough to be worth a mention.
///
/// Near is the optimal string alignment distance (insert, delete, replace, swap neighbours), letters compared without case, at most a
/// third of the longer word's length and never more than three. Of equally near ones the first wins.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.to_lowercase().chars().collect();
    let mut best: Option<(usize, &'a str)> = None;
    for candidate in candidates {
        let letters: Vec<char> = candidate.to_lowercase().chars().collect();
        let limit = (word.len().max(letters.len()) / 3).clamp(1, 3);
        // The distance is at least the difference in length, so most candidates need no table.
        if word.is_empty() || letters.is_empty() || word.len().abs_diff(letters.len()) > limit {
            continue;
        }
        let distance = distance(&word, &letters);
        // Two words of one or two letters without a letter in common are at a distance of their length.
        if distance <= limit && distance < word.len().max(letters.len()) && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// So many names fit in a line; of more, nobody reads the list.
const LISTED: usize = 8;

/// The names that there are, each in backquotes, where they are few enough to tell all.
pub fn few<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let names: Vec<&str> = names.into_iter().collect();
    (1..=LISTED).contains(&names.len()).then(|| format!("`{}`", names.join("`, `")))
}

fn distance(from: &[char], to: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (i, &a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &b) in to.iter().enumerate() {
            let mut least = (last[j] + usize::from(a != b)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a == to[j - 1] && b == from[i - 1] {
                least = least.min(before_last[j - 1] + 1);
            }
            row.push(least);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_names_are_told_and_many_are_not() {
        assert_eq!(few(["a", "b"]).unwrap(), "`a`, `b`");
        assert_eq!((few([]), few(["a"; 9])), (None, None));
    }

    #[test]
    fn a_slip_of_the_finger_finds_its_word_and_a_stranger_finds_none() {
        let words = ["healthcheck", "image", "init", "ports", "expose", "db", "restart"];
        for (typed, meant) in [
            ("helthcheck", Some("healthcheck")),
            ("heathlcheck", Some("healthcheck")),
            ("imgae", Some("image")),
            ("Image", Some("image")),
            ("port", Some("ports")),
            ("bd", Some("db")),
            ("restarts", Some("restart")),
            ("volumes", None),
            ("xy", None),
            ("", None),
        ] {
            assert_eq!(closest(typed, words), meant, "{typed}");
        }
    }
}
