//! Fetching blobs: streamed, resumed by ranges, checked.
//!
//! ```text
//! network task --(buffers of about 1 MiB, at most 4 waiting)--> writer thread: hash + write
//!      ^ on a broken connection: wait, then `Range: bytes=HELD-`
//! ```

use std::time::Duration;

use bake_oci::{Digest, Reference};
use hyper::body::Bytes;
use reqwest::header::{CONTENT_RANGE, HeaderMap};
use reqwest::{Method, Response, StatusCode, Url};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::client::RegistryClient;
use crate::endpoint::{Endpoint, Repository};
use crate::error::{Attempt, Outcome, RegistryError, RegistryFailure, redact};
use crate::options::{Retries, Timeouts};
use crate::retry::Attempts;
use crate::sink::{BlobSink, MemorySink, SinkError};
use crate::transport::Call;

/// How much is gathered before it goes to the writer thread.
const BUFFER_BYTES: usize = 1024 * 1024;
/// How many buffers may wait for the writer thread.
const BUFFERS_AHEAD: usize = 4;
/// How much progress makes a connection that broke count as a new one.
const PROGRESS_BYTES: u64 = 1024 * 1024;

/// The statuses of an answer that [`Fetch`] goes on with.
pub(crate) const FETCH_STATUSES: [StatusCode; 3] =
    [StatusCode::OK, StatusCode::PARTIAL_CONTENT, StatusCode::RANGE_NOT_SATISFIABLE];

/// Which blob to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobDescriptor {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes; never more than this is read.
    pub size_bytes: u64,
}

impl RegistryClient {
    /// Fetches a blob from the repository of `reference` into `sink` (OCI distribution spec, "Pulling blobs").
    ///
    /// What the sink holds already is not fetched again. A broken connection is resumed where it broke; bytes that turn
    /// out wrong although a part of them was held before are fetched once more from the start. `progress` is told the
    /// bytes held, and may be told less than before when a fetch starts over.
    ///
    /// Only the registry (and its mirrors) is asked: URLs in descriptors of foreign layers are not followed.
    pub async fn fetch_blob<S: BlobSink>(
        &self,
        reference: &Reference,
        blob: &BlobDescriptor,
        sink: S,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<S::Output, RegistryError> {
        let work = self.pull_blob(reference, blob, sink, progress);
        self.within_total(reference.registry(), work)
            .await
            .attempt(|| format!("fetch blob `{}` of `{}`", blob.digest, reference.name()))
    }

    /// Fetches a blob of at most `limit_bytes` into memory: image configs and the like.
    pub async fn fetch_small_blob(
        &self,
        reference: &Reference,
        blob: &BlobDescriptor,
        limit_bytes: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        if blob.size_bytes > limit_bytes {
            let what = format!("blob `{}`", blob.digest);
            return Err(Box::new(RegistryFailure::TooLarge { what, limit: limit_bytes }))
                .attempt(|| format!("fetch blob `{}` of `{}`", blob.digest, reference.name()));
        }
        self.fetch_blob(reference, blob, MemorySink::new(), &|_| {}).await
    }

    async fn pull_blob<S: BlobSink>(
        &self,
        reference: &Reference,
        blob: &BlobDescriptor,
        sink: S,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Outcome<S::Output> {
        let repository = Repository::of(reference)?;
        let mut endpoints = self.pull_endpoints(&repository.registry).await?.into_iter().peekable();
        let mut writer = Writer::start(sink, &blob.digest);
        if writer.held > blob.size_bytes {
            writer.restart().await?;
        }
        while let Some(endpoint) = endpoints.next() {
            let open = |held| self.open_blob(&endpoint, &repository, blob, held);
            let retries = self.retries_for(&endpoint);
            let mut fetch = Fetch { open, retries, idle: self.options.timeouts.idle, blob, progress };
            let result = fetch.run(&mut writer).await;
            match result {
                Ok(output) => return Ok(output),
                Err(failure) if endpoints.peek().is_some() && !writer.failed => {
                    tracing::debug!(mirror = endpoint.registry, %failure, "the mirror cannot help");
                    if matches!(*failure, RegistryFailure::DigestMismatch { .. } | RegistryFailure::SizeMismatch { .. })
                    {
                        writer.restart().await?;
                    }
                }
                Err(failure) => return Err(failure),
            }
        }
        Err(RegistryFailure::request("there is no registry to ask"))
    }

    /// Asks an endpoint for the bytes of a blob from `held` on.
    async fn open_blob(
        &self,
        endpoint: &Endpoint,
        repository: &Repository,
        blob: &BlobDescriptor,
        held: u64,
    ) -> Outcome<(Url, Response)> {
        let url = endpoint.url(&format!("{}/blobs/{}", repository.name, blob.digest));
        let call = Call::new(Method::GET, url).from_byte(held);
        let scopes = [repository.scope("pull")];
        let answer = self.request_once(endpoint, &scopes, &call, &FETCH_STATUSES).await?;
        Ok((answer.url, answer.response))
    }
}

/// One blob from one place.
///
/// `open` asks the place for the bytes from an offset on, as [`Call::from_byte`] says it; its answer has one of
/// [`FETCH_STATUSES`].
pub(crate) struct Fetch<'a, O> {
    pub(crate) open: O,
    pub(crate) retries: Retries,
    pub(crate) idle: Duration,
    pub(crate) blob: &'a BlobDescriptor,
    pub(crate) progress: &'a (dyn Fn(u64) + Send + Sync),
}

impl<O, F> Fetch<'_, O>
where
    O: Fn(u64) -> F,
    F: Future<Output = Outcome<(Url, Response)>>,
{
    pub(crate) async fn run<T: Send + 'static>(&mut self, writer: &mut Writer<T>) -> Outcome<T> {
        let resumed = writer.held > 0;
        let mut started_over = false;
        loop {
            self.fill(writer).await?;
            match writer.finish().await {
                // What was held from an earlier run may be what is wrong.
                Err(failure)
                    if resumed && !started_over && matches!(*failure, RegistryFailure::DigestMismatch { .. }) =>
                {
                    started_over = true;
                    writer.restart().await?;
                }
                result => return result,
            }
        }
    }

    /// Fetches until the writer holds all bytes.
    async fn fill<T: Send + 'static>(&mut self, writer: &mut Writer<T>) -> Outcome<()> {
        let mut attempts = Attempts::new(self.retries);
        while writer.held < self.blob.size_bytes {
            let before = writer.held;
            if let Err(failure) = self.fetch_rest(writer).await {
                if writer.held >= before + PROGRESS_BYTES {
                    attempts.restart();
                }
                attempts.wait_after(failure).await?;
            }
        }
        (self.progress)(writer.held);
        Ok(())
    }

    /// One request for the bytes that are missing.
    async fn fetch_rest<T: Send + 'static>(&mut self, writer: &mut Writer<T>) -> Outcome<()> {
        let (url, response) = (self.open)(writer.held).await?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT if writer.held > 0 => {
                self.check_range(&url, response.headers(), writer.held)?;
            }
            StatusCode::PARTIAL_CONTENT => {
                return Err(RegistryFailure::protocol(&url, "it sent a part of a blob that was asked for whole"));
            }
            StatusCode::RANGE_NOT_SATISFIABLE if writer.held == 0 => {
                return Err(RegistryFailure::protocol(&url, "it refused a range that was not asked for"));
            }
            // It cannot resume: from the start, in the next request.
            StatusCode::RANGE_NOT_SATISFIABLE => return writer.restart().await,
            // It ignored the range and sends everything.
            _ if writer.held > 0 => writer.restart().await?,
            _ => {}
        }
        self.receive(&url, response, writer).await
    }

    fn check_range(&self, url: &Url, headers: &HeaderMap, held: u64) -> Outcome<()> {
        let text = headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let Some((first, total)) = parse_content_range(text) else {
            return Err(RegistryFailure::protocol(url, "its `Content-Range` is missing or malformed"));
        };
        if first != held {
            return Err(RegistryFailure::protocol(url, "it sent another range than the one asked for"));
        }
        if let Some(total) = total.filter(|total| *total != self.blob.size_bytes) {
            return Err(self.size_mismatch(total));
        }
        Ok(())
    }

    fn size_mismatch(&self, actual: u64) -> Box<RegistryFailure> {
        let what = format!("blob `{}`", self.blob.digest);
        Box::new(RegistryFailure::SizeMismatch { what, expected: self.blob.size_bytes, actual })
    }

    /// Passes the body on to the writer; never more than the descriptor's size.
    async fn receive<T: Send + 'static>(
        &self,
        url: &Url,
        mut response: Response,
        writer: &mut Writer<T>,
    ) -> Outcome<()> {
        let missing = self.blob.size_bytes - writer.held;
        if let Some(length) = response.content_length().filter(|length| *length != missing) {
            return Err(self.size_mismatch(writer.held.saturating_add(length)));
        }
        let declared = response.content_length().is_some();
        let mut pace = Pace::new(self.idle);
        let mut buffer = Vec::new();
        let mut received: u64 = 0;
        let result = loop {
            let chunk = match tokio::time::timeout(pace.left(), response.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) if received == missing => break Ok(()),
                Ok(Ok(None)) => {
                    let source = std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into();
                    break Err(Box::new(RegistryFailure::Broken { url: redact(url), source }));
                }
                Ok(Err(error)) => break Err(RegistryFailure::from_http(url, error)),
                Err(_) => {
                    let (what, limit) = ("the next part of the blob", pace.window);
                    break Err(Box::new(RegistryFailure::Timeout { url: redact(url), what, limit }));
                }
            };
            received = received.saturating_add(chunk.len() as u64);
            if received > missing {
                break Err(self.size_mismatch(self.blob.size_bytes - missing + received));
            }
            pace.made(chunk.len() as u64);
            if buffer.is_empty() && chunk.len() >= BUFFER_BYTES / 2 {
                writer.write(chunk).await?;
            } else {
                buffer.extend_from_slice(&chunk);
            }
            if buffer.len() >= BUFFER_BYTES {
                writer.write(Bytes::from(std::mem::take(&mut buffer))).await?;
                (self.progress)(writer.held);
            }
            // With a declared length the connection itself sees to it that nothing follows.
            if received == missing && declared {
                break Ok(());
            }
        };
        // What arrived before the connection broke is good as far as it goes: the digest decides in the end.
        // Bytes of a response that is too long are not: there is no telling which of them belong to the blob.
        let keep = !matches!(&result, Err(failure) if matches!(**failure, RegistryFailure::SizeMismatch { .. }));
        if keep && !buffer.is_empty() {
            writer.write(Bytes::from(buffer)).await?;
        }
        result
    }
}

/// Reads `bytes FIRST-LAST/TOTAL`; gives FIRST and TOTAL (RFC 9110, section 14.4).
pub(crate) fn parse_content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let total = match total.trim() {
        "*" => None,
        total => Some(total.parse::<u64>().ok()?),
    };
    (first <= last && total.is_none_or(|total| last < total)).then_some((first, total))
}

/// Watches that a body arrives at a rate worth waiting for.
struct Pace {
    window: Duration,
    ends: Instant,
    bytes: u64,
}

impl Pace {
    fn new(window: Duration) -> Self {
        Self { window, ends: Instant::now() + window, bytes: 0 }
    }

    /// How long the next bytes may take.
    fn left(&self) -> Duration {
        self.ends.saturating_duration_since(Instant::now())
    }

    fn made(&mut self, bytes: u64) {
        self.bytes += bytes;
        if self.bytes >= Timeouts::IDLE_BYTES_MIN {
            *self = Self::new(self.window);
        }
    }
}

enum Order<T> {
    Write(Bytes),
    Restart,
    Finish(oneshot::Sender<Result<T, SinkError>>),
}

/// The thread that owns the sink, and what it has been given.
pub(crate) struct Writer<T> {
    orders: mpsc::Sender<Order<T>>,
    thread: Option<JoinHandle<std::io::Error>>,
    digest: Digest,
    pub(crate) held: u64,
    /// The sink failed; asking anybody else for the bytes does not help.
    failed: bool,
}

impl<T: Send + 'static> Writer<T> {
    pub(crate) fn start<S: BlobSink<Output = T>>(mut sink: S, digest: &Digest) -> Self {
        let (orders, mut inbox) = mpsc::channel(BUFFERS_AHEAD);
        let (held, expected) = (sink.held_bytes(), digest.clone());
        let thread = tokio::task::spawn_blocking(move || {
            while let Some(order) = inbox.blocking_recv() {
                let result = match order {
                    Order::Write(bytes) => sink.write(&bytes),
                    Order::Restart => sink.restart(),
                    Order::Finish(reply) => {
                        // The asker may have been cancelled; then nobody wants the result.
                        let _ = reply.send(sink.finish(&expected));
                        Ok(())
                    }
                };
                if let Err(error) = result {
                    return error;
                }
            }
            std::io::Error::other("the fetch ended")
        });
        Self { orders, thread: Some(thread), digest: digest.clone(), held, failed: false }
    }

    async fn write(&mut self, bytes: Bytes) -> Outcome<()> {
        self.held += bytes.len() as u64;
        self.order(Order::Write(bytes)).await
    }

    pub(crate) async fn restart(&mut self) -> Outcome<()> {
        self.held = 0;
        self.order(Order::Restart).await
    }

    async fn finish(&mut self) -> Outcome<T> {
        let (reply, result) = oneshot::channel();
        self.order(Order::Finish(reply)).await?;
        let what = format!("blob `{}`", self.digest);
        match result.await {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(SinkError::DigestMismatch { actual })) => {
                Err(Box::new(RegistryFailure::DigestMismatch { what, expected: self.digest.clone(), actual }))
            }
            Ok(Err(SinkError::Io(source))) => {
                self.failed = true;
                Err(Box::new(RegistryFailure::Sink { what, source }))
            }
            Err(_) => Err(self.failure().await),
        }
    }

    async fn order(&mut self, order: Order<T>) -> Outcome<()> {
        if self.orders.send(order).await.is_ok() { Ok(()) } else { Err(self.failure().await) }
    }

    /// Why the thread ended.
    async fn failure(&mut self) -> Box<RegistryFailure> {
        self.failed = true;
        let ended = || std::io::Error::other("the writing thread ended");
        let source = match self.thread.take() {
            Some(thread) => thread.await.unwrap_or_else(|_| ended()),
            None => ended(),
        };
        Box::new(RegistryFailure::Sink { what: format!("blob `{}`", self.digest), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        assert_eq!(parse_content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(parse_content_range("bytes 5-9/*"), Some((5, None)));
        for bad in ["", "bytes", "bytes */10", "bytes 9-5/10", "bytes 5-10/10", "bytes -1-2/3", "items 0-1/2"] {
            assert_eq!(parse_content_range(bad), None, "{bad}");
        }
    }
}
