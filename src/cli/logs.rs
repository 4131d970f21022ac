//! `logs`: history and what follows, of both kinds of service merged by time. Reads files and the engine; needs no supervisor.

use regex::bytes::Regex;

use super::CliError;
use super::context::Context;
use super::log_feed::{self, Life, Wanted};
use super::values::{self, When};
use crate::base::exit::Exit;
use crate::base::name::ServiceName;

/// Flags of `logs`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  baistack logs -f --tail 20        the last lines of each service, and what follows\n  \
                        baistack logs --run last agent    only the present (or last) life\n  baistack logs --since 10m --grep ERROR\n\n\
                        Ctrl-C ends the following and stops nothing.")]
pub struct Args {
    /// Services [default: all]
    pub services: Vec<ServiceName>,
    /// Go on with what comes
    #[arg(short, long)]
    pub follow: bool,
    /// Replica
    #[arg(long, value_name = "N", requires = "services")]
    pub index: Option<u32>,
    /// Without colours
    #[arg(long)]
    pub no_color: bool,
    /// Do not say which service a line is from
    #[arg(long)]
    pub no_log_prefix: bool,
    /// Not older than a time (2026-01-02T13:23:37Z) or an age (42m)
    #[arg(long, value_name = "TIME", value_parser = values::when)]
    pub since: Option<When>,
    /// Not younger than a time or an age
    #[arg(long, value_name = "TIME", value_parser = values::when)]
    pub until: Option<When>,
    /// The last lines of each service only
    #[arg(short = 'n', long, value_name = "LINES", value_parser = tail, default_value = "all")]
    pub tail: Tail,
    /// Show the time of each line
    #[arg(short, long)]
    pub timestamps: bool,
    /// Only one life of each service: its number from 1, or `last`
    #[arg(long, value_name = "N", value_parser = life)]
    pub run: Option<Life>,
    /// Only lines that match a regular expression
    #[arg(long, value_name = "RE")]
    pub grep: Option<Regex>,
    /// One JSON object a line
    #[arg(long, conflicts_with_all = ["timestamps", "no_log_prefix"])]
    pub json: bool,
}

/// `--tail`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail(pub Option<u64>);

fn tail(text: &str) -> Result<Tail, String> {
    match text {
        "all" | "-1" => Ok(Tail(None)),
        _ => text.parse().map(|lines| Tail(Some(lines))).map_err(|_| "expected a number of lines, or `all`".to_owned()),
    }
}

fn life(text: &str) -> Result<Life, String> {
    match (text, text.parse()) {
        ("last", _) => Ok(Life::Last),
        (_, Ok(number)) if number > 0 => Ok(Life::Number(number)),
        _ => Err("expected a number from 1, or `last`".to_owned()),
    }
}
pub fn run(_: Args, _: &Context) -> Result<crate::base::exit::Exit, CliError> { todo!() }
