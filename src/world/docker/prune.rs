//! Which images go when an environment goes (`down --rmi`), and their removal.

use std::collections::{BTreeSet, HashMap};

use bollard::query_parameters::ListImagesOptionsBuilder;

use super::listing::image_names;
use super::{Docker, labels};
use crate::base::name::{EnvId, ServiceName};
use crate::plan::action::{Fault, Outcome, Prune};
use crate::plan::desired::Deployment;

/// An image that carries an environment's label: what was built for a service of it.
struct Built {
    service: Option<ServiceName>,
    /// Its tags, else its id.
    names: Vec<String>,
}

impl Docker {
    /// Removes the images of an environment. One that something else uses is kept, and told.
    pub(super) async fn remove_images(
        &self,
        env: &EnvId,
        deployment: Option<&Deployment>,
        which: Prune,
    ) -> Result<Outcome, Fault> {
        let link = self.link().await?;
        let filters = HashMap::from([("label", vec![labels::of_env(env)])]);
        let list = link.api.list_images(Some(ListImagesOptionsBuilder::default().filters(&filters).build())).await?;
        let built = list.into_iter().map(|image| Built {
            service: image.labels.get(labels::SERVICE).and_then(|name| name.parse().ok()),
            names: image_names(image.repo_tags, image.id),
        });
        let mut kept = Vec::new();
        for name in names(&built.collect::<Vec<_>>(), env, deployment, which) {
            if let Outcome::Kept(reason) = self.remove_image(&name).await? {
                kept.push(format!("image {name} was kept: {reason}"));
            }
        }
        Ok(if kept.is_empty() { Outcome::Done } else { Outcome::Kept(kept.join("; ")) })
    }
}

impl Docker {
    /// Removes the images that were built for an environment and have lost their name to a later build, unless containers still use
    /// them. Answers with how many went.
    pub async fn remove_untagged_images(&self, env: &EnvId) -> Result<usize, Fault> {
        let filters = HashMap::from([("label", vec![labels::of_env(env)]), ("dangling", vec!["true".to_owned()])]);
        let options = ListImagesOptionsBuilder::default().filters(&filters).build();
        let mut removed = 0;
        for image in self.link().await?.api.list_images(Some(options)).await? {
            removed += usize::from(matches!(self.remove_image(&image.id).await?, Outcome::Done));
        }
        Ok(removed)
    }
}

/// The names of the images that go. Where no file is known, labels and Compose's way of naming tell.
fn names(built: &[Built], env: &EnvId, deployment: Option<&Deployment>, which: Prune) -> BTreeSet<String> {
    let is_default = |service: &ServiceName, tag: &str| tag.strip_suffix(":latest").unwrap_or(tag) == format!("{env}-{service}");
    let mut names = BTreeSet::new();
    for Built { service, names: own } in built {
        let goes = |tag: &&String| match which {
            Prune::All => true,
            Prune::Local => service.as_ref().is_none_or(|service| is_default(service, tag)),
        };
        names.extend(own.iter().filter(goes).cloned());
    }
    for (name, service) in deployment.iter().flat_map(|it| it.stack.services.iter().chain(&it.stack.disabled)) {
        let Some(container) = service.container() else { continue };
        let reference = deployment.and_then(|deployment| deployment.image_of(name));
        if which == Prune::All || (container.image.is_none() && container.build.is_some()) {
            names.extend(reference.map(|reference| with_tag(&reference)));
        }
    }
    names
}

/// A reference as the engine lists it, so that none is there twice.
fn with_tag(reference: &str) -> String {
    let name = reference.rsplit('/').next().unwrap_or(reference);
    if name.contains([':', '@']) { reference.to_owned() } else { format!("{reference}:latest") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment() -> Deployment {
        let container = |body: serde_json::Value| serde_json::json!({"common": {}, "kind": {"container": body}});
        let mut stack = serde_json::to_value(crate::model::stack::Stack::default()).unwrap();
        stack["services"] = serde_json::json!({
            "db": container(serde_json::json!({"image": "postgres:15"})),
            "web": container(serde_json::json!({"build": {"context": "/"}})),
            "named": container(serde_json::json!({"image": "reg:5000/mine", "build": {"context": "/"}})),
        });
        Deployment {
            env: "e".parse().unwrap(),
            stack: serde_json::from_value(stack).unwrap(),
            caller: crate::plan::desired::Caller::default(),
            places: crate::plan::desired::Places::default(),
        }
    }

    #[test]
    fn local_is_what_was_built_without_a_name_and_all_is_what_is_used() {
        let built = |service: &str, name: &str| Built { service: service.parse().ok(), names: vec![name.to_owned()] };
        let labelled = [
            built("web", "e-web:latest"),
            built("web", "sha256:replaced"),
            built("named", "reg:5000/mine:latest"),
            built("gone", "e-gone:latest"),
        ];
        let deployment = deployment();
        let of = |deployment, which| names(&labelled, &"e".parse().unwrap(), deployment, which).into_iter().collect::<Vec<_>>();
        assert_eq!(of(Some(&deployment), Prune::Local), ["e-gone:latest", "e-web:latest"]);
        let all = ["e-gone:latest", "e-web:latest", "postgres:15", "reg:5000/mine:latest", "sha256:replaced"];
        assert_eq!(of(Some(&deployment), Prune::All), all);
        assert_eq!(of(None, Prune::Local), ["e-gone:latest", "e-web:latest"]);
        assert_eq!(of(None, Prune::All), ["e-gone:latest", "e-web:latest", "reg:5000/mine:latest", "sha256:replaced"]);
    }
}
