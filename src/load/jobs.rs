//! Jobs: what `run` makes services of for once, and what of them nobody runs.

use std::collections::VecDeque;

use crate::base::diagnostic::{Diagnostic, Diagnostics};
use crate::base::name::ServiceName;
use crate::yaml::node::{Mapping, Node, Value};

/// Makes services of the job that is to be run and of the jobs that it depends on, as Compose does. A service of this name goes
/// before the job, and a name that is neither is not our business.
pub(super) fn to_run(root: &mut Node, name: &str, unstartable: &mut Diagnostics) {
    let is_service = |root: &Node, name: &str| root.get("services").is_some_and(|services| services.get(name).is_some());
    let mut waiting = VecDeque::from([name.to_owned()]);
    while let Some(job) = waiting.pop_front() {
        if is_service(root, &job) {
            continue;
        }
        let jobs = root.as_mapping_mut().and_then(|root| root.get_mut("jobs")).and_then(Node::as_mapping_mut);
        let Some(mut entry) = jobs.and_then(|jobs| jobs.remove(&job)) else { continue };
        let triggers = entry.node.as_mapping_mut().and_then(|job| job.remove("triggers"));
        if let Some(manual) = triggers.as_ref().and_then(|triggers| triggers.node.get("manual"))
            && manual.as_text() == Some("false")
        {
            let fault = if job == name {
                format!("the job `{job}` is not to be run by hand")
            } else {
                format!("the job `{job}`, which `{name}` depends on, is not to be run by hand")
            };
            let help = "remove `manual: false`, which forbids it also as a dependency of another job";
            unstartable.push(Diagnostic::error("cannot-start", fault).at(manual.span, "").help(help));
        }
        let needed = entry.node.get("depends_on").and_then(Node::as_mapping);
        waiting.extend(needed.into_iter().flat_map(Mapping::iter).map(|(name, _)| name.to_owned()));
        let span = entry.key_span;
        let Some(top) = root.as_mapping_mut() else { return };
        if top.get("services").is_none_or(Node::is_null) {
            top.insert("services", span, Node::new(Value::Mapping(Mapping::default()), span));
        }
        if let Some(services) = top.get_mut("services").and_then(Node::as_mapping_mut) {
            services.insert(job, span, entry.node);
        }
    }
}

/// The names of all jobs, also of those whose profile is off.
pub(super) fn names(root: &Node) -> Vec<ServiceName> {
    let jobs = root.get("jobs").and_then(Node::as_mapping).into_iter().flat_map(Mapping::iter);
    // What is no name of a service is told where the job is run.
    jobs.filter_map(|(name, _)| name.parse().ok()).collect()
}

/// The jobs of a printed tree that are to run by a clock, which nothing of ours and nothing of Compose's does: one finding each.
pub fn scheduled(tree: &Node) -> Vec<Diagnostic> {
    let jobs = tree.get("jobs").and_then(Node::as_mapping);
    let schedules = jobs.into_iter().flat_map(Mapping::iter).filter_map(|(name, entry)| {
        let schedule = entry.node.get("triggers")?.as_mapping()?.entry("schedule")?;
        schedule.node.as_sequence().is_some_and(|times| !times.is_empty()).then_some((name, schedule.key_span))
    });
    let told = schedules.map(|(name, span)| {
        let fault = format!("the job `{name}` has a `schedule`, by which nothing here runs it");
        let help = format!(
            "remove `schedule`, or put the job into a profile; `baistack run {name}` runs it, and a process of `processes:` can have a \
             `schedule`"
        );
        Diagnostic::error("cannot-start", fault).at(span, "").help(help)
    });
    told.collect()
}
