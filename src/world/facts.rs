//! What this host has: who holds a port, and whether what a stack `requires` is there.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};

use indexmap::IndexMap;
use nix::sys::resource::{Resource, getrlimit};

use super::docker::Docker;
use super::envdir::{EnvDir, StateDir};
use crate::base::name::{EnvId, ServiceName};
use crate::model::requires::{Need, Requirement};
use crate::plan::action::Fault;
use crate::plan::desired::{Deployment, Places};
use crate::plan::ports::Numbers;

/// Who listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The process; none when it is another user's.
    pub pid: Option<i32>,
    /// Its command line.
    pub command: String,
    /// The environment whose service it is.
    pub env: Option<String>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.pid, &self.env) {
            (Some(pid), None) => write!(f, "process {pid} ({})", self.command),
            (Some(pid), Some(env)) => write!(f, "process {pid} ({}) of the environment `{env}`", self.command),
            (None, _) => f.write_str("a process of another user"),
        }
    }
}

/// Whether a service could listen on this port, on any address: IPv4, IPv6, loopback alone.
pub fn is_free(port: u16) -> bool {
    let addresses: [SocketAddr; 4] = [
        (Ipv4Addr::LOCALHOST, port).into(),
        (Ipv4Addr::UNSPECIFIED, port).into(),
        (Ipv6Addr::LOCALHOST, port).into(),
        (Ipv6Addr::UNSPECIFIED, port).into(),
    ];
    addresses.into_iter().all(|address| match TcpListener::bind(address) {
        Ok(_) => true,
        // A host without IPv6 has nobody there.
        Err(error) => error.kind() != std::io::ErrorKind::AddrInUse,
    })
}

/// Who listens on a TCP port of this host.
pub fn holder(port: u16) -> Option<Holder> {
    let inodes = listeners(port);
    if inodes.is_empty() {
        return None;
    }
    let nobody = Holder { pid: None, command: String::new(), env: None };
    let Ok(processes) = procfs::process::all_processes() else { return Some(nobody) };
    for process in processes.flatten() {
        let Ok(descriptors) = process.fd() else { continue };
        let holds = descriptors.flatten().any(|descriptor| match descriptor.target {
            procfs::process::FDTarget::Socket(inode) => inodes.contains(&inode),
            _ => false,
        });
        if holds {
            let command = process.cmdline().unwrap_or_default().join(" ");
            let command = if command.chars().count() > 80 { command.chars().take(79).chain(['…']).collect() } else { command };
            let variable = process.environ().ok().and_then(|environ| environ.get(std::ffi::OsStr::new("BAISTACK_ENVID")).cloned());
            return Some(Holder { pid: Some(process.pid), command, env: variable.map(|text| text.to_string_lossy().into_owned()) });
        }
    }
    Some(nobody)
}

/// The sockets that listen on a port.
fn listeners(port: u16) -> Vec<u64> {
    let four = procfs::net::tcp().unwrap_or_default();
    let six = procfs::net::tcp6().unwrap_or_default();
    (four.into_iter().chain(six))
        .filter(|entry| entry.state == procfs::net::TcpState::Listen && entry.local_address.port() == port)
        .map(|entry| entry.inode)
        .collect()
}

/// Who holds ports on this host, as one environment sees it: what it and its services hold themselves is free for it.
pub struct Holders {
    own: Vec<Numbers>,
    own_containers: Vec<u16>,
    others: Vec<(String, Numbers)>,
}

impl Holders {
    /// Looks around. The caller holds the host's lock, so that nobody else allots ports meanwhile.
    pub fn look(state: &StateDir, dir: &EnvDir) -> Self {
        let ports = |dir: &EnvDir| dir.ports().unwrap_or_default().into_values().collect::<Vec<_>>();
        let others = state.list().unwrap_or_default();
        let others = others.iter().filter(|other| other.id() != dir.id() && (other.is_in_use() || !ports_of_containers(other.id()).is_empty()));
        Self {
            own: if dir.is_locked() { ports(dir) } else { Vec::new() },
            own_containers: if ports(dir).is_empty() { Vec::new() } else { ports_of_containers(dir.id()) },
            others: others.flat_map(|other| ports(other).into_iter().map(|numbers| (other.id().to_string(), numbers))).collect(),
        }
    }

    /// Whether this environment could have a port.
    pub fn is_free(&self, port: u16) -> bool {
        self.own.iter().any(|numbers| numbers.iter().contains(&port))
            || self.own_containers.contains(&port)
            || (!self.others.iter().any(|(_, numbers)| numbers.iter().contains(&port)) && is_free(port))
    }

    /// Who has it, in words.
    pub fn who(&self, port: u16) -> String {
        match self.others.iter().find(|(_, numbers)| numbers.iter().contains(&port)) {
            Some((env, _)) => format!("the environment `{env}`"),
            None => holder(port).map_or_else(|| "somebody".to_owned(), |holder| holder.to_string()),
        }
    }
}

/// The ports of this host that containers of an environment publish. None when the engine does not answer: then its
/// containers hold none either, as far as anybody can tell.
fn ports_of_containers(env: &EnvId) -> Vec<u16> {
    let environment: IndexMap<String, String> = std::env::vars().collect();
    let published = with_engine(&environment, |docker| {
        let env = env.clone();
        async move { docker.published_ports(&env).await }
    });
    published.unwrap_or_default()
}

/// Asks the engine something, on a runtime for that alone.
fn with_engine<T, F: Future<Output = Result<T, Fault>>>(
    environment: &IndexMap<String, String>,
    ask: impl FnOnce(Docker) -> F,
) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    runtime.block_on(ask(Docker::new(environment))).map_err(|fault| fault.message)
}

/// Ports that are fixed in the files and taken by somebody else: one sentence each, naming service and holder.
pub fn taken_ports(deployment: &Deployment, services: &[ServiceName], dir: &EnvDir) -> Vec<String> {
    let own_containers = ports_of_containers(&deployment.env);
    let named: Vec<Numbers> = dir.ports().unwrap_or_default().into_values().collect();
    let mut problems = Vec::new();
    for name in services {
        let Some(service) = deployment.service(name) else { continue };
        for port in &service.common.ports {
            let Some(number) = port.published.as_ref().and_then(|text| text.parse::<u16>().ok()).filter(|&port| port > 0) else { continue };
            // A named port has been found free just now; a service of ours that runs holds its own.
            let ours = own_containers.contains(&number) || named.iter().any(|numbers| numbers.iter().contains(&number));
            if port.protocol == "udp" || ours || is_free(number) {
                continue;
            }
            match holder(number) {
                Some(holder) if holder.env.as_deref() == Some(deployment.env.as_str()) => {}
                Some(holder) => problems.push(format!("`{name}` needs port {number}, which is taken by {holder}")),
                None => problems.push(format!("`{name}` needs port {number}, which is taken")),
            }
        }
    }
    problems
}

/// The predefined variables.
pub fn predefined(env: &EnvId, directory: &Path, file: Option<&Path>, places: &Places) -> IndexMap<String, String> {
    [
        ("ENVID", env.to_string()),
        ("STACK_DIR", directory.display().to_string()),
        ("STACK_FILE", file.map(|path| path.display().to_string()).unwrap_or_default()),
        ("ENV_DIR", places.env_dir.display().to_string()),
        ("RUN_DIR", places.run_dir.display().to_string()),
        ("CPUS", cpus().to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// Everything that a stack requires and this host has not: a sentence each, with its hint.
pub fn missing(deployment: &Deployment, environment: &IndexMap<String, String>) -> Vec<String> {
    let engine = || with_engine(environment, |docker| async move { docker.release().await });
    lacking(&deployment.stack.requires, &Facts { environment, directory: &deployment.stack.directory, engine: &engine })
}

/// What a check of a requirement needs to know of its stack.
struct Facts<'a> {
    environment: &'a IndexMap<String, String>,
    directory: &'a Path,
    /// The release of the engine, or why it cannot be reached.
    engine: &'a dyn Fn() -> Result<String, String>,
}

fn lacking(requirements: &[Requirement], facts: &Facts<'_>) -> Vec<String> {
    (requirements.iter())
        .filter_map(|requirement| {
            let what = check(&requirement.what, facts).err()?;
            Some(match &requirement.hint {
                Some(hint) => format!("{what}: {hint}"),
                None => what,
            })
        })
        .collect()
}

fn check(need: &Need, facts: &Facts<'_>) -> Result<(), String> {
    match need {
        Need::Locale(encoding) => locale(encoding, facts.environment),
        Need::Tool { name, version } => tool(name, version.as_deref(), facts),
        Need::Docker(version) => {
            let found = (facts.engine)().map_err(|why| format!("a Docker Engine is required: {why}"))?;
            satisfies(&found, version).map_err(|why| format!("the Docker Engine is {found}, {why}"))
        }
        Need::File(path) => {
            if Path::new(path).exists() { Ok(()) } else { Err(format!("the file `{path}` is missing")) }
        }
        Need::OpenFiles(count) => open_files(*count),
        Need::Command(text) => command(text, facts),
    }
}

fn locale(encoding: &str, environment: &IndexMap<String, String>) -> Result<(), String> {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(|name| environment.get(name).filter(|value| !value.is_empty()));
    let plain = |text: &str| text.to_ascii_lowercase().replace('-', "");
    match set {
        Some(locale) if plain(locale).ends_with(&plain(encoding)) => Ok(()),
        Some(locale) => Err(format!("the locale is `{locale}`, not one of {encoding}; `export LC_ALL=C.UTF-8` sets one")),
        None => Err(format!("no locale of {encoding} is set; `export LC_ALL=C.UTF-8` sets one")),
    }
}

fn tool(name: &str, version: Option<&str>, facts: &Facts<'_>) -> Result<(), String> {
    let path = facts.environment.get("PATH").map(String::as_str).unwrap_or_default();
    let found = if name.contains('/') {
        Some(facts.directory.join(name)).filter(|path| path.exists())
    } else {
        std::env::split_paths(path).map(|directory| directory.join(name)).find(|path| path.is_file())
    };
    let Some(program) = found else { return Err(format!("the program `{name}` is not in PATH")) };
    let Some(version) = version else { return Ok(()) };
    let output = Command::new(&program).arg("--version").stdin(Stdio::null()).envs(facts.environment).output();
    let output = output.map_err(|error| format!("`{name} --version` cannot be run: {error}"))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let found = text.split_whitespace().find(|word| word.chars().next().is_some_and(|c| c.is_ascii_digit()) && word.contains('.'));
    let Some(found) = found else { return Err(format!("`{name} --version` names no version")) };
    satisfies(found, version).map_err(|why| format!("`{name}` is version {found}, {why}"))
}

/// Raised for services by `ulimits`; as far as the hard limit it can be.
fn open_files(count: u64) -> Result<(), String> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|errno| errno.desc().to_owned())?;
    if hard >= count {
        return Ok(());
    }
    Err(format!("{count} open files are required, and the hard limit is {hard}: raise it in /etc/security/limits.conf"))
}

fn command(text: &str, facts: &Facts<'_>) -> Result<(), String> {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", text]).current_dir(facts.directory).env_clear().envs(facts.environment);
    let output = shell.stdin(Stdio::null()).output().map_err(|error| format!("`{text}` cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().last().map_or_else(String::new, |line| format!(" ({line})"));
    Err(format!("`{}` fails{said}", text.lines().next().unwrap_or_default()))
}

/// Whether a version satisfies a comma list of comparisons, as `>=3.11,<3.12`.
fn satisfies(found: &str, wanted: &str) -> Result<(), String> {
    let numbers = |text: &str| -> Vec<u64> {
        let text = text.trim().trim_start_matches('v');
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        text[..end].split('.').filter_map(|part| part.parse().ok()).collect()
    };
    let have = numbers(found);
    for comparison in wanted.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let split = comparison.find(|c: char| c.is_ascii_digit() || c == 'v').unwrap_or(comparison.len());
        let (operator, version) = comparison.split_at(split);
        let mut want = numbers(version);
        let mut have = have.clone();
        let length = want.len().max(have.len());
        if operator.trim().is_empty() || operator.trim() == "==" {
            // `3.11` means any 3.11.
            have.truncate(want.len());
        } else {
            want.resize(length, 0);
            have.resize(length, 0);
        }
        let holds = match operator.trim() {
            ">=" => have >= want,
            "<=" => have <= want,
            ">" => have > want,
            "<" => have < want,
            "" | "==" | "=" => have == want,
            "!=" => have != want,
            other => return Err(format!("and `{other}` is no comparison")),
        };
        if !holds {
            return Err(format!("and {wanted} is required"));
        }
    }
    Ok(())
}

/// CPUs that processes of this user may use.
pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_number_by_number() {
        for (found, wanted, expected) in [
            ("3.11.7", ">=3.11,<3.12", true),
            ("3.12.0", ">=3.11,<3.12", false),
            ("20.10.24+dfsg1", ">=20.10", true),
            ("20.9", ">=20.10", false),
            ("1.2.3", "1.2", true),
            ("1.3", "1.2", false),
            ("2.0", "!=2.0.0", false),
        ] {
            assert_eq!(satisfies(found, wanted).is_ok(), expected, "{found} {wanted}");
        }
    }

    #[test]
    fn a_port_held_on_one_loopback_alone_is_not_free_and_its_holder_is_named() {
        let four = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = four.local_addr().unwrap().port();
        assert!(!is_free(port));
        assert_eq!(holder(port).unwrap().pid, Some(std::process::id().cast_signed()));
        drop(four);
        if let Ok(six) = TcpListener::bind("[::1]:0") {
            assert!(!is_free(six.local_addr().unwrap().port()));
        }
    }

    #[test]
    fn what_is_missing_is_said_with_its_hint() {
        let environment = [("PATH".to_owned(), "/bin:/usr/bin".to_owned()), ("LANG".to_owned(), "C".to_owned())].into();
        let facts = Facts { environment: &environment, directory: Path::new("/"), engine: &|| Err("it is away".to_owned()) };
        let need = |what, hint: Option<&str>| Requirement { what, hint: hint.map(str::to_owned) };
        let missing = lacking(
            &[
                need(Need::Tool { name: "sh".to_owned(), version: None }, None),
                need(Need::Tool { name: "no-such-tool".to_owned(), version: None }, Some("install it")),
                need(Need::File("/no/such/file".to_owned()), None),
                need(Need::Command("echo oh >&2; exit 3".to_owned()), None),
                need(Need::Docker(">=20".to_owned()), None),
                need(Need::Locale("UTF-8".to_owned()), None),
                need(Need::OpenFiles(1), None),
            ],
            &facts,
        );
        assert_eq!(missing.len(), 5, "{missing:#?}");
        assert_eq!(missing[0], "the program `no-such-tool` is not in PATH: install it");
        assert!(missing[2].contains("(oh)") && missing[3].contains("it is away"), "{missing:#?}");
    }
}
