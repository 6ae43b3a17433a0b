//! Archives that broke other unpackers, one test for each weakness.
//!
//! Every archive is read and applied as one of an image would be, next to a canary that must stay as it is, within five
//! seconds and little memory. What is accepted must have the entries that GNU tar sees.
#![expect(clippy::unwrap_used, reason = "a failed test should panic")]
#![expect(clippy::print_stdout, reason = "skipped tests say so")]

#[expect(dead_code, reason = "every test program uses another part of it")]
mod support;

#[path = "hostile/escapes.rs"]
mod escapes;
#[path = "hostile/readings.rs"]
mod readings;
#[path = "hostile/sizes.rs"]
mod sizes;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bake_oci::LayerReader;
use bake_snapshot::{LayerFormat, Result, SnapshotError, UnpackLimits, Unpacked, unpack};
use bake_testkit::archive_bytes::gnu_tar_names;
use support::{Layers, archive, names};

/// What the whole test program may have used at its worst: its tests run beside each other, and some of them make large
/// archives. Attacks ask for gigabytes.
const MEMORY_KIB_MAX: u64 = 256 * 1024;

/// What one archive may take of a processor.
const TIME_MAX: Duration = Duration::from_secs(5);

/// A directory with a canary, and layers beside it.
struct Range {
    layers: Layers,
    outside: PathBuf,
}

impl Range {
    fn new() -> Self {
        let layers = Layers::new(LayerFormat::ROOT);
        let outside = layers.fresh("outside");
        std::fs::write(outside.join("canary"), "alive").unwrap();
        std::fs::create_dir(outside.join("directory")).unwrap();
        Self { layers, outside }
    }

    /// The path of the directory with the canary.
    fn outside(&self) -> &str {
        self.outside.to_str().unwrap()
    }

    /// Unpacks an archive into the fresh layer `name`, and checks what must hold whatever comes of it.
    fn unpack(&self, name: &str, bytes: &[u8]) -> (PathBuf, Result<Unpacked>) {
        let into = self.layers.fresh(name);
        let before = self.canary();
        let begin = processor_time();
        let mut reader = LayerReader::new(bytes);
        let result = unpack(&mut reader, &into, self.layers.format, UnpackLimits::default());
        let result = result.and_then(|unpacked| match reader.finish() {
            Ok(_) => Ok(unpacked),
            Err(source) => Err(SnapshotError::ReadLayer { source }),
        });
        let time = processor_time().saturating_sub(begin);
        assert!(time < TIME_MAX, "{name}: took {time:?}");
        assert_eq!(self.canary(), before, "{name}: the canary");
        let memory = memory_kib();
        assert!(memory < MEMORY_KIB_MAX, "{name}: used {memory} KiB");
        (into, result)
    }

    /// Unpacks an archive that must be fine, and gives the names in the layer.
    fn accept(&self, name: &str, bytes: &[u8]) -> Vec<String> {
        let (layer, result) = self.unpack(name, bytes);
        result.unwrap_or_else(|error| panic!("{name}: {}", chain_of(&error)));
        names(&archive(&layer, self.layers.format)).iter().map(|name| name.trim_end_matches('/').to_owned()).collect()
    }

    /// The same for an archive in which GNU tar must see the same names.
    fn accept_like_gnu_tar(&self, name: &str, bytes: &[u8]) -> Vec<String> {
        let found = self.accept(name, bytes);
        if let Some(listed) = gnu_tar_names(bytes) {
            let mut sorted = listed;
            sorted.sort();
            sorted.dedup();
            assert_eq!(found, sorted, "{name}: GNU tar lists other entries");
        }
        found
    }

    /// Unpacks an archive that must be refused, with an error that says `words`.
    fn refuse(&self, name: &str, bytes: &[u8], words: &str) {
        let (_, result) = self.unpack(name, bytes);
        match result {
            Ok(unpacked) => panic!("{name}: was accepted with {} entries", unpacked.entries),
            Err(error) => {
                let text = chain_of(&error);
                assert!(text.contains(words), "{name}: `{words}` is not in `{text}`");
            }
        }
    }

    /// Everything about the canary, its directory and the directory beside it.
    fn canary(&self) -> Vec<String> {
        let paths = [self.outside.clone(), self.outside.join("canary"), self.outside.join("directory")];
        let describe = |path: &PathBuf| {
            let status = std::fs::symlink_metadata(path).unwrap();
            let content =
                if status.is_file() { read(path) } else { std::fs::read_dir(path).unwrap().count().to_string() };
            let changed = (status.mtime(), status.mtime_nsec(), status.ctime(), status.ctime_nsec());
            format!("{:o} {} {} {changed:?} {content}", status.mode(), status.uid(), status.nlink())
        };
        paths.iter().map(describe).collect()
    }
}

/// The most memory that this process has used.
fn memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// How long this thread has run.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// An error with its causes.
fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
