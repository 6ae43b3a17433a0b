//! Blobs against their digests.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use bake_oci::{Digest, Digester};

use super::{FsckReport, name_of};
use crate::StoreError;
use crate::error::AtPath;
use crate::ingest::hash_into;
use crate::layout::ALGORITHMS;
use crate::lock::GcLock;
use crate::store::Store;

/// Blobs are hashed on at most this many threads; the disk is the limit beyond.
const THREADS_MAX: usize = 8;

impl Store {
    /// Hashes all blobs, and takes out those that are damaged. Their digests are returned.
    pub(super) fn check_blobs(&self, repair: bool, report: &mut FsckReport) -> Result<BTreeSet<Digest>, StoreError> {
        for algorithm in ALGORITHMS {
            let directory = self.layout().blobs(algorithm);
            for entry in fs::read_dir(&directory).at("list", &directory)? {
                let path = entry.at("list", &directory)?.path();
                let digest = name_of(&path).map(|hex| Digest::parse(&format!("{}:{hex}", algorithm.name())));
                if !matches!(digest, Some(Ok(_))) {
                    let repaired = repair && self.layout().move_to_trash(&path)?;
                    report.problem(format!("`{}` is not named by a digest", path.display()), repaired);
                }
            }
        }
        let digests = self.list_blobs()?;
        let next = AtomicUsize::new(0);
        let found = Mutex::new((0_u64, Vec::new()));
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(digest) = digests.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let (bytes, problem) = check_blob(&self.layout().blob(digest), digest);
                        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                        found.0 += bytes;
                        found.1.extend(problem.map(|problem| (digest.clone(), problem)));
                    }
                });
            }
        });
        let (bytes, mut damaged) = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        damaged.sort();
        report.blobs = digests.len();
        report.blob_bytes = bytes;
        for (digest, problem) in &damaged {
            let repaired = repair && {
                let _alone = GcLock::exclusive(self.layout())?;
                self.layout().move_to_trash(&self.layout().blob(digest))?
            };
            report.problem(format!("blob {digest} {problem}"), repaired);
        }
        Ok(damaged.into_iter().map(|(digest, _)| digest).collect())
    }
}

/// The number of bytes of a blob, and what is wrong with it.
fn check_blob(path: &Path, digest: &Digest) -> (u64, Option<String>) {
    let mut digester = Digester::for_algorithm(digest.algorithm());
    match File::open(path).and_then(|mut file| hash_into(&mut digester, &mut file)) {
        Ok(bytes) => {
            let actual = digester.finish();
            (bytes, (actual != *digest).then(|| format!("is damaged: its content has digest {actual}")))
        }
        // Pruned since the list was made.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => (0, None),
        Err(error) => (0, Some(format!("cannot be read: {error}"))),
    }
}
