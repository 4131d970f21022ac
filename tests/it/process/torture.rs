//! Fifty services of the kinds that get away from supervisors, among them some with two lives at a time, with held sockets and behind
//! a proxy, and rounds of whatever may happen to them. After each round the supervisor believes what the process table shows, and
//! after `down` nothing is left.
//!
//! The short version runs always. `BAISTACK_TORTURE_ROUNDS=200` runs the long one, `BAISTACK_TORTURE_SEED=n` a failed one again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use baistack::base::name::EnvId;
use baistack::base::random::Random;
use baistack::world::native::marker::Marker;
use baistack::world::native::tree;
use nix::sys::signal::Signal;

use crate::support::sandbox::{Sandbox, is_alive, kill, own_address, parent, until};

/// Kinds of commands; each goes on until it is ended.
const KINDS: [&str; 9] = [
    "exec sleep 1000",
    // Ignores what it is asked.
    "trap '' TERM INT HUP; while :; do sleep 0.2; done",
    // Leaves its session and its parent.
    "(setsid sh -c 'trap \"\" TERM; while :; do sleep 0.2; done' >/dev/null 2>&1 &) & while :; do sleep 0.2; done",
    // The same, holding the output.
    "(setsid sh -c 'exec sleep 1000' &) & exec sleep 1000",
    // Loses its environment.
    "env -i /usr/bin/setsid /bin/sleep 1000 & wait; exec sleep 1000",
    // A child in its group that outlives it.
    "sh -c 'trap \"\" TERM; while :; do sleep 0.2; done' & wait",
    // Is never the same process for long.
    "(sh rabbit.sh >/dev/null 2>&1 &) & exec sleep 1000",
    // Many at once.
    "for n in 1 2 3 4 5; do setsid sleep 1000 & done; wait",
    // Closes its output.
    "exec >&- 2>&-; exec sleep 1000",
];

/// What a service has whose files are watched: its next life begins beside the present one.
const RELOADS: &str = "    reload: start-first\n    healthcheck: {log: ready, interval: 100ms}\n";

/// Whether a service is one process that says when it is ready, and no more: then two of it are two lives.
fn is_single(index: usize) -> bool {
    matches!(index % 8, 1 | 4 | 6)
}

/// Whether it has its next life beside the present one: all of those but some.
fn reloads(index: usize) -> bool {
    is_single(index) && index % 24 != 12
}

fn single(text: &mut String, index: usize) {
    text.push_str("    command: echo ready; exec sleep 1000\n");
    writeln!(text, "    develop: {{watch: [{{path: watched/s{index}, action: restart}}]}}").unwrap();
    let (address, port) = own_address();
    match index % 8 {
        4 => writeln!(text, "    sockets: [{{name: web, tcp: '{address}:{port}'}}]").unwrap(),
        6 => writeln!(text, "    proxy: true\n    ports: ['{address}:{port}:{port}']").unwrap(),
        _ => {}
    }
    if reloads(index) {
        text.push_str(RELOADS);
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn stack(services: usize) -> String {
    let mut text = "name: torture\nprocesses:\n".to_owned();
    for index in 0..services {
        writeln!(text, "  s{index}:\n    restart: always\n    stop_grace_period: 200ms").unwrap();
        if is_single(index) {
            single(&mut text, index);
            continue;
        }
        let kind = KINDS[index % KINDS.len()].replace('$', "$$");
        writeln!(text, "    command: |\n      {kind}").unwrap();
        if index % 7 == 3 {
            text.push_str("    tty: true\n");
        }
        if index % 11 == 5 {
            text.push_str("    isolation: pid\n");
        }
    }
    text
}

struct Torture {
    sandbox: Sandbox,
    mark: Marker,
    services: usize,
    stopped: BTreeSet<usize>,
    random: Random,
    story: Vec<String>,
}

impl Torture {
    fn begin(sandbox: Sandbox, services: usize, seed: u64) -> Self {
        sandbox.write("rabbit.sh", "sleep 0.05\n(setsid sh rabbit.sh &)\n");
        (0..services).filter(|index| is_single(*index)).for_each(|index| sandbox.write(&format!("watched/s{index}"), ""));
        sandbox.give_away();
        let env: EnvId = "torture".parse().unwrap();
        let mark = Marker::of_env(&env, &sandbox.state().join(env.as_str()), sandbox.uid());
        Self { sandbox, mark, services, stopped: BTreeSet::new(), random: Random::new(seed), story: Vec::new() }
    }

    /// What the process table shows: mark → living processes.
    fn table(&self) -> BTreeMap<Marker, Vec<i32>> {
        let mut table: BTreeMap<Marker, Vec<i32>> = BTreeMap::new();
        for process in tree::scan().into_iter().filter(tree::Process::is_alive) {
            if let Some(mark) = Marker::of_process(process.pid).filter(|mark| mark.is_of_same_env(self.mark)) {
                table.entry(mark).or_default().push(process.pid);
            }
        }
        table
    }

    /// The living processes of a service in a table, of whichever of its lives.
    fn living(&self, table: &mut BTreeMap<Marker, Vec<i32>>, index: usize) -> Option<Vec<i32>> {
        let mark = self.mark.of_unit(&format!("s{index}:1").parse().unwrap());
        // A life beside another has the next mark.
        let of_both = [mark, mark.successor()].into_iter().filter_map(|mark| table.remove(&mark));
        Some(of_both.flatten().collect::<Vec<i32>>()).filter(|living| !living.is_empty())
    }

    /// What the supervisor believes: service → the pid of one that runs.
    fn belief(&self) -> BTreeMap<String, i32> {
        let shown = self.sandbox.run(&["ps", "-a", "--format", "json"]);
        let rows = shown.out.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let running = rows.filter(|row| row["State"] == "running" && row["Detail"] == "running");
        running
            .map(|row| (row["Service"].as_str().unwrap().to_owned(), i32::try_from(row["Pid"].as_i64().unwrap()).unwrap()))
            .collect()
    }

    /// Why belief, table and what was asked for do not agree; none when they do.
    fn difference(&self) -> Option<String> {
        let (belief, mut table) = (self.belief(), self.table());
        for index in 0..self.services {
            let name = format!("s{index}");
            let living = self.living(&mut table, index);
            match (self.stopped.contains(&index), belief.get(&name).copied(), living) {
                (true, None, None) => {}
                (false, Some(pid), Some(living)) if living.contains(&pid) && (living.len() == 1 || !is_single(index)) => {}
                (stopped, believed, living) => {
                    return Some(format!("{name}: stopped by request: {stopped}, believed {believed:?}, living {living:?}"));
                }
            }
        }
        table.into_values().next().map(|pids| format!("of no service: {pids:?}"))
    }

    fn service(&mut self) -> usize {
        self.random.index(self.services)
    }

    fn up(&mut self) {
        self.stopped.clear();
        self.sandbox.ok(&["up", "-d"]);
    }

    fn round(&mut self) {
        let choice = self.random.index(28);
        let mut index = self.service();
        while choice >= 20 && !is_single(index) {
            index = self.service();
        }
        let name = format!("s{index}");
        self.story.push(format!("{choice} {name}"));
        match choice {
            0..=3 => {
                self.sandbox.ok(&["stop", &name]);
                self.stopped.insert(index);
            }
            4..=6 => {
                self.sandbox.ok(&["start", &name]);
                self.stopped.remove(&index);
            }
            7..=10 => {
                self.sandbox.ok(&["restart", &name]);
                self.stopped.remove(&index);
            }
            11..=15 => {
                if let Some(pid) = self.belief().get(&name) {
                    kill(*pid, Signal::SIGKILL);
                }
            }
            16 => {
                // Whatever it was, it was somebody's.
                let all: Vec<i32> = self.table().into_values().flatten().collect();
                for _ in 0..3 {
                    kill(all[self.random.index(all.len())], Signal::SIGKILL);
                }
            }
            17 => self.kill_supervisor(Signal::SIGKILL),
            18 => {
                let supervisor = self.sandbox.supervisor();
                kill(parent(supervisor), Signal::SIGKILL);
                until("the supervisor has stopped all and ended", || !is_alive(supervisor));
                assert_eq!(self.table(), BTreeMap::new(), "left by a supervisor whose guard was killed");
                self.up();
            }
            19 => {
                let supervisor = self.sandbox.supervisor();
                let guard = parent(supervisor);
                kill(supervisor, Signal::SIGSTOP);
                kill(guard, Signal::SIGKILL);
                kill(supervisor, Signal::SIGKILL);
                until("both are gone", || !is_alive(supervisor) && !is_alive(guard));
                self.up();
            }
            20..=22 => self.save(index),
            23..=25 => {
                // Whichever of its lives these are.
                self.save(index);
                let living = self.living(&mut self.table(), index).unwrap_or_default();
                living.into_iter().for_each(|pid| kill(pid, Signal::SIGKILL));
            }
            26 => {
                self.save(index);
                self.sandbox.ok(&["stop", &name]);
                self.stopped.insert(index);
            }
            _ => {
                self.save(index);
                self.kill_supervisor(Signal::SIGKILL);
            }
        }
        let mut last = None;
        until("belief and process table agree", || {
            last = self.difference();
            if let Some(difference) = &last {
                self.story.truncate(1000);
                eprintln!("{}: {difference}", self.story.last().unwrap());
            }
            last.is_none()
        });
    }

    /// Changes the file that a service watches.
    fn save(&mut self, index: usize) {
        let text = self.random.below(u64::MAX).to_string();
        self.sandbox.save(&format!("watched/s{index}"), &text);
    }

    fn kill_supervisor(&mut self, signal: Signal) {
        let supervisor = self.sandbox.supervisor();
        let guard = parent(supervisor);
        kill(supervisor, signal);
        until("the guard has ended", || !is_alive(guard));
        assert_eq!(self.table(), BTreeMap::new(), "left by the guard");
        self.up();
    }
}

fn torture(sandbox: Sandbox, services: usize, rounds: u64) {
    let seed = number("BAISTACK_TORTURE_SEED").unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        u64::from(now.subsec_nanos())
    });
    // Shown when it fails.
    eprintln!("BAISTACK_TORTURE_SEED={seed}, {services} services, {rounds} rounds");
    let mut torture = Torture::begin(sandbox, services, seed);
    torture.up();
    for _ in 0..rounds {
        torture.round();
    }
    torture.sandbox.ok(&["down"]);
    assert_eq!(torture.table(), BTreeMap::new(), "left after down");
}

fn size() -> (usize, u64) {
    match number("BAISTACK_TORTURE_ROUNDS") {
        Some(rounds) => (50, rounds),
        None => (18, 8),
    }
}

#[test]
fn nothing_is_lost_and_nothing_is_left_whatever_happens() {
    let (services, rounds) = size();
    torture(Sandbox::new(&stack(services)), services, rounds);
}

#[test]
fn nothing_is_lost_and_nothing_is_left_of_an_ordinary_user() {
    let (services, rounds) = size();
    if let Some(sandbox) = Sandbox::of_ordinary_user(&stack(services)) {
        torture(sandbox, services, rounds);
    }
}
