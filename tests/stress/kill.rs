//! SIGKILL at chosen system calls.
//!
//! A first run under strace counts the calls of each thread. A point is then a system call and a number: whichever thread or child
//! of the build is the first to make its Nth call of that kind is killed on the way into it. When that is a child, the build goes on
//! and says what happened to its step.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::ground::{Content, Golden, Ground, end, remove};
use crate::random::Random;
use crate::support::{Environment, Outcome, check, equal, succeed};
use crate::{Effort, Kind, Tally, remains};

pub(crate) const KIND: Kind = Kind { name: "kill", count: 600, run };

/// The system calls of each class. Every class gets the same number of points, as far as it has so many.
const CLASSES: [(&str, &str); 11] = [
    ("rename", "rename,renameat,renameat2"),
    ("sync", "fsync,fdatasync,syncfs"),
    ("link", "link,linkat,symlink,symlinkat"),
    ("unlink", "unlink,unlinkat,rmdir"),
    ("open", "open,openat,openat2"),
    ("mount", "fsopen,fsconfig,fsmount,move_mount,open_tree,mount_setattr,mount,umount2,pivot_root"),
    ("write", "write,pwrite64,writev,copy_file_range,ftruncate,fallocate"),
    ("mkdir", "mkdir,mkdirat"),
    ("lock", "flock,fcntl"),
    ("process", "clone,clone3,fork,vfork,execve,setns,unshare,exit_group"),
    ("attributes", "chmod,fchmod,fchmodat,chown,fchown,fchownat,utimensat,setxattr,lsetxattr,fsetxattr"),
];

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    /// A build into a store that is not there yet.
    First,
    /// A build into a store that other builds have used and that was pruned.
    Pruned,
    /// A build into a store that holds what a similar build made.
    Similar,
    /// A build that carries out one step at a time.
    OneJob,
    /// `bake prune --all` of a store with images and cache.
    Prune,
    /// `bake fsck --rebuild` of a store with images and cache.
    Rebuild,
}

const VICTIMS: [Victim; 6] =
    [Victim::First, Victim::Pruned, Victim::Similar, Victim::OneJob, Victim::Prune, Victim::Rebuild];

/// Where a process is killed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    class: &'static str,
    victim: Victim,
    call: String,
    number: u32,
}

/// The names of the two Dockerfiles; what differs is their last step.
const NAME: &str = "app";
const SIMILAR: &str = "similar";

struct Attack<'a> {
    ground: Ground<'a>,
    golden: Golden,
    /// How many files a store holds after a reset, once that has happened.
    entries: Option<usize>,
}

fn run(environment: &Environment, effort: Effort, tally: &mut Tally) -> Outcome {
    let ground = Ground::new(environment)?;
    ground.write_dockerfile(NAME, "")?;
    ground.write_dockerfile(SIMILAR, "")?;
    let golden = ground.golden(NAME)?;
    let mut attack = Attack { ground, golden, entries: None };
    let cgroups = remains::cgroups();
    let mut random = Random::new(effort.seed);
    let points = attack.points(effort.count, &mut random)?;
    for point in &points {
        let store = attack.store(point.victim);
        if let Err(problem) = attack.try_point(point, &store, tally) {
            tally.fail(format!("{point:?} (seed {}): {problem}", effort.seed), &store);
            remove(&store)?;
        }
    }
    equal(&remains::cgroups(), &cgroups, "control groups")
}

impl Attack<'_> {
    /// The store of a victim: most use one again and again, to see whether something piles up in it.
    fn store(&self, victim: Victim) -> PathBuf {
        match victim {
            Victim::First => self.ground.path("first-store"),
            _ => self.ground.path("store"),
        }
    }

    /// Brings a store into the state that the victim finds.
    fn prepare(&mut self, victim: Victim, store: &Path) -> Outcome {
        if victim == Victim::First {
            return remove(store);
        }
        if !store.exists() {
            succeed(&mut self.ground.build(store, NAME))?;
            self.entries = None;
        }
        succeed(&mut self.ground.build(store, NAME))?;
        match victim {
            Victim::Prune => {
                return succeed(self.ground.command(store).args(["rmi", &format!("{NAME}:1")])).map(drop);
            }
            // The image stays, and its layers must: they are in this store only.
            Victim::Rebuild => return Ok(()),
            _ => {}
        }
        self.ground.reset(store, NAME)?;
        if victim == Victim::Similar {
            succeed(&mut self.ground.build(store, SIMILAR))?;
            // Its layers stay as cache.
            return succeed(self.ground.command(store).args(["rmi", &format!("{SIMILAR}:1")])).map(drop);
        }
        let entries = remains::entries(store);
        let first = *self.entries.get_or_insert(entries);
        check(entries <= first, || {
            format!("an empty store holds {entries} files, {} more than at first", entries - first)
        })
    }

    fn victim(&self, victim: Victim, store: &Path) -> Command {
        let build = || self.ground.build_archive(store, NAME, &self.ground.path("killed.tar"));
        match victim {
            Victim::First | Victim::Pruned | Victim::Similar => build(),
            Victim::OneJob => {
                let mut command = build();
                command.args(["--jobs", "1"]);
                command
            }
            Victim::Prune => {
                let mut command = self.ground.command(store);
                command.args(["prune", "--all", "--force"]);
                command
            }
            Victim::Rebuild => {
                let mut command = self.ground.command(store);
                command.args(["fsck", "--rebuild"]);
                command
            }
        }
    }

    /// All points of all victims, `count` of them chosen.
    fn points(&mut self, count: usize, random: &mut Random) -> Result<Vec<Point>, String> {
        let mut classes: BTreeMap<&str, Vec<Point>> = BTreeMap::new();
        for victim in VICTIMS {
            let store = self.store(victim);
            self.prepare(victim, &store)?;
            let all: Vec<&str> = CLASSES.iter().map(|(_, calls)| *calls).collect();
            let log = self.ground.path("strace.log");
            let traced = strace(&self.victim(victim, &store), &["-e", &format!("trace={}", all.join(","))], &log);
            end(traced)?.success()?;
            let most = calls_of_busiest_thread(&fs::read_to_string(&log).map_err(|error| error.to_string())?);
            for (call, number) in most {
                let class = CLASSES.iter().find(|(_, calls)| calls.split(',').any(|name| name == call));
                let Some((class, _)) = class else { continue };
                let points = (1..=number).map(|number| Point { class, victim, call: call.clone(), number });
                classes.entry(class).or_default().extend(points);
            }
        }
        let mut chosen = Vec::new();
        let mut others = Vec::new();
        let quota = count.div_ceil(classes.len().max(1));
        for points in classes.into_values() {
            // Evenly over the whole class, from a random beginning within the first stretch.
            let stretch = points.len().div_ceil(quota).max(1);
            let beginning = random.below(stretch);
            for (index, point) in points.into_iter().enumerate() {
                if index % stretch == beginning { chosen.push(point) } else { others.push(point) }
            }
        }
        random.shuffle(&mut others);
        let missing = count.saturating_sub(chosen.len());
        chosen.extend(others.into_iter().take(missing));
        random.shuffle(&mut chosen);
        chosen.truncate(count);
        Ok(chosen)
    }

    fn try_point(&mut self, point: &Point, store: &Path, tally: &mut Tally) -> Outcome {
        self.prepare(point.victim, store)?;
        let log = self.ground.path("strace.log");
        let Point { call, number, .. } = point;
        let inject = format!("inject={call}:signal=KILL:when={number}");
        let command = self.victim(point.victim, store);
        let finished = end(strace(&command, &["-e", &format!("trace={call}"), "-e", &inject], &log))?;
        tally.count(&format!("points of class {}", point.class));
        match finished.code {
            None => tally.count("kills of the program"),
            Some(0) => tally.count("not killed: the number was not reached, or what was killed had done its work"),
            Some(_) => {
                tally.count("kills of a child");
                crate::ground::fails_cleanly(&finished)?;
            }
        }
        self.ground.nothing_runs(store)?;
        if point.victim == Victim::Prune {
            // What a prune has begun must not stand in the way of another one.
            succeed(self.ground.command(store).args(["prune", "--all", "--force"]))?;
        }
        if point.victim == Victim::Rebuild {
            let saved = self.ground.path("saved.tar");
            let image = format!("{NAME}:1");
            succeed(self.ground.command(store).arg("save").arg("--output").arg(&saved).arg(image))?;
            equal(&Content::of_archive(&saved)?, &self.golden.content, "content of the image that was there before")?;
        }
        self.ground.goes_on(store, NAME, &self.golden)
    }
}

/// A command under strace, which follows its children and ends as it ends.
fn strace(command: &Command, flags: &[&str], log: &Path) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o"]).arg(log).args(flags).arg(command.get_program()).args(command.get_args());
    strace.env_clear();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            strace.env(name, value);
        }
    }
    strace
}

/// How often each system call was made by the thread that made it most often.
fn calls_of_busiest_thread(log: &str) -> BTreeMap<String, u32> {
    let mut counts: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for line in log.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        // The second half of a call that another thread's came between begins with `<...`.
        let Some((name, _)) = call.trim_start().split_once('(') else { continue };
        if name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_') {
            *counts.entry((thread, name)).or_default() += 1;
        }
    }
    let mut most: BTreeMap<String, u32> = BTreeMap::new();
    for ((_, name), count) in counts {
        let entry = most.entry(name.to_owned()).or_default();
        *entry = count.max(*entry);
    }
    most
}
