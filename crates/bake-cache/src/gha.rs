//! Caches in the cache service of GitHub Actions, version 2.
//!
//! The service is spoken to by Twirp: `POST URL/twirp/github.actions.results.api.v1.CacheService/METHOD` with a JSON
//! body and a bearer token; errors are `{"code": .., "msg": ..}`. Content is not at the service but at signed URLs of
//! Azure blob storage. What this rests on, as the clients of GitHub's own actions use it:
//!
//! ```text
//! GetCacheEntryDownloadURL {key, restore_keys, version}  -> {ok, signed_download_url, matched_key}
//! CreateCacheEntry         {key, version}                -> {ok, signed_upload_url}
//! FinalizeCacheEntryUpload {key, version, size_bytes}    -> {ok, entry_id}
//! ```
//!
//! - An entry never changes. One that exists answers `CreateCacheEntry` with the code `already_exists` (409) or `ok`
//!   false; so does one that another job is writing, or began to write and never finished.
//! - `key` matches whole keys, `restore_keys` beginnings of keys; of several matches the newest is given.
//! - `version` separates caches of different kinds; it is compared, and nothing else.
//! - `size_bytes` is an `int64` of protobuf, which JSON writes as a string.
//!
//! ```text
//! bake-index-1:SCOPE:TIME    a document; the newest one counts
//! bake-blob-1:DIGEST         a blob
//! bake-blob-1:DIGEST:TIME    the same, where the first name is taken by an entry that cannot be read
//! ```
//!
//! Changing the keys makes all caches of others unreadable.
//!
//! A repository may add 200 entries a minute and is answered 429 with `Retry-After` beyond that: then all requests
//! wait, for a slow export is better than none.

mod options;

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bake_oci::Digest;
use bake_registry::http::{Call, HttpClient, Payload, printable};
use bake_registry::{Messages, RegistryFailure};
use bake_store::{BlobDescriptor, Store};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Method, Response, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

pub use options::GhaOptions;

use crate::backend::{Backend, BackendError, DOCUMENT_BYTES_MAX, Progress};
use crate::service::{Connection, Outcome, Service, at_once, missing_of, reporting};
use crate::store_sink::StoreSink;
use crate::upload::{Part, Upload};
use crate::xml;

/// Where the methods are.
const METHODS: &str = "twirp/github.actions.results.api.v1.CacheService/";
/// The version of all our entries: 64 hexadecimal digits, as those of GitHub's clients have; the SHA-256 digest of
/// `bake build cache 1`.
const VERSION: &str = "d728815eb5626910aec4b48e04981e9fa4d803add3532a763ee80132060ccc6b";
/// How many blobs are looked for or sent at the same time.
const PARALLELISM: usize = 4;
/// The largest answer of a method; signed URLs have some kilobytes.
const ANSWER_BYTES_MAX: u64 = 256 << 10;
/// The version of Azure's protocol that blocks of up to 4,000 MiB came with ("Versioning for the Azure Storage services").
const AZURE_VERSION: &str = "2020-10-02";

const KIND: HeaderName = HeaderName::from_static("x-ms-blob-type");
const AZURE: HeaderName = HeaderName::from_static("x-ms-version");

/// A cache of a repository at GitHub, as a job of GitHub Actions can use it.
#[derive(Debug)]
pub struct GhaBackend {
    options: GhaOptions,
    service_url: Url,
    service: Service,
}

impl GhaBackend {
    /// Makes a client; nothing is connected yet.
    pub fn new(options: GhaOptions, connection: Connection<'_>) -> Result<Self, BackendError> {
        let service_url = options.service_url()?;
        let service = Service::new(connection, None, true).map_err(|error| BackendError {
            action: "connect to",
            name: "the cache of GitHub Actions".to_owned(),
            source: error.into(),
        })?;
        Ok(Self { options, service_url, service })
    }

    fn failed(&self, action: &'static str) -> impl Fn(Box<RegistryFailure>) -> BackendError {
        move |source| BackendError { action, name: self.name(), source }
    }

    /// Blocks on `work`, for as long as an operation may take.
    fn in_time<T>(&self, work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
        let limit = self.options.timeout;
        self.service.block_on(async {
            let work = self.service.unless_cancelled(work);
            tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
                let (url, what) = (bake_registry::http::redact(&self.service_url), "the operation");
                Err(Box::new(RegistryFailure::Timeout { url, what, limit }))
            })
        })
    }

    /// What the keys of all documents of this cache begin with.
    fn documents(&self) -> String {
        // Neither can one scope be the beginning of another one then, nor can a key hold a comma, which GitHub refuses.
        let scope: String = self.options.scope.bytes().map(key_part).collect();
        format!("bake-index-1:{scope}:")
    }
}

/// A byte of a scope as it stands in keys.
fn key_part(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"-._/".contains(&byte) {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}

fn blob_key(digest: &Digest) -> String {
    format!("bake-blob-1:{digest}")
}

/// `beginning` and the present time, in nanoseconds since 1970: later keys are larger.
fn new_key(beginning: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos());
    format!("{beginning}{now:020}")
}

impl Backend for GhaBackend {
    fn name(&self) -> String {
        format!("gha {}", printable(&self.options.scope, 128))
    }

    fn read_document(&self) -> Result<Option<Vec<u8>>, BackendError> {
        let read = self.service.retrying(async || {
            let Some(url) = self.find_once(&self.documents()).await? else { return Ok(None) };
            let response = self.request(Call::new(Method::GET, url.clone()), &[StatusCode::OK]).await?;
            let client = &self.service.client;
            client.read_small(&url, response, DOCUMENT_BYTES_MAX, "the description of the cache").await.map(Some)
        });
        self.in_time(read).map_err(self.failed("read the cache of"))
    }

    fn fetch_blob(&self, blob: &BlobDescriptor, store: &Store, progress: &Progress<'_>) -> Result<(), BackendError> {
        let action = "fetch a blob of";
        let opened = StoreSink::open(store, blob, || !self.service.is_cancelled());
        let Some(sink) = opened.map_err(self.failed(action))? else { return Ok(()) };
        let wanted = bake_registry::BlobDescriptor { digest: blob.digest.clone(), size_bytes: blob.size_bytes };
        let told = |bytes| progress(blob, bytes);
        let known = Mutex::new(None);
        let fetch = self.service.client.fetch(&wanted, sink, &told, |held| self.open(&blob.digest, held, &known));
        self.in_time(fetch).map_err(self.failed(action))
    }

    fn missing(&self, blobs: &[BlobDescriptor]) -> Result<Vec<BlobDescriptor>, BackendError> {
        let is_there = async |blob: &BlobDescriptor| Ok(self.find(&blob_key(&blob.digest)).await?.is_some());
        self.in_time(missing_of(blobs, PARALLELISM, is_there)).map_err(self.failed("look for blobs in the cache of"))
    }

    fn write(
        &self,
        document: &[u8],
        blobs: &[BlobDescriptor],
        store: &Store,
        progress: &Progress<'_>,
    ) -> Result<(), BackendError> {
        let permits = Semaphore::new(PARALLELISM);
        let write = async {
            crate::backend::check_document_size(document)?;
            let mut seen = BTreeSet::new();
            let once = blobs.iter().filter(|blob| seen.insert(&blob.digest));
            at_once(once, PARALLELISM, |blob| self.write_blob(blob, store, progress, &permits)).await?;
            self.write_document(document).await
        };
        self.in_time(write).map_err(self.failed("write the cache of"))
    }
}

#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    ok: bool,
    #[serde(default, alias = "signedDownloadUrl")]
    signed_download_url: String,
    #[serde(default, alias = "matchedKey")]
    matched_key: String,
}

#[derive(Deserialize)]
struct Created {
    #[serde(default)]
    ok: bool,
    #[serde(default, alias = "signedUploadUrl")]
    signed_upload_url: String,
}

#[derive(Deserialize)]
struct Finalized {
    #[serde(default)]
    ok: bool,
}

/// What the service says in an error.
fn twirp_messages(body: &[u8]) -> Messages {
    #[derive(Deserialize)]
    struct Error {
        #[serde(default)]
        code: String,
        #[serde(default)]
        msg: String,
    }
    serde_json::from_slice::<Error>(body)
        .map_or_else(|_| Messages::default(), |error| Messages::one(&error.code, &error.msg))
}

impl GhaBackend {
    /// Calls a method once.
    async fn call_once<T: DeserializeOwned>(&self, method: &str, body: &Value) -> Outcome<T> {
        let url = self.service_url.join(&format!("{METHODS}{method}"));
        let url = url.map_err(|_| RegistryFailure::request("the URL of the service takes no path"))?;
        let token = HeaderValue::from_str(&format!("Bearer {}", self.options.token.expose()));
        let mut token = token.map_err(|_| RegistryFailure::request("`token` cannot be sent in a header"))?;
        token.set_sensitive(true);
        let call = Call::new(Method::POST, url)
            .header(AUTHORIZATION, token)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .payload(Payload::Bytes(body.to_string().into()));
        let response = self.service.send(&call).await?;
        if response.status() != StatusCode::OK {
            return Err(self.service.client.failure_of(&call.url, response, twirp_messages).await);
        }
        let body = self.service.client.read_small(&call.url, response, ANSWER_BYTES_MAX, "an answer").await?;
        // The error could quote the answer, which holds a signed URL.
        serde_json::from_slice(&body).map_err(|_| RegistryFailure::protocol(&call.url, "it is not the JSON expected"))
    }

    async fn call<T: DeserializeOwned>(&self, method: &str, body: Value) -> Outcome<T> {
        self.service.retrying(|| self.call_once(method, &body)).await
    }

    /// Sends one request to a signed URL, once; a status outside `accepted` is a failure.
    async fn request(&self, call: Call, accepted: &[StatusCode]) -> Outcome<Response> {
        let response = self.service.send(&call).await?;
        if accepted.contains(&response.status()) {
            return Ok(response);
        }
        let messages = |body: &[u8]| xml::error(body).unwrap_or_default();
        Err(self.service.client.failure_of(&call.url, response, messages).await)
    }

    /// Where the newest entry is whose key begins with `key`.
    async fn find(&self, key: &str) -> Outcome<Option<Url>> {
        self.service.retrying(|| self.find_once(key)).await
    }

    /// The same, for work that is tried again as a whole: retries inside of retries would take for ever.
    async fn find_once(&self, key: &str) -> Outcome<Option<Url>> {
        let body = json!({"key": key, "restore_keys": [key], "version": VERSION});
        let found: Found = match self.call_once("GetCacheEntryDownloadURL", &body).await {
            Ok(found) => found,
            Err(failure) => match &*failure {
                RegistryFailure::NotFound { messages, .. } if messages.has_code("not_found") => return Ok(None),
                _ => return Err(failure),
            },
        };
        if !found.ok || !(found.matched_key.is_empty() || found.matched_key.starts_with(key)) {
            return Ok(None);
        }
        self.signed(&found.signed_download_url).map(Some)
    }

    /// A URL that the service gave us.
    fn signed(&self, text: &str) -> Outcome<Url> {
        let invalid = |reason: &str| RegistryFailure::protocol(&self.service_url, reason);
        let url = Url::parse(text).map_err(|_| invalid("its signed URL is none"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
            return Err(invalid("its signed URL is neither http nor https"));
        }
        if self.service_url.scheme() == "https" && url.scheme() != "https" {
            return Err(invalid("its signed URL would leave TLS"));
        }
        Ok(url)
    }

    /// Asks for the bytes of a blob from `held` on. Signed URLs expire: `known` is tried first, and then replaced.
    async fn open(&self, digest: &Digest, held: u64, known: &Mutex<Option<Url>>) -> Outcome<(Url, Response)> {
        let earlier = known.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(url) = earlier {
            let call = Call::new(Method::GET, url.clone()).from_byte(held);
            let response = self.service.send(&call).await?;
            if HttpClient::may_be_fetched(response.status()) {
                *known.lock().unwrap_or_else(PoisonError::into_inner) = Some(url.clone());
                return Ok((url, response));
            }
        }
        let key = blob_key(digest);
        let url = self.find_once(&key).await?.ok_or_else(|| {
            RegistryFailure::request(format!("it holds no entry `{key}`; GitHub removes what was not used for a while"))
        })?;
        let call = Call::new(Method::GET, url.clone()).from_byte(held);
        let accepted = [StatusCode::OK, StatusCode::PARTIAL_CONTENT, StatusCode::RANGE_NOT_SATISFIABLE];
        let response = self.request(call, &accepted).await?;
        *known.lock().unwrap_or_else(PoisonError::into_inner) = Some(url.clone());
        Ok((url, response))
    }

    /// Reserves a key; `None` if it is taken.
    async fn create(&self, key: &str) -> Outcome<Option<Url>> {
        let created: Outcome<Created> = self.call("CreateCacheEntry", json!({"key": key, "version": VERSION})).await;
        match created {
            Ok(created) if created.ok => self.signed(&created.signed_upload_url).map(Some),
            Ok(_) => Ok(None),
            Err(failure) => match &*failure {
                RegistryFailure::Status { messages, status, .. }
                    if *status == StatusCode::CONFLICT || messages.has_code("already_exists") =>
                {
                    Ok(None)
                }
                _ => Err(failure),
            },
        }
    }

    /// Makes an entry readable.
    async fn finalize(&self, key: &str, size_bytes: u64) -> Outcome<()> {
        let body = json!({"key": key, "version": VERSION, "size_bytes": size_bytes.to_string()});
        let failure = match self.call::<Finalized>("FinalizeCacheEntryUpload", body).await {
            Ok(finalized) if finalized.ok => return Ok(()),
            Ok(_) => RegistryFailure::protocol(&self.service_url, format!("it did not accept the entry `{key}`")),
            Err(failure) => failure,
        };
        // The answer of an earlier attempt may have been lost.
        if self.find(key).await?.is_some() { Ok(()) } else { Err(failure) }
    }

    async fn write_document(&self, document: &[u8]) -> Outcome<()> {
        let key = new_key(&self.documents());
        let taken = || RegistryFailure::protocol(&self.service_url, format!("it says that the new key `{key}` exists"));
        let url = self.create(&key).await?.ok_or_else(taken)?;
        let payload = || Payload::Bytes(document.to_vec().into());
        self.service.retrying(|| self.put(url.clone(), Some("BlockBlob"), payload())).await?;
        self.finalize(&key, document.len() as u64).await
    }

    async fn write_blob(
        &self,
        blob: &BlobDescriptor,
        store: &Store,
        progress: &Progress<'_>,
        permits: &Semaphore,
    ) -> Outcome<()> {
        let key = blob_key(&blob.digest);
        // Entries of the default branch can be read by all branches: those that are there are not written again.
        if self.find(&key).await?.is_none() {
            let upload = Upload::check(store, blob).await?;
            let reserved = match self.create(&key).await? {
                Some(url) => Some((key, url)),
                None if self.find(&key).await?.is_some() => None,
                // Whoever reserved it has not finished, and may never do so.
                None => {
                    let key = new_key(&format!("{key}:"));
                    let taken = || {
                        RegistryFailure::protocol(&self.service_url, format!("it says that the new key `{key}` exists"))
                    };
                    let url = self.create(&key).await?.ok_or_else(taken)?;
                    Some((key, url))
                }
            };
            if let Some((key, url)) = reserved {
                reporting(self.send(&url, &upload, permits), || progress(blob, upload.sent_bytes())).await?;
                self.finalize(&key, blob.size_bytes).await?;
            }
        }
        progress(blob, blob.size_bytes);
        Ok(())
    }

    /// Sends a blob to a signed URL: at once ("Put Blob" of Azure's reference), or in blocks ("Put Block" and "Put Block
    /// List") that become the blob when the list of them is sent.
    async fn send(&self, url: &Url, upload: &Upload, permits: &Semaphore) -> Outcome<()> {
        if let [part] = &*upload.parts {
            let _permit = permits.acquire().await;
            let send = || self.put(url.clone(), Some("BlockBlob"), upload.payload(part));
            return self.service.retrying(send).await;
        }
        // All IDs of a blob have the same length.
        let id = |index: usize| STANDARD.encode(format!("{index:08}"));
        let block = async |(index, part): (usize, &Part)| {
            let _permit = permits.acquire().await;
            let mut url = url.clone();
            url.query_pairs_mut().append_pair("comp", "block").append_pair("blockid", &id(index));
            self.service.retrying(|| self.put(url.clone(), None, upload.payload(part))).await
        };
        at_once(upload.parts.iter().enumerate(), PARALLELISM, block).await?;
        let ids = (0..upload.parts.len()).map(|index| format!("<Latest>{}</Latest>", id(index)));
        let ids = ids.collect::<Vec<_>>().concat();
        let list = format!("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>{ids}</BlockList>");
        let mut url = url.clone();
        url.query_pairs_mut().append_pair("comp", "blocklist");
        self.service.retrying(|| self.put(url.clone(), None, Payload::Bytes(list.clone().into()))).await
    }

    async fn put(&self, url: Url, kind: Option<&'static str>, payload: Payload) -> Outcome<()> {
        let octets = HeaderValue::from_static("application/octet-stream");
        let mut call = Call::new(Method::PUT, url).header(AZURE, HeaderValue::from_static(AZURE_VERSION));
        if let Some(kind) = kind {
            call = call.header(CONTENT_TYPE, octets).header(KIND, HeaderValue::from_static(kind));
        }
        let accepted = [StatusCode::CREATED, StatusCode::OK, StatusCode::NO_CONTENT];
        self.request(call.payload(payload), &accepted).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_told_apart() {
        let keys = ["a", "a:1", "a,b", "a%3A1", "main/x"].map(|scope| scope.bytes().map(key_part).collect::<String>());
        assert_eq!(keys, ["a", "a%3A1", "a%2Cb", "a%253A1", "main/x"]);
    }

    #[test]
    fn errors_of_the_service() {
        let said = twirp_messages(br#"{"code":"unauthenticated","msg":"the token is expired"}"#);
        assert_eq!(said.to_string(), ": unauthenticated: the token is expired");
        assert_eq!(twirp_messages(b"<html>"), Messages::default());
    }
}
