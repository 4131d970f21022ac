//! Removing what a container has left on the host's disk as another user: as root, in a container, instead of with sudo.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use bollard::models::{ContainerCreateBody, HostConfig, Mount, MountType};
use bollard::query_parameters::{CreateContainerOptionsBuilder, LogsOptionsBuilder};
use futures_util::stream::StreamExt;

use super::connect::{Endpoint, Link};
use super::run::slug;
use super::{Docker, error, labels};
use crate::base::name::EnvId;
use crate::plan::action::{Fault, Outcome};
use crate::world::owner;

/// Where the container finds the directory that holds what is to be removed.
const INSIDE: &str = "/host";
/// Removes `$2`, where `$1` shows that this is the directory that was meant: the engine may be on another host, or see other files.
/// What bears the mark (a file `$5`) of another environment than `$3` is named by its path on the host, below `$4`, and nothing is
/// removed then: whoever asks may not have been able to look into all of it. Needs no more than a shell, `head` and `rm`.
const SCRIPT: &str = r#"
test -e "/host/$1" || { echo 'the engine sees other files than we do'; exit 1; }
top="/host/$2" env="$3" parent="$4" file="$5" others=
look() {
    [ -d "$1" ] && [ ! -L "$1" ] || return 0
    mark="$1/$file"
    if [ -f "$mark" ] && [ ! -L "$mark" ]; then
        owner=$(head -c 4096 "$mark") || exit 1
        if [ "$owner" != "$env" ]; then
            printf '`%s` was made for the environment `%s`\n' "$parent${1#/host}" "$owner"
            others=1
            return 0
        fi
    fi
    for entry in "$1"/* "$1"/.[!.]* "$1"/..?*; do look "$entry"; done
}
look "$top"
[ -z "$others" ] || exit 3
exec rm -rf -- "$top"
"#;
/// How the script ends when another environment's directory lies there.
const OTHERS: i32 = 3;
/// What is made of when no image of the environment will do.
const BUSYBOX: &str = "busybox";

impl Docker {
    /// Removes a path with all below it, as root in a container of the first of these images (or else of busybox) that is there
    /// and has a shell. Nothing is pulled. A link is removed and not what it leads to; that nothing is mounted below the path is
    /// for the caller to see to. All is kept when a directory of another environment lies there.
    pub async fn remove_as_root(&self, env: &EnvId, path: &Path, images: &[String]) -> Result<Outcome, Fault> {
        if !matches!(self.0.endpoint, Endpoint::Unix(_)) {
            return Err(Fault::permanent("the engine is on another host"));
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
            return Err(Fault::permanent(format!("`{}` is no path that a container could be given", path.display())));
        };
        let link = self.link().await?;
        let sign = Sign::put_into(parent)?;
        let mut outcome = Err(Fault::permanent("there is no image of the environment, nor busybox, to do it with"));
        for image in images.iter().map(String::as_str).chain([BUSYBOX]) {
            match link.api.inspect_image(image).await {
                Ok(_) => {}
                Err(error) if error::is_not_found(&error) => continue,
                Err(error) => return Err(error.into()),
            }
            outcome = self.remove_inside(&link, env, image, parent, &sign.name, name).await;
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    async fn remove_inside(
        &self,
        link: &Link,
        env: &EnvId,
        image: &str,
        parent: &Path,
        sign: &str,
        name: &str,
    ) -> Result<Outcome, Fault> {
        let host = parent.display().to_string();
        let host = host.trim_end_matches('/');
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            entrypoint: Some(vec!["sh".to_owned()]),
            cmd: Some(["-c", SCRIPT, "sh", sign, name, env.as_str(), host, owner::MARK].map(str::to_owned).to_vec()),
            user: Some("0:0".to_owned()),
            labels: Some([(labels::PROJECT.to_owned(), env.to_string())].into()),
            network_disabled: Some(true),
            host_config: Some(HostConfig {
                mounts: Some(vec![Mount {
                    typ: Some(MountType::BIND),
                    source: Some(parent.display().to_string()),
                    target: Some(INSIDE.to_owned()),
                    ..Default::default()
                }]),
                network_mode: Some("none".to_owned()),
                ..Default::default()
            }),
            ..Default::default()
        };
        let options = CreateContainerOptionsBuilder::default().name(&format!("{env}-purge-{}", slug()?)).build();
        let container = link.api.create_container(Some(options), body).await?.id;
        let done = async {
            link.api.start_container(&container, None).await?;
            match self.wait(&container).await? {
                0 => Ok(Outcome::Done),
                OTHERS => Ok(Outcome::Kept(said(link, &container, "all").await.replace('\n', "; "))),
                code => Err(Fault::permanent(format!(
                    "`rm` in a container of {image} ended with {code}: {}",
                    said(link, &container, "3").await
                ))),
            }
        };
        let done = done.await;
        self.discard(&container).await;
        done
    }
}

/// What a container has written, its last so many lines or all.
async fn said(link: &Link, container: &str, tail: &str) -> String {
    let options = LogsOptionsBuilder::default().stdout(true).stderr(true).tail(tail).build();
    let mut log = link.api.logs(container, Some(options));
    let mut said = Vec::new();
    while let Some(Ok(line)) = log.next().await {
        said.extend_from_slice(&line.into_bytes());
    }
    String::from_utf8_lossy(&said).trim().to_owned()
}

/// A file of a name that nobody else has, by which a directory is recognised; it goes with the value.
struct Sign {
    path: PathBuf,
    name: String,
}

impl Sign {
    fn put_into(directory: &Path) -> Result<Self, Fault> {
        let name = format!(".baistack-{}", slug()?);
        let path = directory.join(&name);
        let made = OpenOptions::new().write(true).create_new(true).open(&path);
        made.map_err(|error| Fault::permanent(format!("write into `{}`: {error}", directory.display())))?;
        Ok(Self { path, name })
    }
}

impl Drop for Sign {
    fn drop(&mut self) {
        // An empty file that is left does no harm.
        let _ = fs::remove_file(&self.path);
    }
}
