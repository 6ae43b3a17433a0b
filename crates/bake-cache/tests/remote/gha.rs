//! The cache of GitHub Actions, as a double in this process speaks it.

use std::time::{Duration, Instant};

use bake_cache::{Backend, GhaBackend, GhaOptions};
use bake_registry::Secret;
use bake_testkit::actions_cache::{ActionsCache, SIGNATURE};
use bake_testkit::registry::{Action, Fault};

use crate::Test;
use crate::support::{Place, quick, text, unknown_blob};

pub(crate) const TESTS: &[Test] = &[
    ("gha_round_trip", &[], round_trip),
    ("gha_scopes_are_apart", &[], scopes),
    ("gha_a_large_blob_goes_in_blocks", &[], blocks),
    ("gha_what_is_there_is_not_sent", &[], not_sent_again),
    ("gha_a_rate_limit_is_obeyed", &[], rate_limit),
    ("gha_a_rate_limit_holds_everything_back", &[], held_back),
    ("gha_an_expired_token", &[], expired_token),
    ("gha_attempts_are_counted", &[], attempts),
    ("gha_an_upload_that_fails_once", &[], stumbling),
    ("gha_an_answer_that_gets_lost", &[], lost_answers),
    ("gha_a_key_that_somebody_left_reserved", &[], abandoned),
    ("gha_a_download_outlives_its_url", &[], expired_url),
    ("gha_a_blob_that_was_evicted", &[], evicted),
    ("gha_a_damaged_download_is_refused", &[], damaged),
    ("gha_time_is_limited", &[], out_of_time),
];

const TOKEN: &str = "the-token-of-a-job";

fn options(cache: &ActionsCache, scope: &str) -> GhaOptions {
    GhaOptions { scope: scope.to_owned(), ..GhaOptions::new(&cache.url(), Secret::new(TOKEN)) }
}

fn backend(place: &Place, cache: &ActionsCache) -> GhaBackend {
    GhaBackend::new(options(cache, "bake"), place.connection(&quick())).unwrap()
}

fn calls(cache: &ActionsCache, method: &str) -> usize {
    cache.take_requests().iter().filter(|request| request.path.ends_with(method)).count()
}

fn round_trip() {
    let (here, there, cache) = (Place::new(), Place::new(), ActionsCache::start(TOKEN).unwrap());
    let backend = backend(&here, &cache);
    assert_eq!(backend.read_document().unwrap(), None);
    let blobs = [here.blob(1, 3_000_000), here.blob(2, 10), here.blob(3, 0)];
    here.write(&backend, b"{\"first\":1}", &blobs).unwrap();
    let (unknown, known) = (unknown_blob(), blobs[0].clone());
    let missing = backend.missing(&[unknown.clone(), known, unknown.clone()]).unwrap();
    assert_eq!(missing, [unknown]);
    here.write(&backend, b"{\"second\":2}", &blobs).unwrap();
    // Entries never change: the newest one counts.
    assert_eq!(backend.read_document().unwrap().as_deref(), Some(&b"{\"second\":2}"[..]));
    for blob in &blobs {
        there.fetch(&backend, blob).unwrap();
        assert!(there.has(blob));
    }
    let shown = format!("{backend:?}");
    assert!(!shown.contains(TOKEN), "{shown}");
}

fn scopes() {
    let (here, cache) = (Place::new(), ActionsCache::start(TOKEN).unwrap());
    let scoped = |scope: &str| GhaBackend::new(options(&cache, scope), here.connection(&quick())).unwrap();
    for scope in ["a", "a-b", "a:b", "a,b"] {
        here.write(&scoped(scope), scope.as_bytes(), &[]).unwrap();
    }
    for scope in ["a", "a-b", "a:b", "a,b"] {
        assert_eq!(scoped(scope).read_document().unwrap().as_deref(), Some(scope.as_bytes()));
    }
    assert_eq!(scoped("a-").read_document().unwrap(), None);
}

fn blocks() {
    let (here, there, cache) = (Place::new(), Place::new(), ActionsCache::start(TOKEN).unwrap());
    let backend = backend(&here, &cache);
    let blob = here.blob(1, (64 << 20) + 5);
    cache.inject(Fault::times(1, "comp=block&", Action::Drop { processed: false }));
    here.write(&backend, b"{}", std::slice::from_ref(&blob)).unwrap();
    let paths: Vec<_> = cache.take_requests().into_iter().map(|request| request.path).collect();
    assert!(paths.iter().any(|path| path.contains("comp=blocklist")), "{paths:?}");
    there.fetch(&backend, &blob).unwrap();
    assert!(there.has(&blob));
}

fn not_sent_again() {
    let (here, cache) = (Place::new(), ActionsCache::start(TOKEN).unwrap());
    let backend = backend(&here, &cache);
    let blob = here.blob(1, 1000);
    let blobs = [blob.clone(), blob];
    here.write(&backend, b"1", &blobs).unwrap();
    assert_eq!(calls(&cache, "/CreateCacheEntry"), 2);
    here.write(&backend, b"2", &blobs).unwrap();
    assert_eq!(calls(&cache, "/CreateCacheEntry"), 1);
}

fn rate_limit() {
    let (here, cache) = (Place::new(), ActionsCache::start(TOKEN).unwrap());
    let backend = backend(&here, &cache);
    let blobs: Vec<_> = (1..=6).map(|seed| here.blob(seed, 1000)).collect();
    cache.inject(Fault::times(2, "/CreateCacheEntry", Action::retry_after(429, "1")).after(2));
    let before = Instant::now();
    here.write(&backend, b"{}", &blobs).unwrap();
    assert!(before.elapsed() >= Duration::from_secs(1), "it came back too early");
    assert_eq!(cache.keys().len(), 7);
    // Nobody waits an hour.
    cache.inject(Fault::always("/GetCacheEntryDownloadURL", Action::retry_after(429, "3600")));
    let before = Instant::now();
    let error = text(&backend.read_document().unwrap_err());
    assert!(error.contains("429") && error.contains("3600 s"), "{error}");
    assert!(before.elapsed() < Duration::from_secs(3));
}

fn held_back() {
    let (here, cache) = (Place::new(), ActionsCache::start(TOKEN).unwrap());
    let backend = backend(&here, &cache);
    let blobs: Vec<_> = (1..=12).map(|seed| here.blob(seed, 1000)).collect();
    cache.inject(Fault::times(1, "/CreateCacheEntry", Action::retry_after(429, "3")));
    std::thread::scope(|scope| {
        let write = scope.spawn(|| here.write(&backend, b"{}", &blobs));
        std::thread::sleep(Duration::from_millis(1500));
        // Those that were under way can have come to their end, nobody else.
        let keys = cache.keys();
        assert!(keys.len() < 6, "{keys:?}");
        write.join().unwrap().unwrap();
    });
    assert_eq!(cache.keys().len(), 13);
}

fn expired_token() {
    let (here, cache) = (Place::new(), ActionsCache::start(TOKEN).unwrap());
    let backend = backend(&here, &cache);
    cache.expire_token();
    for error in [backend.read_document().unwrap_err(), here.write(&backend, b"{}", &[here.blob(1, 10)]).unwrap_err()] {
        let error = text(&error);
        assert!(error.contains("401 Unauthorized") && error.contains("the token is expired"), "{error}");
        assert!(error.contains("gha bake") && !error.contains(TOKEN), "{error}");
    }
    // It is not asked again: no other answer is to be expected.
    assert_eq!(cache.take_requests().len(), 2);
}

fn attempts() {
    let (here, there, cache) = (Place::new(), Place::new(), ActionsCache::start(TOKEN).unwrap());
    let backend = backend(&here, &cache);
    let blob = here.blob(1, 1000);
    here.write(&backend, b"{}", std::slice::from_ref(&blob)).unwrap();
    for place in ["/storage/", "/GetCacheEntryDownloadURL"] {
        cache.inject(Fault::always(place, Action::Status(503)));
        cache.take_requests();
        backend.read_document().unwrap_err();
        there.fetch(&backend, &blob).unwrap_err();
        let asked = cache.take_requests().iter().filter(|request| request.path.contains(place)).count();
        // Once and three times more, for each of the two.
        assert!((8..=12).contains(&asked), "{place}: {asked}");
    }
}

fn stumbling() {
    let (here, there, cache) = (Place::new(), Place::new(), ActionsCache::start(TOKEN).unwrap());
    let backend = backend(&here, &cache);
    cache.inject(Fault::times(2, "/storage/", Action::Status(503)));
    let blob = here.blob(1, 100_000);
    here.write(&backend, b"{}", std::slice::from_ref(&blob)).unwrap();
    there.fetch(&backend, &blob).unwrap();
    cache.inject(Fault::always("/storage/", Action::Answer { status: 403, headers: Vec::new(), body: Vec::new() }));
    let error = text(&here.write(&backend, b"{}", &[here.blob(2, 10)]).unwrap_err());
    assert!(error.contains("403 Forbidden") && !error.contains(SIGNATURE), "{error}");
}

fn lost_answers() {
    let (here, there, cache) = (Place::new(), Place::new(), ActionsCache::start(TOKEN).unwrap());
    let backend = backend(&here, &cache);
    for method in ["/CreateCacheEntry", "/FinalizeCacheEntryUpload"] {
        cache.inject(Fault::times(1, method, Action::Drop { processed: true }));
    }
    let blob = here.blob(1, 1000);
    here.write(&backend, b"{}", std::slice::from_ref(&blob)).unwrap();
    there.fetch(&backend, &blob).unwrap();
    assert_eq!(backend.read_document().unwrap().as_deref(), Some(&b"{}"[..]));
}

fn abandoned() {
    let (here, there, cache) = (Place::new(), Place::new(), ActionsCache::start(TOKEN).unwrap());
    let backend = backend(&here, &cache);
    let blob = here.blob(1, 1000);
    // The version is found in what the backend asks.
    backend.read_document().unwrap();
    let body: serde_json::Value = serde_json::from_slice(&cache.take_requests()[0].body).unwrap();
    let key = format!("bake-blob-1:{}", blob.digest);
    cache.reserve(&key, body["version"].as_str().unwrap());
    here.write(&backend, b"{}", std::slice::from_ref(&blob)).unwrap();
    assert!(cache.keys().iter().any(|own| own.starts_with(&format!("{key}:"))), "{:?}", cache.keys());
    there.fetch(&backend, &blob).unwrap();
    // The second name is found as well as the first.
    cache.take_requests();
    here.write(&backend, b"{}", std::slice::from_ref(&blob)).unwrap();
    assert_eq!(calls(&cache, "/CreateCacheEntry"), 1);
}

fn expired_url() {
    let (here, there, cache) = (Place::new(), Place::new(), ActionsCache::start(TOKEN).unwrap());
    let backend = backend(&here, &cache);
    let blob = here.blob(1, 5_000_000);
    here.write(&backend, b"{}", std::slice::from_ref(&blob)).unwrap();
    cache.take_requests();
    cache.inject(Fault::times(1, "/storage/", Action::ResetBodyAfter(2_000_000)).on("GET"));
    cache.inject(Fault::times(1, "/storage/", Action::Status(403)).on("GET").after(1));
    there.fetch(&backend, &blob).unwrap();
    assert!(there.has(&blob));
    let requests = cache.take_requests();
    let ranges: Vec<_> =
        requests.iter().filter(|request| request.method == "GET").map(|get| get.header("range")).collect();
    assert_eq!(ranges.len(), 3, "{ranges:?}");
    assert!(ranges[2].is_some());
    assert_eq!(requests.iter().filter(|request| request.path.ends_with("/GetCacheEntryDownloadURL")).count(), 2);
}

fn evicted() {
    let (here, there, cache) = (Place::new(), Place::new(), ActionsCache::start(TOKEN).unwrap());
    let backend = backend(&here, &cache);
    let blob = here.blob(1, 1000);
    here.write(&backend, b"{}", std::slice::from_ref(&blob)).unwrap();
    cache.evict("bake-blob");
    let error = text(&there.fetch(&backend, &blob).unwrap_err());
    assert!(error.contains(&blob.digest.to_string()) && error.contains("GitHub removes"), "{error}");
    let error = text(&here.write(&backend, b"{}", &[unknown_blob()]).unwrap_err());
    assert!(error.contains("it is not in the store"), "{error}");
}

fn damaged() {
    let (here, there, cache) = (Place::new(), Place::new(), ActionsCache::start(TOKEN).unwrap());
    let backend = backend(&here, &cache);
    let blob = here.blob(1, 1000);
    here.write(&backend, b"{}", std::slice::from_ref(&blob)).unwrap();
    cache.inject(Fault::always("/storage/", Action::CorruptBody));
    let error = text(&there.fetch(&backend, &blob).unwrap_err());
    assert!(error.contains("has digest") && !error.contains(SIGNATURE), "{error}");
    assert!(!there.has(&blob));
    cache.inject(Fault::always("/GetCacheEntryDownloadURL", Action::ReplaceBody(b"{\"ok\":".to_vec())));
    let error = text(&backend.read_document().unwrap_err());
    assert!(error.contains("not the JSON expected"), "{error}");
}

fn out_of_time() {
    let (here, cache) = (Place::new(), ActionsCache::start(TOKEN).unwrap());
    let timeout = Duration::from_millis(300);
    let options = GhaOptions { timeout, ..options(&cache, "bake") };
    let backend = GhaBackend::new(options, here.connection(&quick())).unwrap();
    cache.inject(Fault::always("/GetCacheEntryDownloadURL", Action::Delay(Duration::from_secs(30))));
    let before = Instant::now();
    let error = text(&backend.read_document().unwrap_err());
    assert!(error.contains("longer than 0.3 s") && before.elapsed() < Duration::from_secs(5), "{error}");
}
