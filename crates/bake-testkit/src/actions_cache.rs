//! The cache service of GitHub Actions, version 2, in this process: its methods, and the blob storage behind its signed
//! URLs.
//!
//! As at GitHub: entries never change; a key that is reserved is taken, and can be read only when it is finalized with
//! the size that was uploaded; restore keys match beginnings of keys, and the newest match wins.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::registry::{Fault, RecordedRequest};
use crate::service::{FakeService, Reply, content};

/// The path of all methods.
const METHODS: &str = "/twirp/github.actions.results.api.v1.CacheService/";

/// The secret part of signed URLs, which nobody may see.
pub const SIGNATURE: &str = "signature-of-a-signed-url";

struct Entry {
    key: String,
    version: String,
    /// Blocks that were uploaded but are not yet part of the content, by ID.
    blocks: BTreeMap<String, Vec<u8>>,
    content: Option<Vec<u8>>,
    readable: bool,
}

struct State {
    address: SocketAddr,
    token: String,
    /// In the order of their creation.
    entries: Vec<Entry>,
    /// Part of signed URLs; URLs with another one have expired.
    generation: u64,
}

/// The service. It ends when this is dropped.
#[derive(Debug)]
pub struct ActionsCache {
    service: FakeService,
    state: Arc<Mutex<State>>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("entries", &self.entries.len()).finish_non_exhaustive()
    }
}

impl ActionsCache {
    /// Starts the service on a free port of 127.0.0.1.
    pub fn start(token: &str) -> io::Result<Self> {
        let token = token.to_owned();
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let state = Arc::new(Mutex::new(State { address, token, entries: Vec::new(), generation: 0 }));
        let shared = Arc::clone(&state);
        let service = FakeService::start(|address| {
            lock(&shared).address = address;
            Box::new(move |request, body| lock(&shared).answer(request, body))
        })?;
        Ok(Self { service, state })
    }

    /// `ACTIONS_RESULTS_URL`.
    pub fn url(&self) -> String {
        format!("http://{}/", self.service.addr)
    }

    /// Lets something go wrong.
    pub fn inject(&self, fault: Fault) {
        self.service.inject(fault);
    }

    /// Forgets the requests recorded so far and gives them.
    pub fn take_requests(&self) -> Vec<RecordedRequest> {
        self.service.take_requests()
    }

    /// Makes the token invalid that was good so far.
    pub fn expire_token(&self) {
        lock(&self.state).token.push_str("-and-another-one");
    }

    /// Makes all signed URLs invalid that were given out so far.
    pub fn expire_urls(&self) {
        lock(&self.state).generation += 1;
    }

    /// Reserves a key for somebody who never comes back.
    pub fn reserve(&self, key: &str, version: &str) {
        let entry = Entry {
            key: key.to_owned(),
            version: version.to_owned(),
            blocks: BTreeMap::new(),
            content: None,
            readable: false,
        };
        lock(&self.state).entries.push(entry);
    }

    /// The keys of entries that can be read, in the order of their creation.
    pub fn keys(&self) -> Vec<String> {
        lock(&self.state).entries.iter().filter(|entry| entry.readable).map(|entry| entry.key.clone()).collect()
    }

    /// Removes all entries whose key begins with `beginning`, as GitHub does when there are too many.
    pub fn evict(&self, beginning: &str) {
        lock(&self.state).entries.retain(|entry| !entry.key.starts_with(beginning));
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn error(status: u16, code: &str, message: &str) -> Reply {
    Reply::new(status, json!({ "code": code, "msg": message }).to_string().into_bytes())
}

fn storage_error(status: u16, code: &str) -> Reply {
    let body =
        format!("\u{feff}<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>no: {code}</Message></Error>");
    Reply::new(status, body.into_bytes())
}

impl State {
    fn answer(&mut self, request: &RecordedRequest, body: &[u8]) -> Reply {
        match request.path.strip_prefix(METHODS) {
            Some(method) if request.method == "POST" => self.method(method, request, body),
            _ => self.storage(request, body),
        }
    }

    fn method(&mut self, method: &str, request: &RecordedRequest, body: &[u8]) -> Reply {
        if request.header("authorization") != Some(&format!("Bearer {}", self.token)) {
            return error(401, "unauthenticated", "the token is expired");
        }
        let Ok(body) = serde_json::from_slice::<Value>(body) else { return error(400, "malformed", "no JSON") };
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (key, version) = (text("key"), text("version"));
        if key.is_empty() || key.len() > 512 || key.contains(',') || version.is_empty() {
            return error(400, "invalid_argument", "the key or the version cannot be used");
        }
        let answer = match method {
            "GetCacheEntryDownloadURL" => {
                let beginnings = body.get("restore_keys").and_then(Value::as_array).cloned().unwrap_or_default();
                match self.find(&key, &version, &beginnings) {
                    Some(index) => json!({
                        "ok": true,
                        "signed_download_url": self.signed(index),
                        "matched_key": self.entries[index].key,
                    }),
                    None => json!({ "ok": false, "signed_download_url": "", "matched_key": "" }),
                }
            }
            "CreateCacheEntry" => {
                if self.entries.iter().any(|entry| entry.key == key && entry.version == version) {
                    return error(
                        409,
                        "already_exists",
                        "cache entry with the same key, version, and scope already exists",
                    );
                }
                self.entries.push(Entry { key, version, blocks: BTreeMap::new(), content: None, readable: false });
                json!({ "ok": true, "signed_upload_url": self.signed(self.entries.len() - 1) })
            }
            "FinalizeCacheEntryUpload" => {
                let size: Option<usize> = text("size_bytes").parse().ok();
                let entry = self
                    .entries
                    .iter_mut()
                    .find(|entry| entry.key == key && entry.version == version && !entry.readable);
                let Some(entry) = entry else { return error(404, "not_found", "no such reservation") };
                if size.is_none() || entry.content.as_ref().map(Vec::len) != size {
                    return error(400, "invalid_argument", "the size is not that of the upload");
                }
                entry.readable = true;
                json!({ "ok": true, "entry_id": "1" })
            }
            _ => return error(404, "bad_route", "no such method"),
        };
        Reply::new(200, answer.to_string().into_bytes()).with("Content-Type", "application/json")
    }

    /// The entry with this key, or else the newest whose key begins with one of `beginnings`, in their order.
    fn find(&self, key: &str, version: &str, beginnings: &[Value]) -> Option<usize> {
        let newest = |matches: &dyn Fn(&str) -> bool| {
            self.entries.iter().rposition(|entry| entry.readable && entry.version == version && matches(&entry.key))
        };
        newest(&|own| own == key).or_else(|| {
            let mut beginnings = beginnings.iter().filter_map(Value::as_str);
            beginnings.find_map(|beginning| newest(&|own| own.starts_with(beginning)))
        })
    }

    fn signed(&self, index: usize) -> String {
        format!("http://{}/storage/{index}?generation={}&sig={SIGNATURE}%2B%3D", self.address, self.generation)
    }

    fn storage(&mut self, request: &RecordedRequest, body: &[u8]) -> Reply {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let index = path.strip_prefix("/storage/").and_then(|index| index.parse::<usize>().ok());
        let queries: BTreeMap<&str, &str> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        if queries.get("sig") != Some(&format!("{SIGNATURE}%2B%3D").as_str())
            || queries.get("generation") != Some(&self.generation.to_string().as_str())
        {
            return storage_error(403, "AuthenticationFailed");
        }
        let Some(entry) = index.and_then(|index| self.entries.get_mut(index)) else {
            return storage_error(404, "BlobNotFound");
        };
        match (request.method.as_str(), queries.get("comp").copied()) {
            ("GET", _) => match &entry.content {
                Some(bytes) => content(request, bytes),
                None => storage_error(404, "BlobNotFound"),
            },
            ("PUT", None) if request.header("x-ms-blob-type") == Some("BlockBlob") => {
                entry.content = Some(body.to_vec());
                Reply::new(201, Vec::new())
            }
            ("PUT", Some("block")) => {
                let id = queries.get("blockid").copied().unwrap_or_default().replace("%3D", "=");
                if STANDARD.decode(&id).is_err() {
                    return storage_error(400, "InvalidQueryParameterValue");
                }
                entry.blocks.insert(id, body.to_vec());
                Reply::new(201, Vec::new())
            }
            ("PUT", Some("blocklist")) => {
                let list = String::from_utf8_lossy(body).into_owned();
                let mut whole = Vec::new();
                for id in list.split("<Latest>").skip(1).filter_map(|rest| rest.split_once('<')) {
                    let Some(block) = entry.blocks.get(id.0) else { return storage_error(400, "InvalidBlockList") };
                    whole.extend_from_slice(block);
                }
                entry.content = Some(whole);
                Reply::new(201, Vec::new())
            }
            _ => storage_error(400, "MissingRequiredHeader"),
        }
    }
}
