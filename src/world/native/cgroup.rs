//! `mem_limit`, `cpus` and `pids_limit` of a process: a cgroup v2 of its own, where we may make one.
//!
//! It is made in the nearest ancestor of our own cgroup that hands the controllers on and in which we may make one: at the top
//! as root, within `user@.service` for a user whose session manager has delegated them. Where there is none, that is said
//! before anything starts. Nothing is ever switched on in a cgroup that is not ours.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::model::service::Common;
use crate::plan::action::Fault;
use crate::plan::desired::UnitSpec;
use crate::world::kernel::host;

/// The period over which the kernel counts processor time, in microseconds (its default).
const CPU_PERIOD: u32 = 100_000;

/// A cgroup that holds one life of a unit; its directory is removed with it.
#[derive(Debug)]
pub(super) struct Cgroup {
    directory: PathBuf,
}

/// Says, before anything starts, whether a unit's limits can be kept.
pub fn check(spec: &UnitSpec) -> Result<(), Fault> {
    let settings = settings(&spec.service().common);
    if settings.is_empty() { Ok(()) } else { parent(&settings).map(drop) }
}

/// Takes the limits of a process away; those that it had.
pub fn leave_out(common: &mut Common) -> Vec<&'static str> {
    let attributes = settings(common).into_iter().map(|setting| setting.attribute).collect();
    (common.mem_limit, common.cpus, common.pids_limit) = (None, None, None);
    attributes
}

impl Cgroup {
    /// Makes one with the unit's limits, beside those of its other lives; none when it has none.
    pub(super) fn make<'a>(spec: &UnitSpec, mut others: impl Iterator<Item = &'a Self>) -> Result<Option<Self>, Fault> {
        let settings = settings(&spec.service().common);
        if settings.is_empty() {
            return Ok(None);
        }
        let parent = parent(&settings)?;
        let name = format!("baistack-{}-{}-{}", spec.deployment.env, spec.unit.service, spec.unit.replica);
        let own = parent.join(&name);
        let is_taken = others.any(|other| other.directory == own);
        let cgroup = Self { directory: if is_taken { parent.join(name + "-next") } else { own } };
        match fs::create_dir(&cgroup.directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(cgroup.failed("make", &error)),
            Ok(()) | Err(_) => {}
        }
        for setting in &settings {
            fs::write(cgroup.directory.join(setting.file), &setting.value)
                .map_err(|error| Fault::permanent(format!("`{}: {}`: {error}", setting.attribute, setting.value)))?;
        }
        Ok(Some(cgroup))
    }

    /// What a child writes `0` to so as to move in.
    pub(super) fn entrance(&self) -> Result<OwnedFd, Fault> {
        let entrance = fs::OpenOptions::new().write(true).open(self.directory.join("cgroup.procs"));
        entrance.map(OwnedFd::from).map_err(|error| self.failed("enter", &error))
    }

    /// Kills everything in it at once, also what has left its session and its parent.
    pub(super) fn kill(&self) {
        // Kernels before 5.14 have no such file; there the signals have to do.
        let _ = fs::write(self.directory.join("cgroup.kill"), "1");
    }

    fn failed(&self, what: &str, error: &io::Error) -> Fault {
        Fault::permanent(format!("{what} cgroup `{}`: {error}", self.directory.display()))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // One that is not empty (a kept program, or what was just killed) stays until the next life, which takes it over.
        let _ = fs::remove_dir(&self.directory);
    }
}

/// One limit, as the kernel wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    attribute: &'static str,
    controller: &'static str,
    file: &'static str,
    value: String,
}

fn settings(common: &Common) -> Vec<Setting> {
    let positive = |limit: Option<i64>| limit.filter(|&limit| limit > 0);
    let mut settings = Vec::new();
    if let Some(bytes) = positive(common.mem_limit) {
        let value = bytes.to_string();
        settings.push(Setting { attribute: "mem_limit", controller: "memory", file: "memory.max", value });
    }
    if let Some(cpus) = common.cpus.filter(|&cpus| cpus > 0.0) {
        let value = format!("{:.0} {CPU_PERIOD}", cpus * f64::from(CPU_PERIOD));
        settings.push(Setting { attribute: "cpus", controller: "cpu", file: "cpu.max", value });
    }
    if let Some(count) = positive(common.pids_limit) {
        let value = count.to_string();
        settings.push(Setting { attribute: "pids_limit", controller: "pids", file: "pids.max", value });
    }
    settings
}

/// The directory in which a cgroup with these limits can be made.
fn parent(settings: &[Setting]) -> Result<PathBuf, Fault> {
    let attributes = settings.iter().map(|setting| setting.attribute).collect::<Vec<_>>().join("`, `");
    let refused = |why: &str| {
        Fault::permanent(format!(
            "`{attributes}` needs a cgroup v2 that we may make, and {why} (--ignore-limits goes on without)"
        ))
    };
    let (top, own) = host::cgroups().map_err(refused)?;
    let allows = |directory: &&Path| {
        let handed_on = fs::read_to_string(directory.join("cgroup.subtree_control")).unwrap_or_default();
        let has = |setting: &Setting| handed_on.split_ascii_whitespace().any(|controller| controller == setting.controller);
        settings.iter().all(has) && [directory.to_path_buf(), directory.join("cgroup.procs")].iter().all(|path| is_writable(path))
    };
    let found = own.ancestors().take_while(|directory| directory.starts_with(&top)).find(allows);
    found.map(Path::to_owned).ok_or_else(|| refused("none above us hands on what that takes and lets us in"))
}

fn is_writable(path: &Path) -> bool {
    nix::unistd::access(path, nix::unistd::AccessFlags::W_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_written_as_the_kernel_wants_them() {
        let common = Common { mem_limit: Some(64 << 20), cpus: Some(1.5), pids_limit: Some(-1), ..Common::default() };
        let written: Vec<String> = settings(&common).into_iter().map(|s| format!("{}={}", s.file, s.value)).collect();
        assert_eq!(written, ["memory.max=67108864", "cpu.max=150000 100000"]);
        assert_eq!(settings(&Common::default()), []);
    }

    #[test]
    fn what_is_in_a_cgroup_is_killed_in_one_piece() {
        let Ok((top, _)) = host::cgroups() else { return };
        let cgroup = Cgroup { directory: top.join(format!("baistack-test-{}", std::process::id())) };
        // Only root can, and not in every container.
        if fs::create_dir(&cgroup.directory).is_err() || !cgroup.directory.join("cgroup.kill").exists() {
            return;
        }
        let mut children: Vec<_> = (0..3).map(|_| std::process::Command::new("sleep").arg("1000").spawn().unwrap()).collect();
        for child in &children {
            fs::write(cgroup.directory.join("cgroup.procs"), child.id().to_string()).unwrap();
        }
        cgroup.kill();
        for child in &mut children {
            assert!(!child.wait().unwrap().success());
        }
        let directory = cgroup.directory.clone();
        drop(cgroup);
        assert!(!directory.exists());
    }
}
