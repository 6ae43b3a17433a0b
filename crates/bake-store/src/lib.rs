//! The local content-addressed store: blobs, snapshots index, tags, cache records, locks, garbage collection
