//! What refers to an image: signatures, SBOMs, provenance (OCI distribution spec 1.1, "Listing Referrers" and "Pushing
//! Manifests with Subject").
//!
//! ```text
//! read:  GET referrers/DIGEST --200, an index--------------> its manifests, page after page
//!             |404, or no index: the registry does not know the API
//!             v
//!        GET manifests/ALGORITHM-HEX --200 or 404----------> its manifests, or none
//!
//! write: PUT manifests/DIGEST of a manifest with `subject`
//!             |OCI-Subject in the answer ------------------> the registry lists it
//!             v
//!        GET manifests/ALGORITHM-HEX, add, PUT, look again -> the tag lists it
//! ```

use bake_oci::json::MANIFEST_BYTES_MAX;
use bake_oci::manifest::{Descriptor, Document, descriptor, index_bytes};
use bake_oci::media_type::{OCI_INDEX, is_index};
use bake_oci::{Digest, Reference};
use hyper::body::Bytes;
use reqwest::header::{ACCEPT, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use reqwest::{Method, StatusCode, Url};

use crate::client::RegistryClient;
use crate::endpoint::{Endpoint, Repository};
use crate::error::{Attempt, Outcome, RegistryError, RegistryFailure};
use crate::manifests::{ManifestToPut, announced_type};
use crate::tags::next_page;
use crate::transport::Call;

/// The most pages of a list of referrers that are followed.
const PAGES_MAX: usize = 200;
/// The most referrers of one digest that are collected; a CI that signs every day for a decade makes 4,000.
const REFERRERS_MAX: usize = 20_000;
/// How often a referrers tag is written again because somebody else wrote it in between.
const TAG_WRITES_MAX: u32 = 8;

const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const INDEX: HeaderValue = HeaderValue::from_static(OCI_INDEX);
const ANYTHING: HeaderValue = HeaderValue::from_static("*");

/// Where a pushed referrer is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListedBy {
    /// In the registry's referrers API.
    Api,
    /// In the index under the tag `ALGORITHM-HEX` of its subject, since the registry has no referrers API.
    Tag,
}

/// A manifest with a `subject` that is now in the registry.
#[derive(Debug, Clone, PartialEq)]
pub struct PushedReferrer {
    /// Its media type, digest and size, with its artifact type and annotations: what lists of referrers show of it.
    pub descriptor: Descriptor,
    /// What lists it.
    pub listed_by: ListedBy,
}

impl RegistryClient {
    /// The manifests in the repository of `reference` whose `subject` is `subject`, in the registry's order; with
    /// `artifact_type` only those of that type. None is an empty list, also when the subject or repository does not exist.
    ///
    /// Registries without the referrers API are asked for the tag that stands for it. Only the registry itself is
    /// asked: a mirror without signatures must not make an image look unsigned. What comes back is not verified: the
    /// descriptors are claims until the manifests they name have been fetched and their `subject` compared.
    ///
    /// At most 20,000 referrers in 200 pages of 4 MiB; more is an error.
    pub async fn referrers(
        &self,
        reference: &Reference,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let work = async {
            let repository = Repository::of(reference)?;
            let endpoint = self.endpoint(&repository.registry).await?;
            let mut found = match self.referrers_by_api(&endpoint, &repository, subject, artifact_type).await? {
                Some(found) => found,
                None => match self.referrers_tag(&endpoint, &repository, subject).await? {
                    Some(tag) => tag.manifests,
                    None => Vec::new(),
                },
            };
            // Registries may ignore the filter, and tags have none.
            if let Some(wanted) = artifact_type {
                found.retain(|descriptor| type_of(descriptor).as_deref() == Some(wanted));
            }
            Ok(found)
        };
        let result = self.within_total(reference.registry(), work).await;
        result.attempt(|| format!("list what refers to `{}@{subject}`", reference.name()))
    }

    /// Stores a manifest or index that has a `subject` under its digest, and makes sure that
    /// [`RegistryClient::referrers`] of that subject lists it: by the registry itself, or in the subject's tag when the
    /// registry has no referrers API. Its blobs must have been pushed before; the subject may come later.
    ///
    /// Tag and digest of `reference` are ignored. A subject's tag is read, changed, written, and looked at again, at most
    /// eight times while others write it too. Registries that honour `If-Match` lose no writer's entry; with others two
    /// processes that write in the same instant can lose one, which no client can prevent.
    pub async fn push_referrer(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: Vec<u8>,
    ) -> Result<PushedReferrer, RegistryError> {
        let work = self.put_referrer(reference, media_type, Bytes::from(bytes));
        let result = self.within_total(reference.registry(), work).await;
        result.attempt(|| format!("push a referrer to `{}`", reference.name()))
    }

    async fn put_referrer(&self, reference: &Reference, media_type: &str, bytes: Bytes) -> Outcome<PushedReferrer> {
        let repository = Repository::of(reference)?;
        let endpoint = self.endpoint(&repository.registry).await?;
        let (subject, listed) = describe(media_type, &bytes)?;
        let name = listed.digest().to_string();
        let manifest = ManifestToPut { name: &name, media_type, bytes, headers: Vec::new() };
        let headers = self.put_manifest_at(&endpoint, &repository, manifest).await?;
        if headers.contains_key(&SUBJECT) {
            return Ok(PushedReferrer { descriptor: listed, listed_by: ListedBy::Api });
        }
        // One at a time in this process; others are noticed by looking again.
        let _writing = self.referrers_tag_writing.lock().await;
        for _ in 0..TAG_WRITES_MAX {
            let current = self.referrers_tag(&endpoint, &repository, &subject).await?;
            if current.as_ref().is_some_and(|tag| tag.manifests.iter().any(|other| other.digest() == listed.digest())) {
                return Ok(PushedReferrer { descriptor: listed, listed_by: ListedBy::Tag });
            }
            self.extend_referrers_tag(&endpoint, &repository, &subject, current, listed.clone()).await?;
        }
        let reason = format!("the tag `{}` was changed by others {TAG_WRITES_MAX} times in a row", tag_of(&subject));
        Err(RegistryFailure::protocol(&endpoint.base, reason))
    }

    /// Asks the referrers API; `None` when the registry has none.
    async fn referrers_by_api(
        &self,
        endpoint: &Endpoint,
        repository: &Repository,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Outcome<Option<Vec<Descriptor>>> {
        let what = format!("the list of what refers to `{subject}`");
        let mut url = endpoint.url(&format!("{}/referrers/{subject}", repository.name));
        if let Some(artifact_type) = artifact_type {
            url.query_pairs_mut().append_pair("artifactType", artifact_type);
        }
        let mut found = Vec::new();
        for page in 0..PAGES_MAX {
            let call = Call::new(Method::GET, url.clone()).header(ACCEPT, INDEX);
            let scopes = [repository.scope("pull")];
            let result = self.request_small(endpoint, &scopes, &call, MANIFEST_BYTES_MAX, &what).await;
            let (from, headers, bytes) = match result {
                Err(failure) if page == 0 && lacks_api(&failure) => return Ok(None),
                other => other?,
            };
            // Web servers that answer every path with a page exist; a page is no index.
            if page == 0 && !announced_type(&headers).is_some_and(is_index) {
                return Ok(None);
            }
            found.extend(parse_index(&from, &bytes, Some(OCI_INDEX), &what)?);
            if found.len() > REFERRERS_MAX {
                return Err(RegistryFailure::protocol(&from, format!("there are more than {REFERRERS_MAX} referrers")));
            }
            let Some(next) = next_page(endpoint, &url, &headers)? else { return Ok(Some(found)) };
            url = next;
        }
        Err(RegistryFailure::protocol(&url, format!("the list of referrers has more than {PAGES_MAX} pages")))
    }

    /// Reads the index under the subject's tag; `None` when there is no such tag.
    async fn referrers_tag(
        &self,
        endpoint: &Endpoint,
        repository: &Repository,
        subject: &Digest,
    ) -> Outcome<Option<ReferrersTag>> {
        let tag = tag_of(subject);
        let what = format!("the referrers tag `{tag}` of `{}/{}`", repository.registry, repository.name);
        let call = Call::new(Method::GET, tag_url(endpoint, repository, subject)).header(ACCEPT, INDEX);
        let scopes = [repository.scope("pull")];
        let (from, headers, bytes) = match self.request_small(endpoint, &scopes, &call, MANIFEST_BYTES_MAX, &what).await
        {
            Ok(found) => found,
            Err(failure) if matches!(*failure, RegistryFailure::NotFound { .. }) => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let manifests = parse_index(&from, &bytes, announced_type(&headers), &what)?;
        Ok(Some(ReferrersTag { manifests, version: headers.get(ETAG).cloned(), bytes }))
    }

    /// Writes the subject's tag with one referrer more. That somebody else was faster is no error.
    async fn extend_referrers_tag(
        &self,
        endpoint: &Endpoint,
        repository: &Repository,
        subject: &Digest,
        current: Option<ReferrersTag>,
        added: Descriptor,
    ) -> Outcome<()> {
        let what = || format!("the referrers tag `{}`", tag_of(subject));
        let invalid = |source| Box::new(RegistryFailure::Manifest { what: what(), source });
        // Registries that know conditional requests refuse a write over a version we have not seen.
        let (bytes, condition) = match current {
            None => (EMPTY_INDEX.as_bytes().to_vec(), Some((IF_NONE_MATCH, ANYTHING))),
            Some(tag) => (tag.bytes, tag.version.map(|version| (IF_MATCH, version))),
        };
        let Document::Index(mut index) = Document::parse(&bytes, None).map_err(invalid)? else {
            return Err(RegistryFailure::request(format!("{} is not an index", what())));
        };
        let mut manifests = index.manifests().clone();
        manifests.push(added);
        index.set_manifests(manifests);
        let bytes = index_bytes(&index).map_err(invalid)?;
        if bytes.len() as u64 > MANIFEST_BYTES_MAX {
            return Err(Box::new(RegistryFailure::TooLarge { what: what(), limit: MANIFEST_BYTES_MAX }));
        }
        let manifest = ManifestToPut {
            name: &tag_of(subject),
            media_type: OCI_INDEX,
            bytes: bytes.into(),
            headers: condition.into_iter().collect(),
        };
        match self.put_manifest_at(endpoint, repository, manifest).await {
            Err(failure) if is_precondition_failure(&failure) => Ok(()),
            result => result.map(|_: HeaderMap| ()),
        }
    }
}

const EMPTY_INDEX: &str = r#"{"manifests":[],"mediaType":"application/vnd.oci.image.index.v1+json","schemaVersion":2}"#;

/// The index that lists referrers where the registry does not.
struct ReferrersTag {
    manifests: Vec<Descriptor>,
    /// Its `ETag`.
    version: Option<HeaderValue>,
    bytes: Vec<u8>,
}

/// The tag that stands for the referrers API: `sha256-HEX`, each part cut as the specification says.
fn tag_of(subject: &Digest) -> String {
    let text = subject.to_string();
    let (algorithm, hex) = text.split_once(':').unwrap_or((&text, ""));
    format!("{algorithm:.32}-{hex:.64}")
}

fn tag_url(endpoint: &Endpoint, repository: &Repository, subject: &Digest) -> Url {
    endpoint.url(&format!("{}/manifests/{}", repository.name, tag_of(subject)))
}

fn parse_index(from: &Url, bytes: &[u8], announced: Option<&str>, what: &str) -> Outcome<Vec<Descriptor>> {
    let document = Document::parse(bytes, announced)
        .map_err(|source| Box::new(RegistryFailure::Manifest { what: what.to_owned(), source }))?;
    match document {
        Document::Index(index) => Ok(index.manifests().clone()),
        Document::Manifest(_) => Err(RegistryFailure::protocol(from, format!("{what} is a manifest, not an index"))),
    }
}

/// The digest of a manifest's subject, and the descriptor that lists of referrers show of the manifest.
fn describe(media_type: &str, bytes: &[u8]) -> Outcome<(Digest, Descriptor)> {
    let what = || "the referrer".to_owned();
    let document = Document::parse(bytes, Some(media_type))
        .map_err(|source| Box::new(RegistryFailure::Manifest { what: what(), source }))?;
    let mut listed = descriptor(media_type, &Digest::of(bytes), bytes.len() as u64);
    let (subject, artifact_type, annotations) = match &document {
        Document::Manifest(manifest) => {
            // Without a type of its own a manifest is of its config's type.
            let artifact_type = manifest.artifact_type().as_ref().unwrap_or(manifest.config().media_type());
            (manifest.subject(), Some(artifact_type.clone()), manifest.annotations())
        }
        Document::Index(index) => (index.subject(), index.artifact_type().clone(), index.annotations()),
    };
    let subject = subject.as_ref().ok_or_else(|| RegistryFailure::request("the referrer has no `subject`"))?;
    let subject = Digest::parse(subject.digest().as_ref())
        .map_err(|error| RegistryFailure::request(format!("the `subject` of the referrer is not valid: {error}")))?;
    listed.set_artifact_type(artifact_type);
    listed.set_annotations(annotations.clone());
    Ok((subject, listed))
}

fn type_of(descriptor: &Descriptor) -> Option<String> {
    descriptor.artifact_type().as_ref().map(ToString::to_string)
}

/// Whether this answer says that there is no referrers API. The specification says 404; the others are what registries
/// answer to paths they do not know.
fn lacks_api(failure: &RegistryFailure) -> bool {
    match failure {
        RegistryFailure::NotFound { .. } => true,
        RegistryFailure::Status { status, .. } => matches!(status.as_u16(), 400 | 405 | 406 | 501),
        _ => false,
    }
}

fn is_precondition_failure(failure: &RegistryFailure) -> bool {
    matches!(failure, RegistryFailure::Status { status, .. } if *status == StatusCode::PRECONDITION_FAILED)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;

    #[test]
    fn tags_of_subjects() {
        let sha256 = Digest::of(b"");
        let expected = "sha256-e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(tag_of(&sha256), expected);
        let sha512 = Digest::parse(&format!("sha512:{}", "a1".repeat(64))).unwrap();
        assert_eq!(tag_of(&sha512), format!("sha512-{}", "a1".repeat(32)));
    }

    #[test]
    fn the_empty_index_is_one() {
        assert!(
            parse_index(&Url::parse("http://a/").unwrap(), EMPTY_INDEX.as_bytes(), Some(OCI_INDEX), "it")
                .unwrap()
                .is_empty()
        );
    }
}
