//! Output that ends when a build is cancelled.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Writes until the build is cancelled; from then on every write is an error.
#[derive(Debug)]
pub struct Cancellable<'a, W> {
    out: W,
    cancelled: &'a AtomicBool,
}

impl<'a, W: Write> Cancellable<'a, W> {
    /// Writes to `out` until `cancelled` is set.
    pub fn new(out: W, cancelled: &'a AtomicBool) -> Self {
        Self { out, cancelled }
    }
}

impl<W: Write> Write for Cancellable<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(io::Error::other("the build was cancelled"));
        }
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
