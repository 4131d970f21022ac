//! What a stack asks of this host that the host will not do, at its place in the files.

use std::path::Path;

use crate::base::diagnostic::Diagnostic;
use crate::base::name::ServiceName;
use crate::load::Loaded;
use crate::model::mount::MountKind;
use crate::model::process::fill_replica;
use crate::model::service::Service;
use crate::model::stack::Stack;
use crate::plan::desired::Places;
use crate::supervisor;
use crate::world::native::unfit::unfit;
use crate::world::removal;
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
                Some("isolation" | "cap_add" | "stop_signal") => {
                    "leave it out where this stack is started, or start the stack on a host that has it"
                }
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

/// Processes among these services whose `working_dir` is not there, and that nothing makes before their start.
pub fn missing_directories(loaded: &Loaded, services: &[ServiceName], places: &Places) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for name in services {
        let Some(service) = loaded.stack.services.get(name).filter(|service| service.is_process()) else { continue };
        let Some(own) = &service.common.working_dir else { continue };
        let filled = fill_replica(own, 1);
        let directory = Path::new(filled.as_ref());
        if directory.is_dir() || is_made(directory, name, &loaded.stack, places) {
            continue;
        }
        let what = if directory.exists() { "is not a directory" } else { "does not exist" };
        let node = loaded.tree.get("processes").and_then(|processes| processes.get(name.as_str()));
        let place = node.and_then(|node| node.get("working_dir")).or(node);
        let diagnostic = Diagnostic::error("unfit-host", format!("`{name}`: working_dir `{}` {what}", directory.display()));
        let diagnostic = place.into_iter().fold(diagnostic, |diagnostic, node| diagnostic.at(node.span, ""));
        found.push(diagnostic.help("name a directory that is there; what lies in `${ENV_DIR}`, or holds its `scratch`, is made"));
    }
    found
}

/// Scratch directories that would be made elsewhere than they stand in the file, since a link on the way leads out of the stack's
/// directory: what lies there is nobody's to remove.
pub fn led_astray(loaded: &Loaded, services: &[ServiceName]) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for name in services {
        let Some(process) = loaded.stack.services.get(name).and_then(Service::process) else { continue };
        let node = loaded.tree.get("processes").and_then(|processes| processes.get(name.as_str()));
        for (index, scratch) in process.scratch.iter().enumerate() {
            let filled = fill_replica(&scratch.to_string_lossy(), 1).into_owned();
            let (path, stack) = (Path::new(&filled), &loaded.stack.directory);
            // What is there is not made.
            let Some(link) = removal::link_out_of(path, stack).filter(|_| !path.exists()) else { continue };
            let list = node.and_then(|node| node.get("scratch"));
            let place = list.and_then(|list| step(list, &index.to_string())).or(list).or(node);
            let leads = format!("the link `{}` leads out of `{}`", link.display(), stack.display());
            let what = format!("`{name}`: scratch `{}` would be made outside of the stack: {leads}", path.display());
            let diagnostic = Diagnostic::error("unfit-host", what);
            let diagnostic = place.into_iter().fold(diagnostic, |diagnostic, node| diagnostic.at(node.span, ""));
            found.push(
                diagnostic.help("name where it is to be, or make it there by hand: what is there already is used, and stays"),
            );
        }
    }
    found
}

/// Whether a directory is made before a process starts in it, or could be by what that depends on.
fn is_made(directory: &Path, name: &ServiceName, stack: &Stack, places: &Places) -> bool {
    let is_ours = [&places.env_dir, &places.run_dir].into_iter().any(|place| directory.starts_with(place));
    let own = stack.services[name].process().map(|process| process.scratch.as_slice()).unwrap_or_default();
    let before = supervisor::select(stack, std::slice::from_ref(name), false);
    let makes = |other: &ServiceName| {
        let service = &stack.services[other];
        // Nobody knows what a program makes; a container reaches only what it mounts.
        service.provider().is_some()
            || service.container().is_none_or(|container| {
                let binds = container.volumes.iter().filter(|mount| mount.kind == MountKind::Bind);
                let mut binds = binds.filter_map(|mount| mount.source.as_deref().map(Path::new));
                binds.any(|bind| bind.starts_with(directory) || directory.starts_with(bind))
            })
    };
    is_ours || own.iter().any(|scratch| scratch.starts_with(directory)) || before.iter().filter(|other| *other != name).any(makes)
}

fn step<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    match node.as_sequence() {
        Some(items) => items.get(key.parse::<usize>().ok()?),
        None => node.get(key),
    }
}
