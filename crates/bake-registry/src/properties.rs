//! What registries and configs may hold: anything. Nothing that reads them panics, and what they yield keeps its limits.

use proptest::prelude::*;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, LINK, LOCATION, RETRY_AFTER};

use crate::challenge;
use crate::client::follow;
use crate::credentials::Credentials;
use crate::docker_config::DockerConfig;
use crate::endpoint::{Endpoint, Security, check_repository};
use crate::error::{Messages, printable};
use crate::helper::HelperRunner;
use crate::pull::parse_content_range;
use crate::retry::{parse_http_date, retry_after};
use crate::tags::next_page;
use crate::upload::held_bytes;

fn headers(name: HeaderName, value: &[u8]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(name, HeaderValue::from_bytes(value).ok()?);
    Some(headers)
}

/// Text made of what the format is made of, which gets further than any text.
fn made_of(pieces: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::collection::vec(prop_oneof![prop::sample::select(pieces).prop_map(str::to_owned), ".{0,4}"], 0..24)
        .prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn challenges(text in made_of(&["Bearer ", "Basic ", "realm", "service", "scope", "=", "\"", "\\", ",", " ", "https://a/"])) {
        let found = challenge::parse(&text);
        prop_assert!(found.len() <= 32);
    }

    #[test]
    fn dates(text in made_of(&["Sun, ", "06 ", "Nov ", "Feb ", "1994 ", "08", ":", "49", "9999999999999999999", " GMT"])) {
        let seconds = parse_http_date(&text);
        prop_assert!(seconds.is_none_or(|seconds| seconds < 260_000_000_000), "{text}: {seconds:?}");
        if let Some(headers) = headers(RETRY_AFTER, text.as_bytes()) {
            retry_after(&headers);
        }
    }

    #[test]
    fn dates_of_numbers(day in any::<u64>(), year in any::<u64>(), hour in any::<u64>(), minute in any::<u64>(), second in any::<u64>()) {
        parse_http_date(&format!("Sun, {day} Nov {year} {hour}:{minute}:{second} GMT"));
        parse_http_date(&format!("Sun, 1 Nov 1994 1:{minute}:1 GMT"));
    }

    #[test]
    fn ranges(text in made_of(&["bytes", " ", "=", "0", "-", "5", "/", "*", "10", "18446744073709551615"])) {
        if let Some((first, total)) = parse_content_range(&text) {
            prop_assert!(total.is_none_or(|total| first < total));
        }
        if let Some(headers) = headers(reqwest::header::RANGE, text.as_bytes()) {
            held_bytes(&headers);
        }
    }

    #[test]
    fn locations_never_leave_tls(text in made_of(&["https", "http", "://", "//", "/", "a.example", "@", "user", ":", "?", "#", "..", "%2e"])) {
        let from = Url::parse("https://registry.example/v2/app/blobs/uploads/").unwrap();
        if let Some(Ok(next)) = headers(LOCATION, text.as_bytes()).map(|headers| follow(&from, &headers)) {
            prop_assert!(next.scheme() == "https" && next.username().is_empty() && next.host_str().is_some());
        }
    }

    #[test]
    fn next_pages_stay_in_their_list(text in made_of(&["<", ">", "; ", "rel", "=", "\"next\"", "/v2/a/tags/list", "http://evil.example", "?n=1", ","])) {
        let endpoint = Endpoint::new("registry.example", Security::Tls, None).unwrap();
        let from = endpoint.url("a/tags/list");
        if let Some(Ok(Some(next))) = headers(LINK, text.as_bytes()).map(|headers| next_page(&endpoint, &from, &headers)) {
            prop_assert!(endpoint.owns(&next) && next.path() == from.path());
        }
    }

    #[test]
    fn repositories_stay_in_their_path(name in made_of(&["a", "/", "..", ".", "%2f", "?", "#", ":"])) {
        if check_repository(&name).is_ok() {
            let endpoint = Endpoint::new("registry.example", Security::Tls, None).unwrap();
            let url = endpoint.url(&format!("{name}/tags/list"));
            let path = format!("/v2/{name}/tags/list");
            prop_assert_eq!(url.path(), path.as_str());
            prop_assert_eq!(url.query(), None);
        }
    }

    #[test]
    fn error_bodies_are_cut_and_harmless(body in prop::collection::vec(any::<u8>(), 0..2000), text in ".*") {
        for message in Messages::parse(&body).as_slice() {
            prop_assert!(message.message.len() < 8 * 1024 && !message.message.contains(char::is_control));
        }
        prop_assert!(!printable(&text, 64).contains(char::is_control));
    }

    #[test]
    fn configs(text in made_of(&["{", "}", "\"auths\"", "\"credsStore\"", "\"credHelpers\"", ":", ",", "\"a.example\"", "\"auth\"", "\"eDp5\"", "null", "[]", "1"])) {
        let _ = Credentials::from_docker_config(&text, HelperRunner::default());
        if let Ok(mut config) = DockerConfig::parse(&text) {
            // What was understood can be written and read again.
            config.set("b.example", None);
            let written = DockerConfig::parse(&config.to_text());
            prop_assert!(written.is_ok_and(|mut written| written.remove("b.example")));
        }
    }
}
