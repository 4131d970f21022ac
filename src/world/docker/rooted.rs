//! Removing what a container has left on the host's disk as another user, and looking into it before: as root, in a container, instead
//! of with sudo.
//!
//! The engine takes the container away when it ends, also where whoever asked is gone by then: nobody looks for it. So what it says and how it
//! ends is read while it runs. One that was made and never started is `purge`'s to find.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use bollard::models::{ContainerCreateBody, ContainerSummary, HostConfig, Mount, MountType};
use bollard::query_parameters::CreateContainerOptionsBuilder;
use futures_util::stream::StreamExt;

use super::connect::{Endpoint, Link};
use super::exec::Output;
use super::logs::LogStream;
use super::observe::{list_containers, name_of};
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
const REMOVE: &str = r#"
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
/// Names the directories at or below `$2` in which a repository lies, as `git` itself would find it there. The rest as above.
const LOOK: &str = r#"
test -e "/host/$1" || { echo 'the engine sees other files than we do'; exit 1; }
top="/host/$2" parent="$4" found=
look() {
    [ -d "$1" ] && [ ! -L "$1" ] || return 0
    if [ -e "$1/.git" ] || { [ -e "$1/HEAD" ] && [ -e "$1/objects" ] && [ -e "$1/refs" ]; }; then
        printf '%s\n' "$parent${1#/host}"
        found=1
    fi
    for entry in "$1"/* "$1"/.[!.]* "$1"/..?*; do look "$entry"; done
}
look "$top"
[ -z "$found" ] || exit 3
"#;
/// How a script ends that has something to say: another environment's directory lies there, or repositories.
const TOLD: i32 = 3;
/// What is made of when no image of the environment will do.
const BUSYBOX: &str = "busybox";

impl Docker {
    /// Removes a path with all below it, as root in a container of the first of these images (or else of busybox) that is there
    /// and has a shell. Nothing is pulled. A link is removed and not what it leads to; that nothing is mounted below the path is
    /// for the caller to see to. All is kept when a directory of another environment lies there.
    pub async fn remove_as_root(&self, env: &EnvId, path: &Path, images: &[String]) -> Result<Outcome, Fault> {
        let said = self.as_root(&Errand { env, path, script: REMOVE, read_only: false }, images).await?;
        Ok(said.map_or(Outcome::Done, |said| Outcome::Kept(said.replace('\n', "; "))))
    }

    /// The directories at or below a path in which a repository of git lies, as root sees them in such a container, which may write
    /// nothing. Links are not followed.
    pub async fn repositories_as_root(&self, env: &EnvId, path: &Path, images: &[String]) -> Result<Vec<PathBuf>, Fault> {
        let said = self.as_root(&Errand { env, path, script: LOOK, read_only: true }, images).await?;
        Ok(said.unwrap_or_default().lines().map(PathBuf::from).collect())
    }

    /// Does something as root; what there is to say of it, if anything.
    async fn as_root(&self, errand: &Errand<'_>, images: &[String]) -> Result<Option<String>, Fault> {
        if !matches!(self.0.endpoint, Endpoint::Unix(_)) {
            return Err(Fault::permanent("the engine is on another host"));
        }
        let path = errand.path;
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
            outcome = self.inside(&link, errand, image, (parent, name), &sign.name).await;
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    /// The names of containers that were made to do such a thing for an environment and never started: whoever made one was killed just
    /// then.
    pub async fn idle_removers(&self, env: &EnvId) -> Result<Vec<String>, Fault> {
        Ok(self.removers_of(env).await?.iter().map(name_of).collect())
    }

    /// Removes those.
    pub async fn discard_idle_removers(&self, env: &EnvId) -> Result<(), Fault> {
        for remover in self.removers_of(env).await? {
            self.discard(remover.id.as_deref().unwrap_or_default()).await;
        }
        Ok(())
    }

    async fn removers_of(&self, env: &EnvId) -> Result<Vec<ContainerSummary>, Fault> {
        let filters = [("label", labels::of_env(env)), ("label", labels::REMOVES.to_owned()), ("status", "created".to_owned())];
        list_containers(&self.link().await?, &filters).await
    }

    async fn inside(
        &self,
        link: &Link,
        errand: &Errand<'_>,
        image: &str,
        (parent, name): (&Path, &str),
        sign: &str,
    ) -> Result<Option<String>, Fault> {
        let env = errand.env;
        let host = parent.display().to_string();
        let host = host.trim_end_matches('/');
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            entrypoint: Some(vec!["sh".to_owned()]),
            cmd: Some(["-c", &errand.with_code(), "sh", sign, name, env.as_str(), host, owner::MARK].map(str::to_owned).to_vec()),
            user: Some("0:0".to_owned()),
            labels: Some(
                [(labels::PROJECT, env.as_str()), (labels::REMOVES, name)]
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .into(),
            ),
            network_disabled: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            host_config: Some(HostConfig {
                mounts: Some(vec![Mount {
                    typ: Some(MountType::BIND),
                    source: Some(parent.display().to_string()),
                    target: Some(INSIDE.to_owned()),
                    read_only: Some(errand.read_only),
                    ..Default::default()
                }]),
                network_mode: Some("none".to_owned()),
                auto_remove: Some(true),
                ..Default::default()
            }),
            ..Default::default()
        };
        let options = CreateContainerOptionsBuilder::default().name(&format!("{env}-purge-{}", slug()?)).build();
        let container = link.api.create_container(Some(options), body).await?.id;
        let done = async {
            let attached = self.attach(&container, false).await?;
            link.api.start_container(&container, None).await?;
            let Said { text, code } = Said::of(attached.output).await?;
            match code {
                Some(0) => Ok(None),
                Some(TOLD) => Ok(Some(text)),
                Some(code) => Err(Fault::permanent(format!("a container of {image} ended with {code}: {}", last(&text)))),
                None => Err(Fault::permanent(format!("a container of {image} did not come to its end: {}", last(&text)))),
            }
        };
        let done = done.await;
        // Its image may be the next to go: that it is on its way is not enough.
        self.discard(&container).await;
        done
    }
}

/// Something that is done as root.
struct Errand<'a> {
    /// For whom.
    env: &'a EnvId,
    /// To what.
    path: &'a Path,
    /// What a shell does there.
    script: &'a str,
    /// Nothing is changed.
    read_only: bool,
}

impl Errand<'_> {
    /// What the shell is given: how the script ends stands in its last line.
    fn with_code(&self) -> String {
        format!("({})\necho \"$?\"", self.script)
    }
}

/// What a container has written.
struct Said {
    text: String,
    /// How its script ended; none where it did not come to its end.
    code: Option<i32>,
}

impl Said {
    async fn of(mut output: Output) -> Result<Self, Fault> {
        let (mut all, mut out) = (Vec::new(), Vec::new());
        while let Some(piece) = output.next().await {
            let (stream, bytes) = piece?;
            all.extend_from_slice(&bytes);
            if stream == LogStream::Stdout {
                out.extend_from_slice(&bytes);
            }
        }
        let code = String::from_utf8_lossy(&out).lines().last().and_then(|line| line.parse().ok());
        let text = String::from_utf8_lossy(&all).into_owned();
        // The code is no part of what there is to tell.
        let told = code.map_or(text.as_str(), |code: i32| text.trim_end().strip_suffix(&code.to_string()).unwrap_or(&text));
        Ok(Self { text: told.trim().to_owned(), code })
    }
}

/// The last lines of a text.
fn last(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(3)..].join("; ")
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
