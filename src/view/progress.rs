//! What goes on while a command waits: a live view on a terminal, one line per change elsewhere.
//!
//! Fed with notices; knows no socket and asks for nothing.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::log_lines::clean_lines;
use super::states::{self, Mood};
use super::style::Paint;
use super::{json, printer::Printer};
use crate::plan::action::ResourceId;
use crate::supervisor::notice::{Level, Notice, ResourceState};
use crate::supervisor::status::{Health, UnitKind, UnitState, UnitStatus};

/// `--progress`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Style {
    /// `tty` on a terminal, else `plain`.
    #[default]
    Auto,
    /// One line per service and resource, rewritten as it goes on.
    Tty,
    /// One line per change.
    Plain,
    /// One JSON object per change.
    Json,
    /// Warnings and errors only.
    Quiet,
}

/// Shows progress on stderr until it is dropped.
pub struct Progress {
    printer: Printer,
    form: Form,
    lines: Lines,
}

enum Form {
    Live(Live),
    Plain,
    Json,
    Quiet,
}

impl Progress {
    /// A view in this style; `Auto` is decided by whether stderr is a terminal.
    pub fn new(style: Style, printer: Printer) -> Self {
        let form = match style {
            Style::Auto if super::term::stderr_is_terminal() => Form::Live(Live::default()),
            Style::Tty => Form::Live(Live::default()),
            Style::Auto | Style::Plain => Form::Plain,
            Style::Json => Form::Json,
            Style::Quiet => Form::Quiet,
        };
        Self { printer, form, lines: Lines::default() }
    }

    /// Shows one piece of news.
    pub fn show(&mut self, notice: &Notice) {
        if let Form::Json = self.form
            && !matches!(notice, Notice::Found(_))
        {
            return self.printer.say(as_json(notice).trim_end());
        }
        let paint = self.printer.paint_talk;
        let Some(news) = self.lines.news(notice) else { return };
        match &mut self.form {
            Form::Live(live) => live.show(&news, paint),
            Form::Plain if news.fleeting => {}
            Form::Plain => self.printer.say(news.painted(paint)),
            Form::Quiet if matches!(news.mood, Mood::Warning | Mood::Bad) => self.printer.say(news.painted(paint)),
            Form::Quiet | Form::Json => {}
        }
    }

    /// Whether what is shown is rewritten, so that nothing else may write meanwhile.
    pub fn is_live(&self) -> bool {
        matches!(self.form, Form::Live(_))
    }

    /// Says something beside the progress, above a live view.
    pub fn say(&self, text: &str) {
        match &self.form {
            Form::Live(live) => live.say(text),
            Form::Plain | Form::Json | Form::Quiet => self.printer.say(text),
        }
    }

    /// From now on one line per change: what is shown live stays as it is, log lines follow below. Reasons are told whole, since no
    /// answer will tell them.
    pub fn settle(&mut self) {
        self.lines.are_whole = true;
        if let Form::Live(live) = &mut self.form {
            live.end();
            self.form = Form::Plain;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Form::Live(live) = &mut self.form {
            live.end();
        }
    }
}

/// One change, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
struct News {
    /// Whom it is about; none for a message.
    subject: Option<String>,
    text: String,
    mood: Mood,
    /// Of interest only while it lasts.
    fleeting: bool,
    /// A line that somebody else has written: each is shown, and none is a state.
    written: bool,
}

impl News {
    fn painted(&self, paint: Paint) -> String {
        let text = states::in_mood(&self.text, self.mood, paint);
        match &self.subject {
            Some(subject) => format!(" {subject:<24} {text}"),
            None => text,
        }
    }
}

/// A notice for a program, which has no use for what was meant for a terminal: the classic builder colours what a step writes to its
/// standard error.
fn as_json(notice: &Notice) -> String {
    fn clean(value: &mut Value) {
        match value {
            Value::String(text) => *text = clean_lines(text, Paint::Off),
            Value::Array(values) => values.iter_mut().for_each(clean),
            Value::Object(values) => values.values_mut().for_each(clean),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    let line = json::line(notice);
    // Most notices have nothing of the kind.
    if !line.contains("\\u00") {
        return line;
    }
    let mut value = serde_json::to_value(notice).unwrap_or_default();
    clean(&mut value);
    json::line(&value)
}

/// Turns notices into news, each said once.
#[derive(Debug, Default)]
struct Lines {
    last: HashMap<String, String>,
    /// The first lines of reasons that are not told again.
    reasons: HashSet<String>,
    /// Reasons are told with all their lines.
    are_whole: bool,
}

impl Lines {
    fn news(&mut self, notice: &Notice) -> Option<News> {
        let mut news = words(notice)?;
        // What a build writes may be meant for a terminal of its own.
        news.text = clean_lines(&news.text, Paint::Off);
        let Some(subject) = &news.subject else { return Some(news) };
        if news.written {
            return Some(news);
        }
        if let Notice::Unit(unit) = notice
            && unit.state == UnitState::Preparing
        {
            // What has ended is prepared for nothing but its end.
            let ended = self.last.get(subject).is_some_and(|last| last.starts_with("stop") || last.starts_with("exited"));
            news.text = if ended { "removing" } else { "preparing" }.to_owned();
            // Of a process there is little to prepare.
            news.fleeting = unit.kind != UnitKind::Container;
        }
        if news.fleeting {
            return Some(news);
        }
        let is_root = matches!(notice, Notice::Resource { state: ResourceState::Failed(_), .. });
        self.shorten(&mut news.text, is_root);
        let before = self.last.insert(subject.clone(), news.text.clone());
        (before.as_ref() != Some(&news.text)).then_some(news)
    }
}

impl Lines {
    /// A reason of several lines, as a build has that failed, or one that is told of its root, as an image that cannot be pulled, is told
    /// once of all that it keeps from coming, and in a line, unless nobody else will tell the rest.
    fn shorten(&mut self, text: &mut String, is_root: bool) {
        let Some((state, reason)) = text.split_once(": ") else { return };
        let (first, has_more) = reason.split_once('\n').map_or((reason, false), |(first, _)| (first, true));
        let is_first_told_here = if has_more { self.are_whole } else { is_root };
        if is_first_told_here {
            self.reasons.insert(first.to_owned());
        } else if self.reasons.contains(first) {
            *text = state.to_owned();
        } else if has_more {
            self.reasons.insert(first.to_owned());
            *text = format!("{state}: {first}");
        }
    }
}

fn words(notice: &Notice) -> Option<News> {
    let about =
        |subject: String, text: String, mood| Some(News { subject: Some(subject), text, mood, fleeting: false, written: false });
    match notice {
        Notice::Unit(unit) => {
            let (text, mood) = unit_words(unit);
            about(unit.unit.to_string(), text, mood)
        }
        Notice::Resource { resource, state, name } => {
            let subject = subject(resource, name);
            let (text, mood) = resource_words(state);
            // A reason that is told elsewhere too begins with what it is about.
            let text = text.replacen(&format!("failed: {subject}: "), "failed: ", 1);
            about(subject, text, mood)
        }
        Notice::Wrote { resource, line } => {
            let (subject, text) = (Some(subject(resource, "")), line.clone());
            Some(News { subject, text, mood: Mood::Busy, fleeting: false, written: true })
        }
        Notice::Progress { resource, text } => Some(News {
            subject: Some(subject(resource, "")),
            text: text.clone(),
            mood: Mood::Busy,
            fleeting: true,
            written: false,
        }),
        Notice::Because { resource, what, reason } => about(subject(resource, ""), format!("{what}: {reason}"), Mood::Busy),
        Notice::Message { level, text } => {
            let (text, mood) = match level {
                Level::Info => (text.clone(), Mood::Busy),
                Level::Warning => (format!("warning: {text}"), Mood::Warning),
                Level::Error => (format!("error: {text}"), Mood::Bad),
            };
            Some(News { subject: None, text, mood, fleeting: false, written: false })
        }
        // That was so before.
        Notice::Found(_) | Notice::Settled | Notice::Ending => None,
    }
}

fn subject(resource: &ResourceId, name: &str) -> String {
    match resource {
        ResourceId::Network(_) | ResourceId::Volume(_) if !name.is_empty() => {
            let kind = if matches!(resource, ResourceId::Network(_)) { "network" } else { "volume" };
            format!("{kind} {name}")
        }
        ResourceId::Network(_)
        | ResourceId::Volume(_)
        | ResourceId::Image(_)
        | ResourceId::NamedImage(_)
        | ResourceId::Unit(_)
        | ResourceId::Owned
        | ResourceId::Images => resource.to_string(),
    }
}

/// The state and, of something that runs, its health: that is what others wait for.
fn unit_words(unit: &UnitStatus) -> (String, Mood) {
    match (&unit.state, unit.health) {
        (UnitState::Running, Some(Health::Starting)) => ("started, not healthy yet".to_owned(), Mood::Busy),
        (UnitState::Running, Some(Health::Healthy)) => ("healthy".to_owned(), Mood::Good),
        (UnitState::Running, Some(Health::Unhealthy)) => {
            let output = unit.probe_output.as_deref().unwrap_or_default().lines().next().unwrap_or_default();
            let colon = if output.is_empty() { "" } else { ": " };
            (format!("unhealthy{colon}{output}"), Mood::Warning)
        }
        (UnitState::Absent, _) => ("removed".to_owned(), Mood::Idle),
        _ => states::state(unit),
    }
}

fn resource_words(state: &ResourceState) -> (String, Mood) {
    let (text, mood) = match state {
        ResourceState::Creating => ("creating", Mood::Busy),
        ResourceState::Created => ("created", Mood::Good),
        ResourceState::Pulling => ("pulling", Mood::Busy),
        ResourceState::Pulled => ("pulled", Mood::Good),
        ResourceState::Building => ("building", Mood::Busy),
        ResourceState::Built => ("built", Mood::Good),
        ResourceState::Pushing => ("pushing", Mood::Busy),
        ResourceState::Pushed => ("pushed", Mood::Good),
        ResourceState::Removing => ("removing", Mood::Busy),
        ResourceState::Removed => ("removed", Mood::Idle),
        ResourceState::Kept(reason) => return (format!("kept: {reason}"), Mood::Warning),
        ResourceState::Retrying(next) => return (format!("failed, {next}"), Mood::Busy),
        ResourceState::Failed(reason) if reason.is_empty() => ("failed", Mood::Bad),
        ResourceState::Failed(reason) => return (format!("failed: {reason}"), Mood::Bad),
    };
    (text.to_owned(), mood)
}

/// The live view: one bar per subject, which turns while something goes on.
#[derive(Default)]
struct Live {
    bars: MultiProgress,
    by_subject: HashMap<String, ProgressBar>,
}

impl Live {
    fn show(&mut self, news: &News, paint: Paint) {
        let Some(subject) = &news.subject else { return self.say(&news.painted(paint)) };
        let bar = self.by_subject.entry(subject.clone()).or_insert_with(|| {
            let bar = self.bars.add(ProgressBar::new_spinner());
            bar.set_prefix(subject.clone());
            bar
        });
        let text = states::in_mood(&news.text, news.mood, paint);
        let busy = news.mood == Mood::Busy;
        if busy && bar.is_finished() {
            bar.reset();
        }
        let (template, ticks) = match news.mood {
            Mood::Busy => (" {spinner} {prefix:24} {wide_msg} {elapsed:>5} ", "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ "),
            Mood::Good => (" {spinner} {prefix:24} {wide_msg} ", "✔✔"),
            Mood::Idle => (" {spinner} {prefix:24} {wide_msg} ", "··"),
            Mood::Warning => (" {spinner} {prefix:24} {wide_msg} ", "!!"),
            Mood::Bad => (" {spinner} {prefix:24} {wide_msg} ", "✘✘"),
        };
        let style = ProgressStyle::with_template(template).expect("a constant template").tick_chars(ticks);
        bar.set_style(style);
        if busy {
            bar.set_message(text);
            bar.enable_steady_tick(Duration::from_millis(100));
        } else {
            bar.disable_steady_tick();
            bar.finish_with_message(text);
        }
    }

    fn say(&self, text: &str) {
        self.bars.suspend(|| {
            let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{text}\n").as_bytes());
        });
    }

    /// Leaves on the screen what is known, without anything that turns.
    fn end(&mut self) {
        for bar in self.by_subject.values().filter(|bar| !bar.is_finished()) {
            bar.disable_steady_tick();
            bar.abandon();
        }
        self.bars.set_draw_target(ProgressDrawTarget::hidden());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::states::tests::unit;

    fn plain(notices: &[Notice]) -> String {
        let mut lines = Lines::default();
        let news = notices.iter().filter_map(|notice| lines.news(notice)).filter(|news| !news.fleeting);
        news.map(|news| news.painted(Paint::Off) + "\n").collect()
    }

    fn is(name: &str, state: UnitState, health: Option<Health>) -> Notice {
        let mut unit = unit(name, state);
        unit.health = health;
        Notice::Unit(Box::new(unit))
    }

    #[test]
    fn without_a_terminal_each_change_is_one_line_said_once() {
        let image = ResourceId::Image("db".parse().unwrap());
        let pulled = |state| Notice::Resource { resource: image.clone(), state, name: "postgres:16".to_owned() };
        let shown = plain(&[
            pulled(ResourceState::Pulling),
            Notice::Progress { resource: image.clone(), text: "12.3 MB of 40 MB".to_owned() },
            Notice::Wrote { resource: image.clone(), line: "Step 1/2 : FROM x".to_owned() },
            Notice::Wrote { resource: image.clone(), line: "a line".to_owned() },
            Notice::Wrote { resource: image.clone(), line: "a line".to_owned() },
            pulled(ResourceState::Retrying("next try in 1 s: connection refused".to_owned())),
            pulled(ResourceState::Pulled),
            Notice::Resource {
                resource: ResourceId::Network("front".to_owned()),
                state: ResourceState::Failed("network e_front: no subnet".to_owned()),
                name: "e_front".to_owned(),
            },
            Notice::Found(Box::new(unit("old:1", UnitState::Running))),
            is("web:1", UnitState::Waiting { on: "db healthy".to_owned() }, None),
            is("db:1", UnitState::Running, Some(Health::Starting)),
            is("db:1", UnitState::Running, Some(Health::Starting)),
            is("db:1", UnitState::Running, Some(Health::Healthy)),
            Notice::Message { level: Level::Warning, text: "port 80 is held".to_owned() },
            Notice::Because {
                resource: ResourceId::Unit("web:1".parse().unwrap()),
                what: "restart".to_owned(),
                reason: "src/x.py changed".to_owned(),
            },
            Notice::Settled,
        ]);
        let expected = "
 image of db              pulling
 image of db              Step 1/2 : FROM x
 image of db              a line
 image of db              a line
 image of db              failed, next try in 1 s: connection refused
 image of db              pulled
 network e_front          failed: no subnet
 web:1                    waiting for db healthy
 db:1                     started, not healthy yet
 db:1                     healthy
warning: port 80 is held
 web:1                    restart: src/x.py changed
";
        assert_eq!(shown, expected.trim_start_matches('\n'));
    }

    #[test]
    fn a_program_is_told_nothing_that_is_meant_for_a_terminal() {
        let resource = ResourceId::Image("web".parse().unwrap());
        let wrote = |line: &str| Notice::Wrote { resource: resource.clone(), line: line.to_owned() };
        assert_eq!(as_json(&wrote("\u{1b}[91mwarning: é\u{1b}[0m")), as_json(&wrote("warning: é")));
        let failed = |reason: &str| {
            let state = ResourceState::Failed(reason.to_owned());
            as_json(&Notice::Resource { resource: resource.clone(), state, name: "web".to_owned() })
        };
        assert_eq!(failed("build of web: no\n  \u{1b}[91mwhy\u{1b}[0m"), failed("build of web: no\n  why"));
    }

    #[test]
    fn a_reason_of_several_lines_is_told_once_and_in_one_while_an_answer_is_still_to_tell_it() {
        let reason = "build of app: no\n  why";
        let image = |reason: &str| Notice::Resource {
            resource: ResourceId::Image("db".parse().unwrap()),
            state: ResourceState::Failed(reason.to_owned()),
            name: "app".to_owned(),
        };
        let unit = |name| is(name, UnitState::Failed { reason: reason.to_owned() }, None);
        let shown = plain(&[image(reason), unit("db:1"), unit("db:2"), image("one line"), image("")]);
        let expected = " image of db              failed: build of app: no\n db:1                     failed\n \
            db:2                     failed\n image of db              failed: one line\n image of db              failed\n";
        assert_eq!(shown, expected);
        let unit = |name| is(name, UnitState::Failed { reason: "one line".to_owned() }, None);
        let shown = plain(&[image("one line"), unit("db:1"), unit("db:2")]);
        let expected = " image of db              failed: one line\n db:1                     failed\n \
            db:2                     failed\n";
        assert_eq!(shown, expected);
        let mut lines = Lines { are_whole: true, ..Lines::default() };
        assert_eq!(lines.news(&image(reason)).unwrap().text, format!("failed: {reason}"));
    }
}
