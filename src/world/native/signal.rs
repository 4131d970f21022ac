//! Signals by name, as `stop_signal` and `kill -s` write them.

use nix::sys::signal::Signal;

use crate::world::kernel::host;

/// The number of `SIGTERM`, `TERM`, `term`, `15`, `SIGRTMIN+3`, …; none if there is no such signal.
pub fn number(name: &str) -> Option<i32> {
    if let Ok(number) = name.parse::<i32>() {
        return (1..=host::last_signal()).contains(&number).then_some(number);
    }
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((first, last)) = host::real_time_signals()
        && let Some(real_time) = real_time(short, first, last)
    {
        return (first..=last).contains(&real_time).then_some(real_time);
    }
    // Second names that signal(7) has for some.
    let short = match short {
        "CLD" => "CHLD",
        "IOT" => "ABRT",
        "POLL" => "IO",
        other => other,
    };
    format!("SIG{short}").parse::<Signal>().ok().map(|signal| signal as i32)
}

fn real_time(short: &str, first: i32, last: i32) -> Option<i32> {
    let offset = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<i32>().ok() };
    if let Some(rest) = short.strip_prefix("RTMIN") {
        return offset(rest).map(|by| first.saturating_add(by));
    }
    offset(short.strip_prefix("RTMAX")?).map(|by| last.saturating_add(by))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::kernel;

    #[test]
    fn what_loads_as_a_signal_is_one() {
        let every = kernel::SIGNALS.map(str::to_owned).into_iter();
        let numbers =
            (-1..=66).flat_map(|n: i32| [n.to_string(), format!("RTMIN+{n}"), format!("rtmin{n}"), format!("RTMAX-{n}")]);
        for name in every.chain(numbers).chain(["SIGRTMAX", "SIGNONE", "", "SIG", "TER"].map(str::to_owned)) {
            assert_eq!(kernel::is_signal(&name), number(&name).is_some(), "{name}");
        }
    }

    #[test]
    fn signals_go_by_many_names() {
        for (name, expected) in [
            ("SIGTERM", Some(15)),
            ("TERM", Some(15)),
            ("term", Some(15)),
            ("15", Some(15)),
            ("SIGINT", Some(2)),
            ("SIGRTMIN", Some(libc::SIGRTMIN())),
            ("SIGRTMIN+3", Some(libc::SIGRTMIN() + 3)),
            ("RTMAX-1", Some(libc::SIGRTMAX() - 1)),
            ("RTMAX+1", None),
            ("0", None),
            ("-9", None),
            ("65", None),
            ("SIGNONE", None),
            ("", None),
        ] {
            assert_eq!(number(name), expected, "{name}");
        }
    }
}
