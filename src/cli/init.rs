//! `init`: writes a stack file, from a template, from what the directory has already, or as a start from nothing.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::CliError;
use super::context::Context;
use super::loading::{Checked, read_named};
use super::templates::{TEMPLATES, Template};
use crate::base::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::base::exit::Exit;
use crate::base::source::{SourceMap, Span};
use crate::base::suggest;
use crate::base::way;
use crate::load::formats::{self, Format, procfile};
use crate::model::process::{REPLICA_MARK, fill_replica};
use crate::view::term;
use crate::world::disk::{self, Whole};
use crate::world::removal;
use crate::yaml::emit;
use crate::yaml::node::{Mapping, Node, Value};

/// What a stack is made from. Of each line the first that is there.
const FOUND: [&[&str]; 3] = [
    &["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"],
    &["process-compose.yaml", "process-compose.yml"],
    &["Procfile"],
];

const HEAD: &str = "# What this stack runs, for `baistack up`. Containers stand under `services:` in Compose's words, programs of this\n\
                    # machine under `processes:` in the same words.\n";

const START: &str = "\nservices: {}\n#  db:\n#    image: postgres:17\n#    ports: [\"127.0.0.1:${DB_PORT}:5432\"]\n\n\
                     # Numbers that are free on this host; each environment has its own.\n#ports:\n#  DB_PORT: 5432\n\n\
                     #processes:\n#  web:\n#    command: ./serve --db 127.0.0.1:${DB_PORT}\n#    depends_on: [db]\n";

/// Arguments of `init`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  baistack init                       from what is here (Compose file, process-compose.yaml, Procfile), else an empty start\n  \
                  baistack init Procfile              from this file\n  \
                  baistack init quickstart demo       a template, in the new directory `demo`\n\n\
                  A Compose file stays as it is and is included. On a terminal it is asked where there is a choice, elsewhere never."
)]
pub struct Args {
    /// A template, or the file to make it from [default: what is here]
    #[arg(value_name = "TEMPLATE|FILE")]
    pub from: Option<String>,
    /// Where the stack is to be; made if it is not there [default: here]
    #[arg(value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// Show the templates
    #[arg(long, exclusive = true)]
    pub list: bool,
    /// The stack file's name in there, `-` is stdout [default: stack.yaml]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace files that are there
    #[arg(long)]
    pub force: bool,
}

/// What the stack is made from.
enum Origin {
    Template(&'static Template),
    /// Files of other tools, as they are called from the stack's directory.
    Files(Vec<PathBuf>),
    Nothing,
}

/// Writes it.
pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    if args.list {
        let width = templates_width();
        for template in &TEMPLATES {
            context.printer.data(format!("{:width$}  {}\n", template.name, template.about))?;
        }
        return Ok(Exit::Success);
    }
    // `init DIR` says where and not from what.
    let is_place = |from: &str| Template::named(from).is_none() && context.working_dir.join(from).is_dir();
    let (from, place) = match (&args.from, &args.directory) {
        (Some(from), None) if is_place(from) => (None, Some(PathBuf::from(from))),
        (from, place) => (from.as_deref(), place.clone()),
    };
    let directory = place.as_ref().map_or_else(|| context.working_dir.clone(), |place| context.working_dir.join(place));
    let origin = origin(from, &directory, context)?;
    if let Origin::Template(template) = origin {
        return write_template(template, &directory, place.as_deref(), args, context);
    }
    let output = args.output.as_deref().unwrap_or(Path::new("stack.yaml"));
    let to_stdout = output == Path::new("-");
    if !to_stdout && !args.force {
        nothing_in_the_way(&directory, [output])?;
    }
    let written_to = if to_stdout { Path::new("stack.yaml") } else { output };
    is_a_place(written_to, &origin, &directory)?;
    let text = match &origin {
        Origin::Files(files) => {
            let made = made_from(files, &directory, written_to, context)?;
            for (found, sources) in &made.left_out {
                context.show(found, sources);
            }
            made.text
        }
        Origin::Template(_) | Origin::Nothing => format!("{HEAD}{START}"),
    };
    if to_stdout {
        context.printer.data(text)?;
        return Ok(Exit::Success);
    }
    write_all(&directory, &[(output, text.as_bytes())], args.force)?;
    let names = |files: &[PathBuf]| files.iter().map(|file| format!("`{}`", file.display())).collect::<Vec<_>>().join(", ");
    let made = if let Origin::Files(files) = &origin { format!(" from {}", names(files)) } else { String::new() };
    let written = place.as_deref().unwrap_or(Path::new("")).join(output);
    context.printer.say(format!(
        "wrote `{}`{made}; `baistack {}plan` shows what `up` will do",
        written.display(),
        named(&written)
    ));
    Ok(Exit::Success)
}

/// That a stack file may be written there: it is read as one, and is none of the files that the stack is made from.
fn is_a_place(output: &Path, origin: &Origin, directory: &Path) -> Result<(), CliError> {
    let shown = output.display();
    if Format::of(output) != Format::Stack {
        let message = format!("a file that is called `{shown}` is not read as a stack file: give --output another name");
        return Err(CliError::Usage(message));
    }
    let Origin::Files(files) = origin else { return Ok(()) };
    let Ok(written) = directory.join(output).canonicalize() else { return Ok(()) };
    match files.iter().find(|file| directory.join(file).canonicalize().is_ok_and(|file| file == written)) {
        Some(_) => Err(CliError::Usage(format!("`{shown}` is what the stack is made from: give --output another name"))),
        None => Ok(()),
    }
}

/// How a stack file is named on a command line from here: not at all when it is found by itself.
fn named(written: &Path) -> String {
    if written == Path::new("stack.yaml") { String::new() } else { format!("-f {} ", written.display()) }
}

fn origin(from: Option<&str>, directory: &Path, context: &Context) -> Result<Origin, CliError> {
    let Some(from) = from else {
        let found: Vec<PathBuf> = (FOUND.iter())
            .filter_map(|names| names.iter().map(PathBuf::from).find(|name| directory.join(name).is_file()))
            .collect();
        return if term::stdin_is_terminal() && term::stderr_is_terminal() {
            chosen(found, directory, context)
        } else {
            Ok(of(found))
        };
    };
    if let Some(template) = Template::named(from) {
        return Ok(Origin::Template(template));
    }
    // A file is named from here, or as it is called where the stack is to be.
    let here = context.working_dir.join(from);
    let file = if here.is_file() { here } else { directory.join(from) };
    if !file.is_file() {
        let near = suggest::closest(from, TEMPLATES.iter().map(|template| template.name));
        let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
        return Err(CliError::Failed(format!(
            "`{from}` is neither a template nor a file that is there; {near}`baistack init --list` shows the templates"
        )));
    }
    Ok(Origin::Files(vec![file.strip_prefix(directory).map(Path::to_owned).unwrap_or(file)]))
}

/// How wide the longest name of a template is.
fn templates_width() -> usize {
    TEMPLATES.iter().map(|template| template.name.len()).max().unwrap_or(0)
}

fn listed(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn of(found: Vec<PathBuf>) -> Origin {
    if found.is_empty() { Origin::Nothing } else { Origin::Files(found) }
}

/// Asks where there is a choice: which of several files, or which template when there is no file.
fn chosen(found: Vec<PathBuf>, directory: &Path, context: &Context) -> Result<Origin, CliError> {
    let mut choices: Vec<(String, Origin)> = Vec::new();
    match found.as_slice() {
        [_] => return Ok(of(found)),
        [] => choices.push(("an empty start".to_owned(), Origin::Nothing)),
        several => {
            // What cannot be had is not offered.
            match attempted(several, directory, Path::new("stack.yaml"), context) {
                Ok(_) => choices.push((format!("all of {}", listed(several)), of(found.clone()))),
                Err(why) => context.printer.say(format!("{} make no stack together: {}", listed(several), why.in_short())),
            }
            choices.extend(several.iter().map(|file| (file.display().to_string(), Origin::Files(vec![file.clone()]))));
        }
    }
    if found.is_empty() {
        let width = templates_width();
        choices.extend(TEMPLATES.iter().map(|it| (format!("{:width$}  {}", it.name, it.about), Origin::Template(it))));
    }
    for (nth, (text, _)) in choices.iter().enumerate() {
        context.printer.say(format!("  {}  {text}", nth + 1));
    }
    context.printer.ask("Make the stack from which? [1] ");
    let answer = term::answer();
    let answer = answer.trim();
    let nth = if answer.is_empty() { Some(1) } else { answer.parse().ok() };
    match nth.filter(|nth| (1..=choices.len()).contains(nth)) {
        Some(nth) => Ok(choices.swap_remove(nth - 1).1),
        None => Err(CliError::Usage(format!("`{answer}` is none of 1 to {}", choices.len()))),
    }
}

fn write_template(
    template: &Template,
    directory: &Path,
    place: Option<&Path>,
    args: &Args,
    context: &Context,
) -> Result<Exit, CliError> {
    if args.output.is_some() {
        return Err(CliError::Usage(
            "a template has names of its own for its files: give a directory instead of --output".to_owned(),
        ));
    }
    let files: Vec<(&Path, &[u8])> = template.files.iter().map(|(name, content)| (Path::new(*name), *content)).collect();
    write_all(directory, &files, args.force)?;
    let shown = place.map_or_else(|| "this directory".to_owned(), |place| format!("`{}`", place.display()));
    let go = place.map(|place| format!("cd {} && ", place.display())).unwrap_or_default();
    context.printer.say(format!(
        "wrote {} files of the template `{}` to {shown}; its README.md says more, `{go}baistack up` starts it",
        files.len(),
        template.name
    ));
    Ok(Exit::Success)
}

/// That none of these files is there yet.
fn nothing_in_the_way<'a>(directory: &Path, files: impl IntoIterator<Item = &'a Path>) -> Result<(), CliError> {
    let there: Vec<_> = (files.into_iter())
        .filter(|name| directory.join(name).symlink_metadata().is_ok())
        .map(|name| format!("`{}`", name.display()))
        .collect();
    if there.is_empty() {
        return Ok(());
    }
    let are = if there.len() == 1 { "is" } else { "are" };
    Err(CliError::Failed(format!("{} {are} there already; `--force` replaces what is", there.join(", "))))
}

/// Writes files below a directory: all of them or, when one is in the way, none.
fn write_all<'a>(directory: &Path, files: &[(&Path, &'a [u8])], force: bool) -> Result<(), CliError> {
    let failed = |path: &Path, error: &io::Error| CliError::Failed(format!("write `{}`: {error}", path.display()));
    if !force {
        nothing_in_the_way(directory, files.iter().map(|(name, _)| *name))?;
    }
    // What is named below the directory is meant to lie there; where else the user names is up to the user.
    let is_below = |name: &Path| name.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let led_out = |name: &Path| is_below(name) && directory.exists() && removal::leads_out(&directory.join(name), directory);
    if let Some((name, _)) = files.iter().find(|(name, _)| led_out(name)) {
        let found = format!("write `{}`: a link on the way leads out of `{}`", name.display(), directory.display());
        return Err(CliError::Failed(format!("{found}; nothing was written: remove the link, or name another directory")));
    }
    let whole = |&(name, content): &(&Path, &'a [u8])| Whole { path: directory.join(name), content, mode: mode(content) };
    let files: Vec<Whole<'a>> = files.iter().map(whole).collect();
    let mut made = Vec::new();
    let write = |made: &mut Vec<PathBuf>| {
        for parent in files.iter().filter_map(|file| file.path.parent()) {
            make_directory(parent, made).map_err(|error| (parent.to_owned(), error))?;
        }
        if force { disk::replace_all(&files) } else { disk::create_all(&files) }
    };
    write(&mut made).map_err(|(path, error)| {
        // The deepest first; what somebody else has put into one by now stays with it.
        made.iter().rev().for_each(|directory| drop(fs::remove_dir(directory)));
        failed(&path, &error)
    })
}

/// Makes a directory with all above it, and takes note of those that were not there.
fn make_directory(directory: &Path, made: &mut Vec<PathBuf>) -> io::Result<()> {
    let missing: Vec<&Path> = directory.ancestors().take_while(|above| !above.exists()).collect();
    for above in missing.into_iter().rev() {
        match fs::create_dir(above) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Err(_) => {}
            Ok(()) => made.push(above.to_owned()),
        }
    }
    Ok(())
}

/// The mode of a new file with this content: a script can be run.
pub(super) fn mode(content: &[u8]) -> u32 {
    if content.starts_with(b"#!") { 0o755 } else { 0o644 }
}

/// The stack that other tools' files make.
struct Made {
    text: String,
    /// What of each file is not carried over, with the file.
    left_out: Vec<(Diagnostics, SourceMap)>,
}

/// Why files make no stack.
enum Unmade {
    /// What was found in a file, or in what would be written.
    Faults(Checked),
    Other(CliError),
}

impl From<CliError> for Unmade {
    fn from(error: CliError) -> Self {
        Self::Other(error)
    }
}

impl Unmade {
    /// In a line.
    fn in_short(&self) -> String {
        match self {
            Self::Faults(faults) => {
                let first = faults.found.sorted().into_iter().find(|it| it.severity == Severity::Error);
                first.map(|it| it.message.clone()).unwrap_or_default()
            }
            Self::Other(error) => error.to_string(),
        }
    }
}

/// The same, with all that is wrong shown where there is something.
fn made_from(files: &[PathBuf], directory: &Path, output: &Path, context: &Context) -> Result<Made, CliError> {
    attempted(files, directory, output, context).map_err(|unmade| match unmade {
        Unmade::Faults(Checked { found, sources }) => context.refuse(&found, &sources),
        Unmade::Other(error) => error,
    })
}

/// The stack of other tools' files. One of Compose is a stack already and is included, so that Compose reads it as well. What does
/// not load, or could not be planned, is none: each file by itself, whose places are the user's, and then the whole.
fn attempted(files: &[PathBuf], directory: &Path, output: &Path, context: &Context) -> Result<Made, Unmade> {
    let (mut includes, mut processes, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
    for file in files {
        match Format::of(file) {
            Format::Stack => includes.push(included(file, directory, output)),
            Format::Procfile | Format::ProcessCompose => {
                let path = directory.join(file);
                let checked = context.check_file(&path, path.parent().unwrap_or(directory))?;
                if checked.found.has_errors() {
                    return Err(Unmade::Faults(checked));
                }
                let (mut trees, found, sources) = converted(file, directory)?;
                let way = way_to(file, directory, output);
                trees.iter_mut().for_each(|tree| formats::seen_from_elsewhere(tree, &way));
                left_out.push((found, sources));
                processes.push((file, trees));
            }
        }
    }
    let mut text = format!("{HEAD}\n");
    if !includes.is_empty() {
        let _ = writeln!(text, "include: [{}]", includes.join(", "));
    }
    if let Some(stack) = joined(processes)? {
        if !includes.is_empty() {
            text.push('\n');
        }
        text.push_str(&fill_replica(&emit::to_yaml(&stack).replace(REPLICA_MARK, "${REPLICA}"), 1));
    }
    let checked = context.check_text(&real(&directory.join(output)), &text)?;
    if checked.found.has_errors() {
        return Err(Unmade::Faults(checked));
    }
    Ok(Made { text, left_out })
}

/// The way from the directory of the stack file to that of a file that it is made from.
fn way_to(file: &Path, directory: &Path, output: &Path) -> PathBuf {
    let of = |path: &Path| real(directory.join(path).parent().unwrap_or(directory));
    way::relative(&of(file), &of(output))
}

/// A directory without links on the way to it, which may be one that is still to be made.
fn real(place: &Path) -> PathBuf {
    let from = |there: &Path| Some(there.canonicalize().ok()?.join(place.strip_prefix(there).ok()?));
    place.ancestors().find_map(from).unwrap_or_else(|| place.to_owned())
}

/// How a Compose file is included, with what overrides it when it stands alone.
fn included(file: &Path, directory: &Path, output: &Path) -> String {
    let way = way_to(file, directory, output);

    let quoted = |file: &Path| {
        let at = SourceMap::default().add(file, Arc::from(""));
        let file = file.file_name().map_or_else(|| file.to_owned(), |name| way.join(name));
        emit::to_yaml(&Node::text(file.display().to_string(), Span { source: at, start: 0, end: 0 })).trim_end().to_owned()
    };
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let is_found_by_itself = FOUND[0].iter().any(|name| Path::new(name) == file);
    let beside = ["yml", "yaml"].map(|ending| file.with_file_name(format!("{stem}.override.{ending}")));
    match beside.iter().find(|beside| is_found_by_itself && directory.join(beside).is_file()) {
        Some(beside) => format!("{{path: [{}, {}]}}", quoted(file), quoted(beside)),
        None => quoted(file),
    }
}

/// The stack that another tool's file makes, its documents in one, and what is not carried over.
fn converted(file: &Path, directory: &Path) -> Result<(Vec<Node>, Diagnostics, SourceMap), CliError> {
    let (mut sources, mut found) = (SourceMap::default(), Diagnostics::default());
    let (source, text) = read_named(file, directory, &mut sources)?;
    let trees = Format::of(file).read(source, &text, procfile::FIRST_PORT, &mut found);
    if Format::of(file) == Format::Procfile {
        let message = format!("that the end of one process ends all, as in `{}`, is not carried over", file.display());
        found.push(Diagnostic::warning("ignored-key", message).help("`baistack up --abort-on-container-exit` does that"));
    }
    let is_found_by_itself = FOUND[1].iter().any(|name| Path::new(name) == file);
    let beside = ["yml", "yaml"].map(|ending| PathBuf::from(format!("process-compose.override.{ending}")));
    if let Some(beside) = beside.iter().find(|beside| is_found_by_itself && directory.join(beside).is_file()) {
        let message =
            format!("`{}`, which process-compose merges with `{}`, is not carried over", beside.display(), file.display());
        found.push(Diagnostic::warning("ignored-key", message));
    }
    Ok((trees, found, sources))
}

/// One tree of several. What two files call by one name is nobody's to choose between.
fn joined(trees: Vec<(&PathBuf, Vec<Node>)>) -> Result<Option<Node>, CliError> {
    let mut whole: Option<Node> = None;
    let mut first_file = None;
    for (file, documents) in trees {
        for tree in documents {
            let Some(whole) = &mut whole else {
                (whole, first_file) = (Some(tree), Some(file));
                continue;
            };
            let (Value::Mapping(whole), Value::Mapping(more)) = (&mut whole.value, tree.value) else { continue };
            for (key, entry) in more.iter() {
                let Some(there) = whole.get_mut(key) else {
                    whole.insert(key, entry.key_span, entry.node.clone());
                    continue;
                };
                join(there, &entry.node).map_err(|name| {
                    let first = first_file.map(|file: &PathBuf| file.display().to_string()).unwrap_or_default();
                    CliError::Failed(format!(
                        "`{name}` stands in `{first}` and in `{0}`: name the one to make the stack from, as `baistack init {0}`",
                        file.display()
                    ))
                })?;
            }
        }
    }
    Ok(whole)
}

/// Adds the entries of a mapping; answers with the key that both have.
fn join(there: &mut Node, more: &Node) -> Result<(), String> {
    let (Value::Mapping(there), Value::Mapping(more)) = (&mut there.value, &more.value) else { return Ok(()) };
    for (key, entry) in Mapping::iter(more) {
        if there.insert(key, entry.key_span, entry.node.clone()).is_some() {
            return Err(key.to_owned());
        }
    }
    Ok(())
}
