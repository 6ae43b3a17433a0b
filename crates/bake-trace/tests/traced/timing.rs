//! What looking at a tree costs when it is served, against the same tree as a plain lower directory.
//!
//! `cargo test -p bake-trace --test traced --release timing -- --ignored --nocapture`; both sides take turns.

use std::os::fd::AsFd;
use std::time::Instant;

use crate::support::{Tree, can_trace, run_in};

const RUNS: usize = 5;

#[test]
#[ignore = "measures instead of testing"]
fn served_against_plain() {
    if !can_trace() {
        return;
    }
    // 4,000 directories with five files each, about the size of a large `node_modules`.
    let tree = Tree::new(
        "head -c 2000 /dev/zero | tr '\\0' x >/tmp/bake-timing.$$
        for a in $(seq 40); do for b in $(seq 100); do mkdir -p t/$a/$b; for c in 1 2 3 4 5; do
        cp /tmp/bake-timing.$$ t/$a/$b/$c; done; done; done; rm /tmp/bake-timing.$$; mkdir few; echo x >few/one
        head -c 100000000 /dev/urandom >large",
    );
    println!(
        "{:32} {:>9} {:>9} {:>7} {:>7} {:>7} {:>9}",
        "", "plain ms", "served", "median", "least", "CPU", "requests"
    );
    for script in [
        "cat few/one",
        "cat large >/dev/null",
        "find t -size +100000",
        "find t >/dev/null",
        "find t -size +100000; find t -size +100000; find t -size +100000",
        "find t -type f -exec cat {} + >/dev/null",
        "grep -rl nothing t",
        "tar cf - t | cat >/dev/null",
    ] {
        let (mut plain, mut served, mut requests) = (Sample::default(), Sample::default(), 0);
        for _ in 0..RUNS {
            let mount = tree.mount(None);
            plain.add(|| drop(run_in(mount.as_fd(), script)));
            drop(mount);
            let traced = tree.serve();
            let mount = tree.mount(Some(&traced));
            served.add(|| drop(run_in(mount.as_fd(), script)));
            drop(mount);
            requests = traced.finish().unwrap().requests;
        }
        plain.times_ms.sort_by(f64::total_cmp);
        served.times_ms.sort_by(f64::total_cmp);
        let ratio = |place: usize| served.times_ms[place] / plain.times_ms[place];
        println!(
            "{script:32.32} {:9.1} {:9.1} {:7.2} {:7.2} {:7.2} {requests:9}",
            plain.times_ms[RUNS / 2],
            served.times_ms[RUNS / 2],
            ratio(RUNS / 2),
            ratio(0),
            served.cpu_ticks / plain.cpu_ticks
        );
    }
}

#[derive(Default)]
struct Sample {
    times_ms: Vec<f64>,
    /// Of this process, with the server, and of the commands.
    cpu_ticks: f64,
}

impl Sample {
    fn add(&mut self, run: impl FnOnce()) {
        let (start, ticks) = (Instant::now(), cpu_ticks());
        run();
        self.times_ms.push(start.elapsed().as_secs_f64() * 1000.0);
        self.cpu_ticks += cpu_ticks() - ticks;
    }
}

/// `proc_pid_stat(5)`: user and system time, and those of children that have ended.
fn cpu_ticks() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit(") ").next().unwrap();
    after_name.split(' ').skip(11).take(4).map(|ticks| ticks.parse::<f64>().unwrap()).sum()
}
