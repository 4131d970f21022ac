//! How much memory environments use, for a list of all of them: one look at the processes of this host, and none at the engine.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::marker::Marker;
use crate::base::name::EnvId;
use crate::world::envdir::own_uid;
use crate::world::kernel::processes;

/// Where the kernel's control groups are found.
const GROUPS: &str = "/sys/fs/cgroup";

/// Bytes of memory that the processes of these environments, each with the place of its state, hold, by the mark that all of them have. The host is gone through
/// once, and not at all where no environment is given. What processes share counts for each of them.
pub fn of_processes(environments: &[(&EnvId, &Path)]) -> BTreeMap<EnvId, u64> {
    let mut sums = BTreeMap::new();
    if environments.is_empty() {
        return sums;
    }
    let marks: Vec<(Marker, &EnvId)> =
        environments.iter().map(|(env, state_dir)| (Marker::of_env(env, state_dir, own_uid()), *env)).collect();
    for pid in processes::numbers() {
        let Some(mark) = Marker::of_process(pid) else { continue };
        let Some((_, env)) = marks.iter().find(|(own, _)| own.is_of_same_env(mark)) else { continue };
        *sums.entry((*env).clone()).or_default() += processes::resident(pid).unwrap_or(0);
    }
    sums
}

/// The memory of containers of an engine on this host, as the kernel counts it for their control groups.
pub struct OfContainers {
    /// Where such a group may lie, with `ID` for the container's id.
    places: Vec<PathBuf>,
}

impl OfContainers {
    /// The usual places of this host: of either version, under systemd and without.
    pub fn look() -> Self {
        Self::below(Path::new(GROUPS))
    }

    fn below(root: &Path) -> Self {
        let all = [
            "system.slice/docker-ID.scope/memory.current",
            "docker/ID/memory.current",
            "memory/system.slice/docker-ID.scope/memory.usage_in_bytes",
            "memory/docker/ID/memory.usage_in_bytes",
        ];
        Self { places: all.iter().map(|place| root.join(place)).collect() }
    }

    /// Bytes that a container uses; none where its group is not to be seen from here.
    pub fn of(&self, id: &str) -> Option<u64> {
        let read = |place: &PathBuf| fs::read_to_string(place.to_str()?.replace("ID", id)).ok()?.trim().parse().ok();
        self.places.iter().find_map(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::native::testing::World;

    #[test]
    fn all_processes_of_an_environment_count_and_nobody_elses() {
        let mut world = World::new("memory");
        let spec = world.unit("a", "sleep 1000 & exec sleep 1000", |_, _| {});
        world.start(&spec).unwrap();
        let env: EnvId = "memory".parse().unwrap();
        let sum = of_processes(&[(&env, world.directory.path())]);
        assert!(sum[&env] > 0, "{sum:?}");
        let elsewhere = tempfile::tempdir().unwrap();
        assert_eq!(of_processes(&[(&env, elsewhere.path())]), BTreeMap::new(), "the same name with its state elsewhere");
        assert_eq!(of_processes(&[]), BTreeMap::new());
        assert!(processes::resident(i32::try_from(std::process::id()).unwrap()).unwrap() > 100_000);
    }

    #[test]
    fn the_groups_of_containers_are_found_under_either_version() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        for (file, bytes) in [("docker/a1/memory.current", 7), ("memory/docker/b2/memory.usage_in_bytes", 9)] {
            fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
            fs::write(root.join(file), format!("{bytes}\n")).unwrap();
        }
        let containers = OfContainers::below(root);
        assert_eq!((containers.of("a1"), containers.of("b2"), containers.of("c3")), (Some(7), Some(9), None));
    }
}
