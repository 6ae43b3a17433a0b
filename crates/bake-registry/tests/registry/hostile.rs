//! Registries that lie, and ones that want to know or reach more than they should. The rules R1 to R9 are those of
//! `docs/security.md`.

use std::time::{Duration, Instant};

use bake_oci::Digest;
use bake_registry::{Options, Proxies, RegistryFailure};
use bake_testkit::registry::{Action, Auth, Config, FakeRegistry, Fault, RawServer};

use crate::support::{
    OCI_MANIFEST, PASSWORD, USER, anonymous, assert_blind, bytes, client, fetch, logged_in, login, manifest_of,
    put_image, quick, reference, source, start, text,
};

fn with_basic() -> FakeRegistry {
    start(Config { auth: Auth::basic(USER, PASSWORD), ..Config::default() })
}

fn with_bearer() -> FakeRegistry {
    start(Config { auth: Auth::bearer(USER, PASSWORD), ..Config::default() })
}

// R2: where tokens are asked for.

#[tokio::test]
async fn r2_a_hijacked_realm_sees_no_credentials() {
    let attacker = RawServer::attacker().unwrap();
    let port = attacker.addr.port();
    for realm in [
        format!("http://{}/token", attacker.addr),
        format!("http://localhost:{port}/token"),
        format!("http://127.0.0.2:{port}/token"),
        format!("http://{USER}:{PASSWORD}@{}/token", attacker.addr),
        format!("HTTP://{}/token?x=y", attacker.addr),
        format!("//{}/token", attacker.addr),
        "ftp://127.0.0.1/".to_owned(),
        "file:///etc/passwd".to_owned(),
    ] {
        let registry = start(Config::default());
        registry.inject(Fault::always("/v2/", Action::challenge(&format!("Bearer realm=\"{realm}\",service=\"x\""))));
        let image = reference(&registry.host(), "app:1");
        let error = logged_in(&registry).resolve(&image).await.unwrap_err();
        assert!(matches!(error.failure(), RegistryFailure::Refused { .. }), "{realm}: {}", text(&error));
        assert!(!text(&error).contains(PASSWORD), "{}", text(&error));
    }
    assert_eq!(attacker.requests(), []);
}

#[tokio::test]
async fn r2_a_realm_on_the_local_link_or_network_is_not_contacted() {
    for realm in [
        "http://169.254.169.254/latest/meta-data",
        "http://[fe80::1]/",
        "http://10.0.0.1/token",
        "http://192.168.0.1/token",
        "http://[::ffff:169.254.169.254]/",
        "http://2852039166/",
    ] {
        let registry = start(Config::default());
        registry.inject(Fault::always("/v2/", Action::challenge(&format!("Bearer realm=\"{realm}\""))));
        let begin = Instant::now();
        let error = anonymous().resolve(&reference(&registry.host(), "app:1")).await.unwrap_err();
        assert!(matches!(error.failure(), RegistryFailure::Refused { .. }), "{realm}: {}", text(&error));
        assert!(begin.elapsed() < Duration::from_secs(1));
    }
}

#[tokio::test]
async fn r2_a_token_server_that_the_user_names_gets_the_credentials() {
    let (registry, server) = (with_bearer(), with_bearer());
    let challenge = format!("Bearer realm=\"{}\",service=\"fake\"", server.realm());
    registry.inject(Fault::always("/v2/", Action::challenge(&challenge)));
    let credentials = login(&registry.host(), PASSWORD);
    // For another registry it says nothing.
    let named = |host: String| [(host, vec![server.host()])].into();
    let elsewhere =
        Options { token_hosts: named(server.host()), credentials: login(&registry.host(), PASSWORD), ..quick() };
    let error = client(elsewhere).resolve(&reference(&registry.host(), "app:1")).await.unwrap_err();
    assert!(matches!(error.failure(), RegistryFailure::Refused { .. }), "{}", text(&error));
    assert_eq!(server.requests(), []);
    let client = client(Options { credentials, token_hosts: named(registry.host()), ..quick() });
    assert!(client.resolve(&reference(&registry.host(), "app:1")).await.unwrap_err().is_unauthorized());
    assert!(server.requests().iter().any(|request| request.header("authorization").is_some()));
}

#[tokio::test]
async fn r2_a_token_server_that_redirects_elsewhere_is_not_followed() {
    let attacker = RawServer::attacker().unwrap();
    let registry = with_bearer();
    registry.inject(Fault::always("/token", Action::redirect(307, &format!("http://{}/token", attacker.addr))));
    let error = logged_in(&registry).resolve(&reference(&registry.host(), "app:1")).await.unwrap_err();
    assert!(matches!(error.failure(), RegistryFailure::Refused { .. }), "{}", text(&error));
    assert_eq!(attacker.requests(), []);
}

// R3, R4: redirects and upload locations.

#[tokio::test]
async fn r4_redirects_to_another_host_carry_no_credentials() {
    for registry in [with_basic(), with_bearer()] {
        let content = bytes(10_000);
        let digest = registry.put_blob("app", &content);
        put_image(&registry);
        let body = content.clone();
        let storage = RawServer::start(move |_| {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            [head.as_bytes(), &body].concat()
        })
        .unwrap();
        registry.configure(|config| config.redirect_blobs_to = Some(format!("http://{}", storage.addr)));
        let client = logged_in(&registry);
        // The image first, so that a token or password is at hand.
        client.resolve(&reference(&registry.host(), "app:1")).await.unwrap();
        assert!(fetch(&client, &registry.host(), &digest, content.len()).await.unwrap() == content);
        assert_eq!(storage.requests().len(), 1);
        assert_blind(&storage);
    }
}

#[tokio::test]
async fn r4_a_redirect_back_to_the_registry_does_not_get_the_credentials_again() {
    let registry = with_basic();
    let digest = put_image(&registry);
    let back = format!("http://{}/v2/app/manifests/{digest}", registry.addr);
    let bounce = RawServer::start(move |_| {
        format!("HTTP/1.1 307 Temporary Redirect\r\nLocation: {back}\r\nContent-Length: 0\r\n\r\n").into_bytes()
    })
    .unwrap();
    registry.inject(Fault::always("/manifests/1", Action::redirect(307, &format!("http://{}/", bounce.addr))));
    let client = logged_in(&registry);
    client.resolve(&reference(&registry.host(), &format!("app@{digest}"))).await.unwrap();
    registry.take_requests();
    let error = client.resolve(&reference(&registry.host(), "app:1")).await.unwrap_err();
    assert!(matches!(error.failure(), RegistryFailure::Unauthorized { .. }), "{}", text(&error));
    assert_eq!(registry.take_requests().last().unwrap().header("authorization"), None);
    assert_blind(&bounce);
}

#[tokio::test]
async fn r4_a_redirected_server_cannot_ask_for_the_credentials() {
    let registry = with_basic();
    let digest = registry.put_blob("app", b"x");
    let thief = RawServer::start(|_| {
        b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n".to_vec()
    })
    .unwrap();
    registry.configure(|config| config.redirect_blobs_to = Some(format!("http://{}", thief.addr)));
    let error = fetch(&logged_in(&registry), &registry.host(), &digest, 1).await.unwrap_err();
    assert!(matches!(error.failure(), RegistryFailure::Unauthorized { .. }), "{}", text(&error));
    assert_eq!(thief.requests().len(), 1, "its challenge is not answered");
    assert_blind(&thief);
}

#[tokio::test]
async fn r4_redirects_end_and_do_not_reach_the_local_link() {
    let registry = start(Config::default());
    let image = reference(&registry.host(), "app:1");
    for (location, requests) in [
        ("/v2/app/manifests/1", 6),
        ("http://169.254.169.254/latest/meta-data/", 1),
        ("http://10.1.2.3/", 1),
        ("ftp://127.0.0.1/", 1),
        ("http://user:pass@127.0.0.1/", 1),
        ("http://[::ffff:10.0.0.1]/", 1),
    ] {
        registry.clear_faults();
        registry.take_requests();
        registry.inject(Fault::always("/manifests/", Action::redirect(307, location)));
        let error = anonymous().resolve(&image).await.unwrap_err();
        assert!(matches!(error.failure(), RegistryFailure::Refused { .. }), "{location}: {}", text(&error));
        assert_eq!(registry.take_requests().len(), requests, "{location}");
    }
    for odd in ["http://", "http://:0:0/"] {
        registry.clear_faults();
        registry.inject(Fault::always("/manifests/", Action::redirect(307, odd)));
        assert!(anonymous().resolve(&image).await.is_err());
    }
}

#[tokio::test]
async fn r3_an_upload_location_elsewhere_gets_no_credentials() {
    let attacker = RawServer::attacker().unwrap();
    for registry in [with_basic(), with_bearer()] {
        let location = format!("http://{}/v2/app/blobs/uploads/1", attacker.addr);
        registry.inject(Fault::always("/uploads/", Action::header("Location", &location)).on("POST"));
        let pushed = logged_in(&registry).push_blob(&reference(&registry.host(), "app"), source(b"x", None)).await;
        // The attacker says it took the blob; what matters is what it saw.
        drop(pushed);
    }
    assert!(!attacker.requests().is_empty());
    assert_blind(&attacker);
    let registry = with_basic();
    for location in ["http://169.254.169.254/", "gopher://127.0.0.1/", "http://u:p@127.0.0.1/"] {
        registry.clear_faults();
        registry.inject(Fault::always("/uploads/", Action::header("Location", location)).on("POST"));
        let pushed = logged_in(&registry).push_blob(&reference(&registry.host(), "app"), source(b"x", None)).await;
        let error = pushed.unwrap_err();
        assert!(matches!(error.failure(), RegistryFailure::Refused { .. }), "{location}: {}", text(&error));
    }
}

#[tokio::test]
async fn an_upload_without_a_location_is_an_error() {
    let registry = start(Config::default());
    let remove = Action::Header { name: "Location".to_owned(), value: None };
    registry.inject(Fault::always("/uploads/", remove).on("POST"));
    let pushed = anonymous().push_blob(&reference(&registry.host(), "app"), source(b"x", None)).await;
    assert!(matches!(pushed.unwrap_err().failure(), RegistryFailure::Protocol { .. }));
}

// R5, R6: lists.

#[tokio::test]
async fn r5_a_tag_list_stays_on_its_registry_and_ends() {
    let attacker = RawServer::attacker().unwrap();
    let registry = with_basic();
    for number in 0..5 {
        registry.put_manifest("app", &format!("v{number}"), OCI_MANIFEST, &manifest_of(b"{}"));
    }
    let client = logged_in(&registry);
    let name = reference(&registry.host(), "app");
    for (link, refused) in [
        (format!("<http://{}/v2/app/tags/list?n=1>; rel=\"next\"", attacker.addr), true),
        ("</v2/other/tags/list>; rel=\"next\"".to_owned(), true),
        ("</v2/app/tags/list?n=1000>; rel=\"next\"".to_owned(), false),
        ("<>; rel=next".to_owned(), false),
        ("garbage".to_owned(), false),
    ] {
        registry.clear_faults();
        registry.inject(Fault::always("/tags/list", Action::header("Link", &link)));
        let error = client.list_tags(&name).await.unwrap_err();
        assert_eq!(matches!(error.failure(), RegistryFailure::Refused { .. }), refused, "{link}: {}", text(&error));
    }
    assert_eq!(attacker.requests(), []);
}

#[tokio::test]
async fn r6_a_tag_list_that_is_too_large_or_holds_no_tags_is_bounded() {
    let registry = start(Config::default());
    let name = reference(&registry.host(), "app");
    registry.put_manifest("app", "1", OCI_MANIFEST, &manifest_of(b"{}"));
    registry.inject(Fault::always("/tags/list", Action::EndlessBody));
    let error = anonymous().list_tags(&name).await.unwrap_err();
    assert!(matches!(error.failure(), RegistryFailure::TooLarge { .. }), "{}", text(&error));
    registry.clear_faults();
    let odd = r#"{"tags":["ok","\u001b[2J","a/b","",".."]}"#;
    registry.inject(Fault::always("/tags/list", Action::ReplaceBody(odd.into())));
    assert_eq!(anonymous().list_tags(&name).await.unwrap(), ["ok", ".."]);
    registry.clear_faults();
    registry.inject(Fault::always("/tags/list", Action::ReplaceBody(br#"{"name":"app","tags":null}"#.to_vec())));
    assert_eq!(anonymous().list_tags(&name).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn r6_a_hundred_thousand_tags_are_listed() {
    let registry = start(Config { tags_per_page: 20_000, ..Config::default() });
    let pages: Vec<Vec<String>> =
        (0..5).map(|page| (0..20_000).map(|number| format!("v{page}-{number:05}")).collect()).collect();
    for (number, page) in pages.iter().enumerate() {
        let body = format!(r#"{{"name":"app","tags":["{}"]}}"#, page.join("\",\""));
        let path = if number == 0 { "n=1000".to_owned() } else { format!("page={number}&") };
        registry.inject(Fault::always(&path, Action::ReplaceBody(body.into_bytes())));
        registry.inject(Fault::always(&path, Action::Status(200)));
        if number < 4 {
            let link = format!("</v2/app/tags/list?page={}&x=>; rel=\"next\"", number + 1);
            registry.inject(Fault::always(&path, Action::header("Link", &link)));
        }
    }
    let tags = anonymous().list_tags(&reference(&registry.host(), "app")).await.unwrap();
    assert_eq!(tags.len(), 100_000);
}

// R7, R8: sizes and digests.

#[tokio::test]
async fn r7_a_blob_larger_than_its_descriptor_is_refused() {
    let registry = start(Config::default());
    let content = bytes(100_000);
    let digest = registry.put_blob("app", &content);
    for action in [Action::ExtendBodyBy(1), Action::ExtendBodyBy(1_000_000), Action::EndlessBody] {
        registry.clear_faults();
        registry.take_requests();
        registry.inject(Fault::always("/blobs/", action.clone()));
        let begin = Instant::now();
        let error = fetch(&anonymous(), &registry.host(), &digest, content.len()).await.unwrap_err();
        assert!(matches!(error.failure(), RegistryFailure::SizeMismatch { .. }), "{action:?}: {}", text(&error));
        assert_eq!(registry.take_requests().len(), 1);
        assert!(begin.elapsed() < Duration::from_secs(2));
    }
    registry.clear_faults();
    // A wrong announced length, both ways.
    for size in [content.len() - 1, content.len() + 1] {
        let error = fetch(&anonymous(), &registry.host(), &digest, size).await.unwrap_err();
        assert!(matches!(error.failure(), RegistryFailure::SizeMismatch { .. }), "{}", text(&error));
    }
}

#[tokio::test]
async fn a_wrong_blob_is_never_handed_on() {
    let registry = start(Config::default());
    let content = bytes(100_000);
    let digest = registry.put_blob("app", &content);
    for action in [Action::CorruptBody, Action::ReplaceBody(vec![0; content.len()])] {
        registry.clear_faults();
        registry.inject(Fault::always("/blobs/", action));
        let error = fetch(&anonymous(), &registry.host(), &digest, content.len()).await.unwrap_err();
        let RegistryFailure::DigestMismatch { expected, .. } = error.failure() else { panic!("{}", text(&error)) };
        assert_eq!(*expected, digest);
    }
    // A resumed part of something else.
    registry.clear_faults();
    registry.inject(Fault::times(1, "/blobs/", Action::TruncateBodyTo(50_000)));
    registry.inject(Fault::always("/blobs/", Action::CorruptBody).after(1));
    let error = fetch(&anonymous(), &registry.host(), &digest, content.len()).await.unwrap_err();
    assert!(matches!(error.failure(), RegistryFailure::DigestMismatch { .. }), "{}", text(&error));
}

#[tokio::test]
async fn a_content_encoding_does_not_change_bytes() {
    let registry = start(Config::default());
    let content = bytes(1000);
    let digest = registry.put_blob("app", &content);
    registry.inject(Fault::always("/blobs/", Action::header("Content-Encoding", "gzip")));
    assert!(fetch(&anonymous(), &registry.host(), &digest, content.len()).await.unwrap() == content);
    assert_eq!(registry.requests()[0].header("accept-encoding"), Some("identity"));
}

#[tokio::test]
async fn a_manifest_that_is_not_what_was_asked_for_is_refused() {
    let registry = start(Config::default());
    let digest = put_image(&registry);
    let other = Digest::of(b"other").to_string();
    let by_tag = reference(&registry.host(), "app:1");
    let by_digest = reference(&registry.host(), &format!("app@{digest}"));
    let cases = [
        (&by_digest, Action::CorruptBody),
        (&by_digest, Action::ReplaceBody(manifest_of(b"[]"))),
        (&by_tag, Action::ReplaceBody(manifest_of(b"[]"))),
        (&by_tag, Action::header("Docker-Content-Digest", &other)),
        (&by_tag, Action::header("Docker-Content-Digest", "sha256:xyz")),
        (&by_tag, Action::header("Docker-Content-Digest", "sha256:../../etc")),
        (&by_tag, Action::header("Content-Type", "application/vnd.oci.image.index.v1+json")),
    ];
    for (image, action) in cases {
        registry.clear_faults();
        registry.inject(Fault::always("/manifests/", action.clone()));
        assert!(anonymous().resolve(image).await.is_err(), "{image} {action:?}");
    }
    registry.clear_faults();
    registry.inject(Fault::always("/manifests/", Action::header("Content-Type", "text/plain")));
    assert_eq!(anonymous().resolve(&by_tag).await.unwrap().digest, digest);
}

#[tokio::test]
async fn r7_an_endless_manifest_or_error_is_cut_off() {
    let registry = start(Config::default());
    put_image(&registry);
    let image = reference(&registry.host(), "app:1");
    registry.inject(Fault::always("/manifests/", Action::EndlessBody));
    let error = anonymous().resolve(&image).await.unwrap_err();
    assert!(matches!(error.failure(), RegistryFailure::TooLarge { .. }), "{}", text(&error));
    registry.clear_faults();
    registry.inject(Fault::always("/manifests/", Action::EndlessBody));
    registry.inject(Fault::always("/manifests/", Action::Status(404)));
    assert!(anonymous().resolve(&image).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn r8_header_bombs_and_garbage_are_errors() {
    let long = "x".repeat(70_000);
    let many = "X-A: b\r\n".repeat(500);
    let responses = [
        format!("HTTP/1.1 200 OK\r\nX-Long: {long}\r\nContent-Length: 2\r\n\r\n{{}}"),
        format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 2\r\n\r\n{{}}"),
        "garbage\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}}".to_owned(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n".to_owned(),
        "HTTP/1.1 999 \r\n\r\n".to_owned(),
        String::new(),
    ];
    let retries = bake_registry::Retries { retries_max: 1, ..quick().retries };
    for response in responses {
        let shown: String = response.chars().take(60).collect();
        let server = RawServer::start(move |_| response.clone().into_bytes()).unwrap();
        let begin = Instant::now();
        let client = client(Options { retries, ..quick() });
        assert!(client.resolve(&reference(&server.host(), "app:1")).await.is_err(), "{shown}");
        assert!(begin.elapsed() < Duration::from_secs(10), "{shown}");
    }
}

// Pace.

#[tokio::test]
async fn a_server_that_drips_or_stalls_is_given_up() {
    let registry = start(Config::default());
    let content = bytes(100_000);
    let digest = registry.put_blob("app", &content);
    put_image(&registry);
    let mut options = quick();
    options.timeouts.idle = Duration::from_millis(300);
    options.timeouts.small = Duration::from_millis(500);
    options.retries.retries_max = 1;
    let client = client(options);
    let drip = Action::SlowBody { bytes: 1, pause: Duration::from_millis(50) };
    for action in [drip, Action::Delay(Duration::from_secs(5))] {
        registry.clear_faults();
        registry.inject(Fault::always("/v2/", action));
        let begin = Instant::now();
        let error = fetch(&client, &registry.host(), &digest, content.len()).await.unwrap_err();
        assert!(matches!(error.failure(), RegistryFailure::Timeout { .. }), "{}", text(&error));
        let error = client.resolve(&reference(&registry.host(), "app:1")).await.unwrap_err();
        assert!(matches!(error.failure(), RegistryFailure::Timeout { .. }), "{}", text(&error));
        assert!(begin.elapsed() < Duration::from_secs(4));
    }
}

#[tokio::test]
async fn error_texts_are_escaped_and_cut() {
    let registry = start(Config::default());
    let body = format!(r#"{{"errors":[{{"code":"X","message":"\u001b]0;title\u0007{}"}}]}}"#, "y".repeat(10_000));
    let action = Action::Answer { status: 400, headers: Vec::new(), body: body.into_bytes() };
    registry.inject(Fault::always("/manifests/", action));
    let error = anonymous().resolve(&reference(&registry.host(), "app:1")).await.unwrap_err();
    let text = text(&error);
    assert!(!text.contains('\u{1b}') && text.contains("\\u{1b}") && text.len() < 2_000, "{text}");
}

/// Registries that are reached by a proxy, so that the test can be the one at a public address.
#[tokio::test]
async fn r2_r3_r4_a_registry_elsewhere_cannot_lead_to_this_machine() {
    let victim = RawServer::attacker().unwrap();
    let port = victim.addr.port();
    for place in ["127.0.0.1", "localhost", "[::1]", "2130706433", "169.254.169.254", "10.0.0.1"] {
        let url = format!("http://{place}:{port}/");
        for head in [
            format!("307 Temporary Redirect\r\nLocation: {url}"),
            format!("202 Accepted\r\nLocation: {url}"),
            format!("401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"{url}\""),
        ] {
            // A blob that is to be pushed is first looked for: it is not there.
            let answer = head.clone();
            let proxy = RawServer::start(move |request| {
                let head =
                    if request.method == "HEAD" && answer.starts_with("202") { "404 Not Found" } else { &answer };
                format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").into_bytes()
            })
            .unwrap();
            let proxies = Proxies { http: Some(format!("http://{}", proxy.addr)), ..Proxies::default() };
            let plain_http = vec!["registry.example".to_owned()];
            let credentials = login("registry.example", PASSWORD);
            let client = client(Options { proxies, plain_http, credentials, ..quick() });
            let pushed = client.push_blob(&reference("registry.example", "app"), source(b"x", None)).await;
            let error = pushed.unwrap_err();
            assert!(matches!(error.failure(), RegistryFailure::Refused { .. }), "{url} {head}: {}", text(&error));
            assert!(proxy.requests().iter().all(|request| request.path.starts_with("http://registry.example/")));
        }
    }
    assert_eq!(victim.requests(), []);
}
