//! A server that answers with exactly the bytes it is told to: for responses no HTTP library would send, and as the
//! attacker's listener that must see no credentials.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::RecordedRequest;

/// The most bytes of a request that are read.
const REQUEST_BYTES_MAX: u64 = 1024 * 1024;

/// A listener on loopback that records requests and answers with fixed bytes, one request per connection.
pub struct RawServer {
    /// Where it listens.
    pub addr: SocketAddr,
    requests: Arc<Mutex<Vec<RecordedRequest>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for RawServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawServer").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl RawServer {
    /// Answers every request with what `answer` makes of it, then closes the connection.
    pub fn start(answer: impl Fn(&RecordedRequest) -> Vec<u8> + Send + 'static) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let addr = listener.local_addr()?;
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (recorded, stopped) = (Arc::clone(&requests), Arc::clone(&stop));
        let thread = std::thread::Builder::new().name("raw-server".to_owned()).spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                // A client that breaks off is its own affair.
                let _ = stream.and_then(|stream| serve(&stream, &recorded, &answer));
            }
        })?;
        Ok(Self { addr, requests, stop, thread: Some(thread) })
    }

    /// An attacker who answers everything with a token, so that nobody stops early.
    pub fn attacker() -> io::Result<Self> {
        Self::start(|_| {
            let body = br#"{"token":"attacker","access_token":"attacker"}"#;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            [head.as_bytes(), body].concat()
        })
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.addr.to_string()
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for RawServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the listener.
        let _ = TcpStream::connect_timeout(&self.addr, Duration::from_secs(1));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(
    stream: &TcpStream,
    recorded: &Mutex<Vec<RecordedRequest>>,
    answer: &impl Fn(&RecordedRequest) -> Vec<u8>,
) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(stream).take(REQUEST_BYTES_MAX);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let mut request = RecordedRequest {
        method: words.next().unwrap_or_default().to_owned(),
        path: words.next().unwrap_or_default().to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
        body_bytes: 0,
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        request.headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let length = request.header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
    reader.take(length).read_to_end(&mut request.body)?;
    request.body_bytes = request.body.len() as u64;
    let bytes = answer(&request);
    recorded.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    (&mut &*stream).write_all(&bytes)
}
