//! Builds with the engine's classic builder: one request with the whole context, and lines as they come.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::pin::pin;
use std::sync::PoisonError;

use bollard::models::BuildInfo;
use bollard::query_parameters::{BuildImageOptions, BuildImageOptionsBuilder, ListImagesOptionsBuilder, TagImageOptionsBuilder};
use futures_util::stream::StreamExt;
use indexmap::IndexMap;
use serde_json::json;

use super::builder;
use super::buildkit::Order;
use super::connect::Link;
use super::context::Context;
use super::dockerfile::Dockerfile;
use super::image::split_tag;
use super::progress::Reporter;
use super::{Docker, registry};
use crate::model::build::Build;
use crate::model::service::Ulimit;
use crate::plan::action::Fault;

/// How many lines of a failed build its fault quotes.
pub(super) const LAST_LINES: usize = 12;

impl Docker {
    /// Builds an image, and gives it its names.
    pub(super) async fn build_classic(&self, link: &Link, order: &Order<'_>, reporter: &mut Reporter<'_>) -> Result<(), Fault> {
        let Order { build, names, .. } = order;
        let [image, tags @ ..] = names.as_slice() else { return Ok(()) };
        let mut options = options(build, image, order);
        let logins = self.0.config_dir.as_deref().map(registry::all_credentials).filter(|logins| !logins.is_empty());
        let api = with_queries(link.patient(), build);
        let mut begun = Begun { docker: self, image: image.clone(), made: Made::default(), is_done: false };
        if builder::is_remote(&build.context) {
            let steps = api.build_image(options, logins, Some(bollard::body_full(Vec::new().into())));
            follow_build(steps, reporter, &mut begun.made, order).await?;
        } else {
            let context = Context::of(build)?;
            options.dockerfile.clone_from(&context.dockerfile);
            let (archive, writing) = context.stream();
            let steps = api.build_image(options, logins, Some(bollard::body_try_stream(archive)));
            if let Err(fault) = follow_build(steps, reporter, &mut begun.made, order).await {
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
        let _ = self.remove_broken_off(link, image).await;
        for tag in tags {
            let (repository, tag) = split_tag(tag);
            let options = TagImageOptionsBuilder::default().repo(repository).tag(tag.unwrap_or("latest")).build();
            link.api.tag_image(image, Some(options)).await?;
        }
        Ok(())
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
}

fn options(build: &Build, image: &str, order: &Order<'_>) -> BuildImageOptions {
    let args = build.args.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
    let mut options = BuildImageOptionsBuilder::default().t(image).rm(true).forcerm(true).nocache(build.no_cache).build();
    options.dockerfile = build.dockerfile.clone().unwrap_or_else(|| "Dockerfile".to_owned());
    options.buildargs = Some(args.collect());
    options.networkmode.clone_from(&build.network);
    options.target = build.target.clone().unwrap_or_default();
    options.platform = order.platforms.first().cloned().unwrap_or_default();
    options.labels = Some(order.labels.clone().into_iter().collect());
    options.pull = build.pull.then(|| "1".to_owned());
    options.remote = builder::is_remote(&build.context).then(|| build.context.clone());
    options.cachefrom = (!build.cache_from.is_empty()).then(|| build.cache_from.clone());
    options
}

/// Adds what bollard's options cannot hold: several hosts, limits, and sizes beyond 31 bits.
fn with_queries(api: bollard::Docker, build: &Build) -> bollard::Docker {
    let hosts = build.extra_hosts.iter().map(|host| format!("&extrahosts={}", host.replacen('=', ":", 1)));
    let size = build.shm_size.map(|size| format!("&shmsize={size}"));
    let limits = (!build.ulimits.is_empty()).then(|| format!("&ulimits={}", encoded(&limits(&build.ulimits))));
    let memory = build.memory.map(|bytes| format!("&memory={bytes}"));
    let more: String = hosts.chain(size).chain(limits).chain(memory).collect();
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

/// Limits as the engine's `github.com/docker/go-units` reads them.
fn limits(limits: &IndexMap<String, Ulimit>) -> String {
    let entry = |(name, limit): (&String, &Ulimit)| json!({"Name": name, "Soft": limit.soft, "Hard": limit.hard});
    limits.iter().map(entry).collect::<serde_json::Value>().to_string()
}

/// A text as a part of a query.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
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
    order: &Order<'_>,
) -> Result<(), Fault> {
    let mut steps = pin!(steps);
    let mut output = BuildOutput::default();
    while let Some(step) = steps.next().await {
        let step = match step {
            Ok(step) => step,
            Err(error) => {
                output.take("\n", reporter, made);
                return Err(output.fault(error.into(), order));
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
    /// The step that was announced last.
    step: Option<String>,
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
            // What a step itself writes announces none.
            if made.running.is_none() && line.starts_with("Step ") {
                self.step = Some(line.to_owned());
                self.last.clear();
            }
            let ran = made.running.is_some();
            made.hear(line);
            reporter.say(line);
            // Of the builder's own lines nobody learns why a step failed.
            if !ran || made.running.is_none() {
                continue;
            }
            if self.last.len() == LAST_LINES {
                self.last.pop_front();
            }
            self.last.push_back(line.to_owned());
        }
    }

    /// The fault with what the step wrote last, and where it stands.
    fn fault(&self, fault: Fault, order: &Order<'_>) -> Fault {
        let said = self.last.iter().map(|line| format!("\n  {line}"));
        let line = order.dockerfile.as_ref().and_then(|dockerfile| {
            let of_step = || dockerfile.line_of_announced(self.step.as_deref()?);
            let line = Dockerfile::line_of_complaint(&fault.message).or_else(of_step)?;
            dockerfile.shown(&builder::path_of(order.build, &order.deployment.stack.directory), line)
        });
        let place = line.map(|shown| format!("\n{shown}"));
        Fault { kind: fault.kind, message: std::iter::once(fault.message).chain(said).chain(place).collect() }
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
}
