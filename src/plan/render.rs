//! A plan as text and as data: what `plan` and `up --dry-run` print, and what tests compare.

use std::fmt;

use serde::Serialize;

use crate::model::depends::Condition;

/// The ordered actions that would happen.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Plan {
    /// In the order in which they would begin.
    pub steps: Vec<PlanStep>,
    /// What would be said.
    pub warnings: Vec<String>,
    /// Why it cannot come to rest; empty when it can.
    pub stuck: Vec<String>,
}

/// One action.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlanStep {
    /// What it is done to.
    pub subject: String,
    /// What is done.
    pub verb: &'static str,
    /// Why.
    pub cause: String,
    /// What it waits for: services and how far they must be.
    pub after: Vec<(String, Condition)>,
}

impl Plan {
    /// Whether nothing would be done.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |text: fn(&PlanStep) -> usize| self.steps.iter().map(text).max().unwrap_or(0);
        let subject = width(|step| step.subject.chars().count());
        let verb = width(|step| step.verb.len());
        let cause = width(|step| step.cause.chars().count());
        for (number, step) in self.steps.iter().enumerate() {
            let after: Vec<String> = (step.after.iter())
                .map(|(name, condition)| match condition {
                    Condition::Started => name.clone(),
                    Condition::Healthy => format!("healthy({name})"),
                    Condition::Completed => format!("done({name})"),
                })
                .collect();
            let line = format!("{:>3}  {:subject$}  {:verb$}  {:cause$}", number + 1, step.subject, step.verb, step.cause);
            if after.is_empty() {
                writeln!(f, "{}", line.trim_end())?;
            } else {
                writeln!(f, "{line}  after {}", after.join(", "))?;
            }
        }
        for reason in &self.stuck {
            writeln!(f, "would not come to rest: {reason}")?;
        }
        Ok(())
    }
}
