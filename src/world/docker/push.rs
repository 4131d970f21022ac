//! Pushing images.

use std::pin::pin;

use bollard::query_parameters::PushImageOptionsBuilder;
use crossbeam_channel::Sender;
use futures_util::stream::StreamExt;

use super::Docker;
use super::image::split_tag;
use super::progress::Reporter;
use crate::plan::action::{Fault, Ticket};
use crate::supervisor::event::Event;

impl Docker {
    /// Pushes an image to the registry that its reference names.
    pub async fn push(&self, reference: &str, ticket: &Ticket, events: &Sender<Event>) -> Result<(), Fault> {
        let link = self.link().await?;
        let credentials = self.credentials(reference).await;
        let mut reporter = Reporter::new(ticket, events);
        let (repository, tag) = split_tag(reference);
        // Without a tag the engine would push all of them.
        let options = PushImageOptionsBuilder::default().tag(tag.unwrap_or("latest")).build();
        let mut steps = pin!(link.patient().push_image(repository, Some(options), credentials));
        while let Some(step) = steps.next().await {
            let step = step?;
            reporter.layer(None, step.status.as_deref().unwrap_or_default(), step.progress_detail.as_ref());
        }
        Ok(())
    }
}
