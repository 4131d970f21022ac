//! Mutated stacks are loaded: whatever they are, the load ends with a stack or with findings.
//!
//! `BAISTACK_FUZZ_RUNS` says how many (2,000), `BAISTACK_FUZZ_SEED` where the row begins (1), and `BAISTACK_FUZZ_CORPUS` names a
//! directory whose files are mutated too. A finding prints the seed, which alone repeats it with `BAISTACK_FUZZ_RUNS=1`:
//!
//! ```console
//! $ BAISTACK_FUZZ_RUNS=1000000 cargo test --release --test it fuzz -- --nocapture
//! ```

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use baistack::base::random::Random;
use baistack::load::Request;
use baistack::load::codes::CODES;

use crate::support::memory::Memory;

/// Texts that mean something somewhere.
const TOKENS: &[&str] = &[
    "${",
    "}",
    "${A:-",
    "$$",
    "&a ",
    "*a",
    "<<: *a",
    "!reset ",
    "!override ",
    "!!int ",
    "- ",
    ": ",
    "? ",
    "| \n",
    ">-\n",
    "'",
    "\"",
    "[",
    "]",
    "{",
    "}",
    "#",
    "\n",
    "\r",
    "\t",
    "  ",
    "---\n",
    "\u{feff}",
    "\0",
    "é",
    "null",
    "true",
    "-1",
    "1e999",
    "0x",
    "1-65535",
    "service:web",
    "services",
    "processes",
    "include",
    "extends",
    "depends_on",
    "ports",
    "volumes",
    "environment",
    "env_file",
    "profiles",
    "compose.yaml",
    "..",
    "/",
    "~",
    ":",
    "=",
    "99999999999999999999",
    "1m30s",
    "64m",
];

fn mutate(bytes: &mut Vec<u8>, others: &[Vec<u8>], random: &mut Random) {
    let at = random.index(bytes.len() + 1);
    let end = (at + random.index(40)).min(bytes.len());
    let line = |text: &[u8], at: usize| {
        let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
        lines.get(at % lines.len().max(1)).map(|line| line.to_vec()).unwrap_or_default()
    };
    match random.index(8) {
        0 => drop(bytes.drain(at..end)),
        1 => drop(bytes.splice(at..end, TOKENS[random.index(TOKENS.len())].bytes())),
        2 => drop(bytes.splice(at..at, TOKENS[random.index(TOKENS.len())].bytes())),
        3 => bytes.insert(at, u8::try_from(random.index(256)).unwrap()),
        4 => {
            let copy = bytes[at..end].to_vec();
            let to = random.index(bytes.len() + 1);
            bytes.splice(to..to, copy);
        }
        5 => {
            let copy = line(bytes, random.index(1 << 20));
            bytes.extend(copy);
        }
        6 => {
            let copy = line(&others[random.index(others.len())], random.index(1 << 20));
            let start = bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            bytes.splice(start..start, copy);
        }
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.index(8);
            }
        }
    }
}

fn files_below(folder: &Path, found: &mut Vec<Vec<u8>>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files_below(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml") {
            found.extend(fs::read(&path));
        }
    }
}

#[test]
fn fuzz_whatever_is_loaded_ends_well() {
    let number = |name: &str, otherwise: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise);
    let (runs, first) = (number("BAISTACK_FUZZ_RUNS", 2_000), number("BAISTACK_FUZZ_SEED", 1));
    let mut seeds: Vec<Vec<u8>> = CODES.iter().flat_map(|code| code.example).map(|(_, text)| text.as_bytes().to_vec()).collect();
    files_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("stacks"), &mut seeds);
    if let Some(corpus) = std::env::var_os("BAISTACK_FUZZ_CORPUS") {
        files_below(Path::new(&corpus), &mut seeds);
    }
    for seed in first..first + runs {
        let mut random = Random::new(seed);
        let mut stack = seeds[random.index(seeds.len())].clone();
        for _ in 0..=random.index(6) {
            mutate(&mut stack, &seeds, &mut random);
        }
        let mut beside = seeds[random.index(seeds.len())].clone();
        mutate(&mut beside, &seeds, &mut random);
        let name = ["compose.yaml", "compose.yaml", "compose.yaml", "process-compose.yaml", "Procfile"][random.index(5)];
        let files =
            Memory::of([(name, &stack), ("base.yaml", &beside), ("web.env", &beside), (".env", &beside), ("site.conf", &beside)]);
        let request = Request { files: vec![name.into()], ..Request::default() };
        let ended = catch_unwind(AssertUnwindSafe(|| files.load(request)));
        assert!(ended.is_ok(), "seed {seed} does not end well:\n{}", String::from_utf8_lossy(&stack));
    }
}
