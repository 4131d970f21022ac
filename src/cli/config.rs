//! `config`: the stack as it was understood, or one aspect of it.
//!
//! What is printed is a stack file again: a `$` is written `$$`, so that it comes to the same when it is read.

use std::borrow::Cow;
use std::fs;
use std::path::PathBuf;

use indexmap::IndexMap;
use serde_json::json;

use super::CliError;
use super::context::{Context, Ready};
use crate::base::exit::Exit;
use crate::base::name::ServiceName;
use crate::load::interpolate::{self, Mention};
use crate::load::{self, Omit};
use crate::model::process::{REPLICA_MARK, fill_replica};
use crate::plan::desired::Deployment;
use crate::plan::hash::ConfigHash;
use crate::supervisor;
use crate::view::table::Table;
use crate::yaml::emit;
use crate::yaml::node::{Mapping, Node, Value};
use crate::yaml::path::Pattern;

/// Flags of `config`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  baistack config              the whole, canonical\n  baistack config -q           check only\n  \
                        baistack config --hash '*'   what decides whether `up` makes a service anew\n\n\
                        Shows all errors of the files at once; exit 3 when there are any."
)]
pub struct Args {
    /// Services, with what they depend on [default: all]
    pub services: Vec<ServiceName>,
    /// `yaml` or `json`
    #[arg(long, value_name = "FORMAT", value_parser = ["yaml", "json"], default_value = "yaml")]
    pub format: String,
    /// Check only
    #[arg(short, long)]
    pub quiet: bool,
    /// Write to a file
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// One aspect
    #[command(flatten)]
    pub aspect: Aspect,
    /// Write images with their digests, as the registry has them
    #[arg(long)]
    pub resolve_image_digests: bool,
    /// Print nothing but the images of the services, with their digests: a file to be laid over the others
    #[arg(long)]
    pub lock_image_digests: bool,
    /// Steps that are left out
    #[command(flatten)]
    pub without: Without,
}

/// What to print instead of the whole; of several the first.
#[derive(Debug, Default, clap::Args)]
pub struct Aspect {
    /// Names of services
    #[arg(long = "services", id = "services only")]
    pub services: bool,
    /// Names of volumes
    #[arg(long)]
    pub volumes: bool,
    /// Names of networks
    #[arg(long)]
    pub networks: bool,
    /// Names of models
    #[arg(long)]
    pub models: bool,
    /// Hashes of services, `*` for all
    #[arg(long, value_name = "SERVICES")]
    pub hash: Option<String>,
    /// Names of profiles
    #[arg(long)]
    pub profiles: bool,
    /// Images
    #[arg(long)]
    pub images: bool,
    /// Variables that the files mention, with their defaults
    #[arg(long)]
    pub variables: bool,
    /// Variables that interpolation sees
    #[arg(long)]
    pub environment: bool,
}

/// Steps of the load that are left out.
#[derive(Debug, Default, clap::Args)]
pub struct Without {
    /// Leave variables as they are written; shows services of all profiles
    #[arg(long)]
    pub no_interpolate: bool,
    /// Add nothing: neither names in the engine nor the default network
    #[arg(long)]
    pub no_normalize: bool,
    /// Leave relative paths relative
    #[arg(long)]
    pub no_path_resolution: bool,
    /// Do not read `env_file` and `label_file`
    #[arg(long)]
    pub no_env_resolution: bool,
    /// Do not check whether the parts fit together
    #[arg(long)]
    pub no_consistency: bool,
}

impl Without {
    fn omit(&self, aspect: &Aspect) -> Omit {
        Omit {
            interpolation: self.no_interpolate || aspect.variables,
            normalization: self.no_normalize,
            path_resolution: self.no_path_resolution,
            env_resolution: self.no_env_resolution,
            consistency: self.no_consistency,
        }
    }
}

/// Prints the stack.
pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let mut ready = context.load_without(args.without.omit(&args.aspect), &args.services)?;
    if args.quiet {
        return Ok(Exit::Success);
    }
    let text = text(args, &mut ready, context)?;
    match &args.output {
        Some(path) => fs::write(path, text).map_err(|error| CliError::Failed(format!("write `{}`: {error}", path.display())))?,
        None => context.printer.data(text)?,
    }
    // The process ends now. Giving a large stack back piece by piece would take as long as printing it.
    std::mem::forget(ready);
    Ok(Exit::Success)
}

fn text(args: &Args, ready: &mut Ready, context: &Context) -> Result<String, CliError> {
    let deployment = &ready.deployment;
    let stack = &deployment.stack;
    let aspect = &args.aspect;
    let lines = |names: Vec<String>| names.into_iter().map(|name| name + "\n").collect::<String>();
    let keys = |section: &str| {
        let section = ready.tree.get(section).and_then(Node::as_mapping);
        section.into_iter().flat_map(Mapping::iter).map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
    };
    Ok(if aspect.services {
        lines([keys("services"), keys("processes")].concat())
    } else if aspect.volumes {
        lines(keys("volumes"))
    } else if aspect.networks {
        lines(keys("networks"))
    } else if aspect.models {
        lines(keys("models"))
    } else if let Some(which) = &aspect.hash {
        hashes(deployment, which)?
    } else if aspect.profiles {
        let services = stack.services.values().chain(stack.disabled.values());
        let mut profiles: Vec<String> = services.flat_map(|service| service.common.profiles.clone()).collect();
        profiles.sort();
        profiles.dedup();
        lines(profiles)
    } else if aspect.images {
        let wanted = supervisor::select(&deployment.stack, &args.services, false);
        let of_service =
            |name: &ServiceName| deployment.image_of(name).into_iter().chain(deployment.mounted_images(name).into_values());
        let mut images: Vec<String> = wanted.iter().flat_map(of_service).collect();
        let jobs = ready.tree.get("jobs").and_then(Node::as_mapping).into_iter().flat_map(Mapping::iter);
        for (name, job) in jobs.filter(|_| args.services.is_empty()) {
            let image = job.node.get("image").and_then(Node::as_text).map(str::to_owned);
            images.push(image.unwrap_or_else(|| format!("{}-{name}", deployment.env)));
        }
        images.extend(stack.images.iter().filter(|_| args.services.is_empty()).cloned());
        lines(images)
    } else if aspect.variables {
        variables(&ready.tree, &args.format)
    } else if aspect.environment {
        let mut variables: Vec<String> = ready.variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
        variables.push(format!("COMPOSE_PROJECT_NAME={}", deployment.env));
        variables.sort();
        variables.dedup();
        lines(variables)
    } else {
        let tree = &mut ready.tree;
        if args.resolve_image_digests || args.lock_image_digests {
            pin(tree, context)?;
        }
        if args.lock_image_digests {
            keep_images(tree);
        }
        context.mask_of(&ready.secrets).tree(tree);
        let text = if args.format == "json" {
            load::json_spelling(tree);
            emit::to_json(tree)
        } else {
            load::yaml_spelling(tree);
            emit::to_yaml(tree)
        };
        let text = if args.without.no_interpolate || !text.contains('$') { text } else { text.replace('$', "$$") };
        let text = if text.contains(REPLICA_MARK) { text.replace(REPLICA_MARK, "${REPLICA}") } else { text };
        match fill_replica(&text, 1) {
            Cow::Borrowed(_) => text,
            Cow::Owned(filled) => filled,
        }
    })
}

/// Where images are named.
const IMAGES: [Pattern; 2] = [Pattern::new("services.*.image"), Pattern::new("jobs.*.image")];

/// Gives the image of every service and job its digest. All that cannot be had are told at once.
fn pin(tree: &mut Node, context: &Context) -> Result<(), CliError> {
    let mut images: IndexMap<String, Option<String>> = IndexMap::new();
    for pattern in IMAGES {
        pattern.for_each(tree, |_, image| images.extend(image.as_text().map(|text| (text.to_owned(), None))));
    }
    if images.is_empty() {
        return Ok(());
    }
    let engine = context.engine()?;
    engine.release().map_err(|fault| CliError::Engine(fault.to_string()))?;
    let mut failed = Vec::new();
    for (image, pinned) in &mut images {
        match engine.pinned(image) {
            Ok(reference) => *pinned = Some(reference),
            Err(fault) => failed.push(format!("{image}: {fault}")),
        }
    }
    if !failed.is_empty() {
        return Err(CliError::Several(failed));
    }
    for pattern in IMAGES {
        pattern.for_each_mut(tree, |_, image| {
            if let Some(pinned) = image.as_text().and_then(|text| images.get(text)?.as_ref()) {
                image.value = Node::text(pinned, image.span).value;
            }
        });
    }
    Ok(())
}

/// A file to be laid over a stack, which says of all its images which they are now.
pub(super) fn image_lock(tree: &mut Node, context: &Context) -> Result<String, CliError> {
    keep_images(tree);
    pin(tree, context)?;
    load::yaml_spelling(tree);
    Ok(emit::to_yaml(tree))
}

/// Leaves of the tree what a lock file says.
fn keep_images(tree: &mut Node) {
    let Some(top) = tree.as_mapping_mut() else { return };
    top.retain(|section, _| matches!(section, "services" | "jobs"));
    for (_, section) in top.iter_mut() {
        for (_, service) in section.node.as_mapping_mut().into_iter().flat_map(Mapping::iter_mut) {
            if let Some(service) = service.node.as_mapping_mut() {
                service.retain(|key, _| key == "image");
            }
        }
    }
}

/// The variables that a tree mentions which nothing has been filled in of, by their names.
pub(super) fn mentioned(tree: &Node) -> IndexMap<&str, Mention<'_>> {
    fn collect<'a>(node: &'a Node, found: &mut IndexMap<&'a str, Mention<'a>>) {
        match &node.value {
            Value::Scalar(scalar) => {
                for mention in interpolate::mentions(&scalar.text) {
                    let known = found.entry(mention.name).or_insert_with(|| Mention { name: mention.name, ..Mention::default() });
                    known.is_required |= mention.is_required;
                    known.default = known.default.or(mention.default);
                    known.alternative = known.alternative.or(mention.alternative);
                }
            }
            Value::Sequence(items) => items.iter().for_each(|item| collect(item, found)),
            Value::Mapping(mapping) => mapping.iter().for_each(|(_, entry)| collect(&entry.node, found)),
            Value::Null | Value::Bool(_) => {}
        }
    }
    let mut found = IndexMap::new();
    collect(tree, &mut found);
    found.sort_keys();
    found
}

fn variables(tree: &Node, format: &str) -> String {
    let found = mentioned(tree);
    if format == "json" {
        let one = |mention: &Mention<'_>| {
            json!({
                "Name": mention.name,
                "DefaultValue": mention.default.unwrap_or_default(),
                "PresenceValue": mention.alternative.unwrap_or_default(),
                "Required": mention.is_required,
            })
        };
        let all: serde_json::Map<_, _> = found.values().map(|mention| (mention.name.to_owned(), one(mention))).collect();
        return format!("{:#}\n", serde_json::Value::Object(all));
    }
    let mut table = Table::new(["NAME", "REQUIRED", "DEFAULT VALUE", "ALTERNATE VALUE"]);
    for mention in found.values() {
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        table.row([mention.name.to_owned(), mention.is_required.to_string(), text(mention.default), text(mention.alternative)]);
    }
    table.render()
}

fn hashes(deployment: &Deployment, which: &str) -> Result<String, CliError> {
    let all = deployment.stack.services.keys().map(ToString::to_string).collect::<Vec<_>>();
    let wanted = if which == "*" { all } else { which.split(',').map(str::to_owned).collect() };
    wanted
        .into_iter()
        .map(|name| match deployment.stack.services.get(name.as_str()) {
            Some(service) => Ok(format!("{name} {}\n", ConfigHash::of(service, &deployment.stack, &deployment.env))),
            None => Err(CliError::Usage(format!("no service `{name}` in this stack"))),
        })
        .collect()
}
