//! What a container uses and what runs in it: for `stats` and `top`.

use std::time::{Duration, UNIX_EPOCH};

use bollard::models::{ContainerBlkioStatEntry, ContainerMemoryStats, ContainerStatsResponse};
use bollard::query_parameters::{StatsOptionsBuilder, TopOptionsBuilder};
use futures_util::stream::StreamExt;

use super::{Docker, error};
use crate::plan::action::Fault;
use crate::world::usage::Usage;

/// The columns and rows of `ps -ef`, for the processes of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Top {
    /// Names of the columns.
    pub titles: Vec<String>,
    /// A row each.
    pub processes: Vec<Vec<String>>,
}

impl Docker {
    /// The processes of a container that runs.
    pub async fn top(&self, container: &str) -> Result<Top, Fault> {
        let options = TopOptionsBuilder::default().build();
        let answer = self.link().await?.api.top_processes(container, Some(options)).await?;
        Ok(Top { titles: answer.titles.unwrap_or_default(), processes: answer.processes.unwrap_or_default() })
    }

    /// What a container has used so far; none when it does not run or is gone.
    pub async fn usage(&self, container: &str) -> Result<Option<Usage>, Fault> {
        let options = StatsOptionsBuilder::default().stream(false).one_shot(true).build();
        let link = self.link().await?;
        let answer = std::pin::pin!(link.api.stats(container, Some(options))).next().await;
        match answer {
            Some(Ok(stats)) => Ok(of_stats(&stats)),
            None => Ok(None),
            Some(Err(error)) if matches!(error::status(&error), Some(404 | 409)) => Ok(None),
            Some(Err(error)) => Err(error.into()),
        }
    }
}

fn of_stats(stats: &ContainerStatsResponse) -> Option<Usage> {
    let cpu = stats.cpu_stats.as_ref()?.cpu_usage.as_ref()?.total_usage?;
    let read = humantime::parse_rfc3339(stats.read.as_ref()?).ok()?;
    let memory = stats.memory_stats.as_ref();
    let networks = || stats.networks.iter().flat_map(|all| all.values());
    let io = stats.blkio_stats.as_ref().and_then(|io| io.io_service_bytes_recursive.as_deref()).unwrap_or_default();
    Some(Usage {
        at: read.duration_since(UNIX_EPOCH).unwrap_or_default(),
        cpu: Duration::from_nanos(cpu),
        memory: memory.map(in_use).unwrap_or_default(),
        limit: memory.and_then(|memory| memory.limit),
        network: stats
            .networks
            .as_ref()
            .map(|_| (networks().filter_map(|net| net.rx_bytes).sum(), networks().filter_map(|net| net.tx_bytes).sum())),
        block: Some((bytes(io, "read"), bytes(io, "write"))),
        pids: stats.pids_stats.as_ref().and_then(|pids| pids.current).unwrap_or(0),
    })
}

/// Without the part of the page cache that could be dropped at once, as `docker stats` counts (docker/cli, `calculateMemUsageUnixNoCache`).
fn in_use(memory: &ContainerMemoryStats) -> u64 {
    let usage = memory.usage.unwrap_or(0);
    let part = |name: &str| memory.stats.as_ref().and_then(|stats| stats.get(name)).copied();
    let cache = part("total_inactive_file").or_else(|| part("inactive_file")).filter(|cache| *cache < usage);
    usage - cache.unwrap_or(0)
}

fn bytes(entries: &[ContainerBlkioStatEntry], what: &str) -> u64 {
    let of_kind = |entry: &&ContainerBlkioStatEntry| entry.op.as_deref().is_some_and(|op| op.eq_ignore_ascii_case(what));
    entries.iter().filter(of_kind).filter_map(|entry| entry.value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_engine_counts_is_read_as_docker_stats_reads_it() {
        let answer = r#"{"read": "2026-01-02T03:04:05.5Z", "cpu_stats": {"cpu_usage": {"total_usage": 1500000000}},
            "memory_stats": {"usage": 1000, "limit": 4000, "stats": {"inactive_file": 300}},
            "networks": {"eth0": {"rx_bytes": 1, "tx_bytes": 2}, "eth1": {"rx_bytes": 10, "tx_bytes": 20}},
            "pids_stats": {"current": 3},
            "blkio_stats": {"io_service_bytes_recursive": [{"op": "read", "value": 5}, {"op": "write", "value": 6},
                {"op": "Read", "value": 7}]}}"#;
        let usage = of_stats(&serde_json::from_str(answer).unwrap()).unwrap();
        assert_eq!((usage.cpu, usage.memory, usage.limit, usage.pids), (Duration::from_millis(1500), 700, Some(4000), 3));
        assert_eq!((usage.network, usage.block), (Some((11, 22)), Some((12, 6))));
        assert_eq!(of_stats(&ContainerStatsResponse::default()), None, "of a container that has ended");
    }
}
