//! Images: pull, build with whichever builder, remove.

use std::pin::pin;
use std::time::Duration;

use bollard::models::CreateImageInfo;
use bollard::query_parameters::{CreateImageOptionsBuilder, RemoveImageOptionsBuilder};
use crossbeam_channel::Sender;
use futures_util::stream::StreamExt;
use tokio::time::{Instant, sleep};

use super::builder::{self, Builder};
use super::buildkit::{self, Order};
use super::connect::Link;
use super::dockerfile::Dockerfile;
use super::progress::Reporter;
use super::{Docker, error, registry};
use crate::base::name::ServiceName;
use crate::plan::action::{Fault, FaultKind, Outcome, Ticket};
use crate::plan::desired::Deployment;
use crate::supervisor::event::Event;

/// How long the first pause between two tries of a pull is; each further one is twice as long.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a pull is tried that brings nothing. What has brought something is given as long once more.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long a registry is waited for that there is another way than.
const FIRST_WORD: Duration = Duration::from_secs(10);

/// How hard a pull is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// Once, and a registry that says nothing at all is soon given up.
    Once,
    /// Until it is clear that it will not come.
    Retries,
}

impl Docker {
    /// Pulls an image; a connection that breaks is tried again, a registry that says no is believed.
    pub(super) async fn pull(
        &self,
        reference: &str,
        platform: Option<&str>,
        patience: Patience,
        ticket: &Ticket,
        events: &Sender<Event>,
    ) -> Result<Outcome, Fault> {
        let link = self.link().await?;
        let credentials = self.credentials(reference).await;
        let mut reporter = Reporter::new(ticket, events);
        let (mut pause, mut begun) = (PAUSE, Instant::now());
        loop {
            let limit = match patience {
                Patience::Once => FIRST_WORD,
                Patience::Retries => PATIENCE.saturating_sub(begun.elapsed()).max(PAUSE),
            };
            let fault = match pull_once(&link, reference, platform, limit, credentials.clone(), &mut reporter).await {
                Ok(()) => break,
                Err(fault) => fault,
            };
            if reporter.has_moved() {
                (pause, begun) = (PAUSE, Instant::now());
            }
            if fault.kind != FaultKind::Temporary || patience == Patience::Once || begun.elapsed() + pause >= PATIENCE {
                return Err(fault);
            }
            reporter.retrying(format!("next try in {} s: {fault}", pause.as_secs()));
            sleep(pause).await;
            pause *= 2;
        }
        image_id(&link, reference).await
    }

    pub(super) async fn credentials(&self, reference: &str) -> Option<bollard::auth::DockerCredentials> {
        let (config_dir, reference) = (self.0.config_dir.clone()?, reference.to_owned());
        tokio::task::spawn_blocking(move || registry::credentials(&config_dir, &reference)).await.ok()?
    }

    /// The same by the host of a registry.
    pub(super) async fn credentials_for(&self, registry: &str) -> Option<bollard::auth::DockerCredentials> {
        let (config_dir, registry) = (self.0.config_dir.clone()?, registry.to_owned());
        tokio::task::spawn_blocking(move || registry::credentials_at(&config_dir, &registry)).await.ok()?
    }

    /// Builds a service's image, after those of the services that it takes as contexts.
    pub(super) async fn build(
        &self,
        service: &ServiceName,
        deployment: &Deployment,
        ticket: &Ticket,
        events: &Sender<Event>,
    ) -> Result<Outcome, Fault> {
        let link = self.link().await?;
        let mut reporter = Reporter::new(ticket, events);
        let begun = Instant::now();
        for part in builder::in_order(service, deployment) {
            let container = deployment.service(&part).and_then(|part| part.container());
            let build = container.and_then(|container| container.build.as_ref());
            let (Some(build), Some(image)) = (build, deployment.image_of(&part)) else {
                return Err(Fault::permanent(format!("`{part}` has no `build`")));
            };
            let shared = (part != *service).then_some(begun);
            let work = self.build_one(&link, &part, deployment, &mut reporter);
            self.0.turns_of_builds.take(&image, build, shared, work).await?;
        }
        image_id(&link, &deployment.image_of(service).unwrap_or_default()).await
    }

    async fn build_one(
        &self,
        link: &Link,
        service: &ServiceName,
        deployment: &Deployment,
        reporter: &mut Reporter<'_>,
    ) -> Result<(), Fault> {
        let container = deployment.service(service).and_then(|service| service.container());
        let build = container.and_then(|container| container.build.as_ref().map(|build| (container, build)));
        let (Some((container, build)), Some(image)) = (build, deployment.image_of(service)) else {
            return Err(Fault::permanent(format!("`{service}` has no `build`")));
        };
        let platforms = builder::platforms(container, build, &link.platform().await?);
        let labels = builder::labels_of_build(service, build, deployment);
        let names = std::iter::once(image).chain(build.tags.iter().cloned()).collect();
        // That it cannot be read is told by whoever builds.
        let dockerfile = Dockerfile::of(build).unwrap_or_default();
        let order = Order { build, dockerfile, names, platforms, labels, deployment };
        match self.builder(link, &order).await? {
            Builder::BuildKit => buildkit::build(self, &order, reporter).await,
            Builder::Classic => self.build_classic(link, &order, reporter).await,
        }
    }

    async fn builder(&self, link: &Link, order: &Order<'_>) -> Result<Builder, Fault> {
        let Order { build, dockerfile, platforms, deployment, .. } = order;
        let means = self.means(link, build, platforms).await?;
        let choice = deployment.caller.environment.get(builder::CHOICE).map(String::as_str);
        Ok(builder::choose(build, platforms, dockerfile.as_ref(), choice, &means)?)
    }

    /// Removes an image by reference or id. One that containers still use is kept.
    pub async fn remove_image(&self, reference: &str) -> Result<Outcome, Fault> {
        let link = self.link().await?;
        let options = RemoveImageOptionsBuilder::default().build();
        match link.api.remove_image(reference, Some(options), None).await {
            Ok(_) => Ok(Outcome::Done),
            Err(error) if error::is_not_found(&error) => Ok(Outcome::Done),
            Err(error) if error::status(&error) == Some(409) => Ok(Outcome::Kept(Fault::from(error).message)),
            Err(error) => Err(error.into()),
        }
    }
}

async fn image_id(link: &Link, reference: &str) -> Result<Outcome, Fault> {
    let image = link.api.inspect_image(reference).await?;
    Ok(Outcome::Image { id: image.id.unwrap_or_default() })
}

async fn pull_once(
    link: &Link,
    reference: &str,
    platform: Option<&str>,
    first_word: Duration,
    credentials: Option<bollard::auth::DockerCredentials>,
    reporter: &mut Reporter<'_>,
) -> Result<(), Fault> {
    // Without a tag the engine would pull all of them.
    let (_, tag) = split_tag(reference);
    let reference = if tag.is_some() { reference.to_owned() } else { format!("{reference}:latest") };
    let options = CreateImageOptionsBuilder::default().from_image(&reference).platform(platform.unwrap_or_default()).build();
    let mut steps = pin!(link.patient().create_image(Some(options), None, credentials).peekable());
    if tokio::time::timeout(first_word, steps.as_mut().peek()).await.is_err() {
        return Err(Fault::temporary(format!("its registry has not answered for {} s", first_word.as_secs())));
    }
    while let Some(step) = steps.next().await {
        let CreateImageInfo { id, status, progress_detail, .. } = step?;
        reporter.layer(id.as_deref(), status.as_deref().unwrap_or_default(), progress_detail.as_ref());
    }
    Ok(())
}

/// Repository and tag or digest of a reference. The colon of a registry's port is not a tag's.
pub(super) fn split_tag(reference: &str) -> (&str, Option<&str>) {
    if let Some((repository, digest)) = reference.split_once('@') {
        return (repository, Some(digest));
    }
    let name_start = reference.rfind('/').map_or(0, |slash| slash + 1);
    match reference[name_start..].find(':') {
        Some(colon) => (&reference[..name_start + colon], Some(&reference[name_start + colon + 1..])),
        None => (reference, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_colon_of_a_port_is_no_tag() {
        for (reference, expected) in [
            ("redis", ("redis", None)),
            ("redis:7", ("redis", Some("7"))),
            ("localhost:5000/x", ("localhost:5000/x", None)),
            ("localhost:5000/x:1", ("localhost:5000/x", Some("1"))),
            ("x@sha256:00", ("x", Some("sha256:00"))),
        ] {
            assert_eq!(split_tag(reference), expected, "{reference}");
        }
    }
}
