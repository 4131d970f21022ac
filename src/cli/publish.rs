//! `publish`: the stack's files as an application in a registry, from which `-f oci://…` and Docker Compose start it.

use std::fs;

use super::CliError;
use super::context::{Context, Ready};
use super::{config, image_jobs, push};
use crate::base::diagnostic::{Diagnostic, Diagnostics};
use crate::base::exit::Exit;
use crate::load::formats::Format;
use crate::load::publication::Publication as Files;
use crate::load::sensitive::secrets_in;
use crate::model::mount::MountKind;
use crate::supervisor;
use crate::view::term;
use crate::world::docker::{self, OciVersion, Part, PartKind, Publication};
use crate::yaml::node::{Mapping, Node};

/// Flags of `publish`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The files are published as they are written, with those that they extend; with --with-env the files of variables too. \
                        Files that are mounted, and what services are built from, are not.\n\n\
                        Examples:\n  baistack publish registry.example.com/me/app:1\n  baistack -f oci://registry.example.com/me/app:1 up -d"
)]
pub struct Args {
    /// Where
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub repository: String,
    /// Copy the images beside it
    #[arg(long)]
    pub app: bool,
    /// Edition of the artifact, 1.0 or 1.1 [default: the newest that the registry takes]
    #[arg(long, value_name = "VERSION", value_parser = ["1.0", "1.1"])]
    pub oci_version: Option<String>,
    /// Write which images the tags mean now
    #[arg(long)]
    pub resolve_image_digests: bool,
    /// Publish files of variables, and values that may be secrets, without a question
    #[arg(long)]
    pub with_env: bool,
    /// Yes to all questions
    #[arg(short, long)]
    pub yes: bool,
    /// Speak to the registry without TLS
    #[arg(long, hide = true)]
    pub insecure_registry: bool,
}

/// Publishes the stack.
pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    docker::check_published(&args.repository).map_err(|fault| CliError::Failed(fault.message))?;
    let mut ready = context.load_everything()?;
    let others = other_formats(&ready);
    if others.has_errors() {
        return Err(context.refuse(&others, &ready.sources));
    }
    let files = context.publication(&ready);
    if files.diagnostics.has_errors() {
        return Err(context.refuse(&files.diagnostics, &files.sources));
    }
    context.show(&files.diagnostics, &files.sources);
    let unbuilt = only_built(&ready);
    if unbuilt.has_errors() {
        return Err(context.refuse(&unbuilt, &ready.sources));
    }
    // What cannot be published is told before anything is.
    let mut parts = parts(args, &files)?;
    for concern in concerns(args, &ready, &files) {
        if !concern.is_accepted(args, context)? {
            return Ok(Exit::Passed(130));
        }
    }
    let all: Vec<_> = ready.deployment.stack.services.keys().cloned().collect();
    let images = push::jobs(&supervisor::select(&ready.deployment.stack, &all, true), &ready.deployment);
    if context.global.dry_run {
        images.iter().for_each(|job| context.printer.say(format!("{} would be pushed", job.name)));
        context.printer.say(format!("{} would be published", args.repository));
        return Ok(Exit::Changes);
    }
    if !images.is_empty() {
        // Somebody may have pushed them already.
        let failures = image_jobs::perform(images, context.style, context)?;
        failures.iter().for_each(|failure| context.printer.warning(failure));
    }
    let belonging = args.app.then(|| images_of(&ready));
    if args.resolve_image_digests || args.app {
        let content = config::image_lock(&mut ready.tree, context)?.into_bytes();
        parts.push(Part { kind: PartKind::StackFile, name: "image-digests.yaml".to_owned(), content });
    }
    let insecure: Vec<String> =
        args.repository.split('/').next().filter(|_| args.insecure_registry).map(str::to_owned).into_iter().collect();
    let version = args.oci_version.as_deref().map(|version| if version == "1.0" { OciVersion::V1_0 } else { OciVersion::V1_1 });
    let publication =
        Publication { reference: &args.repository, parts: &parts, version, images: belonging.as_deref(), insecure: &insecure };
    let digest = context.engine()?.with(async |docker| docker.publish(&publication).await);
    let digest = digest.map_err(|fault| CliError::Failed(fault.message))?;
    context.printer.say(format!("{} is published as {digest}", args.repository));
    Ok(Exit::Success)
}

/// Files of other tools, which Compose would take for its own.
fn other_formats(ready: &Ready) -> Diagnostics {
    let mut found = Diagnostics::default();
    for file in ready.deployment.stack.files.iter().filter(|file| Format::of(file) != Format::Stack) {
        let fault = format!("`{}` is no stack file, and what is published has to be one", file.display());
        let help = "write it as a stack file: `baistack config` shows what it is as one";
        found.push(Diagnostic::error("unpublishable", fault).help(help));
    }
    found
}

/// Services and jobs of which there is nothing but a build, which nobody else can make.
fn only_built(ready: &Ready) -> Diagnostics {
    let mut found = Diagnostics::default();
    for section in ["services", "jobs"] {
        for (name, entry) in ready.tree.get(section).and_then(Node::as_mapping).into_iter().flat_map(Mapping::iter) {
            if entry.node.get("build").is_some() && entry.node.get("image").is_none() {
                let fault = format!("`{name}` has a `build` and no `image`: nobody else can make it");
                let help = "name its `image`, in a registry that those who fetch the stack can reach";
                found.push(Diagnostic::error("unpublishable", fault).at(entry.key_span, "").help(help));
            }
        }
    }
    found
}

/// Something that whoever publishes a stack should know.
struct Concern {
    what: &'static str,
    which: Vec<String>,
    /// The flags that answer the question beforehand.
    flags: &'static str,
}

impl Concern {
    fn is_accepted(&self, args: &Args, context: &Context) -> Result<bool, CliError> {
        if args.yes {
            return Ok(true);
        }
        let tell = || {
            context.printer.warning(format!("{}:", self.what));
            self.which.iter().for_each(|which| context.printer.say(format!("  {which}")));
        };
        if context.global.dry_run {
            tell();
            return Ok(true);
        }
        if !term::stdin_is_terminal() {
            tell();
            return Err(CliError::Usage(format!("there is no terminal to ask on whether to publish this: give {}", self.flags)));
        }
        tell();
        context.printer.ask("Publish it all the same? [y/N] ");
        Ok(term::answer_is_yes())
    }
}

/// As Compose asks: for mounts of this host, what looks like a secret, variables, and contents of configs.
fn concerns(args: &Args, ready: &Ready, files: &Files) -> Vec<Concern> {
    let stack = &ready.deployment.stack;
    let mounts = stack.services.iter().flat_map(|(name, service)| {
        let binds = service.container().into_iter().flat_map(|container| &container.volumes);
        let binds = binds.filter(|mount| mount.kind == MountKind::Bind);
        binds.map(move |mount| format!("`{name}` mounts `{}`", mount.source.as_deref().unwrap_or_default()))
    });
    let jobs = ready.tree.get("jobs").and_then(Node::as_mapping).into_iter().flat_map(Mapping::iter);
    let of_jobs = jobs.flat_map(|(name, entry)| {
        let text = |mount: &Node, key: &str| mount.get(key).and_then(Node::as_text).map(str::to_owned);
        let mounts = entry.node.get("volumes").and_then(Node::as_sequence).unwrap_or_default();
        let binds = mounts.iter().filter(move |mount| text(mount, "type").as_deref() == Some("bind"));
        binds.map(move |mount| format!("`{name}` mounts `{}`", text(mount, "source").unwrap_or_default()))
    });
    let what = "mounts of this host are published, their paths and not what they hold";
    let mut all = vec![Concern { what, which: mounts.chain(of_jobs).collect(), flags: "--yes" }];

    let env_files =
        files.env_files.keys().filter(|_| args.with_env).filter_map(|path| Some((path.clone(), fs::read_to_string(path).ok()?)));
    let given = stack.configs.values().chain(stack.secrets.values()).filter_map(|object| object.file.clone());
    let given = given.filter_map(|path| Some((path.clone(), fs::read_to_string(path).ok()?)));
    let texts = files.files.iter().map(|file| (file.path.clone(), file.text.clone())).chain(env_files).chain(given);
    let which = texts.flat_map(|(path, text)| {
        let one = |(line, what): (usize, &str)| format!("{}:{line} has {what}", path.display());
        secrets_in(&text).into_iter().map(one).collect::<Vec<_>>()
    });
    all.push(Concern { what: "there is what looks like a secret", which: which.collect(), flags: "--yes" });

    let mut which: Vec<String> = files.with_env_files.iter().map(|name| format!("`{name}` has an `env_file`")).collect();
    which.extend(files.secrets.iter().map(|(name, keys)| {
        let keys: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
        format!("`{name}` has a value for {}", keys.join(", "))
    }));
    if !args.with_env {
        let what = "variables are published as they are written; files of them not without --with-env";
        all.push(Concern { what, which, flags: "--with-env or --yes" });
    }

    let which = files.contents.iter().map(|name| format!("`{name}`")).collect();
    all.push(Concern { what: "contents of configs are published", which, flags: "--yes" });
    all.retain(|concern| !concern.which.is_empty());
    all
}

/// The images that services and jobs are made of or mount, each once.
fn images_of(ready: &Ready) -> Vec<String> {
    let mut images: Vec<String> = Vec::new();
    let deployment = &ready.deployment;
    let of_service = |name| deployment.image_of(name).into_iter().chain(deployment.mounted_images(name).into_values());
    let of_services = deployment.stack.services.keys().flat_map(of_service);
    let jobs = ready.tree.get("jobs").and_then(Node::as_mapping).into_iter().flat_map(Mapping::iter);
    let of_jobs = jobs.filter_map(|(_, entry)| entry.node.get("image")?.as_text().map(str::to_owned));
    for image in of_services.chain(of_jobs) {
        if !images.contains(&image) {
            images.push(image);
        }
    }
    images
}

fn parts(args: &Args, files: &Files) -> Result<Vec<Part>, CliError> {
    let mut parts: Vec<Part> = (files.files.iter())
        .map(|file| {
            let kind = if file.is_extended { PartKind::Extended } else { PartKind::StackFile };
            Part { kind, name: file.name.clone(), content: file.text.clone().into_bytes() }
        })
        .collect();
    if args.with_env {
        for (path, name) in &files.env_files {
            match fs::read(path) {
                Ok(content) => parts.push(Part { kind: PartKind::Variables, name: name.clone(), content }),
                // One that need not be there.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(CliError::Failed(format!("read `{}`: {error}", path.display()))),
            }
        }
    }
    Ok(parts)
}
