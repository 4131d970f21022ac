//! Which image a tag means: its digest, as its registry has it, or as it was when the image was pulled.

use super::{Docker, error};
use crate::plan::action::Fault;

impl Docker {
    /// The reference with its digest (`docker.io/library/redis:7@sha256:…`), as Compose writes it. The registry is asked, since a tag
    /// may have moved; where it does not answer, what the engine pulled counts.
    pub async fn pinned(&self, reference: &str) -> Result<String, Fault> {
        let whole = normalized(reference);
        if whole.contains('@') {
            return Ok(whole);
        }
        let link = self.link().await?;
        let refusal = match link.api.inspect_registry_image(&whole, self.credentials(reference).await).await {
            Ok(answer) => match answer.descriptor.digest {
                Some(digest) => return Ok(format!("{whole}@{digest}")),
                None => "it gave no digest".to_owned(),
            },
            Err(error) => Fault::from(error).message,
        };
        let digests = match link.api.inspect_image(reference).await {
            Ok(image) => image.repo_digests.unwrap_or_default(),
            Err(error) if error::is_not_found(&error) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let of_this_name = |known: &String| {
            let (name, digest) = known.split_once('@')?;
            (normalized(name) == normalized(without_tag(&whole))).then(|| format!("{whole}@{digest}"))
        };
        digests.iter().find_map(of_this_name).ok_or_else(|| {
            Fault::permanent(format!("no digest: the registry says: {refusal}, and the engine has pulled no image of this name"))
        })
    }
}

/// A reference in full: with its registry, Docker Hub's `library/`, and its tag unless it has a digest.
pub(super) fn normalized(reference: &str) -> String {
    let (name, digest) = reference.split_once('@').map_or((reference, None), |(name, digest)| (name, Some(digest)));
    let (host, path) = match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
        Some(_) | None => ("docker.io", name),
    };
    let host = if host == "index.docker.io" { "docker.io" } else { host };
    let library = if host == "docker.io" && !path.contains('/') { "library/" } else { "" };
    let tag = if digest.is_none() && without_tag(path) == path { ":latest" } else { "" };
    let digest = digest.map(|digest| format!("@{digest}")).unwrap_or_default();
    format!("{host}/{library}{path}{tag}{digest}")
}

/// A colon after the last slash begins a tag; one before it a port.
fn without_tag(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((before, tag)) if !tag.contains('/') => before,
        Some(_) | None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_told_in_full() {
        for (reference, whole) in [
            ("redis", "docker.io/library/redis:latest"),
            ("redis:7", "docker.io/library/redis:7"),
            ("lablup/kernel:1", "docker.io/lablup/kernel:1"),
            ("index.docker.io/redis", "docker.io/library/redis:latest"),
            ("localhost:5000/x", "localhost:5000/x:latest"),
            ("localhost/x:1", "localhost/x:1"),
            ("cr.example.org/a/b@sha256:00", "cr.example.org/a/b@sha256:00"),
            ("redis:7@sha256:00", "docker.io/library/redis:7@sha256:00"),
        ] {
            assert_eq!(normalized(reference), whole, "{reference}");
        }
    }
}
