//! `ulimits` and `oom_score_adj`: what the kernel will refuse is said before the start.

use caps::{CapSet, Capability};
use indexmap::IndexMap;

use super::child::Limit;
use super::marker::Marker;
use crate::model::service::Ulimit;
use crate::plan::action::Fault;

/// Docker's names of the limits (docker/go-units, ulimit.go).
const NAMES: [(&str, u32); 15] = [
    ("core", libc::RLIMIT_CORE),
    ("cpu", libc::RLIMIT_CPU),
    ("data", libc::RLIMIT_DATA),
    ("fsize", libc::RLIMIT_FSIZE),
    ("locks", libc::RLIMIT_LOCKS),
    ("memlock", libc::RLIMIT_MEMLOCK),
    ("msgqueue", libc::RLIMIT_MSGQUEUE),
    ("nice", libc::RLIMIT_NICE),
    ("nofile", libc::RLIMIT_NOFILE),
    ("nproc", libc::RLIMIT_NPROC),
    ("rss", libc::RLIMIT_RSS),
    ("rtprio", libc::RLIMIT_RTPRIO),
    ("sigpending", libc::RLIMIT_SIGPENDING),
    ("stack", libc::RLIMIT_STACK),
    ("as", libc::RLIMIT_AS),
];

/// The limits as the child sets them.
pub(super) fn resolve(ulimits: &IndexMap<String, Ulimit>) -> Result<Vec<Limit>, Fault> {
    ulimits.iter().map(|(name, limit)| resolve_one(name, *limit)).collect()
}

/// One limit as the child sets it.
pub(super) fn resolve_one(name: &str, limit: Ulimit) -> Result<Limit, Fault> {
    resolve_for(name, limit, holds(Capability::CAP_SYS_RESOURCE))
}

fn resolve_for(name: &str, limit: Ulimit, privileged: bool) -> Result<Limit, Fault> {
    if name == "rttime" {
        return Err(Fault::permanent("`ulimits.rttime` is used by baistack itself, to know the processes of an environment"));
    }
    let Some((_, resource)) = NAMES.iter().find(|(known, _)| *known == name) else {
        return Err(Fault::permanent(format!(
            "`ulimits.{name}` is not a limit; there are {}",
            NAMES.map(|(name, _)| name).join(", ")
        )));
    };
    let value = |number: i64| u64::try_from(number).unwrap_or(libc::RLIM64_INFINITY);
    let (soft, hard) = (value(limit.soft), value(limit.hard));
    if soft > hard {
        return Err(Fault::permanent(format!("`ulimits.{name}`: the soft limit is above the hard one")));
    }
    let now = current(*resource);
    if hard > now.rlim_max && !privileged {
        return Err(Fault::permanent(format!(
            "`ulimits.{name}: {}` is above this user's hard limit of {}; only a privileged user may raise it",
            shown(hard),
            shown(now.rlim_max)
        )));
    }
    Ok(Limit { resource: *resource, soft, hard: Some(hard) })
}

/// The limit that carries a marker; none where the host does not let us set it that high.
pub(super) fn marking(marker: Marker) -> Option<Limit> {
    let allowed = marker.limit() <= current(libc::RLIMIT_RTTIME).rlim_max;
    allowed.then(|| Limit { resource: libc::RLIMIT_RTTIME, soft: marker.limit(), hard: None })
}

/// Checks `oom_score_adj` and gives its text.
pub(super) fn oom_score(score: i64) -> Result<String, Fault> {
    if !(-1000..=1000).contains(&score) {
        return Err(Fault::permanent(format!("`oom_score_adj: {score}` is not between -1000 and 1000")));
    }
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").ok().and_then(|text| text.trim().parse().ok());
    if score < own.unwrap_or(0) && !holds(Capability::CAP_SYS_RESOURCE) {
        return Err(Fault::permanent(format!("`oom_score_adj: {score}` is below our own, which needs CAP_SYS_RESOURCE")));
    }
    Ok(score.to_string())
}

fn holds(capability: Capability) -> bool {
    caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false)
}

fn current(resource: u32) -> libc::rlimit64 {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: libc::RLIM64_INFINITY };
    // SAFETY: reads a limit of this process into a structure of ours.
    unsafe { libc::prlimit64(0, resource, std::ptr::null(), &raw mut limit) };
    limit
}

fn shown(limit: u64) -> String {
    if limit == libc::RLIM64_INFINITY { "unlimited".to_owned() } else { limit.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_loads_as_a_limit_is_one() {
        let mut known = NAMES.map(|(name, _)| name);
        known.sort_unstable();
        assert_eq!(known, crate::model::kernel::LIMITS);
    }

    #[test]
    fn a_limit_that_cannot_be_had_is_said_before_the_start() {
        let message = |name: &str, soft, hard| resolve_for(name, Ulimit { soft, hard }, false).map_err(|fault| fault.message);
        assert!(message("nofile", 16, 16).is_ok());
        assert!(message("rttime", 1, 1).unwrap_err().contains("used by baistack"));
        assert!(message("files", 1, 1).unwrap_err().contains("nofile"));
        assert!(message("nofile", 2, 1).unwrap_err().contains("soft limit is above"));
        let above = i64::try_from(current(libc::RLIMIT_NOFILE).rlim_max.saturating_add(1)).unwrap();
        assert!(message("nofile", above, above).unwrap_err().contains("hard limit of"));
        assert!(resolve_for("nofile", Ulimit { soft: above, hard: above }, true).is_ok());
    }
}
