//! An in-process registry on loopback that can be told to misbehave.
//!
//! [`FakeRegistry`] speaks the distribution API over HTTP/1.1 and records every request, so that tests can assert what
//! was asked and that nobody saw credentials. [`RawServer`] answers with bytes that no HTTP library would produce;
//! [`Relay`] leads to any of them and cuts connections. All run on threads of their own, so that tests without a runtime can use them, and end when they are dropped.

mod auth;
mod body;
mod fault;
mod handler;
mod raw;
mod relay;
mod state;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use bake_oci::Digest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub use auth::Auth;
pub use fault::{Action, Fault};
pub(crate) use handler::Answering;
pub use handler::Reply;
pub use raw::RawServer;
pub use relay::{Direction, Relay};
use state::State;

/// How a [`FakeRegistry`] behaves when no fault is injected.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is one independent ability of the registry")]
pub struct Config {
    /// What it asks of clients.
    pub auth: Auth,
    /// Whether it mounts blobs from other repositories; otherwise it answers 202 with an upload session.
    pub mounts: bool,
    /// Whether it accepts a whole blob in one `PUT`; otherwise it answers 413 to a `PUT` with a body.
    pub monolithic: bool,
    /// The largest request body it accepts, in bytes; larger ones get 413, as from a proxy before it.
    pub body_bytes_max: Option<u64>,
    /// The smallest chunk it asks for by `OCI-Chunk-Min-Length`.
    pub chunk_bytes_min: Option<u64>,
    /// Whether it keeps what arrived of a request to an upload that broke; otherwise it is as if it had not been made.
    pub keeps_partial_uploads: bool,
    /// Whether it honours `Range`; otherwise it sends whole blobs.
    pub ranges: bool,
    /// Whether it answers the referrers API; otherwise it is 404.
    pub referrers: bool,
    /// The most referrers on a page.
    pub referrers_per_page: usize,
    /// Whether it filters referrers by artifact type.
    pub filters_referrers: bool,
    /// The most tags on a page.
    pub tags_per_page: usize,
    /// Where blobs are redirected to, as `http://host:port`; the path of the request is kept.
    pub redirect_blobs_to: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            auth: Auth::None,
            mounts: true,
            monolithic: true,
            body_bytes_max: None,
            chunk_bytes_min: None,
            keeps_partial_uploads: true,
            ranges: true,
            referrers: true,
            referrers_per_page: 100,
            filters_referrers: true,
            tags_per_page: 100,
            redirect_blobs_to: None,
        }
    }
}

/// A request as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedRequest {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The headers in their order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, cut to 64 KiB.
    pub body: Vec<u8>,
    /// How many bytes of the body arrived.
    pub body_bytes: u64,
}

impl RecordedRequest {
    /// The value of the header `name` (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether `text` occurs anywhere in it.
    pub fn contains(&self, text: &str) -> bool {
        self.path.contains(text)
            || self.headers.iter().any(|(name, value)| name.contains(text) || value.contains(text))
            || String::from_utf8_lossy(&self.body).contains(text)
    }
}

/// A registry on loopback with its content in memory.
pub struct FakeRegistry {
    /// Where it listens.
    pub addr: SocketAddr,
    state: Arc<Mutex<State>>,
    _serving: Serving,
}

impl std::fmt::Debug for FakeRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeRegistry").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl FakeRegistry {
    /// Starts a registry on a free port of 127.0.0.1.
    pub fn start(config: Config) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State::new(config, addr)));
        let serving = Serving::start("fake-registry", listener, Arc::clone(&state))?;
        Ok(Self { addr, state, _serving: serving })
    }

    /// `127.0.0.1:PORT`, the registry part of a reference.
    pub fn host(&self) -> String {
        self.addr.to_string()
    }

    /// The registry's own token server, as a challenge names it.
    pub fn realm(&self) -> String {
        format!("http://{}/token", self.addr)
    }

    /// Puts a blob into a repository.
    pub fn put_blob(&self, repository: &str, bytes: &[u8]) -> Digest {
        self.state().put_blob(repository, bytes.to_vec())
    }

    /// Puts a manifest into a repository, under its digest and `tag`.
    pub fn put_manifest(&self, repository: &str, tag: &str, media_type: &str, bytes: &[u8]) -> Digest {
        self.state().put_manifest(repository, tag, media_type, bytes.to_vec())
    }

    /// The blob with `digest` in a repository.
    pub fn blob(&self, repository: &str, digest: &Digest) -> Option<Vec<u8>> {
        self.state().blob(repository, &digest.to_string()).map(|bytes| bytes.to_vec())
    }

    /// The media type and bytes of a manifest, by tag or digest.
    pub fn manifest(&self, repository: &str, name: &str) -> Option<(String, Vec<u8>)> {
        self.state().manifest(repository, name).map(|found| (found.media_type.clone(), found.bytes.to_vec()))
    }

    /// Lets something go wrong; faults are tried in the order they were added.
    pub fn inject(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// Forgets all faults.
    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// Makes every token invalid that was given out so far.
    pub fn expire_tokens(&self) {
        self.state().tokens.clear();
    }

    /// Changes the behaviour from the next request on.
    pub fn configure(&self, change: impl FnOnce(&mut Config)) {
        change(&mut self.state().config);
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.state().requests.clone()
    }

    /// Forgets the requests recorded so far and gives them.
    pub fn take_requests(&self) -> Vec<RecordedRequest> {
        std::mem::take(&mut self.state().requests)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that serves. It ends when this is dropped.
pub(crate) struct Serving {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    pub(crate) fn start<S: Answering>(
        name: &str,
        listener: std::net::TcpListener,
        state: Arc<Mutex<S>>,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            runtime.block_on(async move {
                tokio::select! {
                    () = serve(listener, state) => {}
                    _ = stopped => {}
                }
            });
            // Connections that are still open must not keep a test from ending.
            runtime.shutdown_background();
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The thread may have ended already.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve<S: Answering>(listener: std::net::TcpListener, state: Arc<Mutex<S>>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(move |request| handler::handle(Arc::clone(&state), request));
            // Broken connections are what faults are about.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
