//! Removing files for good, also those that a container has made as another user: through a container, without sudo.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::context::Context;
use crate::base::name::EnvId;
use crate::plan::action::Outcome;
use crate::plan::desired::Deployment;
use crate::world::envdir::own_uid;
use crate::world::git::{self, Work};
use crate::world::removal;

/// What files are removed with.
pub struct Hands<'a> {
    /// Whose files they are.
    env: &'a EnvId,
    /// Images that a container could be made of.
    images: Vec<String>,
    context: &'a Context,
}

impl<'a> Hands<'a> {
    /// Those of an environment whose containers are made of these images.
    pub fn new(env: &'a EnvId, images: Vec<String>, context: &'a Context) -> Self {
        Self { env, images, context }
    }

    /// Those of an environment as the engine knows it now, and as it was started last: its containers may be gone.
    pub fn of(env: &'a EnvId, deployment: Option<&Deployment>, context: &'a Context) -> Self {
        let known = || -> Option<Vec<String>> {
            let engine = context.engine().ok()?;
            let listed = engine.with(async |docker| docker.list(env).await).ok()?;
            let used: BTreeSet<String> = listed.into_iter().map(|container| container.image_id).collect();
            let built = engine.with(async |docker| docker.images_of(env).await).unwrap_or_default();
            Some(used.into_iter().chain(built).collect())
        };
        // Root needs none of them.
        if own_uid() == 0 {
            return Self::new(env, Vec::new(), context);
        }
        let mut images = known().unwrap_or_default();
        images.extend(recorded_images(deployment));
        Self::new(env, images, context)
    }

    /// All work in repositories of git at or below a path. What we cannot look into, a container looks into; what it finds there nobody
    /// can judge without being root, and where there is no container either, the directory counts as closed.
    pub fn work_below(&self, path: &Path) -> Vec<Work> {
        let mut found = git::work_below(path);
        if let Some(repositories) = self.repositories_in_closed(path, found.iter().any(|work| work.is_closed)) {
            found.retain_mut(|work| {
                if work.is_closed {
                    let within = repositories.iter().filter(|repository| repository.starts_with(&work.path));
                    work.what = within.map(|repository| unjudged(repository)).collect();
                    work.is_closed = false;
                }
                !work.what.is_empty()
            });
        }
        found
    }

    /// The directories at or below a path that may hold a repository and cannot be looked into, nor by a container.
    pub fn closed_below(&self, path: &Path) -> Vec<PathBuf> {
        let mut closed = git::closed_below(path);
        if let Some(repositories) = self.repositories_in_closed(path, !closed.is_empty()) {
            closed.retain(|closed| repositories.iter().any(|repository| repository.starts_with(closed)));
        }
        closed
    }

    /// The repositories at or below a path as a container sees them; none where it is not needed or cannot be had.
    fn repositories_in_closed(&self, path: &Path, is_needed: bool) -> Option<Vec<PathBuf>> {
        if !is_needed || own_uid() == 0 {
            return None;
        }
        let engine = self.context.engine().ok()?;
        engine.with(async |docker| docker.repositories_as_root(self.env, path, &self.images).await).ok()
    }

    /// Removes a path with all below it; a link alone. That it is gone already is fine.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        let error = match removal::remove(path, self.env.as_str()) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && own_uid() != 0 => error,
            removed => return removed.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
        };
        // It could not be looked into before: what of another environment lies there, the container alone has seen.
        let kept = |why: String| io::Error::new(io::ErrorKind::ResourceBusy, format!("{}: {why}", path.display()));
        let removed = match self.context.engine() {
            Ok(engine) => engine
                .with(async |docker| docker.remove_as_root(self.env, path, &self.images).await)
                .map_err(|fault| format!("not through a container either: {fault}")),
            Err(error) => Err(error.to_string()),
        };
        let removed = match removed {
            Ok(Outcome::Kept(why)) => return Err(kept(why)),
            Ok(_) => Ok(()),
            Err(why) => Err(why),
        };
        removed.map_err(|why| {
            let remedy = format!("a container has made it as another user: `{}`", removal::by_hand(path));
            io::Error::new(io::ErrorKind::PermissionDenied, format!("{}: {error}; {why}; {remedy}", path.display()))
        })
    }
}

/// The images that the containers of an environment are made of, by its record.
pub fn recorded_images(deployment: Option<&Deployment>) -> Vec<String> {
    let of = |deployment: &Deployment| -> Vec<String> {
        let services = deployment.stack.services.keys().chain(deployment.stack.disabled.keys());
        services.filter_map(|service| deployment.image_of(service)).collect()
    };
    deployment.map(of).unwrap_or_default()
}

/// What there is to say of a repository that only root can look into.
fn unjudged(repository: &Path) -> String {
    format!(
        "`{0}` is a repository that only root can judge: sudo git -C {1} status",
        repository.display(),
        removal::quoted(repository)
    )
}
