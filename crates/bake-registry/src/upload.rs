//! One upload session: sending a blob's bytes, and going on where it broke.
//!
//! ```text
//! small:  PUT session?digest= with all bytes
//! large:  PATCH session with all bytes, PUT session?digest=        what docker sends; every registry takes it
//!           | broken: GET session says how much arrived; PATCH the rest
//!           | 413, or broken twice without anything having arrived
//!           v
//!         PATCH chunk, PATCH chunk, ..., PUT session?digest=
//! ```
//!
//! Registries differ in what they keep of a request that broke: everything that arrived, nothing, or not even the
//! session. All three are lived with; the last one costs a new session from the first byte.

use std::io::{self, Read};
use std::sync::Arc;

use bake_oci::Digest;
use hyper::body::Bytes;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RANGE};
use reqwest::{Method, StatusCode, Url};

use crate::client::{RegistryClient, follow};
use crate::endpoint::Endpoint;
use crate::error::{Outcome, RegistryFailure};
use crate::manifests::claimed_digest;
use crate::retry::Attempts;
use crate::transport::{Call, Payload, Reopen};

/// Blobs up to this size go in one `PUT`: that saves a request, and there is little to resume.
const PUT_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The size of the first chunk, when chunks are needed: chunks of 64 KiB are 16 times slower than chunks of 4 MiB.
const CHUNK_BYTES: usize = 8 * 1024 * 1024;
/// Chunks are halved down to this when a proxy finds them too large (nginx accepts 1 MiB unless told otherwise).
const CHUNK_BYTES_MIN: usize = 256 * 1024;
/// The largest chunk a registry may demand: it is held in memory.
const CHUNK_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How often a large request may break, with nothing of it having arrived, before chunks are tried. A proxy that refuses
/// a large body often closes the connection while it is still being sent; its answer is then lost, and all we see is
/// that the connection broke.
const BROKEN_WHOLE_MAX: u32 = 2;
/// How much must have arrived for a request that broke to count as progress.
const PROGRESS_BYTES: u64 = 1024 * 1024;

const CHUNK_MIN_LENGTH: HeaderName = HeaderName::from_static("oci-chunk-min-length");
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// How the bytes travel. Kept from one session to the next, so that what was learnt is not learnt again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// In the request that ends the session, or what is missing in a `PATCH` if a part has arrived.
    Put {
        /// How many such requests broke without anything having arrived.
        broken: u32,
    },
    /// All that are missing in one `PATCH`.
    Stream {
        /// How many such requests broke without progress.
        broken: u32,
    },
    /// So many in each `PATCH`.
    Chunks {
        /// The size of the next chunk.
        bytes: usize,
    },
}

impl Form {
    /// The form to begin with for a blob of this size.
    pub(crate) fn of_size(size_bytes: u64) -> Self {
        if size_bytes <= PUT_BYTES_MAX { Self::Put { broken: 0 } } else { Self::Stream { broken: 0 } }
    }

    /// The form to try after a registry, or a proxy before it, has refused this one; `None` when none is left.
    fn after_refusal(self, status: StatusCode, chunk_bytes_min: usize) -> Option<Self> {
        match self {
            Self::Stream { .. } if matches!(status.as_u16(), 405 | 501) => Some(Self::Put { broken: 0 }),
            Self::Stream { .. } | Self::Put { .. } => Some(Self::Chunks { bytes: CHUNK_BYTES.max(chunk_bytes_min) }),
            Self::Chunks { bytes } if bytes > chunk_bytes_min => {
                Some(Self::Chunks { bytes: chunk_bytes_min.max(bytes / 2) })
            }
            Self::Chunks { .. } => None,
        }
    }

    /// The form to go on with after a request broke of which `arrived` bytes arrived.
    fn after_break(self, arrived: u64, size: u64, chunk_bytes_min: usize) -> Self {
        match self {
            Self::Stream { .. } if arrived >= PROGRESS_BYTES => self,
            Self::Put { .. } if arrived > 0 || size <= CHUNK_BYTES_MIN as u64 => self,
            Self::Stream { broken } if broken + 1 < BROKEN_WHOLE_MAX => Self::Stream { broken: broken + 1 },
            Self::Put { broken } if broken + 1 < BROKEN_WHOLE_MAX => Self::Put { broken: broken + 1 },
            // From now on a break costs a chunk at most.
            Self::Stream { .. } | Self::Put { .. } => Self::Chunks { bytes: CHUNK_BYTES.max(chunk_bytes_min) },
            Self::Chunks { .. } if arrived > 0 => self,
            // As above: that it broke may be the answer that the chunk is too large.
            Self::Chunks { bytes } => Self::Chunks { bytes: chunk_bytes_min.max(bytes / 2) },
        }
    }
}

/// An open upload.
#[derive(Debug)]
pub(crate) struct Session {
    url: Url,
    /// The smallest chunk the registry takes, but for the last one.
    chunk_bytes_min: usize,
}

impl Session {
    /// The session that an answer's `Location` names, resolved against `from`.
    pub(crate) fn from_answer(from: &Url, headers: &HeaderMap) -> Outcome<Self> {
        Ok(Self { url: follow(from, headers)?, chunk_bytes_min: smallest_chunk(headers) })
    }
}

/// What became of a session.
#[derive(Debug)]
pub(crate) enum Sent {
    /// The registry has the blob.
    All,
    /// The session is of no more use; this is why. A new one may do better.
    SessionLost(Box<RegistryFailure>),
}

/// A blob on its way into a session.
pub(crate) struct Upload<'a> {
    pub(crate) client: &'a RegistryClient,
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) scopes: &'a [String],
    pub(crate) digest: &'a Digest,
    pub(crate) size: u64,
    pub(crate) reopen: &'a Reopen,
}

/// Where a session stands.
struct Position {
    url: Url,
    held: u64,
}

/// What the registry says about a session after a request that broke.
enum Status {
    At(Position),
    Lost(Box<RegistryFailure>),
}

impl Upload<'_> {
    /// Sends the whole blob. Failures that pass are tried again within the session as `attempts` allows; progress makes
    /// it count anew.
    pub(crate) async fn send(&self, session: Session, form: &mut Form, attempts: &mut Attempts) -> Outcome<Sent> {
        let chunk_bytes_min = CHUNK_BYTES_MIN.max(session.chunk_bytes_min);
        if let Form::Chunks { bytes } = form {
            *bytes = chunk_bytes_min.max(*bytes);
        }
        let mut chunks = Chunks { reopen: Arc::clone(self.reopen), reader: None, position: 0, size: self.size };
        let mut position = Position { url: session.url, held: 0 };
        loop {
            let missing = self.size - position.held;
            let sent = if missing == 0 {
                self.close(&position.url, Payload::Bytes(Bytes::new())).await.map(|()| None)
            } else if matches!(*form, Form::Put { .. }) && position.held == 0 {
                self.close(&position.url, self.payload_from(0)).await.map(|()| None)
            } else if let Form::Chunks { bytes } = *form {
                let chunk;
                (chunks, chunk) = chunks.read_at(position.held, bytes).await?;
                let length = chunk.len() as u64;
                self.patch(&position, length, Payload::Bytes(chunk)).await.map(Some)
            } else {
                self.patch(&position, missing, self.payload_from(position.held)).await.map(Some)
            };
            let failure = match sent {
                Ok(None) => return Ok(Sent::All),
                Ok(Some(Status::At(next))) => {
                    position = next;
                    attempts.restart();
                    continue;
                }
                Ok(Some(Status::Lost(failure))) => return Ok(Sent::SessionLost(failure)),
                Err(failure) => failure,
            };
            let before = position.held;
            if let Some(status) = refusal_of_size(&failure) {
                let Some(next) = form.after_refusal(status, chunk_bytes_min) else { return Err(failure) };
                tracing::debug!(%failure, ?next, "the registry does not take the bytes in this form");
                *form = next;
            } else if is_out_of_step(&failure) {
                attempts.wait_after(as_broken(&failure)).await?;
            } else if matches!(*failure, RegistryFailure::NotFound { .. }) {
                // The registry forgot the session: that is what broken uploads look like afterwards.
                return Ok(Sent::SessionLost(failure));
            } else {
                let broken = matches!(*failure, RegistryFailure::Broken { .. });
                attempts.wait_after(failure).await?;
                if broken && self.size > 0 {
                    position = match self.status(position).await? {
                        Status::At(position) => position,
                        Status::Lost(failure) => {
                            *form = form.after_break(0, self.size, chunk_bytes_min);
                            return Ok(Sent::SessionLost(failure));
                        }
                    };
                    *form = form.after_break(position.held.saturating_sub(before), self.size, chunk_bytes_min);
                    if position.held >= before + PROGRESS_BYTES {
                        attempts.restart();
                    }
                    continue;
                }
            }
            position = match self.status(position).await? {
                Status::At(position) => position,
                Status::Lost(failure) => return Ok(Sent::SessionLost(failure)),
            };
        }
    }

    /// The bytes from `offset` to the end.
    fn payload_from(&self, offset: u64) -> Payload {
        if self.size == offset {
            return Payload::Bytes(Bytes::new());
        }
        let reopen = Arc::clone(self.reopen);
        let reopen: Reopen = Arc::new(move || {
            let mut reader = reopen()?;
            skip(&mut reader, offset)?;
            Ok(reader)
        });
        Payload::Reader { size_bytes: self.size - offset, reopen }
    }

    /// `PATCH session` with `length` bytes for where it stands. Not tried again here.
    async fn patch(&self, position: &Position, length: u64, payload: Payload) -> Outcome<Status> {
        let end = position.held + length;
        let mut call = Call::new(Method::PATCH, position.url.clone()).header(CONTENT_TYPE, OCTETS).payload(payload);
        // The whole blob goes without a range, as docker sends it: not every registry knows ranges.
        if length < self.size {
            let range = HeaderValue::from_str(&format!("{}-{}", position.held, end - 1)).expect("digits are ASCII");
            call = call.header(CONTENT_RANGE, range);
        }
        let accepted = [StatusCode::ACCEPTED, StatusCode::NO_CONTENT, StatusCode::CREATED];
        let answer = self.client.request_once(self.endpoint, self.scopes, &call, &accepted).await?;
        let url = follow(&answer.url, answer.response.headers())?;
        // Registries were seen to accept chunks at the wrong place; their own count tells.
        let held = held_bytes(answer.response.headers()).unwrap_or(end);
        if held > end || held <= position.held {
            let reason = format!("it holds {held} bytes of the upload, not {end}");
            return Ok(Status::Lost(RegistryFailure::protocol(&answer.url, reason)));
        }
        Ok(Status::At(Position { url, held }))
    }

    /// `PUT session?digest=`, with the last bytes or none. Not tried again here.
    async fn close(&self, session: &Url, payload: Payload) -> Outcome<()> {
        let mut url = session.clone();
        url.query_pairs_mut().append_pair("digest", &self.digest.to_string());
        let call = Call::new(Method::PUT, url).header(CONTENT_TYPE, OCTETS).payload(payload);
        let accepted = [StatusCode::CREATED, StatusCode::OK, StatusCode::NO_CONTENT];
        let answer = self.client.request_once(self.endpoint, self.scopes, &call, &accepted).await?;
        match claimed_digest(&answer.url, answer.response.headers())? {
            Some(actual) if actual != *self.digest && actual.algorithm() == self.digest.algorithm() => {
                let what = "the blob that the registry stored".to_owned();
                Err(Box::new(RegistryFailure::DigestMismatch { what, expected: self.digest.clone(), actual }))
            }
            _ => Ok(()),
        }
    }

    /// Asks where the session stands (OCI distribution spec, "Pushing a blob in chunks").
    async fn status(&self, position: Position) -> Outcome<Status> {
        let call = Call::new(Method::GET, position.url.clone());
        let accepted = [StatusCode::NO_CONTENT, StatusCode::OK, StatusCode::ACCEPTED];
        let answer = match self.client.request(self.endpoint, self.scopes, &call, &accepted).await {
            Ok(answer) => answer,
            Err(failure) if is_refusal(&failure) => return Ok(Status::Lost(failure)),
            Err(failure) => return Err(failure),
        };
        let headers = answer.response.headers();
        let url = if headers.contains_key(LOCATION) { follow(&answer.url, headers)? } else { position.url };
        match held_bytes(headers) {
            Some(held) if held <= self.size => Ok(Status::At(Position { url, held })),
            Some(_) => {
                let reason = "it holds more bytes of the upload than were sent";
                Ok(Status::Lost(RegistryFailure::protocol(&answer.url, reason)))
            }
            None => Ok(Status::Lost(RegistryFailure::protocol(&answer.url, "it does not say how much arrived"))),
        }
    }
}

/// A failure that may pass, made of one that is final only for the request it answers.
pub(crate) fn as_broken(failure: &RegistryFailure) -> Box<RegistryFailure> {
    let url = match failure {
        RegistryFailure::NotFound { url, .. }
        | RegistryFailure::Status { url, .. }
        | RegistryFailure::Protocol { url, .. } => url.clone(),
        _ => String::from("the upload"),
    };
    Box::new(RegistryFailure::Broken { url, source: failure.to_string().into() })
}

/// The status, if this answer means that the registry, or a proxy before it, wants the bytes in another form.
fn refusal_of_size(failure: &RegistryFailure) -> Option<StatusCode> {
    match failure {
        RegistryFailure::Status { status, .. } if matches!(status.as_u16(), 405 | 411 | 413 | 501) => Some(*status),
        _ => None,
    }
}

/// Whether the registry holds another number of bytes than we think.
fn is_out_of_step(failure: &RegistryFailure) -> bool {
    matches!(failure, RegistryFailure::Status { status, .. } if *status == StatusCode::RANGE_NOT_SATISFIABLE)
}

/// Whether this answer to a question about a session says that it cannot be gone on with.
fn is_refusal(failure: &RegistryFailure) -> bool {
    match failure {
        RegistryFailure::NotFound { .. } => true,
        RegistryFailure::Status { status, .. } => status.is_client_error() || status.as_u16() == 501,
        _ => false,
    }
}

/// How many bytes the registry holds, by the `Range: 0-LAST` of its answer. `0-0` is one byte, or none: registries
/// cannot say "none" in this form, and no chunk has one byte unless the blob has.
pub(crate) fn held_bytes(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(RANGE)?.to_str().ok()?;
    let (first, last) = text.strip_prefix("bytes=").unwrap_or(text).split_once('-')?;
    let last: u64 = last.parse().ok()?;
    (first == "0").then_some(if last == 0 { 0 } else { last.saturating_add(1) })
}

fn smallest_chunk(headers: &HeaderMap) -> usize {
    let asked = headers.get(CHUNK_MIN_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    usize::try_from(asked.unwrap_or(0).min(CHUNK_BYTES_MAX)).unwrap_or(CHUNK_BYTES)
}

fn skip(reader: &mut dyn Read, bytes: u64) -> io::Result<()> {
    if io::copy(&mut reader.take(bytes), &mut io::sink())? == bytes {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// The blob as chunks at any position; going back reopens it.
struct Chunks {
    reopen: Reopen,
    reader: Option<Box<dyn Read + Send>>,
    position: u64,
    size: u64,
}

impl Chunks {
    async fn read_at(mut self, position: u64, bytes: usize) -> Outcome<(Self, Bytes)> {
        let fail = |source| Box::new(RegistryFailure::Source { what: "the blob to send".to_owned(), source });
        let task = tokio::task::spawn_blocking(move || {
            let chunk = self.read(position, bytes)?;
            Ok::<_, io::Error>((self, chunk))
        });
        task.await.unwrap_or_else(|_| Err(io::Error::other("the reading thread ended"))).map_err(fail)
    }

    fn read(&mut self, position: u64, bytes: usize) -> io::Result<Bytes> {
        if self.position > position {
            self.reader = None;
        }
        let mut reader = if let Some(reader) = self.reader.take() {
            reader
        } else {
            self.position = 0;
            (self.reopen)()?
        };
        skip(&mut reader, position - self.position)?;
        let left = usize::try_from(self.size - position).unwrap_or(usize::MAX);
        let mut chunk = vec![0; bytes.min(left)];
        reader.read_exact(&mut chunk)?;
        self.position = position + chunk.len() as u64;
        self.reader = Some(reader);
        Ok(Bytes::from(chunk))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;

    #[test]
    fn upload_positions() {
        let held = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, text.parse().unwrap());
            held_bytes(&headers)
        };
        assert_eq!(held("0-99"), Some(100));
        assert_eq!(held("bytes=0-99"), Some(100));
        assert_eq!(held("0-0"), Some(0));
        assert_eq!(held("5-99"), None);
        assert_eq!(held("garbage"), None);
        assert_eq!(held(&format!("0-{}", u64::MAX)), Some(u64::MAX));
    }

    #[test]
    fn forms_that_are_refused_or_break_lead_to_others_and_end() {
        let refused = |form: Form, status| form.after_refusal(StatusCode::from_u16(status).unwrap(), CHUNK_BYTES_MIN);
        let mut form = Form::of_size(1 << 30);
        let mut tried = 0;
        while let Some(next) = refused(form, if tried == 0 { 405 } else { 413 }) {
            (form, tried) = (next, tried + 1);
        }
        assert_eq!((form, tried), (Form::Chunks { bytes: CHUNK_BYTES_MIN }, 7));
        // A registry that keeps what arrives is never sent chunks.
        let mut form = Form::of_size(1 << 30);
        for _ in 0..20 {
            form = form.after_break(50 << 20, 1 << 30, CHUNK_BYTES_MIN);
        }
        assert_eq!(form, Form::Stream { broken: 0 });
        // One that keeps nothing is.
        form = form.after_break(0, 1 << 30, CHUNK_BYTES_MIN).after_break(0, 1 << 30, CHUNK_BYTES_MIN);
        assert_eq!(form, Form::Chunks { bytes: CHUNK_BYTES });
        assert_eq!(form.after_break(1, 1 << 30, CHUNK_BYTES_MIN), form);
        assert_eq!(form.after_break(0, 1 << 30, CHUNK_BYTES_MIN), Form::Chunks { bytes: CHUNK_BYTES / 2 });
    }
}
