//! Images that cannot be built as they are described, by this engine or by any, told at their place in the files before anything is
//! begun.

use indexmap::IndexSet;

use super::CliError;
use super::context::{Context, Ready};
use crate::base::diagnostic::{Diagnostic, Diagnostics};
use crate::base::name::ServiceName;
use crate::base::source::Span;
use crate::model::container::Container;
use crate::model::depends::Condition;
use crate::model::service::Service;
use crate::plan::actual::Query;
use crate::plan::desired::Deployment;
use crate::plan::provision::{Building, Provision, Renew, Source, Way};
use crate::supervisor;
use crate::world::docker::{self, Unbuildable};
use crate::yaml::node::{Mapping, Node};

/// What an `up` says of images.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The services named.
    pub services: &'a [ServiceName],
    /// `--pull`.
    pub pull: Option<&'a str>,
    /// `--build` and `--no-build`.
    pub building: Building,
    /// Without what they depend on.
    pub no_deps: bool,
}

impl Context {
    /// Refuses what an `up` of these services, with what they depend on unless `no_deps`, would have to build and cannot. An image that
    /// is there, or may come from a registry, is nobody's obstacle.
    pub fn refuse_unbuildable(
        &self,
        ready: &Ready,
        services: &[ServiceName],
        pull: Option<&str>,
        building: Building,
        no_deps: bool,
    ) -> Result<(), CliError> {
        self.refuse_to_build(ready, &self.to_be_built(&ready.deployment, Asked { services, pull, building, no_deps })?)
    }

    /// Refuses what of these cannot be built.
    pub fn refuse_to_build<'a>(
        &self,
        ready: &Ready,
        services: impl IntoIterator<Item = &'a ServiceName>,
    ) -> Result<(), CliError> {
        let found = self.unbuildable(&ready.deployment, &ready.tree, services)?;
        if found.has_errors() { Err(self.refuse(&found, &ready.sources)) } else { Ok(()) }
    }

    /// What such an `up` could not build, one sentence each.
    pub fn build_obstacles(&self, ready: &Ready, asked: Asked<'_>) -> Result<Vec<String>, CliError> {
        let found = self.unbuildable(&ready.deployment, &ready.tree, &self.to_be_built(&ready.deployment, asked)?)?;
        let sentence = |found: &Diagnostic| {
            let place = found.labels.first().map(|label| {
                let file = &ready.sources.get(label.span.source).name;
                let (line, column) = ready.sources.position(label.span);
                format!(" ({}:{line}:{column})", file.strip_prefix(&self.working_dir).unwrap_or(file).display())
            });
            format!("{}{}: {}", found.message, place.unwrap_or_default(), found.help.as_deref().unwrap_or_default())
        };
        Ok(found.sorted().into_iter().map(sentence).collect())
    }

    /// The services whose build would be run by an `up`, after those that are contexts of it.
    pub(super) fn to_be_built(&self, deployment: &Deployment, asked: Asked<'_>) -> Result<IndexSet<ServiceName>, CliError> {
        let container = |name: &ServiceName| deployment.service(name).and_then(Service::container);
        let provision = |container: &Container| Provision::of(container, asked.pull, asked.building);
        let selected = supervisor::select(&deployment.stack, asked.services, asked.no_deps);
        let builders: IndexSet<&ServiceName> = selected
            .iter()
            .flat_map(|name| {
                let mounted = deployment.mounted_images(name).into_values();
                let suppliers = mounted.filter_map(|reference| deployment.supplier_of(&reference, asked.building));
                std::iter::once(name).chain(suppliers.collect::<Vec<_>>())
            })
            .filter_map(|name| deployment.builder_of(name))
            .filter(|name| container(name).is_some_and(|container| provision(container).source == Source::Build))
            .collect();
        if builders.is_empty() {
            return Ok(IndexSet::new());
        }
        let images = builders.iter().filter_map(|name| deployment.image_of(name)).collect();
        // That it does not answer is told elsewhere.
        let seen = self.engine()?.observe(&deployment.env, &Query { images, ..Query::default() }).ok();
        let is_built = |name: &ServiceName| {
            let is_renewed = container(name).is_some_and(|container| provision(container).renew == Renew::Always(Way::Build));
            let is_there = |image: &String| seen.as_ref().is_none_or(|seen| seen.images.contains_key(image));
            is_renewed || !deployment.image_of(name).is_some_and(|image| is_there(&image))
        };
        let built = builders.into_iter().filter(|name| is_built(name));
        Ok(built.flat_map(|name| docker::in_order(name, deployment)).collect())
    }

    /// What of these cannot be built, at its place in the files.
    pub(super) fn unbuildable<'a>(
        &self,
        deployment: &Deployment,
        tree: &Node,
        services: impl IntoIterator<Item = &'a ServiceName>,
    ) -> Result<Diagnostics, CliError> {
        let choice = self.caller.get("DOCKER_BUILDKIT").map(String::as_str);
        let mut found = Diagnostics::default();
        for name in services {
            let Some(service) = deployment.service(name) else { continue };
            let Some((container, build)) = service.container().and_then(|it| Some((it, it.build.as_ref()?))) else { continue };
            // What a task may have yet to make, the build misses itself.
            let mut all = if follows_a_task(service) { Vec::new() } else { docker::lacking(build, &deployment.stack.directory) };
            // As above.
            all.extend(self.engine()?.with(async |docker| docker.unbuildable(container, choice).await).unwrap_or_default());
            for Unbuildable { attribute, why, help } in all {
                let diagnostic = Diagnostic::error("cannot-build", format!("`{name}`: {why}")).help(help);
                found.push(match place(tree, name, attribute) {
                    Some(span) => diagnostic.at(span, ""),
                    None => diagnostic,
                });
            }
        }
        Ok(found)
    }
}

/// Whether something has to be done before it is built.
fn follows_a_task(service: &Service) -> bool {
    service.common.depends_on.values().any(|dependency| dependency.condition == Condition::Completed)
}

/// Where an attribute of a build stands; what a flag says stands nowhere, but its service does.
fn place(tree: &Node, service: &ServiceName, attribute: Option<&str>) -> Option<Span> {
    let service = tree.get("services")?.as_mapping()?.entry(service.as_str())?;
    let build = service.node.as_mapping().and_then(|service| service.entry("build"));
    let key = |mapping: &Mapping| Some(mapping.entry(attribute?)?.key_span);
    let of_build = build.and_then(|build| key(build.node.as_mapping()?));
    of_build.or(build.map(|build| build.key_span)).or(Some(service.key_span))
}
