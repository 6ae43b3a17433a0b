//! Resolving and fetching: what works, and what is retried or resumed.

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bake_oci::Digest;
use bake_registry::{FileSink, Mirror, Options, Proxies, RegistryFailure};
use bake_testkit::registry::{Action, Config, Fault, RawServer};

use crate::support::{
    OCI_MANIFEST, anonymous, bytes, client, descriptor, fetch, manifest_of, put_image, quick, reference, start, text,
};

#[tokio::test]
async fn a_manifest_is_resolved_by_tag_and_by_digest() {
    let registry = start(Config::default());
    let digest = put_image(&registry);
    let client = anonymous();
    let by_tag = client.resolve(&reference(&registry.host(), "app:1")).await.unwrap();
    assert_eq!(by_tag.digest, digest);
    assert_eq!(by_tag.bytes, manifest_of(b"{}"));
    assert_eq!(by_tag.descriptor.media_type().to_string(), OCI_MANIFEST);
    assert_eq!(by_tag.descriptor.size(), by_tag.bytes.len() as u64);
    let by_digest = client.resolve(&reference(&registry.host(), &format!("app@{digest}"))).await.unwrap();
    assert_eq!(by_digest, by_tag);
    let (media_type, bytes) = client.fetch_manifest(&reference(&registry.host(), "app"), &digest).await.unwrap();
    assert_eq!((media_type.as_str(), bytes), (OCI_MANIFEST, by_tag.bytes));
    let head = client.head_manifest(&reference(&registry.host(), "app:1")).await.unwrap().unwrap();
    assert_eq!(head.digest, digest);
    assert_eq!(head.size_bytes, Some(manifest_of(b"{}").len() as u64));
    assert_eq!(client.head_manifest(&reference(&registry.host(), "app:2")).await.unwrap(), None);
}

#[tokio::test]
async fn a_missing_manifest_is_not_found_and_names_the_reference_and_the_registrys_words() {
    let registry = start(Config::default());
    let error = anonymous().resolve(&reference(&registry.host(), "app:1")).await.unwrap_err();
    assert!(error.is_not_found());
    let text = text(&error);
    assert!(text.contains("app:1") && text.contains("404") && text.contains("MANIFEST_UNKNOWN"), "{text}");
}

#[tokio::test]
async fn a_head_without_digest_falls_back_to_the_manifest() {
    let registry = start(Config::default());
    let digest = put_image(&registry);
    let remove = Action::Header { name: "Docker-Content-Digest".to_owned(), value: None };
    registry.inject(Fault::always("/manifests/", remove));
    let head = anonymous().head_manifest(&reference(&registry.host(), "app:1")).await.unwrap().unwrap();
    assert_eq!(head.digest, digest);
}

#[tokio::test]
async fn a_blob_is_fetched_with_progress() {
    let registry = start(Config::default());
    let content = bytes(3_000_000);
    let digest = registry.put_blob("app", &content);
    let seen = AtomicU64::new(0);
    let received = anonymous()
        .fetch_blob(
            &reference(&registry.host(), "app"),
            &descriptor(&digest, content.len()),
            bake_registry::MemorySink::new(),
            &|bytes| seen.store(bytes, Ordering::Relaxed),
        )
        .await
        .unwrap();
    assert!(received == content);
    assert_eq!(seen.load(Ordering::Relaxed), 3_000_000);
    assert_eq!(registry.requests().len(), 1);
}

#[tokio::test]
async fn an_empty_blob_needs_no_request_and_sha512_is_checked() {
    let registry = start(Config::default());
    assert_eq!(fetch(&anonymous(), &registry.host(), &Digest::of(b""), 0).await.unwrap(), b"");
    assert_eq!(registry.requests().len(), 0);
    // SHA-512 of nothing.
    let empty = "sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e";
    assert_eq!(fetch(&anonymous(), &registry.host(), &Digest::parse(empty).unwrap(), 0).await.unwrap(), b"");
}

#[tokio::test]
async fn a_broken_transfer_is_resumed_at_every_point() {
    let registry = start(Config::default());
    let content = bytes(64 * 1024);
    let digest = registry.put_blob("app", &content);
    let client = anonymous();
    for point in 0..64 {
        let at = point * 1024 + 1;
        registry.clear_faults();
        registry.inject(Fault::times(1, "/blobs/", Action::ResetBodyAfter(at)));
        registry.take_requests();
        assert!(fetch(&client, &registry.host(), &digest, content.len()).await.unwrap() == content, "at {at}");
        let requests = registry.take_requests();
        assert_eq!(requests.len(), 2, "at {at}");
        // Everything that arrived is kept: the second request asks for the rest only.
        let first: usize = requests[1].header("range").map_or(0, |r| r["bytes=".len()..r.len() - 1].parse().unwrap());
        assert!(first <= at && at - first <= 16 * 1024, "broke at {at}, resumed at {first}");
    }
}

#[tokio::test]
async fn a_body_that_ends_early_without_a_length_is_resumed() {
    let registry = start(Config::default());
    let content = bytes(10_000);
    let digest = registry.put_blob("app", &content);
    registry.inject(Fault::times(1, "/blobs/", Action::TruncateBodyTo(4_000)));
    assert!(fetch(&anonymous(), &registry.host(), &digest, content.len()).await.unwrap() == content);
    assert_eq!(registry.requests()[1].header("range"), Some("bytes=4000-"));
}

#[tokio::test]
async fn a_server_without_ranges_is_read_again_from_the_start() {
    let registry = start(Config { ranges: false, ..Config::default() });
    let content = bytes(10_000);
    let digest = registry.put_blob("app", &content);
    registry.inject(Fault::times(1, "/blobs/", Action::TruncateBodyTo(4_000)));
    assert!(fetch(&anonymous(), &registry.host(), &digest, content.len()).await.unwrap() == content);
}

#[tokio::test]
async fn a_refused_range_starts_over() {
    let registry = start(Config::default());
    let content = bytes(10_000);
    let digest = registry.put_blob("app", &content);
    registry.inject(Fault::times(1, "/blobs/", Action::TruncateBodyTo(4_000)));
    registry.inject(Fault::times(1, "/blobs/", Action::error(416, "RANGE_INVALID")).after(1));
    assert!(fetch(&anonymous(), &registry.host(), &digest, content.len()).await.unwrap() == content);
    assert_eq!(registry.requests().len(), 3);
}

#[tokio::test]
async fn another_range_than_asked_is_refused() {
    let registry = start(Config::default());
    let content = bytes(10_000);
    let digest = registry.put_blob("app", &content);
    registry.inject(Fault::times(1, "/blobs/", Action::TruncateBodyTo(4_000)));
    registry.inject(Fault::always("/blobs/", Action::header("Content-Range", "bytes 3999-9999/10000")).after(1));
    let error = fetch(&anonymous(), &registry.host(), &digest, content.len()).await.unwrap_err();
    assert!(matches!(error.failure(), RegistryFailure::Protocol { .. }), "{}", text(&error));
}

#[tokio::test]
async fn a_part_file_is_completed_and_a_rotten_one_is_replaced() {
    let registry = start(Config::default());
    let content = bytes(200_000);
    let digest = registry.put_blob("app", &content);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("part");
    let open = || std::fs::File::options().read(true).write(true).create(true).truncate(false).open(&path).unwrap();
    for rotten in [false, true] {
        let mut part = content[..150_000].to_vec();
        part[77] ^= u8::from(rotten);
        std::fs::write(&path, &part).unwrap();
        registry.take_requests();
        let sink = FileSink::resume(open(), &digest).unwrap();
        let blob = descriptor(&digest, content.len());
        anonymous().fetch_blob(&reference(&registry.host(), "app"), &blob, sink, &|_| {}).await.unwrap();
        assert!(std::fs::read(&path).unwrap() == content);
        let requests = registry.take_requests();
        assert_eq!(requests[0].header("range"), Some("bytes=150000-"));
        assert_eq!(requests.len(), if rotten { 2 } else { 1 });
    }
    // One that is longer than the blob.
    std::fs::write(&path, bytes(300_000)).unwrap();
    let sink = FileSink::resume(open(), &digest).unwrap();
    let blob = descriptor(&digest, content.len());
    anonymous().fetch_blob(&reference(&registry.host(), "app"), &blob, sink, &|_| {}).await.unwrap();
    assert!(std::fs::read(&path).unwrap() == content);
}

/// A sink on a full disk. (`/dev/full` reads as endless zeros, so [`FileSink`] cannot be put on it.)
struct Full(std::fs::File);

impl bake_registry::BlobSink for Full {
    type Output = ();

    fn held_bytes(&self) -> u64 {
        0
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        std::io::Write::write_all(&mut self.0, bytes)
    }

    fn restart(&mut self) -> std::io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, _: &Digest) -> Result<(), bake_registry::SinkError> {
        Ok(())
    }
}

#[tokio::test]
async fn a_sink_that_fails_ends_the_fetch_with_its_error() {
    let registry = start(Config::default());
    let content = bytes(5_000_000);
    let digest = registry.put_blob("app", &content);
    let file = std::fs::File::options().read(true).write(true).open("/dev/full").unwrap();
    let blob = descriptor(&digest, content.len());
    let result = anonymous().fetch_blob(&reference(&registry.host(), "app"), &blob, Full(file), &|_| {}).await;
    let error = result.unwrap_err();
    let RegistryFailure::Sink { source, .. } = error.failure() else { panic!("{}", text(&error)) };
    assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
}

#[tokio::test]
async fn busy_registries_are_asked_again() {
    let registry = start(Config::default());
    let digest = put_image(&registry);
    for (status, header) in
        [(429, "0"), (503, "0"), (500, "0"), (502, "nonsense"), (504, "Thu, 01 Jan 1970 00:00:00 GMT")]
    {
        registry.clear_faults();
        registry.inject(Fault::times(3, "/manifests/", Action::retry_after(status, header)));
        let resolved = anonymous().resolve(&reference(&registry.host(), "app:1")).await.unwrap();
        assert_eq!(resolved.digest, digest);
    }
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let registry = start(Config::default());
    put_image(&registry);
    registry.inject(Fault::times(1, "/manifests/", Action::retry_after(429, "1")));
    let begin = Instant::now();
    anonymous().resolve(&reference(&registry.host(), "app:1")).await.unwrap();
    assert!(begin.elapsed() >= Duration::from_secs(1));
    // The other form: a date, of whole seconds.
    let output =
        Command::new("date").args(["-u", "-d", "2 seconds", "+%a, %d %b %Y %H:%M:%S GMT"]).env("LC_ALL", "C").output();
    let date = String::from_utf8(output.unwrap().stdout).unwrap();
    registry.inject(Fault::times(1, "/manifests/", Action::retry_after(503, date.trim())));
    let begin = Instant::now();
    anonymous().resolve(&reference(&registry.host(), "app:1")).await.unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(500), "{:?} for {date}", begin.elapsed());
}

#[tokio::test]
async fn a_long_retry_after_is_an_error_at_once_and_retries_end() {
    let registry = start(Config::default());
    registry.inject(Fault::always("/manifests/", Action::retry_after(429, "86400")));
    let error = anonymous().resolve(&reference(&registry.host(), "app:1")).await.unwrap_err();
    assert!(
        matches!(error.failure(), RegistryFailure::TooManyRequests { retry_after: Some(wait), .. } if wait.as_secs() == 86_400)
    );
    assert_eq!(registry.take_requests().len(), 1);
    registry.clear_faults();
    registry.inject(Fault::always("/manifests/", Action::retry_after(503, "0")));
    let error = anonymous().resolve(&reference(&registry.host(), "app:1")).await.unwrap_err();
    assert!(matches!(error.failure(), RegistryFailure::Status { .. }), "{}", text(&error));
    assert_eq!(registry.take_requests().len(), 6);
}

#[tokio::test]
async fn a_manifest_that_breaks_off_is_asked_again() {
    let registry = start(Config::default());
    let digest = put_image(&registry);
    registry.inject(Fault::times(1, "/manifests/", Action::ResetBodyAfter(10)));
    registry.inject(Fault::times(1, "/manifests/", Action::Drop { processed: false }).after(1));
    let resolved = anonymous().resolve(&reference(&registry.host(), "app:1")).await.unwrap();
    assert_eq!(resolved.digest, digest);
}

#[tokio::test]
async fn mirrors_go_first_and_are_not_trusted() {
    let (origin, mirror) = (start(Config::default()), start(Config::default()));
    let digest = put_image(&origin);
    let mirrors = vec![Mirror { of: origin.host(), host: mirror.host() }];
    let client = client(Options { mirrors, ..quick() });
    let wanted = reference(&origin.host(), &format!("app@{digest}"));
    // It does not have it: the origin does.
    assert_eq!(client.resolve(&wanted).await.unwrap().digest, digest);
    assert!(mirror.take_requests()[0].path.contains(&format!("ns={}", origin.host().replace(':', "%3A"))));
    // It has it.
    put_image(&mirror);
    origin.take_requests();
    assert_eq!(client.resolve(&wanted).await.unwrap().digest, digest);
    assert_eq!(origin.take_requests().len(), 0);
    // It lies.
    mirror.inject(Fault::always("/v2/", Action::CorruptBody));
    assert_eq!(client.resolve(&wanted).await.unwrap().digest, digest);
    let content = bytes(50_000);
    let blob = origin.put_blob("app", &content);
    mirror.put_blob("app", &content);
    assert!(fetch(&client, &origin.host(), &blob, content.len()).await.unwrap() == content);
}

#[tokio::test]
async fn tags_are_listed_over_all_pages() {
    let registry = start(Config { tags_per_page: 7, ..Config::default() });
    let mut expected = Vec::new();
    for number in 0..50 {
        let tag = format!("v{number:03}");
        registry.put_manifest("app", &tag, OCI_MANIFEST, &manifest_of(b"{}"));
        expected.push(tag);
    }
    assert_eq!(anonymous().list_tags(&reference(&registry.host(), "app")).await.unwrap(), expected);
    assert!(anonymous().list_tags(&reference(&registry.host(), "other")).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn an_operation_has_a_total_limit() {
    let registry = start(Config::default());
    registry.inject(Fault::always("/manifests/", Action::retry_after(503, "2")));
    let mut options = quick();
    options.timeouts.total = Some(Duration::from_millis(300));
    let begin = Instant::now();
    let error = client(options).resolve(&reference(&registry.host(), "app:1")).await.unwrap_err();
    assert!(matches!(error.failure(), RegistryFailure::Timeout { .. }), "{}", text(&error));
    assert!(begin.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn operations_can_be_spawned_and_run_side_by_side() {
    let registry = start(Config::default());
    let client = std::sync::Arc::new(anonymous());
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..8_usize {
        let (client, host) = (std::sync::Arc::clone(&client), registry.host());
        tasks.spawn(async move {
            let content = bytes(100_000 + number);
            client.push_blob(&reference(&host, "app"), crate::support::source(&content, None)).await.unwrap();
            let digest = Digest::of(&content);
            assert!(fetch(&client, &host, &digest, content.len()).await.unwrap() == content);
        });
    }
    while let Some(result) = tasks.join_next().await {
        result.unwrap();
    }
}

#[tokio::test]
async fn a_proxy_is_used_for_remote_registries_and_not_for_loopback() {
    let proxy = RawServer::start(|request| {
        let body = if request.method == "CONNECT" { b"no".to_vec() } else { manifest_of(b"{}") };
        let status = if request.method == "CONNECT" { "502 Bad Gateway" } else { "200 OK" };
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        [head.into_bytes(), body].concat()
    })
    .unwrap();
    let url = Some(format!("http://user:hidden@{}", proxy.addr));
    let proxies = Proxies { http: url.clone(), https: url, no_proxy: Some("direct.invalid".to_owned()) };
    let insecure = vec!["registry.invalid".to_owned(), "direct.invalid".to_owned()];
    let client = client(Options { proxies, insecure, ..quick() });
    assert!(!format!("{client:?}").contains("hidden"));
    let resolved = client.resolve(&reference("registry.invalid", "app:1")).await.unwrap();
    assert_eq!(resolved.bytes, manifest_of(b"{}"));
    let seen: Vec<_> = proxy.requests().into_iter().map(|request| (request.method, request.path)).collect();
    assert_eq!(seen[0], ("CONNECT".to_owned(), "registry.invalid:443".to_owned()));
    assert_eq!(seen[1].1, "http://registry.invalid/v2/app/manifests/1");
    let count = proxy.requests().len();
    let registry = start(Config::default());
    let digest = put_image(&registry);
    assert_eq!(client.resolve(&reference(&registry.host(), "app:1")).await.unwrap().digest, digest);
    assert!(client.resolve(&reference("direct.invalid", "app:1")).await.is_err());
    assert_eq!(proxy.requests().len(), count);
}
