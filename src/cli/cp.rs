//! `cp`: files between this host and the containers of a service.

use std::path::Path;

use super::CliError;
use super::context::Context;
use super::targets::{no_replica, of_engine};
use crate::base::exit::Exit;
use crate::base::name::ServiceName;
use crate::model::service::Service;
use crate::world::docker::{CopyOptions, Listed};

/// Flags of `cp`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "baistack cp [OPTIONS] SERVICE:PATH HOST_PATH|-\n       baistack cp [OPTIONS] HOST_PATH|- SERVICE:PATH",
    after_help = "Examples:\n  baistack cp db:/var/lib/dump.sql .\n  baistack cp ./seed/. db:/seed      the content of a directory\n  \
                  tar c x | baistack cp - db:/tmp    an archive\n\n\
                  Into a service it goes to every replica, unless --index names one; from one it comes from the first."
)]
pub struct Args {
    /// What is copied
    pub source: String,
    /// Where to
    pub destination: String,
    /// One-off containers (of `run`) too
    #[arg(long)]
    pub all: bool,
    /// Keep owners
    #[arg(short, long)]
    pub archive: bool,
    /// A source that is a link stands for what it leads to
    #[arg(short = 'L', long)]
    pub follow_link: bool,
    /// Replica
    #[arg(long, value_name = "N")]
    pub index: Option<u32>,
}

/// One end of a copy.
#[derive(Debug, PartialEq, Eq)]
enum End<'a> {
    /// `-`.
    Stream,
    /// A path of this host.
    Here(&'a str),
    /// A path inside a service.
    Inside(&'a str, &'a str),
}

impl<'a> End<'a> {
    /// As `docker cp` reads it: what is or begins like a path is one, whatever colons it has.
    fn of(text: &'a str) -> Self {
        match text.split_once(':') {
            _ if text == "-" => End::Stream,
            Some((service, path)) if !text.starts_with(['/', '.']) && !service.contains('/') => End::Inside(service, path),
            Some(_) | None => End::Here(text),
        }
    }
}

/// Copies.
pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let options = CopyOptions { archive: args.archive, follow_link: args.follow_link };
    match (End::of(&args.source), End::of(&args.destination)) {
        (End::Inside(service, path), to @ (End::Here(_) | End::Stream)) => {
            let containers = targets(service, args, context)?;
            let container = containers.first().expect("there is one, or that is the error");
            copy_out(container, path, &to, options, context)
        }
        (from @ (End::Here(_) | End::Stream), End::Inside(service, path)) => {
            for container in targets(service, args, context)? {
                copy_in(&container, &from, path, options, context)?;
            }
            Ok(Exit::Success)
        }
        (End::Inside(..), End::Inside(..)) => {
            Err(CliError::Usage("copying between services is not possible: copy to this host first".to_owned()))
        }
        (End::Here(_) | End::Stream, End::Here(_) | End::Stream) => {
            Err(CliError::Usage("one of the two must be inside a service: SERVICE:PATH".to_owned()))
        }
    }
}

fn copy_out(container: &Listed, path: &str, to: &End<'_>, options: CopyOptions, context: &Context) -> Result<Exit, CliError> {
    let engine = context.engine()?;
    let path = rooted(path);
    let End::Here(to) = to else {
        let mut broken = None;
        let copied = engine.each_piece(
            async |docker| docker.copy_out_archive(&container.id, &path, options).await,
            |piece| {
                broken = context.printer.data(piece).err();
                broken.is_none()
            },
        );
        copied.map_err(of_engine)?;
        return broken.map_or(Ok(Exit::Success), |error| Err(error.into()));
    };
    let to = Path::new(to);
    engine.with(async |docker| docker.copy_out(&container.id, &path, to, options).await).map_err(of_engine)?;
    context.printer.say(format!("copied {}:{path} to {}", container.name, to.display()));
    Ok(Exit::Success)
}

fn copy_in(container: &Listed, from: &End<'_>, path: &str, options: CopyOptions, context: &Context) -> Result<(), CliError> {
    let engine = context.engine()?;
    let path = rooted(path);
    let End::Here(from) = from else {
        return engine.upload_stdin(&container.id, &path, options.archive).map_err(of_engine);
    };
    let from = Path::new(from);
    engine.with(async |docker| docker.copy_in(&container.id, from, &path, options).await).map_err(of_engine)?;
    context.printer.say(format!("copied {} to {}:{path}", from.display(), container.name));
    Ok(())
}

/// Paths inside a container are relative to its root, as for `docker cp`.
fn rooted(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

/// The containers that are meant, the first replica first; at least one.
fn targets(service: &str, args: &Args, context: &Context) -> Result<Vec<Listed>, CliError> {
    let service: ServiceName =
        service.parse().map_err(|error: crate::base::name::NameError| CliError::Usage(error.to_string()))?;
    if let Some(index) = args.index.filter(|_| !args.all) {
        return Ok(vec![context.container_of(&service, index, OF_THIS_HOST)?]);
    }
    let (env, deployment) = context.environment()?;
    context.refuse_provided(&env, std::slice::from_ref(&service), "to copy from or to")?;
    let known = deployment.as_ref().and_then(|deployment| deployment.service(&service));
    if known.is_some_and(Service::is_process) {
        return Err(CliError::Usage(format!("`{service}` is a process, and {OF_THIS_HOST}")));
    }
    let mut containers = context.containers(&env, deployment.as_ref(), std::slice::from_ref(&service))?;
    containers.retain(|container| args.all || !container.one_off);
    if containers.is_empty() {
        return Err(no_replica(&env, &crate::base::name::UnitId::new(service, 1), &[]));
    }
    Ok(containers)
}

const OF_THIS_HOST: &str = "its files are this host's";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_names_a_service_where_no_path_begins() {
        for (text, expected) in [
            ("web:/etc/x", End::Inside("web", "/etc/x")),
            ("web:x", End::Inside("web", "x")),
            ("./web:x", End::Here("./web:x")),
            ("/a:b", End::Here("/a:b")),
            ("a/b:c", End::Here("a/b:c")),
            ("-", End::Stream),
            ("file", End::Here("file")),
        ] {
            assert_eq!(End::of(text), expected, "{text}");
        }
    }
}
