//! Images that the engine cannot build as they are described, told at their place in the files before anything is begun.

use super::CliError;
use super::context::{Context, Ready};
use crate::base::diagnostic::{Diagnostic, Diagnostics};
use crate::base::name::ServiceName;
use crate::base::source::Span;
use crate::model::container::Container;
use crate::plan::actual::Query;
use crate::plan::provision::{Building, Provision, Renew, Source, Way};
use crate::supervisor;
use crate::world::docker::Unbuildable;
use crate::yaml::node::{Mapping, Node};

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
        let deployment = &ready.deployment;
        let provision = |container: &Container| Provision::of(container, pull, building);
        let selected = supervisor::select(&deployment.stack, services, no_deps).into_iter().filter(|name| {
            let container = deployment.stack.services.get(name).and_then(|service| service.container());
            container.is_some_and(|container| container.build.is_some() && provision(container).source == Source::Build)
        });
        let selected: Vec<ServiceName> = selected.collect();
        if selected.is_empty() {
            return Ok(());
        }
        let images = selected.iter().filter_map(|name| deployment.image_of(name)).collect();
        // That it does not answer is told elsewhere.
        let Ok(seen) = self.engine()?.observe(&deployment.env, &Query { images, ..Query::default() }) else { return Ok(()) };
        let is_built = |name: &ServiceName| {
            let container = deployment.stack.services.get(name).and_then(|service| service.container());
            let is_renewed = container.is_some_and(|container| provision(container).renew == Renew::Always(Way::Build));
            is_renewed || !deployment.image_of(name).is_some_and(|image| seen.images.contains_key(&image))
        };
        self.refuse_to_build(ready, &selected.into_iter().filter(is_built).collect::<Vec<_>>())
    }

    /// Refuses what of these cannot be built.
    pub fn refuse_to_build<'a>(
        &self,
        ready: &Ready,
        services: impl IntoIterator<Item = &'a ServiceName>,
    ) -> Result<(), CliError> {
        let choice = self.caller.get("DOCKER_BUILDKIT").map(String::as_str);
        let mut found = Diagnostics::default();
        for name in services {
            let Some(container) = ready.deployment.service(name).and_then(|service| service.container()) else { continue };
            let unbuildable = self.engine()?.with(async |docker| docker.unbuildable(container, choice).await);
            // As above.
            let Ok(Some(Unbuildable { attribute, why, help })) = unbuildable else { continue };
            let diagnostic = Diagnostic::error("cannot-build", format!("`{name}`: {why}")).help(help);
            found.push(match place(&ready.tree, name, attribute) {
                Some(span) => diagnostic.at(span, ""),
                None => diagnostic,
            });
        }
        if found.has_errors() { Err(self.refuse(&found, &ready.sources)) } else { Ok(()) }
    }
}

/// Where an attribute of a build stands; what a flag says stands nowhere, but its service does.
fn place(tree: &Node, service: &ServiceName, attribute: Option<&str>) -> Option<Span> {
    let service = tree.get("services")?.as_mapping()?.entry(service.as_str())?;
    let build = service.node.as_mapping().and_then(|service| service.entry("build"));
    let key = |mapping: &Mapping| Some(mapping.entry(attribute?)?.key_span);
    let of_build = build.and_then(|build| key(build.node.as_mapping()?));
    of_build.or(build.map(|build| build.key_span)).or(Some(service.key_span))
}
