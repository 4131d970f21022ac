//! Whatever a stack's files hold, the load ends with a stack or with findings, each at a place that can be shown; and what is
//! printed of a stack reads back to the same.
//!
//! An input is a world of files: the stack file first, and after each line `#% NAME` the file of that name. Nothing outside of it is
//! seen. Half of the mutations are those of `libFuzzer` to the bytes, half are of lines and of trees, with the schema's keys.

#![no_main]
#![allow(dead_code, unfulfilled_lint_expectations, reason = "what the commands use of these floors is not used here")]

// The helpers of the tests know the floors by the program's name.
extern crate self as baistack;

#[path = "../../src/base/mod.rs"]
pub mod base;
#[path = "../../src/load/mod.rs"]
pub mod load;
#[path = "../../src/model/mod.rs"]
pub mod model;
#[path = "../../src/view"]
pub mod view {
    pub mod diagnostics;
}
#[path = "../../src/yaml/mod.rs"]
pub mod yaml;

#[path = "../../tests/it/support/memory.rs"]
mod memory;
#[path = "../../tests/it/support/mutation.rs"]
mod mutation;

use baistack::base::diagnostic::Diagnostics;
use baistack::base::random::Random;
use baistack::base::source::SourceId;
use baistack::load::codes::CODES;
use baistack::load::{Omit, Request};
use baistack::yaml::emit;
use baistack::yaml::parse::parse;
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

use memory::Memory;

/// Begins the name of a further file.
const MARK: &[u8] = b"#% ";

/// An input's files by name, in order.
fn files(data: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut files = vec![("compose.yaml".to_owned(), Vec::new())];
    for line in data.split_inclusive(|byte| *byte == b'\n') {
        match (line.strip_prefix(MARK), files.last_mut()) {
            (Some(name), _) => files.push((String::from_utf8_lossy(name).trim().to_owned(), Vec::new())),
            (None, Some((_, text))) => text.extend(line),
            (None, None) => {}
        }
    }
    files
}

/// How the files of an input are loaded; decided by the input, so that it repeats. An input that begins with a name has another stack
/// file than `compose.yaml`, and what is called `over.yaml` is laid over it.
fn request(data: &[u8], files: &[(String, Vec<u8>)]) -> Request {
    let sum = data.iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    let first = if data.starts_with(MARK) { 1 } else { 0 };
    let of_the_stack = files.iter().enumerate().filter(|(at, (name, _))| *at == first || *at > first && name == "over.yaml");
    Request {
        files: of_the_stack.map(|(_, (name, _))| name.into()).collect(),
        profiles: if sum % 4 == 0 { vec!["p".to_owned()] } else { Vec::new() },
        services: if sum % 8 == 6 { vec!["web".to_owned()] } else { Vec::new() },
        environment: [("HOME".to_owned(), "/home/me".to_owned()), ("A".to_owned(), "1".to_owned())].into(),
        omit: Omit {
            interpolation: sum % 16 == 1,
            normalization: sum % 16 == 2,
            path_resolution: sum % 16 == 3,
            env_resolution: sum % 16 == 5,
            consistency: sum % 16 == 7,
        },
        ..Request::default()
    }
}

fuzz_target!(|data: &[u8]| {
    let files = files(data);
    let request = request(data, &files);
    let outcome = Memory::of(files).load(request);
    assert!(outcome.codes.is_empty() || !outcome.told.is_empty(), "a finding is not shown");
    if let Some(node) = outcome.node.filter(|_| outcome.codes.is_empty()) {
        let written = emit::to_yaml(&node);
        let read = parse(SourceId(0), &written, &mut Diagnostics::default()).and_then(|read| read.into_iter().next());
        assert_eq!(read.as_ref().map(emit::json_value), Some(outcome.tree), "{written}");
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = Random::new(u64::from(seed));
    if random.chance(50) {
        return fuzzer_mutate(data, size, max_size);
    }
    let examples: Vec<&str> = CODES.iter().flat_map(|code| code.example).map(|(_, text)| *text).collect();
    let mut text = data[..size].to_vec();
    for _ in 0..=random.index(3) {
        let other = examples[random.index(examples.len())];
        let first = text.windows(MARK.len()).position(|here| here == MARK).unwrap_or(text.len());
        let changed = std::str::from_utf8(&text[..first]).ok().filter(|_| random.chance(60));
        match changed.and_then(|text| mutation::mutate_tree(text, other, &mut random)) {
            Some(changed) => drop(text.splice(..first, changed.into_bytes())),
            None => mutation::mutate(&mut text, &[other.as_bytes().to_vec()], &mut random),
        }
    }
    text.truncate(max_size);
    data[..text.len()].copy_from_slice(&text);
    text.len()
});
