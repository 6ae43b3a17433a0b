//! An in-process HTTP server on loopback whose answers a test writes, and that can be told to misbehave.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::body::Bytes;

pub use crate::registry::Reply;
use crate::registry::{Answering, Fault, RecordedRequest, Serving};

/// What a server answers to a request and its body, faults aside.
pub type Answer = Box<dyn FnMut(&RecordedRequest, &[u8]) -> Reply + Send>;

struct State {
    faults: Vec<Fault>,
    requests: Vec<RecordedRequest>,
    answer: Answer,
}

impl Answering for State {
    fn faults(&mut self) -> &mut Vec<Fault> {
        &mut self.faults
    }

    fn requests(&mut self) -> &mut Vec<RecordedRequest> {
        &mut self.requests
    }

    fn body_bytes_max(&self) -> Option<u64> {
        None
    }

    fn answer(&mut self, request: &RecordedRequest, body: &Bytes) -> Reply {
        (self.answer)(request, body)
    }
}

/// A server on a free port of 127.0.0.1. It ends when this is dropped.
pub struct FakeService {
    /// Where it listens.
    pub addr: SocketAddr,
    state: Arc<Mutex<State>>,
    _serving: Serving,
}

impl std::fmt::Debug for FakeService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeService").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl FakeService {
    /// Starts a server; `answer` gets the address it listens at.
    pub fn start(answer: impl FnOnce(SocketAddr) -> Answer) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let state = State { faults: Vec::new(), requests: Vec::new(), answer: answer(addr) };
        let state = Arc::new(Mutex::new(state));
        let serving = Serving::start("fake-service", listener, Arc::clone(&state))?;
        Ok(Self { addr, state, _serving: serving })
    }

    /// Lets something go wrong; faults are tried in the order they were added.
    pub fn inject(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// Forgets all faults.
    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// Forgets the requests recorded so far and gives them.
    pub fn take_requests(&self) -> Vec<RecordedRequest> {
        std::mem::take(&mut self.state().requests)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Content, or the part of it that a `Range: bytes=FIRST-` asks for.
pub fn content(request: &RecordedRequest, bytes: &[u8]) -> Reply {
    let first = request.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    match first {
        None => Reply::new(200, bytes.to_vec()),
        Some(first) if first < bytes.len() => Reply::new(206, bytes[first..].to_vec())
            .with("Content-Range", &format!("bytes {first}-{}/{}", bytes.len() - 1, bytes.len())),
        Some(_) => Reply::new(416, Vec::new()).with("Content-Range", &format!("bytes */{}", bytes.len())),
    }
}
