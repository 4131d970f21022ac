//! What a process asks its supervisor to do for it while it does not run: hold its sockets, start it when it is time.

use std::time::Duration;

use crate::base::diagnostic::{Diagnostic, Diagnostics};
use crate::base::duration;
use crate::model::process::fill_replica;
use crate::model::schedule::Cron;
use crate::yaml::node::{Entry, Mapping, Node, Value};

/// The kernel's limit is 108 bytes with the zero at the end (unix(7)).
const PATH_LIMIT: usize = 107;

/// The keys of one entry of `sockets`.
const SOCKET: [&str; 4] = ["name", "tcp", "unix", "backlog"];

/// Looks at one service of the whole tree. What is no socket or schedule by its keys and kinds has been told.
pub(super) fn check(service: &Node, diagnostics: &mut Diagnostics) {
    for socket in service.get("sockets").and_then(Node::as_sequence).unwrap_or_default() {
        if let Some(keys) = socket.as_mapping() {
            diagnostics.extend(fault_of_place(socket, keys).into_iter().chain(bad_name(keys)));
        }
    }
    diagnostics.extend(fault_of_proxy(service).into_iter().chain(fault_of_reload(service)));
    if let Some(schedule) = service.get("schedule")
        && let Some(keys) = schedule.as_mapping()
    {
        check_schedule(schedule, keys, diagnostics);
    }
}

fn fault_of_proxy(service: &Node) -> Option<Diagnostic> {
    let proxy = service.get("proxy").filter(|node| matches!(node.value, Value::Bool(true)))?;
    let bad = |message: &str| Diagnostic::error("bad-proxy", message);
    let ports = service.get("ports").and_then(Node::as_sequence).unwrap_or_default();
    let text = |port: &Node, key: &str| port.get(key).and_then(Node::as_text).unwrap_or_default().to_owned();
    let tcp: Vec<&Node> = ports.iter().filter(|port| text(port, "protocol") != "udp").collect();
    let variable = service.get("environment").and_then(Node::as_mapping).and_then(|given| given.entry("PORT"));
    let task = task_key(service);
    match tcp.as_slice() {
        _ if task.is_some() => {
            let help = "remove `proxy`: a task ends, and serves nobody";
            Some(bad("a task cannot be behind a proxy").at(proxy.span, "").help(help))
        }
        [port] if fill_replica(&text(port, "published"), 1).parse::<u16>().is_ok_and(|number| number > 0) => {
            let help = "read `PORT` in the program, or remove `proxy`";
            let told = |given: &Entry| bad("`PORT` is what the proxy tells a process").at(given.key_span, "").help(help);
            variable.map(told)
        }
        [port] => Some(bad("a proxy holds one port, with a number").at(port.span, "").help("write `ports: [\"8080\"]`")),
        [] | [_, _, ..] => Some(
            bad("a proxy holds one port, and listens at it for the process").at(proxy.span, "").help("write `ports: [\"8080\"]`"),
        ),
    }
}

/// What makes a process a task.
fn task_key(service: &Node) -> Option<&Entry> {
    ["schedule", "check", "inputs", "outputs"].iter().find_map(|key| service.as_mapping()?.entry(key))
}

/// Whether a next life can be told from the present one while both run.
fn fault_of_reload(service: &Node) -> Option<Diagnostic> {
    let reload = service.get("reload").filter(|node| node.as_text() == Some("start-first"))?;
    let bad = |message: &str, help: &str| Some(Diagnostic::error("bad-reload", message).at(reload.span, "").help(help));
    if task_key(service).is_some() {
        return bad("a task ends, and has one run at a time", "remove `reload`");
    }
    let is_true = |node: Option<&Node>| node.is_some_and(|node| matches!(node.value, Value::Bool(true)));
    let check = service.get("healthcheck").filter(|check| !check.is_null() && !is_true(check.get("disable")));
    let has = |key: &str| check.and_then(|check| check.get(key)).is_some_and(|node| !node.is_null());
    let test = check.and_then(|check| check.get("test")).and_then(Node::as_sequence).unwrap_or_default();
    let has_test = test.first().is_some_and(|kind| kind.as_text() != Some("NONE"));
    let connects = ["http", "tcp", "grpc"].into_iter().any(has);
    if has("log") || has("file") || has_test || (connects && is_true(service.get("proxy"))) {
        return None;
    }
    if connects {
        let help =
            "add `log: REGEX` to its `healthcheck`: a line that it writes when it is ready (or `test`, `file`, `proxy: true`)";
        return bad("what answers this health check may be the life before, which listens at the same place", help);
    }
    bad("nothing says when the next life is ready, and the one before can end", "give it a `healthcheck`, such as `{log: REGEX}`")
}

fn check_schedule(schedule: &Node, keys: &Mapping, diagnostics: &mut Diagnostics) {
    let help = "write `{cron: \"0 3 * * *\"}` or `{every: 10m}`";
    let is_mistyped = diagnostics.has_error_within(schedule.span);
    let mut bad = |message: String, span| diagnostics.push(Diagnostic::error("bad-schedule", message).at(span, "").help(help));
    let (cron, every) = (keys.entry("cron"), keys.entry("every"));
    if let Some(cron) = cron
        && let Some(Err(fault)) = cron.node.as_text().map(str::parse::<Cron>)
    {
        bad(fault, cron.node.span);
    }
    if let Some(every) = every
        && every.node.as_text().and_then(duration::parse).is_some_and(|gap| gap < SHORTEST)
    {
        bad("a task cannot run more often than every second".to_owned(), every.node.span);
    }
    match (cron, every) {
        (Some(_), None) | (None, Some(_)) => {}
        (Some(_), Some(every)) => bad("a schedule has `cron` or `every`, not both".to_owned(), every.key_span),
        // Under a wrong name they are told.
        (None, None) if is_mistyped => {}
        (None, None) => bad("a schedule needs its times".to_owned(), schedule.span),
    }
}

/// The shortest gap between two runs.
const SHORTEST: Duration = Duration::from_secs(1);

const SOCKET_HELP: &str = "write `{name: web, tcp: \"127.0.0.1:8000\"}` or `{name: web, unix: PATH}`";

fn fault_of_place(socket: &Node, keys: &Mapping) -> Option<Diagnostic> {
    let bad = |message: &str| Diagnostic::error("bad-socket", message);
    match (keys.entry("tcp"), keys.entry("unix")) {
        (Some(tcp), None) => bad_address(tcp),
        (None, Some(unix)) => bad_path(unix),
        (Some(_), Some(unix)) => {
            Some(bad("a socket listens at `tcp` or at `unix`, not at both").at(unix.key_span, "").help("make it two entries"))
        }
        // A key that is none was meant to be its address.
        (None, None) if keys.iter().any(|(key, _)| !SOCKET.contains(&key) && !key.starts_with("x-")) => None,
        (None, None) => Some(bad("a socket needs an address").at(socket.span, "").help(SOCKET_HELP)),
    }
}

fn bad_address(entry: &Entry) -> Option<Diagnostic> {
    let text = entry.node.as_text().unwrap_or_default();
    let filled = fill_replica(text, 1);
    let port = filled.rsplit_once(':').filter(|(host, _)| !host.is_empty()).and_then(|(_, port)| port.parse::<u16>().ok());
    let message = match port {
        Some(0) => "a held socket needs a port of its own: nobody would find one that the kernel picks".to_owned(),
        Some(_) => return None,
        None => format!("`{text}` is not `host:port`"),
    };
    let help = "write an address and a port, as `127.0.0.1:8000`, `0.0.0.0:8000` or `[::1]:8000`";
    Some(Diagnostic::error("bad-socket", message).at(entry.node.span, "").help(help))
}

fn bad_path(entry: &Entry) -> Option<Diagnostic> {
    let path = fill_replica(entry.node.as_text().unwrap_or_default(), u32::MAX).into_owned();
    (path.len() > PATH_LIMIT).then(|| {
        let message = format!("`{path}` has {} bytes, and a socket's path may have {PATH_LIMIT}", path.len());
        let help = "put it into `${RUN_DIR}`, which is short for that reason";
        Diagnostic::error("bad-socket", message).at(entry.node.span, "").help(help)
    })
}

/// `LISTEN_FDNAMES` is a list with colons, of names as `sd_listen_fds(3)` allows them.
fn bad_name(keys: &Mapping) -> Option<Diagnostic> {
    let entry = keys.entry("name")?;
    let name = entry.node.as_text().unwrap_or_default();
    let fits = !name.is_empty() && name.len() <= 255 && name.chars().all(|c| c.is_ascii_graphic() && c != ':');
    (!fits).then(|| {
        let help = "use letters, digits and `._-`, without spaces and colons";
        Diagnostic::error("bad-socket", format!("`{name}` cannot be the name of a socket")).at(entry.node.span, "").help(help)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::source::SourceMap;
    use crate::yaml::parse;

    /// What is said of one process with these attributes: the code and the text at its place.
    fn said(text: &str) -> Vec<(&'static str, String)> {
        let mut sources = SourceMap::default();
        let source = sources.add("stack.yaml", text);
        let tree = parse::parse(source, text, &mut Diagnostics::default()).unwrap().remove(0);
        let root = tree.as_mapping().unwrap();
        let mut diagnostics = Diagnostics::default();
        check(root.get("a").unwrap(), &mut diagnostics);
        let place = |diagnostic: &Diagnostic| {
            let span = diagnostic.labels[0].span;
            text[span.start as usize..span.end as usize].to_owned()
        };
        diagnostics.sorted().into_iter().map(|diagnostic| (diagnostic.code, place(diagnostic))).collect()
    }

    #[test]
    fn what_is_wrong_with_a_schedule_is_said_at_its_place() {
        for (schedule, expected) in [
            ("{every: 10m}", None),
            ("{cron: '0 3 * * *', overlap: kill}", None),
            ("{overlap: kill}", Some("{overlap: kill}")),
            ("{cron: '0 3 * * *', every: 10m}", Some("every")),
            ("{every: 10ms}", Some("10ms")),
            ("{cron: '0 3 * *'}", Some("'0 3 * *'")),
        ] {
            let expected: Vec<_> = expected.into_iter().map(|place| ("bad-schedule", place.to_owned())).collect();
            assert_eq!(said(&format!("a: {{schedule: {schedule}}}")), expected, "{schedule}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_proxy_is_said_at_its_place() {
        for (rest, expected) in [
            ("ports: [{target: 80, published: '80'}]", None),
            ("ports: [{target: 80, published: '80'}, {target: 80, published: '80', protocol: udp}]", None),
            ("ports: [{target: 80, published: '80-90'}]", Some("{target: 80, published: '80-90'}")),
            ("ports: [{target: 80, published: '80'}, {target: 81, published: '81'}]", Some("true")),
            ("tty: true", Some("true")),
            ("ports: [{target: 80, published: '80'}], environment: {PORT: '1'}", Some("PORT")),
            ("ports: [{target: 80, published: '80'}], check: x", Some("true")),
        ] {
            let expected: Vec<_> = expected.into_iter().map(|place| ("bad-proxy", place.to_owned())).collect();
            assert_eq!(said(&format!("a: {{proxy: true, {rest}}}")), expected, "{rest}");
        }
    }

    #[test]
    fn a_next_life_that_cannot_be_told_from_the_one_before_is_refused() {
        for (rest, is_wrong) in [
            ("healthcheck: {log: ready}", false),
            ("healthcheck: {file: ready}", false),
            ("healthcheck: {test: [CMD, 'true']}", false),
            ("healthcheck: {http: {url: 'http://a:1/'}, log: ready}", false),
            ("healthcheck: {tcp: 'a:1'}, proxy: true, ports: [{target: 80, published: '80'}]", false),
            ("healthcheck: {tcp: 'a:1'}", true),
            ("healthcheck: {test: [NONE]}", true),
            ("healthcheck: {log: ready, disable: true}", true),
            ("tty: true", true),
            ("healthcheck: {log: ready}, inputs: [a]", true),
        ] {
            let expected: Vec<_> = is_wrong.then(|| ("bad-reload", "start-first".to_owned())).into_iter().collect();
            assert_eq!(said(&format!("a: {{reload: start-first, {rest}}}")), expected, "{rest}");
        }
        assert_eq!(said("a: {reload: stop-first}"), []);
    }

    #[test]
    fn what_is_wrong_with_a_socket_is_said_at_its_place() {
        let long = format!("{{unix: /{}}}", "x".repeat(107));
        for (socket, expected) in [
            ("{tcp: '127.0.0.1:80'}", None),
            ("{name: web, unix: /run/a.sock, backlog: 9}", None),
            ("{tcp: '[::1]:80'}", None),
            ("{tcp: '8000'}", Some(("bad-socket", "'8000'"))),
            ("{tcp: 'localhost:0'}", Some(("bad-socket", "'localhost:0'"))),
            ("{tcp: 'a:1', unix: /b}", Some(("bad-socket", "unix"))),
            ("{name: 'a b', unix: /b}", Some(("bad-socket", "'a b'"))),
            ("{name: web}", Some(("bad-socket", "{name: web}"))),
            // Told by whoever looks at keys.
            ("{prot: 80}", None),
            (&long, Some(("bad-socket", &long[7..long.len() - 1]))),
        ] {
            let expected: Vec<_> = expected.into_iter().map(|(code, place)| (code, place.to_owned())).collect();
            assert_eq!(said(&format!("a: {{sockets: [{socket}]}}")), expected, "{socket}");
        }
    }
}
