//! What each finding means: its code, an explanation, and an example that has it.
//!
//! The examples are loaded like any stack when they are shown, so what they say is what the loader says.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::files::{FileKind, Files};
use super::{Request, Values};
use crate::base::diagnostic::Diagnostics;
use crate::base::name::EnvId;
use crate::base::source::SourceMap;

/// A finding's code.
#[derive(Debug, Clone, Copy)]
pub struct Code {
    /// As it stands in brackets: `error[unknown-key]`.
    pub name: &'static str,
    /// What is wrong and why it matters.
    pub meaning: &'static str,
    /// Files that have it, the stack file first.
    pub example: &'static [(&'static str, &'static str)],
}

const fn code(name: &'static str, meaning: &'static str, example: &'static [(&'static str, &'static str)]) -> Code {
    Code { name, meaning, example }
}

/// All codes, by name.
pub const CODES: &[Code] = &[
    code(
        "bad-env-line",
        "A line of a `.env` file or an `env_file` is not `NAME=value`. Names are made of letters, digits, `_`, `.` and `-`. With \
         `format: raw` all after the `=` is taken as it is, but the name is still a name.",
        &[("compose.yaml", "services: {web: {image: nginx, env_file: web.env}}\n"), ("web.env", "MODE=fast\nTWO WORDS=1\n")],
    ),
    code(
        "bad-expression",
        "A `$` begins something that is no expression. Expressions are `$NAME`, `${NAME}`, and in braces, after the name, `-`, `:-`, \
         `?`, `:?`, `+` or `:+` with a text. A `$` that is meant as it is, for a shell in the container for instance, is written `$$`.",
        &[("compose.yaml", "services:\n  web:\n    image: nginx\n    command: echo ${1}\n")],
    ),
    code(
        "bad-extends",
        "`extends` says which service another one is laid over: a name, or `service` and the `file` that has it.",
        &[
            ("compose.yaml", "services:\n  web:\n    image: nginx\n    extends: {file: base.yaml}\n"),
            ("base.yaml", "services: {}\n"),
        ],
    ),
    code(
        "bad-flag",
        "A flag of the command line, such as `--volume` of `run`, does not have the form that the same attribute has in a stack file. \
         It is told at the command line and not in a file.",
        &[],
    ),
    code(
        "bad-include",
        "An entry of `include` names a file, or is a mapping with `path` and perhaps `project_directory` and `env_file`.",
        &[("compose.yaml", "include:\n  - project_directory: ../db\nservices: {web: {image: nginx}}\n")],
    ),
    code(
        "bad-key",
        "A key is text. YAML takes a plain `80` for a number and `~` for nothing; in quotes they are text.",
        &[("compose.yaml", "services:\n  web:\n    image: nginx\n    labels:\n      80: http\n")],
    ),
    code(
        "bad-merge-key",
        "`<<` takes over the keys of a mapping or of a list of mappings, mostly named by an alias. Anything else has no keys.",
        &[("compose.yaml", "x-image: &image nginx\nservices:\n  web:\n    <<: *image\n")],
    ),
    code(
        "bad-name",
        "A name of a service, network, volume, secret or config is made of letters, digits, `.`, `_` and `-`, since it becomes part of \
         names in the engine and of files.",
        &[("compose.yaml", "services:\n  my web:\n    image: nginx\n")],
    ),
    code(
        "bad-proxy",
        "With `proxy: true` the supervisor listens at the one port of `ports`, and tells each life of the process in `PORT` where it is \
         to listen itself. So there has to be one port with a number, and `PORT` cannot be something else.",
        &[("stack.yaml", "processes:\n  web: {command: ./web, proxy: true}\n")],
    ),
    code(
        "bad-raw-env-line",
        "A line of an `env_file` with `format: raw` is not `NAME=value`. Nothing is quoted or filled in there, and the name holds no space.",
        &[
            ("compose.yaml", "services:\n  web:\n    image: nginx\n    env_file: [{path: web.env, format: raw}]\n"),
            ("web.env", "TWO WORDS=1\n"),
        ],
    ),
    code(
        "bad-reload",
        "With `reload: start-first` a file change starts the next life of a process beside the present one, which is stopped when the \
         next one is ready. So its `healthcheck` has to be one that only the next life can fulfil: a line of its log, a file that it \
         writes, a `test`, or, with `proxy: true`, the port that it is told. A task cannot have two lives at a time.",
        &[(
            "stack.yaml",
            "processes:\n  web:\n    command: ./web\n    healthcheck: {tcp: \"127.0.0.1:8080\"}\n    reload: start-first\n",
        )],
    ),
    code(
        "bad-schedule",
        "A task runs by itself at the times of `cron` (minute, hour, day, month, weekday, in local time) or so long after its last \
         run began (`every`): one of the two, and not more often than every second.",
        &[("stack.yaml", "processes:\n  clean: {command: ./clean, schedule: {cron: '61 * * * *'}}\n")],
    ),
    code(
        "bad-socket",
        "A socket that is held for a process needs an address to listen at, `tcp` or `unix`, and a name that fits into a list with \
         colons.",
        &[("stack.yaml", "processes:\n  web: {command: ./web, sockets: [{name: web, tcp: '8000'}]}\n")],
    ),
    code(
        "bad-tag",
        "A `!!tag` of YAML says what a value is to be taken for, and the value cannot be that.",
        &[("compose.yaml", "services:\n  web:\n    image: nginx\n    scale: !!int many\n")],
    ),
    code(
        "bad-template",
        "A template of a config has a `${` that begins no expression. In templates only braces mean something; a `${` that is meant as \
         it is, is written `$${`.",
        &[
            ("stack.yaml", "processes:\n  web: {command: serve, configs: [site]}\nconfigs:\n  site: {template: site.conf}\n"),
            ("site.conf", "listen ${PORT\n"),
        ],
    ),
    code(
        "bad-text",
        "A file is not text: it holds bytes that are neither UTF-8 nor, with a byte order mark, UTF-16. It was perhaps written in \
         another encoding, or is another kind of file altogether.",
        &[],
    ),
    code(
        "bad-value",
        "A value has the right kind, but cannot be used: a duration without a unit, a port over 65535, a restart \
         policy or a signal that does not exist, a regular expression that is none.",
        &[("compose.yaml", "services:\n  web:\n    image: nginx\n    ports: [\"80:eighty\"]\n")],
    ),
    code(
        "cannot-build",
        "An image would have to be built, and this engine, or the builder that `DOCKER_BUILDKIT` chooses, cannot build it as it is \
         described. The message names the attribute, or the line of the Dockerfile, and what to do. It is told before anything is \
         begun; an image that is there already need not be built.",
        &[],
    ),
    code(
        "cannot-start",
        "The files are as they should be, but no engine can start this: what is asked for exists only on Windows or in a cluster, or \
         it needs a model runner, which is not spoken to. `config` shows the stack all the same.",
        &[("compose.yaml", "services:\n  web:\n    image: nginx\n    secrets: [key]\nsecrets:\n  key: {external: true}\n")],
    ),
    code(
        "config-source",
        "What a config or secret holds comes from one place: `file`, `environment`, `content` or `template`, or from whoever made it \
         (`external`).",
        &[(
            "compose.yaml",
            "services: {web: {image: nginx, secrets: [key]}}\nsecrets:\n  key: {file: ./key, environment: KEY}\n",
        )],
    ),
    code(
        "container-only",
        "The attribute is about containers, and the service is a process of this host. The message says what to use instead.",
        &[("stack.yaml", "processes:\n  web:\n    command: ./serve\n    volumes: [\"./data:/data\"]\n")],
    ),
    code(
        "cycle",
        "Something leads back to itself: a service waits for itself by way of `depends_on`, links or shared name spaces, `extends` \
         goes round, or a file includes itself. Nothing could come first.",
        &[("compose.yaml", "services:\n  web: {image: nginx, depends_on: [api]}\n  api: {image: api, depends_on: [web]}\n")],
    ),
    code(
        "duplicate-key",
        "A mapping has a key twice. Only one of the values could count, and YAML does not say which.",
        &[("compose.yaml", "services:\n  web:\n    image: nginx:1\n    image: nginx:2\n")],
    ),
    code("duplicate-process", "A Procfile names a process twice.", &[("Procfile", "web: ./serve\nweb: ./serve --debug\n")]),
    code("empty-stack", "There is nothing in the stack file.", &[("compose.yaml", "# nothing yet\n")]),
    code(
        "empty-triggers",
        "A job says what runs it: `manual`, so that it may be run by hand, or times in `schedule`. Without either nothing would ever run \
         it.",
        &[("compose.yaml", "services: {web: {image: nginx}}\njobs: {backup: {image: tar, triggers: {}}}\n")],
    ),
    code(
        "endless-alias",
        "An alias stands inside of what it stands for, so that filling it in would never end.",
        &[("compose.yaml", "services:\n  web: &web\n    image: nginx\n    x-self: *web\n")],
    ),
    code(
        "external-with",
        "`external: true` says that somebody else has made the volume. How it is made is then not for this file to say.",
        &[(
            "compose.yaml",
            "services: {web: {image: nginx, volumes: [\"data:/data\"]}}\nvolumes:\n  data:\n    external: true\n    driver: local\n",
        )],
    ),
    code(
        "ignored-env-text",
        "After the closing quote of a value only a comment can follow; what stands there is ignored, and was probably meant as a part of \
         the value.",
        &[("compose.yaml", "services: {web: {image: nginx, env_file: web.env}}\n"), ("web.env", "GREETING='hello' world\n")],
    ),
    code(
        "ignored-key",
        "Something in a `process-compose.yaml` has no counterpart in a stack, so it is left out, or means not quite the same here.",
        &[("process-compose.yaml", "processes:\n  web:\n    command: ./serve\n    is_elevated: true\n")],
    ),
    code(
        "ignored-procfile-line",
        "A line of a Procfile is not `name: command`. Foreman ignores such lines, and so do we; a missing colon is easily overlooked.",
        &[("Procfile", "web ./serve\nworker: ./work\n")],
    ),
    code(
        "invalid-yaml",
        "The text cannot be read as YAML. The message points to where the reader got stuck, which may be after the mistake: look for an \
         indentation with tabs, an unclosed quote or bracket, or a `: ` inside of a plain text above it.",
        &[("compose.yaml", "services:\n  web:\n\timage: nginx\n")],
    ),
    code(
        "missing-key",
        "A mapping lacks a key without which it says nothing.",
        &[("compose.yaml", "services:\n  web:\n    image: nginx\n    develop:\n      watch:\n        - path: ./src\n")],
    ),
    code(
        "mounted-twice",
        "Two mounts of a service have the same target. One would hide the other.",
        &[("compose.yaml", "services:\n  web:\n    image: nginx\n    volumes: [\"./cache:/tmp\"]\n    tmpfs: /tmp\n")],
    ),
    code(
        "no-effect",
        "The attribute is for a cluster, as `docker stack` runs one. Compose takes it and does nothing, and so is it here.",
        &[("compose.yaml", "services:\n  web:\n    image: nginx\n    deploy: {update_config: {parallelism: 2}}\n")],
    ),
    code(
        "no-file",
        "A file that the stack names is not there, or is a directory. Relative paths are relative to the stack's directory, those of an \
         included file to its own. `required: false` lets an `env_file` be missing.",
        &[("compose.yaml", "services:\n  web:\n    image: nginx\n    env_file: web.env\n")],
    ),
    code(
        "no-health-check",
        "A service waits for a process to be healthy, and nothing says how to tell that it is.",
        &[(
            "stack.yaml",
            "processes:\n  db: {command: ./db}\n  web:\n    command: ./web\n    depends_on: {db: {condition: service_healthy}}\n",
        )],
    ),
    code(
        "no-stack-file",
        "There is no stack file in the working directory or above it, or the one that `-f` or `COMPOSE_FILE` names is not there.",
        &[],
    ),
    code(
        "not-yet",
        "The attribute exists, and this version does not honour it. Nothing is started with an attribute that would be ignored; `config` \
         shows the stack all the same.",
        &[("compose.yaml", "services: {web: {image: nginx, pre_start: [{command: [init], hostname: first}]}}\n")],
    ),
    code(
        "nothing-to-run",
        "A service of `services:` needs an `image`, a `build` or a `provider`, a process a `command`.",
        &[("compose.yaml", "services:\n  web:\n    command: serve\n")],
    ),
    code(
        "old-external",
        "`external: {name: …}` is how old files named what somebody else has made. It still works.",
        &[(
            "compose.yaml",
            "services: {web: {image: nginx, networks: [front]}}\nnetworks:\n  front: {external: {name: shared}}\n",
        )],
    ),
    code(
        "one-name",
        "A container's name is taken once in an engine: two services cannot have the same `container_name`, and a service that has one \
         cannot have replicas. Likewise two secrets or two configs of a process whose names differ in `-`, `.`, `_` or capitals alone: \
         their variables (`SECRET_<NAME>_FILE`) would be one.",
        &[("compose.yaml", "services:\n  web: {image: nginx, container_name: app}\n  api: {image: api, container_name: app}\n")],
    ),
    code(
        "owns-too-much",
        "`owns` names what services make behind our back, so that `down` and `purge` can take it along. An entry that holds neither the \
         environment's name nor a path of this stack could take what belongs to somebody else.",
        &[("stack.yaml", "processes: {agent: {command: ./agent}}\nowns:\n  - {containers: {label: kernel=true}}\n")],
    ),
    code(
        "port-twice",
        "Two services take the same port of this host. The second one could not start.",
        &[(
            "compose.yaml",
            "services:\n  web: {image: nginx, ports: [\"8080:80\"]}\n  api: {image: api, ports: [\"8080:80\"]}\n",
        )],
    ),
    code(
        "process-only",
        "The attribute is about processes of this host, and the service is a container.",
        &[("stack.yaml", "services:\n  web:\n    image: nginx\n    scratch: [tmp]\n")],
    ),
    code(
        "profile-off",
        "A service depends on one whose profiles are all off, so it could never start. Naming a service on the command line turns its own \
         profiles on, not those of what it depends on.",
        &[("compose.yaml", "services:\n  web: {image: nginx, depends_on: [debug]}\n  debug: {image: debug, profiles: [dev]}\n")],
    ),
    code(
        "required-variable",
        "An expression with `?` says that its variable must be set (with `:?`, and must not be empty), and it is not. The text after the \
         `?` is the author's explanation.",
        &[("compose.yaml", "services:\n  web:\n    image: nginx:${TAG:?say which version}\n")],
    ),
    code(
        "reserved-limit",
        "`ulimits.rttime` marks the processes that belong to an environment, so that they are found even when they have left everything \
         else behind. It cannot be used otherwise.",
        &[("stack.yaml", "processes:\n  web:\n    command: ./serve\n    ulimits: {rttime: 5}\n")],
    ),
    code(
        "too-large",
        "A file is longer, deeper or holds more than anybody writes by hand: 4 MiB, 512 levels, 300,000 keys and values with all aliases \
         filled in; 400,000 over all files, 1,000 included files, 100 services that extend each other in a row. Most likely aliases of \
         aliases multiply.",
        &[(
            "compose.yaml",
            "services: {web: {image: nginx}}\nx-a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9]\nx-b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\n\
             x-c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b]\nx-d: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c]\n\
             x-e: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d]\nx-f: [*e, *e, *e, *e, *e, *e, *e, *e, *e]\n",
        )],
    ),
    code("too-long", "Variables that mention variables have made a text of more than 32 MiB.", &[]),
    code(
        "two-kinds",
        "`services:` and `processes:` share one namespace: `depends_on` and the commands could not tell the two apart.",
        &[("stack.yaml", "services: {web: {image: nginx}}\nprocesses: {web: {command: ./serve}}\n")],
    ),
    code(
        "two-names",
        "`external.name` is the old spelling of `name`, and the two say different things.",
        &[(
            "compose.yaml",
            "services: {web: {image: nginx, networks: [front]}}\nnetworks:\n  front:\n    name: one\n    external: {name: other}\n",
        )],
    ),
    code(
        "two-networks",
        "`network_mode` shares another network than one of its own, which `networks` would be.",
        &[("compose.yaml", "services:\n  web: {image: nginx, network_mode: host, networks: [front]}\nnetworks: {front: {}}\n")],
    ),
    code(
        "two-spellings",
        "`processes:` may be written `x-processes:` so that other tools skip it; the same holds for our other keys at the top. A file has \
         one of the two.",
        &[("stack.yaml", "processes: {web: {command: ./web}}\nx-processes: {api: {command: ./api}}\n")],
    ),
    code(
        "two-values",
        "Two attributes say the same thing and disagree, as `mem_limit` and `deploy.resources.limits.memory` do.",
        &[("compose.yaml", "services:\n  web: {image: nginx, scale: 2, deploy: {replicas: 3}}\n")],
    ),
    code(
        "unclosed-env-quote",
        "A value of an env file begins with a quote that is never closed. Values may run over several lines, so everything after it would \
         belong to it.",
        &[("compose.yaml", "services: {web: {image: nginx, env_file: web.env}}\n"), ("web.env", "GREETING=\"hello\nMODE=fast\n")],
    ),
    code(
        "undefined",
        "A service uses a network, volume, secret, config or model that the stack does not define at the top.",
        &[("compose.yaml", "services:\n  web:\n    image: nginx\n    volumes: [\"data:/data\"]\n")],
    ),
    code(
        "unfit-host",
        "A process asks for something that this host, or this user, does not have: a user or group that does not exist or that only root \
         may become, a limit above what this user may raise, a `working_dir` that is not there and that nothing makes; or a service is looked after by a `provider` whose program is not there. It is \
         told when something is to be started, since another host may have it.",
        &[],
    ),
    code(
        "unknown-key",
        "There is no such attribute here. Keys of your own begin with `x-` and are left alone everywhere.",
        &[("compose.yaml", "services:\n  web:\n    image: nginx\n    enviroment: {MODE: fast}\n")],
    ),
    code(
        "unknown-service",
        "A service is named that the stack does not have: in `depends_on`, `extends`, `links` or a shared name space.",
        &[("compose.yaml", "services:\n  web: {image: nginx, depends_on: [databse]}\n  database: {image: postgres}\n")],
    ),
    code(
        "unknown-variable",
        "A template of a config, or a config or secret with `environment`, uses a variable that is not set. In a stack file that counts \
         as empty, but a file with a hole in it is worse than none.",
        &[
            ("stack.yaml", "processes:\n  web: {command: serve, configs: [site]}\nconfigs:\n  site: {template: site.conf}\n"),
            ("site.conf", "listen ${PORT};\n"),
        ],
    ),
    code(
        "unpublishable",
        "Something in the stack is of no use to whoever fetches it once it is published: a file of this host, an image that only this host \
         can make, or what Compose does not know.",
        &[],
    ),
    code(
        "unreachable",
        "A stack file lies elsewhere, in a registry (`oci://…`) or in a git repository, and cannot be fetched from there: nobody \
         answers, or it is not there, or not for whoever asks.",
        &[("compose.yaml", "include: [\"https://example.com/db.git\"]\nservices: {web: {image: nginx}}\n")],
    ),
    code(
        "unset-variable",
        "A variable is not set anywhere and counts as empty. It may be set in the environment, in `.env`, or get a default in the \
         expression.",
        &[("compose.yaml", "services:\n  web:\n    image: nginx\n    command: serve --mode ${MODE}\n")],
    ),
    code(
        "wrong-kind",
        "A value has another shape than the attribute has: a text where a list is wanted, a list where a mapping is.",
        &[("compose.yaml", "services:\n  web:\n    image: nginx\n    cap_add: NET_ADMIN\n")],
    ),
];

impl Code {
    /// The code of this name.
    pub fn of(name: &str) -> Option<&'static Code> {
        CODES.iter().find(|code| code.name == name)
    }

    /// What loading the example finds.
    pub fn findings(&self) -> (Diagnostics, SourceMap) {
        let files = Example(self.example.iter().map(|(name, text)| (Path::new("/example").join(name), *text)).collect());
        let request = Request {
            working_dir: PathBuf::from("/example"),
            files: self.example.first().map(|(name, _)| PathBuf::from(name)).into_iter().collect(),
            ..Request::default()
        };
        let (head, sources, found) = super::head(&request, &files);
        if found.has_errors() {
            return (found, sources);
        }
        let values = Values {
            env_id: EnvId::normalized("example").expect("a word is a name"),
            predefined: IndexMap::new(),
            ports: IndexMap::new(),
            generated: IndexMap::new(),
        };
        let mut loaded = super::stack(&request, &head, &values, &files);
        loaded.diagnostics.extend(loaded.unstartable);
        (loaded.diagnostics, loaded.sources)
    }
}

/// The files of an example.
struct Example(HashMap<PathBuf, &'static str>);

impl Files for Example {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.get(path).map(|text| text.as_bytes().to_vec()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(path.to_owned())
    }

    fn kind(&self, path: &Path) -> Option<FileKind> {
        self.0.contains_key(path).then_some(FileKind::File)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_and_each_example_has_its_own() {
        assert!(CODES.is_sorted_by_key(|code| code.name));
        for code in CODES.iter().filter(|code| !code.example.is_empty()) {
            let (found, _) = code.findings();
            let codes: Vec<_> = found.sorted().iter().map(|found| found.code).collect();
            assert!(codes.contains(&code.name), "{}: {codes:?}", code.name);
        }
    }
}
