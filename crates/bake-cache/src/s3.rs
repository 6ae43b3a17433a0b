//! Caches in object stores that speak the protocol of Amazon S3.
//!
//! 1. A blob is an object named after its digest, the document one named after the cache ([`S3Options`] shows the keys).
//! 2. `HEAD` says whether a blob is there; old ones are copied onto themselves, so that they look new.
//! 3. Blobs up to 64 MiB are sent by one `PUT`, larger ones in parts ("Multipart upload overview" of the S3 user guide).
//!    Every payload's SHA-256 digest is part of the signature, so the service refuses bytes that changed on the way.
//! 4. The document is written last, under each name.
//!
//! What an interrupted program leaves is an unfinished multipart upload; a lifecycle rule with
//! `AbortIncompleteMultipartUpload` removes those of programs that were killed.

mod options;
mod sign;

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bake_oci::{Digest, Timestamp};
use bake_registry::http::{Call, Payload, parse_http_date};
use bake_registry::{Messages, RegistryFailure};
use bake_store::{BlobDescriptor, Store};
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, ETAG, HeaderName, HeaderValue, LAST_MODIFIED};
use reqwest::{Method, Response, StatusCode, Url};
use tokio::sync::Semaphore;

pub use options::{S3Options, S3RetryMode};
pub use sign::S3Credentials;

use crate::backend::{Backend, BackendError, DOCUMENT_BYTES_MAX, Progress};
use crate::service::{Connection, Outcome, Service, at_once, missing_of, reporting};
use crate::store_sink::StoreSink;
use crate::upload::{Part, Upload};
use crate::xml;

/// The largest object that can be copied by one request ("`CopyObject`" of the S3 API reference).
const COPY_BYTES_MAX: u64 = 5 << 30;
/// The largest answer that is read of requests other than `GET` of an object.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// How long a failed or cancelled export may take to abort its multipart uploads.
const ABORT: Duration = Duration::from_secs(1);
/// What blobs are to the service.
const OCTETS: &str = "application/octet-stream";
/// The SHA-256 digest of nothing.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A cache in a bucket.
#[derive(Debug)]
pub struct S3Backend {
    options: S3Options,
    bucket_url: Url,
    service: Service,
}

impl S3Backend {
    /// Makes a client; nothing is connected yet.
    pub fn new(options: S3Options, connection: Connection<'_>) -> Result<Self, BackendError> {
        let bucket_url = options.bucket_url()?;
        let holds_back = options.retry_mode == S3RetryMode::Adaptive;
        let service = Service::new(connection, options.retry_max_attempts, holds_back).map_err(|error| {
            let (action, name) = ("connect to", format!("s3 {}", options.bucket));
            BackendError { action, name, source: error.into() }
        })?;
        Ok(Self { options, bucket_url, service })
    }

    fn failed(&self, action: &'static str) -> impl Fn(Box<RegistryFailure>) -> BackendError {
        move |source| BackendError { action, name: self.name(), source }
    }

    fn block_on<T>(&self, work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
        self.service.block_on(self.service.unless_cancelled(work))
    }

    fn blob_key(&self, digest: &Digest) -> String {
        format!("{}{}{digest}", self.options.prefix, self.options.blobs_prefix)
    }
}

impl Backend for S3Backend {
    fn name(&self) -> String {
        let name = self.options.names.first().map_or("", String::as_str);
        format!("s3 {}/{}", self.options.bucket, self.options.document_key(name))
    }

    fn read_document(&self) -> Result<Option<Vec<u8>>, BackendError> {
        let name = self.options.names.first().map_or("", String::as_str);
        let key = self.options.document_key(name);
        let read = self.service.retrying(async || {
            let (url, response) = match self.request(Ask::new(Method::GET, &key), &[StatusCode::OK]).await {
                Ok(answer) => answer,
                // A bucket that does not exist is a mistake, a cache that does not exist yet is none.
                Err(failure) => match &*failure {
                    RegistryFailure::NotFound { messages, .. } if !messages.has_code("NoSuchBucket") => {
                        return Ok(None);
                    }
                    _ => return Err(failure),
                },
            };
            let client = &self.service.client;
            client.read_small(&url, response, DOCUMENT_BYTES_MAX, "the description of the cache").await.map(Some)
        });
        self.block_on(read).map_err(self.failed("read the cache of"))
    }

    fn fetch_blob(&self, blob: &BlobDescriptor, store: &Store, progress: &Progress<'_>) -> Result<(), BackendError> {
        let action = "fetch a blob of";
        let opened = StoreSink::open(store, blob, || !self.service.is_cancelled());
        let Some(sink) = opened.map_err(self.failed(action))? else { return Ok(()) };
        let key = self.blob_key(&blob.digest);
        let wanted = bake_registry::BlobDescriptor { digest: blob.digest.clone(), size_bytes: blob.size_bytes };
        let told = |bytes| progress(blob, bytes);
        let accepted = [StatusCode::OK, StatusCode::PARTIAL_CONTENT, StatusCode::RANGE_NOT_SATISFIABLE];
        let open = |held| self.request(Ask { from_byte: held, ..Ask::new(Method::GET, &key) }, &accepted);
        let fetch = self.service.client.fetch(&wanted, sink, &told, open);
        self.block_on(fetch).map_err(self.failed(action))
    }

    fn missing(&self, blobs: &[BlobDescriptor]) -> Result<Vec<BlobDescriptor>, BackendError> {
        let is_there = async |blob: &BlobDescriptor| {
            let found = self.head(&self.blob_key(&blob.digest)).await?;
            Ok(found.is_some_and(|(size_bytes, _)| size_bytes == blob.size_bytes))
        };
        let missing = missing_of(blobs, self.options.upload_parallelism, is_there);
        self.block_on(missing).map_err(self.failed("look for blobs in the cache of"))
    }

    fn write(
        &self,
        document: &[u8],
        blobs: &[BlobDescriptor],
        store: &Store,
        progress: &Progress<'_>,
    ) -> Result<(), BackendError> {
        let writing = Writing {
            backend: self,
            store,
            progress,
            permits: Semaphore::new(self.options.upload_parallelism.max(1)),
            unfinished: Mutex::default(),
        };
        self.service.block_on(writing.write(document, blobs)).map_err(self.failed("write the cache of"))
    }
}

/// One request to the bucket.
#[derive(Clone)]
struct Ask<'a> {
    method: Method,
    key: &'a str,
    /// Sorted by name.
    query: Vec<(&'static str, String)>,
    /// Headers that are signed: names in lower case.
    headers: Vec<(&'static str, String)>,
    from_byte: u64,
    payload: Payload,
    payload_sha256: String,
}

impl<'a> Ask<'a> {
    fn new(method: Method, key: &'a str) -> Self {
        Self {
            method,
            key,
            query: Vec::new(),
            headers: Vec::new(),
            from_byte: 0,
            payload: Payload::None,
            payload_sha256: EMPTY_SHA256.to_owned(),
        }
    }

    fn bytes(self, bytes: Vec<u8>) -> Self {
        let payload_sha256 = Digest::of(&bytes).hex().to_owned();
        Self { payload: Payload::Bytes(bytes.into()), payload_sha256, ..self }
    }
}

impl S3Backend {
    /// Sends one request, once; a status outside `accepted` is a failure.
    async fn request(&self, ask: Ask<'_>, accepted: &[StatusCode]) -> Outcome<(Url, Response)> {
        let call = self.signed(ask)?;
        let response = self.service.send(&call).await?;
        if accepted.contains(&response.status()) {
            return Ok((call.url, response));
        }
        let region = response.headers().get("x-amz-bucket-region").and_then(|value| value.to_str().ok());
        let elsewhere = region.filter(|region| *region != self.options.region);
        let hint = elsewhere.map(|region| format!("; the bucket is in the region `{region}`")).unwrap_or_default();
        let messages = |body: &[u8]| match (xml::error(body), hint.as_str()) {
            (Some(said), "") => said,
            (Some(said), hint) => {
                let first = said.as_slice().first();
                let (code, message) = first.map_or(("", ""), |said| (said.code.as_str(), said.message.as_str()));
                Messages::one(code, &format!("{message}{hint}"))
            }
            (None, "") => Messages::default(),
            (None, hint) => Messages::one("", hint.trim_start_matches("; ")),
        };
        let failure = self.service.client.failure_of(&call.url, response, messages).await;
        Err(match *failure {
            // The service waited for bytes in vain: the connection was too slow, not the request wrong.
            RegistryFailure::Status { ref url, ref messages, .. } if messages.has_code("RequestTimeout") => {
                Box::new(RegistryFailure::Broken { url: url.clone(), source: failure.to_string().into() })
            }
            _ => failure,
        })
    }

    /// The call for a request, signed now.
    fn signed(&self, ask: Ask<'_>) -> Outcome<Call> {
        let mut url = self.bucket_url.clone();
        url.set_path(&format!("{}{}", self.bucket_url.path(), sign::encode(ask.key, true)));
        let query: Vec<_> =
            ask.query.iter().map(|(name, value)| format!("{name}={}", sign::encode(value, false))).collect();
        if !query.is_empty() {
            url.set_query(Some(&query.join("&")));
        }
        let time = sign::time_text(Timestamp::now());
        let host = url.host_str().unwrap_or_default();
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let credentials = &self.options.credentials;
        let mut headers = vec![("host", host.as_str()), ("x-amz-content-sha256", &ask.payload_sha256)];
        headers.push(("x-amz-date", &time));
        headers.extend(credentials.session_token.iter().map(|token| ("x-amz-security-token", token.expose())));
        headers.extend(ask.headers.iter().map(|(name, value)| (*name, value.as_str())));
        headers.sort_unstable();
        let to_sign = sign::ToSign {
            method: ask.method.as_str(),
            path: url.path(),
            query: url.query().unwrap_or_default(),
            headers: &headers,
            payload_hash: &ask.payload_sha256,
        };
        let scope = sign::Scope { region: &self.options.region, service: "s3", time: &time };
        let authorization = sign::authorization(&to_sign, &scope, credentials);
        let mut call = Call::new(ask.method, url.clone()).from_byte(ask.from_byte).payload(ask.payload);
        headers.push((AUTHORIZATION.as_str(), &authorization));
        for (name, value) in headers.into_iter().filter(|(name, _)| *name != "host") {
            let header = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(value).ok());
            let (name, mut value) =
                header.ok_or_else(|| RegistryFailure::request(format!("the header `{name}` cannot be sent")))?;
            value.set_sensitive(true);
            call = call.header(name, value);
        }
        Ok(call)
    }

    /// As [`S3Backend::request`], for an answer of which only the text counts: tried again where that may help.
    ///
    /// Copies and the end of multipart uploads answer 200 before they are done, and may say in the body that they
    /// failed.
    async fn perform(&self, ask: Ask<'_>, accepted: &[StatusCode]) -> Outcome<Vec<u8>> {
        self.service
            .retrying(async || {
                let (url, response) = self.request(ask.clone(), accepted).await?;
                let body = self.service.client.read_small(&url, response, ANSWER_BYTES_MAX, "an answer").await?;
                let Some(messages) = xml::error(&body) else { return Ok(body) };
                let passes = ["InternalError", "SlowDown", "ServiceUnavailable"];
                if !passes.iter().any(|code| messages.has_code(code)) {
                    return Err(RegistryFailure::protocol(&url, format!("it says 200 OK, and then{messages}")));
                }
                let (url, status) = (bake_registry::http::redact(&url), StatusCode::SERVICE_UNAVAILABLE);
                Err(Box::new(RegistryFailure::Status { url, status, retry_after: None, messages }))
            })
            .await
    }

    /// The size of an object and when it was written, in seconds since 1970; `None` if it is not there, or if we may
    /// not know (which a service says to those who may write but not list).
    async fn head(&self, key: &str) -> Outcome<Option<(u64, u64)>> {
        self.service
            .retrying(async || {
                let accepted = [StatusCode::OK, StatusCode::NOT_FOUND, StatusCode::FORBIDDEN];
                let (_, response) = self.request(Ask::new(Method::HEAD, key), &accepted).await?;
                if response.status() != StatusCode::OK {
                    return Ok(None);
                }
                let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
                let size = text(CONTENT_LENGTH).and_then(|text| text.parse().ok());
                let written = text(LAST_MODIFIED).and_then(parse_http_date).unwrap_or(0);
                Ok(size.map(|size| (size, written)))
            })
            .await
    }
}

/// An unfinished multipart upload: key and ID.
type Unfinished = (String, String);

/// One export.
struct Writing<'a> {
    backend: &'a S3Backend,
    store: &'a Store,
    progress: &'a Progress<'a>,
    /// For requests that send blobs, whichever blobs they belong to.
    permits: Semaphore,
    unfinished: Mutex<Vec<Unfinished>>,
}

impl Writing<'_> {
    async fn write(&self, document: &[u8], blobs: &[BlobDescriptor]) -> Outcome<()> {
        crate::backend::check_document_size(document)?;
        let options = &self.backend.options;
        let mut seen = BTreeSet::new();
        let once = blobs.iter().filter(|blob| seen.insert(&blob.digest));
        let service = &self.backend.service;
        let sent = at_once(once, options.upload_parallelism, |blob| self.blob(blob));
        let sent = service.unless_cancelled(sent).await;
        if sent.is_err() && tokio::time::timeout(ABORT, self.abort()).await.is_err() {
            tracing::debug!("there was no time to abort all multipart uploads");
        }
        sent?;
        service.unless_cancelled(self.documents(document)).await
    }

    /// Aborts the uploads that were begun; the service keeps their parts otherwise.
    async fn abort(&self) {
        let unfinished = std::mem::take(&mut *self.unfinished.lock().unwrap_or_else(PoisonError::into_inner));
        for (key, id) in unfinished {
            let ask = Ask { query: vec![("uploadId", id)], ..Ask::new(Method::DELETE, &key) };
            if let Err(failure) = self.backend.request(ask, &[StatusCode::NO_CONTENT, StatusCode::OK]).await {
                tracing::debug!(key, %failure, "could not abort a multipart upload");
            }
        }
    }

    async fn documents(&self, document: &[u8]) -> Outcome<()> {
        let options = &self.backend.options;
        for name in &options.names {
            let key = options.document_key(name);
            let json = ("content-type", "application/json".to_owned());
            let ask = Ask { headers: vec![json], ..Ask::new(Method::PUT, &key).bytes(document.to_vec()) };
            self.backend.perform(ask, &[StatusCode::OK]).await?;
        }
        Ok(())
    }

    async fn blob(&self, blob: &BlobDescriptor) -> Outcome<()> {
        let key = self.backend.blob_key(&blob.digest);
        if !self.is_there(&key, blob).await? {
            let upload = Upload::check(self.store, blob).await?;
            let send = async {
                match &*upload.parts {
                    [part] => self.whole(&key, &upload, part).await,
                    _ => self.in_parts(&key, &upload).await,
                }
            };
            reporting(send, || (self.progress)(blob, upload.sent_bytes())).await?;
        }
        (self.progress)(blob, blob.size_bytes);
        Ok(())
    }

    /// Whether the blob need not be sent; refreshes it if it is old.
    async fn is_there(&self, key: &str, blob: &BlobDescriptor) -> Outcome<bool> {
        let Some((size_bytes, written)) = self.backend.head(key).await? else { return Ok(false) };
        if size_bytes != blob.size_bytes {
            return Ok(false);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        if now.saturating_sub(written) < self.backend.options.touch_refresh.as_secs() {
            return Ok(true);
        }
        if size_bytes > COPY_BYTES_MAX {
            return Ok(false);
        }
        let source = format!("/{}/{}", self.backend.options.bucket, sign::encode(key, true));
        let replace = ("x-amz-metadata-directive", "REPLACE".to_owned());
        let headers = vec![("content-type", OCTETS.to_owned()), ("x-amz-copy-source", source), replace];
        match self.backend.perform(Ask { headers, ..Ask::new(Method::PUT, key) }, &[StatusCode::OK]).await {
            Ok(_) => Ok(true),
            // It was removed meanwhile, or the service does not let us copy: then it is written anew.
            Err(failure) => {
                tracing::debug!(key, %failure, "could not copy an object onto itself");
                Ok(false)
            }
        }
    }

    async fn whole(&self, key: &str, upload: &Upload, part: &Part) -> Outcome<()> {
        let _permit = self.permits.acquire().await;
        let send = async || {
            let octets = ("content-type", OCTETS.to_owned());
            let ask = Ask {
                headers: vec![octets],
                payload: upload.payload(part),
                payload_sha256: part.digest.hex().to_owned(),
                ..Ask::new(Method::PUT, key)
            };
            self.backend.request(ask, &[StatusCode::OK]).await.map(|_| ())
        };
        self.backend.service.retrying(send).await
    }

    async fn in_parts(&self, key: &str, upload: &Upload) -> Outcome<()> {
        let start = Ask {
            query: vec![("uploads", String::new())],
            headers: vec![("content-type", OCTETS.to_owned())],
            payload: Payload::Bytes(Vec::new().into()),
            ..Ask::new(Method::POST, key)
        };
        let body = self.backend.perform(start, &[StatusCode::OK]).await?;
        let id = xml::element(&body, "UploadId").filter(|id| !id.is_empty());
        let id = id.ok_or_else(|| {
            RegistryFailure::protocol(&self.backend.bucket_url, "it began a multipart upload without an `UploadId`")
        })?;
        self.unfinished.lock().unwrap_or_else(PoisonError::into_inner).push((key.to_owned(), id.clone()));

        let limit = self.backend.options.upload_parallelism;
        let numbered = (1_usize..).zip(&upload.parts);
        let tags = at_once(numbered, limit, |(number, part)| self.part(key, &id, number, upload, part)).await?;

        let part = |(number, tag): (usize, &String)| {
            format!("<Part><PartNumber>{number}</PartNumber><ETag>{}</ETag></Part>", xml::escaped(tag))
        };
        let parts = (1_usize..).zip(&tags).map(part).collect::<Vec<_>>().concat();
        let list = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>").into_bytes();
        let end = Ask { query: vec![("uploadId", id.clone())], ..Ask::new(Method::POST, key).bytes(list) };
        match self.backend.perform(end, &[StatusCode::OK]).await {
            Ok(_) => {}
            // The answer of an earlier attempt got lost, and the upload is finished.
            Err(failure) if matches!(*failure, RegistryFailure::NotFound { .. }) => {
                let size_bytes: u64 = upload.parts.iter().map(|part| part.size_bytes).sum();
                if self.backend.head(key).await?.is_none_or(|(size, _)| size != size_bytes) {
                    return Err(failure);
                }
            }
            Err(failure) => return Err(failure),
        }
        self.unfinished.lock().unwrap_or_else(PoisonError::into_inner).retain(|(_, unfinished)| *unfinished != id);
        Ok(())
    }

    /// Sends one part; gives its entity tag.
    async fn part(&self, key: &str, id: &str, number: usize, upload: &Upload, part: &Part) -> Outcome<String> {
        let _permit = self.permits.acquire().await;
        let send = async || {
            let ask = Ask {
                query: vec![("partNumber", number.to_string()), ("uploadId", id.to_owned())],
                payload: upload.payload(part),
                payload_sha256: part.digest.hex().to_owned(),
                ..Ask::new(Method::PUT, key)
            };
            let (url, response) = self.backend.request(ask, &[StatusCode::OK]).await?;
            let tag = response.headers().get(ETAG).and_then(|value| value.to_str().ok()).map(str::to_owned);
            tag.ok_or_else(|| RegistryFailure::protocol(&url, "it took a part of an upload without an `ETag`"))
        };
        self.backend.service.retrying(send).await
    }
}
