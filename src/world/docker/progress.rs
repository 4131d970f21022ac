//! What people are told while an image is pulled or built.

use std::time::Duration;

use bollard::models::ProgressDetail;
use crossbeam_channel::Sender;
use indexmap::IndexMap;
use tokio::time::Instant;

use crate::plan::action::Ticket;
use crate::supervisor::event::Event;

/// Between two reports of the same sort.
const PAUSE: Duration = Duration::from_millis(250);

/// Tells how an action goes on.
pub(super) struct Reporter<'a> {
    ticket: &'a Ticket,
    events: &'a Sender<Event>,
    layers: Layers,
    next: Instant,
    /// The most bytes that were there at once, when that was asked last.
    most: i64,
}

impl<'a> Reporter<'a> {
    pub(super) fn new(ticket: &'a Ticket, events: &'a Sender<Event>) -> Self {
        Self { ticket, events, layers: Layers::default(), next: Instant::now(), most: 0 }
    }

    /// Tells a line that a build has written.
    pub(super) fn say(&self, line: &str) {
        // Nobody listens when the supervisor ends, which then also ends this.
        let _ = self.events.send(Event::Wrote(self.ticket.clone(), line.to_owned()));
    }

    /// Tells how far it is.
    fn tell(&self, text: String) {
        // As above.
        let _ = self.events.send(Event::Progress(self.ticket.clone(), text));
    }

    /// Tells that an attempt has failed, and when the next one is.
    pub(super) fn retrying(&self, text: String) {
        // As above.
        let _ = self.events.send(Event::Retrying(self.ticket.clone(), text));
    }

    /// Whether more has come than ever before when this was asked. An attempt that only repeats another moves nothing.
    pub(super) fn has_moved(&mut self) -> bool {
        let (loaded, _) = self.layers.sum();
        let before = self.most;
        self.most = before.max(loaded);
        loaded > before
    }

    /// Takes in how much of a layer there is, of how much; tells the whole a few times a second.
    pub(super) fn bytes(&mut self, id: &str, current: i64, total: i64) {
        let detail = ProgressDetail { current: Some(current), total: Some(total) };
        self.layer(Some(id), "Downloading", Some(&detail));
    }

    /// Tells how much of a build context has been sent, a few times a second.
    pub(super) fn sent(&mut self, bytes: i64) {
        const WORTH_TELLING: i64 = 100_000;
        if bytes >= WORTH_TELLING && Instant::now() >= self.next {
            self.tell(format!("sent {}", megabytes(bytes)));
            self.next = Instant::now() + PAUSE;
        }
    }

    /// Takes in news of a layer; tells the whole a few times a second.
    pub(super) fn layer(&mut self, id: Option<&str>, status: &str, detail: Option<&ProgressDetail>) {
        self.layers.note(id, status, detail);
        if Instant::now() < self.next {
            return;
        }
        if let Some(text) = self.layers.text() {
            self.tell(text);
            self.next = Instant::now() + PAUSE;
        }
    }
}

/// The layers of an image that is being pulled.
#[derive(Debug, Default)]
struct Layers {
    /// Bytes that are there and bytes in all.
    loaded: IndexMap<String, (i64, i64)>,
    extracting: bool,
}

impl Layers {
    fn note(&mut self, id: Option<&str>, status: &str, detail: Option<&ProgressDetail>) {
        let Some(id) = id else { return };
        let entry = self.loaded.entry(id.to_owned()).or_default();
        match status {
            "Downloading" => {
                if let Some(ProgressDetail { current, total }) = detail {
                    *entry = (current.unwrap_or_default(), total.unwrap_or(entry.1));
                }
            }
            "Download complete" | "Pull complete" => entry.0 = entry.1,
            "Extracting" => {
                entry.0 = entry.1;
                self.extracting = true;
            }
            _ => {}
        }
    }

    /// Bytes that are there and bytes in all.
    fn sum(&self) -> (i64, i64) {
        self.loaded.values().fold((0, 0), |(loaded, all), layer| (loaded + layer.0, all + layer.1))
    }

    fn text(&self) -> Option<String> {
        let (loaded, all) = self.sum();
        match () {
            () if all == 0 => None,
            () if loaded == all && self.extracting => Some(format!("extracting {}", megabytes(all))),
            () => Some(format!("{} of {}", megabytes(loaded), megabytes(all))),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit after the point")]
fn megabytes(bytes: i64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use crate::plan::action::{Generation, Incarnation, ResourceId};
    use crate::plan::hash::ConfigHash;

    /// What is told by this.
    pub(in super::super) fn told(tell: impl FnOnce(&mut Reporter<'_>)) -> Vec<String> {
        let ticket = Ticket {
            serial: 0,
            resource: ResourceId::Images,
            incarnation: Incarnation::default(),
            hash: ConfigHash::from_label(""),
            generation: Generation::default(),
        };
        let (events, heard) = crossbeam_channel::unbounded();
        tell(&mut Reporter::new(&ticket, &events));
        let texts = heard.try_iter().map(|event| match event {
            Event::Wrote(_, text) | Event::Progress(_, text) => text,
            other => panic!("{other:?}"),
        });
        texts.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layers_of_a_pull_are_told_as_one_sum() {
        let mut layers = Layers::default();
        let detail = |current, total| Some(ProgressDetail { current: Some(current), total: Some(total) });
        let mut said = Vec::new();
        for (id, status, detail) in [
            (None, "Pulling from library/redis", None),
            (Some("a"), "Pulling fs layer", None),
            (Some("a"), "Downloading", detail(1_000_000, 4_000_000)),
            (Some("b"), "Downloading", detail(500_000, 1_000_000)),
            (Some("a"), "Download complete", None),
            (Some("b"), "Download complete", None),
            (Some("a"), "Extracting", detail(1, 4_000_000)),
        ] {
            layers.note(id, status, detail.as_ref());
            said.push(layers.text().unwrap_or_default());
        }
        assert_eq!(
            said,
            ["", "", "1.0 MB of 4.0 MB", "1.5 MB of 5.0 MB", "4.5 MB of 5.0 MB", "5.0 MB of 5.0 MB", "extracting 5.0 MB"]
        );
    }
}
