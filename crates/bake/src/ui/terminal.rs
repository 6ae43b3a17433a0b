//! The terminal that bake was started in: handed over to a command, and given back as it was on every way out.

use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// How the terminal was before; there while it is not.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Lets every key go to a command as it is, until this is dropped or [`restore`] is called.
#[derive(Debug)]
#[must_use = "the terminal is given back when this is dropped"]
pub struct RawMode(());

impl RawMode {
    /// Hands the terminal of standard input over.
    ///
    /// # Errors
    /// Standard input is no terminal, or one that cannot be changed.
    pub fn enter() -> std::io::Result<Self> {
        let terminal = std::io::stdin();
        let before = tcgetattr(&terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        let entered = Self(());
        tcsetattr(&terminal, OptionalActions::Now, &raw)?;
        Ok(entered)
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back as it was, if it was handed over. Called by everything that ends the process.
pub fn restore() {
    // Whoever holds the lock is about to do the same.
    let before = match BEFORE.try_lock() {
        Ok(mut before) => before.take(),
        Err(std::sync::TryLockError::Poisoned(poisoned)) => poisoned.into_inner().take(),
        Err(std::sync::TryLockError::WouldBlock) => None,
    };
    if let Some(before) = before {
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &before);
    }
}

/// Rows and columns of a terminal; `None` for what is none, or does not know its size.
pub fn size(terminal: impl AsFd) -> Option<(u16, u16)> {
    let size = tcgetwinsize(terminal).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}
