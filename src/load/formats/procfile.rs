//! Procfile → the tree of a stack file with `processes:`.
//!
//! The rules are Foreman's (`lib/foreman/procfile.rb`, `engine.rb`): `name: command` lines, all others ignored, `PORT` from 5000 in
//! steps of 100 and one more for each further replica, `PS` as `web.1`, `.env` given to every process. Unlike Foreman's, such a number
//! is a named port of the environment and only preferred: `web` has `WEB_PORT`. That the end of one process ends all is not in the
//! tree: it is how `up` runs such a stack.

use crate::base::diagnostic::{Diagnostic, Diagnostics};
use crate::base::source::{SourceId, Span};
use crate::load::variables::Variables;
use crate::model::process::{REPLICA_MARK, from_replica};
use crate::yaml::node::{Kind, Mapping, Node, Scalar, Value};

/// The port of the first process's first replica, unless `PORT` is set for `up` itself.
pub const FIRST_PORT: u32 = 5000;

/// The port that the caller or `.env` has the counting begin at; none unless `PORT` is set to a number.
pub fn asked_port(variables: &Variables) -> Option<u32> {
    variables.get("PORT")?.value.parse().ok()
}

/// Reads a Procfile. The tree is ready for interpolation: a `$` of a command, which is the shell's, is written `$$` in it.
pub fn parse(source: SourceId, text: &str, first_port: u32, diagnostics: &mut Diagnostics) -> Node {
    let (mut processes, mut ports) = (Mapping::default(), Mapping::default());
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
                    let preferred = first_port.saturating_add(nth.saturating_mul(100));
                    let port = port_name(name, &ports);
                    ports.insert(port.clone(), name_span, Node::new(whole_number(preferred), name_span));
                    processes.insert(name, name_span, process(name, command, &port, name_span, command_span));
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
    let section = |entries| Node::new(Value::Mapping(entries), whole);
    let mut stack = Mapping::default();
    if !ports.is_empty() {
        stack.insert("ports", whole, section(ports));
    }
    stack.insert("processes", whole, section(processes));
    section(stack)
}

fn whole_number(number: u32) -> Value {
    Value::Scalar(Scalar { text: number.to_string(), kind: Kind::Int })
}

/// What the port of a process is called: `WEB_PORT`, also where a name holds what a variable's cannot. None of `taken` is given twice.
fn port_name(process: &str, taken: &Mapping) -> String {
    let capitals = process.to_ascii_uppercase().replace('-', "_");
    let digit = if capitals.starts_with(|first: char| first.is_ascii_digit()) { "_" } else { "" };
    let name = format!("{digit}{capitals}_PORT");
    if taken.get(&name).is_none() {
        return name;
    }
    let mut numbered = (2_u32..).map(|nth| format!("{name}_{nth}"));
    numbered.find(|name| taken.get(name).is_none()).unwrap_or(name)
}

/// Foreman's `/^([A-Za-z0-9_-]+):\s*(.+)$/`.
fn entry(line: &str) -> Option<(&str, &str)> {
    let (name, command) = line.split_once(':')?;
    let command = command.trim_start();
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    (is_name && !command.is_empty()).then_some((name, command))
}

fn process(name: &str, command: &str, port: &str, name_span: Span, command_span: Span) -> Node {
    let text = |text: String| Node::text(text, name_span);
    let port = text(from_replica(&format!("${{{port}}}")));
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
        for pattern in ["ports.*", "processes.*.command", "processes.*.environment.*", "processes.*.restart"] {
            Pattern::new(pattern).for_each(&tree, |path, node| {
                let covered = &text[node.span.start as usize..node.span.end as usize];
                seen.push(format!("{path} = {} @ {covered}", fill_replica(node.as_text().unwrap(), 1)));
            });
        }
        assert_eq!(
            seen,
            [
                "ports.WEB_PORT = 5000 @ web",
                "ports.WORKER_2_PORT = 5100 @ worker-2",
                "processes.web.command = bundle exec puma -p $$PORT @ bundle exec puma -p $PORT",
                "processes.worker-2.command = sleep 1 @ sleep 1",
                "processes.web.environment.PORT = ${WEB_PORT} @ web",
                "processes.web.environment.PS = web.1 @ web",
                "processes.worker-2.environment.PORT = ${WORKER_2_PORT} @ worker-2",
                "processes.worker-2.environment.PS = worker-2.1 @ worker-2",
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

    #[test]
    fn ports_have_names_that_variables_can_have_and_no_two_the_same() {
        let tree = parse(SourceId(0), "a-b: x\na_b: x\n2nd: x\nA_B: x\n", 70, &mut Diagnostics::default());
        let ports = tree.get("ports").and_then(Node::as_mapping).unwrap();
        let names: Vec<_> = ports.iter().map(|(name, port)| format!("{name}={}", port.node.as_text().unwrap())).collect();
        assert_eq!(names, ["A_B_PORT=70", "A_B_PORT_2=170", "_2ND_PORT=270", "A_B_PORT_3=370"]);
    }
}
