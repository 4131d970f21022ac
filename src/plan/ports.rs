//! Named ports: preferred, kept or taken → numbers. Pure: whether a port is free is the caller's to say.

use std::collections::BTreeMap;

use indexmap::IndexMap;

use crate::base::name::EnvId;
use crate::model::port::NamedPort;

/// The first and the last number of a named port; the same unless it is a range.
pub type Numbers = (u16, u16);

/// Where replacements are sought: above what servers commonly use, below what Linux hands out to clients (32768).
const FIRST: u16 = 20_000;
const LAST: u16 = 32_000;

/// What was found for an environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allocation {
    /// Name → numbers, for every named port.
    pub numbers: BTreeMap<String, Numbers>,
    /// Names whose preferred or kept numbers were taken: name, those numbers, the first of them that is taken.
    pub replaced: Vec<(String, Numbers, u16)>,
    /// Names for which nothing was free.
    pub failed: Vec<String>,
}

/// Finds numbers: the kept ones if they are free, else the preferred ones, else some of a range derived from the ENVID, so that
/// they are the same at each `up`.
pub fn allocate(
    wanted: &IndexMap<String, NamedPort>,
    kept: &BTreeMap<String, Numbers>,
    env: &EnvId,
    is_free: &mut dyn FnMut(u16) -> bool,
) -> Allocation {
    let mut allocation = Allocation::default();
    let mut ours: Vec<Numbers> = Vec::new();
    for (name, port) in wanted {
        let length = port.last - port.first;
        let preferred = (port.first, port.last);
        // A file that prefers others since then is a wish too; what was given before is left.
        let first_choice = kept.get(name).copied().filter(|(first, last)| last - first == length).unwrap_or(preferred);
        let taken = taken(first_choice, &ours, is_free);
        let found = match taken {
            None => Some(first_choice),
            Some(_) => replacement(env, name, length, &ours, is_free),
        };
        match (found, taken) {
            (Some(numbers), None) => {
                ours.push(numbers);
                allocation.numbers.insert(name.clone(), numbers);
            }
            (Some(numbers), Some(culprit)) => {
                ours.push(numbers);
                allocation.numbers.insert(name.clone(), numbers);
                allocation.replaced.push((name.clone(), first_choice, culprit));
            }
            (None, _) => allocation.failed.push(name.clone()),
        }
    }
    allocation
}

/// The first port of these that is not free.
fn taken(numbers: Numbers, ours: &[Numbers], is_free: &mut dyn FnMut(u16) -> bool) -> Option<u16> {
    (numbers.0..=numbers.1).find(|&port| ours.iter().any(|&(first, last)| (first..=last).contains(&port)) || !is_free(port))
}

fn replacement(env: &EnvId, name: &str, length: u16, ours: &[Numbers], is_free: &mut dyn FnMut(u16) -> bool) -> Option<Numbers> {
    let room = u64::from(LAST - FIRST - length.min(LAST - FIRST - 1));
    let start = hash(env.as_str(), name) % room;
    let step = u64::from(length) + 1;
    (0..room.div_ceil(step)).find_map(|turn| {
        let first = FIRST + u16::try_from((start + turn * step) % room).expect("less than the room");
        let numbers = (first, first + length);
        taken(numbers, ours, is_free).is_none().then_some(numbers)
    })
}

/// FNV-1a: the same on every host and in every release.
fn hash(env: &str, name: &str) -> u64 {
    env.bytes().chain([0]).chain(name.bytes()).fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> IndexMap<String, NamedPort> {
        let port = |first, last| NamedPort { first, last, range: first != last };
        [("A".to_owned(), port(80, 80)), ("B".to_owned(), port(100, 110))].into()
    }

    #[test]
    fn a_free_port_is_taken_as_preferred_and_a_range_moves_as_a_whole() {
        let env: EnvId = "dev".parse().unwrap();
        let all_free = allocate(&wanted(), &BTreeMap::new(), &env, &mut |_| true);
        assert_eq!(all_free.numbers, [("A".to_owned(), (80, 80)), ("B".to_owned(), (100, 110))].into());
        let one_taken = allocate(&wanted(), &BTreeMap::new(), &env, &mut |port| port != 105);
        let (first, last) = one_taken.numbers["B"];
        assert_eq!(last - first, 10);
        assert!(first >= FIRST && last < 32_768);
        assert_eq!(one_taken.replaced, [("B".to_owned(), (100, 110), 105)]);
    }

    #[test]
    fn a_replacement_is_the_same_at_each_up_and_another_for_another_environment() {
        let of = |env: &str| allocate(&wanted(), &BTreeMap::new(), &env.parse().unwrap(), &mut |port| port > 1000).numbers;
        assert_eq!(of("one"), of("one"));
        assert_ne!(of("one"), of("two"));
    }

    #[test]
    fn kept_numbers_win_over_preferred_ones() {
        let kept: BTreeMap<String, Numbers> = [("A".to_owned(), (4444, 4444))].into();
        let found = allocate(&wanted(), &kept, &"dev".parse().unwrap(), &mut |_| true);
        assert_eq!((found.numbers["A"], found.replaced.len()), ((4444, 4444), 0));
    }
}
