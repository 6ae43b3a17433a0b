//! Sending blobs: look whether it is there, mount it from another repository, or upload it.
//!
//! ```text
//! HEAD blob ------------------------------------------> Existed
//! POST uploads/?mount=&from=  --201-------------------> Mounted
//!        |202 (declined; the session is used)
//!        v
//! PUT session?digest= with the whole body --201-------> Uploaded
//!        |413, 405, 501, 411 (no single upload), or broken twice
//!        v
//! POST uploads/, PATCH chunk, PATCH chunk, ..., PUT --> Uploaded
//! ```

use std::io::{self, Read};
use std::sync::Arc;

use bake_oci::{Digest, Reference};
use hyper::body::Bytes;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RANGE};
use reqwest::{Method, StatusCode, Url};

use crate::client::{RegistryClient, follow};
use crate::endpoint::{Endpoint, Repository, check_repository};
use crate::error::{Attempt, Outcome, RegistryError, RegistryFailure};
use crate::manifests::claimed_digest;
use crate::retry::Attempts;
use crate::transport::{Call, Payload, Reopen};

/// The size of the first chunk, when chunks are needed: chunks of 64 KiB are 16 times slower than chunks of 4 MiB.
const CHUNK_BYTES: usize = 8 * 1024 * 1024;
/// Chunks are halved down to this when a proxy finds them too large (nginx accepts 1 MiB unless told otherwise).
const CHUNK_BYTES_MIN: usize = 256 * 1024;
/// How often an upload in one piece may break before chunks are tried. A proxy that refuses a large body often closes
/// the connection while it is still being sent; its answer is then lost, and all we see is that the connection broke.
const BROKEN_WHOLE_MAX: u32 = 2;
/// The largest chunk a registry may demand: it is held in memory.
const CHUNK_BYTES_MAX: u64 = 64 * 1024 * 1024;

const CHUNK_MIN_LENGTH: HeaderName = HeaderName::from_static("oci-chunk-min-length");
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// How a blob came to be in the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It was there.
    Existed,
    /// The registry took it over from another of its repositories.
    Mounted,
    /// It was sent.
    Uploaded,
}

/// A blob to push.
pub struct BlobSource {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes; `reopen`'s reader must give exactly as many.
    pub size_bytes: u64,
    /// Opens the blob from its start, on a blocking thread; called again when it has to be sent again.
    pub reopen: Box<dyn Fn() -> io::Result<Box<dyn Read + Send>> + Send + Sync>,
    /// A repository of the same registry that is known to hold the blob, such as `library/alpine`.
    pub mount_from: Option<String>,
}

impl std::fmt::Debug for BlobSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobSource")
            .field("digest", &self.digest)
            .field("size_bytes", &self.size_bytes)
            .field("mount_from", &self.mount_from)
            .finish_non_exhaustive()
    }
}

impl RegistryClient {
    /// Makes sure that the repository of `reference` holds the blob (OCI distribution spec, "Pushing blobs" and
    /// "Mounting a blob from another repository").
    ///
    /// A broken upload starts again from the beginning, at most as often as the options say; the chunked form resumes
    /// where it broke. `progress` is not reported: registries acknowledge only whole uploads.
    pub async fn push_blob(&self, reference: &Reference, blob: BlobSource) -> Result<Pushed, RegistryError> {
        let digest = blob.digest.clone();
        let work = self.put_blob(reference, blob);
        self.within_total(reference.registry(), work)
            .await
            .attempt(|| format!("push blob `{digest}` to `{}`", reference.name()))
    }

    /// Whether the repository of `reference` holds the blob; one of another size is an error.
    pub async fn has_blob(
        &self,
        reference: &Reference,
        digest: &Digest,
        size_bytes: u64,
    ) -> Result<bool, RegistryError> {
        let work = async {
            let repository = Repository::of(reference)?;
            let push = Push {
                client: self,
                endpoint: self.endpoint(&repository.registry).await?,
                scopes: vec![repository.scope("pull,push")],
                repository,
                digest: digest.clone(),
                size: size_bytes,
                reopen: Arc::new(|| Err(io::Error::other("nothing is sent"))),
            };
            push.exists().await
        };
        self.within_total(reference.registry(), work)
            .await
            .attempt(|| format!("look for blob `{digest}` in `{}`", reference.name()))
    }

    async fn put_blob(&self, reference: &Reference, blob: BlobSource) -> Outcome<Pushed> {
        let repository = Repository::of(reference)?;
        let endpoint = self.endpoint(&repository.registry).await?;
        let push = Push {
            client: self,
            endpoint,
            scopes: vec![repository.scope("pull,push")],
            repository,
            digest: blob.digest,
            size: blob.size_bytes,
            reopen: Arc::from(blob.reopen),
        };
        let mut mount_from = blob.mount_from.filter(|from| *from != push.repository.name);
        if let Some(from) = &mount_from {
            check_repository(from)?;
        }
        let mut attempts = Attempts::new(self.options.retries);
        let mut chunked = false;
        let mut broken: u32 = 0;
        loop {
            // Asked in each attempt: the upload whose answer got lost may have arrived.
            if push.exists().await? {
                return Ok(Pushed::Existed);
            }
            let session = match mount_from.take() {
                Some(from) => match push.mount(&from).await? {
                    Mount::Done => return Ok(Pushed::Mounted),
                    Mount::Session(session) => session,
                },
                None => push.start_upload().await?,
            };
            let result = if chunked { push.send_chunks(session).await } else { push.send_whole(session).await };
            match result {
                Ok(()) => return Ok(Pushed::Uploaded),
                Err(failure) if !chunked && wants_chunks(&failure) => {
                    tracing::debug!(%failure, "the registry does not take the blob in one piece");
                    chunked = true;
                }
                // The registry forgot the session: that is what broken uploads look like afterwards.
                Err(failure) if !matches!(*failure, RegistryFailure::NotFound { .. }) => {
                    broken += u32::from(matches!(*failure, RegistryFailure::Broken { .. }));
                    attempts.wait_after(failure).await?;
                    chunked |= broken >= BROKEN_WHOLE_MAX && push.size > CHUNK_BYTES_MIN as u64;
                }
                Err(failure) => {
                    let gone = RegistryFailure::Broken {
                        url: push.endpoint.registry.clone(),
                        source: failure.to_string().into(),
                    };
                    attempts.wait_after(Box::new(gone)).await?;
                }
            }
        }
    }
}

/// Whether this answer to a single `PUT` means that the registry, or a proxy before it, needs smaller requests.
fn wants_chunks(failure: &RegistryFailure) -> bool {
    matches!(failure, RegistryFailure::Status { status, .. } if matches!(status.as_u16(), 405 | 411 | 413 | 501))
}

enum Mount {
    Done,
    Session(Session),
}

/// An open upload.
struct Session {
    url: Url,
    /// The smallest chunk the registry takes, but for the last one.
    chunk_bytes_min: usize,
}

impl Session {
    /// The session that an answer's `Location` names, resolved against `from`.
    fn from_answer(from: &Url, headers: &HeaderMap) -> Outcome<Self> {
        Ok(Self { url: follow(from, headers)?, chunk_bytes_min: smallest_chunk(headers) })
    }
}

/// One blob on its way to one repository.
struct Push<'a> {
    client: &'a RegistryClient,
    endpoint: Endpoint,
    repository: Repository,
    scopes: Vec<String>,
    digest: Digest,
    size: u64,
    reopen: Reopen,
}

impl Push<'_> {
    fn blob_url(&self) -> Url {
        self.endpoint.url(&format!("{}/blobs/{}", self.repository.name, self.digest))
    }

    fn uploads_url(&self) -> Url {
        self.endpoint.url(&format!("{}/blobs/uploads/", self.repository.name))
    }

    async fn exists(&self) -> Outcome<bool> {
        let call = Call::new(Method::HEAD, self.blob_url());
        let accepted = [StatusCode::OK, StatusCode::NOT_FOUND];
        let answer = self.client.request(&self.endpoint, &self.scopes, &call, &accepted).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        let length = answer.response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        match length {
            Some(actual) if actual != self.size => Err(Box::new(RegistryFailure::SizeMismatch {
                what: format!("blob `{}` in the registry", self.digest),
                expected: self.size,
                actual,
            })),
            _ => Ok(true),
        }
    }

    /// Asks the registry to take the blob over from `from`. A registry that declines opens an upload session, which is
    /// used; one that refuses the request altogether is asked for an upload instead.
    async fn mount(&self, from: &str) -> Outcome<Mount> {
        let mut url = self.uploads_url();
        url.query_pairs_mut().append_pair("mount", &self.digest.to_string()).append_pair("from", from);
        let call = Call::new(Method::POST, url).payload(Payload::Bytes(Bytes::new()));
        // Without the right to pull the source a registry with tokens does not mount.
        let mut scopes = self.scopes.clone();
        scopes.push(format!("repository:{from}:pull"));
        let accepted = [StatusCode::CREATED, StatusCode::ACCEPTED];
        match self.client.request(&self.endpoint, &scopes, &call, &accepted).await {
            Ok(answer) if answer.status() == StatusCode::CREATED => Ok(Mount::Done),
            Ok(answer) => Session::from_answer(&answer.url, answer.response.headers()).map(Mount::Session),
            Err(failure) if declines_mount(&failure) => {
                tracing::debug!(%failure, "the registry does not mount");
                self.start_upload().await.map(Mount::Session)
            }
            Err(failure) => Err(failure),
        }
    }

    async fn start_upload(&self) -> Outcome<Session> {
        let call = Call::new(Method::POST, self.uploads_url()).payload(Payload::Bytes(Bytes::new()));
        let answer = self.client.request(&self.endpoint, &self.scopes, &call, &[StatusCode::ACCEPTED]).await?;
        Session::from_answer(&answer.url, answer.response.headers())
    }

    /// Sends the whole blob in one request. Not tried again here: a broken upload needs a new session.
    async fn send_whole(&self, session: Session) -> Outcome<()> {
        let payload = if self.size == 0 {
            Payload::Bytes(Bytes::new())
        } else {
            Payload::Reader { size_bytes: self.size, reopen: Arc::clone(&self.reopen) }
        };
        self.close_session(session.url, payload).await
    }

    /// `PUT session?digest=`, with the last bytes or none.
    async fn close_session(&self, mut session: Url, payload: Payload) -> Outcome<()> {
        session.query_pairs_mut().append_pair("digest", &self.digest.to_string());
        let call = Call::new(Method::PUT, session).header(CONTENT_TYPE, OCTETS).payload(payload);
        let accepted = [StatusCode::CREATED, StatusCode::OK, StatusCode::NO_CONTENT];
        let answer = self.client.request_once(&self.endpoint, &self.scopes, &call, &accepted).await?;
        match claimed_digest(&answer.url, answer.response.headers())? {
            Some(actual) if actual != self.digest && actual.algorithm() == self.digest.algorithm() => {
                let what = "the blob that the registry stored".to_owned();
                Err(Box::new(RegistryFailure::DigestMismatch { what, expected: self.digest.clone(), actual }))
            }
            _ => Ok(()),
        }
    }

    /// Sends the blob in chunks; a broken one is sent again from where the registry says it stands.
    async fn send_chunks(&self, session: Session) -> Outcome<()> {
        let mut chunks = Chunks { reopen: Arc::clone(&self.reopen), reader: None, position: 0, size: self.size };
        let mut attempts = Attempts::new(self.client.options.retries);
        let chunk_bytes_min = CHUNK_BYTES_MIN.max(session.chunk_bytes_min);
        let mut chunk_bytes = CHUNK_BYTES.max(chunk_bytes_min);
        let mut session = session.url;
        let mut position: u64 = 0;
        while position < self.size {
            let chunk;
            (chunks, chunk) = chunks.read_at(position, chunk_bytes).await?;
            let end = position + chunk.len() as u64;
            let range = HeaderValue::from_str(&format!("{position}-{}", end - 1)).expect("digits are ASCII");
            let call = Call::new(Method::PATCH, session.clone())
                .header(CONTENT_TYPE, OCTETS)
                .header(CONTENT_RANGE, range)
                .payload(Payload::Bytes(chunk));
            let accepted = [StatusCode::ACCEPTED, StatusCode::NO_CONTENT, StatusCode::CREATED];
            match self.client.request_once(&self.endpoint, &self.scopes, &call, &accepted).await {
                Ok(answer) => {
                    session = follow(&answer.url, answer.response.headers())?;
                    // Registries were seen to accept chunks at the wrong place; their own count tells.
                    let held = held_bytes(answer.response.headers()).unwrap_or(end);
                    if held != end {
                        let reason = format!("it holds {held} bytes of the upload, not {end}");
                        return Err(RegistryFailure::protocol(&answer.url, reason));
                    }
                    position = end;
                    attempts.restart();
                }
                Err(failure) if wants_chunks(&failure) && chunk_bytes > chunk_bytes_min => {
                    chunk_bytes = chunk_bytes_min.max(chunk_bytes / 2);
                }
                Err(failure) => {
                    // As above: a connection that broke may be the answer that the chunk is too large.
                    if matches!(*failure, RegistryFailure::Broken { .. }) {
                        chunk_bytes = chunk_bytes_min.max(chunk_bytes / 2);
                    }
                    attempts.wait_after(failure).await?;
                    (session, position) = self.upload_status(session).await?;
                }
            }
        }
        self.close_session(session, Payload::Bytes(Bytes::new())).await
    }

    /// Where a broken chunked upload stands (OCI distribution spec, "Pushing a blob in chunks").
    async fn upload_status(&self, session: Url) -> Outcome<(Url, u64)> {
        let call = Call::new(Method::GET, session.clone());
        let answer = self.client.exchange(&self.endpoint, &self.scopes, &call).await?;
        if !answer.status().is_success() {
            return Err(self.client.failure(&self.endpoint, answer).await);
        }
        let headers = answer.response.headers();
        let held = held_bytes(headers).unwrap_or(0);
        if held > self.size {
            return Err(RegistryFailure::protocol(&answer.url, "it holds more bytes of the upload than were sent"));
        }
        let session =
            if headers.contains_key(reqwest::header::LOCATION) { follow(&answer.url, headers)? } else { session };
        Ok((session, held))
    }
}

/// Whether this answer to a mount means "not like that" rather than "not at all".
fn declines_mount(failure: &RegistryFailure) -> bool {
    match failure {
        RegistryFailure::Unauthorized { .. } | RegistryFailure::Denied { .. } | RegistryFailure::NotFound { .. } => {
            true
        }
        RegistryFailure::Status { status, .. } => status.is_client_error() || status.as_u16() == 501,
        _ => false,
    }
}

/// How many bytes the registry holds, by the `Range: 0-LAST` of its answer. `0-0` is one byte, or none: registries
/// cannot say "none" in this form, and no chunk has one byte unless the blob has.
fn held_bytes(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(RANGE)?.to_str().ok()?;
    let (first, last) = text.strip_prefix("bytes=").unwrap_or(text).split_once('-')?;
    let last: u64 = last.parse().ok()?;
    (first == "0").then_some(if last == 0 { 0 } else { last.saturating_add(1) })
}

fn smallest_chunk(headers: &HeaderMap) -> usize {
    let asked = headers.get(CHUNK_MIN_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    usize::try_from(asked.unwrap_or(0).min(CHUNK_BYTES_MAX)).unwrap_or(CHUNK_BYTES)
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
        let skipped = io::copy(&mut (&mut reader).take(position - self.position), &mut io::sink())?;
        if self.position + skipped != position {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
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
}
