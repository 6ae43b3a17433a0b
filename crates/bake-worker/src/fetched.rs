//! What sources turned out to be: the digest of a file, the commit of a branch. Provenance tells it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bake_graph::{GitSource, HttpSource};
use bake_oci::Digest;

use crate::worker::LinuxWorker;

/// The address, the reference and the checksum: everything that decides which commit is meant.
type CommitKey = (String, Option<String>, Option<String>);

/// What was fetched, by what was asked for.
#[derive(Debug, Default)]
pub(crate) struct Fetched {
    files: Mutex<BTreeMap<String, Digest>>,
    commits: Mutex<BTreeMap<CommitKey, String>>,
}

impl Fetched {
    pub(crate) fn note_file(&self, source: &HttpSource, digest: Digest) {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).insert(source.url.clone(), digest);
    }

    pub(crate) fn note_commit(&self, source: &GitSource, commit: String) {
        self.commits.lock().unwrap_or_else(PoisonError::into_inner).insert(commit_key(source), commit);
    }
}

impl LinuxWorker {
    /// The digest of the bytes that an HTTP source gave in this build; of one that was not asked, its checksum.
    pub fn fetched_file(&self, source: &HttpSource) -> Option<Digest> {
        let noted = self.fetched.files.lock().unwrap_or_else(PoisonError::into_inner).get(&source.url).cloned();
        source.checksum.clone().or(noted)
    }

    /// The commit that a git source meant in this build, in hexadecimal.
    pub fn fetched_commit(&self, source: &GitSource) -> Option<String> {
        self.fetched.commits.lock().unwrap_or_else(PoisonError::into_inner).get(&commit_key(source)).cloned()
    }
}

fn commit_key(source: &GitSource) -> CommitKey {
    (source.url.clone(), source.reference.clone(), source.checksum.clone())
}
