//! A tree that is being served, from its mount to its record.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;

use bake_snapshot::LayerTree;
use rustix::io::Errno;

use crate::asked::Recorded;
use crate::error::TraceError;
use crate::mount;
use crate::server::Server;
use crate::shown::ServeOptions;
use crate::signal::Signal;

/// A mounted tree with the server behind it. Dropping it ends both; its record is lost then.
#[derive(Debug)]
pub struct TracedTree {
    mount: OwnedFd,
    /// `None` once it was joined.
    thread: Option<JoinHandle<Result<Recorded, TraceError>>>,
    /// Readable from when on the server is to end.
    stop: Arc<Signal>,
}

impl TracedTree {
    /// Serves `tree`, which must not change from now on, from a thread of its own.
    ///
    /// The mount belongs to the caller's user namespace, in which `options` name owners.
    ///
    /// # Errors
    /// [`TraceError::Device`], [`TraceError::Mount`], [`TraceError::Start`], [`TraceError::TooOld`].
    pub fn serve(tree: Arc<LayerTree>, options: ServeOptions) -> Result<Self, TraceError> {
        let device = mount::open_device()?;
        let mount = mount::mount(device.as_fd())?;
        let start = |errno: Errno| TraceError::Start { source: errno.into() };
        let stop = Arc::new(Signal::new().map_err(start)?);
        let server = Server::new(tree, options, device);
        let thread = std::thread::Builder::new().name("traced tree".to_owned()).spawn({
            let stop = Arc::clone(&stop);
            move || server.run(&stop)
        });
        let thread = thread.map_err(|source| TraceError::Start { source })?;
        let traced = Self { mount, thread: Some(thread), stop };
        // The kernel has agreed with the server on a protocol only when a first question was answered.
        match mount::probe(&traced.mount) {
            Ok(()) => Ok(traced),
            Err(refused) => Err(traced.finish().err().unwrap_or(refused)),
        }
    }

    /// The root of the mount, which no path leads to: usable as a lower directory of overlay, or to attach somewhere.
    pub fn mount(&self) -> BorrowedFd<'_> {
        self.mount.as_fd()
    }

    /// Ends the server and says what was asked. Who still uses the tree gets `ENOTCONN` from now on.
    ///
    /// # Errors
    /// Whatever voids the record: [`TraceError`] says what there is.
    pub fn finish(mut self) -> Result<Recorded, TraceError> {
        self.end().unwrap_or(Err(TraceError::Ended))
    }

    fn end(&mut self) -> Option<Result<Recorded, TraceError>> {
        let thread = self.thread.take()?;
        if self.stop.give().is_err() {
            return Some(Err(TraceError::Ended));
        }
        Some(thread.join().unwrap_or(Err(TraceError::Ended)))
    }
}

impl Drop for TracedTree {
    fn drop(&mut self) {
        // A record that nobody asked for has no reader, and neither has what voids it.
        let _ = self.end();
    }
}

/// Whether trees can be traced here: the FUSE device can be opened.
///
/// # Errors
/// [`TraceError::Device`] says why not.
pub fn available() -> Result<(), TraceError> {
    mount::open_device().map(drop)
}
