//! Asking whoever sits at the terminal.

use std::io::{BufRead as _, Read as _, Write as _};

use bake::error::CommandError;

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 100;

/// Writes a question to standard error, and says whether the answer on standard input is yes. Whether there is anybody to ask is for the
/// caller to know.
///
/// # Errors
/// The answer cannot be read.
pub(crate) fn is_answered_yes(question: &str) -> Result<bool, CommandError> {
    // Nobody can be told that standard error cannot be written.
    let _ = write!(std::io::stderr(), "{question} [y/N] ");
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .take(ANSWER_BYTES_MAX)
        .read_line(&mut answer)
        .map_err(|error| CommandError::input(format!("cannot read the answer from standard input: {error}")))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
