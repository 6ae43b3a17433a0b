//! Cache keys, scheduling, in-flight deduplication and build events
