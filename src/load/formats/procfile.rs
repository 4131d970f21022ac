//! Procfile → the tree of a stack file with `processes:`.
//!
//! The rules are Foreman's (`lib/foreman/procfile.rb`, `engine.rb`): `name: command` lines, all others ignored, `PORT` from 5000 in
//! steps of 100 and one more for each further replica, `PS` as `web.1`, `.env` given to every process. That the end of one process
//! ends all is not in the tree: it is how `up` runs such a stack.

use crate::base::diagnostic::{Diagnostic, Diagnostics};
use crate::base::source::{SourceId, Span};
use crate::model::process::{REPLICA_MARK, replica_plus};
use crate::yaml::node::{Mapping, Node, Value};

/// The port of the first process's first replica, unless `PORT` is set for `up` itself.
pub const FIRST_PORT: u32 = 5000;

/// Reads a Procfile. The tree is ready for interpolation: a `$` of a command, which is the shell's, is written `$$` in it.
pub fn parse(source: SourceId, text: &str, first_port: u32, diagnostics: &mut Diagnostics) -> Node {
    let mut processes = Mapping::default();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let content = line.trim_end();
        let place = |from: usize, to: usize| {
            let offset = |at: usize| u32::try_from(start + at).unwrap_or(u32::MAX);
            Span { source, start: offset(from), end: offset(to) }
        };
        match entry(content) {
            Some((name, command)) => {
                let name_span = place(0, name.len());
                let command_span = place(content.len() - command.len(), content.len());
                if let Some(first) = processes.entry(name) {
                    let twice = Diagnostic::error("duplicate-process", format!("the process `{name}` is given twice"));
                    diagnostics.push(twice.at(name_span, "given again here").at(first.key_span, "first given here"));
                } else {
                    let nth = u32::try_from(processes.len()).unwrap_or(u32::MAX);
                    let port = first_port.saturating_add(nth.saturating_mul(100));
                    processes.insert(name, name_span, process(name, command, port, name_span, command_span));
                }
            }
            None if content.trim_start().is_empty() || content.trim_start().starts_with('#') => {}
            None => diagnostics.push(
                Diagnostic::warning("ignored-procfile-line", "this line is ignored, since it is not `name: command`")
                    .at(place(0, content.len()), ""),
            ),
        }
        start += line.len();
    }
    let whole = Span { source, start: 0, end: u32::try_from(text.trim_end().len()).unwrap_or(u32::MAX) };
    mapping([("processes", Node::new(Value::Mapping(processes), whole))], whole)
}

/// Foreman's `/^([A-Za-z0-9_-]+):\s*(.+)$/`.
fn entry(line: &str) -> Option<(&str, &str)> {
    let (name, command) = line.split_once(':')?;
    let command = command.trim_start();
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    (is_name && !command.is_empty()).then_some((name, command))
}

fn process(name: &str, command: &str, port: u32, name_span: Span, command_span: Span) -> Node {
    let text = |text: String| Node::text(text, name_span);
    // Replicas count from 1, and the first gets the port itself.
    let port = text(replica_plus(port.saturating_sub(1)));
    let environment = mapping([("PORT", port), ("PS", text(format!("{name}.{REPLICA_MARK}")))], name_span);
    let optional = Node::new(Value::Bool(false), name_span);
    let env_file = mapping([("path", text(".env".to_owned())), ("required", optional)], name_span);
    mapping(
        [
            ("command", Node::text(command.replace('$', "$$"), command_span)),
            ("environment", environment),
            ("env_file", Node::new(Value::Sequence(vec![env_file]), name_span)),
            ("restart", text("no".to_owned())),
        ],
        name_span,
    )
}

fn mapping<const N: usize>(entries: [(&str, Node); N], span: Span) -> Node {
    let mut mapping = Mapping::default();
    for (key, node) in entries {
        mapping.insert(key, span, node);
    }
    Node::new(Value::Mapping(mapping), span)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::process::fill_replica;
    use crate::yaml::path::Pattern;

    #[test]
    fn lines_become_processes_with_ports_a_hundred_apart() {
        let text = "# c\r\nweb: bundle exec puma -p $PORT\r\n\r\nworker-2:sleep 1\nnot one\nweb: x\n";
        let mut diagnostics = Diagnostics::default();
        let tree = parse(SourceId(0), text, FIRST_PORT, &mut diagnostics);
        let mut seen = Vec::new();
        for pattern in ["processes.*.command", "processes.*.environment.*", "processes.*.restart"] {
            Pattern::new(pattern).for_each(&tree, |path, node| {
                let covered = &text[node.span.start as usize..node.span.end as usize];
                seen.push(format!("{path} = {} @ {covered}", fill_replica(node.as_text().unwrap(), 3)));
            });
        }
        assert_eq!(
            seen,
            [
                "processes.web.command = bundle exec puma -p $$PORT @ bundle exec puma -p $PORT",
                "processes.worker-2.command = sleep 1 @ sleep 1",
                "processes.web.environment.PORT = 5002 @ web",
                "processes.web.environment.PS = web.3 @ web",
                "processes.worker-2.environment.PORT = 5102 @ worker-2",
                "processes.worker-2.environment.PS = worker-2.3 @ worker-2",
                "processes.web.restart = no @ web",
                "processes.worker-2.restart = no @ worker-2",
            ]
        );
        let said: Vec<_> = diagnostics
            .sorted()
            .iter()
            .map(|found| {
                let span = found.labels[0].span;
                format!("{} @ {}", found.message, &text[span.start as usize..span.end as usize])
            })
            .collect();
        assert_eq!(
            said,
            ["this line is ignored, since it is not `name: command` @ not one", "the process `web` is given twice @ web"]
        );
    }
}
