//! Stacks in a registry and in git repositories: what is published, and what is fetched of it.

use std::fs;
use std::process::Command;

use crate::support::host_engine::HostEngine;
use crate::support::registry::{PASSWORD, Registry};
use crate::support::sandbox::{Said, Sandbox};
use crate::support::web_proxy::WebProxy;

const STACK: &str = "# as it is written
services:
  web:
    image: \"nginx:${TAG:-1}\"
    env_file: web.env
    extends: {service: base, file: base/base.yaml}
";

fn with_registry(name: &str, stack: &str) -> Option<(Sandbox, Registry, String)> {
    let registry = Registry::serve(name)?;
    let sandbox = Sandbox::new(stack);
    sandbox.write("web.env", "GREETING=hello\n");
    sandbox.write("base/base.yaml", "services:\n  base: {image: x, labels: {of: base}}\n");
    sandbox.write("../home/.docker/config.json", &registry.login(PASSWORD));
    let reference = format!("{}/me/app:1", registry.address());
    Some((sandbox, registry, reference))
}

/// What a stack elsewhere is understood as, without what only a place has.
fn fetched(sandbox: &Sandbox, file: &str) -> serde_json::Value {
    let elsewhere = sandbox.root().join("elsewhere");
    fs::create_dir_all(&elsewhere).unwrap();
    let said = sandbox.run_in(&elsewhere, &["-p", "far", "-f", file, "config", "--format", "json"]);
    assert_eq!(said.code, 0, "{said:?}");
    serde_json::from_str(&said.out).unwrap()
}

fn digest(said: &Said) -> String {
    said.err.split_whitespace().find(|word| word.starts_with("sha256:")).unwrap_or_else(|| panic!("{said:?}")).to_owned()
}

#[test]
fn what_is_published_is_fetched_whole_and_kept_by_its_digest() {
    let Some((sandbox, registry, reference)) = with_registry("publish", STACK) else { return };
    let said = sandbox.run(&["publish", "--with-env", "--yes", &reference]);
    assert_eq!(said.code, 0, "{said:?}");
    let web = &fetched(&sandbox, &format!("oci://{reference}"))["services"]["web"];
    assert_eq!((web["image"].as_str(), web["labels"]["of"].as_str()), (Some("nginx:1"), Some("base")));
    assert_eq!(web["environment"]["GREETING"], "hello");
    // A stack of one's own may include it, and extend what it has.
    let include = format!(
        "include: ['oci://{reference}']\nservices:\n  more: {{extends: {{file: 'oci://{reference}', service: web}}, image: y}}\n"
    );
    sandbox.write("including.yaml", &include);
    let all = fetched(&sandbox, sandbox.path("including.yaml").to_str().unwrap());
    assert_eq!(
        (all["services"]["web"]["image"].as_str(), all["services"]["more"]["image"].as_str()),
        (Some("nginx:1"), Some("y"))
    );
    // Published again with another content, the tag means that, however often, and also when it goes back.
    let mut digests = vec![digest(&said)];
    for image in ["second", "other", "second", "other"] {
        sandbox.write("stack.yaml", &format!("services: {{other: {{image: {image}}}}}\n"));
        let newer = sandbox.run(&["publish", "--oci-version", "1.0", &reference]);
        assert_eq!(newer.code, 0, "{newer:?}");
        assert_eq!(fetched(&sandbox, &format!("oci://{reference}"))["services"]["other"]["image"], image);
        digests.push(digest(&newer));
    }
    assert!(digests[0] != digests[1] && digests[1] != digests[2] && digests[2] != digests[0], "{digests:?}");
    // By its digest the first is kept, and needs no registry.
    let first = format!("oci://{}@{}", reference.rsplit_once(':').unwrap().0, digest(&said));
    drop(registry);
    assert_eq!(fetched(&sandbox, &first)["services"]["web"]["image"], "nginx:1");
    // A tag is taken as it was, which is said.
    let said = sandbox.run(&["-f", &format!("oci://{reference}"), "config"]);
    assert!(said.code == 0 && said.out.contains("image: other"), "{said:?}");
    assert!(said.err.contains("not to be reached") && said.err.contains("as it was when it was last asked for"), "{said:?}");
    // Whoever starts nothing asks nobody.
    for line in [&["ps"][..], &["graph"], &["port"], &["env", "other"]] {
        let said = sandbox.run(&[&["-f", &format!("oci://{reference}")], line].concat());
        assert!(said.code == 0 && !said.err.contains("registry"), "{line:?}: {said:?}");
    }
    fs::remove_dir_all(sandbox.root().join("home/.cache/baistack/oci")).unwrap();
    let said = sandbox.run(&["-f", "including.yaml", "config"]);
    assert!(said.code == 3 && said.err.contains("error[unreachable]") && said.err.contains("including.yaml:1:11"), "{said:?}");
    let said = sandbox.run(&["-f", &format!("oci://{reference}"), "config"]);
    assert!(said.code == 3 && said.err.contains("cannot be fetched: the registry"), "{said:?}");
}

#[test]
fn a_registry_behind_a_proxy_is_published_to_and_fetched_from() {
    let Some((mut sandbox, registry, _)) = with_registry("proxied", STACK) else { return };
    let proxy = WebProxy::before(registry.address());
    // Nobody but the proxy knows where that is.
    let host = "registry.invalid:5000";
    sandbox.write("../home/.docker/config.json", &registry.login(PASSWORD).replace(&registry.address().to_string(), host));
    sandbox.variable("http_proxy", Some(&format!("http://{}", proxy.address())));
    let reference = format!("{host}/me/app:1");
    let said = sandbox.run(&["publish", "--insecure-registry", "--with-env", "--yes", &reference]);
    assert_eq!(said.code, 0, "{said:?}");
    let file = format!("oci://{reference}");
    let said = sandbox.run(&["--insecure-registry", host, "-f", &file, "config", "--images"]);
    assert!(said.code == 0 && said.out == "nginx:1\n", "{said:?}");
    let asked = proxy.asked();
    let manifest = format!("http://{host}/v2/me/app/manifests/1 HTTP/1.1");
    assert!(["PUT", "GET"].iter().all(|method| asked.contains(&format!("{method} {manifest}"))), "{asked:?}");
    // Whoever is not to be asked through it is asked himself.
    sandbox.variable("NO_PROXY", Some("registry.invalid"));
    let before = proxy.asked().len();
    let said = sandbox.run(&["publish", "--insecure-registry", "--with-env", "--yes", &reference]);
    assert!(said.code == 1 && said.err.contains(host), "{said:?}");
    assert_eq!(proxy.asked().len(), before);
}

#[test]
fn a_stack_elsewhere_that_moves_keeps_its_environment_and_is_stopped_when_nobody_has_it_any_more() {
    let mut sandbox = Sandbox::new("services: {web: {image: x}}\n");
    let work = sandbox.root().join("app.git");
    let home = sandbox.root().join("home");
    let commit = |command: &str| {
        fs::create_dir_all(&work).unwrap();
        let stack = format!("name: far\nprocesses:\n  web: {{command: {command}, stop_grace_period: 0s}}\n");
        fs::write(work.join("stack.yaml"), stack).unwrap();
        let who = ["-c", "user.name=me", "-c", "user.email=me@example.com"];
        [&["init", "-q", "-b", "main"][..], &["add", "."], &["commit", "-q", "-m", "edition"]].into_iter().all(|words| {
            let output = Command::new("git").args(who).args(words).current_dir(&work).env("HOME", &home).output();
            output.is_ok_and(|output| {
                assert!(output.status.success(), "{output:?}");
                true
            })
        })
    };
    if !commit("[sleep, '1000']") {
        eprintln!("skipped: no git");
        return;
    }
    let place = format!("url.file://{}/.insteadOf", sandbox.root().display());
    let address = "https://me:word@git.invalid/";
    for (name, value) in [("GIT_CONFIG_COUNT", "1"), ("GIT_CONFIG_KEY_0", &place), ("GIT_CONFIG_VALUE_0", address)] {
        sandbox.variable(name, Some(value));
    }
    let file = "https://me:word@git.invalid/app.git#main";
    let told = ["`https://git.invalid/app.git#main` has programs that run on this host, `web`", "give --yes"];
    // Its programs run here: nobody starts them without a thought, however it is named and started.
    for line in [&["up", "-d"][..], &["run", "web", "true"], &["scale", "web=1"]] {
        let said = sandbox.run(&[&["-f", file], line].concat());
        assert!(said.code == 2 && told.iter().all(|told| said.err.contains(told)), "{line:?}: {said:?}");
    }
    sandbox.variable("COMPOSE_FILE", Some(file));
    let said = sandbox.run(&["up", "-d"]);
    assert!(said.code == 2 && told.iter().all(|told| said.err.contains(told)), "{said:?}");
    sandbox.variable("COMPOSE_FILE", None);
    sandbox.ok(&["-f", file, "up", "-d", "--yes"]);
    // What is in force has been asked about.
    sandbox.ok(&["-f", file, "scale", "web=1"]);
    assert!(commit("[sleep, '2000']"));
    sandbox.ok(&["-f", file, "up", "-d", "--yes"]);
    assert!(sandbox.ok(&["-f", file, "config"]).contains("2000"));
    // Nobody has it any more: who stops it or looks at it need not know.
    fs::remove_dir_all(&work).unwrap();
    let said = sandbox.run(&["-f", file, "up", "-d", "--yes"]);
    assert!(said.code == 0 && said.err.contains("as it was when it was last asked for"), "{said:?}");
    assert!(!said.err.contains("word"), "{said:?}");
    for (line, shown) in [(&["ps"][..], "web"), (&["graph"], "web"), (&["port"], "NAME"), (&["env", "web"], "")] {
        let said = sandbox.run(&[&["-f", file], line].concat());
        assert!(said.code == 0 && said.out.contains(shown) && !said.err.contains("git"), "{line:?}: {said:?}");
    }
    fs::rename(sandbox.root().join("home/.cache"), sandbox.root().join("home/.gone")).unwrap();
    sandbox.ok(&["-f", file, "down"]);
    let said = sandbox.run(&["-p", "far", "ps", "-q"]);
    assert_eq!(said.out, "", "{said:?}");
}

#[test]
fn whoever_watches_or_builds_a_stack_elsewhere_is_asked_as_for_an_up() {
    let mut sandbox = Sandbox::new("services: {}\n");
    let work = sandbox.root().join("asked.git");
    let watched = "name: far\nprocesses:\n  web: {command: [sleep, '1000'], stop_grace_period: 0s, develop: {watch: [{path: ., action: restart}]}}\n";
    let built = "name: far\nservices: {app: {build: {context: ., args: {TOKEN: '${TOKEN:-}'}}}}\n";
    for (directory, text) in [("watched", watched), ("built", built)] {
        fs::create_dir_all(work.join(directory)).unwrap();
        fs::write(work.join(directory).join("stack.yaml"), text).unwrap();
        fs::write(work.join(directory).join("Dockerfile"), "FROM scratch\n").unwrap();
    }
    let who = ["-c", "user.name=me", "-c", "user.email=me@example.com"];
    for words in [&["init", "-q", "-b", "main"][..], &["add", "."], &["commit", "-q", "-m", "edition"]] {
        let made = Command::new("git").args(who).args(words).current_dir(&work).env("HOME", sandbox.root().join("home")).output();
        let Ok(output) = made else { return eprintln!("skipped: no git") };
        assert!(output.status.success(), "{output:?}");
    }
    let place = format!("url.file://{}/.insteadOf", sandbox.root().display());
    for (name, value) in
        [("GIT_CONFIG_COUNT", "1"), ("GIT_CONFIG_KEY_0", place.as_str()), ("GIT_CONFIG_VALUE_0", "https://git.invalid/")]
    {
        sandbox.variable(name, Some(value));
    }
    for (directory, command, told) in [
        ("watched", "watch", "has programs that run on this host, `web`"),
        ("built", "build", "uses variables of yours, `TOKEN`"),
    ] {
        let file = format!("https://git.invalid/asked.git#main:{directory}");
        let said = sandbox.run(&["-f", &file, command]);
        assert!(said.code == 2 && said.err.contains(told) && said.err.contains("give --yes"), "{command}: {said:?}");
        let terminal = sandbox.begin_on_terminal(&["-f", &file, command]);
        terminal.wait_for("Start it");
        terminal.write(b"n\n");
        assert!(terminal.end().contains("nothing is started"), "{command}");
    }
}

#[test]
fn what_comes_on_stdin_is_published_as_it_came() {
    let Some((sandbox, _registry, reference)) = with_registry("stdin", "services: {}\n") else { return };
    sandbox.feed(&["-f", "-", "publish", "--yes", &reference], b"services: {web: {image: 'nginx:1'}}\n");
    assert_eq!(fetched(&sandbox, &format!("oci://{reference}"))["services"]["web"]["image"], "nginx:1");
}

#[test]
fn a_registry_that_refuses_is_told_in_its_words() {
    let Some((sandbox, registry, reference)) = with_registry("refused", "services: {web: {image: x}}\n") else { return };
    let said = sandbox.run(&["-f", &format!("oci://{reference}"), "config"]);
    assert!(said.code == 3 && said.err.contains("has no `me/app` of `1`"), "{said:?}");
    sandbox.write("../home/.docker/config.json", &registry.login("guessed"));
    let said = sandbox.run(&["publish", &reference]);
    assert!(said.code == 1 && said.err.contains("does not take the login"), "{said:?}");
    sandbox.write("../home/.docker/config.json", "{}");
    let said = sandbox.run(&["publish", &reference]);
    assert!(said.code == 1 && said.err.contains(&format!("`docker login {}`", registry.address())), "{said:?}");
}

#[test]
fn what_should_not_be_published_without_a_thought_is_asked_about() {
    let stack = "services:
  web: {image: x, volumes: ['./data:/data'], environment: {DB_PASSWORD: hunter2, MODE: '${MODE:-a}'}, env_file: web.env}
configs: {c: {content: text}}
";
    let Some((sandbox, _registry, reference)) = with_registry("asked", stack) else { return };
    let publish = |flags: &[&str]| sandbox.run(&[&["publish", &reference], flags].concat());
    let said = publish(&[]);
    assert!(said.code == 2 && said.err.contains("`web` mounts `") && said.err.contains("give --yes"), "{said:?}");
    let said = publish(&["--dry-run"]);
    assert!(said.code == 10 && said.err.contains("`web` has an `env_file`") && said.err.contains("`DB_PASSWORD`"), "{said:?}");
    assert!(!said.err.contains("`MODE`") && said.err.contains("contents of configs"), "{said:?}");
    assert!(!said.err.contains("hunter2"), "{said:?}");
    sandbox.write("stack.yaml", "services: {web: {image: x, environment: {DB_PASSWORD: hunter2}}}\n");
    let said = publish(&[]);
    assert!(said.code == 2 && said.err.contains("give --with-env or --yes"), "{said:?}");
    let terminal = sandbox.begin_on_terminal(&["publish", &reference]);
    terminal.wait_for("Publish it all the same? [y/N]");
    terminal.write(b"n\n");
    assert!(!terminal.end().contains("is published"));
    let terminal = sandbox.begin_on_terminal(&["publish", &reference]);
    terminal.wait_for("Publish it all the same? [y/N]");
    terminal.write(b"y\n");
    assert!(terminal.end().contains("is published as sha256:"));
    assert_eq!(publish(&["--with-env"]).code, 0);
}

#[test]
fn what_nobody_else_could_start_is_not_published() {
    let sandbox = Sandbox::new("services: {web: {image: x}}\n");
    for (stack, told) in [
        ("services: {web: {build: .}}\n", "`web` has a `build` and no `image`"),
        ("processes: {web: {command: serve}}\n", "`processes` is no key of Compose"),
        ("include: [other.yaml]\nservices: {web: {image: x}}\n", "`other.yaml` is included from this host"),
    ] {
        sandbox.write("stack.yaml", stack);
        sandbox.write("other.yaml", "services: {other: {image: y}}\n");
        let said = sandbox.run(&["publish", "--yes", "localhost:1/x"]);
        assert!(said.code == 3 && said.err.contains(told) && said.err.contains("stack.yaml:1:"), "{said:?}");
    }
}

#[test]
fn what_cannot_be_published_is_told_before_anything_is_and_in_a_dry_run_too() {
    let sandbox = Sandbox::new("services: {web: {image: x, build: .}}\n");
    for dry in [&["--dry-run"][..], &[]] {
        for wrong in ["No/Such", "a:b:c", "x@sha256:00", &format!("x@sha256:{}", "0".repeat(64))] {
            let said = sandbox.run(&[dry, &["publish", "--yes", wrong]].concat());
            let told = ["is no reference", "names what is there already"].iter().any(|told| said.err.contains(told));
            assert!(said.code == 1 && told && !said.err.contains("push"), "{wrong}: {said:?}");
        }
        sandbox.write("Procfile", "web: serve\n");
        let said = sandbox.run(&[dry, &["-f", "Procfile", "publish", "--yes", "localhost:1/x"]].concat());
        assert!(said.code == 3 && said.err.contains("error[unpublishable]") && said.err.contains("Procfile"), "{said:?}");
    }
}

#[test]
fn a_stack_in_a_git_repository_is_fetched_by_git() {
    let mut sandbox = Sandbox::new("services: {web: {image: x}}\n");
    let work = sandbox.root().join("db.git");
    fs::create_dir_all(work.join("sub")).unwrap();
    fs::write(work.join("sub/compose.yaml"), "services: {db: {image: db, env_file: db.env}}\n").unwrap();
    fs::write(work.join("sub/db.env"), "A=1\n").unwrap();
    let git = |words: &[&str]| {
        let who = ["-c", "user.name=me", "-c", "user.email=me@example.com"];
        let mut command = Command::new("git");
        command.args(who).args(words).current_dir(&work).env("HOME", sandbox.root().join("home"));
        command.output().map(|output| assert!(output.status.success(), "{output:?}"))
    };
    if git(&["init", "-q", "-b", "main"]).is_err() {
        eprintln!("skipped: no git");
        return;
    }
    for words in [&["add", "."][..], &["commit", "-q", "-m", "one"], &["tag", "v1"]] {
        git(words).unwrap();
    }
    // Git itself is told where the address leads.
    let place = format!("url.file://{}/.insteadOf", sandbox.root().display());
    let variables =
        [("GIT_CONFIG_COUNT", "1"), ("GIT_CONFIG_KEY_0", place.as_str()), ("GIT_CONFIG_VALUE_0", "https://git.invalid/")];
    for (name, value) in variables {
        sandbox.variable(name, Some(value));
    }
    sandbox
        .write("stack.yaml", "include: ['https://git.invalid/db.git#v1:sub']\nservices: {web: {image: x, depends_on: [db]}}\n");
    let shown: serde_json::Value = serde_json::from_str(&sandbox.ok(&["config", "--format", "json"])).unwrap();
    assert_eq!(shown["services"]["db"]["environment"]["A"], "1");
    let alone = sandbox.ok(&["-p", "far", "-f", "https://git.invalid/db.git#main:sub", "config", "--services"]);
    assert_eq!(alone, "db\n");
    for (address, told) in [
        ("https://git.invalid/db.git#v2:sub", "the repository has no `v2`"),
        ("https://git.invalid/db.git#v1:nope", "the repository has no `nope`"),
        ("https://git.invalid/no.git", "`git ls-remote` failed"),
        ("ftp://git.invalid/db", "is no address of a stack"),
    ] {
        sandbox.write("stack.yaml", &format!("include: ['{address}']\nservices: {{web: {{image: x}}}}\n"));
        let said = sandbox.run(&["config"]);
        assert!(said.code == 3 && said.err.contains(told) && said.err.contains("stack.yaml:1:11"), "{address}: {said:?}");
    }
    // What is no address of a stack is no path either, wherever it is named.
    let address = format!("file://{}#main:sub", work.display());
    sandbox.write("stack.yaml", &format!("services:\n  web: {{extends: {{file: '{address}', service: db}}}}\n"));
    sandbox.write("including.yaml", &format!("include: ['{address}']\nservices: {{web: {{image: x}}}}\n"));
    for line in [&["-f", &address, "config"][..], &["config"], &["-f", "including.yaml", "config"]] {
        let said = sandbox.run(line);
        assert!(said.code == 3 && said.err.contains("is no address of a stack"), "{line:?}: {said:?}");
        assert!(said.err.contains(&format!("is named by its path, `{}`", work.display())), "{line:?}: {said:?}");
    }
    sandbox.variable("COMPOSE_FILE", Some(&address));
    let said = sandbox.run(&["config"]);
    assert!(said.code == 3 && said.err.contains("is no address of a stack"), "{said:?}");
    sandbox.variable("COMPOSE_FILE", None);
    sandbox.variable("COMPOSE_EXPERIMENTAL_GIT_REMOTE", Some("false"));
    let said = sandbox.run(&["-f", "https://git.invalid/db.git#main:sub", "config"]);
    assert!(said.code == 3 && said.err.contains("`COMPOSE_EXPERIMENTAL_GIT_REMOTE` turns it off"), "{said:?}");
}

#[test]
fn the_images_of_an_application_are_copied_beside_it() {
    let Some(registry) = Registry::serve("app") else { return };
    let Some(sandbox) = Sandbox::with_engine("app", "services: {}\n") else { return };
    let own = format!("{}/{}/own:1", registry.address(), sandbox.engine().env());
    sandbox.write("Dockerfile", &format!("FROM {}\nRUN echo made > /made\n", sandbox.engine().image()));
    sandbox.write("stack.yaml", &format!("services:\n  own: {{image: '{own}', build: .}}\n"));
    sandbox.write("../home/.docker/config.json", &registry.login(PASSWORD));
    let application = format!("{}/{}/app:1", registry.address(), sandbox.engine().env());
    // Images under names of their own, which go however the test ends.
    let _images = Images { engine: sandbox.engine(), names: vec![own.clone(), application.clone()] };
    sandbox.ok(&["build", "-q"]);
    let said = sandbox.run(&["publish", "--app", &application]);
    assert_eq!(said.code, 0, "{said:?}");
    let image = fetched(&sandbox, &format!("oci://{application}"))["services"]["own"]["image"].as_str().unwrap().to_owned();
    assert!(image.starts_with(&format!("{own}@sha256:")), "{image}");
    // By its digest it is to be had from the application's own repository.
    let copy = format!("{}@{}", application.rsplit_once(':').unwrap().0, image.split_once('@').unwrap().1);
    sandbox.write("copy.yaml", &format!("services: {{own: {{image: '{copy}'}}}}\n"));
    sandbox.ok(&["-f", "copy.yaml", "pull"]);
}

/// Images of these names, and what else the engine has of their repositories, are removed.
struct Images<'a> {
    engine: &'a HostEngine,
    names: Vec<String>,
}

impl Drop for Images<'_> {
    fn drop(&mut self) {
        let repositories: Vec<&str> = self.names.iter().filter_map(|name| Some(name.rsplit_once(':')?.0)).collect();
        self.engine.ask(async |api| {
            let all = api.list_images(None::<bollard::query_parameters::ListImagesOptions>).await.unwrap_or_default();
            let names = all.into_iter().flat_map(|image| image.repo_tags.into_iter().chain(image.repo_digests));
            let is_ours = |name: &String| {
                repositories.iter().any(|ours| name.strip_prefix(ours).is_some_and(|rest| rest.starts_with([':', '@'])))
            };
            for name in names.filter(is_ours) {
                // One that goes with another is gone.
                drop(api.remove_image(&name, None::<bollard::query_parameters::RemoveImageOptions>, None).await);
            }
        });
    }
}
