//! `${…}` in the values of a stack file: filled in, with all faults told at the value's place.
//!
//! Keys are never touched, and what was filled in is not looked at again. A number filled in stays text; what the attribute wants
//! is made of it later.

use std::collections::{BTreeSet, HashSet};

use super::expression::{self, Dialect, Malformed, Missing, NoValue};
use super::variables::Variables;
use crate::base::diagnostic::{Diagnostic, Diagnostics};
use crate::base::source::Span;
use crate::model::process::REPLICA_MARK;
use crate::yaml::node::{Kind, Node, Scalar, Value};

/// The most text that interpolation may make in one load: variables in variables can grow without end.
const MAX_BYTES: usize = 32 << 20;

/// Fills in values; lives as long as a load, so that each unset name is said once.
#[derive(Debug, Default)]
pub struct Interpolator {
    warned: HashSet<String>,
    spent: usize,
    /// Where a text stayed as it is, because it has a fault, or names a variable that has one.
    unfilled: HashSet<Span>,
    /// Variables that the stack was to have, and whose definitions are faulty.
    faulty: BTreeSet<String>,
}

/// What is wrong with an expression itself.
const CODES: [&str; 3] = ["bad-expression", "required-variable", "too-long"];

impl Interpolator {
    /// These variables have no value because of a mistake that is told: that they have none is not said.
    pub(super) fn expect_faults_of(&mut self, names: &BTreeSet<String>) {
        self.faulty.clone_from(names);
    }

    /// Fills in all values of a stack file. Under `processes:` (or `x-processes:`) `${REPLICA}` becomes [`REPLICA_MARK`].
    pub fn tree(&mut self, tree: &mut Node, variables: &Variables, diagnostics: &mut Diagnostics) {
        let ordinary = |name: &str| variables.get(name).map(|variable| variable.value.as_str());
        let with_replica = |name: &str| if name == "REPLICA" { Some(REPLICA_MARK) } else { ordinary(name) };
        let Value::Mapping(sections) = &mut tree.value else { return self.node(tree, &ordinary, diagnostics) };
        for (section, entry) in sections.iter_mut() {
            let is_processes = matches!(section, "processes" | "x-processes");
            if is_processes {
                self.node(&mut entry.node, &with_replica, diagnostics);
            } else {
                self.node(&mut entry.node, &ordinary, diagnostics);
            }
        }
    }

    fn node<'v>(&mut self, node: &mut Node, get: &dyn Fn(&str) -> Option<&'v str>, diagnostics: &mut Diagnostics) {
        match &mut node.value {
            Value::Scalar(Scalar { text, kind: Kind::Text }) if text.contains('$') => {
                if let Some(filled) = self.text(text, node.span, get, diagnostics) {
                    *text = filled;
                }
            }
            Value::Null | Value::Bool(_) | Value::Scalar(_) => {}
            Value::Sequence(items) => items.iter_mut().for_each(|item| self.node(item, get, diagnostics)),
            Value::Mapping(mapping) => mapping.iter_mut().for_each(|(_, entry)| self.node(&mut entry.node, get, diagnostics)),
        }
    }

    /// Without what is only said because a text could not be filled in, which is told.
    pub(super) fn without_consequences(&self, found: Diagnostics) -> Diagnostics {
        let is_one = |found: &Diagnostic| found.labels.first().is_some_and(|label| self.unfilled.contains(&label.span));
        let mut result = Diagnostics::default();
        result.extend(found.into_iter().filter(|found| CODES.contains(&found.code) || !is_one(found)));
        result
    }

    /// Fills in one text that stands at `span`. `None` when it has a fault, which is told.
    pub fn text<'v>(
        &mut self,
        text: &str,
        span: Span,
        get: &dyn Fn(&str) -> Option<&'v str>,
        diagnostics: &mut Diagnostics,
    ) -> Option<String> {
        let pieces = match expression::parse(text, Dialect::Compose) {
            Ok(pieces) => pieces,
            Err(fault) => {
                self.unfilled.insert(span);
                diagnostics.push(malformed(text, &fault).at(span, ""));
                return None;
            }
        };
        let mut missing = Vec::new();
        let result = expression::evaluate(&pieces, MAX_BYTES - self.spent, get, &mut missing);
        self.warn(&missing, span, diagnostics);
        match result {
            Ok(filled) => {
                self.spent += filled.len();
                Some(filled)
            }
            Err(fault) => {
                self.unfilled.insert(span);
                if !matches!(&fault, NoValue::Required { name, .. } if self.faulty.contains(&**name)) {
                    diagnostics.push(no_value(text, fault).at(span, ""));
                }
                None
            }
        }
    }

    fn warn(&mut self, missing: &[Missing<'_>], span: Span, diagnostics: &mut Diagnostics) {
        for (name, _) in missing {
            if self.faulty.contains(*name) {
                self.unfilled.insert(span);
            } else if self.warned.insert((*name).to_owned()) {
                let message = format!("the variable `{name}` is not set and counts as empty");
                let help = format!("set it in `.env`, or give a default: `${{{name}:-default}}`");
                diagnostics.push(Diagnostic::warning("unset-variable", message).at(span, "").help(help));
            }
        }
    }
}

/// The finding about an expression without a value, still without its place.
pub(super) fn no_value(text: &str, fault: NoValue) -> Diagnostic {
    match fault {
        NoValue::Required { name, is_empty, message, .. } => {
            let state = if is_empty { "empty" } else { "not set" };
            let message = if message.is_empty() { String::new() } else { format!(": {message}") };
            let diagnostic =
                Diagnostic::error("required-variable", format!("the required variable `{name}` is {state}{message}"));
            diagnostic.help(format!("set it in `.env`, or before the command: `{name}=… baistack …`"))
        }
        NoValue::Malformed(fault) => malformed(text, &fault),
        NoValue::TooLong => Diagnostic::error("too-long", "variables filled in here make the text longer than 32 MiB"),
    }
}

fn malformed(text: &str, fault: &Malformed) -> Diagnostic {
    let expression = shortened(&text[fault.at.clone()]);
    let message = format!("`{expression}` is no expression: {}", fault.reason);
    Diagnostic::error("bad-expression", message).help("write `$$` for a `$` that is meant as it is")
}

/// The names of variables that a text mentions; none if it has a fault.
pub fn names(text: &str) -> Vec<&str> {
    mentions(text).into_iter().map(|mention| mention.name).collect()
}

/// What a text says about a variable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mention<'a> {
    /// Its name.
    pub name: &'a str,
    /// The word of `-`, as it is written.
    pub default: Option<&'a str>,
    /// The word of `+`, as it is written.
    pub alternative: Option<&'a str>,
    /// `?`: it must have a value.
    pub is_required: bool,
}

/// What a text says about the variables that it mentions, also inside of others; nothing if it has a fault.
pub fn mentions(text: &str) -> Vec<Mention<'_>> {
    expression::parse(text, Dialect::Compose).map(|pieces| expression::mentions(&pieces, text)).unwrap_or_default()
}

/// An expression, cut so that it fits into a line.
pub(super) fn shortened(expression: &str) -> String {
    let line = expression.lines().next().unwrap_or_default();
    let mut short: String = line.chars().take(60).collect();
    if short.len() < expression.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::source::SourceId;
    use crate::load::variables::Origin;
    use crate::yaml::emit::json_value;
    use crate::yaml::parse::parse;

    fn check(text: &str, tree: &str, said: &[&str]) {
        let mut variables = Variables::default();
        variables.give("A", "first", Origin::Environment);
        variables.give("A", "second", Origin::Environment);
        variables.give("RAW", "${A}", Origin::Environment);
        let mut diagnostics = Diagnostics::default();
        let mut node = parse(SourceId(0), text, &mut diagnostics).unwrap().remove(0);
        Interpolator::default().tree(&mut node, &variables, &mut diagnostics);
        assert_eq!(json_value(&node).to_string(), tree, "{text}");
        let found: Vec<_> = diagnostics
            .sorted()
            .iter()
            .map(|found| {
                let span = found.labels[0].span;
                format!("{} @ {}", found.message, &text[span.start as usize..span.end as usize])
            })
            .collect();
        assert_eq!(found, said, "{text}");
    }

    #[test]
    fn values_are_filled_in_once_and_keys_never() {
        check("{$A: '$A', b: [\"${A}2\", $RAW, 5, true]}", r#"{"$A":"first","b":["first2","${A}",5,true]}"#, &[]);
        check(
            "{a: '$X ${X}', b: $Y, c: $X}",
            r#"{"a":" ","b":"","c":""}"#,
            &[
                "the variable `X` is not set and counts as empty @ '$X ${X}'",
                "the variable `Y` is not set and counts as empty @ $Y",
            ],
        );
    }

    #[test]
    fn only_a_process_has_a_replica() {
        check(
            "{processes: {a: 'r$REPLICA'}, services: {a: 'r${REPLICA-}'}}",
            "{\"processes\":{\"a\":\"r\u{E000}REPLICA\u{E001}\"},\"services\":{\"a\":\"r\"}}",
            &[],
        );
    }

    #[test]
    fn every_fault_is_told_at_its_value() {
        check(
            "{a: '${X:?no, really}', b: 'x${ y}', c: '${X?}'}",
            r#"{"a":"${X:?no, really}","b":"x${ y}","c":"${X?}"}"#,
            &[
                "the required variable `X` is not set: no, really @ '${X:?no, really}'",
                "`${ y}` is no expression: the name of a variable must follow `${` @ 'x${ y}'",
                "the required variable `X` is not set @ '${X?}'",
            ],
        );
    }
}
