//! `init`: writes a stack file, from what the directory has already or as a start from nothing.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::CliError;
use super::context::Context;
use crate::base::diagnostic::Diagnostics;
use crate::base::exit::Exit;
use crate::base::source::{SourceId, SourceMap, Span};
use crate::load::files::Files;
use crate::load::formats::{Format, procfile};
use crate::model::process::{REPLICA_MARK, fill_replica};
use crate::view::diagnostics::{self, Look};
use crate::view::term;
use crate::world::disk::Disk;
use crate::yaml::node::Node;
use crate::yaml::{emit, parse};

/// What a stack is made from, the likeliest first.
const FOUND: [&str; 7] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
    "process-compose.yaml",
    "process-compose.yml",
    "Procfile",
];

const HEAD: &str = "# What this stack runs, for `baistack up`. Containers stand under `services:` in Compose's words, programs of this\n\
                    # machine under `processes:` in the same words.\n";

const START: &str = "\nservices: {}\n#  db:\n#    image: postgres:17\n#    ports: [\"127.0.0.1:${DB_PORT}:5432\"]\n\n\
                     # Numbers that are free on this host; each environment has its own.\n#ports:\n#  DB_PORT: 5432\n\n\
                     #processes:\n#  web:\n#    command: ./serve --db 127.0.0.1:${DB_PORT}\n#    depends_on: [db]\n";

/// Arguments of `init`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  baistack init              from a Compose file, process-compose.yaml or Procfile here, else a start from nothing\n  \
                  baistack init Procfile     from this file\n\nA Compose file stays as it is and is included."
)]
pub struct Args {
    /// What to make it from [default: what is here]
    pub from: Option<PathBuf>,
    /// Where to write, `-` is stdout
    #[arg(short, long, value_name = "FILE", default_value = "stack.yaml")]
    pub output: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    pub force: bool,
}

/// Writes it.
pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let here = |name: &Path| context.working_dir.join(name);
    let found = || FOUND.iter().map(PathBuf::from).find(|name| here(name).is_file());
    let from = args.from.clone().or_else(found);
    let text = match &from {
        Some(from) => format!("{HEAD}\n{}", made_from(from, context)?),
        None => format!("{HEAD}{START}"),
    };
    if args.output == Path::new("-") {
        context.printer.data(text)?;
        return Ok(Exit::Success);
    }
    write(&here(&args.output), &text, args.force).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            CliError::Failed(format!("`{}` is there already; `--force` replaces it", args.output.display()))
        }
        _ => CliError::Failed(format!("write `{}`: {error}", args.output.display())),
    })?;
    let origin = from.map(|from| format!(" from `{}`", from.display())).unwrap_or_default();
    context.printer.say(format!("wrote `{}`{origin}; `baistack plan` shows what `up` will do", args.output.display()));
    Ok(Exit::Success)
}

fn write(path: &Path, text: &str, force: bool) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    options.open(path)?.write_all(text.as_bytes())
}

/// The stack of another tool's file. One of Compose is a stack already and is included, so that Compose reads it as well.
fn made_from(from: &Path, context: &Context) -> Result<String, CliError> {
    let bytes = Disk
        .read(&context.working_dir.join(from))
        .map_err(|error| CliError::Failed(format!("read `{}`: {error}", from.display())))?;
    let text = parse::decode(&bytes).map_err(|error| CliError::Failed(format!("read `{}`: {error}", from.display())))?;
    let mut sources = SourceMap::default();
    let text: Arc<str> = text.into();
    let source = sources.add(from, text.clone());
    let mut found = Diagnostics::default();
    let format = Format::of(from);
    let trees = format.read(source, &text, procfile::FIRST_PORT, &mut found);
    let look = Look { directory: &context.working_dir, color: context.printer.paint_talk.is_on(), width: term::stderr_width() };
    let told = diagnostics::render(&found, &sources, &look);
    if !told.is_empty() {
        context.printer.say(told.trim_end());
    }
    if found.has_errors() {
        return Err(CliError::StackFile(diagnostics::summary(&found).unwrap_or_default()));
    }
    Ok(match format {
        Format::Stack => format!("include: [{}]\n", emit::to_yaml(&text_node(from, source)).trim_end()),
        Format::Procfile | Format::ProcessCompose => {
            let documents: Vec<String> = trees.iter().map(emit::to_yaml).collect();
            fill_replica(&documents.join("---\n").replace(REPLICA_MARK, "${REPLICA}"), 1).into_owned()
        }
    })
}

fn text_node(path: &Path, source: SourceId) -> Node {
    Node::text(path.display().to_string(), Span { source, start: 0, end: 0 })
}
