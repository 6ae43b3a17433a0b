//! Uploads that break, by what the registry keeps of them; blobs that several pushes want.

use std::io::{Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bake_oci::Digest;
use bake_registry::{BlobSource, Pushed, RegistryFailure};
use bake_testkit::registry::{Action, Auth, Config, FakeRegistry, Fault, RecordedRequest};

use crate::support::{PASSWORD, USER, anonymous, bytes, logged_in, reference, source, start, text};

/// How many bytes of blobs arrived, those of requests that broke included.
fn received(registry: &FakeRegistry) -> u64 {
    let is_upload = |request: &RecordedRequest| request.path.contains("/uploads/");
    registry.requests().iter().filter(|request| is_upload(request)).map(|request| request.body_bytes).sum()
}

fn cut(registry: &FakeRegistry, number: usize, bytes: usize) {
    registry.inject(Fault::times(1, "/uploads/", Action::CutRequestAfter(bytes)).on("PATCH").after(number));
}

#[tokio::test]
async fn an_upload_cut_twenty_times_sends_nothing_twice_that_arrived() {
    let registry = start(Config { auth: Auth::bearer(USER, PASSWORD), ..Config::default() });
    let content = bytes(40_000_000);
    for number in 0..20 {
        // More than a MiB, so that each request makes progress.
        cut(&registry, number, 1_100_000 + number * 50_000);
    }
    let target = reference(&registry.host(), "app");
    assert_eq!(logged_in(&registry).push_blob(&target, source(&content, None)).await.unwrap(), Pushed::Uploaded);
    assert!(registry.blob("app", &Digest::of(&content)).unwrap() == content);
    assert_eq!(received(&registry), content.len() as u64);
    let ranges: Vec<_> =
        registry.requests().iter().filter_map(|r| r.header("content-range").map(str::to_owned)).collect();
    assert_eq!(ranges.len(), 20, "{ranges:?}");
    assert_eq!(ranges[0], "1100000-39999999");
}

#[tokio::test]
async fn a_registry_that_keeps_nothing_of_a_broken_request_is_sent_chunks() {
    let registry = start(Config { keeps_partial_uploads: false, ..Config::default() });
    let content = bytes(40_000_000);
    for (number, bytes) in [(0, 2_000_000), (1, 2_000_000), (3, 4_000_000), (5, 100_000)] {
        cut(&registry, number, bytes);
    }
    let target = reference(&registry.host(), "app");
    assert_eq!(anonymous().push_blob(&target, source(&content, None)).await.unwrap(), Pushed::Uploaded);
    assert!(registry.blob("app", &Digest::of(&content)).unwrap() == content);
    assert_eq!(received(&registry), content.len() as u64 + 2_000_000 + 2_000_000 + 4_000_000 + 100_000);
    let posts = registry.requests().iter().filter(|request| request.method == "POST").count();
    assert_eq!(posts, 1, "the session is kept");
}

/// As Debian's registry does.
#[tokio::test]
async fn a_registry_that_forgets_the_session_gets_a_new_one_or_the_push_ends() {
    let registry = start(Config::default());
    let content = bytes(20_000_000);
    registry.inject(Fault::always("/uploads/", Action::error(404, "BLOB_UPLOAD_INVALID")).on("GET"));
    cut(&registry, 0, 3_000_000);
    cut(&registry, 1, 0);
    let target = reference(&registry.host(), "app");
    assert_eq!(anonymous().push_blob(&target, source(&content, None)).await.unwrap(), Pushed::Uploaded);
    assert!(registry.blob("app", &Digest::of(&content)).unwrap() == content);
    registry.inject(Fault::always("/uploads/", Action::CutRequestAfter(3_000_000)).on("PATCH"));
    let other = [&content[..], b"x"].concat();
    let error = anonymous().push_blob(&target, source(&other, None)).await.unwrap_err();
    assert!(matches!(error.failure(), RegistryFailure::Broken { .. }), "{}", text(&error));
    assert!(text(&error).contains("BLOB_UPLOAD_INVALID"), "{}", text(&error));
}

#[tokio::test]
async fn a_small_blob_that_breaks_goes_on_where_it_stands() {
    let registry = start(Config::default());
    let content = bytes(5_000_000);
    registry.inject(Fault::times(1, "/uploads/", Action::CutRequestAfter(3_000_000)).on("PUT"));
    let target = reference(&registry.host(), "app");
    assert_eq!(anonymous().push_blob(&target, source(&content, None)).await.unwrap(), Pushed::Uploaded);
    assert_eq!(received(&registry), content.len() as u64);
}

#[tokio::test]
async fn a_registry_without_patch_gets_one_put() {
    let registry = start(Config::default());
    let content = bytes(20_000_000);
    registry.inject(Fault::always("/uploads/", Action::error(405, "UNSUPPORTED")).on("PATCH"));
    let target = reference(&registry.host(), "app");
    assert_eq!(anonymous().push_blob(&target, source(&content, None)).await.unwrap(), Pushed::Uploaded);
    assert!(registry.blob("app", &Digest::of(&content)).unwrap() == content);
}

#[tokio::test]
async fn a_registry_out_of_step_is_asked_where_it_stands() {
    let registry = start(Config::default());
    let content = bytes(20_000_000);
    // It says less than it holds, as one that is still writing.
    cut(&registry, 0, 5_000_000);
    registry.inject(Fault::times(1, "/uploads/", Action::header("Range", "0-1999999")).on("GET"));
    let target = reference(&registry.host(), "app");
    assert_eq!(anonymous().push_blob(&target, source(&content, None)).await.unwrap(), Pushed::Uploaded);
    assert!(registry.blob("app", &Digest::of(&content)).unwrap() == content);
    let posts = registry.requests().iter().filter(|request| request.method == "POST").count();
    assert_eq!(posts, 1);
}

#[tokio::test]
async fn positions_that_make_no_sense_cost_the_session_and_end() {
    let content = bytes(20_000_000);
    for range in ["0-19999999999", "7-8", "garbage"] {
        let registry = start(Config::default());
        cut(&registry, 0, 5_000_000);
        registry.inject(Fault::times(1, "/uploads/", Action::header("Range", range)).on("GET"));
        let target = reference(&registry.host(), "app");
        assert_eq!(anonymous().push_blob(&target, source(&content, None)).await.unwrap(), Pushed::Uploaded);
        let posts = registry.requests().iter().filter(|request| request.method == "POST").count();
        assert_eq!(posts, 2, "{range}");
    }
    // A registry whose count never moves.
    let registry = start(Config::default());
    registry.inject(Fault::always("/uploads/", Action::header("Range", "0-0")).on("PATCH"));
    let target = reference(&registry.host(), "app");
    let error = anonymous().push_blob(&target, source(&content, None)).await.unwrap_err();
    assert!(text(&error).contains("holds 0 bytes"), "{}", text(&error));
}

#[tokio::test]
async fn an_expired_token_in_mid_upload_costs_one_login() {
    let registry = start(Config { auth: Auth::bearer(USER, PASSWORD), ..Config::default() });
    let client = logged_in(&registry);
    let target = reference(&registry.host(), "app");
    client.push_blob(&target, source(b"{}", None)).await.unwrap();
    registry.take_requests();
    // What the registry says to an expired token, to the request with the bytes and to the one that ends the upload.
    let challenge = format!("Bearer realm=\"{}\",service=\"fake\"", registry.realm());
    registry.inject(Fault::times(1, "/uploads/", Action::challenge(&challenge)).on("PUT"));
    assert_eq!(client.push_blob(&target, source(&bytes(20_000_000), None)).await.unwrap(), Pushed::Uploaded);
    let logins = registry.take_requests().iter().filter(|request| request.path.starts_with("/token")).count();
    assert_eq!(logins, 1);
}

/// A blob that counts how many of its bytes were read.
fn counted(content: &[u8], read: &Arc<AtomicU64>) -> BlobSource {
    struct Counted(Cursor<Arc<[u8]>>, Arc<AtomicU64>);
    impl Read for Counted {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let count = self.0.read(buffer)?;
            self.1.fetch_add(count as u64, Ordering::Relaxed);
            Ok(count)
        }
    }
    let (shared, read): (Arc<[u8]>, _) = (content.into(), Arc::clone(read));
    let reopen = move || {
        let reader = Counted(Cursor::new(Arc::clone(&shared)), Arc::clone(&read));
        Ok(Box::new(reader) as Box<dyn Read + Send>)
    };
    BlobSource { reopen: Box::new(reopen), ..source(content, None) }
}

#[tokio::test]
async fn a_blob_that_two_pushes_want_is_sent_once() {
    let registry = start(Config { auth: Auth::bearer(USER, PASSWORD), ..Config::default() });
    let (client, content, read) = (logged_in(&registry), bytes(3_000_000), Arc::default());
    let (one, two) = (reference(&registry.host(), "one"), reference(&registry.host(), "two"));
    let (first, again, other) = tokio::join!(
        client.push_blob(&one, counted(&content, &read)),
        client.push_blob(&one, counted(&content, &read)),
        client.push_blob(&two, counted(&content, &read)),
    );
    let pushed = [first.unwrap(), again.unwrap(), other.unwrap()];
    assert_eq!(pushed, [Pushed::Uploaded, Pushed::Existed, Pushed::Mounted]);
    assert_eq!(read.load(Ordering::Relaxed), content.len() as u64);
    for repository in ["one", "two"] {
        assert!(registry.blob(repository, &Digest::of(&content)).unwrap() == content);
    }
    // Later too; and a push that fails leaves the way free for the next one.
    let three = reference(&registry.host(), "three");
    assert_eq!(client.push_blob(&three, counted(&content, &read)).await.unwrap(), Pushed::Mounted);
    let unreadable = |content| BlobSource {
        reopen: Box::new(|| Err(std::io::ErrorKind::PermissionDenied.into())),
        ..source(content, None)
    };
    let (failed, pushed) =
        tokio::join!(client.push_blob(&one, unreadable(b"other")), client.push_blob(&two, source(b"other", None)),);
    assert!(failed.is_err());
    assert_eq!(pushed.unwrap(), Pushed::Uploaded);
}
