//! What of a process's definition this host will not do: a user or group that it does not have or we may not take, limits that only
//! root may raise, what its kernel does not have. Asked before anything starts, so that it can be told at its place.

use super::user::Account;
use super::{isolation, limits, signal};
use crate::model::hook::Hook;
use crate::model::kernel;
use crate::model::process::Isolation;
use crate::model::service::Service;
use crate::plan::action::Fault;
use crate::world::kernel::{capabilities, host};

/// An attribute, as keys below the service, and what is wrong with it.
pub type Unfit = (Vec<String>, Fault);

/// Everything of one process that cannot be.
pub fn unfit(service: &Service) -> Vec<Unfit> {
    let common = &service.common;
    let mut found: Vec<Unfit> = Vec::new();
    let mut tell = |keys: &[&str], fault: Fault| found.push((keys.iter().map(|&key| key.to_owned()).collect(), fault));
    if let Err(fault) = Account::resolve(common.user.as_deref(), &[]) {
        tell(&["user"], fault);
    }
    for (index, group) in common.group_add.iter().enumerate() {
        if let Err(fault) = Account::resolve(None, std::slice::from_ref(group)) {
            tell(&["group_add", &index.to_string()], fault);
        }
    }
    for (key, hooks) in [("post_start", &common.post_start), ("pre_stop", &common.pre_stop)] {
        for (index, hook) in hooks.iter().enumerate() {
            let Hook { user: Some(user), .. } = hook else { continue };
            if let Err(fault) = Account::resolve(Some(user), &[]) {
                tell(&[key, &index.to_string(), "user"], fault);
            }
        }
    }
    for (name, limit) in &common.ulimits {
        if let Err(fault) = limits::resolve_one(name, *limit) {
            tell(&["ulimits", name], fault);
        }
    }
    if let Some(Err(fault)) = common.oom_score_adj.map(limits::oom_score) {
        tell(&["oom_score_adj"], fault);
    }
    let is_isolated = service.process().is_some_and(|process| process.isolation == Isolation::Pid);
    if is_isolated && let Err(fault) = isolation::check() {
        tell(&["isolation"], fault);
    }
    if let Some(why) = capabilities::why_none().filter(|_| !common.cap_add.is_empty()) {
        tell(&["cap_add"], Fault::permanent(why));
    }
    // What is a signal on no host is told when it is loaded.
    let is_missing = |name: &&str| kernel::is_signal(name) && signal::number(name).is_none();
    if let Some(name) = common.stop_signal.as_deref().filter(is_missing) {
        tell(&["stop_signal"], Fault::permanent(format!("{} has no signal `{name}`", host::NAME)));
    }
    found
}
