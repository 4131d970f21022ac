//! What `doctor` found, for people.

use super::style::Paint;

/// How a line is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// As it should be.
    Fine,
    /// It will do.
    Doubtful,
    /// It will not.
    Wrong,
}

/// One line with its remedy below it; names are as wide as the widest.
pub fn line(health: Health, name: &str, width: usize, found: &str, remedy: Option<&str>, paint: Paint) -> String {
    let word = match health {
        Health::Fine => paint.good("ok  "),
        Health::Doubtful => paint.warn("warn"),
        Health::Wrong => paint.bad("FAIL"),
    };
    let mut text = format!("{word}  {name:width$}  {}\n", found.replace('\n', " "));
    for line in remedy.into_iter().flat_map(str::lines) {
        text.push_str(&format!("      {:width$}  {} {line}\n", "", paint.strong("→")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_stands_below_what_was_found() {
        let text = line(Health::Wrong, "disk", 6, "it is\nfull", Some("empty it"), Paint::Off);
        assert_eq!(text, "FAIL  disk    it is full\n              → empty it\n");
        assert_eq!(line(Health::Fine, "clock", 6, "right", None, Paint::Off), "ok    clock   right\n");
    }
}
