//! `schedule:` of a task.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use cronexpr::{Crontab, FallbackTimezoneOption, ParseOptions, parse_crontab_with};
use serde::{Deserialize, Serialize};

use crate::base::duration;

/// When a task runs by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// At which times.
    #[serde(flatten)]
    pub times: Times,
    /// What happens when it is time and the last run is not over.
    #[serde(default)]
    pub overlap: Overlap,
}

/// The times of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Times {
    /// As crontab(5) has it, in local time.
    Cron(Cron),
    /// Again and again, counted from `up`.
    Every(#[serde(with = "duration::text")] Duration),
}

/// `overlap`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// The new run is left out.
    #[default]
    Skip,
    /// It begins when the last one is over; several that wait are one.
    Queue,
    /// The last one is ended for it.
    Kill,
}

/// Five fields of crontab(5): minute, hour, day of the month, month, day of the week.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cron(String);

impl Cron {
    /// The times that it stands for, in this time zone.
    pub fn times(&self, zone: FallbackTimezoneOption) -> Crontab {
        parse(&self.0, zone).expect("looked at when it was made")
    }
}

fn parse(text: &str, zone: FallbackTimezoneOption) -> Result<Crontab, cronexpr::Error> {
    let mut options = ParseOptions::default();
    options.fallback_timezone_option = zone;
    parse_crontab_with(text, options)
}

impl FromStr for Cron {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = |why: String| {
            format!("`{text}` is not a time of cron: {why}; write minute, hour, day, month and weekday, as `0 3 * * *`")
        };
        // A sixth would be a time zone, which only the host knows.
        match text.split_ascii_whitespace().count() {
            5 => match parse(text, FallbackTimezoneOption::UTC) {
                Ok(_) => Ok(Self(text.to_owned())),
                // Its further lines draw the text with a caret.
                Err(error) => Err(bad(error.to_string().lines().next().unwrap_or_default().trim_end_matches(':').to_owned())),
            },
            fields => Err(bad(format!("it has {fields} fields, not five"))),
        }
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Cron {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Cron> for String {
    fn from(cron: Cron) -> String {
        cron.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cron_time_has_five_fields_that_mean_something() {
        for (text, fits) in [
            ("0 3 * * *", true),
            ("*/5 9-17 * * MON-FRI", true),
            ("* * * *", false),
            ("0 3 * * * Europe/Berlin", false),
            ("60 3 * * *", false),
            ("@daily", false),
        ] {
            assert_eq!(text.parse::<Cron>().is_ok(), fits, "{text}: {:?}", text.parse::<Cron>());
        }
    }
}
