//! `ulimits` and `oom_score_adj`: what the kernel will refuse is said before the start.

use indexmap::IndexMap;

use crate::model::service::Ulimit;
use crate::plan::action::Fault;
use crate::world::kernel::launch::Limit;
use crate::world::kernel::limits::UNLIMITED;
use crate::world::kernel::{self, host};

/// The limits as the child sets them.
pub(super) fn resolve(ulimits: &IndexMap<String, Ulimit>) -> Result<Vec<Limit>, Fault> {
    ulimits.iter().map(|(name, limit)| resolve_one(name, *limit)).collect()
}

/// One limit as the child sets it.
pub(super) fn resolve_one(name: &str, limit: Ulimit) -> Result<Limit, Fault> {
    resolve_for(name, limit, kernel::limits::may_be_raised())
}

fn resolve_for(name: &str, limit: Ulimit, privileged: bool) -> Result<Limit, Fault> {
    if name == "rttime" {
        return Err(Fault::permanent("`ulimits.rttime` is used by baistack itself, to know the processes of an environment"));
    }
    let Some((_, resource)) = kernel::limits::NAMES.iter().find(|(known, _)| *known == name) else {
        return Err(Fault::permanent(format!(
            "`ulimits.{name}` is not a limit; {} has {}",
            host::NAME,
            kernel::limits::NAMES.map(|(name, _)| name).join(", ")
        )));
    };
    let value = |number: i64| u64::try_from(number).unwrap_or(UNLIMITED);
    let (soft, hard) = (value(limit.soft), value(limit.hard));
    if soft > hard {
        return Err(Fault::permanent(format!("`ulimits.{name}`: the soft limit is above the hard one")));
    }
    let (_, highest) = kernel::limits::current(*resource);
    if hard > highest && !privileged {
        return Err(Fault::permanent(format!(
            "`ulimits.{name}: {}` is above this user's hard limit of {}; only a privileged user may raise it",
            shown(hard),
            shown(highest)
        )));
    }
    Ok(Limit { resource: *resource, soft, hard: Some(hard) })
}

/// Checks `oom_score_adj` and gives its text.
pub(super) fn oom_score(score: i64) -> Result<String, Fault> {
    if !(-1000..=1000).contains(&score) {
        return Err(Fault::permanent(format!("`oom_score_adj: {score}` is not between -1000 and 1000")));
    }
    let Some(own) = kernel::limits::own_oom_score() else {
        return Err(Fault::permanent(format!("`oom_score_adj`: {} has no such score", host::NAME)));
    };
    if score < own && !kernel::limits::may_be_raised() {
        return Err(Fault::permanent(format!("`oom_score_adj: {score}` is below our own, which needs CAP_SYS_RESOURCE")));
    }
    Ok(score.to_string())
}

fn shown(limit: u64) -> String {
    if limit == UNLIMITED { "unlimited".to_owned() } else { limit.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_loads_as_a_limit_is_one() {
        let mut known = kernel::limits::NAMES.map(|(name, _)| name);
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
        let (_, highest) = kernel::limits::current(libc::RLIMIT_NOFILE);
        let above = i64::try_from(highest.saturating_add(1)).unwrap();
        assert!(message("nofile", above, above).unwrap_err().contains("hard limit of"));
        assert!(resolve_for("nofile", Ulimit { soft: above, hard: above }, true).is_ok());
    }
}
