//! Images: pull and build.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::pin::pin;
use std::sync::PoisonError;
use std::time::Duration;

use bollard::models::{BuildInfo, CreateImageInfo};
use bollard::query_parameters::{
    BuildImageOptions, BuildImageOptionsBuilder, CreateImageOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptionsBuilder,
    TagImageOptionsBuilder,
};
use crossbeam_channel::Sender;
use futures_util::stream::StreamExt;
use tokio::time::{Instant, sleep};

use super::connect::Link;
use super::context::Context;
use super::progress::Reporter;
use super::{Docker, error, labels, registry};
use crate::base::name::ServiceName;
use crate::model::build::Build;
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

/// How many lines of a failed build its fault quotes.
const LAST_LINES: usize = 12;

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

    /// Builds a service's image with the engine's own builder.
    pub(super) async fn build(
        &self,
        service: &ServiceName,
        deployment: &Deployment,
        ticket: &Ticket,
        events: &Sender<Event>,
    ) -> Result<Outcome, Fault> {
        let link = self.link().await?;
        let container = deployment.service(service).and_then(|service| service.container());
        let build = container.and_then(|container| container.build.as_ref());
        let (Some(build), Some(image)) = (build, deployment.image_of(service)) else {
            return Err(Fault::permanent(format!("`{service}` has no `build`")));
        };
        let platform = container.and_then(|container| container.platform.clone()).or_else(|| build.platforms.first().cloned());
        let mut options = options(build, &image, platform.as_deref());
        let mut labels: HashMap<String, String> = build.labels.clone().into_iter().collect();
        labels.insert(labels::PROJECT.to_owned(), deployment.env.to_string());
        labels.insert(labels::SERVICE.to_owned(), service.to_string());
        labels.insert(labels::VERSION.to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        options.labels = Some(labels);
        let logins = self.0.config_dir.as_deref().map(registry::all_credentials).filter(|logins| !logins.is_empty());
        let api = with_queries(link.patient(), build);
        let mut reporter = Reporter::new(ticket, events);
        let mut begun = Begun { docker: self, image: image.clone(), made: Made::default(), is_done: false };
        if is_remote(&build.context) {
            let steps = api.build_image(options, logins, Some(bollard::body_full(Vec::new().into())));
            follow_build(steps, &mut reporter, &mut begun.made).await?;
        } else {
            let context = Context::of(build)?;
            options.dockerfile.clone_from(&context.dockerfile);
            let (archive, writing) = context.stream();
            let steps = api.build_image(options, logins, Some(bollard::body_try_stream(archive)));
            if let Err(fault) = follow_build(steps, &mut reporter, &mut begun.made).await {
                // What broke off the archive tells more than that it broke off.
                return Err(match writing.await {
                    Ok(Err(error)) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                        Fault::permanent(format!("send the build context: {error}"))
                    }
                    Ok(_) | Err(_) => fault,
                });
            }
        }
        begun.is_done = true;
        // What stays of it is no reason for a build that succeeded to fail.
        let _ = self.remove_broken_off(&link, &image).await;
        for tag in &build.tags {
            let (repository, tag) = split_tag(tag);
            let options = TagImageOptionsBuilder::default().repo(repository).tag(tag.unwrap_or("latest")).build();
            link.api.tag_image(&image, Some(options)).await?;
        }
        image_id(&link, &image).await
    }

    /// Removes what builds of an image have left that were broken off. Not before a later one has succeeded, which begins with it.
    async fn remove_broken_off(&self, link: &Link, image: &str) -> Result<(), Fault> {
        let left = self.0.broken_off.lock().unwrap_or_else(PoisonError::into_inner).remove(image).unwrap_or_default();
        if left.is_empty() {
            return Ok(());
        }
        let is_left = |id: &str| left.iter().any(|short| id.trim_start_matches("sha256:").starts_with(short.as_str()));
        let filters = HashMap::from([("dangling", vec!["true".to_owned()])]);
        let options = ListImagesOptionsBuilder::default().filters(&filters).build();
        for dangling in link.api.list_images(Some(options)).await? {
            // The last step may have come to its end after the build was broken off: nobody was told what it made.
            if is_left(&dangling.id) || is_left(&dangling.parent_id) {
                self.remove_image(&dangling.id).await?;
            }
        }
        Ok(())
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

fn is_remote(context: &str) -> bool {
    ["http://", "https://", "git://", "git@", "ssh://", "github.com/"].iter().any(|prefix| context.starts_with(prefix))
}

fn options(build: &Build, image: &str, platform: Option<&str>) -> BuildImageOptions {
    let args = build.args.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
    let mut options = BuildImageOptionsBuilder::default().t(image).rm(true).forcerm(true).nocache(build.no_cache).build();
    options.dockerfile = build.dockerfile.clone().unwrap_or_else(|| "Dockerfile".to_owned());
    options.buildargs = Some(args.collect());
    options.networkmode.clone_from(&build.network);
    options.target = build.target.clone().unwrap_or_default();
    platform.unwrap_or_default().clone_into(&mut options.platform);
    options.pull = build.pull.then(|| "1".to_owned());
    options.remote = is_remote(&build.context).then(|| build.context.clone());
    options.cachefrom = (!build.cache_from.is_empty()).then(|| build.cache_from.clone());
    options
}

/// Adds what bollard's options cannot hold: several hosts, and sizes beyond 31 bits.
fn with_queries(api: bollard::Docker, build: &Build) -> bollard::Docker {
    let hosts = build.extra_hosts.iter().map(|host| format!("&extrahosts={}", host.replacen('=', ":", 1)));
    let more: String = hosts.chain(build.shm_size.map(|size| format!("&shmsize={size}"))).collect();
    if more.is_empty() {
        return api;
    }
    api.with_request_modifier(move |mut request| {
        if let Ok(uri) = format!("{}{more}", request.uri()).parse() {
            *request.uri_mut() = uri;
        }
        request
    })
}

/// A build under way. One that is given up, or fails, leaves images without a name: each step makes one.
struct Begun<'a> {
    docker: &'a Docker,
    /// The name of what is built.
    image: String,
    /// What its steps have made.
    made: Made,
    is_done: bool,
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if !self.is_done && !self.made.layers.is_empty() {
            let mut broken_off = self.docker.0.broken_off.lock().unwrap_or_else(PoisonError::into_inner);
            broken_off.entry(std::mem::take(&mut self.image)).or_default().append(&mut self.made.layers);
        }
    }
}

/// Which images a build itself has made, by what its builder says. What a stage begins with, and what was in the cache, is
/// somebody else's, or was there before.
#[derive(Debug, Default)]
struct Made {
    /// The first digits of their ids.
    layers: BTreeSet<String>,
    /// Those of images that were there before.
    found: BTreeSet<String>,
    /// The step has only found its image.
    is_found: bool,
    /// The container of the step that runs, which may say anything itself.
    running: Option<String>,
}

impl Made {
    /// Takes in a line of the builder (moby `builder/dockerfile`).
    fn hear(&mut self, line: &str) {
        if let Some(container) = &self.running {
            // `Removing intermediate container 0123456789ab`, of newer engines ` ---> Removed intermediate container 0123456789ab`.
            if line.trim_end().ends_with(&format!("intermediate container {container}")) {
                self.running = None;
            }
            return;
        }
        let said = line.trim();
        if let Some((_, instruction)) = said.strip_prefix("Step ").and_then(|step| step.split_once(" : ")) {
            self.is_found = instruction.split_whitespace().next().is_some_and(|word| word.eq_ignore_ascii_case("FROM"));
        } else if let Some(said) = said.strip_prefix("---> ").map(str::trim) {
            if said == "Using cache" {
                self.is_found = true;
            } else if let Some(container) = said.strip_prefix("Running in ") {
                self.running = Some(container.to_owned());
            } else if said.len() >= 12 && said.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                if self.is_found {
                    self.found.insert(said.to_owned());
                } else if !self.found.contains(said) {
                    self.layers.insert(said.to_owned());
                }
            }
        }
    }
}

async fn follow_build(
    steps: impl futures_util::Stream<Item = Result<BuildInfo, bollard::errors::Error>>,
    reporter: &mut Reporter<'_>,
    made: &mut Made,
) -> Result<(), Fault> {
    let mut steps = pin!(steps);
    let mut output = BuildOutput::default();
    while let Some(step) = steps.next().await {
        let step = match step {
            Ok(step) => step,
            Err(error) => {
                output.take("\n", reporter, made);
                return Err(output.fault(error.into()));
            }
        };
        if let Some(text) = &step.stream {
            output.take(text, reporter, made);
        }
        if let Some(status) = &step.status {
            reporter.layer(step.id.as_deref(), status, step.progress_detail.as_ref());
        }
    }
    Ok(())
}

/// The lines of a build.
#[derive(Debug, Default)]
struct BuildOutput {
    unfinished: String,
    last: VecDeque<String>,
}

impl BuildOutput {
    fn take(&mut self, text: &str, reporter: &Reporter<'_>, made: &mut Made) {
        self.unfinished.push_str(text);
        while let Some(end) = self.unfinished.find('\n') {
            let line: String = self.unfinished.drain(..=end).collect();
            let line = line.trim_end();
            if line.is_empty() {
                continue;
            }
            made.hear(line);
            reporter.say(line);
            if self.last.len() == LAST_LINES {
                self.last.pop_front();
            }
            self.last.push_back(line.to_owned());
        }
    }

    /// The fault with what the build wrote last.
    fn fault(&self, fault: Fault) -> Fault {
        let said = self.last.iter().map(|line| format!("\n  {line}"));
        Fault { kind: fault.kind, message: std::iter::once(fault.message).chain(said).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_build_has_made_is_told_from_what_it_found_and_from_what_its_steps_say() {
        let mut made = Made::default();
        let lines = "Step 1/7 : FROM base AS first\n ---> ba5eba5eba5e\nStep 2/7 : COPY a /a\n ---> Using cache\n ---> cac4ecac4eca\n\
            Step 3/7 : ARG a\n ---> cac4ecac4eca\nStep 4/7 : COPY b /b\n ---> 000000000001\n\
            Step 5/7 : RUN c\n ---> Running in c0c0c0c0c0c0\nStep 9/9 : RUN d\n ---> 5a1d5a1d5a1d\n\
            no end of lineRemoving intermediate container c0c0c0c0c0c0\n ---> 000000000002\n\
            Step 6/7 : CMD e\n ---> Running in c1c1c1c1c1c1\n ---> Removed intermediate container c1c1c1c1c1c1\n ---> 000000000003\n\
            Step 7/7 : from other\n ---> 07e407e407e4\nSuccessfully built 07e407e407e4\n";
        lines.lines().for_each(|line| made.hear(line));
        assert_eq!(Vec::from_iter(made.layers), ["000000000001", "000000000002", "000000000003"]);
    }

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
