//! `volumes`, `secrets` and `configs` of a container as the engine takes them. Pure.
//!
//! The engine has two fields for mounts. `Binds` makes a missing host path and knows `SELinux` marks, `Mounts` knows everything
//! else; each mount goes where what it asks for can be said.

use std::collections::{BTreeSet, HashMap};
use std::io::Read as _;

use bollard::models::{
    Mount as EngineMount, MountBindOptions, MountBindOptionsPropagationEnum as Propagation, MountImageOptions, MountTmpfsOptions,
    MountType, MountVolumeOptions,
};
use indexmap::IndexMap;

use super::connect::ApiVersion;
use crate::model::container::Container;
use crate::model::mount::{BindOptions, Mount, MountKind, VolumeOptions};
use crate::model::secret::{FileGrant, FileObject};
use crate::model::service::Common;
use crate::plan::action::Fault;
use crate::plan::desired::Deployment;

/// All mounts of a container, by the engine's fields.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    /// `HostConfig.Binds`.
    pub(super) binds: Vec<String>,
    /// `HostConfig.Mounts`.
    pub(super) detailed: Vec<EngineMount>,
}

impl Mounts {
    /// The mounts of a container; `granted` are those of secrets and configs, `inherited` anonymous volumes of the container that
    /// it replaces, path → volume.
    ///
    /// The engine takes one mount for each path. As in Compose the service's `volumes` go before a secret, and that before a
    /// config; an inherited volume has its place where nothing else is mounted.
    pub(super) fn of(
        deployment: &Deployment,
        container: &Container,
        granted: Vec<EngineMount>,
        inherited: &IndexMap<String, String>,
        version: ApiVersion,
    ) -> Result<Self, Fault> {
        let mut all = Self::default();
        for mount in &container.volumes {
            all.add(deployment, mount, inherited, version)?;
        }
        let mut taken: BTreeSet<String> = container.volumes.iter().map(|mount| mount.target.clone()).collect();
        let granted: Vec<EngineMount> =
            granted.into_iter().filter(|mount| taken.insert(mount.target.clone().unwrap_or_default())).collect();
        taken.extend(container.tmpfs.iter().map(|text| text.split_once(':').map_or(text.as_str(), |(path, _)| path).to_owned()));
        for (path, volume) in inherited.iter().filter(|(path, _)| !taken.contains(*path)) {
            all.binds.push(format!("{volume}:{path}:rw"));
        }
        all.detailed.extend(granted);
        Ok(all)
    }

    fn add(
        &mut self,
        deployment: &Deployment,
        mount: &Mount,
        inherited: &IndexMap<String, String>,
        version: ApiVersion,
    ) -> Result<(), Fault> {
        match mount.kind {
            MountKind::Bind => {
                let source = mount.source.clone().unwrap_or_default();
                self.bind(source, mount, version)?;
            }
            MountKind::Volume => {
                let named = mount.source.as_ref().map(|key| deployment.volume_name(key));
                self.volume(named.or_else(|| inherited.get(&mount.target).cloned()), mount);
            }
            MountKind::Tmpfs => {
                let options = mount.tmpfs.clone().unwrap_or_default();
                self.detailed.push(EngineMount {
                    tmpfs_options: Some(MountTmpfsOptions {
                        size_bytes: options.size,
                        mode: options.mode.map(i64::from),
                        ..Default::default()
                    }),
                    ..plain(mount, MountType::TMPFS, None)
                });
            }
            MountKind::Image => {
                let subpath = mount.image.clone().and_then(|image| image.subpath);
                // By its name, as under Compose: not every engine takes each id that it gives.
                let image = mount.source.as_ref().map(|source| deployment.mounted_image(source));
                self.detailed.push(EngineMount {
                    image_options: subpath.map(|subpath| MountImageOptions { subpath: Some(subpath) }),
                    ..plain(mount, MountType::IMAGE, image)
                });
            }
            MountKind::Npipe => self.detailed.push(plain(mount, MountType::NPIPE, mount.source.clone())),
            MountKind::Cluster => self.detailed.push(plain(mount, MountType::CLUSTER, mount.source.clone())),
        }
        Ok(())
    }

    fn bind(&mut self, source: String, mount: &Mount, version: ApiVersion) -> Result<(), Fault> {
        let options = mount.bind.clone().unwrap_or_default();
        let BindOptions { propagation, create_host_path, recursive, selinux: _ } = &options;
        let special = propagation.is_some() || recursive.is_some() || *create_host_path == Some(false);
        if !special && !source.contains(':') && !mount.target.contains(':') {
            self.binds.push(joined(&source, mount));
            return Ok(());
        }
        let mut bind = MountBindOptions::default();
        if let Some(propagation) = propagation {
            bind.propagation = Some(propagation_of(propagation)?);
        }
        if create_host_path.unwrap_or(true) && version >= ApiVersion::v1(42) {
            bind.create_mountpoint = Some(true);
        }
        match recursive.as_deref() {
            None | Some("enabled") => {}
            Some("disabled") => bind.non_recursive = Some(true),
            Some("writable") => bind.read_only_non_recursive = Some(true),
            Some("readonly") => {
                bind.read_only_force_recursive = Some(true);
            }
            Some(other) => return Err(Fault::permanent(format!("`{other}` is not a way to bind recursively"))),
        }
        self.detailed.push(EngineMount { bind_options: Some(bind), ..plain(mount, MountType::BIND, Some(source)) });
        Ok(())
    }

    fn volume(&mut self, name: Option<String>, mount: &Mount) {
        let options = mount.volume.clone().unwrap_or_default();
        let VolumeOptions { labels, nocopy, subpath } = options;
        let special = nocopy || subpath.is_some() || !labels.is_empty();
        if special {
            let volume_options = MountVolumeOptions {
                no_copy: nocopy.then_some(true),
                labels: (!labels.is_empty()).then(|| labels.into_iter().collect::<HashMap<_, _>>()),
                subpath,
                ..Default::default()
            };
            self.detailed.push(EngineMount { volume_options: Some(volume_options), ..plain(mount, MountType::VOLUME, name) });
            return;
        }
        match name {
            Some(name) => self.binds.push(joined(&name, mount)),
            // The engine makes an anonymous volume.
            None => self.detailed.push(plain(mount, MountType::VOLUME, None)),
        }
    }
}

fn plain(mount: &Mount, kind: MountType, source: Option<String>) -> EngineMount {
    EngineMount {
        typ: Some(kind),
        source,
        target: Some(mount.target.clone()),
        read_only: mount.read_only.then_some(true),
        ..Default::default()
    }
}

/// As Compose writes it: what may be done is always said.
fn joined(source: &str, mount: &Mount) -> String {
    let access = if mount.read_only { "ro" } else { "rw" };
    let selinux = mount.bind.as_ref().and_then(|bind| bind.selinux.as_deref());
    let flag = selinux.map(|flag| format!(",{flag}")).unwrap_or_default();
    format!("{source}:{}:{access}{flag}", mount.target)
}

fn propagation_of(text: &str) -> Result<Propagation, Fault> {
    Ok(match text {
        "private" => Propagation::PRIVATE,
        "rprivate" => Propagation::RPRIVATE,
        "shared" => Propagation::SHARED,
        "rshared" => Propagation::RSHARED,
        "slave" => Propagation::SLAVE,
        "rslave" => Propagation::RSLAVE,
        other => return Err(Fault::permanent(format!("`{other}` is not a bind propagation"))),
    })
}

/// A secret or config whose content the stack holds: it is written into the container once that is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WrittenFile {
    /// The path inside.
    pub(super) path: String,
    /// What is written.
    pub(super) content: String,
    /// Owner.
    pub(super) uid: u64,
    /// Group.
    pub(super) gid: u64,
    /// Unix mode.
    pub(super) mode: u32,
}

/// The files that a container is given: those of the host are mounts, those that the stack holds are written.
pub(super) fn granted_files(
    deployment: &Deployment,
    common: &Common,
    read_only: bool,
) -> Result<(Vec<EngineMount>, Vec<WrittenFile>), Fault> {
    let (mut mounts, mut written) = (Vec::new(), Vec::new());
    let stack = &deployment.stack;
    let secrets = common.secrets.iter().map(|grant| ("secret", grant, stack.secrets.get(&grant.source)));
    let configs = common.configs.iter().map(|grant| ("config", grant, stack.configs.get(&grant.source)));
    for (kind, grant, object) in secrets.chain(configs) {
        let FileGrant { source, .. } = grant;
        let Some(object) = object else { return Err(Fault::permanent(format!("the {kind} `{source}` is not declared"))) };
        let target = target_of(kind, grant);
        let FileObject { file, content, external, .. } = object;
        if *external {
            return Err(Fault::permanent(format!("the {kind} `{source}` is external, which only Swarm knows")));
        } else if let Some(file) = file {
            mounts.push(EngineMount {
                typ: Some(MountType::BIND),
                source: Some(file.display().to_string()),
                target: Some(target),
                read_only: Some(true),
                ..Default::default()
            });
        } else if read_only {
            return Err(Fault::permanent(format!(
                "the {kind} `{source}` cannot be written into a `read_only` container; use `file`"
            )));
        } else {
            written.push(WrittenFile {
                path: target,
                content: content.clone().unwrap_or_default(),
                uid: number(kind, source, "uid", grant.uid.as_deref())?,
                gid: number(kind, source, "gid", grant.gid.as_deref())?,
                mode: mode(kind, source, grant.mode.as_deref())?,
            });
        }
    }
    Ok((mounts, written))
}

fn target_of(kind: &str, grant: &FileGrant) -> String {
    let target = grant.target.as_deref().unwrap_or(&grant.source);
    match kind {
        _ if target.starts_with('/') => target.to_owned(),
        "secret" => format!("/run/secrets/{target}"),
        _ => format!("/{target}"),
    }
}

fn number(kind: &str, source: &str, what: &str, text: Option<&str>) -> Result<u64, Fault> {
    text.map_or(Ok(0), str::parse).map_err(|_| {
        Fault::permanent(format!("the {what} of {kind} `{source}` is not a number, and names are only known inside"))
    })
}

fn mode(kind: &str, source: &str, text: Option<&str>) -> Result<u32, Fault> {
    let text = text.unwrap_or("0444");
    u32::from_str_radix(text.trim_start_matches("0o"), 8)
        .map_err(|_| Fault::permanent(format!("the mode `{text}` of {kind} `{source}` is not an octal number")))
}

/// The archive that is unpacked at a container's root. The engine makes the directories that are missing.
pub(super) fn archive(files: &[WrittenFile]) -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for file in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(file.content.len() as u64);
        header.set_mode(file.mode);
        header.set_uid(file.uid);
        header.set_gid(file.gid);
        tar.append_data(&mut header, file.path.trim_start_matches('/'), file.content.as_bytes())?;
    }
    tar.into_inner()
}

/// The permissions in a Unix mode.
const PERMISSIONS: u32 = 0o7777;

/// Whether an archive holds this file and nothing else; under which name does not matter.
pub(super) fn is_archive_of(archive: &[u8], file: &WrittenFile) -> bool {
    let is_of = || -> std::io::Result<bool> {
        let mut archive = tar::Archive::new(archive);
        let mut entries = archive.entries()?;
        let Some(mut entry) = entries.next().transpose()? else { return Ok(false) };
        let header = entry.header();
        let is_same = (header.uid()?, header.gid()?, header.mode()? & PERMISSIONS) == (file.uid, file.gid, file.mode);
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        Ok(is_same && content == file.content.as_bytes() && entries.next().is_none())
    };
    is_of().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_written_is_known_again_by_its_content_owner_and_mode() {
        let file = WrittenFile { path: "/etc/c".to_owned(), content: "hello".to_owned(), uid: 1, gid: 2, mode: 0o444 };
        let written = archive(std::slice::from_ref(&file)).unwrap();
        assert!(is_archive_of(&written, &WrittenFile { path: "/elsewhere".to_owned(), ..file.clone() }));
        for other in [
            WrittenFile { content: "hell".to_owned(), ..file.clone() },
            WrittenFile { uid: 0, ..file.clone() },
            WrittenFile { gid: 0, ..file.clone() },
            WrittenFile { mode: 0o440, ..file.clone() },
        ] {
            assert!(!is_archive_of(&written, &other), "{other:?}");
        }
        assert!(!is_archive_of(&archive(&[file.clone(), file.clone()]).unwrap(), &file));
        assert!(!is_archive_of(b"no archive", &file));
    }
}
