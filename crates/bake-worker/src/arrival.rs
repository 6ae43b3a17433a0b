//! A blob that is read while it comes.
//!
//! Whoever fetches it writes it into the store and says how far that is; a reader follows in the same file, so the two
//! share no memory and neither fast nor slow ones of them need a queue. What is read is not verified before the end:
//! readers publish nothing before [`Arrival::is_complete`].

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Says how far a blob is. Clones speak of the same blob.
#[derive(Debug, Clone, Default)]
pub(crate) struct Arrival(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stage: Stage,
    /// How often what had come turned out to be wrong: bytes that were read before must be forgotten.
    restarts: u64,
}

#[derive(Debug, Default)]
enum Stage {
    /// Nobody has begun to fetch it, or it comes in a way that cannot be followed.
    #[default]
    Awaited,
    /// So many bytes are in this file.
    Coming(Arc<File>, u64),
    /// It is in the store, verified.
    Complete,
    /// It will not come.
    Failed,
}

/// How a blob can be read.
#[derive(Debug)]
pub(crate) enum Source {
    /// While it comes.
    Following(Follower),
    /// From the store.
    Store,
}

impl Arrival {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.0.changed.notify_all();
    }

    /// The blob is being written to `file`, which has `held` bytes of it.
    pub(crate) fn begins(&self, file: File, held: u64) {
        self.change(|state| state.stage = Stage::Coming(Arc::new(file), held));
    }

    /// There are `held` bytes now.
    pub(crate) fn has(&self, held: u64) {
        self.change(|state| {
            if let Stage::Coming(_, before) = &mut state.stage {
                *before = held;
            }
        });
    }

    /// What has come is wrong: it comes again, to be read from the store when it is complete.
    pub(crate) fn starts_over(&self) {
        self.change(|state| *state = State { stage: Stage::Awaited, restarts: state.restarts + 1 });
    }

    /// The blob is in the store.
    pub(crate) fn completes(&self) {
        self.change(|state| state.stage = Stage::Complete);
    }

    /// The blob will not come. What has been completed stays complete.
    pub(crate) fn fails(&self) {
        self.change(|state| {
            if !matches!(state.stage, Stage::Complete) {
                state.stage = Stage::Failed;
            }
        });
    }

    /// Says that the blob will not come if nobody has begun to fetch it.
    pub(crate) fn is_not_begun(&self) {
        self.change(|state| {
            if matches!(state.stage, Stage::Awaited) {
                state.stage = Stage::Failed;
            }
        });
    }

    /// Waits until the blob can be read; `None` when it will not come.
    pub(crate) fn source(&self) -> Option<Source> {
        let mut state = self.lock();
        loop {
            match &state.stage {
                Stage::Coming(file, _) => {
                    let (file, restarts) = (Arc::clone(file), state.restarts);
                    return Some(Source::Following(Follower { arrival: self.clone(), file, offset: 0, restarts }));
                }
                Stage::Complete => return Some(Source::Store),
                Stage::Failed => return None,
                Stage::Awaited => state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Waits for the end: whether the blob is in the store, verified.
    pub(crate) fn is_complete(&self) -> bool {
        let mut state = self.lock();
        loop {
            match state.stage {
                Stage::Complete => return true,
                Stage::Failed => return false,
                _ => state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Whether a reader that began to follow after `restarts` restarts has read bytes that were wrong.
    pub(crate) fn has_restarted_since(&self, restarts: u64) -> bool {
        self.lock().restarts != restarts
    }
}

/// Reads a blob from its start, waiting for what has not come yet. Its end is reached when the blob is verified.
#[derive(Debug)]
pub(crate) struct Follower {
    arrival: Arrival,
    file: Arc<File>,
    offset: u64,
    restarts: u64,
}

impl Follower {
    /// How often the blob had come wrongly when this one began.
    pub(crate) fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Waits until there is something to read, and says how many bytes; 0 at the end.
    fn readable(&self) -> io::Result<u64> {
        let mut state = self.arrival.lock();
        loop {
            if state.restarts != self.restarts {
                return Err(io::Error::other("what has come of the blob is wrong"));
            }
            match &state.stage {
                Stage::Coming(_, held) if *held > self.offset => return Ok(held - self.offset),
                Stage::Complete => return Ok(u64::MAX),
                Stage::Failed => return Err(io::Error::other("the rest of the blob does not come")),
                _ => state = self.arrival.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

impl Read for Follower {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let readable = usize::try_from(self.readable()?).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(readable);
        let count = self.file.read_at(buffer.get_mut(..wanted).unwrap_or_default(), self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn following(arrival: &Arrival) -> Follower {
        match arrival.source() {
            Some(Source::Following(follower)) => follower,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_follower_reads_what_comes_to_the_verified_end() {
        let mut file = tempfile::tempfile().unwrap();
        let arrival = Arrival::default();
        arrival.begins(file.try_clone().unwrap(), 0);
        let content: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let read = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut read = Vec::new();
                following(&arrival).read_to_end(&mut read).map(|_| read)
            });
            let mut held = 0;
            for piece in content.chunks(7001) {
                file.write_all(piece).unwrap();
                held += piece.len() as u64;
                arrival.has(held);
            }
            // Everything is there, but whether it is right is not known: the reader still waits.
            std::thread::sleep(std::time::Duration::from_millis(20));
            assert!(!reader.is_finished());
            arrival.completes();
            reader.join().unwrap()
        });
        assert!(read.unwrap() == content);
        assert!(arrival.is_complete());
        assert!(matches!(arrival.source(), Some(Source::Store)));
    }

    #[test]
    fn a_restart_and_a_failure_end_a_follower() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"wrong").unwrap();
        let arrival = Arrival::default();
        arrival.begins(file.try_clone().unwrap(), 5);
        let mut follower = following(&arrival);
        follower.read_exact(&mut [0; 5]).unwrap();
        arrival.starts_over();
        assert!(follower.read(&mut [0]).is_err());
        assert!(arrival.has_restarted_since(follower.restarts()));
        arrival.fails();
        assert!(arrival.source().is_none() && !arrival.is_complete());
        let arrival = Arrival::default();
        arrival.begins(file, 5);
        arrival.is_not_begun();
        let mut follower = following(&arrival);
        arrival.fails();
        assert!(follower.read(&mut [0]).is_err());
        let arrival = Arrival::default();
        arrival.is_not_begun();
        assert!(!arrival.is_complete());
    }
}
