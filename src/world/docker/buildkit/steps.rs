//! What people are told of a build: its steps by their names, what they write, and at the end what failed and where.
//!
//! Steps run beside each other. A line belongs to the step that was named last, so one that speaks after another is named again.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::super::builder;
use super::super::classic::LAST_LINES;
use super::super::dockerfile::{self, Dockerfile};
use super::super::progress::Reporter;
use super::super::registry::decode_base64;
use super::grpc::Refusal;
use super::wire::{AnyMessage, Log, SourceInfo, Status, Timestamp, Transfer, Vertex, Warning};
use super::{Order, fault};
use crate::plan::action::Fault;

/// A step that took less is not worth a line about it.
const WORTH_TELLING: Duration = Duration::from_secs(1);

/// All that is known of the steps of a build.
#[derive(Debug, Default)]
pub(super) struct Steps {
    /// Each by its digest.
    by_digest: HashMap<String, Step>,
    /// Whose name was said last.
    speaking: Option<String>,
    /// The one that failed first.
    failed: Option<String>,
}

#[derive(Debug, Default)]
struct Step {
    name: String,
    is_told: bool,
    is_over: bool,
    unfinished: Vec<u8>,
    last: VecDeque<String>,
}

impl Steps {
    /// Takes in news.
    pub(super) fn take(&mut self, status: Status, reporter: &mut Reporter<'_>) {
        status.vertexes.into_iter().for_each(|vertex| self.vertex(vertex, reporter));
        status.logs.into_iter().for_each(|log| self.log(&log, reporter));
        status.transfers.iter().for_each(|transfer| tell_transfer(transfer, reporter));
        status.warnings.iter().for_each(|warning| reporter.say(&warning_words(warning)));
    }

    fn vertex(&mut self, vertex: Vertex, reporter: &mut Reporter<'_>) {
        let Vertex { digest, name, cached, started, completed, error } = vertex;
        let name = String::from_utf8_lossy(&name).into_owned();
        let step = self.by_digest.entry(digest.clone()).or_default();
        step.name.clone_from(&name);
        // The builder's own: it reads the Dockerfile, and the context.
        let is_internal = name.starts_with("[internal]");
        if !step.is_told && started.is_some() && !is_internal {
            step.is_told = true;
            reporter.say(&if cached { format!("{name}: cached") } else { name.clone() });
            self.speaking = Some(digest.clone());
        }
        let step = self.by_digest.entry(digest.clone()).or_default();
        if let (Some(started), Some(completed), false) = (started, completed, step.is_over) {
            step.is_over = true;
            let rest = std::mem::take(&mut step.unfinished);
            if !rest.is_empty() {
                self.line(&digest, &rest, reporter);
            }
            let took = between(&started, &completed);
            if took >= WORTH_TELLING && !is_internal && !cached && error.is_empty() {
                reporter.say(&format!("{name}: done in {:.1} s", took.as_secs_f64()));
            }
        }
        // When one fails, those beside it are broken off, and say so.
        if !error.is_empty() && !error.ends_with(b"context canceled") {
            self.failed.get_or_insert(digest);
        }
    }

    fn log(&mut self, log: &Log, reporter: &Reporter<'_>) {
        let step = self.by_digest.entry(log.vertex.clone()).or_default();
        step.unfinished.extend_from_slice(&log.text);
        while let Some(end) =
            self.by_digest.get(&log.vertex).and_then(|step| step.unfinished.iter().position(|byte| *byte == b'\n'))
        {
            let line: Vec<u8> =
                self.by_digest.get_mut(&log.vertex).map(|step| step.unfinished.drain(..=end).collect()).unwrap_or_default();
            self.line(&log.vertex, &line, reporter);
        }
    }

    fn line(&mut self, digest: &str, line: &[u8], reporter: &Reporter<'_>) {
        let line = String::from_utf8_lossy(line);
        // Of what was written over itself, what one would see.
        let line = line.trim_end();
        let line = line.rsplit('\r').next().unwrap_or_default();
        if line.is_empty() {
            return;
        }
        let Some(step) = self.by_digest.get_mut(digest) else { return };
        if self.speaking.as_deref() != Some(digest) {
            reporter.say(&step.name);
            self.speaking = Some(digest.to_owned());
        }
        reporter.say(line);
        if step.last.len() == LAST_LINES {
            step.last.pop_front();
        }
        step.last.push_back(line.to_owned());
    }

    /// Why it failed: the builder's words, the line of the Dockerfile, and what the step wrote last.
    pub(super) fn fault(&self, refusal: &Refusal, order: &Order<'_>) -> Fault {
        let details = refusal.details();
        let digest = detail(&details, "errdefs.Vertex").map(|ErrorVertex { digest }| digest);
        let step = digest.or_else(|| self.failed.clone()).and_then(|digest| self.by_digest.get(&digest));
        let fault = fault(refusal);
        let last = step.into_iter().flat_map(|step| step.last.iter()).map(|line| format!("\n  {line}"));
        let file = builder::path_of(order.build, &order.deployment.stack.directory);
        // Engines before 23 do not tell it.
        let place = detail(&details, "errdefs.Source").and_then(|source| place_of(&source, &file)).or_else(|| {
            let dockerfile = order.dockerfile.as_ref()?;
            let of_step = || dockerfile.line_of_named(&step?.name);
            dockerfile.shown(&file, Dockerfile::line_of_complaint(&fault.message).or_else(of_step)?)
        });
        let place = place.map(|shown| format!("\n{shown}"));
        let message = std::iter::once(fault.message).chain(last).chain(place).collect();
        Fault { kind: fault.kind, message }
    }
}

/// Layers as a sum of megabytes, a context as what has been sent of it.
fn tell_transfer(transfer: &Transfer, reporter: &mut Reporter<'_>) {
    if transfer.total > 0 {
        reporter.bytes(&transfer.id, transfer.current, transfer.total);
    } else if transfer.current > 0 && transfer.id.starts_with("transferring") {
        reporter.sent(transfer.current);
    }
}

fn warning_words(warning: &Warning) -> String {
    let text = String::from_utf8_lossy(&warning.short);
    let line = warning.ranges.first().and_then(|range| range.start.as_ref()).map(|start| start.line);
    match (&warning.source, line) {
        (Some(SourceInfo { filename, .. }), Some(line)) => {
            format!("warning: {}:{line}: {text}", String::from_utf8_lossy(filename))
        }
        _ => format!("warning: {text}"),
    }
}

/// What an error says of its step and of the place in the Dockerfile (`util/grpcerrors` and `solver/errdefs` of moby/buildkit). It is
/// JSON within protobuf: their types end in `+json`.
#[derive(Debug, Deserialize)]
struct ErrorVertex {
    digest: String,
}

#[derive(Debug, Deserialize)]
struct ErrorSource {
    info: ErrorFile,
    ranges: Vec<ErrorRange>,
}

#[derive(Debug, Deserialize)]
struct ErrorFile {
    /// The text, in base64.
    data: String,
}

#[derive(Debug, Deserialize)]
struct ErrorRange {
    start: ErrorPosition,
}

#[derive(Debug, Deserialize)]
struct ErrorPosition {
    /// From 1.
    line: usize,
}

/// The detail of a type; none when there is none that is understood.
fn detail<T: DeserializeOwned>(details: &[AnyMessage], kind: &str) -> Option<T> {
    let mut of_kind = details.iter().filter(|detail| detail.type_url.contains(kind));
    of_kind.find_map(|detail| serde_json::from_slice(&detail.value).ok())
}

/// The line as people are shown it. Of the file's path it knows no more than a part.
fn place_of(ErrorSource { info, ranges }: &ErrorSource, file: &str) -> Option<String> {
    let text = decode_base64(&info.data)?;
    dockerfile::shown(&String::from_utf8_lossy(&text), file, ranges.first()?.start.line)
}

/// The builder's words without the way that they have come.
pub(super) fn plain(message: &str) -> &str {
    const WAYS: [&str; 5] = [
        "failed to solve: ",
        "failed to solve with frontend dockerfile.v0: ",
        "rpc error: code = Unknown desc = ",
        "failed to build LLB: ",
        "failed to create LLB definition: ",
    ];
    let mut rest = message;
    while let Some(shorter) = WAYS.iter().find_map(|way| rest.strip_prefix(way)) {
        rest = shorter;
    }
    rest
}

fn between(start: &Timestamp, end: &Timestamp) -> Duration {
    let nanos = |time: &Timestamp| i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos);
    Duration::from_nanos(u64::try_from(nanos(end) - nanos(start)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::progress::testing::told;
    use super::super::wire::Range;
    use super::*;

    fn vertex(name: &str, seconds: Option<(i64, i64)>) -> Vertex {
        let time = |seconds| Timestamp { seconds, nanos: 0 };
        Vertex {
            digest: format!("d-{name}"),
            name: name.into(),
            started: seconds.map(|(start, _)| time(start)),
            completed: seconds.filter(|(_, end)| *end > 0).map(|(_, end)| time(end)),
            ..Vertex::default()
        }
    }

    fn log(name: &str, text: &str) -> Log {
        Log { vertex: format!("d-{name}"), text: text.as_bytes().to_vec() }
    }

    #[test]
    fn steps_are_named_once_and_again_when_they_speak_after_another() {
        let said = told(|reporter| {
            let mut steps = Steps::default();
            let mut take = |vertexes: Vec<Vertex>, logs: Vec<Log>| {
                steps.take(Status { vertexes, logs, ..Status::default() }, reporter);
            };
            let cached = Vertex { cached: true, ..vertex("[1/3] FROM x", Some((5, 5))) };
            take(vec![vertex("[internal] load build context", Some((1, 9))), vertex("[2/3] RUN a", None), cached], vec![]);
            take(vec![vertex("[2/3] RUN a", Some((5, 0))), vertex("[other 1/1] RUN b", Some((5, 0)))], vec![]);
            take(
                vec![],
                vec![log("[2/3] RUN a", "one\ntw"), log("[other 1/1] RUN b", "10 %\r100 %\n\n"), log("[2/3] RUN a", "o\n")],
            );
            take(vec![], vec![log("[2/3] RUN a", "no end of line")]);
            take(vec![vertex("[2/3] RUN a", Some((5, 8)))], vec![]);
            take(vec![vertex("[2/3] RUN a", Some((5, 8))), vertex("[other 1/1] RUN b", Some((5, 5)))], vec![]);
        });
        let expected = "[1/3] FROM x: cached\n[2/3] RUN a\n[other 1/1] RUN b\n[2/3] RUN a\none\n[other 1/1] RUN b\n100 %\n\
            [2/3] RUN a\ntwo\nno end of line\n[2/3] RUN a: done in 3.0 s";
        assert_eq!(said.join("\n"), expected);
    }

    #[test]
    fn the_place_of_an_error_is_read_from_its_details() {
        let of = |kind: &str, value: serde_json::Value| AnyMessage {
            type_url: format!("github.com/moby/buildkit/errdefs.{kind}+json"),
            value: value.to_string().into_bytes(),
        };
        // `FROM x\n\nRUN false\n`
        let info = json!({"filename": "a/Dockerfile", "data": "RlJPTSB4CgpSVU4gZmFsc2UK", "language": "Dockerfile"});
        let ranges = json!([{"start": {"line": 3}, "end": {"line": 3, "character": 9}}]);
        let details = [of("Vertex", json!({"digest": "sha256:1"})), of("Source", json!({"info": info, "ranges": ranges}))];
        assert_eq!(detail::<ErrorVertex>(&details, "errdefs.Vertex").unwrap().digest, "sha256:1");
        let source = detail::<ErrorSource>(&details, "errdefs.Source").unwrap();
        let shown = place_of(&source, "web/Dockerfile").unwrap();
        assert_eq!(shown, " --> web/Dockerfile:3:1\n  |\n3 | RUN false\n  | ^^^^^^^^^");
        assert!(detail::<ErrorSource>(&details[..1], "errdefs.Source").is_none());
    }

    #[test]
    fn the_step_that_failed_is_the_first_and_none_that_was_broken_off_for_it() {
        let mut steps = Steps::default();
        let failed = |name: &str, error: &str| Vertex { error: error.into(), ..vertex(name, Some((1, 2))) };
        told(|reporter| {
            let vertexes = vec![
                failed("[1/2] RUN a", "process did not complete: context canceled"),
                failed("[2/2] RUN b", "exit code: 1"),
                failed("[3/2] RUN c", "exit code: 2"),
            ];
            steps.take(Status { vertexes, ..Status::default() }, reporter);
        });
        assert_eq!(steps.failed.as_deref(), Some("d-[2/2] RUN b"));
    }

    #[test]
    fn what_is_no_text_is_told_as_far_as_it_is_one() {
        use prost::Message;
        let said = told(|reporter| {
            let mut steps = Steps::default();
            let odd = Vertex { name: b"[2/3] RUN \xff".to_vec(), digest: "d".to_owned(), ..vertex("", Some((5, 0))) };
            let log = Log { vertex: "d".to_owned(), text: b"caf\xe9\n".to_vec() };
            let sent = Status { vertexes: vec![odd], logs: vec![log], ..Status::default() }.encode_to_vec();
            steps.take(Status::decode(sent.as_slice()).unwrap(), reporter);
        });
        assert_eq!(said, ["[2/3] RUN \u{fffd}", "caf\u{fffd}"]);
    }

    #[test]
    fn a_warning_has_its_place() {
        let said = told(|reporter| {
            let source = Some(SourceInfo { filename: "Dockerfile".into(), text: Vec::new() });
            let ranges = vec![Range { start: Some(super::super::wire::Position { line: 2 }) }];
            let warnings = vec![Warning { short: b"odd".to_vec(), source, ranges }];
            Steps::default().take(Status { warnings, ..Status::default() }, reporter);
        });
        assert_eq!(said, ["warning: Dockerfile:2: odd"]);
    }
}
