//! Files that are copied into a running container: `sync` of `develop.watch`.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bollard::query_parameters::UploadToContainerOptionsBuilder;

use super::exec::ExecSpec;
use super::{Docker, error};
use crate::model::watch::{Sources, WatchAction, WatchRule};
use crate::plan::action::{Fault, Outcome};
use crate::plan::desired::UnitSpec;
use crate::world::watch;

/// As many files are held in memory at once.
const AT_ONCE: usize = 64;

impl Docker {
    /// Copies files where a rule wants them, and removes there what is gone here.
    pub(super) async fn sync(
        &self,
        spec: &UnitSpec,
        container: &str,
        rule: &WatchRule,
        paths: Option<Vec<PathBuf>>,
    ) -> Result<Outcome, Fault> {
        let link = self.link().await?;
        let whole = paths.is_none();
        let (service, listed, sources) = (spec.unit.service.clone(), rule.clone(), Sources::of(spec.service()));
        let list = move || paths.unwrap_or_else(|| watch::files(service, listed, sources));
        let paths = blocking(list).await?;
        let mut gone = Vec::new();
        for some in paths.chunks(AT_ONCE) {
            let (some, rule) = (some.to_vec(), rule.clone());
            let copied = blocking(move || pack(&rule, &some)).await?;
            let copied = copied.map_err(|error| Fault::permanent(format!("read what has changed: {error}")))?;
            gone.extend(copied.gone);
            if copied.count == 0 {
                continue;
            }
            let options = UploadToContainerOptionsBuilder::default().path("/").build();
            match link.api.upload_to_container(container, Some(options), bollard::body_full(copied.archive.into())).await {
                Ok(()) => {}
                Err(error) if error::is_not_found(&error) => return Err(Fault::temporary("the container is gone")),
                Err(error) => return Err(error.into()),
            }
        }
        if !gone.is_empty() {
            let command = ["rm", "-rf", "--"].map(str::to_owned).into_iter().chain(gone).collect();
            let remove = ExecSpec { command, user: Some("0".to_owned()), ..ExecSpec::default() };
            let (code, output) = self.output_of(container, &remove).await?;
            if code != 0 {
                return Err(Fault::permanent(format!("what is gone could not be removed in the container: {}", output.trim())));
            }
        }
        if let Some(hook) = rule.exec.as_ref().filter(|_| rule.action == WatchAction::SyncExec && !whole) {
            let (code, output) = self.run_inside(container, hook).await?;
            if code != 0 {
                let command = hook.command.join(" ");
                return Err(Fault::permanent(format!("`{command}` ended with exit code {code}: {}", output.trim())));
            }
        }
        Ok(Outcome::Done)
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Fault::permanent(format!("a fault of our own: {error}")))
}

/// Files for a container.
struct Packed {
    archive: Vec<u8>,
    /// How many are in the archive.
    count: usize,
    /// Paths inside of what is not there any more.
    gone: Vec<String>,
}

fn pack(rule: &WatchRule, paths: &[PathBuf]) -> io::Result<Packed> {
    let mut tar = tar::Builder::new(Vec::new());
    let (mut count, mut gone) = (0, Vec::new());
    for path in paths {
        let Some(inside) = place_of(rule, path) else { continue };
        let content = fs::metadata(path).and_then(|metadata| Ok((fs::read(path)?, metadata)));
        match content {
            Ok((content, metadata)) => {
                let mut header = tar::Header::new_gnu();
                header.set_size(content.len() as u64);
                header.set_mode(metadata.permissions().mode() & 0o7777);
                header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or_default());
                tar.append_data(&mut header, inside.trim_start_matches('/'), content.as_slice())?;
                count += 1;
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                // With the last file of a directory the directory goes, if it is gone here too.
                let outermost = path.ancestors().skip(1).take_while(|above| *above != rule.path && is_gone(above)).last();
                let inside = outermost.and_then(|above| place_of(rule, above)).unwrap_or(inside);
                if !gone.contains(&inside) {
                    gone.push(inside);
                }
            }
            // Where a file was there is a directory now, whose files are told one by one.
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {}
            Err(error) => return Err(io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))),
        }
    }
    Ok(Packed { archive: tar.into_inner()?, count, gone })
}

/// Whether there is nothing any more, not even a link that leads nowhere.
fn is_gone(path: &Path) -> bool {
    matches!(fs::symlink_metadata(path), Err(error) if error.kind() == io::ErrorKind::NotFound)
}

/// Where a file belongs in the container; none for one that the rule does not watch, and for a target that is the root.
fn place_of(rule: &WatchRule, path: &Path) -> Option<String> {
    let target = rule.target.as_deref()?.trim_end_matches('/');
    let below = path.strip_prefix(&rule.path).ok()?;
    let inside = if below.as_os_str().is_empty() { target.to_owned() } else { format!("{target}/{}", below.display()) };
    let inside = if inside.starts_with('/') { inside } else { format!("/{inside}") };
    (inside != "/").then_some(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(path: &Path, target: &str) -> WatchRule {
        WatchRule {
            path: path.to_owned(),
            action: WatchAction::Sync,
            target: Some(target.to_owned()),
            ignore: Vec::new(),
            include: Vec::new(),
            initial_sync: false,
            exec: None,
            ignore_defaults: None,
        }
    }

    #[test]
    fn a_file_goes_where_the_rule_wants_it() {
        for (target, path, inside) in [
            ("/app", "/src/a/b.py", Some("/app/a/b.py")),
            ("/app/", "/src/a.py", Some("/app/a.py")),
            ("app", "/src/a.py", Some("/app/a.py")),
            ("/etc/app.conf", "/src", Some("/etc/app.conf")),
            ("/", "/src/a.py", Some("/a.py")),
            ("/", "/src", None),
            ("/app", "/elsewhere/a.py", None),
        ] {
            assert_eq!(place_of(&rule(Path::new("/src"), target), Path::new(path)).as_deref(), inside, "{target} {path}");
        }
    }

    #[test]
    fn what_is_there_is_packed_and_what_is_gone_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("sub/a"), "new").unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let paths = ["sub/a", "sub/gone", "gone", "file/was-a-directory", "sub", "no/more/a", "no/more/b", "no/c"];
        let packed = pack(&rule(dir.path(), "/app"), &paths.map(|path| dir.path().join(path))).unwrap();
        let gone = ["/app/sub/gone", "/app/gone", "/app/file/was-a-directory", "/app/no"].map(str::to_owned);
        assert_eq!((packed.count, packed.gone), (1, gone.to_vec()));
        let mut archive = tar::Archive::new(packed.archive.as_slice());
        let names: Vec<_> = archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().into_owned()).collect();
        assert_eq!(names, [Path::new("app/sub/a")]);
    }
}
