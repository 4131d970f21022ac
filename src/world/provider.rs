//! Programs that look after a service instead of an engine (`provider`): how one is found, called and listened to.
//!
//! The protocol is docker/compose's `docs/extension.md`: the program is run as `compose --project-name=… up|down|stop`, with the
//! options and the service behind it, and writes one JSON object a message. When it is called, and what becomes of the variables
//! that it gives, others decide.

use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::native::spawn;
use crate::base::name::{EnvId, ServiceName};
use crate::model::provider::{Given, Provider};
use crate::plan::action::Fault;

/// Where Docker's command line looks for its plugins, after the user's own directory (docker/cli, `cli-plugins/manager`).
const PLUGIN_DIRECTORIES: [&str; 4] = [
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
];

/// So much of what it writes on stderr is told when it fails.
const MOST_COMPLAINTS: usize = 2048;

/// How long the end of that is waited for after its own end: what it has started may hold the stream for longer.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// A service as its provider is called for it: all that outlives the file that says so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Provided {
    /// Who looks after it.
    pub provider: Provider,
    /// The stack's directory.
    pub directory: PathBuf,
    /// Variables of the stack beside those of the caller (`.env`).
    pub variables: IndexMap<String, String>,
    /// The service as `config --format json` shows it, in one line, for one that asks.
    pub config: String,
    /// What its last `up` has given.
    pub given: Given,
    /// Whether it has been brought up, and not stopped since.
    pub runs: bool,
}

/// What a provider is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// To bring the service up, and to tell how it is reached.
    Up,
    /// To take everything of it away.
    Down,
    /// To stop it, and keep what it has. Asked only of one that says it can.
    Stop,
}

impl Wanted {
    fn word(self) -> &'static str {
        match self {
            Wanted::Up => "up",
            Wanted::Down => "down",
            Wanted::Stop => "stop",
        }
    }
}

/// The file of a provider's program: a plugin of Docker's command line, else a program as the caller would find it.
pub fn find(program: &str, directory: &Path, environment: &IndexMap<String, String>) -> Result<PathBuf, Fault> {
    if program == "compose" {
        return Err(Fault::permanent("`compose` is Docker Compose itself and no provider"));
    }
    if let Some(file) = plugin(program, environment) {
        return Ok(file);
    }
    let plugin = format!("docker-{program}");
    spawn::find(program, directory, environment.get("PATH").map(String::as_str)).map_err(|fault| {
        if program.contains('/') {
            return fault;
        }
        let plugin = format!("nor is there a plugin `{plugin}` of Docker's command line");
        Fault { message: format!("{}, {plugin}", fault.message), ..fault }
    })
}

/// The file of a plugin of Docker's command line, by its name without `docker-`. None for what can be no such name.
pub fn plugin(name: &str, environment: &IndexMap<String, String>) -> Option<PathBuf> {
    if name.contains('/') {
        return None;
    }
    let configuration = environment.get("DOCKER_CONFIG").map(PathBuf::from);
    let own = configuration.or_else(|| Some(Path::new(environment.get("HOME")?).join(".docker")));
    let own = own.map(|own| own.join("cli-plugins"));
    own.into_iter().chain(PLUGIN_DIRECTORIES.map(PathBuf::from)).find_map(|place| {
        // Named with a slash, it is that file and no other.
        spawn::find(&format!("{}/docker-{name}", place.to_str()?), Path::new("/"), None).ok()
    })
}

/// Has a provider do something for a service of an environment, and hands on what it says meanwhile. Answers with the variables
/// that it gives; none where it was not asked, since it cannot stop anything.
pub fn call(
    env: &EnvId,
    service: &ServiceName,
    provided: &Provided,
    wanted: Wanted,
    caller: &IndexMap<String, String>,
    said: &mut dyn FnMut(String),
) -> Result<Option<Given>, Fault> {
    let mut environment = provided.variables.clone();
    environment.extend(caller.iter().map(|(name, value)| (name.clone(), value.clone())));
    let file = find(&provided.provider.program, &provided.directory, &environment)?;
    let command = || {
        let mut command = Command::new(&file);
        command.env_clear().envs(&environment);
        if provided.directory.is_dir() {
            command.current_dir(&provided.directory);
        }
        command
    };
    let metadata = metadata(command());
    let known = match wanted {
        Wanted::Up => metadata.up.as_ref(),
        Wanted::Down => metadata.down.as_ref(),
        Wanted::Stop if metadata.stop.is_none() => return Ok(None),
        Wanted::Stop => metadata.stop.as_ref(),
    };
    let options = options(&provided.provider, (!metadata.is_empty()).then_some(known))?;
    let mut command = command();
    command.arg("compose").arg(format!("--project-name={env}")).arg(wanted.word()).args(options).arg(service.as_str());
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.map_err(|error| Fault::permanent(format!("run `{}`: {error}", file.display())))?;
    Conversation::with(child).hold(&provided.config, said).map(Some)
}

// ── metadata ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/// What a program tells of itself; nothing where it knows no such question.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    description: String,
    up: Option<Parameters>,
    down: Option<Parameters>,
    stop: Option<Parameters>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Parameters {
    parameters: Option<Vec<Parameter>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Parameter {
    name: String,
    required: bool,
}

impl Metadata {
    /// Whether nothing is known of the options that it takes.
    fn is_empty(&self) -> bool {
        let has_none = |of: &Option<Parameters>| of.as_ref().is_none_or(|of| of.parameters.is_none());
        self.description.is_empty() && has_none(&self.up) && has_none(&self.down)
    }
}

fn metadata(mut command: Command) -> Metadata {
    let output = command.args(["compose", "metadata"]).stdin(Stdio::null()).stderr(Stdio::null()).output();
    let answer = output.ok().filter(|output| output.status.success());
    answer.and_then(|output| serde_json::from_slice(&output.stdout).ok()).unwrap_or_default()
}

/// The options of a call: those that the program knows, where it has told which these are.
fn options(provider: &Provider, known: Option<Option<&Parameters>>) -> Result<Vec<String>, Fault> {
    let known = known.map(|of| of.and_then(|of| of.parameters.as_deref()).unwrap_or_default());
    for parameter in known.unwrap_or_default() {
        if parameter.required && !provider.options.contains_key(&parameter.name) {
            let Parameter { name, .. } = parameter;
            return Err(Fault::permanent(format!("`{}` needs an option `{name}`: write it under `options`", provider.program)));
        }
    }
    let takes = |name: &str| known.is_none_or(|known| known.iter().any(|parameter| parameter.name == name));
    let options = provider.options.iter().filter(|(name, _)| takes(name));
    Ok(options.flat_map(|(name, values)| values.iter().map(move |value| format!("--{name}={value}"))).collect())
}

// ── messages ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

#[derive(Debug, Deserialize)]
struct Message {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    message: String,
}

/// A program that runs. It is killed and reaped when this goes, unless it has ended.
struct Conversation {
    child: Child,
    complaints: Arc<Mutex<Vec<u8>>>,
    /// Tells when nothing more will be written there.
    silent: mpsc::Receiver<()>,
}

impl Drop for Conversation {
    fn drop(&mut self) {
        // One that has ended and is reaped is not killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Conversation {
    fn with(mut child: Child) -> Self {
        let complaints = Arc::new(Mutex::new(Vec::new()));
        let (sender, silent) = mpsc::channel();
        if let Some(mut stream) = child.stderr.take() {
            let kept = Arc::clone(&complaints);
            // Not waited for: what it has started may hold the stream when it has ended.
            thread::spawn(move || {
                let _sender = sender;
                let mut part = [0; 1024];
                while let Ok(count @ 1..) = stream.read(&mut part) {
                    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    kept.extend_from_slice(&part[..count]);
                    let surplus = kept.len().saturating_sub(MOST_COMPLAINTS);
                    kept.drain(..surplus);
                }
            });
        }
        Self { child, complaints, silent }
    }

    fn hold(mut self, config: &str, said: &mut dyn FnMut(String)) -> Result<Given, Fault> {
        let answers = self.child.stdin.take().map(answers);
        let Some(stdout) = self.child.stdout.take() else { return Err(Fault::permanent("its output is not to be had")) };
        let mut given = Given::default();
        for message in serde_json::Deserializer::from_reader(BufReader::new(stdout)).into_iter::<Message>() {
            let Message { kind, message } =
                message.map_err(|error| Fault::permanent(format!("it wrote what is no message of a provider: {error}")))?;
            match kind.as_str() {
                "error" => return Err(Fault::permanent(message.trim_end())),
                "info" => said(message.lines().next().unwrap_or_default().to_owned()),
                "debug" => tracing::debug!("{message}"),
                "setenv" | "rawsetenv" => {
                    let Some((name, value)) = message.split_once('=') else {
                        return Err(Fault::permanent(format!("it gave the variable `{message}` without a value")));
                    };
                    let to = if kind == "setenv" { &mut given.prefixed } else { &mut given.raw };
                    to.insert(name.to_owned(), value.to_owned());
                }
                "get-service-config" => {
                    // One that does not read may have closed it.
                    let _ = answers.as_ref().map(|answers| answers.send(format!("{config}\n")));
                }
                other => return Err(Fault::permanent(format!("it wrote a message of an unknown type, `{other}`"))),
            }
        }
        let status = self.child.wait().map_err(|error| Fault::permanent(error.to_string()))?;
        if status.success() {
            return Ok(given);
        }
        // Either way there is nothing left to wait for.
        let _ = self.silent.recv_timeout(LAST_WORDS);
        let complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        let complaints = String::from_utf8_lossy(&complaints);
        Err(Fault::permanent(match complaints.trim() {
            "" => format!("it ended with {status}"),
            words => format!("{words} ({status})"),
        }))
    }
}

/// Takes what is to be written to it. On a thread of its own: it may write much before it reads.
fn answers(mut stdin: ChildStdin) -> mpsc::Sender<String> {
    let (sender, lines) = mpsc::channel::<String>();
    thread::spawn(move || {
        for line in lines {
            if stdin.write_all(line.as_bytes()).and_then(|()| stdin.flush()).is_err() {
                return;
            }
        }
    });
    sender
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Place {
        directory: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            Self { directory: tempfile::tempdir().unwrap() }
        }

        fn program(&self, path: &str, script: &str) {
            let file = self.directory.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            // Written by another process: a file that ours has open for writing cannot be executed, and a test beside this one
            // may fork just then.
            let mut writer = Command::new("/bin/sh");
            writer.args(["-c", "cat > \"$0\" && chmod 755 \"$0\""]).arg(&file);
            let mut writer = writer.stdin(Stdio::piped()).spawn().unwrap();
            writer.stdin.take().unwrap().write_all(format!("#!/bin/sh\n{script}\n").as_bytes()).unwrap();
            assert!(writer.wait().unwrap().success());
        }

        fn environment(&self) -> IndexMap<String, String> {
            let path = format!("{}/bin:/usr/bin:/bin", self.directory.path().display());
            let home = self.directory.path().display().to_string();
            IndexMap::from([("PATH".to_owned(), path), ("HOME".to_owned(), home)])
        }

        fn find(&self, program: &str) -> Result<String, String> {
            let found = find(program, self.directory.path(), &self.environment());
            let shown = |file: PathBuf| file.strip_prefix(self.directory.path()).unwrap().display().to_string();
            found.map(shown).map_err(|fault| fault.message)
        }

        fn call(&self, wanted: Wanted, said: &mut Vec<String>) -> Result<Option<Given>, String> {
            let list = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
            let options = IndexMap::from([("size".to_owned(), list(&["1"])), ("tag".to_owned(), list(&["a", "b c"]))]);
            let provided = Provided {
                provider: Provider { program: "cloud".to_owned(), options },
                directory: self.directory.path().to_owned(),
                variables: IndexMap::from([("TOKEN".to_owned(), "of the file".to_owned())]),
                config: "{\"image\":\"x\"}".to_owned(),
                ..Provided::default()
            };
            let (env, service) = ("demo".parse().unwrap(), "db".parse().unwrap());
            call(&env, &service, &provided, wanted, &self.environment(), &mut |text| said.push(text)).map_err(|it| it.message)
        }

        fn calls(&self) -> Vec<String> {
            let text = fs::read_to_string(self.directory.path().join("calls")).unwrap_or_default();
            text.lines().map(str::to_owned).collect()
        }
    }

    /// Notes how it is called, and knows no metadata.
    const NOTES: &str = "[ \"$2\" = metadata ] && exit 1; for word; do printf '<%s>' \"$word\"; done >> calls; echo >> calls\n";

    #[test]
    fn a_plugin_of_docker_goes_before_a_program_in_the_path() {
        let place = Place::new();
        let missing = place.find("cloud").unwrap_err();
        assert!(missing.contains("no such program `cloud`") && missing.contains("`docker-cloud`"), "{missing}");
        place.program("bin/cloud", "");
        place.program("own/cloud", "");
        assert_eq!(place.find("cloud").unwrap(), "bin/cloud");
        place.program(".docker/cli-plugins/docker-cloud", "");
        assert_eq!(place.find("cloud").unwrap(), ".docker/cli-plugins/docker-cloud");
        assert_eq!(place.find("./own/cloud").unwrap(), "own/cloud");
        assert!(place.find("compose").unwrap_err().contains("no provider"));
    }

    #[test]
    fn a_provider_is_called_as_by_compose_and_what_it_says_is_heard() {
        let place = Place::new();
        let script = "printf '%s\\n' '{\"type\":\"info\",\"message\":\"making it\\nat length\"}'\n\
            echo '{\"type\":\"debug\",\"message\":\"nobody hears this\"} {\"type\":\"setenv\",\"message\":\"URL=a=b\"}'\n\
            echo \"{\\\"type\\\":\\\"rawsetenv\\\",\\\"message\\\":\\\"KEY=$TOKEN\\\"}\"\n\
            echo '{\"type\":\"get-service-config\"}'; read answer; echo \"$answer\" >> calls";
        place.program("bin/cloud", &format!("{NOTES}{script}"));
        let mut said = Vec::new();
        let given = place.call(Wanted::Up, &mut said).unwrap().unwrap();
        assert_eq!(said, ["making it"]);
        assert_eq!(given.prefixed["URL"], "a=b");
        assert_eq!(given.raw["KEY"], "of the file");
        let called = "<compose><--project-name=demo><up><--size=1><--tag=a><--tag=b c><db>";
        assert_eq!(place.calls(), [called, "{\"image\":\"x\"}"]);
    }

    #[test]
    fn what_goes_wrong_in_a_provider_is_told_in_its_own_words() {
        let place = Place::new();
        for (script, expected) in [
            ("echo '{\"type\":\"error\",\"message\":\"no credit\"}'; exec sleep 1000", "no credit"),
            ("echo 'quota exceeded' >&2; exit 3", "quota exceeded (exit status: 3)"),
            ("exit 3", "it ended with exit status: 3"),
            ("echo creating", "no message of a provider"),
            ("echo '{\"type\":\"sing\"}'", "unknown type, `sing`"),
            ("echo '{\"type\":\"setenv\",\"message\":\"URL\"}'", "the variable `URL` without a value"),
        ] {
            place.program("bin/cloud", &format!("{NOTES}{script}"));
            let failed = place.call(Wanted::Up, &mut Vec::new()).unwrap_err();
            assert!(failed.contains(expected), "{script}: {failed}");
        }
    }

    #[test]
    fn metadata_says_which_options_are_told_and_whether_it_can_be_stopped() {
        let place = Place::new();
        let notes = |metadata: &str| {
            let answer = format!("if [ \"$2\" = metadata ]; then echo '{metadata}'; exit; fi\n");
            place.program("bin/cloud", &format!("{answer}{NOTES}"));
        };
        notes(r#"{"description":"d","up":{"parameters":[{"name":"size","required":true}]},"down":{"parameters":[]},"stop":{}}"#);
        for wanted in [Wanted::Up, Wanted::Stop, Wanted::Down] {
            place.call(wanted, &mut Vec::new()).unwrap();
        }
        let called = |verb: &str, options: &str| format!("<compose><--project-name=demo><{verb}>{options}<db>");
        assert_eq!(place.calls(), [called("up", "<--size=1>"), called("stop", ""), called("down", "")]);
        notes(r#"{"up":{"parameters":[{"name":"region","required":true}]}}"#);
        assert!(place.call(Wanted::Up, &mut Vec::new()).unwrap_err().contains("needs an option `region`"));
        // One that cannot be stopped is not asked to.
        assert_eq!(place.call(Wanted::Stop, &mut Vec::new()).unwrap(), None);
        assert_eq!(place.calls().len(), 3);
    }
}
