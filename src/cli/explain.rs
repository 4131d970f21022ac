//! `explain`: what a finding means.

use std::fmt::Write as _;
use std::path::Path;

use super::CliError;
use super::context::Context;
use crate::base::exit::Exit;
use crate::base::suggest;
use crate::load::codes::{CODES, Code};
use crate::view::diagnostics::{self, Look};
use crate::view::table::Table;
use crate::view::term;

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  baistack explain cycle    what `error[cycle]` means\n  baistack explain          all codes")]
pub struct Args {
    /// What stands in brackets: `error[CODE]` [default: all are listed]
    pub code: Option<String>,
}

/// Prints it.
pub fn run(args: &Args, context: &Context) -> Result<Exit, CliError> {
    let text = match &args.code {
        Some(name) => {
            // As it is copied from a message, or the word alone.
            let name = name.trim_start_matches("error").trim_start_matches("warning").trim_matches(['[', ']']);
            let code = Code::of(name).ok_or_else(|| unknown(name))?;
            explained(code, context)
        }
        None => {
            let mut table = Table::new(["CODE", "MEANING"]);
            for code in CODES {
                let first = code.meaning.split_inclusive(". ").next().unwrap_or_default().trim();
                table.row([code.name.to_owned(), first.to_owned()]);
            }
            table.render()
        }
    };
    context.printer.data(text)?;
    Ok(Exit::Success)
}

fn unknown(name: &str) -> CliError {
    let near = suggest::closest(name, CODES.iter().map(|code| code.name));
    let meant = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    CliError::Usage(format!("there is no code `{name}`{meant}"))
}

fn explained(code: &Code, context: &Context) -> String {
    let mut text = format!("{}\n\n{}\n", code.name, wrapped(code.meaning));
    if code.example.is_empty() {
        return text;
    }
    for (name, content) in code.example {
        let _ = writeln!(text, "\n{name}:\n");
        for line in content.lines() {
            let _ = writeln!(text, "    {line}");
        }
    }
    let (found, sources) = code.findings();
    let look = Look { directory: Path::new("/example"), color: context.printer.paint.is_on(), width: term::stderr_width() };
    let _ = write!(text, "\nsays:\n\n{}\n", diagnostics::render(&found, &sources, &look).trim_end());
    text
}

/// Lines of at most 80 characters.
fn wrapped(text: &str) -> String {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("never empty");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= 80 {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.join("\n")
}
