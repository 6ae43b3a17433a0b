//! What looking at a tree costs when it is served, against the same tree as a plain lower directory.
//!
//! `cargo test -p bake-trace --test traced --release timing -- --ignored --nocapture`; both sides take turns.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

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
        cp /tmp/bake-timing.$$ t/$a/$b/$c; done; done; done; rm /tmp/bake-timing.$$; mkdir few; echo x >few/one",
    );
    println!("{:32} {:>9} {:>9} {:>7} {:>7} {:>9}", "", "plain ms", "served ms", "median", "minimum", "requests");
    for script in [
        "cat few/one",
        "find t -size +100000",
        "find t >/dev/null",
        "find t -size +100000; find t -size +100000; find t -size +100000",
        "find t -type f -exec cat {} + >/dev/null",
        "grep -rl nothing t",
        "tar cf - t | cat >/dev/null",
    ] {
        let (mut plain, mut served, mut requests) = (Vec::new(), Vec::new(), 0);
        for _ in 0..RUNS {
            let mount = tree.mount(None);
            plain.push(time(|| drop(run_in(mount.as_fd(), script))));
            drop(mount);
            let traced = tree.serve();
            let mount = tree.mount(Some(&traced));
            served.push(time(|| drop(run_in(mount.as_fd(), script))));
            let end = Instant::now();
            drop(mount);
            let unmounted = end.elapsed();
            let recorded = traced.finish().unwrap();
            requests = recorded.requests;
            if served.len() == RUNS {
                println!("ends in {:?}, of which overlay {unmounted:?}", end.elapsed());
            }
        }
        plain.sort();
        served.sort();
        let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
        let (middle, least) = (RUNS / 2, 0);
        let ratio = |place: usize| ms(served[place]) / ms(plain[place]);
        println!(
            "{script:32.32} {:9.1} {:9.1} {:7.2} {:7.2} {requests:9}",
            ms(plain[middle]),
            ms(served[middle]),
            ratio(middle),
            ratio(least)
        );
    }
}

fn time(run: impl FnOnce()) -> Duration {
    let start = Instant::now();
    run();
    start.elapsed()
}
