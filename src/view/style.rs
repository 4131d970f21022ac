//! Colours, as a value: whoever paints is told whether to, so that what is painted can be tested.

use console::Style;

/// Whether to use colours, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// Colours.
    On,
    /// None.
    Off,
}

/// The colours of services, in the order in which they are given out; those of Compose, without the ones for trouble.
const SERVICES: [fn(Style) -> Style; 10] = [
    Style::cyan,
    Style::yellow,
    Style::green,
    Style::magenta,
    Style::blue,
    |style| style.cyan().bright(),
    |style| style.yellow().bright(),
    |style| style.green().bright(),
    |style| style.magenta().bright(),
    |style| style.blue().bright(),
];

impl Paint {
    /// Whether there are colours.
    pub fn is_on(self) -> bool {
        self == Paint::On
    }

    fn with(self, text: &str, style: fn(Style) -> Style) -> String {
        match self {
            Paint::On => style(Style::new()).force_styling(true).apply_to(text).to_string(),
            Paint::Off => text.to_owned(),
        }
    }

    /// All is well.
    pub fn good(self, text: &str) -> String {
        self.with(text, Style::green)
    }

    /// Worth a look.
    pub fn warn(self, text: &str) -> String {
        self.with(text, Style::yellow)
    }

    /// Failed.
    pub fn bad(self, text: &str) -> String {
        self.with(text, |style| style.red().bold())
    }

    /// Of less weight.
    pub fn dim(self, text: &str) -> String {
        self.with(text, Style::dim)
    }

    /// Of more weight.
    pub fn strong(self, text: &str) -> String {
        self.with(text, Style::bold)
    }

    /// The colour of the service with this number.
    pub fn service(self, number: usize, text: &str) -> String {
        self.with(text, SERVICES[number % SERVICES.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_colours_a_text_stays_as_it_is() {
        assert_eq!(Paint::Off.bad("x"), "x");
        assert_eq!(Paint::On.service(0, "x"), "\u{1b}[36mx\u{1b}[0m");
        assert_eq!(Paint::On.service(10, "x"), Paint::On.service(0, "x"));
    }
}
