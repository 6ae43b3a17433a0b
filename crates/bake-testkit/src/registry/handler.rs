//! The distribution API.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bake_oci::Digest;
use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, StatusCode};

use super::body::ScriptedBody;
use super::state::State;
use super::{Action, Fault, RecordedRequest, auth};

/// The most of a request body that is recorded.
const RECORDED_BODY_BYTES_MAX: usize = 64 * 1024;

/// What a server in this process does, faults aside.
pub(crate) trait Answering: Send + 'static {
    /// What is to go wrong.
    fn faults(&mut self) -> &mut Vec<Fault>;
    /// All requests so far.
    fn requests(&mut self) -> &mut Vec<RecordedRequest>;
    /// The largest request body it accepts.
    fn body_bytes_max(&self) -> Option<u64>;
    /// A request broke off after these bytes of its body.
    fn broken_off(&mut self, _request: &RecordedRequest, _partial: &[u8]) {}
    /// What it answers.
    fn answer(&mut self, request: &RecordedRequest, body: &Bytes) -> Reply;
}

impl Answering for State {
    fn faults(&mut self) -> &mut Vec<Fault> {
        &mut self.faults
    }

    fn requests(&mut self) -> &mut Vec<RecordedRequest> {
        &mut self.requests
    }

    fn body_bytes_max(&self) -> Option<u64> {
        self.config.body_bytes_max
    }

    fn broken_off(&mut self, request: &RecordedRequest, partial: &[u8]) {
        keep_partial(self, request, partial);
    }

    fn answer(&mut self, request: &RecordedRequest, body: &Bytes) -> Reply {
        answer(self, request, body)
    }
}

/// An answer before faults.
#[derive(Debug)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Reply {
    /// An answer without headers.
    pub fn new(status: u16, body: Vec<u8>) -> Self {
        Self { status, headers: Vec::new(), body }
    }

    pub(super) fn error(status: u16, code: &str) -> Self {
        let body = serde_json::json!({ "errors": [{ "code": code, "message": code.to_lowercase() }] });
        Self::new(status, body.to_string().into_bytes()).with("Content-Type", "application/json")
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// Answers one request; an `Err` closes the connection without an answer.
pub(super) async fn handle<S: Answering>(
    state: Arc<Mutex<S>>,
    request: Request<Incoming>,
) -> Result<Response<ScriptedBody>, io::Error> {
    let (head, body) = request.into_parts();
    let method = head.method.as_str().to_owned();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers: Vec<_> = head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    let mut recorded = RecordedRequest { method, path, headers, body: Vec::new(), body_bytes: 0 };

    let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
    let actions: Vec<Action> = {
        let mut state = lock();
        let (method, path) = (&recorded.method, &recorded.path);
        let faults = state.faults().iter_mut();
        faults.filter_map(|fault| fault.strikes(method, path).then(|| fault.action.clone())).collect()
    };
    let length = recorded.header("content-length").and_then(|value| value.parse::<u64>().ok());
    let too_large = lock().body_bytes_max().is_some_and(|max| length.is_some_and(|length| length > max));
    // Like a proxy before the registry: refused by the announced length, before the body is read.
    if too_large {
        lock().requests().push(recorded);
        return Ok(respond(Reply::error(413, "SIZE_INVALID"), &[], "PUT"));
    }
    if let Some(Action::Drop { processed: false }) = actions.first() {
        lock().requests().push(recorded);
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    let limit = actions.iter().find_map(|action| match action {
        Action::CutRequestAfter(bytes) => Some(*bytes),
        _ => None,
    });
    let (bytes, whole) = receive(body, limit).await;
    recorded.body = bytes[..bytes.len().min(RECORDED_BODY_BYTES_MAX)].to_vec();
    recorded.body_bytes = bytes.len() as u64;
    if !whole {
        let mut state = lock();
        state.broken_off(&recorded, &bytes);
        state.requests().push(recorded);
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    let bytes = Bytes::from(bytes);
    lock().requests().push(recorded.clone());

    for action in &actions {
        match action {
            Action::Answer { status, headers, body } => {
                let mut reply = Reply::new(*status, body.clone());
                reply.headers.clone_from(headers);
                return Ok(respond(reply, &actions, &recorded.method));
            }
            Action::Delay(wait) => tokio::time::sleep(*wait).await,
            _ => {}
        }
    }
    let reply = lock().answer(&recorded, &bytes);
    if actions.iter().any(|action| matches!(action, Action::Drop { .. })) {
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    Ok(respond(reply, &actions, &recorded.method))
}

/// Reads a body, of which at most `limit` bytes are taken; also says whether it was read to its end.
async fn receive(mut body: Incoming, limit: Option<usize>) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        // The client broke off.
        let Ok(frame) = frame else { return (bytes, false) };
        bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        if let Some(limit) = limit.filter(|limit| bytes.len() >= *limit) {
            bytes.truncate(limit);
            return (bytes, false);
        }
    }
    (bytes, true)
}

/// Applies what faults do to answers.
fn respond(mut reply: Reply, actions: &[Action], method: &str) -> Response<ScriptedBody> {
    let full_length = reply.body.len();
    let mut body = ScriptedBody::new(Bytes::from(std::mem::take(&mut reply.body)));
    for action in actions {
        match action {
            Action::ResetBodyAfter(count) => body.break_after(*count),
            Action::TruncateBodyTo(count) => {
                let mut bytes = body.bytes().clone();
                bytes.truncate(*count);
                body.replace(bytes, false);
            }
            Action::ExtendBodyBy(count) => {
                let mut bytes = body.bytes().to_vec();
                bytes.resize(bytes.len() + count, b'+');
                body.replace(Bytes::from(bytes), false);
            }
            Action::EndlessBody => body.never_end(),
            Action::CorruptBody => {
                let mut bytes = body.bytes().to_vec();
                let middle = bytes.len() / 2;
                if let Some(byte) = bytes.get_mut(middle) {
                    *byte ^= 1;
                }
                body.replace(Bytes::from(bytes), true);
            }
            Action::ReplaceBody(bytes) => body.replace(Bytes::from(bytes.clone()), true),
            Action::SlowBody { bytes, pause } => body.slow_down(*bytes, *pause),
            Action::Header { name, value } => {
                reply.headers.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
                reply.headers.extend(value.clone().map(|value| (name.clone(), value)));
            }
            Action::Status(status) => reply.status = *status,
            Action::Answer { .. } | Action::Drop { .. } | Action::CutRequestAfter(_) | Action::Delay(_) => {}
        }
    }
    if method == "HEAD" {
        body = ScriptedBody::new(Bytes::new());
        if reply.status == 200 && !reply.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
            reply.headers.push(("Content-Length".to_owned(), full_length.to_string()));
        }
    }
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in reply.headers {
        let name = hyper::header::HeaderName::from_bytes(name.as_bytes());
        let value = hyper::header::HeaderValue::from_str(&value);
        if let (Ok(name), Ok(value)) = (name, value) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// What an honest registry answers.
fn answer(state: &mut State, request: &RecordedRequest, body: &Bytes) -> Reply {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let (host, authorization) = (request.header("host"), request.header("authorization"));
    if path == "/token" {
        return auth::token(state, &request.method, query, authorization, body);
    }
    let Some(rest) = path.strip_prefix("/v2/") else { return Reply::error(404, "NOT_FOUND") };
    let Some(target) = Target::parse(rest) else {
        return match auth::check(state, host, authorization, &[]) {
            Ok(()) => Reply::new(200, b"{}".to_vec()),
            Err(reply) => reply,
        };
    };
    let mut needed = vec![format!("repository:{}:pull", target.repository)];
    if !matches!(request.method.as_str(), "GET" | "HEAD") {
        needed.push(format!("repository:{}:push", target.repository));
    }
    if let Err(reply) = auth::check(state, host, authorization, &needed) {
        return reply;
    }
    let repository = target.repository;
    match (request.method.as_str(), target.kind, target.name) {
        ("GET" | "HEAD", "manifests", name) => get_manifest(state, repository, name),
        ("PUT", "manifests", name) => put_manifest(state, repository, name, request, body),
        ("GET" | "HEAD", "blobs", digest) => get_blob(state, repository, digest, request),
        ("POST", "uploads", "") => start_upload(state, repository, query, authorization),
        ("GET", "uploads", id) => upload_status(state, repository, id),
        ("PATCH", "uploads", id) => patch_upload(state, repository, id, request, body),
        ("PUT", "uploads", id) => finish_upload(state, repository, id, query, body),
        ("GET", "tags", "list") => list_tags(state, repository, query),
        ("GET", "referrers", digest) if state.config.referrers => list_referrers(state, repository, digest, query),
        _ => Reply::error(404, "NOT_FOUND"),
    }
}

/// What a path below `/v2/` names.
struct Target<'a> {
    repository: &'a str,
    kind: &'a str,
    name: &'a str,
}

impl<'a> Target<'a> {
    fn parse(rest: &'a str) -> Option<Self> {
        for (marker, kind) in [
            ("/blobs/uploads/", "uploads"),
            ("/blobs/", "blobs"),
            ("/manifests/", "manifests"),
            ("/tags/", "tags"),
            ("/referrers/", "referrers"),
        ] {
            if let Some((repository, name)) = rest.rsplit_once(marker) {
                return Some(Self { repository, kind, name });
            }
        }
        None
    }
}

fn get_manifest(state: &State, repository: &str, name: &str) -> Reply {
    let Some(found) = state.manifest(repository, name) else { return Reply::error(404, "MANIFEST_UNKNOWN") };
    Reply::new(200, found.bytes.to_vec())
        .with("Content-Type", &found.media_type)
        .with("Docker-Content-Digest", &Digest::of(&found.bytes).to_string())
        .with("ETag", &etag(&found.bytes))
}

fn etag(bytes: &[u8]) -> String {
    format!("\"{}\"", Digest::of(bytes))
}

/// Whether the conditions of a write hold (RFC 9110, section 13).
fn may_write(state: &State, repository: &str, name: &str, request: &RecordedRequest) -> bool {
    let current = state.manifest(repository, name).map(|found| etag(&found.bytes));
    let as_seen = request.header("if-match").is_none_or(|seen| current.as_deref() == Some(seen));
    as_seen && request.header("if-none-match").is_none_or(|_| current.is_none())
}

fn put_manifest(state: &mut State, repository: &str, name: &str, request: &RecordedRequest, body: &Bytes) -> Reply {
    let digest = Digest::of(body);
    if name.contains(':') && name != digest.to_string() {
        return Reply::error(400, "DIGEST_INVALID");
    }
    if !may_write(state, repository, name, request) {
        return Reply::error(412, "PRECONDITION_FAILED");
    }
    let media_type = request.header("content-type").unwrap_or("application/json").to_owned();
    let value: serde_json::Value = match serde_json::from_slice(body) {
        Ok(value) => value,
        Err(_) => return Reply::error(400, "MANIFEST_INVALID"),
    };
    // Everything it refers to must be there.
    let layers = value.get("layers").and_then(serde_json::Value::as_array).into_iter().flatten();
    for blob in value.get("config").into_iter().chain(layers) {
        let digest = blob.get("digest").and_then(serde_json::Value::as_str).unwrap_or_default();
        if state.blob(repository, digest).is_none() {
            return Reply::error(400, "MANIFEST_BLOB_UNKNOWN");
        }
    }
    for manifest in value.get("manifests").and_then(serde_json::Value::as_array).into_iter().flatten() {
        let digest = manifest.get("digest").and_then(serde_json::Value::as_str).unwrap_or_default();
        if state.manifest(repository, digest).is_none() {
            return Reply::error(400, "MANIFEST_BLOB_UNKNOWN");
        }
    }
    state.put_manifest(repository, name, &media_type, body.to_vec());
    let reply = Reply::new(201, Vec::new())
        .with("Docker-Content-Digest", &digest.to_string())
        .with("Location", &format!("/v2/{repository}/manifests/{digest}"));
    match value.pointer("/subject/digest").and_then(serde_json::Value::as_str) {
        Some(subject) if state.config.referrers => reply.with("OCI-Subject", subject),
        _ => reply,
    }
}

fn get_blob(state: &State, repository: &str, digest: &str, request: &RecordedRequest) -> Reply {
    let Some(bytes) = state.blob(repository, digest) else { return Reply::error(404, "BLOB_UNKNOWN") };
    if let Some(base) = state.config.redirect_blobs_to.as_ref().filter(|_| request.method == "GET") {
        return Reply::new(307, Vec::new()).with("Location", &format!("{base}{}", request.path));
    }
    let reply = |status, bytes: &[u8]| {
        Reply::new(status, bytes.to_vec())
            .with("Content-Type", "application/octet-stream")
            .with("Docker-Content-Digest", digest)
    };
    let first = request
        .header("range")
        .filter(|_| state.config.ranges)
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    match first {
        Some(first) if first >= bytes.len() => {
            Reply::error(416, "RANGE_INVALID").with("Content-Range", &format!("bytes */{}", bytes.len()))
        }
        Some(first) => reply(206, &bytes[first..])
            .with("Content-Range", &format!("bytes {first}-{}/{}", bytes.len() - 1, bytes.len())),
        None => reply(200, &bytes),
    }
}

fn start_upload(state: &mut State, repository: &str, query: &str, authorization: Option<&str>) -> Reply {
    let mount = query_values(query, "mount").into_iter().next();
    let from = query_values(query, "from").into_iter().next();
    if let (Some(digest), Some(from), true) = (mount, from, state.config.mounts) {
        let token = authorization.and_then(|value| value.strip_prefix("Bearer "));
        let allowed = token.is_none_or(|token| auth::allows(state, token, &[format!("repository:{from}:pull")]));
        if allowed && state.mount(&from, repository, &digest) {
            return Reply::new(201, Vec::new())
                .with("Location", &format!("/v2/{repository}/blobs/{digest}"))
                .with("Docker-Content-Digest", &digest);
        }
    }
    let id = format!("upload-{}", state.next_serial());
    state.uploads.insert(id.clone(), Vec::new());
    upload_reply(state, 202, repository, &id)
}

fn upload_reply(state: &State, status: u16, repository: &str, id: &str) -> Reply {
    let held = state.uploads.get(id).map_or(0, Vec::len);
    // The query must survive the client's own additions.
    let mut reply = Reply::new(status, Vec::new())
        .with("Location", &format!("/v2/{repository}/blobs/uploads/{id}?state=opaque%3D"))
        .with("Range", &format!("0-{}", held.saturating_sub(1)));
    if let Some(bytes) = state.config.chunk_bytes_min {
        reply = reply.with("OCI-Chunk-Min-Length", &bytes.to_string());
    }
    reply
}

fn upload_status(state: &State, repository: &str, id: &str) -> Reply {
    if state.uploads.contains_key(id) {
        upload_reply(state, 204, repository, id)
    } else {
        Reply::error(404, "BLOB_UPLOAD_UNKNOWN")
    }
}

fn patch_upload(state: &mut State, repository: &str, id: &str, request: &RecordedRequest, body: &[u8]) -> Reply {
    let Some(held) = state.uploads.get_mut(id) else { return Reply::error(404, "BLOB_UPLOAD_UNKNOWN") };
    let first = request.header("content-range").and_then(|range| range.split_once('-')?.0.parse::<usize>().ok());
    if first.is_some_and(|first| first != held.len()) {
        return Reply::error(416, "RANGE_INVALID");
    }
    held.extend_from_slice(body);
    upload_reply(state, 202, repository, id)
}

/// What an honest registry does with a request to an upload of which only a part arrived.
fn keep_partial(state: &mut State, request: &RecordedRequest, partial: &[u8]) {
    let path = request.path.split('?').next().unwrap_or_default();
    let Some(target) = path.strip_prefix("/v2/").and_then(Target::parse) else { return };
    let is_upload = target.kind == "uploads" && matches!(request.method.as_str(), "PATCH" | "PUT");
    let needed = [format!("repository:{}:push", target.repository)];
    if is_upload
        && state.config.keeps_partial_uploads
        && auth::check(state, request.header("host"), request.header("authorization"), &needed).is_ok()
    {
        // The answer reaches nobody.
        let _ = patch_upload(state, target.repository, target.name, request, partial);
    }
}

fn finish_upload(state: &mut State, repository: &str, id: &str, query: &str, body: &Bytes) -> Reply {
    if !state.config.monolithic && !body.is_empty() {
        return Reply::error(413, "UNSUPPORTED");
    }
    let Some(mut bytes) = state.uploads.remove(id) else { return Reply::error(404, "BLOB_UPLOAD_UNKNOWN") };
    bytes.extend_from_slice(body);
    let wanted = query_values(query, "digest").into_iter().next().unwrap_or_default();
    if Digest::of(&bytes).to_string() != wanted || query_values(query, "state") != ["opaque="] {
        return Reply::error(400, "DIGEST_INVALID");
    }
    state.put_blob(repository, bytes);
    Reply::new(201, Vec::new())
        .with("Docker-Content-Digest", &wanted)
        .with("Location", &format!("/v2/{repository}/blobs/{wanted}"))
}

fn list_tags(state: &State, repository: &str, query: &str) -> Reply {
    let last = query_values(query, "last").into_iter().next();
    let Some(mut tags) = state.tags_after(repository, last.as_deref()) else {
        return Reply::error(404, "NAME_UNKNOWN");
    };
    let asked = query_values(query, "n").first().and_then(|n| n.parse::<usize>().ok()).unwrap_or(usize::MAX);
    let size = state.config.tags_per_page.min(asked);
    let more = tags.len() > size;
    tags.truncate(size);
    let body = serde_json::json!({ "name": repository, "tags": tags });
    let mut reply = Reply::new(200, body.to_string().into_bytes()).with("Content-Type", "application/json");
    if let Some(last) = tags.last().filter(|_| more) {
        let link = format!("</v2/{repository}/tags/list?last={last}&n={size}>; rel=\"next\"");
        reply = reply.with("Link", &link);
    }
    reply
}

fn list_referrers(state: &State, repository: &str, subject: &str, query: &str) -> Reply {
    let mut manifests = state.referrers(repository, subject);
    let wanted = query_values(query, "artifactType").into_iter().next().filter(|_| state.config.filters_referrers);
    if let Some(wanted) = &wanted {
        manifests.retain(|manifest| manifest["artifactType"] == wanted.as_str());
    }
    let number = |name| query_values(query, name).first().and_then(|text| text.parse::<usize>().ok());
    let first = number("first").unwrap_or(0).min(manifests.len());
    let end = manifests.len().min(first + state.config.referrers_per_page);
    let media_type = "application/vnd.oci.image.index.v1+json";
    let page = &manifests[first..end];
    let index = serde_json::json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": page });
    let mut reply = Reply::new(200, index.to_string().into_bytes()).with("Content-Type", media_type);
    if wanted.is_some() {
        reply = reply.with("OCI-Filters-Applied", "artifactType");
    }
    if end < manifests.len() {
        let link = format!("</v2/{repository}/referrers/{subject}?first={end}&{query}>; rel=\"next\"");
        reply = reply.with("Link", &link);
    }
    reply
}

/// The decoded values of `name` in a query or form.
pub(super) fn query_values(query: &str, name: &str) -> Vec<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| decode(value)).collect()
}

/// Undoes the encoding of a form.
pub(super) fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        let hex = tail.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            (b'+', _) => bytes.push(b' '),
            (other, _) => bytes.push(*other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
