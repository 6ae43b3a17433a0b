//! What the functions cost that every build spends its time in: walking and hashing a context, the digest of a layer, its archive and
//! diff ID, and compression. Prints the CPU time of the process, the median of several, and the throughput.
//!
//! `cargo bench -p bake --bench layers`. The files are in memory where there is `/dev/shm`, so no disk is measured.
#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]
#![expect(clippy::unwrap_used, reason = "the inputs are made here")]

#[path = "common/cpu_time.rs"]
mod cpu_time;
#[path = "common/half_random.rs"]
mod half_random;

use std::fs::{self, File};
use std::num::NonZeroUsize;
use std::os::fd::AsFd as _;
use std::path::Path;

use bake_oci::digest::Digester;
use bake_oci::{BlobWriter, Compression};
use bake_snapshot::{
    Contents, LayerFormat, NoMemory, OverlayXattrs, Ownership, Selection, TREE_ENTRIES_MAX, TreeOptions, WriteOptions,
    digest_entries, digest_layer, digest_tree, write_layer,
};
use half_random::half_random;

/// Files of the tree, and the bytes of the largest; the mean is half of that.
const FILES: usize = 10_000;
const FILE_BYTES_MAX: usize = 8 << 10;

/// Bytes that are compressed.
const SAMPLE_BYTES: usize = 32 << 20;

/// How often each is measured.
const ITERATIONS: usize = 7;

fn main() {
    let memory = Path::new("/dev/shm");
    let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let tree = directory.path().join("tree");
    let bytes = write_tree(&tree);
    println!("{FILES} files, {} MB", bytes / 1_000_000);

    let root = File::open(&tree).unwrap();
    let options = TreeOptions { ownership: Ownership::Native, xattrs: true, entries_max: TREE_ENTRIES_MAX };
    let walk =
        || digest_tree(root.as_fd(), b"", options, &mut |_, _| Selection::Include, &mut NoMemory).unwrap().unwrap();
    measure("walk and hash a context", bytes, walk);
    let entries = walk();
    measure("key of a COPY of all of it", bytes, || digest_entries(&entries));
    let format = LayerFormat { ownership: Ownership::Native, overlay_xattrs: OverlayXattrs::User };
    measure("tree digest of a layer", bytes, || digest_layer(&tree, format, &Contents::default()).unwrap());
    measure("archive of a layer", bytes, || {
        write_layer(&tree, format, WriteOptions::default(), std::io::sink()).unwrap()
    });
    measure("archive and diff ID of a layer", bytes, || {
        let mut hashed = Hashed(Digester::new());
        write_layer(&tree, format, WriteOptions::default(), &mut hashed).unwrap();
        hashed.0.finish()
    });

    let sample = half_random(SAMPLE_BYTES);
    for (name, compression) in [("gzip", Compression::GZIP), ("Zstandard", Compression::ZSTD)] {
        measure(name, SAMPLE_BYTES, || {
            let mut writer = BlobWriter::new(std::io::sink(), compression, NonZeroUsize::MIN);
            std::io::Write::write_all(&mut writer, &sample).unwrap();
            writer.finish().unwrap().0
        });
    }
}

/// Bytes go into a digest.
struct Hashed(Digester);

impl std::io::Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Makes files of different sizes, a hundred in a directory; tells their bytes.
fn write_tree(tree: &Path) -> usize {
    let content = half_random(FILE_BYTES_MAX);
    let mut bytes = 0;
    for number in 0..FILES {
        let directory = tree.join((number / 100).to_string());
        if number % 100 == 0 {
            fs::create_dir_all(&directory).unwrap();
        }
        let size = number * 7919 % FILE_BYTES_MAX;
        fs::write(directory.join(format!("file-{number}")), &content[..size]).unwrap();
        bytes += size;
    }
    bytes
}

/// Prints the CPU time of `work`, the median.
fn measure<T>(name: &str, bytes: usize, work: impl Fn() -> T) {
    let seconds = cpu_time::median(ITERATIONS, work).as_secs_f64();
    let megabytes = u32::try_from(bytes / 1_000_000).unwrap();
    println!("{name}: {:.1} ms, {:.0} MB/s", seconds * 1000.0, f64::from(megabytes) / seconds);
}
