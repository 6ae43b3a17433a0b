//! The limits on what is read from outside. Each message that reports one names its value.

/// Largest Dockerfile in bytes. The largest generated files seen in the wild are below 1 MB.
pub const FILE_BYTES_MAX: usize = 5 * 1024 * 1024;

/// Longest physical line in bytes without its line end, the same as BuildKit's, so that a file that builds here builds there.
pub const LINE_BYTES_MAX: usize = 65_535;

/// Most instructions in one file: far above any image's layer limit, low enough that a hostile file cannot fill memory with trees.
pub const INSTRUCTIONS_MAX: usize = 50_000;

/// Most heredocs that may begin on one instruction.
pub const HEREDOCS_MAX: usize = 256;

/// Most flags of one instruction that are looked at; each is compared with those before it.
pub const FLAGS_MAX: usize = 1_000;

/// Most problems of one kind that are reported for one instruction, and so what a hostile line can make of memory.
pub const PROBLEMS_PER_INSTRUCTION_MAX: usize = 100;

/// Most problems of one file: after them the rest is not looked at.
pub const DIAGNOSTICS_MAX: usize = 10_000;

/// Deepest nesting of `${...}`; each level is a level of recursion.
pub const NESTING_MAX: usize = 64;

/// Largest result of one expansion in bytes: variables that double each other must not exhaust memory.
pub const EXPANSION_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Most steps the matching of all `${name#pattern}` of one word may take: the work of each grows with pattern times value, for `/`
/// times value again.
pub const PATTERN_STEPS_MAX: usize = 20_000_000;

/// Largest ignore file in bytes.
pub const IGNORE_FILE_BYTES_MAX: usize = 5 * 1024 * 1024;

/// Most patterns of one ignore file: each is tried on each path of the context.
pub const IGNORE_PATTERNS_MAX: usize = 10_000;
