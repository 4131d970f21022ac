//! What of a process's definition this host will not do: a user or group that it does not have or we may not take, limits that only
//! root may raise. Asked before anything starts, so that it can be told at its place.

use super::limits;
use super::user::Account;
use crate::model::hook::Hook;
use crate::model::service::Service;
use crate::plan::action::Fault;

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
    found
}
