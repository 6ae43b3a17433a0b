//! Runs a program to its end, with a limit on the time it takes.

use std::io::{self, Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a program may take before it is ended: far more than any of them needs on a slow machine.
pub const TIME_LIMIT: Duration = Duration::from_mins(3);

/// How many ports a server is tried at.
const PORTS_MAX: usize = 5;

/// How often a running program is looked at.
const PAUSE: Duration = Duration::from_millis(10);

/// What a program came to.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error, as text.
    pub stderr: String,
}

impl Finished {
    /// Standard output as text without white space around it.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }

    /// The result of a program that must succeed: itself, or what it said.
    pub fn success(self) -> Result<Self, String> {
        if self.code == Some(0) {
            return Ok(self);
        }
        Err(format!("exit code {:?}\nstdout:\n{}\nstderr:\n{}", self.code, self.text(), self.stderr))
    }
}

/// Runs `command` with nothing on standard input.
pub fn run(command: &mut Command) -> io::Result<Finished> {
    run_with_input(command, Vec::new())
}

/// Runs `command` with `input` on standard input. After [`TIME_LIMIT`] it is killed, and that is an error.
pub fn run_with_input(command: &mut Command, input: Vec<u8>) -> io::Result<Finished> {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    Running::new(child, input).wait(TIME_LIMIT)
}

/// Starts `command` with nothing on standard input and returns while it runs.
pub fn start(command: &mut Command) -> io::Result<Running> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    Ok(Running::new(child, Vec::new()))
}

/// Starts a server that is told by its command line or its files to listen at a port of 127.0.0.1, and returns when it does.
///
/// A port that was free may be somebody else's a moment later, so a server that ends is started again at another one.
pub fn start_server(mut prepare: impl FnMut(SocketAddr) -> io::Result<Command>) -> io::Result<(Running, SocketAddr)> {
    let deadline = Instant::now() + TIME_LIMIT;
    let mut said = String::new();
    for _ in 0..PORTS_MAX {
        let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let mut server = start(&mut prepare(address)?)?;
        while server.is_running() {
            if is_listening(address) && server.is_running() {
                return Ok((server, address));
            }
            if Instant::now() >= deadline {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("no server at {address} in {TIME_LIMIT:?}"),
                ));
            }
            std::thread::sleep(PAUSE);
        }
        said = server.wait(TIME_LIMIT)?.success().err().unwrap_or_default();
    }
    Err(io::Error::other(format!("a server ended at each of {PORTS_MAX} ports: {said}")))
}

/// Whether somebody answers there. A connection from a port to itself, which loopback allows, is nobody.
fn is_listening(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_ok_and(|stream| stream.local_addr().is_ok_and(|own| own != address))
}

/// A program that runs. It is killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: Option<Collected>,
    stderr: Option<Collected>,
}

/// What comes out of a pipe, and the thread that reads it.
#[derive(Debug)]
struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Running {
    fn new(mut child: Child, input: Vec<u8>) -> Self {
        if let Some(mut pipe) = child.stdin.take() {
            // A program that does not read its input closes the pipe; that is its affair.
            std::thread::spawn(move || pipe.write_all(&input));
        }
        let stdout = child.stdout.take().map(collect);
        let stderr = child.stderr.take().map(collect);
        Self { child, stdout, stderr }
    }

    /// Its process ID.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What it wrote to standard error until now.
    pub fn said(&self) -> String {
        self.stderr
            .as_ref()
            .map_or_else(String::new, |stderr| String::from_utf8_lossy(&locked(&stderr.bytes)).into_owned())
    }

    /// Waits for its end, at most for `limit`.
    pub fn wait(mut self, limit: Duration) -> io::Result<Finished> {
        let deadline = Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() >= deadline {
                self.child.kill()?;
                self.child.wait()?;
                let said = String::from_utf8_lossy(&joined(self.stderr.take())).into_owned();
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("it did not end within {limit:?}; it said:\n{said}"),
                ));
            }
            std::thread::sleep(PAUSE);
        };
        let stdout = joined(self.stdout.take());
        let stderr = String::from_utf8_lossy(&joined(self.stderr.take())).into_owned();
        Ok(Finished { code: status.code(), stdout, stderr })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> Collected {
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let reader = std::thread::spawn({
        let bytes = Arc::clone(&bytes);
        move || {
            let mut buffer = vec![0; 64 << 10];
            loop {
                match pipe.read(&mut buffer) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    // What was read before an error is what there is to show.
                    Ok(0) | Err(_) => break,
                    Ok(length) => locked(&bytes).extend_from_slice(&buffer[..length]),
                }
            }
        }
    });
    Collected { bytes, reader }
}

fn joined(collected: Option<Collected>) -> Vec<u8> {
    let Some(Collected { bytes, reader }) = collected else { return Vec::new() };
    // A reader that panicked left what it had read.
    let _ = reader.join();
    std::mem::take(&mut *locked(&bytes))
}

fn locked(bytes: &Mutex<Vec<u8>>) -> std::sync::MutexGuard<'_, Vec<u8>> {
    bytes.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    #[test]
    fn input_goes_through_and_codes_come_back() {
        let finished = run_with_input(Command::new("sh").args(["-c", "cat; echo no >&2; exit 3"]), b"hello".to_vec());
        let finished = finished.unwrap();
        assert_eq!((finished.code, finished.text().as_str(), finished.stderr.trim()), (Some(3), "hello", "no"));
        assert!(finished.success().unwrap_err().contains("exit code Some(3)"));
    }

    #[test]
    fn a_server_that_ends_is_tried_at_other_ports() {
        let mut tried = Vec::new();
        let error = start_server(|address| {
            tried.push(address.port());
            Ok(Command::new("true"))
        });
        assert!(error.unwrap_err().to_string().contains("ended at each"));
        assert_eq!(tried.len(), PORTS_MAX);
    }

    #[test]
    fn what_was_said_is_known_before_the_end() {
        let running = start(Command::new("sh").args(["-c", "echo now >&2; sleep 60"])).unwrap();
        let deadline = Instant::now() + TIME_LIMIT;
        while running.said() != "now\n" && Instant::now() < deadline {
            std::thread::sleep(PAUSE);
        }
        assert_eq!(running.said(), "now\n");
    }

    #[test]
    fn what_takes_too_long_is_ended() {
        let running = start(Command::new("sleep").arg("60")).unwrap();
        let error = running.wait(Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
