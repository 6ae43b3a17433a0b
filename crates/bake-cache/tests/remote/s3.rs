//! S3 as a server in this process speaks it, which misbehaves on demand.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bake_cache::{Backend, S3Backend, S3Options, S3RetryMode};
use bake_registry::Secret;
use bake_testkit::registry::{Action, Fault, RecordedRequest};
use bake_testkit::service::{FakeService, Reply, content};

use crate::Test;
use crate::moto;
use crate::support::{Place, quick, text};

pub(crate) const TESTS: &[Test] = &[
    ("s3_a_broken_download_is_resumed", &[], resumed),
    ("s3_a_damaged_download_is_refused", &[], damaged),
    ("s3_a_silent_server_is_given_up", &[], silent),
    ("s3_a_busy_server_is_obeyed", &[], busy),
    ("s3_attempts_are_counted", &[], attempts),
    ("s3_what_is_there_is_not_sent", &[], not_sent_again),
    ("s3_who_may_not_look_may_still_write", &[], write_only),
    ("s3_a_failed_upload_in_parts_is_aborted", &[], aborted),
    ("s3_an_error_inside_of_a_200_is_seen", &[], late_error),
    ("s3_a_damaged_blob_of_the_store_is_not_sent", &[], damaged_store),
    ("s3_the_right_region_is_told", &[], region),
    ("s3_the_bucket_may_be_part_of_the_host", &[], virtual_host),
    ("s3_a_cancelled_export_ends_at_once", &[], cancelled),
    ("s3_secrets_stay_secret", &[], secrets),
];

const SECRET: &str = "a-secret-access-key";
const TOKEN: &str = "a-session-token";

fn error(status: u16, code: &str) -> Reply {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>no: {code}</Message></Error>");
    Reply::new(status, body.into_bytes())
}

/// A server with a bucket: whole objects and uploads in parts.
fn start() -> FakeService {
    FakeService::start(|_| {
        let mut objects: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut parts: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        Box::new(move |request: &RecordedRequest, body: &[u8]| {
            let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
            match (request.method.as_str(), query) {
                ("GET" | "HEAD", "") => match objects.get(path) {
                    Some(bytes) => content(request, bytes).with("Last-Modified", "Fri, 24 May 2013 00:00:00 GMT"),
                    None => error(404, "NoSuchKey"),
                },
                ("PUT", "") if request.header("x-amz-copy-source").is_some() => {
                    Reply::new(200, b"<CopyObjectResult><ETag>x</ETag></CopyObjectResult>".to_vec())
                }
                ("PUT", "") => {
                    objects.insert(path.to_owned(), body.to_vec());
                    Reply::new(200, Vec::new())
                }
                ("POST", "uploads=") => Reply::new(200, b"<R><UploadId>one</UploadId></R>".to_vec()),
                ("PUT", part) => {
                    parts.insert(part.to_owned(), body.to_vec());
                    Reply::new(200, Vec::new()).with("ETag", "\"tag\"")
                }
                ("POST", _) => {
                    objects.insert(path.to_owned(), parts.values().flatten().copied().collect());
                    Reply::new(200, b"<CompleteMultipartUploadResult/>".to_vec())
                }
                _ => Reply::new(204, Vec::new()),
            }
        })
    })
    .unwrap()
}

fn options(service: &FakeService) -> S3Options {
    moto::options(&format!("http://{}", service.addr), "AKID", SECRET)
}

fn backend(place: &Place, options: S3Options) -> S3Backend {
    S3Backend::new(options, place.connection(&quick())).unwrap()
}

fn asked(service: &FakeService, method: &str, path: &str) -> Vec<RecordedRequest> {
    let all = service.take_requests();
    all.into_iter().filter(|request| request.method == method && request.path.contains(path)).collect()
}

fn resumed() {
    let (here, there, service) = (Place::new(), Place::new(), start());
    let backend = backend(&here, options(&service));
    let blob = here.blob(1, 5_000_000);
    here.write(&backend, b"{}", std::slice::from_ref(&blob)).unwrap();
    service.take_requests();
    service.inject(Fault::times(2, "/blobs/", Action::ResetBodyAfter(1_500_000)).on("GET"));
    there.fetch(&backend, &blob).unwrap();
    assert!(there.has(&blob));
    let ranges: Vec<_> =
        asked(&service, "GET", "/blobs/").iter().map(|get| get.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges.len(), 3, "{ranges:?}");
    assert!(ranges[0].is_none() && ranges[1..].iter().all(Option::is_some), "{ranges:?}");
    // What is there is not asked for.
    there.fetch(&backend, &blob).unwrap();
    assert!(service.take_requests().is_empty());
}

fn damaged() {
    let (here, there, service) = (Place::new(), Place::new(), start());
    let backend = backend(&here, options(&service));
    let blob = here.blob(1, 5_000_000);
    here.write(&backend, b"{}", std::slice::from_ref(&blob)).unwrap();
    service.inject(Fault::always("/blobs/", Action::CorruptBody));
    let error = text(&there.fetch(&backend, &blob).unwrap_err());
    assert!(error.contains(&blob.digest.to_string()) && error.contains("has digest"), "{error}");
    assert!(!there.has(&blob));
    service.clear_faults();
    service.inject(Fault::always("/blobs/", Action::ExtendBodyBy(100)));
    assert!(there.fetch(&backend, &blob).is_err());
    service.clear_faults();
    there.fetch(&backend, &blob).unwrap();
    assert!(there.has(&blob));
}

fn silent() {
    let (here, there, service) = (Place::new(), Place::new(), start());
    let backend = backend(&here, options(&service));
    let blob = here.blob(1, 5_000);
    here.write(&backend, b"{}", std::slice::from_ref(&blob)).unwrap();
    let slow = Action::SlowBody { bytes: 1, pause: Duration::from_millis(100) };
    service.inject(Fault::always("/blobs/", slow));
    let error = text(&there.fetch(&backend, &blob).unwrap_err());
    assert!(error.contains("took longer than 1 s"), "{error}");
}

fn busy() {
    let (here, service) = (Place::new(), start());
    let adaptive = S3Options { retry_mode: S3RetryMode::Adaptive, ..options(&service) };
    for options in [options(&service), adaptive] {
        let backend = backend(&here, options);
        service.inject(Fault::times(1, "/manifests/", Action::retry_after(503, "1")));
        let before = Instant::now();
        here.write(&backend, b"{}", &[]).unwrap();
        assert!(before.elapsed() >= Duration::from_secs(1), "it came back too early");
        service.clear_faults();
    }
    // Nobody waits an hour.
    let backend = backend(&here, options(&service));
    service.inject(Fault::always("/manifests/", Action::retry_after(503, "3600")));
    let before = Instant::now();
    let error = text(&here.write(&backend, b"{}", &[]).unwrap_err());
    assert!(error.contains("503") && before.elapsed() < Duration::from_secs(3), "{error}");
}

fn attempts() {
    let (here, service) = (Place::new(), start());
    let backend = backend(&here, S3Options { retry_max_attempts: Some(2), ..options(&service) });
    let slow_down = Action::Answer {
        status: 503,
        headers: Vec::new(),
        body: b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>".to_vec(),
    };
    service.inject(Fault::always("/manifests/", slow_down));
    let error = text(&backend.read_document().unwrap_err());
    assert!(error.contains("SlowDown: Reduce your request rate."), "{error}");
    assert_eq!(service.take_requests().len(), 2);
}

fn not_sent_again() {
    let (here, service) = (Place::new(), start());
    let fresh = backend(&here, S3Options { touch_refresh: Duration::from_hours(24 * 365 * 1000), ..options(&service) });
    let blob = here.blob(1, 5_000);
    here.write(&fresh, b"{}", std::slice::from_ref(&blob)).unwrap();
    service.take_requests();
    here.write(&fresh, b"{}", std::slice::from_ref(&blob)).unwrap();
    assert!(asked(&service, "PUT", "/blobs/").is_empty());
    // The object is from 2013: old enough to be refreshed after a day.
    let refreshing = backend(&here, options(&service));
    here.write(&refreshing, b"{}", std::slice::from_ref(&blob)).unwrap();
    let copies = asked(&service, "PUT", "/blobs/");
    assert_eq!(copies.len(), 1);
    let source = format!("/caches/blobs/sha256%3A{}", blob.digest.hex());
    assert_eq!(copies[0].header("x-amz-copy-source"), Some(&*source));
    assert_eq!(copies[0].header("x-amz-metadata-directive"), Some("REPLACE"));
    assert!(copies[0].header("authorization").unwrap().contains("x-amz-copy-source"));
}

fn write_only() {
    let (here, service) = (Place::new(), start());
    let backend = backend(&here, options(&service));
    service.inject(Fault::always("/blobs/", Action::Status(403)).on("HEAD"));
    here.write(&backend, b"{}", &[here.blob(1, 5_000)]).unwrap();
    assert_eq!(asked(&service, "PUT", "/blobs/").len(), 1);
}

fn aborted() {
    let (here, service) = (Place::new(), start());
    let backend = backend(&here, options(&service));
    let blob = here.blob(1, (64 << 20) + 5);
    let denied =
        Action::Answer { status: 403, headers: Vec::new(), body: b"<Error><Code>AccessDenied</Code></Error>".to_vec() };
    service.inject(Fault::always("partNumber=2", denied));
    let error = text(&here.write(&backend, b"{}", std::slice::from_ref(&blob)).unwrap_err());
    assert!(error.contains("AccessDenied"), "{error}");
    let requests = service.take_requests();
    assert!(requests.iter().any(|request| request.method == "DELETE" && request.path.contains("uploadId=one")));
    assert!(
        !requests.iter().any(|request| request.path.contains("/manifests/")),
        "the document is there without a blob"
    );

    // A part that fails once is sent again, and the parts are put together in their order.
    service.clear_faults();
    service.inject(Fault::times(1, "partNumber=1", Action::Status(500)));
    here.write(&backend, b"{}", std::slice::from_ref(&blob)).unwrap();
    let there = Place::new();
    there.fetch(&backend, &blob).unwrap();
    assert!(there.has(&blob));
    assert!(asked(&service, "DELETE", "").is_empty());
}

fn late_error() {
    let (here, service) = (Place::new(), start());
    let backend = backend(&here, options(&service));
    let late = |code: &str| Action::ReplaceBody(format!("<Error><Code>{code}</Code></Error>").into_bytes());
    service.inject(Fault::times(2, "uploadId=one", late("InternalError")).on("POST"));
    let blob = here.blob(1, (64 << 20) + 5);
    here.write(&backend, b"{}", std::slice::from_ref(&blob)).unwrap();
    assert_eq!(asked(&service, "POST", "uploadId=one").len(), 3);
    service.inject(Fault::always("uploadId=one", late("InvalidPart")).on("POST"));
    let error = text(&here.write(&backend, b"{}", &[here.blob(2, (64 << 20) + 5)]).unwrap_err());
    assert!(error.contains("InvalidPart"), "{error}");
}

fn damaged_store() {
    let (here, service) = (Place::new(), start());
    let backend = backend(&here, options(&service));
    let blob = here.blob(1, 5_000);
    let path = walk(here.directory.path()).into_iter().find(|path| path.ends_with(blob.digest.hex())).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[1234] ^= 1;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let error = text(&here.write(&backend, b"{}", std::slice::from_ref(&blob)).unwrap_err());
    assert!(error.contains("has digest"), "{error}");
    assert!(asked(&service, "PUT", "").is_empty());
}

fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

fn region() {
    let (here, service) = (Place::new(), start());
    let backend = backend(&here, options(&service));
    let moved = Action::Answer {
        status: 301,
        headers: vec![("x-amz-bucket-region".to_owned(), "eu-west-1".to_owned())],
        body: b"<Error><Code>PermanentRedirect</Code><Message>It is elsewhere</Message></Error>".to_vec(),
    };
    service.inject(Fault::always("/manifests/", moved));
    let error = text(&backend.read_document().unwrap_err());
    assert!(error.contains("PermanentRedirect: It is elsewhere; the bucket is in the region `eu-west-1`"), "{error}");
}

fn virtual_host() {
    let (here, service) = (Place::new(), start());
    let endpoint_url = Some(format!("http://localhost:{}", service.addr.port()));
    let backend = backend(&here, S3Options { endpoint_url, use_path_style: false, ..options(&service) });
    here.write(&backend, b"{}", &[]).unwrap();
    assert_eq!(backend.read_document().unwrap().as_deref(), Some(&b"{}"[..]));
    for request in service.take_requests() {
        assert_eq!(request.path, "/manifests/bake");
        assert_eq!(request.header("host"), Some(&*format!("caches.localhost:{}", service.addr.port())));
    }
}

fn cancelled() {
    let (here, service) = (Place::new(), start());
    let backend = backend(&here, options(&service));
    let blob = here.blob(1, (64 << 20) + 5);
    // The service does not answer, and would be waited for.
    service.inject(Fault::always("partNumber=", Action::Delay(Duration::from_secs(20))));
    std::thread::scope(|scope| {
        let write = scope.spawn(|| here.write(&backend, b"{}", std::slice::from_ref(&blob)));
        std::thread::sleep(Duration::from_secs(2));
        here.cancelled.store(true, Ordering::SeqCst);
        let before = Instant::now();
        let error = text(&write.join().unwrap().unwrap_err());
        assert!(error.contains("the build was cancelled") && before.elapsed() < Duration::from_secs(2), "{error}");
    });
    assert_eq!(asked(&service, "DELETE", "uploadId=one").len(), 1);
}

fn secrets() {
    let (here, service) = (Place::new(), start());
    let mut options = options(&service);
    options.credentials.session_token = Some(Secret::new(TOKEN));
    let shown = format!("{options:?}");
    let backend = backend(&here, options);
    let blob = here.blob(1, 5_000);
    service.inject(Fault::always("/manifests/", Action::Status(403)));
    let error = text(&here.write(&backend, b"{}", std::slice::from_ref(&blob)).unwrap_err());
    for text in [shown, format!("{backend:?}"), error] {
        assert!(!text.contains(SECRET) && !text.contains(TOKEN) && !text.contains("Signature"), "{text}");
    }
    let requests = service.take_requests();
    assert!(requests.iter().all(|request| !request.contains(SECRET)));
    assert!(requests.iter().all(|request| request.header("x-amz-security-token") == Some(TOKEN)));
}
