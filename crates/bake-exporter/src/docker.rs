//! Loading images into a running docker, or podman, by docker's Engine API: `POST /images/load` with a docker archive.
//!
//! Only what that request needs of HTTP/1.1 is here (RFC 9112): a body in chunks, as its length is not known, and an answer
//! in chunks or until the end of the connection.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bake_oci::{Reference, Timestamp};
use serde::Deserialize;

use crate::archive::ArchiveKind;
use crate::cancellable::Cancellable;
use crate::error::ExportError;
use crate::image::{Exporter, Stored};

/// What is sent at once.
const CHUNK_BYTES: usize = 256 << 10;
/// The most bytes of an answer: a few lines for each image.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// The most bytes of a line of it.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// How often it is looked whether the build was cancelled while docker works.
const PATIENCE: Duration = Duration::from_millis(500);

/// Where a docker listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DockerEndpoint {
    /// A socket of this machine.
    Unix(PathBuf),
    /// An unprotected port, as `HOST:PORT`.
    Tcp(String),
}

impl DockerEndpoint {
    /// Where docker listens unless somebody changes it.
    pub fn standard() -> Self {
        Self::Unix("/var/run/docker.sock".into())
    }

    /// What `DOCKER_HOST` says; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(("tcp", address)) => match address.trim_end_matches('/') {
                address if address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) => {
                    Ok(Self::Tcp(address.to_owned()))
                }
                address => Err(format!("`{address}` has no port")),
            },
            Some((scheme @ ("ssh" | "npipe" | "fd" | "http" | "https"), _)) => {
                Err(format!("a docker behind `{scheme}://` is not supported; `unix://` and `tcp://` are"))
            }
            _ => Err(format!("`{text}` is no address of a docker, such as `unix:///var/run/docker.sock`")),
        }
    }

    fn connect(&self) -> io::Result<Connection> {
        match self {
            Self::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Ok(Connection::Unix(stream))
            }
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Ok(Connection::Tcp(stream))
            }
        }
    }
}

impl std::fmt::Display for DockerEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

/// Why a docker did not load an image.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// Nobody listens, or one may not talk to it.
    #[error("cannot connect to docker at `{endpoint}`")]
    Connect {
        /// Where.
        endpoint: DockerEndpoint,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection to docker at `{endpoint}` broke")]
    Broken {
        /// Where.
        endpoint: DockerEndpoint,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It answered with an error.
    #[error("docker at `{endpoint}` did not load the image: {message}")]
    Refused {
        /// Where.
        endpoint: DockerEndpoint,
        /// What it said.
        message: String,
    },
}

impl Exporter {
    /// Loads images whose blobs are in the store into a docker under `names`, and returns what it said of each. Ends early
    /// when `cancelled` is set.
    pub fn to_docker(
        &self,
        stored: &Stored,
        names: &[Reference],
        created: Option<Timestamp>,
        endpoint: &DockerEndpoint,
        cancelled: &AtomicBool,
    ) -> Result<Vec<String>, ExportError> {
        let connection =
            endpoint.connect().map_err(|source| DockerError::Connect { endpoint: endpoint.clone(), source })?;
        let sent = self.send(stored, names, created, &connection, cancelled);
        if cancelled.load(Ordering::Relaxed) {
            return sent.map(|()| Vec::new());
        }
        // Who refuses an image says why and hangs up, which is how sending fails.
        let answer = read_answer(&connection, cancelled);
        match (sent, answer) {
            (_, Ok(Answer::Refused(message))) => {
                Err(DockerError::Refused { endpoint: endpoint.clone(), message }.into())
            }
            (Ok(()), Ok(Answer::Loaded(messages))) => Ok(messages),
            (Err(error), _) => Err(error),
            (Ok(()), Err(source)) => Err(DockerError::Broken { endpoint: endpoint.clone(), source }.into()),
        }
    }

    fn send(
        &self,
        stored: &Stored,
        names: &[Reference],
        created: Option<Timestamp>,
        connection: &Connection,
        cancelled: &AtomicBool,
    ) -> Result<(), ExportError> {
        let head = "POST /images/load?quiet=1 HTTP/1.1\r\nHost: docker\r\nContent-Type: application/x-tar\r\n\
                    Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
        (&*connection).write_all(head.as_bytes()).map_err(ExportError::Write)?;
        let mut chunks = BufWriter::with_capacity(CHUNK_BYTES, Cancellable::new(ChunkWriter(connection), cancelled));
        self.to_archive(stored, names, created, ArchiveKind::Docker, &mut chunks)?;
        chunks.flush().map_err(ExportError::Write)?;
        (&*connection).write_all(b"0\r\n\r\n").map_err(ExportError::Write)
    }
}

/// A connection, of which both directions are used side by side.
#[derive(Debug)]
enum Connection {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Read for &Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Connection::Unix(stream) => (&*stream).read(buffer),
            Connection::Tcp(stream) => (&*stream).read(buffer),
        }
    }
}

impl Write for &Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Connection::Unix(stream) => (&*stream).write(bytes),
            Connection::Tcp(stream) => (&*stream).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The other side notices at once that nothing more comes, also in the middle of an archive.
        let _ = match self {
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

/// Writes each piece as a chunk (RFC 9112, section 7.1).
struct ChunkWriter<'a>(&'a Connection);

impl Write for ChunkWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A chunk without content would be the last one.
        if !bytes.is_empty() {
            let mut out = self.0;
            write!(out, "{:x}\r\n", bytes.len())?;
            out.write_all(bytes)?;
            out.write_all(b"\r\n")?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What docker says.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Loaded(Vec<String>),
    Refused(String),
}

/// Waits for bytes until the build is cancelled: loading a large image takes minutes in which nothing comes.
struct Patient<'a> {
    connection: &'a Connection,
    cancelled: &'a AtomicBool,
}

impl Read for Patient<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut connection = self.connection;
            match connection.read(buffer) {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    if self.cancelled.load(Ordering::Relaxed) {
                        return Err(io::Error::other("the build was cancelled"));
                    }
                }
                read => return read,
            }
        }
    }
}

fn read_answer(connection: &Connection, cancelled: &AtomicBool) -> io::Result<Answer> {
    parse_answer(BufReader::new(Patient { connection, cancelled }.take(ANSWER_BYTES_MAX)))
}

/// A line of the body.
#[derive(Debug, Deserialize)]
struct Progress {
    stream: Option<String>,
    /// How an error is told after the answer has begun.
    error: Option<String>,
    /// How one is told before.
    message: Option<String>,
}

fn parse_answer(mut reader: impl BufRead) -> io::Result<Answer> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "the answer is not one of HTTP");
    let status_line = line(&mut reader)?;
    let status = status_line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse::<u16>().ok());
    let status = status.ok_or_else(invalid)?;
    let mut chunked = false;
    loop {
        let header = line(&mut reader)?.to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        chunked |= header.starts_with("transfer-encoding:") && header.ends_with("chunked");
    }
    let mut body = Vec::new();
    if chunked {
        loop {
            let size = line(&mut reader)?;
            let size = size.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(|_| invalid())?;
            if size == 0 {
                break;
            }
            let wanted = body.len() as u64 + size;
            reader.by_ref().take(size).read_to_end(&mut body)?;
            if body.len() as u64 != wanted || !line(&mut reader)?.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    } else {
        match reader.read_to_end(&mut body) {
            // Who hangs up before everything was sent resets the connection, behind what it had to say.
            Err(error) if status < 400 => return Err(error),
            _ => {}
        }
    }
    Ok(understood(status, &body))
}

fn understood(status: u16, body: &[u8]) -> Answer {
    let mut messages = Vec::new();
    let mut error = None;
    let mut said = None;
    for progress in serde_json::Deserializer::from_slice(body).into_iter::<Progress>().map_while(Result::ok) {
        error = error.or(progress.error);
        said = said.or(progress.message);
        messages.extend(progress.stream.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()));
    }
    match (status, error.or(said)) {
        (200..=299, None) => Answer::Loaded(messages),
        (_, Some(message)) => Answer::Refused(message),
        (status, None) => Answer::Refused(format!("it answers with status {status}")),
    }
}

/// A line without its end.
fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut bytes = Vec::new();
    reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes)?;
    if bytes.pop() != Some(b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a header is not UTF-8"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(DockerEndpoint::parse("unix:///run/x.sock"), Ok(DockerEndpoint::Unix("/run/x.sock".into())));
        assert_eq!(DockerEndpoint::parse("tcp://127.0.0.1:2375/"), Ok(DockerEndpoint::Tcp("127.0.0.1:2375".into())));
        for (text, words) in [
            ("ssh://host", "ssh://"),
            ("tcp://host", "no port"),
            ("/run/x.sock", "no address"),
            ("unix://relative", "no address"),
        ] {
            let error = DockerEndpoint::parse(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn answers_are_understood() {
        let loaded = |text: &str| Answer::Loaded(vec![text.to_owned()]);
        let refused = |text: &str| Answer::Refused(text.to_owned());
        for (text, expected) in [
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1c\r\n{\"stream\":\"Loaded image: a\\n\r\n\
                 4\r\n\"}\r\n\r\n0\r\n\r\n",
                loaded("Loaded image: a"),
            ),
            ("HTTP/1.0 200 OK\r\n\r\n{\"stream\":\"Loaded image: a\"}\n", loaded("Loaded image: a")),
            ("HTTP/1.1 200 OK\r\n\r\n", Answer::Loaded(Vec::new())),
            ("HTTP/1.1 200 OK\r\n\r\n{\"stream\":\"x\"}{\"error\":\"no space\"}", refused("no space")),
            ("HTTP/1.1 500 Error\r\n\r\n{\"message\":\"broken\"}", refused("broken")),
            ("HTTP/1.1 404 Not Found\r\n\r\nnothing here", refused("it answers with status 404")),
        ] {
            assert_eq!(parse_answer(text.as_bytes()).unwrap(), expected, "{text}");
        }
        for text in
            ["", "SSH-2.0\r\n\r\n", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"]
        {
            assert!(parse_answer(text.as_bytes()).is_err(), "{text}");
        }
    }
}
