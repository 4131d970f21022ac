//! Mutated stacks are loaded: whatever they are, the load ends with a stack or with findings, and what is printed of a stack reads
//! back to the same.
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

use baistack::base::diagnostic::Diagnostics;
use baistack::base::random::Random;
use baistack::base::source::SourceId;
use baistack::load::Request;
use baistack::load::codes::CODES;
use baistack::yaml::emit;
use baistack::yaml::parse::parse;

use crate::support::memory::Memory;
use crate::support::mutation::{mutate, mutate_tree};

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
            let other = String::from_utf8_lossy(&seeds[random.index(seeds.len())]);
            let changed = std::str::from_utf8(&stack).ok().filter(|_| random.chance(50));
            match changed.and_then(|text| mutate_tree(text, &other, &mut random)) {
                Some(changed) => stack = changed.into_bytes(),
                None => mutate(&mut stack, &seeds, &mut random),
            }
        }
        let mut beside = seeds[random.index(seeds.len())].clone();
        mutate(&mut beside, &seeds, &mut random);
        let name = ["compose.yaml", "compose.yaml", "compose.yaml", "process-compose.yaml", "Procfile"][random.index(5)];
        let files =
            Memory::of([(name, &stack), ("base.yaml", &beside), ("web.env", &beside), (".env", &beside), ("site.conf", &beside)]);
        let request = Request { files: vec![name.into()], ..Request::default() };
        let ended = catch_unwind(AssertUnwindSafe(|| files.load(request)));
        let Ok(outcome) = ended else { panic!("seed {seed} does not end well:\n{}", String::from_utf8_lossy(&stack)) };
        let Some(node) = outcome.node.filter(|_| outcome.codes.is_empty()) else { continue };
        let written = emit::to_yaml(&node);
        let read = parse(SourceId(0), &written, &mut Diagnostics::default()).and_then(|read| read.into_iter().next());
        assert_eq!(read.as_ref().map(emit::json_value), Some(outcome.tree), "seed {seed}: what is printed is not what was meant");
    }
}
