//! The machine against simulated worlds: random stacks, random requests, failing and late answers, crashes, an engine that goes
//! away, a supervisor that dies at any step.
//!
//! One seed is one world. A failing seed is printed; `BAISTACK_SIM_SEED=n cargo test simulation` runs it alone,
//! `BAISTACK_SIM_FROM=n` begins at another world than the first, and `BAISTACK_SIM_WORLDS=n` sets which is the last.

mod script;
mod witness;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use world::World;

const WORLDS: u64 = 100_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn simulation_of_many_worlds_keeps_every_promise() {
    if let Some(seed) = number("BAISTACK_SIM_SEED") {
        return World::new(seed, true).live();
    }
    let worlds = number("BAISTACK_SIM_WORLDS").unwrap_or(WORLDS);
    let first = number("BAISTACK_SIM_FROM").unwrap_or(1);
    let (next, steps, reloads) = (AtomicU64::new(first), AtomicU64::new(0), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let failed = std::thread::scope(|scope| {
        let run = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed > worlds {
                    return None;
                }
                let world = std::panic::catch_unwind(|| {
                    let mut world = World::new(seed, false);
                    world.live_quietly();
                    (world.steps, world.reloads)
                });
                match world {
                    Ok((count, reloaded)) => {
                        steps.fetch_add(count, Ordering::Relaxed);
                        reloads.fetch_add(reloaded, Ordering::Relaxed);
                    }
                    Err(_) => return Some(seed),
                }
            }
        };
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        handles.into_iter().filter_map(|handle| handle.join().expect("the closure catches panics")).min()
    });
    assert_eq!(failed, None, "replay it: BAISTACK_SIM_SEED={} cargo test simulation", failed.unwrap_or_default());
    // A simulation in which hardly anything happens would pass as well.
    let worlds = (worlds + 1).saturating_sub(first);
    assert!(steps.into_inner() > worlds * 20, "too little happened");
    assert!(reloads.into_inner() >= worlds / 100, "too few lives took another's place");
}
