//! Resolving, fetching and pushing manifests and indexes.

use bake_oci::json::MANIFEST_BYTES_MAX;
use bake_oci::manifest::{Descriptor, Document, descriptor};
use bake_oci::media_type::{MANIFEST_ACCEPT, is_index, is_manifest};
use bake_oci::{Algorithm, Digest, Reference};
use hyper::body::Bytes;
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode, Url};

use crate::client::RegistryClient;
use crate::digest::Verifier;
use crate::endpoint::{Endpoint, Repository};
use crate::error::{Attempt, Outcome, RegistryError, RegistryFailure, redact};
use crate::transport::{Call, Payload};

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// A manifest or index that a reference stands for.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// Media type, digest and size.
    pub descriptor: Descriptor,
    /// The digest of `bytes`, checked.
    pub digest: Digest,
    /// The exact bytes of the manifest or index.
    pub bytes: Vec<u8>,
}

/// What a registry says about a manifest without sending it. Nothing of it is checked against bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestHead {
    /// The digest.
    pub digest: Digest,
    /// The media type, if the registry names one.
    pub media_type: Option<String>,
    /// The size in bytes, if the registry names it.
    pub size_bytes: Option<u64>,
}

impl RegistryClient {
    /// Fetches the manifest or index that `reference` stands for: by its digest if it has one, else by its tag
    /// (OCI distribution spec, "Pulling manifests").
    ///
    /// The bytes are checked against the reference's digest and against the digest that the registry claims; they are
    /// at most 4 MiB and parse as what their media type says.
    pub async fn resolve(&self, reference: &Reference) -> Result<Resolved, RegistryError> {
        let work = async {
            let repository = Repository::of(reference)?;
            self.get_manifest(&repository, &reference.manifest_name(), reference.digest()).await
        };
        self.within_total(reference.registry(), work).await.attempt(|| format!("resolve `{reference}`"))
    }

    /// Fetches the manifest or index with `digest` from the repository of `reference`; gives its media type and bytes.
    pub async fn fetch_manifest(
        &self,
        reference: &Reference,
        digest: &Digest,
    ) -> Result<(String, Vec<u8>), RegistryError> {
        let work = async {
            let repository = Repository::of(reference)?;
            self.get_manifest(&repository, &digest.to_string(), Some(digest)).await
        };
        let resolved = self.within_total(reference.registry(), work).await;
        let resolved = resolved.attempt(|| format!("fetch manifest `{digest}` of `{}`", reference.name()))?;
        Ok((resolved.descriptor.media_type().to_string(), resolved.bytes))
    }

    /// Asks for the digest of what `reference` stands for without fetching it; `None` when it does not exist.
    ///
    /// Registries that do not answer `HEAD` with a digest are asked for the manifest itself.
    pub async fn head_manifest(&self, reference: &Reference) -> Result<Option<ManifestHead>, RegistryError> {
        let work = async {
            let repository = Repository::of(reference)?;
            let name = reference.manifest_name();
            let mut last = None;
            for endpoint in self.pull_endpoints(&repository.registry).await? {
                match self.head_at(&endpoint, &repository, &name).await {
                    Ok(Some(head)) => return Ok(Some(head)),
                    Ok(None) => {
                        let resolved = self.get_manifest(&repository, &name, reference.digest()).await?;
                        return Ok(Some(ManifestHead {
                            digest: resolved.digest,
                            media_type: Some(resolved.descriptor.media_type().to_string()),
                            size_bytes: Some(resolved.bytes.len() as u64),
                        }));
                    }
                    Err(failure) => last = Some(failure),
                }
            }
            match last {
                Some(failure) if !matches!(*failure, RegistryFailure::NotFound { .. }) => Err(failure),
                _ => Ok(None),
            }
        };
        self.within_total(reference.registry(), work).await.attempt(|| format!("look up `{reference}`"))
    }

    async fn head_at(&self, endpoint: &Endpoint, repository: &Repository, name: &str) -> Outcome<Option<ManifestHead>> {
        let url = endpoint.url(&format!("{}/manifests/{name}", repository.name));
        let call = Call::new(Method::HEAD, url).header(ACCEPT, accepted_types());
        let answer = self.request(endpoint, &[repository.scope("pull")], &call, &[StatusCode::OK]).await?;
        let headers = answer.response.headers();
        let Some(digest) = claimed_digest(&answer.url, headers)? else { return Ok(None) };
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        Ok(Some(ManifestHead {
            digest,
            media_type: announced_type(headers).map(str::to_owned),
            size_bytes: text(CONTENT_LENGTH).and_then(|text| text.parse().ok()),
        }))
    }

    /// Asks the mirrors and then the registry itself.
    async fn get_manifest(&self, repository: &Repository, name: &str, expected: Option<&Digest>) -> Outcome<Resolved> {
        let mut endpoints = self.pull_endpoints(&repository.registry).await?.into_iter().peekable();
        let mut mirrors = Vec::new();
        while let Some(endpoint) = endpoints.next() {
            match self.get_manifest_at(&endpoint, repository, name, expected).await {
                Err(failure) if endpoints.peek().is_some() => {
                    tracing::debug!(mirror = endpoint.registry, %failure, "the mirror cannot help");
                    mirrors.push(format!("the mirror `{}` could not help ({failure})", endpoint.registry));
                }
                result => return result.map_err(|failure| failure.after_mirrors(&mirrors)),
            }
        }
        Err(RegistryFailure::request("there is no registry to ask"))
    }

    async fn get_manifest_at(
        &self,
        endpoint: &Endpoint,
        repository: &Repository,
        name: &str,
        expected: Option<&Digest>,
    ) -> Outcome<Resolved> {
        let url = endpoint.url(&format!("{}/manifests/{name}", repository.name));
        let call = Call::new(Method::GET, url).header(ACCEPT, accepted_types());
        let what = format!("manifest `{name}` of `{}/{}`", repository.registry, repository.name);
        let scopes = [repository.scope("pull")];
        let (url, headers, bytes) = self.request_small(endpoint, &scopes, &call, MANIFEST_BYTES_MAX, &what).await?;
        let check = |expected: &Digest| {
            let actual = Verifier::digest_of(expected.algorithm(), &bytes);
            if actual == *expected {
                Ok(())
            } else {
                Err(Box::new(RegistryFailure::DigestMismatch {
                    what: what.clone(),
                    expected: expected.clone(),
                    actual,
                }))
            }
        };
        // A registry that contradicts itself is not to be believed, even when nothing was asked of the digest.
        if let Some(claimed) = claimed_digest(&url, &headers)? {
            check(&claimed)?;
        }
        let digest = match expected {
            Some(expected) => {
                check(expected)?;
                expected.clone()
            }
            None => Verifier::digest_of(Algorithm::Sha256, &bytes),
        };
        let document = Document::parse(&bytes, announced_type(&headers))
            .map_err(|source| Box::new(RegistryFailure::Manifest { what, source }))?;
        let descriptor = descriptor(&document.media_type(), &digest, bytes.len() as u64);
        Ok(Resolved { descriptor, digest, bytes })
    }

    /// Stores a manifest or index under the reference's tag, or under its digest when the reference has one
    /// (OCI distribution spec, "Pushing manifests"); everything it refers to must have been pushed before.
    pub async fn push_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: Vec<u8>,
    ) -> Result<Digest, RegistryError> {
        let work = self.put_manifest(reference, media_type, Bytes::from(bytes));
        self.within_total(reference.registry(), work).await.attempt(|| format!("push the manifest of `{reference}`"))
    }

    async fn put_manifest(&self, reference: &Reference, media_type: &str, bytes: Bytes) -> Outcome<Digest> {
        let repository = Repository::of(reference)?;
        let expected = reference.digest();
        let algorithm = expected.map_or(Algorithm::Sha256, Digest::algorithm);
        let digest = Verifier::digest_of(algorithm, &bytes);
        if let Some(expected) = expected.filter(|expected| **expected != digest) {
            let (what, expected) = (format!("the manifest of `{reference}`"), expected.clone());
            return Err(Box::new(RegistryFailure::DigestMismatch { what, expected, actual: digest }));
        }
        let endpoint = self.endpoint(&repository.registry).await?;
        let name = reference.manifest_name();
        let manifest = ManifestToPut { name: &name, media_type, bytes, headers: Vec::new() };
        self.put_manifest_at(&endpoint, &repository, manifest).await.map(|_: HeaderMap| digest)
    }

    /// Stores a manifest and gives the headers of the answer. A registry that says that it stored other bytes than were
    /// sent has not stored the manifest.
    pub(crate) async fn put_manifest_at(
        &self,
        endpoint: &Endpoint,
        repository: &Repository,
        manifest: ManifestToPut<'_>,
    ) -> Outcome<HeaderMap> {
        let ManifestToPut { name, media_type, bytes, headers } = manifest;
        let algorithm = Digest::parse(name).map_or(Algorithm::Sha256, |digest| digest.algorithm());
        let digest = Verifier::digest_of(algorithm, &bytes);
        let content_type = HeaderValue::from_str(media_type)
            .map_err(|_| RegistryFailure::request("the manifest's media type cannot be sent"))?;
        let url = endpoint.url(&format!("{}/manifests/{name}", repository.name));
        let mut call = Call::new(Method::PUT, url).header(CONTENT_TYPE, content_type).payload(Payload::Bytes(bytes));
        call.headers.extend(headers);
        let accepted = [StatusCode::CREATED, StatusCode::OK, StatusCode::ACCEPTED];
        let mut answer = self.request(endpoint, &[repository.scope("pull,push")], &call, &accepted).await?;
        let headers = std::mem::take(answer.response.headers_mut());
        match claimed_digest(&answer.url, &headers)? {
            Some(actual) if actual.algorithm() == algorithm && actual != digest => {
                let what = format!("the manifest `{name}` that the registry stored");
                Err(Box::new(RegistryFailure::DigestMismatch { what, expected: digest, actual }))
            }
            _ => Ok(headers),
        }
    }
}

/// A manifest to store.
pub(crate) struct ManifestToPut<'a> {
    /// The tag or digest to store it under.
    pub(crate) name: &'a str,
    pub(crate) media_type: &'a str,
    pub(crate) bytes: Bytes,
    /// More headers to send: conditions.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

fn accepted_types() -> HeaderValue {
    HeaderValue::from_str(&MANIFEST_ACCEPT.join(", ")).expect("media types are plain ASCII")
}

/// The `Content-Type` without parameters, if it says anything: some servers send `text/plain` or JSON for all files.
pub(crate) fn announced_type(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let media_type = text.split(';').next().unwrap_or_default().trim();
    (is_index(media_type) || is_manifest(media_type)).then_some(media_type)
}

/// The digest that the registry claims; one in an unknown algorithm says nothing, a malformed one is an error.
pub(crate) fn claimed_digest(url: &Url, headers: &HeaderMap) -> Outcome<Option<Digest>> {
    let Some(value) = headers.get(CONTENT_DIGEST) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    match Digest::parse(text) {
        Ok(digest) => Ok(Some(digest)),
        Err(_) if !text.starts_with("sha") => Ok(None),
        Err(error) => Err(Box::new(RegistryFailure::Protocol { url: redact(url), reason: error.to_string() })),
    }
}
