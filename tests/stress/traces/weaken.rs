//! Takes part of what was recorded out of a store, so that results are found that are wrong.

use std::path::Path;

use bake_oci::CacheKey;
use bake_solver::{Answer, Asked, CacheStore as _, Question, Trace};
use bake_store::{CacheRecord, OpenOptions, Ownership, Store};
use bake_worker::StoreCache;
use rusqlite::Connection;

use crate::support::Outcome;

/// What is taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dropped {
    /// That something is not there.
    Absences,
    /// Files and links with what they hold.
    Contents,
    /// Which names a directory has.
    Listings,
}

impl Dropped {
    /// The ways to change files that show its lack the soonest.
    pub(super) fn changes(self) -> &'static [&'static str] {
        match self {
            Self::Absences => &["shadow"],
            Self::Contents => &["edit of the same size", "exchange of two files"],
            Self::Listings => &["new file", "new directory", "removed file", "renaming"],
        }
    }

    fn includes(self, question: &Question, answer: &Answer) -> bool {
        match self {
            Self::Absences => *answer == Answer::Absent,
            Self::Contents => matches!(answer, Answer::Node(node) if node.content != [0; 32]),
            Self::Listings => question.asked == Asked::Names,
        }
    }
}

/// Takes questions of a kind out of every trace, so that the same results are found whatever the answers are.
pub(super) fn weaken(root: &Path, dropped: Dropped) -> Outcome {
    let store = [Ownership::Native, Ownership::Recorded]
        .into_iter()
        .find_map(|ownership| Store::open(root, OpenOptions { ownership, create: false }).ok())
        .ok_or("the store cannot be opened")?;
    let cache = StoreCache::new(store.clone());
    for outer in outer_keys(root)? {
        for stored in cache.traces(&outer).map_err(|error| error.to_string())? {
            let strong = stored.trace;
            let kept = strong.entries().iter().filter(|(question, answer)| !dropped.includes(question, answer));
            let weak = Trace::new(kept.cloned().collect());
            let found = store.cache_lookup(&strong.key(&outer)).map_err(|error| error.to_string())?;
            if let Some(record) = found.filter(|_| weak.len() < strong.len()) {
                let record = CacheRecord { keys: vec![weak.key(&outer)], ..record };
                store.cache_record(&record).map_err(|error| error.to_string())?;
                cache.forget_trace(&outer, &strong.questions()).map_err(|error| error.to_string())?;
                cache.record_trace(&outer, &weak).map_err(|error| error.to_string())?;
            }
        }
    }
    Ok(())
}

/// The keys under which there are traces.
fn outer_keys(root: &Path) -> Result<Vec<CacheKey>, String> {
    let failed = |error: rusqlite::Error| format!("the traces cannot be listed: {error}");
    let index = Connection::open(root.join("index.sqlite")).map_err(failed)?;
    let mut statement = index.prepare("SELECT DISTINCT outer_key FROM trace ORDER BY outer_key").map_err(failed)?;
    let keys = statement.query_map([], |row| row.get(0).map(CacheKey)).map_err(failed)?;
    keys.collect::<Result<_, _>>().map_err(failed)
}
