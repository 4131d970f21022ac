//! Keys in the foreground of `up`: what is pressed becomes what is to be done. Reads no terminal and does nothing itself.

use crate::base::name::ServiceName;

/// What the keys are, in one line.
pub(super) const HINT: &str =
    "Keys: d detaches and leaves everything running, r restarts a service, f filters the log, q stops, h helps.";

/// The same at length.
const HELP: &str = "\
d       detach: everything goes on without this terminal
r       restart a service, and whoever follows it (`restart: true`)
f       show the log of one service, or of all again
q       stop what this `up` started, as Ctrl-C does
h, ?    this list
In a question: Tab completes, Enter answers, Esc leaves it.";

/// What a key asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    Nothing,
    Detach,
    Quit,
    Restart(ServiceName),
    /// Only the lines of this service; of all when there is none.
    Filter(Option<ServiceName>),
    /// To be told.
    Say(String),
}

/// What is asked on the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    Restart,
    Filter,
}

impl Question {
    fn text(self) -> &'static str {
        match self {
            Question::Restart => "restart which service? ",
            Question::Filter => "log of which service? (empty: all) ",
        }
    }
}

/// The keys that have been pressed, as far as they are still to be answered.
#[derive(Debug)]
pub(super) struct Menu {
    services: Vec<ServiceName>,
    asking: Option<(Question, String)>,
    /// A key that is sent as several bytes, such as an arrow, has begun with the last of them.
    sequence: Sequence,
}

/// How far such a key has come: `ESC [`, parameters, and a letter or `~`; or `ESC O` and a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sequence {
    None,
    Escape,
    Parameters,
    Letter,
}

impl Menu {
    /// For these services.
    pub(super) fn new(services: Vec<ServiceName>) -> Self {
        Self { services, asking: None, sequence: Sequence::None }
    }

    /// The question on the terminal, with what has been typed so far.
    pub(super) fn question(&self) -> Option<String> {
        self.asking.as_ref().map(|(question, typed)| format!("{}{typed}", question.text()))
    }

    /// Leaves the question on the terminal; whether there was one.
    pub(super) fn leave(&mut self) -> bool {
        self.asking.take().is_some()
    }

    /// Takes one key. Those that are sent as several bytes ask for nothing.
    pub(super) fn press(&mut self, key: u8) -> Wanted {
        let before = std::mem::replace(&mut self.sequence, if key == ESCAPE { Sequence::Escape } else { Sequence::None });
        let goes_on = match (before, key) {
            (Sequence::Escape, b'[') => Some(Sequence::Parameters),
            (Sequence::Escape, b'O') => Some(Sequence::Letter),
            (Sequence::Parameters, b' '..=b'?') => Some(Sequence::Parameters),
            (Sequence::Parameters | Sequence::Letter, b'@'..=b'~') => Some(Sequence::None),
            _ => None,
        };
        if let Some(sequence) = goes_on {
            self.sequence = sequence;
            return Wanted::Nothing;
        }
        let Some((question, mut typed)) = self.asking.take() else { return self.choose(key) };
        match key {
            b'\r' | b'\n' => return self.answer(question, typed.trim()),
            ESCAPE => return Wanted::Nothing,
            BACKSPACE | DELETE => {
                typed.pop();
            }
            b'\t' => {
                if let Some(service) = self.meant(typed.trim()) {
                    typed = service.to_string();
                }
            }
            b' '..=b'~' => typed.push(char::from(key)),
            _ => {}
        }
        self.asking = Some((question, typed));
        Wanted::Nothing
    }

    fn choose(&mut self, key: u8) -> Wanted {
        match key.to_ascii_lowercase() {
            b'd' => Wanted::Detach,
            b'q' => Wanted::Quit,
            b'h' | b'?' => Wanted::Say(HELP.to_owned()),
            b'r' => self.ask(Question::Restart),
            b'f' => self.ask(Question::Filter),
            _ => Wanted::Nothing,
        }
    }

    fn ask(&mut self, question: Question) -> Wanted {
        self.asking = Some((question, String::new()));
        Wanted::Nothing
    }

    fn answer(&self, question: Question, typed: &str) -> Wanted {
        match (question, self.meant(typed)) {
            (Question::Restart, _) if typed.is_empty() => Wanted::Nothing,
            (Question::Filter, _) if typed.is_empty() => Wanted::Filter(None),
            (Question::Restart, Some(service)) => Wanted::Restart(service.clone()),
            (Question::Filter, Some(service)) => Wanted::Filter(Some(service.clone())),
            (_, None) => {
                let names: Vec<String> = self.services.iter().map(|service| format!("`{service}`")).collect();
                Wanted::Say(format!("there is no one service `{typed}`: there are {}", names.join(", ")))
            }
        }
    }

    /// The service of this name, else the only one whose name begins so.
    fn meant(&self, typed: &str) -> Option<&ServiceName> {
        let exact = self.services.iter().find(|service| service.as_str() == typed);
        let mut begun = self.services.iter().filter(|service| service.as_str().starts_with(typed));
        exact.or_else(|| begun.next().filter(|_| begun.next().is_none()))
    }
}

const BACKSPACE: u8 = 8;
const ESCAPE: u8 = 0x1b;
const DELETE: u8 = 0x7f;

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &str) -> (Wanted, Option<String>) {
        let mut menu = Menu::new(["web", "worker", "db"].map(|name| name.parse().unwrap()).to_vec());
        let last = keys.bytes().map(|key| menu.press(key)).last().unwrap();
        (last, menu.question())
    }

    #[test]
    fn keys_and_answers_ask_for_what_they_say() {
        let service = |name: &str| name.parse::<ServiceName>().unwrap();
        for (keys, wanted) in [
            ("d", Wanted::Detach),
            ("D", Wanted::Detach),
            ("q", Wanted::Quit),
            ("x", Wanted::Nothing),
            ("rdb\n", Wanted::Restart(service("db"))),
            ("rwo\r", Wanted::Restart(service("worker"))),
            ("rwe\t\n", Wanted::Restart(service("web"))),
            ("rdx\x7fb\n", Wanted::Restart(service("db"))),
            ("r\n", Wanted::Nothing),
            ("rweb\x1bd", Wanted::Detach),
            ("fd\n", Wanted::Filter(Some(service("db")))),
            // Arrows, F2, Delete and End.
            ("\x1b[D", Wanted::Nothing),
            ("\x1bOQ", Wanted::Nothing),
            ("\x1b[3~\x1b[1;5F", Wanted::Nothing),
            ("\x1b[Aq", Wanted::Quit),
            ("f\n", Wanted::Filter(None)),
        ] {
            assert_eq!(typed(keys), (wanted, None), "{keys:?}");
        }
        assert_eq!(typed("rwe"), (Wanted::Nothing, Some("restart which service? we".to_owned())));
        let (said, _) = typed("rw\n");
        assert_eq!(said, Wanted::Say("there is no one service `w`: there are `web`, `worker`, `db`".to_owned()));
        assert!(matches!(typed("h").0, Wanted::Say(_)));
    }
}
