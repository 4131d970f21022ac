//! Named ports: preferred, kept, taken → numbers.
//!
//! Pure. Who holds a port is asked of a closure; that no two environments ask at once is the caller's business.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::base::name::EnvId;
use crate::model::port::NamedPort;

/// Where replacements come from: above what services usually ask for, below what the kernel gives to outgoing connections
/// (32768 and up, `net.ipv4.ip_local_port_range`).
const REPLACEMENTS: std::ops::Range<u16> = 20_000..32_000;

/// The numbers that a named port has in one environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    /// The first.
    pub first: u16,
    /// The last: the same unless the port is a range.
    pub last: u16,
}

impl Numbers {
    /// All of them.
    pub fn iter(self) -> std::ops::RangeInclusive<u16> {
        self.first..=self.last
    }

    /// How many there are beside the first.
    fn more(self) -> u16 {
        self.last - self.first
    }
}

impl From<NamedPort> for Numbers {
    fn from(port: NamedPort) -> Self {
        Self { first: port.first, last: port.last.max(port.first) }
    }
}

/// `8080`, or `30000-30100`.
impl std::str::FromStr for Numbers {
    type Err = NotNumbers;

    fn from_str(text: &str) -> Result<Self, NotNumbers> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let number = |text: &str| text.trim().parse::<u16>().map_err(|_| NotNumbers);
        let (first, last) = (number(first)?, number(last)?);
        if first <= last { Ok(Self { first, last }) } else { Err(NotNumbers) }
    }
}

/// A text is neither a port nor a range of ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("neither a port nor a range of ports")]
pub struct NotNumbers;

impl std::fmt::Display for Numbers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

/// How a number stands for an environment that could use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nobody has it, or the environment itself.
    Free,
    /// An environment that is stopped will want it again: it is given to another only where there is none else.
    Kept,
    /// Somebody else has it.
    Held,
}

/// What a named port gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allotted {
    /// Its numbers.
    pub numbers: Numbers,
    /// The port that stood in the way of the number it had or wanted, where that is news: to be said in one line.
    pub blocked: Option<Blocked>,
}

/// A number that could not be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// What was wanted: what was kept, else what is preferred.
    pub wanted: Numbers,
    /// The one of them that is held.
    pub port: u16,
    /// The name of the same stack that has it, where none else does.
    pub sibling: Option<String>,
}

/// Why a named port gets no numbers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("find free numbers for the port `{name}`: there are no {count} free ones in a row")]
pub struct NoRoom {
    /// Which.
    pub name: String,
    /// How many it needs.
    pub count: u32,
}

/// Gives each named port its numbers: those kept from before, else the preferred ones, else free ones from a range derived
/// from the environment's name, so that they are the same at each `up`. A range moves as a whole. What others keep while they are
/// stopped comes last; that does not touch what was kept here before.
///
/// `standing` is not asked twice about a port.
pub fn allot(
    named: &IndexMap<String, NamedPort>,
    kept: &BTreeMap<String, Numbers>,
    env: &EnvId,
    standing: impl FnMut(u16) -> Standing,
) -> Result<IndexMap<String, Allotted>, NoRoom> {
    let mut ports = Ports { standing, asked: BTreeMap::new(), given: BTreeMap::new() };
    // What is kept or preferred goes first: a replacement must not stand in the way of another name's own number.
    let mut wishes = Vec::with_capacity(named.len());
    for (name, &port) in named {
        let preferred = Numbers::from(port);
        // A range that was made longer or shorter in the file is a new wish.
        let kept = kept.get(name).copied().filter(|kept| kept.more() == preferred.more());
        let first = kept.unwrap_or(preferred);
        let spared = if kept.is_some() { Spared::Nothing } else { Spared::Kept };
        let granted = match ports.obstacle(first, spared) {
            None => Ok(first),
            Some(port) => {
                let instead = Some(preferred).filter(|_| kept.is_some_and(|kept| kept != preferred));
                let instead = instead.filter(|&preferred| ports.obstacle(preferred, Spared::Kept).is_none());
                Err((instead, Blocked { wanted: first, port, sibling: ports.given.get(&port).cloned() }))
            }
        };
        if let Some(numbers) = granted.as_ref().map_or_else(|(numbers, _)| *numbers, |&numbers| Some(numbers)) {
            ports.give(name, numbers);
        }
        wishes.push((name, preferred, granted));
    }
    let mut next = start_of(env);
    let mut allotted = IndexMap::with_capacity(named.len());
    for (name, preferred, granted) in wishes {
        let (numbers, blocked) = match granted {
            Ok(numbers) => (numbers, None),
            Err((Some(numbers), blocked)) => (numbers, Some(blocked)),
            Err((None, blocked)) => {
                let more = preferred.more();
                let spare = ports.next_free(&mut next, more, Spared::Kept);
                // Only now is anything taken that others will want again.
                let wanted = || Some(blocked.wanted).filter(|&wanted| ports.obstacle(wanted, Spared::Nothing).is_none());
                let numbers = match spare.or_else(wanted) {
                    Some(numbers) => numbers,
                    None => ports
                        .next_free(&mut next, more, Spared::Nothing)
                        .ok_or_else(|| NoRoom { name: name.clone(), count: u32::from(more) + 1 })?,
                };
                ports.give(name, numbers);
                (numbers, Some(blocked).filter(|blocked| blocked.wanted != numbers))
            }
        };
        allotted.insert(name.clone(), Allotted { numbers, blocked });
    }
    Ok(allotted)
}

/// The variables that named ports become: `NAME`, and for a range `NAME_FIRST` and `NAME_LAST`.
pub fn variables(named: &IndexMap<String, NamedPort>, numbers_of: impl Fn(&str) -> Option<Numbers>) -> IndexMap<String, String> {
    let mut variables = IndexMap::new();
    for (name, &port) in named {
        let numbers = numbers_of(name).unwrap_or_else(|| port.into());
        if port.range {
            variables.insert(name.clone(), format!("{}-{}", numbers.first, numbers.last));
            variables.insert(format!("{name}_FIRST"), numbers.first.to_string());
            variables.insert(format!("{name}_LAST"), numbers.last.to_string());
        } else {
            variables.insert(name.clone(), numbers.first.to_string());
        }
    }
    variables
}

/// Where the environment's replacements begin.
fn start_of(env: &EnvId) -> u16 {
    let digest = Sha256::digest(env.as_str());
    let hash = u16::from_be_bytes([digest[0], digest[1]]);
    // In steps of ten, so that environments seldom interleave.
    REPLACEMENTS.start + hash % (REPLACEMENTS.end - REPLACEMENTS.start) / 10 * 10
}

/// What is left to others though nobody holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spared {
    /// What they keep while they are stopped.
    Kept,
    /// Nothing.
    Nothing,
}

struct Ports<F> {
    standing: F,
    asked: BTreeMap<u16, Standing>,
    /// What has been given, to which name.
    given: BTreeMap<u16, String>,
}

impl<F: FnMut(u16) -> Standing> Ports<F> {
    fn give(&mut self, name: &str, numbers: Numbers) {
        self.given.extend(numbers.iter().map(|port| (port, name.to_owned())));
    }

    /// The first of these numbers that cannot be had.
    fn obstacle(&mut self, numbers: Numbers, spared: Spared) -> Option<u16> {
        numbers.iter().find(|port| {
            self.given.contains_key(port)
                || match *self.asked.entry(*port).or_insert_with_key(|&port| (self.standing)(port)) {
                    Standing::Free => false,
                    Standing::Kept => spared == Spared::Kept,
                    Standing::Held => true,
                }
        })
    }

    /// The next run of `more` + 1 free numbers from `next` on, once around.
    fn next_free(&mut self, next: &mut u16, more: u16, spared: Spared) -> Option<Numbers> {
        let size = REPLACEMENTS.end - REPLACEMENTS.start;
        let mut walked: u32 = 0;
        while walked <= u32::from(size) {
            let fits = next.checked_add(more).filter(|&last| last < REPLACEMENTS.end);
            let Some(last) = fits else {
                walked += u32::from(REPLACEMENTS.end - *next);
                *next = REPLACEMENTS.start;
                if more >= size {
                    return None;
                }
                continue;
            };
            let numbers = Numbers { first: *next, last };
            let obstacle = self.obstacle(numbers, spared);
            let step = obstacle.map_or(more + 1, |obstacle| obstacle - *next + 1);
            walked += u32::from(step);
            *next = if *next + step < REPLACEMENTS.end { *next + step } else { REPLACEMENTS.start };
            if obstacle.is_none() {
                return Some(numbers);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(env: &str, named: &[(&str, u16, u16)], kept: &[(&str, u16, u16)], taken: &[u16]) -> Vec<(String, Option<u16>)> {
        let named: IndexMap<_, _> =
            named.iter().map(|&(name, first, last)| (name.to_owned(), NamedPort { first, last, range: first != last })).collect();
        let kept = kept.iter().map(|&(name, first, last)| (name.to_owned(), Numbers { first, last })).collect();
        let allotted = allot(&named, &kept, &env.parse().unwrap(), held(taken)).unwrap();
        allotted.values().map(|port| (port.numbers.to_string(), port.blocked.as_ref().map(|blocked| blocked.port))).collect()
    }

    fn held(taken: &[u16]) -> impl Fn(u16) -> Standing {
        |port| if taken.contains(&port) { Standing::Held } else { Standing::Free }
    }

    fn plain(number: &str) -> (String, Option<u16>) {
        (number.to_owned(), None)
    }

    #[test]
    fn numbers_read_as_they_are_written() {
        for text in ["8080", "30000-30100"] {
            assert_eq!(text.parse::<Numbers>().unwrap().to_string(), text);
        }
        for text in ["", "x", "70000", "2-1", "1-", "-1"] {
            assert_eq!(text.parse::<Numbers>(), Err(NotNumbers), "{text}");
        }
    }

    #[test]
    fn a_free_preferred_port_is_taken() {
        assert_eq!(check("a", &[("DB", 5442, 5442), ("R", 30000, 30100)], &[], &[]), [plain("5442"), plain("30000-30100")]);
    }

    #[test]
    fn a_kept_number_is_kept_though_the_preferred_one_is_free_again() {
        assert_eq!(check("a", &[("DB", 5442, 5442)], &[("DB", 21000, 21000)], &[]), [plain("21000")]);
    }

    #[test]
    fn a_kept_number_that_is_taken_gives_way_to_the_preferred_one() {
        let got = check("a", &[("DB", 5442, 5442)], &[("DB", 21000, 21000)], &[21000]);
        assert_eq!(got, [("5442".to_owned(), Some(21000))]);
    }

    #[test]
    fn a_replacement_is_the_same_at_each_up_and_another_in_each_environment() {
        let named = [("DB", 5442, 5442), ("REDIS", 6389, 6389)];
        let one = check("one", &named, &[], &[5442, 6389]);
        assert_eq!(one, check("one", &named, &[], &[5442, 6389]));
        assert_ne!(one, check("two", &named, &[], &[5442, 6389]));
        assert_ne!(one[0].0, one[1].0);
    }

    #[test]
    fn a_range_moves_as_a_whole() {
        let got = check("a", &[("R", 30000, 30100)], &[], &[30050]);
        let (first, last) = got[0].0.split_once('-').unwrap();
        assert_eq!(last.parse::<u16>().unwrap() - first.parse::<u16>().unwrap(), 100);
        assert_eq!(got[0].1, Some(30050));
    }

    #[test]
    fn a_replacement_steps_over_what_is_taken() {
        let start = start_of(&"a".parse().unwrap());
        let got = check("a", &[("DB", 1, 1)], &[], &[1, start, start + 1]);
        assert_eq!(got[0].0, (start + 2).to_string());
    }

    #[test]
    fn a_replacement_is_none_that_the_kernel_gives_to_outgoing_connections() {
        for nth in 0..500 {
            let got = check(&format!("env{nth}"), &[("A", 40_128, 40_128), ("R", 30_000, 30_100)], &[], &[40_128, 30_000]);
            for (numbers, _) in got {
                let numbers: Numbers = numbers.parse().unwrap();
                assert!(numbers.first >= 20_000 && numbers.last < 32_000, "env{nth}: {numbers}");
            }
        }
    }

    #[test]
    fn two_names_never_get_one_number() {
        let got = check("a", &[("A", 5000, 5000), ("B", 5000, 5000)], &[], &[]);
        assert_ne!(got[0].0, got[1].0);
        let named = ["A", "B"].map(|name| (name.to_owned(), NamedPort { first: 5000, last: 5000, range: false }));
        let allotted = allot(&named.into(), &BTreeMap::new(), &"a".parse().unwrap(), held(&[])).unwrap();
        assert_eq!(allotted["B"].blocked.as_ref().and_then(|blocked| blocked.sibling.as_deref()), Some("A"));
    }

    #[test]
    fn what_a_stopped_environment_keeps_is_taken_only_where_there_is_none_else() {
        let named: IndexMap<_, _> = [("A".to_owned(), NamedPort { first: 5000, last: 5000, range: false })].into();
        let allotted = |kept: &[u16], standing: &dyn Fn(u16) -> Standing| {
            let kept = kept.iter().map(|&first| ("A".to_owned(), Numbers { first, last: first })).collect();
            allot(&named, &kept, &"a".parse().unwrap(), standing).unwrap()["A"].clone()
        };
        let start = start_of(&"a".parse().unwrap());
        let kept_by_others =
            |ports: [u16; 2]| move |port: u16| if ports.contains(&port) { Standing::Kept } else { Standing::Free };
        let moved = allotted(&[], &kept_by_others([5000, start]));
        assert_eq!((moved.numbers.first, moved.blocked.map(|blocked| blocked.port)), (start + 1, Some(5000)));
        let own = allotted(&[5000], &kept_by_others([5000, start]));
        assert_eq!((own.numbers.first, own.blocked), (5000, None), "it was kept here before");
        let crowded = allotted(&[], &|port| if port == 5000 { Standing::Kept } else { Standing::Held });
        assert_eq!((crowded.numbers.first, crowded.blocked), (5000, None), "nothing else is left");
        let crowded = allotted(&[], &|port| if port == start { Standing::Kept } else { Standing::Held });
        assert_eq!(crowded.numbers.first, start);
    }

    #[test]
    fn a_host_without_room_is_an_error() {
        let named: IndexMap<_, _> = [("A".to_owned(), NamedPort { first: 1, last: 1, range: false })].into();
        let error = allot(&named, &BTreeMap::new(), &"a".parse().unwrap(), |_| Standing::Held).unwrap_err();
        assert_eq!(error.count, 1);
    }

    #[test]
    fn a_range_becomes_three_variables() {
        let named: IndexMap<_, _> = [
            ("R".to_owned(), NamedPort { first: 30000, last: 30010, range: true }),
            ("P".to_owned(), NamedPort { first: 80, last: 80, range: false }),
        ]
        .into();
        let variables = variables(&named, |name| (name == "P").then_some(Numbers { first: 8080, last: 8080 }));
        let pairs: Vec<_> = variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(pairs, ["R=30000-30010", "R_FIRST=30000", "R_LAST=30010", "P=8080"]);
    }
}
