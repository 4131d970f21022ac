//! Removing files for good, also those that a container has made as another user: through a container, without sudo.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use super::context::Context;
use crate::base::name::EnvId;
use crate::plan::action::Outcome;
use crate::world::envdir::own_uid;
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

    /// Those of an environment as the engine knows it now: once its containers are gone, nobody knows what they were made of.
    pub fn of(env: &'a EnvId, context: &'a Context) -> Self {
        let known = || -> Option<Vec<String>> {
            let engine = context.engine().ok()?;
            let listed = engine.with(async |docker| docker.list(env).await).ok()?;
            let used: BTreeSet<String> = listed.into_iter().map(|container| container.image_id).collect();
            let built = engine.with(async |docker| docker.images_of(env).await).unwrap_or_default();
            Some(used.into_iter().chain(built).collect())
        };
        // Root needs none of them.
        let images = if own_uid() == 0 { None } else { known() };
        Self::new(env, images.unwrap_or_default(), context)
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
            let remedy = format!("a container has made it as another user: `sudo rm -rf '{}'`", path.display());
            io::Error::new(io::ErrorKind::PermissionDenied, format!("{}: {error}; {why}; {remedy}", path.display()))
        })
    }
}
