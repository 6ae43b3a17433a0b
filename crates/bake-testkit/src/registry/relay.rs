//! A relay between a client and a server that counts bytes and cuts connections.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How much is passed on at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// How much may have come and not been passed on, which is lost when a connection is cut. The kernel would let it grow to
/// 6 MiB between programs of one machine; 256 KiB are what a line of 20 Mbit/s holds for 100 ms.
const WINDOW_BYTES: usize = 256 * 1024;

/// A direction through the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

#[derive(Debug, Default)]
struct Passed {
    up: u64,
    down: u64,
    /// After how many bytes in which direction the connection that carries them is cut; the next one is last.
    cuts: Vec<(Direction, u64)>,
    cut: usize,
}

impl Passed {
    /// Counts bytes; how many of them are passed on, and whether the connection is cut after these.
    fn pass(&mut self, direction: Direction, bytes: usize) -> (usize, bool) {
        let count = match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        };
        let before = *count;
        *count += bytes as u64;
        let total = *count;
        let Some((_, at)) = self.cuts.last().filter(|(way, at)| *way == direction && total >= *at) else {
            return (bytes, false);
        };
        let passed = usize::try_from(at.saturating_sub(before)).unwrap_or(bytes).min(bytes);
        self.cuts.pop();
        self.cut += 1;
        (passed, true)
    }
}

/// A listener on loopback whose connections lead to a server, until they are cut.
pub struct Relay {
    /// Where it listens.
    pub addr: SocketAddr,
    passed: Arc<Mutex<Passed>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay")
            .field("addr", &self.addr)
            .field("passed", &*locked(&self.passed))
            .finish_non_exhaustive()
    }
}

impl Relay {
    /// Leads to `server`. Whenever one of `cuts` bytes (counted over all connections, in ascending order) have come in
    /// `direction`, the connection they came over is cut in both directions.
    pub fn start(server: SocketAddr, direction: Direction, cuts: &[u64]) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let addr = listener.local_addr()?;
        let cuts = cuts.iter().rev().map(|at| (direction, *at)).collect();
        let passed = Arc::new(Mutex::new(Passed { cuts, ..Passed::default() }));
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, stopped) = (Arc::clone(&passed), Arc::clone(&stop));
        let thread = std::thread::Builder::new().name("relay".to_owned()).spawn(move || {
            for client in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                // Connections that fail are the client's affair.
                let _ = client.and_then(|client| connect(client, server, &shared));
            }
        })?;
        Ok(Self { addr, passed, stop, thread: Some(thread) })
    }

    /// How many bytes came in a direction, those that were not passed on because of a cut included.
    pub fn bytes(&self, direction: Direction) -> u64 {
        let passed = locked(&self.passed);
        match direction {
            Direction::Up => passed.up,
            Direction::Down => passed.down,
        }
    }

    /// How many connections were cut.
    pub fn cut(&self) -> usize {
        locked(&self.passed).cut
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the listener.
        let _ = TcpStream::connect_timeout(&self.addr, Duration::from_secs(1));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn locked(passed: &Mutex<Passed>) -> MutexGuard<'_, Passed> {
    passed.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins to pass bytes on, in threads that end with the connection.
fn connect(client: TcpStream, server: SocketAddr, passed: &Arc<Mutex<Passed>>) -> io::Result<()> {
    let server = TcpStream::connect(server)?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
        rustix::net::sockopt::set_socket_recv_buffer_size(stream, WINDOW_BYTES)?;
    }
    let ways = [(Direction::Up, client.try_clone()?, server.try_clone()?), (Direction::Down, server, client)];
    for (direction, from, to) in ways {
        let passed = Arc::clone(passed);
        std::thread::spawn(move || {
            // An end or a break on one side is passed on to the other.
            let _ = pass_on(direction, &from, &to, &passed);
            for stream in [&from, &to] {
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
    }
    Ok(())
}

fn pass_on(direction: Direction, mut from: &TcpStream, mut to: &TcpStream, passed: &Mutex<Passed>) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let count = from.read(&mut piece)?;
        if count == 0 {
            return Ok(());
        }
        let (kept, cut) = locked(passed).pass(direction, count);
        to.write_all(&piece[..kept])?;
        if cut {
            return count_rest(direction, from, passed);
        }
    }
}

/// Counts what had come when the connection was cut: it has travelled in vain. What the sender has not sent yet has not.
fn count_rest(direction: Direction, from: &TcpStream, passed: &Mutex<Passed>) -> io::Result<()> {
    let rest = rustix::io::ioctl_fionread(from)?;
    let mut passed = locked(passed);
    match direction {
        Direction::Up => passed.up += rest,
        Direction::Down => passed.down += rest,
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_and_connections_are_cut() {
        let server = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let relay = Relay::start(server.local_addr().unwrap(), Direction::Up, &[10, 15]).unwrap();
        let send = |bytes: &[u8]| {
            let mut client = TcpStream::connect(relay.addr).unwrap();
            let (mut accepted, _) = server.accept().unwrap();
            client.write_all(bytes).unwrap();
            let _ = client.shutdown(Shutdown::Write);
            let mut received = Vec::new();
            // The end of a connection that was cut may be an error.
            let _ = accepted.read_to_end(&mut received);
            received.len()
        };
        assert_eq!((send(b"12345678"), relay.cut()), (8, 0));
        assert_eq!((send(b"12345678"), relay.cut()), (2, 1));
        assert_eq!((send(b"12345678"), relay.cut()), (0, 2));
        assert_eq!((send(b"12345678"), relay.cut()), (8, 2));
        assert_eq!((relay.bytes(Direction::Up), relay.bytes(Direction::Down)), (32, 0));
    }
}
