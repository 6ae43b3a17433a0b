//! Connections to a registry cut at random: a push and a pull must end well, and send hardly anything twice.

use std::fs::File;
use std::io::{self, Read as _};

use bake_testkit::registry::{Config, Direction, FakeRegistry, Relay};

use crate::random::Random;
use crate::support::{Environment, Outcome, Scratch, check, equal, succeed};
use crate::{Effort, Kind, Tally};

pub(crate) const KIND: Kind = Kind { name: "resume", count: 20, run };

/// The size of the layer when there are as many cuts as in a full run.
const FULL_BYTES: u64 = 1 << 30;

/// The size of the layer for each cut of a smaller run.
const BYTES_PER_CUT: u64 = 8 << 20;

/// Cuts come before this part of the layer has passed, so that all of them come.
const LAST_CUT_PERCENT: u64 = 95;

fn run(environment: &Environment, effort: Effort, tally: &mut Tally) -> Outcome {
    let full = effort.count >= KIND.count;
    let layer_bytes = if full { FULL_BYTES } else { effort.count as u64 * BYTES_PER_CUT };
    let registry = FakeRegistry::start(Config::default()).map_err(|error| error.to_string())?;
    let mut random = Random::new(effort.seed);
    let scratch = context(environment, layer_bytes)?;

    let relay = relay(&registry, Direction::Up, layer_bytes, effort.count, &mut random)?;
    let name = format!("{}/app:1", relay.addr);
    succeed(environment.build(&scratch.store()).args(["--tag", &name]).arg(scratch.at("context")))?;
    let digest = succeed(environment.command(&scratch.store()).args(["push", &name]))?.text();
    judge(&relay, Direction::Up, layer_bytes, effort.count, tally)?;

    let relay = self::relay(&registry, Direction::Down, layer_bytes, effort.count, &mut random)?;
    let other = environment.scratch()?;
    let name = format!("{}/app:1", relay.addr);
    let pulled = succeed(environment.command(&other.store()).args(["pull", &name]))?;
    check(pulled.text().contains(&digest), || format!("pulled {}, not {digest}", pulled.text()))?;
    judge(&relay, Direction::Down, layer_bytes, effort.count, tally)?;
    // The file is what it was.
    let file = succeed(environment.command(&other.store()).args(["run", "--rm", &name, "sha256sum", "/file"]))?.text();
    let before = succeed(std::process::Command::new("sha256sum").arg(scratch.at("context/file")))?.text();
    equal(&file.split_whitespace().next(), &before.split_whitespace().next(), "digest of the file")
}

/// A context with a file that cannot be compressed.
fn context(environment: &Environment, bytes: u64) -> Result<Scratch, String> {
    let scratch = environment.scratch()?;
    scratch.write("context/Dockerfile", "FROM busybox\nCOPY file /file\n")?;
    let copy = || {
        let mut random = File::open("/dev/urandom")?.take(bytes);
        io::copy(&mut random, &mut File::create(scratch.at("context/file"))?)
    };
    copy().map_err(|error| error.to_string())?;
    Ok(scratch)
}

fn relay(
    registry: &FakeRegistry,
    direction: Direction,
    layer_bytes: u64,
    count: usize,
    random: &mut Random,
) -> Result<Relay, String> {
    let end = usize::try_from(layer_bytes / 100 * LAST_CUT_PERCENT).map_err(|error| error.to_string())?;
    let mut cuts: Vec<u64> = (0..count).map(|_| random.below(end) as u64).collect();
    cuts.sort_unstable();
    Relay::start(registry.addr, direction, &cuts).map_err(|error| error.to_string())
}

fn judge(relay: &Relay, direction: Direction, layer_bytes: u64, count: usize, tally: &mut Tally) -> Outcome {
    equal(&relay.cut(), &count, "cuts")?;
    let sent = relay.bytes(direction);
    let percent = usize::try_from(sent * 1000 / layer_bytes).unwrap_or(usize::MAX);
    tally.add(&format!("per mille of the layer's {layer_bytes} bytes went {direction:?}"), percent);
    // Requests, the base image and the config are there besides.
    let allowed = layer_bytes / 10 * 11 + (1 << 20);
    check(sent <= allowed, || format!("{sent} bytes went {direction:?} for a layer of {layer_bytes}"))
}
