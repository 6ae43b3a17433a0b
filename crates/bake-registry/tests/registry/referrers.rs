//! What refers to an image: by the API, by the tag that stands for it, and with registries that get it wrong.

use bake_oci::Digest;
use bake_oci::manifest::Descriptor;
use bake_registry::{ListedBy, RegistryClient, RegistryFailure};
use bake_testkit::registry::{Action, Auth, Config, FakeRegistry, Fault, RawServer};

use crate::support::{
    OCI_MANIFEST, PASSWORD, USER, anonymous, assert_blind, logged_in, put_image, reference, source, start, text,
};

const SIGNATURE: &str = "application/vnd.example.signature";
const SBOM: &str = "application/spdx+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn without_api() -> FakeRegistry {
    start(Config { referrers: false, ..Config::default() })
}

/// A manifest without layers about `subject`; `note` tells several of one type apart.
pub(crate) fn referrer(subject: &Digest, artifact_type: &str, note: &str) -> Vec<u8> {
    let empty = Digest::of(b"{}");
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","artifactType":"{artifact_type}","config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{empty}","size":2}},"layers":[],"subject":{{"mediaType":"{OCI_MANIFEST}","digest":"{subject}","size":1}},"annotations":{{"note":"{note}"}}}}"#
    )
    .into_bytes()
}

pub(crate) async fn push(client: &RegistryClient, host: &str, manifest: Vec<u8>) -> (Digest, ListedBy) {
    let target = reference(host, "app:ignored");
    client.push_blob(&target, source(b"{}", None)).await.unwrap();
    let expected = Digest::of(&manifest);
    let pushed = client.push_referrer(&target, OCI_MANIFEST, manifest).await.unwrap();
    assert_eq!(pushed.descriptor.digest().to_string(), expected.to_string());
    (expected, pushed.listed_by)
}

pub(crate) async fn list(
    client: &RegistryClient,
    host: &str,
    subject: &Digest,
    artifact_type: Option<&str>,
) -> Vec<Descriptor> {
    client.referrers(&reference(host, "app:1"), subject, artifact_type).await.unwrap()
}

fn digests(descriptors: &[Descriptor]) -> Vec<String> {
    let mut digests: Vec<_> = descriptors.iter().map(|descriptor| descriptor.digest().to_string()).collect();
    digests.sort();
    digests
}

fn sorted(digests: &[&Digest]) -> Vec<String> {
    let mut digests: Vec<_> = digests.iter().map(ToString::to_string).collect();
    digests.sort();
    digests
}

/// Signature and SBOM are pushed, listed, filtered, and pushed again without effect.
async fn check_both_ways(registry: &FakeRegistry, client: &RegistryClient, listed_by: ListedBy) {
    let (host, subject) = (registry.host(), put_image(registry));
    assert_eq!(list(client, &host, &subject, None).await, []);
    let (signature, how) = push(client, &host, referrer(&subject, SIGNATURE, "one")).await;
    assert_eq!(how, listed_by);
    let (sbom, _) = push(client, &host, referrer(&subject, SBOM, "two")).await;
    let (again, how) = push(client, &host, referrer(&subject, SBOM, "two")).await;
    assert_eq!((again, how), (sbom.clone(), listed_by));

    let all = list(client, &host, &subject, None).await;
    assert_eq!(digests(&all), sorted(&[&signature, &sbom]));
    let signatures = list(client, &host, &subject, Some(SIGNATURE)).await;
    assert_eq!(digests(&signatures), sorted(&[&signature]));
    let found = &signatures[0];
    assert_eq!(found.artifact_type().as_ref().map(ToString::to_string).as_deref(), Some(SIGNATURE));
    assert_eq!(found.annotations().as_ref().unwrap()["note"], "one");
    assert_eq!(found.media_type().to_string(), OCI_MANIFEST);
    assert_eq!(list(client, &host, &subject, Some("application/other")).await, []);
    assert_eq!(list(client, &host, &Digest::of(b"another"), None).await, []);
    let (_, bytes) = client.fetch_manifest(&reference(&host, "app"), &signature).await.unwrap();
    assert_eq!(bytes, referrer(&subject, SIGNATURE, "one"));
}

#[tokio::test]
async fn referrers_are_pushed_and_listed_by_the_api() {
    let registry = start(Config { auth: Auth::bearer(USER, PASSWORD), ..Config::default() });
    check_both_ways(&registry, &logged_in(&registry), ListedBy::Api).await;
    assert!(registry.requests().iter().all(|request| !request.path.contains("/manifests/sha256-")));
}

#[tokio::test]
async fn referrers_are_pushed_and_listed_by_tag_where_there_is_no_api() {
    let registry = start(Config { auth: Auth::bearer(USER, PASSWORD), referrers: false, ..Config::default() });
    let client = logged_in(&registry);
    check_both_ways(&registry, &client, ListedBy::Tag).await;
    let subject = put_image(&registry);
    let (media_type, bytes) = registry.manifest("app", &subject.to_string().replace(':', "-")).unwrap();
    assert_eq!(media_type, OCI_INDEX);
    let index: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 2, "{index}");
}

#[tokio::test]
async fn a_registry_that_ignores_the_filter_is_filtered_here() {
    let registry = start(Config { filters_referrers: false, ..Config::default() });
    check_both_ways(&registry, &anonymous(), ListedBy::Api).await;
}

#[tokio::test]
async fn referrers_come_in_pages() {
    let registry = start(Config { referrers_per_page: 2, ..Config::default() });
    let (host, subject) = (registry.host(), put_image(&registry));
    let mut expected = Vec::new();
    for number in 0..5 {
        expected.push(push(&anonymous(), &host, referrer(&subject, SBOM, &number.to_string())).await.0.to_string());
    }
    expected.sort();
    registry.take_requests();
    assert_eq!(digests(&list(&anonymous(), &host, &subject, Some(SBOM)).await), expected);
    assert_eq!(registry.requests().len(), 3);
}

#[tokio::test]
async fn answers_that_are_no_list_lead_to_the_tag() {
    let registry = without_api();
    let (host, subject) = (registry.host(), put_image(&registry));
    let (signature, _) = push(&anonymous(), &host, referrer(&subject, SIGNATURE, "")).await;
    let html = Action::Answer {
        status: 200,
        headers: vec![("Content-Type".to_owned(), "text/html".to_owned())],
        body: b"<html>".to_vec(),
    };
    let mut answers = vec![html];
    answers.extend([400, 405, 406, 501].map(|status| Action::error(status, "UNSUPPORTED")));
    for answer in answers {
        registry.clear_faults();
        registry.inject(Fault::always("/referrers/", answer.clone()));
        assert_eq!(digests(&list(&anonymous(), &host, &subject, None).await), sorted(&[&signature]), "{answer:?}");
    }
    // A registry that is out of order is not one without signatures.
    registry.clear_faults();
    registry.inject(Fault::always("/referrers/", Action::error(500, "UNKNOWN")));
    let error = anonymous().referrers(&reference(&host, "app"), &subject, None).await.unwrap_err();
    assert!(matches!(error.failure(), RegistryFailure::Status { .. }), "{}", text(&error));
    registry.clear_faults();
    registry.inject(Fault::always("/referrers/", Action::ReplaceBody(b"{".to_vec())));
    registry.configure(|config| config.referrers = true);
    let error = anonymous().referrers(&reference(&host, "app"), &subject, None).await.unwrap_err();
    assert!(matches!(error.failure(), RegistryFailure::Manifest { .. }), "{}", text(&error));
}

#[tokio::test]
async fn a_tag_written_by_two_at_once_keeps_all() {
    let registry = without_api();
    let (host, subject) = (registry.host(), put_image(&registry));
    let push_six = async |name: &str| {
        let client = anonymous();
        for number in 0..6 {
            let (_, how) = push(&client, &host, referrer(&subject, SBOM, &format!("{name}{number}"))).await;
            assert_eq!(how, ListedBy::Tag);
        }
    };
    tokio::join!(push_six("a"), push_six("b"));
    assert_eq!(list(&anonymous(), &host, &subject, None).await.len(), 12);
}

#[tokio::test]
async fn a_tag_that_others_change_all_the_time_is_given_up() {
    let registry = without_api();
    let (host, subject) = (registry.host(), put_image(&registry));
    registry.inject(Fault::always("/manifests/sha256-", Action::error(412, "CHANGED")).on("PUT"));
    let target = reference(&host, "app");
    let error = anonymous().push_referrer(&target, OCI_MANIFEST, referrer(&subject, SBOM, "")).await.unwrap_err();
    assert!(text(&error).contains("changed by others 8 times"), "{}", text(&error));
}

#[tokio::test]
async fn a_tag_that_is_no_list_is_left_alone() {
    let registry = without_api();
    let (host, subject) = (registry.host(), put_image(&registry));
    let tag = subject.to_string().replace(':', "-");
    registry.put_manifest("app", &tag, OCI_MANIFEST, &referrer(&subject, SBOM, "not a list"));
    let target = reference(&host, "app");
    let manifest = referrer(&subject, SIGNATURE, "");
    let error = anonymous().push_referrer(&target, OCI_MANIFEST, manifest).await.unwrap_err();
    assert!(text(&error).contains("is a manifest, not an index"), "{}", text(&error));
    assert!(anonymous().referrers(&target, &subject, None).await.is_err());
    assert!(registry.requests().iter().all(|request| request.method != "PUT" || !request.path.contains(&tag)));
}

#[tokio::test]
async fn what_has_no_subject_is_no_referrer() {
    let registry = start(Config::default());
    let manifest = crate::support::manifest_of(b"{}");
    let error =
        anonymous().push_referrer(&reference(&registry.host(), "app"), OCI_MANIFEST, manifest).await.unwrap_err();
    assert!(text(&error).contains("no `subject`"), "{}", text(&error));
    assert_eq!(registry.requests(), []);
}

#[tokio::test]
async fn r5_the_next_page_of_referrers_is_not_followed_elsewhere() {
    let attacker = RawServer::attacker().unwrap();
    let registry = start(Config { auth: Auth::basic(USER, PASSWORD), ..Config::default() });
    let subject = put_image(&registry);
    let path = format!("/v2/app/referrers/{subject}?first=1");
    for link in [format!("http://{}{path}", attacker.addr), "/v2/other/referrers/x".to_owned()] {
        registry.clear_faults();
        registry.inject(Fault::always("/referrers/", Action::header("Link", &format!("<{link}>; rel=\"next\""))));
        let target = reference(&registry.host(), "app");
        let error = logged_in(&registry).referrers(&target, &subject, None).await.unwrap_err();
        assert!(matches!(error.failure(), RegistryFailure::Refused { .. }), "{}", text(&error));
    }
    assert_blind(&attacker);
    assert_eq!(attacker.requests(), []);
}
