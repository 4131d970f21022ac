//! What `logs`, `up` and messages about failures share: which logs are read, and how their lines look.

use std::sync::mpsc;

use super::CliError;
use super::context::Context;
use crate::base::name::{EnvId, UnitId};
use crate::host::logs::{Container, Feed, Given, Run, Wanted};
use crate::plan::actual::{Query, SeenState};
use crate::view::log_lines::{LogLines, clean};
use crate::view::style::Paint;
use crate::world::logs::line::LineRef;
use crate::world::logs::record::{Mark, Timestamp};

impl Context {
    /// Hands the containers of an environment to a feed. Answers with whether any of them runs or is about to.
    pub fn feed_containers(&self, env: &EnvId, feed: &mut Feed) -> Result<bool, CliError> {
        let engine = self.engine()?;
        let seen = engine.observe(env, &Query::default()).map_err(|fault| CliError::Engine(fault.to_string()))?;
        let mut runs = false;
        for container in seen.containers {
            let (alive, birth) = match &container.state {
                SeenState::Created => (false, None),
                SeenState::Running { birth } => (true, Some(birth)),
                SeenState::Restarting => (true, None),
                SeenState::Exited { birth, .. } => (false, Some(birth)),
            };
            runs |= alive && !container.one_off;
            let Some(unit) = container.unit.filter(|_| !container.one_off) else { continue };
            let born = birth.and_then(|birth| Timestamp::parse(birth)).map(Timestamp::system_time);
            feed.container(engine, &Container { unit, id: container.id, born }).map_err(CliError::failed)?;
        }
        Ok(runs)
    }
}

/// The last lines of the last life in a unit's log, as a screen would show them.
pub fn last(context: &Context, env: &EnvId, unit: &UnitId, count: usize) -> Result<Vec<String>, CliError> {
    let wanted = Wanted {
        services: Some(vec![unit.service.clone()]),
        replica: Some(unit.replica),
        tail: Some(count),
        run: Some(Run::Last),
        ..Wanted::default()
    };
    let (sender, lines) = mpsc::channel();
    let dir = context.env_dir(env)?;
    let deliver = move |given: Given<'_>| match given {
        Given::Line(line) => sender.send(line.to_line()).is_ok(),
        Given::Pause => true,
    };
    let mut feed = Feed::start(&dir, wanted, deliver).map_err(CliError::failed)?;
    // That the engine is away is told elsewhere; then there are no lines of containers.
    let is_process =
        context.deployment(env)?.and_then(|it| it.service(&unit.service).map(super::super::model::service::Service::is_process));
    if is_process != Some(true) {
        let _ = context.feed_containers(env, &mut feed);
    }
    feed.join().map_err(CliError::failed)?;
    let lines = lines.into_iter().filter(|line| is_output(line.borrowed())).map(|line| clean(&line.text, Paint::Off));
    Ok(lines.collect())
}

/// Whether a line is the service's own, or a word about its output; beginnings and ends of lives are told as notices.
pub fn is_output(line: LineRef<'_>) -> bool {
    matches!(line.mark, None | Some(Mark::Note))
}

/// The name that a unit's lines carry, as in Compose.
pub fn speaker(unit: &UnitId) -> String {
    format!("{}-{}", unit.service, unit.replica)
}

/// Writes lines, also those whose end has yet to come.
#[derive(Debug)]
pub struct LineWriter {
    lines: LogLines,
    /// Unfinished lines are shown, which only a terminal can do: their rest comes behind them.
    shows_open: bool,
    /// The unfinished line that the cursor stands behind.
    hanging: Option<UnitId>,
    /// Whose the last line was, and which number that is.
    speaking: Option<(UnitId, usize)>,
}

impl LineWriter {
    /// A writer that has written nothing.
    pub fn new(lines: LogLines, shows_open: bool) -> Self {
        Self { lines, shows_open, hanging: None, speaking: None }
    }

    /// Adds what is to be written for a line.
    pub fn draw(&mut self, line: LineRef<'_>, out: &mut Vec<u8>) {
        if !is_output(line) || line.open && !self.shows_open {
            return;
        }
        let goes_on = line.shown > 0 && self.hanging.as_ref() == Some(line.unit);
        if goes_on {
            out.extend_from_slice(clean(&line.text[line.shown..], self.lines.paint()).as_bytes());
        } else {
            out.extend_from_slice(self.interrupted().as_bytes());
            let speaker = self.speaker(line.unit);
            self.lines.line(speaker, &line.time, line.text, out);
        }
        if line.open {
            self.hanging = Some(line.unit.clone());
        } else {
            self.hanging = None;
            out.push(b'\n');
        }
    }

    /// The same for lines that differ from the first in their text alone.
    pub fn draw_alike<'a>(&mut self, first: LineRef<'_>, texts: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
        if first.open || first.shown > 0 || first.mark.is_some() {
            return texts.for_each(|text| self.draw(LineRef { text, ..first }, out));
        }
        out.extend_from_slice(self.interrupted().as_bytes());
        let speaker = self.speaker(first.unit);
        for text in texts {
            self.lines.line(speaker, &first.time, text, out);
            out.push(b'\n');
        }
    }

    fn speaker(&mut self, unit: &UnitId) -> usize {
        if let Some((last, number)) = &self.speaking
            && last == unit
        {
            return *number;
        }
        let number = self.lines.speaker(&speaker(unit));
        self.speaking = Some((unit.clone(), number));
        number
    }

    /// What is to be written before anything else, so that it begins a line of its own.
    pub fn interrupted(&mut self) -> &'static str {
        if self.hanging.take().is_some() { "\n" } else { "" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::log_lines::Prefix;
    use crate::world::logs::line::{Line, Lines};
    use crate::world::logs::record::Stream;

    #[test]
    fn an_unfinished_line_is_gone_on_with_or_begun_again() {
        let line = |unit: &str, text: &str, shown, open| Line {
            time: Timestamp(0),
            unit: unit.parse().unwrap(),
            stream: Stream::Stdout,
            text: text.as_bytes().to_vec(),
            open,
            shown,
            mark: None,
        };
        let lines = [
            line("a:1", "step 1... ", 0, true),
            line("a:1", "step 1... ok", 10, false),
            line("a:1", "step 2... ", 0, true),
            line("b:1", "hello", 0, false),
            line("a:1", "step 2... ok", 10, false),
            line("a:1", "done", 0, false),
            line("a:1", "bye", 0, false),
        ];
        let written = |shows_open| {
            let look = LogLines::new(Paint::Off, Prefix::Name, false, ["a-1".to_owned()]);
            let mut writer = LineWriter::new(look, shows_open);
            let mut out = Vec::new();
            lines.iter().for_each(|line| writer.draw(line.borrowed(), &mut out));
            let mut together = Lines::default();
            lines.iter().for_each(|line| together.push(line.borrowed()));
            let mut drawn = Vec::new();
            together.alike().for_each(|(first, texts)| writer.draw_alike(first, texts, &mut drawn));
            assert_eq!(out, drawn, "together as one by one");
            String::from_utf8(out).unwrap()
        };
        let last = "a-1  | done\na-1  | bye\n";
        assert_eq!(written(true), format!("a-1  | step 1... ok\na-1  | step 2... \nb-1  | hello\na-1  | step 2... ok\n{last}"));
        assert_eq!(written(false), format!("a-1  | step 1... ok\nb-1  | hello\na-1  | step 2... ok\n{last}"));
    }
}
