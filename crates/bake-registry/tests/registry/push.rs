//! Pushing: mount, one piece, chunks, and what happens when it breaks.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bake_oci::Digest;
use bake_registry::{BlobSource, Pushed, RegistryFailure};
use bake_testkit::registry::{Action, Auth, Config, FakeRegistry, Fault};

use crate::support::{
    OCI_MANIFEST, PASSWORD, USER, anonymous, bytes, logged_in, manifest_of, reference, source, start, text,
};

fn methods(registry: &FakeRegistry) -> Vec<String> {
    registry.take_requests().into_iter().map(|request| request.method).collect()
}

#[tokio::test]
async fn a_blob_is_sent_once_in_one_piece() {
    let registry = start(Config::default());
    let content = bytes(1_000_000);
    let target = reference(&registry.host(), "app");
    let client = anonymous();
    assert_eq!(client.push_blob(&target, source(&content, None)).await.unwrap(), Pushed::Uploaded);
    assert!(registry.blob("app", &Digest::of(&content)).unwrap() == content);
    assert_eq!(methods(&registry), ["HEAD", "POST", "PUT"]);
    assert_eq!(client.push_blob(&target, source(&content, None)).await.unwrap(), Pushed::Existed);
    assert_eq!(methods(&registry), ["HEAD"]);
    assert_eq!(client.push_blob(&target, source(b"", None)).await.unwrap(), Pushed::Uploaded);
}

#[tokio::test]
async fn a_whole_image_is_pushed_and_comes_back() {
    let registry = start(Config { auth: Auth::bearer(USER, PASSWORD), ..Config::default() });
    let client = logged_in(&registry);
    let target = reference(&registry.host(), "team/app:1.0");
    client.push_blob(&target, source(b"{}", None)).await.unwrap();
    let manifest = manifest_of(b"{}");
    let digest = client.push_manifest(&target, OCI_MANIFEST, manifest.clone()).await.unwrap();
    assert_eq!(digest, Digest::of(&manifest));
    assert_eq!(client.resolve(&target).await.unwrap().digest, digest);
    // By digest only, as for the platforms of an index.
    let pinned = reference(&registry.host(), &format!("team/app@{digest}"));
    assert_eq!(client.push_manifest(&pinned, OCI_MANIFEST, manifest).await.unwrap(), digest);
    let error = client.push_manifest(&pinned, OCI_MANIFEST, b"{}".to_vec()).await.unwrap_err();
    assert!(matches!(error.failure(), RegistryFailure::DigestMismatch { .. }));
}

#[tokio::test]
async fn a_manifest_whose_blobs_are_missing_shows_the_registrys_words() {
    let registry = start(Config::default());
    let target = reference(&registry.host(), "app:1");
    let error = anonymous().push_manifest(&target, OCI_MANIFEST, manifest_of(b"{}")).await.unwrap_err();
    assert!(text(&error).contains("MANIFEST_BLOB_UNKNOWN"), "{}", text(&error));
}

#[tokio::test]
async fn a_blob_is_mounted_with_both_scopes() {
    let registry = start(Config { auth: Auth::bearer(USER, PASSWORD), ..Config::default() });
    let content = bytes(1000);
    registry.put_blob("base/image", &content);
    let target = reference(&registry.host(), "app");
    let pushed = logged_in(&registry).push_blob(&target, source(&content, Some("base/image"))).await.unwrap();
    assert_eq!(pushed, Pushed::Mounted);
    assert!(registry.blob("app", &Digest::of(&content)).is_some());
    let tokens: Vec<_> = registry.requests().into_iter().filter(|request| request.path.starts_with("/token")).collect();
    assert!(tokens.iter().any(|request| {
        request.path.contains("scope=repository%3Aapp%3Apull%2Cpush")
            && request.path.contains("scope=repository%3Abase%2Fimage%3Apull")
    }));
}

#[tokio::test]
async fn a_declined_mount_goes_on_with_the_session_it_opened() {
    let registry = start(Config { mounts: false, ..Config::default() });
    let content = bytes(1000);
    let target = reference(&registry.host(), "app");
    let pushed = anonymous().push_blob(&target, source(&content, Some("base"))).await.unwrap();
    assert_eq!(pushed, Pushed::Uploaded);
    assert_eq!(methods(&registry), ["HEAD", "POST", "PUT"]);
}

#[tokio::test]
async fn a_refused_mount_becomes_an_upload() {
    for status in [400, 403, 404, 405] {
        let registry = start(Config::default());
        let content = bytes(1000);
        registry.inject(Fault::always("mount=", Action::error(status, "DENIED")));
        let target = reference(&registry.host(), "app");
        let pushed = anonymous().push_blob(&target, source(&content, Some("base"))).await.unwrap();
        assert_eq!(pushed, Pushed::Uploaded);
    }
}

#[tokio::test]
async fn a_blob_goes_in_chunks_where_one_piece_is_refused() {
    // A small one refused by the registry, a large one by a proxy before it.
    for (config, size, chunks) in [
        (Config { monolithic: false, ..Config::default() }, 10_000_000, 2),
        (Config { body_bytes_max: Some(10_000_000), ..Config::default() }, 20_000_000, 3),
    ] {
        let registry = start(config);
        let content = bytes(size);
        let target = reference(&registry.host(), "app");
        assert_eq!(anonymous().push_blob(&target, source(&content, None)).await.unwrap(), Pushed::Uploaded);
        assert!(registry.blob("app", &Digest::of(&content)).unwrap() == content);
        let requests = registry.take_requests();
        let sent = requests.iter().filter(|request| request.method == "PATCH" && request.body_bytes > 0).count();
        assert_eq!(sent, chunks);
    }
}

#[tokio::test]
async fn chunks_shrink_until_the_proxy_takes_them() {
    let registry = start(Config { body_bytes_max: Some(1024 * 1024), ..Config::default() });
    let content = bytes(3_000_000);
    let target = reference(&registry.host(), "app");
    assert_eq!(anonymous().push_blob(&target, source(&content, None)).await.unwrap(), Pushed::Uploaded);
    assert!(registry.blob("app", &Digest::of(&content)).unwrap() == content);
}

#[tokio::test]
async fn a_broken_chunk_is_resumed_where_the_registry_stands() {
    let registry = start(Config { body_bytes_max: Some(9_000_000), ..Config::default() });
    let content = bytes(20_000_000);
    let target = reference(&registry.host(), "app");
    // The request with everything is refused. The second chunk arrives but its answer does not; the third does not arrive.
    registry.inject(Fault::times(1, "/uploads/", Action::Drop { processed: true }).on("PATCH").after(2));
    registry.inject(Fault::times(1, "/uploads/", Action::error(503, "UNAVAILABLE")).on("PATCH").after(3));
    assert_eq!(anonymous().push_blob(&target, source(&content, None)).await.unwrap(), Pushed::Uploaded);
    assert!(registry.blob("app", &Digest::of(&content)).unwrap() == content);
}

#[tokio::test]
async fn a_broken_upload_starts_again_and_a_lost_answer_is_noticed() {
    let registry = start(Config::default());
    let content = bytes(500_000);
    let target = reference(&registry.host(), "app");
    registry.inject(Fault::times(2, "/uploads/", Action::Drop { processed: false }).on("PUT"));
    assert_eq!(anonymous().push_blob(&target, source(&content, None)).await.unwrap(), Pushed::Uploaded);
    registry.clear_faults();
    let content = bytes(400_000);
    registry.inject(Fault::times(1, "/uploads/", Action::Drop { processed: true }).on("PUT"));
    assert_eq!(anonymous().push_blob(&target, source(&content, None)).await.unwrap(), Pushed::Existed);
}

#[tokio::test]
async fn busy_answers_to_uploads_are_tried_again() {
    let registry = start(Config::default());
    let content = bytes(100_000);
    let target = reference(&registry.host(), "app:1");
    registry.inject(Fault::times(2, "/uploads/", Action::retry_after(503, "0")).on("PUT"));
    registry.inject(Fault::times(2, "/uploads/", Action::retry_after(429, "0")).on("POST"));
    registry.inject(Fault::times(2, "/manifests/", Action::retry_after(429, "0")).on("PUT"));
    let client = anonymous();
    assert_eq!(client.push_blob(&target, source(&content, None)).await.unwrap(), Pushed::Uploaded);
    client.push_blob(&target, source(b"{}", None)).await.unwrap();
    client.push_manifest(&target, OCI_MANIFEST, manifest_of(b"{}")).await.unwrap();
}

#[tokio::test]
async fn a_token_that_expires_in_mid_push_is_replaced_once() {
    let registry = start(Config { auth: Auth::bearer(USER, PASSWORD), ..Config::default() });
    let client = logged_in(&registry);
    let target = reference(&registry.host(), "app:1");
    client.push_blob(&target, source(b"{}", None)).await.unwrap();
    registry.expire_tokens();
    let content = bytes(300_000);
    assert_eq!(client.push_blob(&target, source(&content, None)).await.unwrap(), Pushed::Uploaded);
    registry.expire_tokens();
    client.push_manifest(&target, OCI_MANIFEST, manifest_of(b"{}")).await.unwrap();
    // Between POST and PUT.
    registry.inject(
        Fault::times(1, "/uploads/", Action::challenge(&format!("Bearer realm=\"{}\"", registry.realm()))).on("PUT"),
    );
    let content = bytes(200_000);
    assert_eq!(client.push_blob(&target, source(&content, None)).await.unwrap(), Pushed::Uploaded);
}

#[tokio::test]
async fn a_source_that_fails_or_is_short_is_named() {
    let registry = start(Config::default());
    let target = reference(&registry.host(), "app");
    let broken = |open: fn() -> io::Result<Box<dyn Read + Send>>| BlobSource {
        digest: Digest::of(b"x"),
        size_bytes: 1_000_000,
        reopen: Box::new(open),
        mount_from: None,
    };
    let unopenable: fn() -> io::Result<Box<dyn Read + Send>> = || Err(io::ErrorKind::PermissionDenied.into());
    let error = anonymous().push_blob(&target, broken(unopenable)).await.unwrap_err();
    assert!(matches!(error.failure(), RegistryFailure::Source { .. }), "{}", text(&error));
    let short: fn() -> io::Result<Box<dyn Read + Send>> = || Ok(Box::new(&b"short"[..]));
    let error = anonymous().push_blob(&target, broken(short)).await.unwrap_err();
    assert!(matches!(error.failure(), RegistryFailure::Source { .. }), "{}", text(&error));
}

#[tokio::test]
async fn wrong_bytes_are_refused_by_the_registry_without_retries() {
    let registry = start(Config::default());
    let target = reference(&registry.host(), "app");
    let opened = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&opened);
    let wrong = BlobSource {
        digest: Digest::of(b"other"),
        size_bytes: 5,
        reopen: Box::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(Box::new(&b"bytes"[..]))
        }),
        mount_from: None,
    };
    let error = anonymous().push_blob(&target, wrong).await.unwrap_err();
    assert!(text(&error).contains("DIGEST_INVALID"), "{}", text(&error));
    assert_eq!(opened.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_registry_that_stores_something_else_is_caught() {
    let registry = start(Config::default());
    let target = reference(&registry.host(), "app:1");
    let other = Digest::of(b"other").to_string();
    registry.inject(Fault::always("/", Action::header("Docker-Content-Digest", &other)).on("PUT"));
    let error = anonymous().push_blob(&target, source(b"{}", None)).await.unwrap_err();
    assert!(matches!(error.failure(), RegistryFailure::DigestMismatch { .. }), "{}", text(&error));
    let error = anonymous().push_manifest(&target, OCI_MANIFEST, manifest_of(b"{}")).await.unwrap_err();
    assert!(matches!(error.failure(), RegistryFailure::DigestMismatch { .. }), "{}", text(&error));
}

#[tokio::test]
async fn a_blob_of_another_size_in_the_registry_is_not_taken_for_ours() {
    let registry = start(Config::default());
    let content = bytes(1000);
    registry.put_blob("app", &content);
    let target = reference(&registry.host(), "app");
    let error =
        anonymous().push_blob(&target, BlobSource { size_bytes: 999, ..source(&content, None) }).await.unwrap_err();
    assert!(matches!(error.failure(), RegistryFailure::SizeMismatch { .. }), "{}", text(&error));
}
