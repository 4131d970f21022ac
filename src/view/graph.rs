//! The dependency graph as text, in Graphviz's DOT, or in Mermaid.

use std::collections::BTreeSet;

use super::states::Mood;
use super::style::Paint;

/// A service and what it waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// `container`, `process`, `task` or `provider`.
    pub kind: &'static str,
    /// What it does; none when nothing of it is there.
    pub state: Option<(String, Mood)>,
    /// What it depends on, and on what of it.
    pub edges: Vec<Edge>,
}

/// What a service waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// Which.
    pub to: String,
    /// `started`, `healthy`, `completed`.
    pub condition: &'static str,
    /// It starts without, too.
    pub optional: bool,
    /// It follows when the other is restarted.
    pub restart: bool,
}

/// As text: whom nobody depends on comes first, what it needs below it. What has been shown is not shown again.
pub fn text(nodes: &[Node], paint: Paint) -> String {
    let needed: BTreeSet<&str> = nodes.iter().flat_map(|node| &node.edges).map(|edge| edge.to.as_str()).collect();
    let mut drawn = Drawn { nodes, paint, shown: BTreeSet::new(), out: String::new() };
    for node in nodes.iter().filter(|node| !needed.contains(node.name.as_str())) {
        drawn.node(&node.name, None, "", "");
    }
    drawn.out
}

struct Drawn<'a> {
    nodes: &'a [Node],
    paint: Paint,
    shown: BTreeSet<&'a str>,
    out: String,
}

impl Drawn<'_> {
    /// Draws a node; `stem` stands before it and `indent` before what is below it. Chains are as long as stacks are deep, and
    /// loading refuses circles.
    fn node(&mut self, name: &str, edge: Option<&Edge>, stem: &str, indent: &str) {
        let how = edge.map(|edge| format!(" ({})", words(edge))).unwrap_or_default();
        let Some(node) = self.nodes.iter().find(|node| node.name == name) else {
            self.out.push_str(&format!("{stem}{name}{how}  {}\n", self.paint.dim("not part of this")));
            return;
        };
        let state = match &node.state {
            Some((text, mood)) => super::states::in_mood(text, *mood, self.paint),
            None => self.paint.dim("not there"),
        };
        let again = !self.shown.insert(&node.name) && !node.edges.is_empty();
        let more = if again { self.paint.dim("  (see above)") } else { String::new() };
        self.out.push_str(&format!("{stem}{}{how}  {}  {state}{more}\n", self.paint.strong(name), self.paint.dim(node.kind)));
        if again {
            return;
        }
        for (index, edge) in node.edges.iter().enumerate() {
            let last = index + 1 == node.edges.len();
            let (stem, below) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            self.node(&edge.to, Some(edge), &format!("{indent}{stem}"), &format!("{indent}{below}"));
        }
    }
}

fn words(edge: &Edge) -> String {
    let mut words = edge.condition.to_owned();
    if edge.optional {
        words.push_str(", optional");
    }
    if edge.restart {
        words.push_str(", restarts with it");
    }
    words
}

/// In DOT: `baistack graph --format dot | dot -Tsvg`.
pub fn dot(nodes: &[Node]) -> String {
    let mut out = "digraph stack {\n  rankdir=LR;\n  node [style=filled, fillcolor=white];\n".to_owned();
    for node in nodes {
        let state = node.state.as_ref().map_or("not there", |(text, _)| text.as_str());
        let shape = match node.kind {
            "container" => "box",
            "task" => "note",
            _ => "ellipse",
        };
        let (name, color) = (quoted(&node.name), color(node));
        let label = quoted(&format!("{}\n{state}", node.name));
        out.push_str(&format!("  {name} [shape={shape}, fillcolor=\"{color}\", label={label}];\n"));
    }
    for (node, edge) in edges(nodes) {
        let style = if edge.optional { ", style=dashed" } else { "" };
        let label = quoted(&words(edge));
        out.push_str(&format!("  {} -> {} [label={label}{style}];\n", quoted(&node.name), quoted(&edge.to)));
    }
    out.push_str("}\n");
    out
}

/// In Mermaid, which many web pages draw.
pub fn mermaid(nodes: &[Node]) -> String {
    // Names may hold what Mermaid takes for its own.
    let id = |name: &str| match nodes.iter().position(|node| node.name == name) {
        Some(index) => format!("s{index}"),
        None => name.bytes().fold("x".to_owned(), |id, byte| format!("{id}{byte:02x}")),
    };
    let mut out = "flowchart LR\n".to_owned();
    for node in nodes {
        let state = node.state.as_ref().map_or("not there", |(text, _)| text.as_str());
        let text = escaped(&format!("{}<br/>{}", escaped(&node.name), escaped(state)));
        let (open, close) = match node.kind {
            "container" => ("[", "]"),
            "task" => ("[/", "/]"),
            _ => ("([", "])"),
        };
        let id = id(&node.name);
        out.push_str(&format!("  {id}{open}\"{text}\"{close}\n  style {id} fill:{}\n", color(node)));
    }
    for (node, edge) in edges(nodes) {
        let arrow = if edge.optional { "-.->" } else { "-->" };
        out.push_str(&format!("  {} {arrow}|{}| {}\n", id(&node.name), words(edge), id(&edge.to)));
    }
    out
}

fn edges(nodes: &[Node]) -> impl Iterator<Item = (&Node, &Edge)> {
    nodes.iter().flat_map(|node| node.edges.iter().map(move |edge| (node, edge)))
}

fn color(node: &Node) -> &'static str {
    match node.state.as_ref().map(|(_, mood)| *mood) {
        Some(Mood::Good) => "#c8e6c9",
        Some(Mood::Busy) => "#bbdefb",
        Some(Mood::Warning) => "#ffe0b2",
        Some(Mood::Bad) => "#ffcdd2",
        Some(Mood::Idle) | None => "#eeeeee",
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

fn escaped(text: &str) -> String {
    text.replace('"', "#quot;").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes() -> Vec<Node> {
        let edge = |to: &str, condition, optional| Edge { to: to.to_owned(), condition, optional, restart: optional };
        let node = |name: &str, kind, state: Option<(&str, Mood)>, edges| Node {
            name: name.to_owned(),
            kind,
            state: state.map(|(text, mood)| (text.to_owned(), mood)),
            edges,
        };
        vec![
            node("db", "container", Some(("running", Mood::Good)), vec![]),
            node("schema", "task", Some(("done", Mood::Good)), vec![edge("db", "healthy", false)]),
            node(
                "web",
                "process",
                Some(("failed: \"x\"", Mood::Bad)),
                vec![edge("schema", "completed", false), edge("db", "started", true)],
            ),
            node("api", "process", None, vec![edge("schema", "completed", false)]),
        ]
    }

    #[test]
    fn as_text_it_is_a_tree_in_which_nothing_is_told_twice() {
        assert_eq!(
            text(&nodes(), Paint::Off),
            "web  process  failed: \"x\"\n\
             ├─ schema (completed)  task  done\n\
             │  └─ db (healthy)  container  running\n\
             └─ db (started, optional, restarts with it)  container  running\n\
             api  process  not there\n\
             └─ schema (completed)  task  done  (see above)\n"
        );
    }

    #[test]
    fn in_dot_and_mermaid_names_and_states_are_quoted() {
        let drawn = dot(&nodes());
        assert!(drawn.contains("\"web\" [shape=ellipse, fillcolor=\"#ffcdd2\", label=\"web\\nfailed: \\\"x\\\"\"];"), "{drawn}");
        assert!(drawn.contains("\"web\" -> \"db\" [label=\"started, optional, restarts with it\", style=dashed];"), "{drawn}");
        let drawn = mermaid(&nodes());
        assert!(drawn.starts_with("flowchart LR\n  s0[\"db<br/>running\"]\n  style s0 fill:#c8e6c9\n"), "{drawn}");
        assert!(drawn.contains("s2([\"web<br/>failed: #quot;x#quot;\"])"), "{drawn}");
        assert!(drawn.contains("  s2 -.->|started, optional, restarts with it| s0\n"), "{drawn}");
    }
}
