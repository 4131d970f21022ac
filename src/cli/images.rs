//! `images`: what the containers of an environment are made of.

use std::collections::BTreeMap;

use serde_json::json;

use super::CliError;
use super::context::Context;
use super::targets::of_engine;
use crate::base::duration;
use crate::base::exit::Exit;
use crate::base::name::ServiceName;
use crate::view::table::{Table, shortened};
use crate::view::{json, measures};
use crate::world::clock;
use crate::world::docker::{ImageFacts, Listed};

/// Digits of an image's id that are shown.
const SHORT_ID: usize = 12;

/// Flags of `images`.
#[derive(Debug, clap::Args)]
#[command(after_help = "One line for each container, stopped ones too; processes have no images.")]
pub struct Args {
    /// Services [default: all]
    pub services: Vec<ServiceName>,
    /// `table` or `json`
    #[arg(long, value_name = "FORMAT", value_parser = ["table", "json"], default_value = "table")]
    pub format: String,
    /// Ids only
    #[arg(short, long)]
    pub quiet: bool,
}

/// Lists images.
pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let (env, deployment) = context.environment()?;
    let containers = context.containers(&env, deployment.as_ref(), &args.services)?;
    let mut known: BTreeMap<&str, ImageFacts> = BTreeMap::new();
    for container in &containers {
        if !known.contains_key(container.image_id.as_str()) {
            let facts = context.engine()?.with(async |docker| docker.image_facts(&container.image_id).await);
            known.insert(&container.image_id, facts.map_err(of_engine)?.unwrap_or_default());
        }
    }
    if args.quiet {
        let mut ids: Vec<&str> = known.keys().map(|id| id.trim_start_matches("sha256:")).collect();
        ids.sort_unstable();
        ids.iter().try_for_each(|id| context.printer.line(id))?;
        return Ok(Exit::Success);
    }
    if args.format == "json" {
        let rows: Vec<_> = containers.iter().map(|container| object(container, &known[container.image_id.as_str()])).collect();
        context.printer.data(json::line(&rows))?;
        return Ok(Exit::Success);
    }
    let mut table = Table::new(["CONTAINER", "REPOSITORY", "TAG", "PLATFORM", "IMAGE ID", "SIZE", "CREATED"]);
    for container in &containers {
        let facts = &known[container.image_id.as_str()];
        let (repository, tag) = name_of(container, facts);
        let id = shortened(container.image_id.trim_start_matches("sha256:"), SHORT_ID + 1);
        let created = facts.created.as_deref().map(ago).unwrap_or_default();
        table.row([
            container.name.clone(),
            repository,
            tag,
            facts.platform.clone(),
            id.chars().take(SHORT_ID).collect(),
            measures::decimal(facts.size),
            created,
        ]);
    }
    context.printer.data(table.render())?;
    Ok(Exit::Success)
}

/// In the shape of Compose's, with ours at the end.
fn object(container: &Listed, facts: &ImageFacts) -> serde_json::Value {
    let (repository, tag) = name_of(container, facts);
    json!({
        "ID": container.image_id,
        "ContainerName": container.name,
        "Repository": repository,
        "Tag": tag,
        "Platform": facts.platform,
        "Size": facts.size,
        "Created": facts.created,
        "Service": container.unit.as_ref().map(|unit| unit.service.to_string()),
    })
}

/// Repository and tag of the image that a container was made of, by the reference that it was given, else by a tag that the
/// image has.
fn name_of(container: &Listed, facts: &ImageFacts) -> (String, String) {
    let given = Some(container.image.as_str()).filter(|image| !image.starts_with("sha256:"));
    let tagged = facts.tags.iter().map(String::as_str);
    let reference = given.or_else(|| tagged.into_iter().next());
    let Some(reference) = reference else { return ("<none>".to_owned(), "<none>".to_owned()) };
    let reference = reference.split_once('@').map_or(reference, |(name, _)| name);
    // The colon of a registry's port is not a tag's.
    match reference.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) {
        Some((repository, tag)) => (repository.to_owned(), tag.to_owned()),
        None => (reference.to_owned(), "latest".to_owned()),
    }
}

fn ago(created: &str) -> String {
    let Some(created) = humantime::parse_rfc3339(created).ok() else { return String::new() };
    format!("{} ago", duration::human(clock::wall().duration_since(created).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_named_as_it_was_asked_for_or_else_by_a_tag() {
        for (image, tags, expected) in [
            ("redis:7", &[][..], ("redis", "7")),
            ("localhost:5000/x", &[], ("localhost:5000/x", "latest")),
            ("x@sha256:00", &[], ("x", "latest")),
            ("sha256:00", &["y:2"], ("y", "2")),
            ("sha256:00", &[], ("<none>", "<none>")),
        ] {
            let container = Listed { image: image.to_owned(), ..Listed::default() };
            let facts = ImageFacts { tags: tags.iter().map(|&tag| tag.to_owned()).collect(), ..ImageFacts::default() };
            let (repository, tag) = name_of(&container, &facts);
            assert_eq!((repository.as_str(), tag.as_str()), expected, "{image}");
        }
    }
}
