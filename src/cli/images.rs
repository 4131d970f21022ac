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
#[command(
    after_help = "One line for each container, stopped ones too, and one more for each image that it mounts; processes have no images."
)]
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

/// An image of a container: what it was made of, or what it mounts.
struct Use<'a> {
    container: &'a Listed,
    image_id: &'a str,
    /// Where it is mounted.
    path: Option<&'a str>,
}

/// Lists images.
pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let (env, deployment) = context.environment()?;
    let containers = context.containers(&env, deployment.as_ref(), &args.services)?;
    let uses: Vec<Use<'_>> = containers.iter().flat_map(uses).collect();
    let mut known: BTreeMap<&str, ImageFacts> = BTreeMap::new();
    for Use { image_id, .. } in &uses {
        if !known.contains_key(image_id) {
            let facts = context.engine()?.with(async |docker| docker.image_facts(image_id).await);
            known.insert(image_id, facts.map_err(of_engine)?.unwrap_or_default());
        }
    }
    if args.quiet {
        let mut ids: Vec<&str> = known.keys().map(|id| id.trim_start_matches("sha256:")).collect();
        ids.sort_unstable();
        ids.iter().try_for_each(|id| context.printer.line(id))?;
        return Ok(Exit::Success);
    }
    if args.format == "json" {
        let rows: Vec<_> = uses.iter().map(|it| object(it, &known[it.image_id])).collect();
        context.printer.data(json::line(&rows))?;
        return Ok(Exit::Success);
    }
    let mut table = Table::new(["CONTAINER", "REPOSITORY", "TAG", "PLATFORM", "IMAGE ID", "SIZE", "CREATED"]);
    for it in &uses {
        let facts = &known[it.image_id];
        let (repository, tag) = name_of(it, facts);
        let id = shortened(it.image_id.trim_start_matches("sha256:"), SHORT_ID + 1);
        let created = facts.created.as_deref().map(ago).unwrap_or_default();
        table.row([
            it.container.name.clone(),
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

/// The images of a container, its own first.
fn uses(container: &Listed) -> Vec<Use<'_>> {
    let own = Use { container, image_id: &container.image_id, path: None };
    let mounted = container.mounted_images.iter();
    let mounted = mounted.map(|(path, image_id)| Use { container, image_id, path: Some(path) });
    std::iter::once(own).chain(mounted).collect()
}

/// In the shape of Compose's, with ours at the end.
fn object(it: &Use<'_>, facts: &ImageFacts) -> serde_json::Value {
    let (repository, tag) = name_of(it, facts);
    json!({
        "ID": it.image_id,
        "ContainerName": it.container.name,
        "Repository": repository,
        "Tag": tag,
        "Platform": facts.platform,
        "Size": facts.size,
        "Created": facts.created,
        "Service": it.container.unit.as_ref().map(|unit| unit.service.to_string()),
        "Mount": it.path,
    })
}

/// Repository and tag of an image: of what a container was made of by the reference that it was given, else by a tag that the image
/// has.
fn name_of(it: &Use<'_>, facts: &ImageFacts) -> (String, String) {
    let given = Some(it.container.image.as_str()).filter(|image| it.path.is_none() && !image.starts_with("sha256:"));
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
    fn what_a_container_mounts_is_named_by_a_tag_and_told_after_its_own() {
        let mounted_images = [("/data".to_owned(), "sha256:11".to_owned())].into();
        let container = Listed { image: "x:1".to_owned(), image_id: "sha256:00".to_owned(), mounted_images, ..Listed::default() };
        let facts = ImageFacts { tags: vec!["data:2".to_owned()], ..ImageFacts::default() };
        let all = uses(&container);
        assert_eq!(
            all.iter().map(|it| (it.image_id, it.path)).collect::<Vec<_>>(),
            [("sha256:00", None), ("sha256:11", Some("/data"))]
        );
        assert_eq!(name_of(&all[1], &facts), ("data".to_owned(), "2".to_owned()));
    }

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
            let (repository, tag) = name_of(&uses(&container)[0], &facts);
            assert_eq!((repository.as_str(), tag.as_str()), expected, "{image}");
        }
    }
}
