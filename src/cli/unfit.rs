//! What a stack asks of this host that the host will not do, at its place in the files.

use crate::base::diagnostic::Diagnostic;
use crate::load::Loaded;
use crate::world::native::unfit::unfit;
use crate::yaml::node::Node;

/// Looks at every process that is on.
pub fn check(loaded: &Loaded) -> Vec<Diagnostic> {
    let processes = loaded.tree.get("processes");
    let mut found = Vec::new();
    for (name, service) in loaded.stack.services.iter().filter(|(_, service)| service.is_process()) {
        let Some(node) = processes.and_then(|processes| processes.get(name.as_str())) else { continue };
        for (keys, fault) in unfit(service) {
            // As far as the tree goes: an attribute may have a short form.
            let at = keys.iter().try_fold(node, |node, key| step(node, key).ok_or(node)).unwrap_or_else(|nearest| nearest);
            let help = match keys.last().map(String::as_str) {
                Some("user") => "name a user of this host; any but the caller's own takes root",
                Some("oom_score_adj") => "write a higher number, or start the supervisor with more rights",
                _ if keys.first().is_some_and(|key| key == "group_add") => {
                    "name a group of this host that the caller is in, or be root"
                }
                _ => "write a lower limit, or start the supervisor with more rights",
            };
            found.push(Diagnostic::error("unfit-host", format!("`{name}`: {}", fault.message)).at(at.span, "").help(help));
        }
    }
    found
}

fn step<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    match node.as_sequence() {
        Some(items) => items.get(key.parse::<usize>().ok()?),
        None => node.get(key),
    }
}
