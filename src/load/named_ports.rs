//! Named ports: that each has one meaning, whoever looks at it, and that it is a port.

use super::interpolate::shortened;
use super::told::bad_value;
use super::variables::{Origin, Variables};
use super::{Head, short};
use crate::base::diagnostic::Diagnostics;
use crate::model::port::NamedPort;
use crate::yaml::node::{Mapping, Node};
use crate::yaml::place::Place;
use crate::yaml::typed::typed;

/// Looks at `ports` of the whole tree, filled in.
pub(super) fn check(root: &Node, head: &Head, variables: &Variables, diagnostics: &mut Diagnostics) {
    let section = Place::ROOT.key("ports");
    for (name, entry) in root.get("ports").and_then(Node::as_mapping).into_iter().flat_map(Mapping::iter) {
        if diagnostics.has_error_within(entry.node.span) {
            continue;
        }
        let place = section.key(name);
        // Before there are named ports the first look has filled it in.
        let now = typed::<NamedPort>(&entry.node, "bad-value", &mut Diagnostics::default());
        if now != head.named_ports.get(name).copied() {
            let help = "write a number, or a variable of the caller's environment or of `.env`";
            bad_value(&place, entry.node.span, "a named port cannot be made of what the stack itself names", help, diagnostics);
            continue;
        }
        let Some(variable) = variables.get(name) else { continue };
        let by = match variable.origin {
            Origin::Environment => "in the environment",
            Origin::File(_) => "by a file of variables",
            Origin::Predefined => "by us",
            Origin::NamedPort | Origin::Generated => continue,
        };
        if !short::range(&variable.value).is_ok_and(|(first, _)| first > 0) {
            let why = format!("`{name}` is set to `{}` {by}, which is no port", shortened(&variable.value));
            bad_value(&place, entry.key_span, why, "give the port a name of its own, or set the variable to a port", diagnostics);
        }
    }
}
