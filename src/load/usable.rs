//! Values that have the right kind and that no start could use: a signal that does not exist, a pattern that cannot be compiled.
//!
//! Told with their place before anything has started. What depends on the host (users, limits that only root may raise) is looked at
//! where the host is known; see `world/native/unfit`.

use std::borrow::Cow;
use std::fmt::Display;

use super::told::bad_value;
use crate::base::bytes;
use crate::base::diagnostic::{Diagnostic, Diagnostics};
use crate::base::duration;
use crate::base::source::Span;
use crate::base::suggest::closest;
use crate::model::kernel;
use crate::model::pattern;
use crate::model::process::{fill_port, fill_replica};
use crate::model::restart::RestartPolicy;
use crate::yaml::node::{Entry, Mapping, Node, Value};
use crate::yaml::place::Place;

/// Looks at one service of the whole tree: of a container at the probes that are ours, and at words that mean something everywhere or
/// nowhere. What else only an engine would refuse, `refused` has.
pub(super) fn check(service: &str, entry: &Entry, process: bool, diagnostics: &mut Diagnostics) {
    let section = Place::ROOT.key(if process { "processes" } else { "services" });
    let mut judge = Judge { place: section.key(service), service: &entry.node, diagnostics };
    judge.health();
    judge.signal(process);
    judge.restarts();
    judge.watch_rules(process);
    if process {
        judge.characters();
        judge.environment();
        judge.commands();
        judge.life();
        judge.files();
        judge.limits();
        judge.rights();
        judge.surroundings();
        judge.reservations();
    }
}

struct Judge<'a> {
    place: Place<'a>,
    service: &'a Node,
    diagnostics: &'a mut Diagnostics,
}

impl<'a> Judge<'a> {
    fn get(&self, key: &str) -> Option<&'a Node> {
        self.service.get(key).filter(|node| !node.is_null())
    }

    fn list(&self, key: &str) -> &'a [Node] {
        self.get(key).and_then(Node::as_sequence).unwrap_or_default()
    }

    fn mapping(&self, key: &str) -> impl Iterator<Item = (&'a str, &'a Entry)> + use<'a> {
        entries(self.get(key))
    }

    /// What is told already is not told again.
    fn bad(&mut self, keys: &[&str], span: Span, why: impl Display, help: &str) {
        if self.diagnostics.places_of_errors().any(|told| told == span) {
            return;
        }
        fn below(place: &Place<'_>, keys: &[&str], tell: &mut dyn FnMut(&Place<'_>)) {
            match keys {
                [] => tell(place),
                [key, rest @ ..] => below(&place.key(key), rest, tell),
            }
        }
        below(&self.place, keys, &mut |place| bad_value(place, span, &why, help, self.diagnostics));
    }

    // ── health ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    fn health(&mut self) {
        let Some(health) = self.get("healthcheck") else { return };
        let grpc = health.get("grpc").and_then(|grpc| grpc.get("address"));
        for (keys, node) in [(&["healthcheck", "tcp"][..], health.get("tcp")), (&["healthcheck", "grpc", "address"], grpc)] {
            if let Some((span, text)) = text_of(node)
                && let Some(why) = fault_of_address(&text)
            {
                self.bad(keys, span, why, "write `HOST:PORT`, such as `127.0.0.1:5432`");
            }
        }
        self.pattern(&["healthcheck", "log"], health.get("log"));
        if let Some(http) = health.get("http") {
            self.http(http);
        }
        if let Some([kind]) = health.get("test").and_then(Node::as_sequence)
            && kind.as_text() != Some("NONE")
        {
            let why = format!("nothing follows `{}`", kind.as_text().unwrap_or_default());
            self.bad(&["healthcheck", "test"], kind.span, why, "write what is to be run behind it");
        }
    }

    fn http(&mut self, http: &'a Node) {
        if let Some((span, text)) = text_of(http.get("url"))
            && let Some(why) = fault_of_url(&text)
        {
            self.bad(&["healthcheck", "http", "url"], span, why, "write `http://HOST:PORT/PATH`");
        }
        if let Some((span, text)) = text_of(http.get("method"))
            && !is_token(&text)
        {
            let why = format!("`{text}` is not a method");
            self.bad(&["healthcheck", "http", "method"], span, why, "write `GET`, `HEAD` or the like");
        }
        self.pattern(&["healthcheck", "http", "body"], http.get("body"));
        for (name, entry) in entries(http.get("headers")) {
            let value = entry.node.as_text().unwrap_or_default();
            if !is_token(name) || !fill_replica(value, 1).chars().all(|c| c == '\t' || (' '..='~').contains(&c)) {
                let help = "names have letters, digits and `-`; values are plain ASCII";
                let why = format!("`{name}: {value}` cannot be sent as a header");
                self.bad(&["healthcheck", "http", "headers"], entry.key_span, why, help);
            }
        }
    }

    fn pattern(&mut self, keys: &[&str], node: Option<&'a Node>) {
        if let Some((span, text)) = text_of(node)
            && let Err(error) = regex::bytes::Regex::new(&text)
        {
            let error = error.to_string();
            let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
            let why = format!("`{text}` is not a regular expression: {reason}");
            self.bad(keys, span, why, "put a backslash before what is meant as it is, as in `\\(`");
        }
    }

    // ── what is run ────────────────────────────────────────────────────────────────────────────────────────────────────

    /// No text that reaches the kernel may hold a zero.
    fn characters(&mut self) {
        let mut found = Vec::new();
        with_a_zero(self.service, &mut found);
        for node in found {
            self.bad(&[], node.span, "a text holds a NUL character", "the kernel ends every text there: take it out");
        }
    }

    fn environment(&mut self) {
        for (name, entry) in self.mapping("environment").filter(|(name, _)| name.is_empty() || name.contains(['=', '\0'])) {
            let why = format!("`{name}` cannot be the name of a variable");
            self.bad(&["environment"], entry.key_span, why, "a name is not empty and has no `=`");
        }
    }

    fn commands(&mut self) {
        const HELP: &str = "name a program and its arguments";
        // With an entry point there is something to run, whatever the command is.
        let has_entry = self.get("entrypoint").is_some_and(|node| !is_blank(node));
        for key in if has_entry { &["check", "shell"][..] } else { &["command", "check", "shell"] } {
            if let Some(node) = self.get(key).filter(|node| is_blank(node)) {
                self.bad(&[key], node.span, "nothing to run", HELP);
            }
        }
        for key in ["post_start", "pre_stop"] {
            for hook in self.list(key) {
                if let Some(command) = hook.get("command").filter(|node| is_blank(node)) {
                    self.bad(&[key, "command"], command.span, "nothing to run", HELP);
                }
                if let Some(privileged) = hook.get("privileged").filter(|node| matches!(node.value, Value::Bool(true))) {
                    let help = "a process has the rights of its user; `cap_add` names further ones";
                    self.bad(&[key, "privileged"], privileged.span, "only a container's hook can be", help);
                }
            }
        }
    }

    // ── its life ───────────────────────────────────────────────────────────────────────────────────────────────────────

    /// An engine takes an empty text for none.
    fn signal(&mut self, process: bool) {
        if let Some((span, name)) = text_of(self.get("stop_signal")).filter(|(_, name)| process || !name.is_empty())
            && !kernel::is_signal(&name)
        {
            let upper = name.to_ascii_uppercase();
            let near = closest(upper.strip_prefix("SIG").unwrap_or(&upper), kernel::SIGNALS);
            let help = near
                .map_or("write a name or a number, such as `SIGTERM`".to_owned(), |near| format!("did you mean `SIG{near}`?"));
            self.bad(&["stop_signal"], span, format!("`{name}` is not a signal"), &help);
        }
    }

    fn restarts(&mut self) {
        const HELP: &str = "it is one of `no`, `always`, `unless-stopped`, `on-failure`, or `on-failure:N` for N times at most";
        if let Some((span, policy)) = text_of(self.get("restart")).filter(|(_, policy)| policy.parse::<RestartPolicy>().is_err())
        {
            self.bad(&["restart"], span, format!("`{policy}` is not a restart policy"), HELP);
        }
        let keys = ["deploy", "restart_policy", "condition"];
        let condition = keys.iter().try_fold(self.service, |node, key| node.get(key));
        if let Some((span, word)) = text_of(condition).filter(|(_, word)| RestartPolicy::of_condition(word).is_none()) {
            self.bad(&keys, span, format!("`{word}` is not a condition"), "it is one of `none`, `on-failure`, `any`");
        }
    }

    fn life(&mut self) {
        if let Some((span, text)) = text_of(self.get("start_timeout"))
            && duration::parse(&text).is_some_and(|limit| limit.is_zero())
        {
            self.bad(&["start_timeout"], span, "nothing is ready at once", "write how long it may take, or remove the line");
        }
        for node in self.list("keep") {
            let name = node.as_text().unwrap_or_default();
            if name.is_empty() || name.contains('/') {
                let help = "write the program's name without its directory, as `ps -o comm` shows it";
                self.bad(&["keep"], node.span, format!("`{name}` is not the name of a program"), help);
            }
        }
    }

    /// A rule of a container whose pattern cannot be read is one for Compose too, which leaves the pattern out.
    fn watch_rules(&mut self, process: bool) {
        let rules = self.get("develop").and_then(|develop| develop.get("watch")).and_then(Node::as_sequence);
        for rule in rules.unwrap_or_default() {
            if let Some(action) = rule.get("action").filter(|_| process) {
                let word = action.as_text().unwrap_or_default();
                if word != "restart" {
                    let help = "write `restart`: a process sees your files as they are, nothing has to be copied or built";
                    self.bad(&["develop", "watch", "action"], action.span, format!("`{word}` means nothing for a process"), help);
                }
            }
            for key in ["ignore", "include"] {
                for node in rule.get(key).and_then(Node::as_sequence).unwrap_or_default() {
                    let text = node.as_text().unwrap_or_default();
                    let Some(fault) = pattern::fault_of_watch(text) else { continue };
                    let why = format!("`{text}` is not a pattern: {fault}");
                    if process {
                        self.bad(&["develop", "watch", key], node.span, why, PATTERN_HELP);
                    } else {
                        let message = format!("`{}.develop.watch.{key}`: {why}; nothing is left out by it", self.place);
                        self.diagnostics.push(Diagnostic::warning("bad-value", message).at(node.span, "").help(PATTERN_HELP));
                    }
                }
            }
        }
    }

    fn files(&mut self) {
        for key in ["inputs", "outputs"] {
            for node in self.list(key) {
                if let Some((span, text)) = text_of(Some(node)).filter(|(_, text)| text.contains(pattern::WILD))
                    && let Err(fault) = pattern::of_files(&text)
                {
                    self.bad(&[key], span, format!("`{text}` is not a pattern of files: {fault}"), PATTERN_HELP);
                }
            }
        }
    }

    // ── limits and rights ──────────────────────────────────────────────────────────────────────────────────────────────

    fn limits(&mut self) {
        // `rttime` is told as `reserved-limit`.
        for (name, entry) in self.mapping("ulimits").filter(|(name, _)| *name != "rttime") {
            if !kernel::LIMITS.contains(&name) {
                let all = || format!("there are `{}`", kernel::LIMITS.join("`, `"));
                let help = closest(name, kernel::LIMITS).map_or_else(all, |near| format!("did you mean `{near}`?"));
                self.bad(&["ulimits"], entry.key_span, format!("`{name}` is not a limit"), &help);
            }
            let Some((soft, hard)) = values_of_limit(&entry.node) else { continue };
            if soft < -1 || hard < -1 {
                self.bad(&["ulimits", name], entry.key_span, "a limit is not negative", "write -1 for no limit at all");
            } else if hard != -1 && (soft == -1 || soft > hard) {
                let why = format!("the soft limit {soft} is above the hard one {hard}");
                let help = "a process may raise its soft limit up to the hard one; -1 is no limit";
                self.bad(&["ulimits", name], entry.key_span, why, help);
            }
        }
        if let Some((span, text)) = text_of(self.get("cpus"))
            && text.parse::<f64>().is_ok_and(|cpus| cpus != 0.0 && cpus < LEAST_CPUS)
        {
            let why = format!("{text} of a CPU is no share");
            self.bad(&["cpus"], span, why, "the kernel gives 0.01 or more; 0 is no limit");
        }
        if let Some(logging) = self.get("logging") {
            self.logging(logging);
        }
    }

    fn logging(&mut self, logging: &'a Node) {
        if let Some((span, driver)) =
            text_of(logging.get("driver")).filter(|(_, driver)| !FILE_DRIVERS.contains(&driver.as_ref()))
        {
            let help = "the log of a process is kept in files: remove the line, and read it with `baistack logs`";
            self.bad(&["logging", "driver"], span, format!("`{driver}` means nothing for a process"), help);
        }
        for (name, entry) in entries(logging.get("options")) {
            let (text, span) = (entry.node.as_text().unwrap_or_default(), entry.node.span);
            let place = ["logging", "options", name];
            match name {
                "max-size" if bytes::parse(text).is_none_or(|size| size == 0) => {
                    self.bad(&place, span, format!("`{text}` is not a size"), "write a size such as `20m`");
                }
                "max-file" if text.parse::<u32>().map_or(true, |files| files == 0) => {
                    self.bad(&place, span, format!("`{text}` is no number of files"), "write a number from 1 on");
                }
                "max-size" | "max-file" => {}
                _ => {
                    let help = "a process's log has `max-size` and `max-file`";
                    self.bad(&place[..2], entry.key_span, format!("`{name}` means nothing for a process"), help);
                }
            }
        }
    }

    fn rights(&mut self) {
        for node in self.list("cap_add") {
            let name = kernel::capability(node.as_text().unwrap_or_default());
            if name != "ALL" && !kernel::CAPABILITIES.contains(&name.as_str()) {
                let near = closest(&name, kernel::CAPABILITIES);
                let help = near.map_or("capabilities(7) lists them".to_owned(), |near| format!("did you mean `{near}`?"));
                let why = format!("`{}` is not a capability", node.as_text().unwrap_or_default());
                self.bad(&["cap_add"], node.span, why, &help);
            }
        }
        if let Some((span, user)) = text_of(self.get("user"))
            && (user.matches(':').count() > 1 || user.ends_with(':'))
        {
            self.bad(&["user"], span, format!("`{user}` is no user"), "write `USER` or `USER:GROUP`, by name or number");
        }
    }

    // ── its surroundings ───────────────────────────────────────────────────────────────────────────────────────────────

    /// What a process reserves, nobody keeps for it; what clusters alone read is told elsewhere.
    fn reservations(&mut self) {
        let path = ["deploy", "resources", "reservations"];
        let reserved = path.iter().try_fold(self.service, |node, key| node.get(key));
        for (key, entry) in entries(reserved).filter(|(key, _)| matches!(*key, "memory" | "devices")) {
            let [deploy, resources, reservations] = path;
            let help = "remove the line; `limits` has the most that it may use";
            self.bad(&[deploy, resources, reservations, key], entry.key_span, "nothing is kept for a process", help);
        }
    }

    fn surroundings(&mut self) {
        for kind in ["configs", "secrets"] {
            for grant in self.list(kind) {
                for key in ["uid", "gid"] {
                    if let Some(node) = grant.get(key) {
                        let help = "the file belongs to the process's user: remove the line";
                        self.bad(&[kind, key], node.span, "means nothing for a process", help);
                    }
                }
                if let Some(target) = grant.get("target").filter(|_| kind == "secrets") {
                    let help = "its path is in the variable `SECRET_<NAME>_FILE`: remove the line";
                    self.bad(&[kind, "target"], target.span, "a process's secret lies where only it can read it", help);
                }
                if let Some((span, target)) = text_of(grant.get("target")).filter(|_| kind == "configs")
                    && (target.starts_with('/') || target.split('/').any(|part| part == ".."))
                {
                    let why = format!("`{target}` does not lie in `working_dir`");
                    self.bad(&[kind, "target"], span, why, "write a path below `working_dir`, without `..`");
                }
            }
        }
    }
}

/// A text with its place, as the first replica has it.
fn text_of(node: Option<&Node>) -> Option<(Span, Cow<'_, str>)> {
    let node = node?;
    let filled = fill_replica(node.as_text()?, 1);
    // Of a process behind a proxy; of any other it has no port.
    Some((node.span, fill_port(&filled, 1).into_owned().into()))
}

fn entries(node: Option<&Node>) -> impl Iterator<Item = (&str, &Entry)> {
    node.and_then(Node::as_mapping).into_iter().flat_map(Mapping::iter)
}

fn with_a_zero<'n>(node: &'n Node, found: &mut Vec<&'n Node>) {
    match &node.value {
        Value::Scalar(scalar) if scalar.text.contains('\0') => found.push(node),
        Value::Scalar(_) | Value::Bool(_) | Value::Null => {}
        Value::Sequence(items) => items.iter().for_each(|item| with_a_zero(item, found)),
        Value::Mapping(mapping) => mapping.iter().for_each(|(_, entry)| with_a_zero(&entry.node, found)),
    }
}

const PATTERN_HELP: &str = "put a backslash before what is meant as it is, as in `\\[`";

/// Those that keep lines in files of this host, as we do; others would send them elsewhere.
const FILE_DRIVERS: [&str; 2] = ["json-file", "local"];

/// The kernel refuses a quota below a millisecond, and ours is for a tenth of a second (cgroup-v2.rst, `cpu.max`).
const LEAST_CPUS: f64 = 0.01;

fn is_blank(node: &Node) -> bool {
    match &node.value {
        Value::Sequence(words) => words.first().is_none_or(|word| word.as_text().is_some_and(str::is_empty)),
        Value::Scalar(scalar) => scalar.text.trim().is_empty(),
        Value::Null | Value::Bool(_) | Value::Mapping(_) => false,
    }
}

/// Soft and hard: the short form is both.
fn values_of_limit(node: &Node) -> Option<(i64, i64)> {
    let number = |node: &Node| node.as_text().and_then(|text| text.parse().ok());
    match number(node) {
        Some(both) => Some((both, both)),
        None => Some((number(node.get("soft")?)?, number(node.get("hard")?)?)),
    }
}

/// A token of RFC 9110, 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))
}

/// What is wrong with `host:port`; a port alone is one of this host.
fn fault_of_address(text: &str) -> Option<String> {
    let (host, port) = text.rsplit_once(':').unwrap_or(("127.0.0.1", text));
    fault_of_host(host, text).or_else(|| fault_of_port(port, text))
}

fn fault_of_host(host: &str, text: &str) -> Option<String> {
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let fits = match inner {
        Some(inner) => inner.contains(':') && inner.chars().all(|c| c.is_ascii_hexdigit() || ":.".contains(c)),
        None => !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c)),
    };
    (!fits).then(|| {
        if host.contains(':') { format!("`{text}` has an IPv6 address without `[]`") } else { format!("`{text}` names no host") }
    })
}

fn fault_of_port(port: &str, text: &str) -> Option<String> {
    let is_port = !port.starts_with('+') && port.parse::<u16>().is_ok_and(|port| port > 0);
    (!is_port).then(|| format!("`{text}` has no port from 1 to 65535"))
}

/// What is wrong with the address of an HTTP probe. Another scheme was told with the form.
fn fault_of_url(text: &str) -> Option<String> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"))?;
    if !rest.chars().all(|c| c.is_ascii_graphic()) {
        return Some(format!("`{text}` has a space or a letter that an address has to write as `%20` or the like"));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Some("a password in an address is not sent: use `headers: {Authorization: …}`".to_owned());
    }
    let port_at = authority.rfind(':').filter(|at| !authority[*at..].contains(']'));
    match port_at {
        Some(at) => fault_of_host(&authority[..at], text).or_else(|| fault_of_port(&authority[at + 1..], text)),
        None => fault_of_host(authority, text),
    }
}

#[cfg(test)]
mod tests {
    use crate::load::testing::load;

    /// What is said of a process with this attribute: the text at its place, and the message after its path.
    fn said(section: &str, attribute: &str) -> Vec<(String, String)> {
        let base = if section == "services" { "image: x" } else { "command: x" };
        let base = if attribute.starts_with("command") { "tty: false" } else { base };
        let text = format!(
            "configs: {{c: {{content: x}}}}\nsecrets: {{s: {{environment: HOME}}}}\n{section}:\n  a:\n    {base}\n    {attribute}\n"
        );
        let loaded = load(&[("stack.yaml", &text)]);
        let place = |span: crate::base::source::Span| text[span.start as usize..span.end as usize].to_owned();
        let said = loaded.diagnostics.sorted().into_iter().map(|found| {
            assert!(found.help.is_some(), "{found:?}");
            (place(found.labels[0].span), found.message.clone())
        });
        said.collect()
    }

    #[test]
    fn a_value_that_no_start_could_use_is_told_at_its_place() {
        for (attribute, at, message) in [
            ("stop_signal: SIGTREM", "SIGTREM", "processes.a.stop_signal`: `SIGTREM` is not a signal"),
            ("stop_signal: '65'", "'65'", "processes.a.stop_signal`: `65` is not a signal"),
            ("start_timeout: 0s", "0s", "processes.a.start_timeout`: nothing is ready at once"),
            (
                "keep: [/usr/bin/sccache]",
                "/usr/bin/sccache",
                "processes.a.keep`: `/usr/bin/sccache` is not the name of a program",
            ),
            ("ulimits: {nofiles: 10}", "nofiles", "processes.a.ulimits`: `nofiles` is not a limit"),
            ("ulimits: {nofile: -2}", "nofile", "processes.a.ulimits.nofile`: a limit is not negative"),
            (
                "ulimits: {nofile: {soft: 2, hard: 1}}",
                "nofile",
                "processes.a.ulimits.nofile`: the soft limit 2 is above the hard one 1",
            ),
            ("cap_add: [NET_BIND, KILL]", "NET_BIND", "processes.a.cap_add`: `NET_BIND` is not a capability"),
            ("user: a:b:c", "a:b:c", "processes.a.user`: `a:b:c` is no user"),
            ("cpus: 0.001", "0.001", "processes.a.cpus`: 0.001 of a CPU is no share"),
            ("logging: {driver: syslog}", "syslog", "processes.a.logging.driver`: `syslog` means nothing for a process"),
            ("logging: {options: {max-size: lots}}", "lots", "processes.a.logging.options.max-size`: `lots` is not a size"),
            ("logging: {options: {max-file: 0}}", "0", "processes.a.logging.options.max-file`: `0` is no number of files"),
            ("logging: {options: {tag: x}}", "tag", "processes.a.logging.options`: `tag` means nothing for a process"),
            (
                "healthcheck: {tcp: 'localhost:http'}",
                "'localhost:http'",
                "processes.a.healthcheck.tcp`: `localhost:http` has no port from 1 to 65535",
            ),
            ("healthcheck: {tcp: ':80'}", "':80'", "processes.a.healthcheck.tcp`: `:80` names no host"),
            (
                "healthcheck: {tcp: '::1:80'}",
                "'::1:80'",
                "processes.a.healthcheck.tcp`: `::1:80` has an IPv6 address without `[]`",
            ),
            (
                "healthcheck: {log: 'a(b'}",
                "'a(b'",
                "processes.a.healthcheck.log`: `a(b` is not a regular expression: unclosed group",
            ),
            ("healthcheck: {grpc: 'h:0'}", "'h:0'", "processes.a.healthcheck.grpc.address`: `h:0` has no port from 1 to 65535"),
            (
                "healthcheck: {http: {url: 'http://h/', body: '*'}}",
                "'*'",
                "processes.a.healthcheck.http.body`: `*` is not a regular expression: repetition operator missing expression",
            ),
            ("healthcheck: {http: 'http://'}", "'http://'", "processes.a.healthcheck.http.url`: `http://` names no host"),
            (
                "healthcheck: {http: 'http://h:99999/'}",
                "'http://h:99999/'",
                "processes.a.healthcheck.http.url`: `http://h:99999/` has no port from 1 to 65535",
            ),
            (
                "healthcheck: {http: {url: 'http://h/', method: 'GE T'}}",
                "'GE T'",
                "processes.a.healthcheck.http.method`: `GE T` is not a method",
            ),
            (
                "healthcheck: {http: {url: 'http://h/', headers: {'X Y': z}}}",
                "'X Y'",
                "processes.a.healthcheck.http.headers`: `X Y: z` cannot be sent as a header",
            ),
            ("healthcheck: {test: [CMD]}", "CMD", "processes.a.healthcheck.test`: nothing follows `CMD`"),
            (
                "inputs: ['a[b', c]",
                "'a[b'",
                "processes.a.inputs`: `/app/a[b` is not a pattern of files: unclosed character class; missing ']'",
            ),
            (
                "outputs: '{a,b'",
                "'{a,b'",
                "processes.a.outputs`: `/app/{a,b` is not a pattern of files: unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?)",
            ),
            (
                "develop: {watch: [{path: ., action: restart, ignore: ['*.o', '[z-a]']}]}",
                "'[z-a]'",
                "processes.a.develop.watch.ignore`: `[z-a]` is not a pattern: invalid range; 'z' > 'a'",
            ),
            (
                "develop: {watch: [{path: ., action: restart, include: '{a'}]}",
                "'{a'",
                "processes.a.develop.watch.include`: `{a` is not a pattern: unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?)",
            ),
            ("environment: {'A=B': c}", "'A=B'", "processes.a.environment`: `A=B` cannot be the name of a variable"),
            ("working_dir: \"a\\0b\"", "\"a\\0b\"", "processes.a`: a text holds a NUL character"),
            ("command: ' '", "' '", "processes.a.command`: nothing to run"),
            ("check: []", "[]", "processes.a.check`: nothing to run"),
            ("shell: []", "[]", "processes.a.shell`: nothing to run"),
            ("post_start: [{command: []}]", "[]", "processes.a.post_start.command`: nothing to run"),
            (
                "pre_stop: [{command: x, privileged: true}]",
                "true",
                "processes.a.pre_stop.privileged`: only a container's hook can be",
            ),
            (
                "develop: {watch: [{path: ., action: rebuild}]}",
                "rebuild",
                "processes.a.develop.watch.action`: `rebuild` means nothing for a process",
            ),
            (
                "configs: [{source: c, target: /etc/c}]",
                "/etc/c",
                "processes.a.configs.target`: `/etc/c` does not lie in `working_dir`",
            ),
            ("configs: [{source: c, uid: '0'}]", "'0'", "processes.a.configs.uid`: means nothing for a process"),
            (
                "secrets: [{source: s, target: t}]",
                "t",
                "processes.a.secrets.target`: a process's secret lies where only it can read it",
            ),
            (
                "deploy: {resources: {reservations: {memory: 10m, cpus: 1}}}",
                "memory",
                "processes.a.deploy.resources.reservations.memory`: nothing is kept for a process",
            ),
        ] {
            assert_eq!(said("processes", attribute), [(at.to_owned(), format!("`{message}"))], "{attribute}");
        }
    }

    #[test]
    fn what_can_be_used_is_left_alone() {
        for attribute in [
            "stop_signal: SIGRTMIN+3",
            "stop_signal: quit",
            "ulimits: {nofile: {soft: 1024, hard: -1}, core: -1}",
            "cap_add: [ALL, cap_sys_admin, KILL]",
            "user: ''",
            "cpus: 0",
            "logging: {driver: json-file, options: {max-size: 1m, max-file: 3}}",
            "healthcheck: {tcp: '[::1]:80'}",
            "healthcheck: {tcp: 'db_1.local:5432', log: '^ready'}",
            "healthcheck: {http: {url: 'http://[::1]:80/a?b=c', method: POST, headers: {Authorization: 'Basic x=='}}}",
            "healthcheck: {http: 'http://localhost'}",
            "healthcheck: {test: NONE}",
            "environment: {lower.case-name: x}",
            "configs: [{source: c, target: a/b..c}]",
        ] {
            assert_eq!(said("processes", attribute), [], "{attribute}");
        }
    }

    #[test]
    fn of_a_container_our_own_probes_are_looked_at_and_words_that_mean_nothing_anywhere() {
        for (attribute, at, message) in [
            ("stop_signal: NOPE", "NOPE", "stop_signal`: `NOPE` is not a signal"),
            ("restart: sometimes", "sometimes", "restart`: `sometimes` is not a restart policy"),
            ("restart: 'on-failure:x'", "'on-failure:x'", "restart`: `on-failure:x` is not a restart policy"),
            (
                "deploy: {restart_policy: {condition: on-error}}",
                "on-error",
                "deploy.restart_policy.condition`: `on-error` is not a condition",
            ),
        ] {
            for section in ["services", "processes"] {
                let expected = [(at.to_owned(), format!("`{section}.a.{message}"))];
                assert_eq!(said(section, attribute), expected, "{section}: {attribute}");
            }
        }
        for attribute in ["stop_signal: SIGRTMIN+3", "stop_signal: ''", "restart: ''", "restart: 'on-failure:0'"] {
            assert_eq!(said("services", attribute), [], "{attribute}");
        }
        assert_eq!(said("services", "healthcheck: {tcp: 'localhost:http'}").len(), 1);
        // Compose takes any pattern, and so the file is none that could not be started.
        let text = "services: {a: {image: x, develop: {watch: [{path: ., action: rebuild, ignore: ['{a']}]}}}\n";
        let loaded = load(&[("compose.yaml", text)]);
        assert!(!loaded.diagnostics.has_errors() && loaded.diagnostics.len() == 1, "{:?}", loaded.diagnostics);
    }
}
